//! Advantages: how much better a completion did than its group.

use serde::{Deserialize, Serialize};

/// What a group's centred rewards are divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageScale {
    /// The group's standard deviation (R1-Zero).
    #[default]
    Group,
    /// Nothing (Liu et al., "Understanding R1-Zero-Like Training", 2025).
    None,
}

/// Keeps the division finite; as small as in TRL.
const EPSILON: f64 = 1e-4;

/// The advantages of one group: `(r - mean) / (std + 1e-4)`, with the sample standard deviation.
///
/// A completion without a reward (unscorable) has none and gets advantage 0; it does not count for the others either.
/// Equal rewards give zeros exactly.
pub fn advantages(rewards: &[Option<f64>], scale: AdvantageScale) -> Vec<f64> {
    let scored: Vec<f64> = rewards.iter().copied().flatten().collect();
    let n = scored.len() as f64;
    if scored.len() < 2 || scored.iter().all(|r| *r == scored[0]) {
        return vec![0.0; rewards.len()];
    }
    let mean = scored.iter().sum::<f64>() / n;
    let deviation = (scored.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let divisor = match scale {
        AdvantageScale::Group => deviation + EPSILON,
        AdvantageScale::None => 1.0,
    };
    rewards.iter().map(|reward| reward.map_or(0.0, |r| (r - mean) / divisor)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rewards: &[Option<f64>], scale: AdvantageScale, expected: &[f64]) {
        let found = advantages(rewards, scale);
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-9, "{found:?} where {expected:?} was expected");
        }
    }

    #[test]
    fn groups_by_hand() {
        // Mean 0.5, sample standard deviation sqrt(1/3).
        let d = (1.0f64 / 3.0).sqrt() + 1e-4;
        let rewards = [Some(1.0), Some(0.0), Some(1.0), Some(0.0)];
        check(&rewards, AdvantageScale::Group, &[0.5 / d, -0.5 / d, 0.5 / d, -0.5 / d]);
        check(&rewards, AdvantageScale::None, &[0.5, -0.5, 0.5, -0.5]);
        check(&[Some(0.3); 3], AdvantageScale::Group, &[0.0; 3]);
        check(&[Some(1.0), None, Some(0.0)], AdvantageScale::None, &[0.5, 0.0, -0.5]);
        check(&[Some(1.0), None], AdvantageScale::Group, &[0.0, 0.0]);
        check(&[], AdvantageScale::Group, &[]);
    }

    #[test]
    fn advantages_sum_to_zero() {
        for seed in 0..200u32 {
            let rewards: Vec<Option<f64>> = (0..9)
                .map(|i| Some(f64::from(seed.wrapping_mul(2_654_435_761).rotate_left(i * 3) % 97) / 31.0))
                .collect();
            let total: f64 = advantages(&rewards, AdvantageScale::Group).iter().sum();
            assert!(total.abs() < 1e-9, "{total}");
        }
    }
}
