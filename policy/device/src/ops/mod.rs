//! The operations: each checks its arguments' sizes and launches its kernels.

mod adamw;
mod logprob;
mod numbers;
mod rms_norm;
mod rope;
mod rows;
mod swiglu;

pub use adamw::{AdamW, Judge, Verdict, Weights, move_towards};
pub use logprob::{Logprob, Logprobs, Slopes, Workspace as LogprobWorkspace};
pub use numbers::Numbers;
pub use rms_norm::{RmsNorm, WeightGradient};
pub use rope::{Direction, Heads, Rope};
pub use rows::{
    Sources, add, add_bias, fill, gather, gather_backward, narrow, scale, sum_rows, sum_rows_partial_len, widen,
};
pub use swiglu::{Factors, SwigluGradients, swiglu, swiglu_backward};
