//! Holds no code: the tests are in the one integration-test binary beside it.
