//! Rotary position embedding: pair i of a head's rope part is turned by `position * theta^(-2i/d)`.
//!
//! Su et al., "RoFormer", 2021. DeepSeek-V3's checkpoints pair neighbours (2i, 2i+1) (`rope_interleave`); others pair
//! i with i + d/2. transformers moves the interleaved pairs into the other order before turning them; queries and keys
//! move alike, so their products, all that attention uses, are the same as here, where they stay in place.

use std::sync::OnceLock;

use super::Real;
use crate::config::MOST_POSITIONS;

/// Positions of the first block, and of the second; each further block has as many as all before it.
const FIRST: usize = 1024;
/// Blocks that hold [`MOST_POSITIONS`].
const BLOCKS: usize = 1 + (MOST_POSITIONS / FIRST).ilog2() as usize;

/// Cosines and sines of some positions, side by side: position-major, then pair.
type Block = Box<[(f64, f64)]>;

/// Cosines and sines for every position: computed in f64, a block of positions when the first of them is met, and kept.
///
/// So what it takes in memory follows the longest sequence, not the longest that the model could have. Those who turn rows
/// by one table share what it keeps.
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// Radians from one position to the next, of each pair.
    frequencies: Vec<f64>,
    amplitude: f64,
    positions: usize,
    interleaved: bool,
    blocks: [OnceLock<Block>; BLOCKS],
}

impl RopeTable {
    /// A table for `positions` positions of a rope part `width` numbers wide (even), with base `theta`.
    pub fn new(positions: usize, width: usize, theta: f64, interleaved: bool) -> Self {
        let frequencies: Vec<f64> = (0..width / 2).map(|pair| theta.powf(-2.0 * pair as f64 / width as f64)).collect();
        Self::scaled(positions, &frequencies, 1.0, interleaved)
    }

    /// A table of any frequencies (radians from one position to the next, one for each pair); rows are multiplied with
    /// `amplitude` as they are turned. There are [`MOST_POSITIONS`] at most.
    pub fn scaled(positions: usize, frequencies: &[f64], amplitude: f64, interleaved: bool) -> Self {
        let (frequencies, positions) = (frequencies.to_vec(), positions.min(MOST_POSITIONS));
        RopeTable { frequencies, amplitude, positions, interleaved, blocks: [const { OnceLock::new() }; BLOCKS] }
    }

    /// The number of positions that can be turned to.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes that a table of `pairs` pairs keeps where the longest sequence has so many tokens.
    pub(crate) fn bytes(longest: usize, pairs: usize) -> u64 {
        let kept = longest.clamp(FIRST, MOST_POSITIONS).next_power_of_two();
        (kept * pairs * size_of::<(f64, f64)>()) as u64
    }

    /// Pairs of numbers that are turned.
    #[cfg(feature = "cuda")]
    pub(crate) fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Whether neighbours are a pair.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_interleaved(&self) -> bool {
        self.interleaved
    }

    /// cos and sin side by side, rounded: `[positions, pairs, 2]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn numbers(&self) -> Vec<f32> {
        let positions = 0..self.positions;
        positions.flat_map(|position| self.turns(position)).flat_map(|(cos, sin)| [cos as f32, sin as f32]).collect()
    }

    /// Each pair's cos and sin at a position.
    fn turns(&self, position: usize) -> impl Iterator<Item = (f64, f64)> {
        self.frequencies.iter().map(move |frequency| {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            (cos * self.amplitude, sin * self.amplitude)
        })
    }

    /// The same, kept.
    #[inline(always)]
    fn angles(&self, position: usize) -> &[(f64, f64)] {
        let index = (usize::BITS - (position / FIRST).leading_zeros()) as usize;
        let start = if index == 0 { 0 } else { FIRST << (index - 1) };
        let block = match self.blocks[index].get() {
            Some(block) => block,
            None => self.compute(index, start),
        };
        let pairs = self.frequencies.len();
        &block[(position - start) * pairs..(position - start + 1) * pairs]
    }

    #[cold]
    #[inline(never)]
    fn compute(&self, index: usize, start: usize) -> &[(f64, f64)] {
        let end = (FIRST << index).min(self.positions);
        self.blocks[index].get_or_init(|| (start..end).flat_map(|position| self.turns(position)).collect())
    }

    /// Turns `row` (one head's rope part) to `position`, in place; `direction` -1 turns back, as gradients need (the
    /// transpose: an amplitude is multiplied with once more, not divided by).
    ///
    /// # Panics
    /// If the table has no such position.
    #[inline(always)]
    pub(crate) fn turn<T: Real>(&self, row: &mut [T], position: usize, direction: f64) {
        let pairs = self.frequencies.len();
        for (pair, (cos, sin)) in self.angles(position).iter().enumerate() {
            let (i, j) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + pairs) };
            let (cos, sin) = (T::from_f64(*cos), T::from_f64(*sin * direction));
            let (a, b) = (row[i], row[j]);
            row[i] = a * cos - b * sin;
            row[j] = b * cos + a * sin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_has_its_angles_whatever_was_met_before() {
        const POSITIONS: usize = 5000;
        let (frequencies, amplitude) = ([1.0, 0.25, 1e-3], 1.5);
        let table = RopeTable::scaled(POSITIONS, &frequencies, amplitude, false);
        // The ends of blocks, the last first.
        for position in [POSITIONS - 1, 4096, 4095, 2048, 2047, 1024, 1023, 1, 0] {
            let expected = frequencies.map(|frequency| {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                (cos * amplitude, sin * amplitude)
            });
            assert_eq!(table.angles(position), expected, "{position}");
        }
        // The last block is cut where the positions end.
        let kept: usize = table.blocks.iter().filter_map(OnceLock::get).map(|block| block.len()).sum();
        assert_eq!(kept, POSITIONS * frequencies.len());
    }

    #[test]
    fn what_is_kept_follows_the_positions_that_were_met() {
        let table = RopeTable::new(usize::MAX, 64, 10_000.0, true);
        assert_eq!(table.positions(), MOST_POSITIONS);
        table.turn(&mut [1.0f32; 64], 1500, 1.0);
        table.turn(&mut [1.0f32; 64], 3, 1.0);
        let kept: usize = table.blocks.iter().filter_map(OnceLock::get).map(|block| size_of_val(&**block)).sum();
        assert_eq!(kept as u64, RopeTable::bytes(1501, 32));
        assert_eq!(kept, 2048 * 32 * 16);
        assert_eq!(FIRST << (BLOCKS - 1), MOST_POSITIONS);
    }
}
