//! `dr_grpo`: the clipped objective of `grpo`, summed over tokens and divided by a constant.
//!
//! `c = 1 / (completions * max_tokens)`, with max_tokens where a completion is cut off: so a wrong answer is not punished
//! less for each token by being long. Liu et al., "Understanding R1-Zero-Like Training" (Dr. GRPO), 2025, section 3. The
//! paper also divides advantages by nothing (`AdvantageScale::None`), which is a setting of its own here, as in TRL.

use super::Counts;

pub(super) fn share(max_tokens: usize, counts: &Counts) -> f64 {
    1.0 / (counts.completions as f64 * max_tokens as f64)
}
