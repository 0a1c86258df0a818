//! Group Relative Policy Optimization: advantages from a group's rewards, the losses of its family, and the KL penalty.
//!
//! Shao et al., "DeepSeekMath", 2024; DeepSeek-R1 report, section 2.2.1. The other losses name their papers.

mod advantage;
mod entropy;
mod kl;
mod loss;
mod mini_batch;
mod pack;

pub use advantage::{AdvantageScale, AdvantageSettings, advantages, advantages_less, is_flat};
pub use kl::{KlEstimator, KlPenalty, sequence_kl};
pub use loss::{Clip, Counts, GrpoLoss, LossInput, LossKind, LossOutput, loss};
pub use mini_batch::{Member, MiniBatch};
pub(crate) use pack::common_prefix;
pub use pack::{MicroBatch, Sampled, pack};
