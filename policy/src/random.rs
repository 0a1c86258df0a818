//! Random numbers from a counter: Philox 4x32-10.
//!
//! A draw is a pure function of what it is for (run seed, step, task, sample, position), never the
//! next number of a shared stream. So what is sampled depends neither on how sequences were batched
//! nor on the number of threads, and a resumed run draws what the uninterrupted one would have.
//!
//! Philox (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
//! turns a 128-bit counter under a 64-bit key into 128 random bits; it passes BigCrush, and it is a
//! bijection of the counter. So two draws under one seed never get the same 128 bits as long as they
//! differ in one of step, task, sample and position; two that are alike in all four are one draw. It
//! is for those who draw to see to that: the engine tells samples and positions apart, its caller
//! the tasks of a call, and, by `step`, all calls of a run: steps, stages, evaluations.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_INCREMENTS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Ten rounds of Philox 4x32: 128 random bits for a counter under a key.
#[must_use]
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key[0] = key[0].wrapping_add(KEY_INCREMENTS[0]);
            key[1] = key[1].wrapping_add(KEY_INCREMENTS[1]);
        }
        let (high_0, low_0) = split(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let (high_1, low_1) = split(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
    }
    counter
}

/// What one sampling draw is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RandomKey {
    /// The run's seed.
    pub seed: u64,
    /// What sets this call apart from all others under the seed, such as a training step or an evaluation.
    pub step: u32,
    /// The task, as its index within that.
    pub task: u32,
    /// The sample of that task's group.
    pub sample: u32,
    /// The position of the token in the completion.
    pub position: u32,
}

/// A number in [0, 1), uniform over the multiples of 2^-24 (all of which an `f32` holds exactly).
#[must_use]
pub fn uniform(key: RandomKey) -> f32 {
    let bits = philox([key.position, key.sample, key.task, key.step], words(key.seed));
    unit_f32(bits[0])
}

/// The numbers below `count` in a random order, for a step and a pass over what it sampled.
#[must_use]
pub fn permutation(seed: u64, step: u32, pass: u32, count: usize) -> Vec<usize> {
    // No task has this number, so no sampled token draws the same.
    const ORDER: u32 = u32::MAX;
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let [low, high, ..] = philox([last as u32, pass, ORDER, step], words(seed));
        // The bias of the multiplication is below count / 2^64.
        let draw = u128::from((u64::from(high) << 32) | u64::from(low));
        order.swap(last, ((draw * (last as u128 + 1)) >> 64) as usize);
    }
    order
}

/// Normally distributed numbers for fresh weights: element `i` of the stream of a name.
///
/// Each parameter has its own stream, named after it, so that adding a parameter does not change
/// the others. Box-Muller in f64, rounded to f32 at the end.
#[derive(Clone, Copy, Debug)]
pub struct Normal {
    key: [u32; 2],
    stream: [u32; 2],
}

impl Normal {
    /// The stream of `name` under a seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        // SHA-256 rather than the standard hasher, which promises no stability between versions.
        let mut hasher = Sha256::new();
        hasher.update(b"normal stream");
        hasher.update(seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let digest = hasher.finalize();
        let word = |i: usize| {
            let at = i * 4;
            u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]])
        };
        Self { key: [word(0), word(1)], stream: [word(2), word(3)] }
    }

    /// Element `index` of the stream: mean 0, variance 1.
    #[must_use]
    pub fn at(&self, index: u64) -> f32 {
        let pair = self.pair(index / 2);
        pair[usize::from(index % 2 == 1)]
    }

    /// The stream's first `count` elements, times `standard_deviation`.
    #[must_use]
    pub fn take(&self, count: usize, standard_deviation: f32) -> Vec<f32> {
        let mut values = vec![0.0; count];
        values.par_chunks_mut(2 * PAIRS).enumerate().for_each(|(block, values)| {
            for (index, values) in values.chunks_mut(2).enumerate() {
                let pair = self.pair((block * PAIRS + index) as u64);
                values.iter_mut().zip(pair).for_each(|(value, drawn)| *value = drawn * standard_deviation);
            }
        });
        values
    }

    fn pair(&self, index: u64) -> [f32; 2] {
        let [low, high] = words(index);
        let bits = philox([low, high, self.stream[0], self.stream[1]], self.key);
        // (0, 1]: the logarithm of 0 would be infinite.
        let radius_at = (wide(bits[0], bits[1]) + 1) as f64 / TWO_TO_53;
        let turn = wide(bits[2], bits[3]) as f64 / TWO_TO_53;
        let radius = (-2.0 * radius_at.ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * turn).sin_cos();
        [(radius * cosine) as f32, (radius * sine) as f32]
    }
}

