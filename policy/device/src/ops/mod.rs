//! The operations: each checks its arguments' sizes and launches its kernels.

pub mod absorbed;
mod adamw;
pub mod attention;
mod checks;
mod combine;
pub mod decode_attention;
pub mod decode_heads;
mod experts;
mod few_rows;
mod grouped_gemm;
mod grouping;
pub mod heads;
mod logprob;
pub mod paged_cache;
mod rms_norm;
mod rope;
mod router;
mod rows;
mod sampler;
pub mod slots;
mod swiglu;
mod tiles;
pub mod tree;

pub use crate::Numbers;
pub use adamw::{AdamW, Judge, Verdict, Weights, move_towards};
pub use combine::{combine, gates_from_places, gates_to_places, sum_slots};
pub use experts::{ExpertGradients, ExpertScratch, ExpertWeights, add_experts, experts_backward};
pub use few_rows::{FewRows, FewRowsWeight, Parts};
pub use grouped_gemm::{ExpertMatrices, PairRows, Tile, activate_rows, add_weight_gradient, multiply_rows};
pub use grouping::{Grouped, Grouping, GroupingScratch};
pub use logprob::{Logprob, Logprobs, Slopes, Workspace as LogprobWorkspace};
pub use rms_norm::{RmsNorm, Sides, WeightGradient};
pub use rope::{Direction, Heads, Rope};
pub use router::{MAX_CHOSEN, MAX_EXPERTS, Router};
pub use rows::{
    Sources, add, add_bias, fill, gather, gather_backward, narrow, scale, sum_rows, sum_rows_partial_len, widen,
};
pub use sampler::{DRAWING, Draws, ENDED, FULL, Sampling, Sequences, advance, sample};
pub use swiglu::{Factors, SwigluGradients, swiglu, swiglu_backward};
