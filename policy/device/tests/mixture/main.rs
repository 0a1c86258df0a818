//! The mixture of experts and the sampler against plain loops: on the emulator, or on the card with
//! `RECIPE_TEST_DEVICE=cuda`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod experts;
mod router;
mod sampler;
mod support;
