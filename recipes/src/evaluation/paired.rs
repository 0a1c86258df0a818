//! Two models on the same problems: is the difference more than chance?
//!
//! Each problem gives one difference of pass@1 (the share of right samples under one model less that under the other).
//! If the models were equally good, each difference would as likely have had the other sign: the test flips signs at
//! random and asks how often the sum comes out at least as far from 0 as the one that was seen (Fisher's permutation test
//! for pairs; two-sided). With at most [`EXACT`] problems that differ, all flips are counted; with more, [`DRAWS`] seeded
//! ones, and the p-value is (1 + as extreme) / (1 + draws), which is never 0 (Phipson and Smyth, 2010).

use policy::random::philox;
use serde::{Deserialize, Serialize};

use crate::metrics::Estimate;

/// Up to so many differing problems, every flip is counted.
const EXACT: usize = 16;
/// Random flips where there are more.
const DRAWS: u32 = 100_000;

/// One model against another on one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Problems that both were judged on.
    pub problems: u64,
    /// Problems on which the first did better.
    pub better: u64,
    /// Problems on which the first did worse.
    pub worse: u64,
    /// Mean difference of pass@1, first less second, with the 95% interval over problems.
    pub difference: Estimate,
    /// Two-sided p-value of the sign permutation test.
    pub p_value: f64,
    /// Whether all flips were counted.
    pub exact: bool,
}

/// Right samples and samples of one problem.
pub(super) type Share = (u32, u32);

/// Compares the shares of the same problems in the same order.
pub(super) fn compare(first: &[Share], second: &[Share], seed: u64) -> Paired {
    // Whole numbers, over a common denominator: sums are then exact and no rounding makes two equal sums differ.
    let common = first.iter().chain(second).map(|(_, samples)| u64::from(*samples)).fold(1, lcm);
    let over_common = |(right, samples): &Share| (u64::from(*right) * common / u64::from(*samples)) as i64;
    let differences: Vec<i64> =
        first.iter().zip(second).map(|(one, other)| over_common(one) - over_common(other)).collect();
    let shares: Vec<f64> = differences.iter().map(|difference| *difference as f64 / common as f64).collect();
    let (p_value, exact) = sign_permutation(&differences, seed);
    Paired {
        problems: differences.len() as u64,
        better: differences.iter().filter(|difference| **difference > 0).count() as u64,
        worse: differences.iter().filter(|difference| **difference < 0).count() as u64,
        difference: Estimate::of_differences(&shares),
        p_value,
        exact,
    }
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

/// The p-value, and whether it is exact.
fn sign_permutation(differences: &[i64], seed: u64) -> (f64, bool) {
    let seen = differences.iter().sum::<i64>().abs();
    let moving: Vec<i64> = differences.iter().copied().filter(|difference| *difference != 0).collect();
    // Bit i of the flips turns the i-th difference.
    let sum = |flips: &dyn Fn(usize) -> bool| -> i64 {
        moving.iter().enumerate().map(|(i, difference)| if flips(i) { -difference } else { *difference }).sum()
    };
    if moving.len() <= EXACT {
        let all = 1_u32 << moving.len();
        let extreme = (0..all).filter(|set| sum(&|i| set >> i & 1 == 1).abs() >= seen).count();
        return (extreme as f64 / f64::from(all), true);
    }
    let key = [(seed & u64::from(u32::MAX)) as u32, (seed >> 32) as u32];
    let blocks = moving.len().div_ceil(128);
    let mut bits = vec![[0_u32; 4]; blocks];
    let mut extreme = 0_u32;
    for draw in 0..DRAWS {
        for (block, bits) in bits.iter_mut().enumerate() {
            *bits = philox([block as u32, draw, 0x7061_6972, 0], key);
        }
        let flips = |i: usize| bits[i / 128][i / 32 % 4] >> (i % 32) & 1 == 1;
        extreme += u32::from(sum(&flips).abs() >= seen);
    }
    (f64::from(1 + extreme) / f64::from(1 + DRAWS), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_is_counted_out() {
        // Differences 1, 1, 1, 0: of the 8 flips only all and none reach 3.
        let paired = compare(&[(1, 1), (1, 1), (1, 1), (0, 1)], &[(0, 1), (0, 1), (0, 1), (0, 1)], 0);
        assert!(paired.exact);
        assert_eq!((paired.p_value, paired.better, paired.worse, paired.problems), (0.25, 3, 0, 4));
        assert_eq!(paired.difference.mean, 0.75);
        // With 0 and 1 alone, the test is McNemar's exact one: 5 against 1 gives 2 (C(6,0) + C(6,1)) / 64.
        let first: Vec<Share> = (0..6).map(|i| (u32::from(i < 5), 1)).collect();
        let second: Vec<Share> = (0..6).map(|i| (u32::from(i >= 5), 1)).collect();
        assert_eq!(compare(&first, &second, 0).p_value, 14.0 / 64.0);
    }

    #[test]
    fn equal_models_are_not_different() {
        let shares: Vec<Share> = (0..40).map(|i| (i % 5, 4)).map(|(right, n)| (right.min(n), n)).collect();
        let paired = compare(&shares, &shares, 3);
        assert_eq!((paired.p_value, paired.difference.mean, paired.better), (1.0, 0.0, 0));
    }

    #[test]
    fn numbers_of_samples_may_differ() {
        // 1/2 against 2/3, three times.
        let paired = compare(&[(1, 2); 3], &[(2, 3); 3], 0);
        assert!((paired.difference.mean + 1.0 / 6.0).abs() < 1e-12);
        assert_eq!(paired.worse, 3);
    }

    #[test]
    fn random_flips_come_near_the_exact_value_and_are_the_same_each_time() {
        // 20 problems that differ, 14 for and 6 against: McNemar's exact p is 0.1153.
        let first: Vec<Share> = (0..20).map(|i| (u32::from(i < 14), 1)).collect();
        let second: Vec<Share> = (0..20).map(|i| (u32::from(i >= 14), 1)).collect();
        let paired = compare(&first, &second, 7);
        assert!(!paired.exact);
        // Three standard errors of 100,000 draws.
        assert!((paired.p_value - 0.115_318).abs() < 0.003, "{}", paired.p_value);
        assert_eq!(paired, compare(&first, &second, 7));
    }
}
