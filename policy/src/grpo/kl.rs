//! How far the policy is from the reference: three estimates of the KL divergence from one sampled token.
//!
//! With the token's log-probability `new` under the policy and `d = reference - new` (Schulman, "Approximating KL
//! divergence", 2020):
//!
//! | | estimate | derivative by `new` | |
//! |---|---|---|---|
//! | k1 | `-d` | `1` | right on average, noisy, may be negative |
//! | k2 | `d^2 / 2` | `-d` | a little off, little noise |
//! | k3 | `exp(d) - d - 1` | `1 - exp(d)` | right on average, never negative (DeepSeekMath, equation 4) |
//!
//! The estimate stands in the loss, or is taken off the reward before advantages are made. In the loss, k1's derivative
//! does not depend on the reference and is 0 on average: it makes noise and holds nothing back. It belongs into the reward.
//!
//! In the loss the tokens were sampled from an older policy, which the estimates' averages do not know of. With
//! `importance`, an estimate is multiplied by the importance weight of its token (or sequence, where the loss has one for
//! the sequence), and the derivative goes through that weight as well (DeepSeek-V3.2 report, section 3.1; TRL's
//! `use_bias_correction_kl`). TRL has k3 only.

use serde::{Deserialize, Serialize};

/// Which estimate of the KL divergence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// The log-ratio.
    K1,
    /// Half of its square.
    K2,
    /// `exp(d) - d - 1`.
    #[default]
    K3,
}

/// The penalty in the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KlPenalty {
    /// beta, its weight.
    pub coefficient: f64,
    /// The estimate.
    pub estimator: KlEstimator,
    /// Whether the estimate is multiplied by the importance weight.
    pub importance: bool,
}

impl KlEstimator {
    /// The estimate of one token, in nats, and its derivative by `new`.
    #[must_use]
    pub fn estimate(self, new: f64, reference: f64) -> (f64, f64) {
        let d = reference - new;
        match self {
            KlEstimator::K1 => (-d, 1.0),
            KlEstimator::K2 => (0.5 * d * d, -d),
            KlEstimator::K3 => (d.exp() - d - 1.0, 1.0 - d.exp()),
        }
    }
}

/// The estimate for a whole completion, the sum over its tokens: what is taken off its reward, times the coefficient.
///
/// # Panics
/// If the slices differ in length.
#[must_use]
pub fn sequence_kl(sampled: &[f32], reference: &[f32], estimator: KlEstimator) -> f64 {
    assert_eq!(sampled.len(), reference.len(), "one log-probability for each token");
    let tokens = sampled.iter().zip(reference);
    tokens.map(|(new, reference)| estimator.estimate(f64::from(*new), f64::from(*reference)).0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [KlEstimator; 3] = [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3];

    #[test]
    fn estimates_by_hand() {
        // The reference gives half as much probability: d = -ln 2.
        let ln2 = 2f64.ln();
        for (estimator, value, slope) in
            [(ALL[0], ln2, 1.0), (ALL[1], ln2 * ln2 / 2.0, ln2), (ALL[2], 0.5 + ln2 - 1.0, 0.5)]
        {
            let (found, derivative) = estimator.estimate(-1.0, -1.0 - ln2);
            assert!((found - value).abs() < 1e-12 && (derivative - slope).abs() < 1e-12, "{estimator:?}");
        }
        assert!((sequence_kl(&[-1.0, -0.5], &[-2.0, -1.0], KlEstimator::K1) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn k1_and_k3_are_right_on_average() {
        let (policy, reference) = ([0.5f64, 0.3, 0.2], [0.2f64, 0.2, 0.6]);
        let pairs = || policy.iter().zip(reference);
        let exact: f64 = pairs().map(|(p, r)| p * (p / r).ln()).sum();
        for estimator in [KlEstimator::K1, KlEstimator::K3] {
            let average: f64 = pairs().map(|(p, r)| p * estimator.estimate(p.ln(), r.ln()).0).sum();
            assert!((average - exact).abs() < 1e-12, "{estimator:?}: {average} for {exact}");
        }
        let mean_slope: f64 = pairs().map(|(p, r)| p * KlEstimator::K2.estimate(p.ln(), r.ln()).1).sum();
        assert!((mean_slope - exact).abs() < 1e-12);
    }
}
