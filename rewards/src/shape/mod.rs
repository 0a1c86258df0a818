//! Rewards for a completion's shape, whatever it says.

mod format;

pub(crate) use format::Format;
