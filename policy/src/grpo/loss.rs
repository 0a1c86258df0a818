//! The objective and its gradient with respect to the log-probabilities.
//!
//! For token t of completion i, with ratio `r = exp(new - old)`, advantage A and `d = reference - new`:
//!
//! `L_t = -min(r A, clip(r, 1 - low, 1 + high) A) + beta (exp(d) - d - 1)`
//!
//! (PPO's clipped objective; the k3 estimator of the KL divergence, Schulman 2020), averaged over tokens as
//! [`LossAggregation`] says. `dL_t/dnew = -r A [not clipped] + beta (1 - exp(d))`. DeepSeekMath, equations 3 and 4.

use serde::{Deserialize, Serialize};

/// How the losses of tokens become one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossAggregation {
    /// Mean over a completion's tokens, then over completions: `grpo`, as DeepSeekMath and R1-Zero write it.
    #[default]
    SequenceMean,
    /// Mean over all tokens of the step: as DAPO does (Yu et al., 2025).
    TokenMean,
}

/// The loss's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpoLoss {
    /// How far the ratio may fall below 1.
    pub clip_low: f64,
    /// How far the ratio may rise above 1.
    pub clip_high: f64,
    /// beta: the weight of the KL penalty to the reference; 0 for none.
    pub kl_coefficient: f64,
    /// How tokens are averaged.
    pub aggregation: LossAggregation,
}

/// One completion's share of the loss. All slices have one number for each of its tokens.
#[derive(Debug, Clone, Copy)]
pub struct LossInput<'a> {
    /// Log-probabilities under the policy being trained.
    pub new: &'a [f32],
    /// Log-probabilities when the completion was sampled.
    pub old: &'a [f32],
    /// Log-probabilities under the reference; none where there is no KL penalty.
    pub reference: Option<&'a [f32]>,
    /// The completion's advantage.
    pub advantage: f64,
}

/// Sums over the completions given; add the parts of a step up with [`LossOutput::merge`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LossOutput {
    /// The loss: this part's share of the step's mean.
    pub loss: f64,
    /// `dL/dnew` for each token, completions one after the other.
    pub gradient: Vec<f32>,
    /// Tokens counted.
    pub tokens: usize,
    /// Tokens whose ratio was clipped.
    pub clipped: usize,
    /// Sum over tokens of the k3 estimate of the KL divergence to the reference, in nats.
    pub kl: f64,
    /// The smallest ratio.
    pub ratio_min: f64,
    /// The largest ratio.
    pub ratio_max: f64,
}

impl LossOutput {
    /// Adds another part of the same step.
    pub fn merge(&mut self, other: LossOutput) {
        let first = self.tokens == 0;
        self.loss += other.loss;
        self.gradient.extend(other.gradient);
        self.tokens += other.tokens;
        self.clipped += other.clipped;
        self.kl += other.kl;
        self.ratio_min = if first { other.ratio_min } else { self.ratio_min.min(other.ratio_min) };
        self.ratio_max = if first { other.ratio_max } else { self.ratio_max.max(other.ratio_max) };
    }
}

