//! The policy: a DeepSeek-V3 style mixture of experts, sampling from it, and learning.
//!
//! - [`Policy`]: configuration, weights, the forward pass over packed batches ([`model`]);
//! - [`RolloutEngine`]: groups of completions by continuous batching over a compressed cache ([`rollout`]);
//! - [`grpo`]: advantages, the clipped loss, packing; [`optim`]: AdamW and schedules; [`lora`]: adapters of low rank;
//! - [`checkpoint`]: safetensors and folders that are written whole or not at all;
//! - [`ops`]: the fused operations underneath, each with its backward pass;
//! - [`Place`]: where a policy lives. On a card (feature `cuda`) the same calls run there.
//!
//! This crate knows nothing of rewards, tasks or recipes, and prints nothing.

pub mod checkpoint;
pub mod config;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
pub mod grpo;
pub mod lora;
pub mod model;
pub mod ops;
pub mod optim;
mod place;
pub mod random;
pub mod rollout;
pub mod tokenizer;

pub use config::ModelConfig;
#[cfg(feature = "cuda")]
pub use cuda::rounding;
pub use error::{During, PolicyError, Result};
pub use model::{Forward, Policy, Slopes, Track};
pub use place::Place;
pub use rollout::{
    Completion, FinishReason, LEAST_TEMPERATURE, Listener, Partial, Request, RolloutEngine, RolloutOptions,
    SamplingParams,
};
pub use tokenizer::Tokenizer;
