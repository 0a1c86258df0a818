//! Learning: gradients summed over micro-batches, AdamW, and the learning rate's schedule.
//!
//! All of it is deterministic with any number of threads: elementwise work is split into chunks of a
//! fixed size, and the one reduction (the gradient's norm) adds the chunks' f64 sums in order.

mod adamw;
mod gradients;
mod schedule;

pub use adamw::{AdamW, AdamWConfig, AdamWState, StepReport};
pub use gradients::{Gradients, NamedGradient};
pub use schedule::{Decay, Schedule};

/// Elements per unit of parallel work: fixed, so that sums do not depend on the threads.
const CHUNK: usize = 8192;
