//! The order in which tasks are taken: a fresh seeded shuffle of all of them per epoch.
//!
//! [`Order::index`] is a pure function of the position, so a resumed run goes on where it was
//! from nothing but a number, and no list of the data's size is kept. The shuffle is swap-or-not
//! (Hoang, Morris, Rogaway: An Enciphering Scheme Based on a Card Shuffle, 2012): in each round
//! `x` and `k - x (mod n)` change places or not, by one random bit that both agree on. Each round
//! is a bijection of `0..n` for any `n`, so every epoch takes every task once. The paper asks
//! for about `6 log2 n` rounds; a constant on top lets short lists mix as well.

use crate::random::{Counter, mix};

/// Distinguishes this use of the seed from the others.
const PURPOSE: u64 = 0x006F_7264_6572;

/// A shuffle of `0..len` for each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    len: usize,
    seed: u64,
}

impl Order {
    /// The orders of `len` things under `seed`.
    #[must_use]
    pub fn new(len: usize, seed: u64) -> Self {
        Self { len, seed }
    }

    /// Which of the things stands at `position`, counted over all epochs: positions
    /// `e * len .. (e + 1) * len` are epoch `e`. With nothing to order it is 0.
    #[must_use]
    pub fn index(&self, position: u64) -> usize {
        if self.len == 0 {
            return 0;
        }
        let len = self.len as u64;
        let mut rounds = Counter::new(&[PURPOSE, self.seed, position / len]);
        let mut place = position % len;
        for _ in 0..24 + 6 * len.ilog2() {
            let (pivot, key) = (rounds.below(self.len) as u64, rounds.next_word());
            // Neither sum can wrap: a slice has fewer than 2^63 elements.
            let partner = (pivot + len - place) % len;
            if mix(key ^ place.max(partner)) & 1 == 1 {
                place = partner;
            }
        }
        // `place` is below `len`, a usize.
        place as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
        let order = Order::new(len, seed);
        (0..len as u64).map(|place| order.index(epoch * len as u64 + place)).collect()
    }

    #[test]
    fn every_epoch_takes_everything_once() {
        for len in [1, 2, 3, 5, 16, 100, 7_473] {
            for number in 0..3 {
                let mut indices = epoch(len, 11, number);
                indices.sort_unstable();
                assert_eq!(indices, (0..len).collect::<Vec<_>>(), "length {len}, epoch {number}");
            }
        }
    }

    #[test]
    fn seeds_and_epochs_differ_and_repeat() {
        assert_eq!(epoch(50, 1, 0), epoch(50, 1, 0));
        assert_ne!(epoch(50, 1, 0), epoch(50, 1, 1));
        assert_ne!(epoch(50, 1, 0), epoch(50, 2, 0));
        assert_ne!(epoch(50, 1, 0), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn every_thing_comes_first_equally_often() {
        for len in [2, 3, 10] {
            let mut counts = vec![0_u32; len];
            for seed in 0..6_000 {
                counts[Order::new(len, seed).index(0)] += 1;
            }
            let expected = 6_000.0 / len as f64;
            // Five standard deviations of a binomial count.
            let margin = 5.0 * (expected * (1.0 - 1.0 / len as f64)).sqrt();
            assert!(counts.iter().all(|&count| (f64::from(count) - expected).abs() < margin), "{counts:?}");
        }
    }

    #[test]
    fn all_orders_of_three_occur() {
        let orders: std::collections::BTreeSet<_> = (0..600).map(|seed| epoch(3, seed, 0)).collect();
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn an_empty_order_does_not_panic() {
        assert_eq!(Order::new(0, 1).index(5), 0);
    }
}
