//! The operations of the training pass beside attention and experts, each against plain loops in f64.

mod adamw;
mod layer;
mod logprob;
mod rms_norm;
mod rope;
mod rows;
mod support;
mod swiglu;
