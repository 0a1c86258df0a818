//! `dapo`: the clipped objective of `grpo`, averaged over all tokens that were sampled together.
//!
//! `c = optimizer steps of a pass / tokens sampled together`: every token counts the same, and long completions in full.
//! Yu et al., "DAPO", 2025, equation 8. The paper's other three ideas are settings of their own: a higher `clip_high`,
//! dynamic sampling, and a soft punishment of over-long answers (a reward). As TRL's `loss_type="dapo"`.

use super::Counts;

pub(super) fn share(counts: &Counts) -> f64 {
    1.0 / counts.tokens_per_part
}
