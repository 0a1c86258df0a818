//! Rotary position embedding: pair i of a head's rope part is turned by `position * theta^(-2i/d)`.
//!
//! Su et al., "RoFormer", 2021. DeepSeek-V3's checkpoints pair neighbours (2i, 2i+1) (`rope_interleave`); others pair
//! i with i + d/2. transformers moves the interleaved pairs into the other order before turning them; queries and keys
//! move alike, so their products, all that attention uses, are the same as here, where they stay in place.

use super::Real;

/// Cosines and sines for every position, computed once in f64.
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// cos and sin side by side: position-major, then pair.
    angles: Vec<(f64, f64)>,
    pairs: usize,
    interleaved: bool,
}

impl RopeTable {
    /// A table for `positions` positions of a rope part `width` numbers wide (even), with base `theta`.
    pub fn new(positions: usize, width: usize, theta: f64, interleaved: bool) -> Self {
        let frequencies: Vec<f64> = (0..width / 2).map(|pair| theta.powf(-2.0 * pair as f64 / width as f64)).collect();
        Self::scaled(positions, &frequencies, 1.0, interleaved)
    }

    /// A table of any frequencies (radians from one position to the next, one for each pair); rows are multiplied with
    /// `amplitude` as they are turned.
    pub fn scaled(positions: usize, frequencies: &[f64], amplitude: f64, interleaved: bool) -> Self {
        let angles = (0..positions)
            .flat_map(|position| {
                frequencies.iter().map(move |frequency| {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    (cos * amplitude, sin * amplitude)
                })
            })
            .collect();
        RopeTable { angles, pairs: frequencies.len(), interleaved }
    }

    /// The number of positions that the table covers.
    pub fn positions(&self) -> usize {
        self.angles.len() / self.pairs.max(1)
    }

    /// Pairs of numbers that are turned.
    #[cfg(feature = "cuda")]
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Whether neighbours are a pair.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_interleaved(&self) -> bool {
        self.interleaved
    }

    /// cos and sin side by side, rounded: `[positions, pairs, 2]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn numbers(&self) -> Vec<f32> {
        self.angles.iter().flat_map(|(cos, sin)| [*cos as f32, *sin as f32]).collect()
    }

    /// Turns `row` (one head's rope part) to `position`, in place; `direction` -1 turns back, as gradients need (the
    /// transpose: an amplitude is multiplied with once more, not divided by).
    #[inline(always)]
    pub(crate) fn turn<T: Real>(&self, row: &mut [T], position: usize, direction: f64) {
        let angles = &self.angles[position * self.pairs..(position + 1) * self.pairs];
        for (pair, (cos, sin)) in angles.iter().enumerate() {
            let (i, j) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + self.pairs) };
            let (cos, sin) = (T::from_f64(*cos), T::from_f64(*sin * direction));
            let (a, b) = (row[i], row[j]);
            row[i] = a * cos - b * sin;
            row[j] = b * cos + a * sin;
        }
    }
}
