//! Group Relative Policy Optimization: advantages from a group's rewards, the clipped objective, and the KL penalty.
//!
//! Shao et al., "DeepSeekMath", 2024; DeepSeek-R1 report, section 2.2.1.

mod advantage;
mod loss;
mod pack;

pub use advantage::{AdvantageScale, advantages};
pub use loss::{GrpoLoss, LossAggregation, LossInput, LossOutput, loss};
pub(crate) use pack::common_prefix;
pub use pack::{MicroBatch, Sampled, pack};
