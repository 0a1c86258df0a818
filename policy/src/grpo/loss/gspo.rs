//! `gspo`: the clipped objective of `grpo`, with one importance weight for each completion.
//!
//! `w_i = exp(mean_t(new - old))`, the geometric mean of its tokens' weights; the policy's term and c as in `grpo`. Rewards
//! are of whole completions, and so is what is clipped: all tokens of a completion, or none. Zheng et al., "Group Sequence
//! Policy Optimization", 2025, equations 5 to 7. The weights stay far closer to 1 than those of tokens: the paper clips at
//! 3e-4 and 4e-4. As TRL's `importance_sampling_level="sequence"` with `loss_type="grpo"`.

/// The logarithm of a completion's weight.
pub(super) fn log_weight(log_weights: &[f64]) -> f64 {
    log_weights.iter().sum::<f64>() / log_weights.len() as f64
}

/// Adds the derivative by the logarithm of a completion's weight to those by its tokens' log-probabilities.
pub(super) fn spread(by_weight: f64, gradient: &mut [f64]) {
    let each = by_weight / gradient.len() as f64;
    gradient.iter_mut().for_each(|g| *g += each);
}
