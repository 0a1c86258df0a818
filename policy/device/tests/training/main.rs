//! The operations of the training pass beside attention and experts, each against plain loops in f64.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod adamw;
mod layer;
mod logprob;
mod rms_norm;
mod rope;
mod rows;
mod support;
mod swiglu;