/// The loss of some of a step's completions, and its gradient.
///
/// `completions` and `tokens` count the whole optimizer step, so that the parts add up to its mean.
///
/// # Panics
/// If a completion's slices differ in length.
pub fn loss(inputs: &[LossInput<'_>], settings: &GrpoLoss, completions: usize, tokens: usize) -> LossOutput {
    let mut out = LossOutput::default();
    for input in inputs {
        let n = input.new.len();
        assert!(
            input.old.len() == n && input.reference.is_none_or(|r| r.len() == n),
            "one log-probability for each token"
        );
        let weight = match settings.aggregation {
            LossAggregation::SequenceMean => 1.0 / (n as f64 * completions as f64),
            LossAggregation::TokenMean => 1.0 / tokens as f64,
        };
        let mut part =
            LossOutput { ratio_min: f64::INFINITY, ratio_max: f64::NEG_INFINITY, tokens: n, ..Default::default() };
        for t in 0..n {
            let new = f64::from(input.new[t]);
            let ratio = (new - f64::from(input.old[t])).exp();
            let clipped_ratio = ratio.clamp(1.0 - settings.clip_low, 1.0 + settings.clip_high);
            let (free, clipped) = (ratio * input.advantage, clipped_ratio * input.advantage);
            let mut term = -free.min(clipped);
            // Where the minimum is the clipped branch, and only there, the ratio has no gradient.
            let mut slope = if clipped < free { 0.0 } else { -free };
            part.clipped += usize::from(clipped < free);
            if let Some(reference) = input.reference {
                let d = f64::from(reference[t]) - new;
                let k3 = d.exp() - d - 1.0;
                part.kl += k3;
                term += settings.kl_coefficient * k3;
                slope += settings.kl_coefficient * (1.0 - d.exp());
            }
            part.loss += weight * term;
            part.gradient.push((weight * slope) as f32);
            part.ratio_min = part.ratio_min.min(ratio);
            part.ratio_max = part.ratio_max.max(ratio);
        }
        if n > 0 {
            out.merge(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(aggregation: LossAggregation, kl_coefficient: f64) -> GrpoLoss {
        GrpoLoss { clip_low: 0.2, clip_high: 0.2, kl_coefficient, aggregation }
    }

    #[test]
    fn two_completions_by_hand() {
        // First: ratios 1 and 1.5 with advantage 2: 2 and min(3, 2.4) = 2.4. Second: ratio 0.5 with advantage -1:
        // min(-0.5, -0.8) = -0.8, clipped.
        let (new, old) = ([-1.0f32, (1.5f32).ln() - 2.0], [-1.0f32, -2.0]);
        let (new_2, old_2) = ([(0.5f32).ln()], [0.0f32]);
        let inputs = [
            LossInput { new: &new, old: &old, reference: None, advantage: 2.0 },
            LossInput { new: &new_2, old: &old_2, reference: None, advantage: -1.0 },
        ];
        let out = loss(&inputs, &settings(LossAggregation::SequenceMean, 0.0), 2, 3);
        assert!((out.loss - (-(2.0 + 2.4) / 2.0 + 0.8) / 2.0).abs() < 1e-6, "{out:?}");
        assert_eq!((out.clipped, out.tokens), (2, 3));
        assert!((out.gradient[0] + 0.5).abs() < 1e-6 && out.gradient[1] == 0.0 && out.gradient[2] == 0.0);
        assert!((out.ratio_max - 1.5).abs() < 1e-6 && (out.ratio_min - 0.5).abs() < 1e-6);
        let out = loss(&inputs, &settings(LossAggregation::TokenMean, 0.0), 2, 3);
        assert!((out.loss - (-2.0 - 2.4 + 0.8) / 3.0).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn the_gradient_is_the_finite_difference() {
        for aggregation in [LossAggregation::SequenceMean, LossAggregation::TokenMean] {
            let settings = settings(aggregation, 0.3);
            let old = [-0.5f32, -1.0, -2.0, -0.1];
            let reference = [-0.7f32, -0.4, -2.5, -0.3];
            let at = |new: &[f32], advantage| {
                loss(&[LossInput { new, old: &old, reference: Some(&reference), advantage }], &settings, 3, 11)
            };
            for advantage in [1.3, -0.8] {
                let new = [-0.55f32, -0.6, -2.4, -0.12];
                let exact = at(&new, advantage).gradient;
                for t in 0..4 {
                    let step = 1e-3f32;
                    let (mut up, mut down) = (new, new);
                    up[t] += step;
                    down[t] -= step;
                    let slope = (at(&up, advantage).loss - at(&down, advantage).loss) / f64::from(up[t] - down[t]);
                    assert!((slope - f64::from(exact[t])).abs() < 1e-6, "token {t}: {slope} against {}", exact[t]);
                }
            }
        }
    }

    #[test]
    fn equal_rewards_give_no_gradient() {
        let input = LossInput { new: &[-1.0, -0.2], old: &[-1.1, -0.3], reference: None, advantage: 0.0 };
        let out = loss(&[input], &settings(LossAggregation::SequenceMean, 0.0), 1, 2);
        assert!(out.gradient.iter().all(|g| *g == 0.0) && out.loss == 0.0);
    }
}
