//! `bnpo`: the clipped objective of `grpo`, averaged over all tokens of the optimizer step.
//!
//! `c = 1 / (tokens of the optimizer step)`. TRL's `loss_type="bnpo"`, named there after batch normalisation; differs from
//! `dapo` where a pass over what was sampled takes several optimizer steps: a step with few tokens counts as much as one
//! with many.
//!
//! Deviation from TRL: there the mean is over what one forward pass holds, and then over the passes of the step; here over
//! the step, so that it does not depend on how much fits into memory at once.

use super::Counts;

pub(super) fn share(counts: &Counts) -> f64 {
    1.0 / counts.tokens as f64
}
