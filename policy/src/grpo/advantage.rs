//! Advantages: how much better a completion did than its group.
//!
//! `A_i = (r_i - b_i) / s`, where the baseline b is the group's mean (DeepSeekMath, section 4.1.2) or, leaving one out,
//! the mean of the group's *other* rewards (Ahmadian et al., "Back to Basics", 2024: RLOO), and s is one of
//! [`AdvantageScale`]. Standard deviations are those of a sample (n - 1), and 1e-4 is added to them, as in TRL.
//!
//! Where a penalty is taken off the rewards ([`advantages_less`]), it is compared with the group's as the rewards are, and
//! not divided by s: `A_i = (r_i - b_i) / s - (p_i - c_i)`, with c the baseline of the penalties. Divided by a deviation
//! that it is part of, it would be the whole advantage of a group of equal rewards, however small its coefficient; divided
//! by the rewards' own, it would weigh more the less a group's rewards differ. So it weighs what its coefficient says, in
//! every group.
//!
//! Deviations from TRL: there, a completion that cannot be scored, or a group of equal rewards, may come out a rounding
//! error away from 0; here it is 0 exactly. RLOO's `normalize_advantages` (by default off) divides the penalty as well.

use serde::{Deserialize, Serialize};

/// What a group's centred rewards are divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageScale {
    /// The group's standard deviation (R1-Zero).
    #[default]
    Group,
    /// The standard deviation of all of the step's rewards (Liu et al., "Tricks or Traps?", 2025).
    Batch,
    /// Nothing (Liu et al., "Understanding R1-Zero-Like Training", 2025).
    None,
}

/// How advantages are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdvantageSettings {
    /// What they are divided by.
    pub scale: AdvantageScale,
    /// Whether a completion's own reward is left out of what it is compared with.
    pub leave_one_out: bool,
}

/// Keeps the division finite; as small as in TRL.
const EPSILON: f64 = 1e-4;

/// Whether a group teaches nothing: fewer than two of its completions have a reward, or all rewards are equal.
#[must_use]
pub fn is_flat(rewards: &[Option<f64>]) -> bool {
    let mut scored = rewards.iter().flatten();
    scored.next().is_none_or(|first| scored.all(|reward| reward == first))
}

/// The advantages of a step's groups.
///
/// A completion without a reward (unscorable) has none and gets advantage 0; it does not count for the others either.
/// A flat group ([`is_flat`]) gives zeros exactly.
#[must_use]
pub fn advantages(groups: &[Vec<Option<f64>>], settings: AdvantageSettings) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.iter().flatten().copied().flatten().collect();
    groups
        .iter()
        .map(|rewards| {
            if is_flat(rewards) {
                return vec![0.0; rewards.len()];
            }
            let scored: Vec<f64> = rewards.iter().copied().flatten().collect();
            let n = scored.len() as f64;
            let mean = scored.iter().sum::<f64>() / n;
            let divisor = match settings.scale {
                AdvantageScale::Group => deviation(&scored) + EPSILON,
                AdvantageScale::Batch => deviation(&all) + EPSILON,
                AdvantageScale::None => 1.0,
            };
            // The mean of the others lies further from a reward than the mean of all does.
            let stretch = if settings.leave_one_out { n / (n - 1.0) } else { 1.0 };
            rewards.iter().map(|reward| reward.map_or(0.0, |r| (r - mean) * stretch / divisor)).collect()
        })
        .collect()
}

/// The advantages of groups where each completion has a penalty as well, by group like the rewards.
///
/// The penalty of a completion without a reward counts for nobody, and a flat group has its penalties alone.
///
/// # Panics
/// If a completion has no penalty.
#[must_use]
pub fn advantages_less(
    groups: &[Vec<Option<f64>>],
    penalties: &[Vec<f64>],
    settings: AdvantageSettings,
) -> Vec<Vec<f64>> {
    assert!(groups.iter().map(Vec::len).eq(penalties.iter().map(Vec::len)), "one penalty for each completion");
    let of_scored = |(rewards, penalties): (&Vec<Option<f64>>, &Vec<f64>)| {
        rewards.iter().zip(penalties).map(|(reward, penalty)| reward.map(|_| *penalty)).collect()
    };
    let scored: Vec<Vec<Option<f64>>> = groups.iter().zip(penalties).map(of_scored).collect();
    let taken_off = advantages(&scored, AdvantageSettings { scale: AdvantageScale::None, ..settings });
    let mut all = advantages(groups, settings);
    for (advantage, penalty) in all.iter_mut().flatten().zip(taken_off.iter().flatten()) {
        *advantage -= penalty;
    }
    all
}