/// Pairs that one task draws.
const PAIRS: usize = 4096;
const TWO_TO_53: f64 = 9_007_199_254_740_992.0;

fn wide(high: u32, low: u32) -> u64 {
    ((u64::from(high) << 32) | u64::from(low)) >> 11
}

fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 / 16_777_216.0
}

fn split(product: u64) -> (u32, u32) {
    ((product >> 32) as u32, product as u32)
}

fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // From the file `kat_vectors` of the authors' library, Random123: philox4x32, 10 rounds.
        fn check(counter: [u32; 4], key: [u32; 2], expected: [u32; 4]) {
            assert_eq!(philox(counter, key), expected);
        }
        check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        check([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        check(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        );
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let base = RandomKey { seed: 1, step: 2, task: 3, sample: 4, position: 5 };
        let others = [
            RandomKey { seed: 2, ..base },
            RandomKey { seed: 1 | (1 << 40), ..base },
            RandomKey { step: 9, ..base },
            RandomKey { task: 9, ..base },
            RandomKey { sample: 9, ..base },
            RandomKey { position: 9, ..base },
            RandomKey { step: 3, task: 2, ..base },
        ];
        assert_eq!(uniform(base).to_bits(), uniform(base).to_bits());
        for other in others {
            assert_ne!(uniform(base).to_bits(), uniform(other).to_bits(), "{other:?}");
        }
    }

    #[test]
    fn uniform_covers_the_unit_interval_evenly() {
        let count = 100_000u32;
        let mut buckets = [0u32; 10];
        let mut sum = 0f64;
        for position in 0..count {
            let value = uniform(RandomKey { seed: 7, step: 0, task: 1, sample: 2, position });
            assert!((0.0..1.0).contains(&value));
            buckets[(value * 10.0) as usize] += 1;
            sum += f64::from(value);
        }
        // Six standard deviations: 1/sqrt(12 n) of the mean, sqrt(n 0.1 0.9) of a bucket.
        assert!((sum / f64::from(count) - 0.5).abs() < 6.0 * 0.289 / f64::from(count).sqrt());
        for bucket in buckets {
            assert!((f64::from(bucket) - 10_000.0).abs() < 6.0 * 94.9, "{buckets:?}");
        }
        assert_eq!(unit_f32(u32::MAX), 1.0 - 1.0 / 16_777_216.0);
        assert_eq!(unit_f32(0), 0.0);
    }

    #[test]
    fn permutations_are_even_and_differ_by_what_they_are_for() {
        let order = permutation(1, 2, 0, 50);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order, permutation(1, 2, 0, 50));
        for other in [permutation(2, 2, 0, 50), permutation(1, 3, 0, 50), permutation(1, 2, 1, 50)] {
            assert_ne!(order, other);
        }
        assert_eq!((permutation(1, 2, 0, 0), permutation(1, 2, 0, 1)), (vec![], vec![0]));
        // Each of six orders of three comes as often, within six standard deviations of sqrt(6000 * 1/6 * 5/6).
        let mut counts = std::collections::BTreeMap::<Vec<usize>, i32>::new();
        (0..6000).for_each(|step| *counts.entry(permutation(7, step, 0, 3)).or_default() += 1);
        assert!(counts.len() == 6 && counts.values().all(|count| (count - 1000).abs() < 174), "{counts:?}");
    }

    #[test]
    fn normal_has_the_moments_of_a_normal() {
        let values = Normal::new(3, "model.embed_tokens.weight").take(200_001, 2.0);
        assert_eq!(values.len(), 200_001);
        let moment =
            |power: i32| values.iter().map(|&v| (f64::from(v) / 2.0).powi(power)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.014, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "{}", moment(2));
        assert!(moment(3).abs() < 0.06, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.15, "{}", moment(4));
        assert!(values.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn normal_streams_are_addressable_and_differ_by_name_and_seed() {
        let stream = Normal::new(3, "a");
        let values = stream.take(5, 1.0);
        for (index, value) in values.iter().enumerate() {
            assert_eq!(stream.at(index as u64).to_bits(), value.to_bits());
        }
        assert_ne!(values, Normal::new(3, "b").take(5, 1.0));
        assert_ne!(values, Normal::new(4, "a").take(5, 1.0));
        assert_eq!(values[..3], stream.take(3, 1.0)[..]);
    }
}