/// The standard deviation of a sample.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(groups: &[&[Option<f64>]], scale: AdvantageScale, leave_one_out: bool, expected: &[&[f64]]) {
        let groups: Vec<_> = groups.iter().map(|group| group.to_vec()).collect();
        let found = advantages(&groups, AdvantageSettings { scale, leave_one_out });
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(*expected) {
                assert!((f - e).abs() < 1e-9, "{found:?} where {expected:?} was expected");
            }
        }
    }

    #[test]
    fn groups_by_hand() {
        use AdvantageScale::{Batch, Group, None as Unscaled};
        // Mean 0.5, sample standard deviation sqrt(1/3).
        let d = (1.0f64 / 3.0).sqrt() + 1e-4;
        let rewards: &[_] = &[Some(1.0), Some(0.0), Some(1.0), Some(0.0)];
        check(&[rewards], Group, false, &[&[0.5 / d, -0.5 / d, 0.5 / d, -0.5 / d]]);
        check(&[rewards], Unscaled, false, &[&[0.5, -0.5, 0.5, -0.5]]);
        // The others' mean is 1/3 for the right ones, 2/3 for the wrong ones.
        check(&[rewards], Unscaled, true, &[&[2.0 / 3.0, -2.0 / 3.0, 2.0 / 3.0, -2.0 / 3.0]]);
        check(&[&[Some(0.3); 3]], Group, true, &[&[0.0; 3]]);
        check(&[&[Some(1.0), None, Some(0.0)]], Unscaled, false, &[&[0.5, 0.0, -0.5]]);
        check(&[&[Some(1.0), None]], Group, true, &[&[0.0, 0.0]]);
        check(&[&[]], Group, false, &[&[]]);
        // Two groups: all four rewards have the mean 0.75 and the variance (3 * 0.0625 + 0.5625) / 3 = 0.25.
        let d = 0.5 + 1e-4;
        check(&[&[Some(1.0), Some(0.0)], &[Some(1.0), Some(1.0)]], Batch, false, &[&[0.5 / d, -0.5 / d], &[0.0; 2]]);
    }

    #[test]
    fn a_penalty_weighs_what_it_is_in_every_group() {
        use AdvantageScale::{Batch, Group, None as Unscaled};
        fn check(
            rewards: &[Option<f64>],
            penalties: &[f64],
            (scale, leave_one_out): (AdvantageScale, bool),
            expected: &[f64],
        ) {
            let settings = AdvantageSettings { scale, leave_one_out };
            let found = advantages_less(&[rewards.to_vec()], &[penalties.to_vec()], settings).remove(0);
            assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() < 1e-12, "{scale:?}: {found:?} where {expected:?} was expected");
            }
        }
        // Equal rewards: what is left is the penalty against the group's mean, whatever the rewards are divided by.
        for scale in [Group, Batch, Unscaled] {
            check(&[Some(0.5); 4], &[0.001, 0.002, 0.003, 0.002], (scale, false), &[0.001, 0.0, -0.001, 0.0]);
            check(&[Some(0.5); 2], &[0.001, 0.003], (scale, true), &[0.002, -0.002]);
        }
        // Mean 0.5, sample standard deviation sqrt(1/2): only the rewards are divided by it.
        let better = 0.5 / (0.5f64.sqrt() + 1e-4);
        check(&[Some(1.0), Some(0.0)], &[0.1, 0.3], (Group, false), &[better + 0.1, -better - 0.1]);
        // Without a scale it is as if the rewards had been lower.
        check(&[Some(1.0), Some(0.0)], &[0.5, 0.3], (Unscaled, true), &[0.8, -0.8]);
        // What cannot be scored has no advantage, and its penalty moves nobody's.
        check(&[Some(0.5), None, Some(0.5)], &[0.1, 9.0, 0.3], (Group, false), &[0.1, 0.0, -0.1]);
        check(&[Some(0.5), None], &[0.1, 9.0], (Group, true), &[0.0, 0.0]);
    }

    #[test]
    fn advantages_sum_to_zero() {
        for scale in [AdvantageScale::Group, AdvantageScale::Batch, AdvantageScale::None] {
            for leave_one_out in [false, true] {
                let reward =
                    |seed: u32, i: u32| f64::from(seed.wrapping_mul(2_654_435_761).rotate_left(i * 3) % 97) / 31.0;
                let groups: Vec<Vec<_>> =
                    (0..200).map(|seed| (0..9).map(|i| Some(reward(seed, i))).collect()).collect();
                for group in advantages(&groups, AdvantageSettings { scale, leave_one_out }) {
                    let total: f64 = group.iter().sum();
                    assert!(total.abs() < 1e-9, "{scale:?} {leave_one_out}: {total}");
                }
            }
        }
    }
}
