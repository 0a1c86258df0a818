//! A weight laid out once for products with few rows, as decoding needs them at every token.
//!
//! A general matrix product copies both operands into its own order at each call, which for a few rows costs as much as
//! the product. Here the weight is copied once, into panels of [`PANEL`] outputs; a tile of [`TILE`] rows keeps its sums
//! in registers while it runs down a panel. Each sum is one chain of fused multiply-adds over the inputs in ascending
//! order, so a row's result depends on nothing but the row: neither on how many rows there are, nor on their order.

use rayon::prelude::*;

use super::vectorised;

/// Outputs that are computed side by side.
const PANEL: usize = 16;
/// Rows that are computed side by side: with 16 outputs, 12 of the 16 registers of AVX2 hold sums.
const TILE: usize = 6;

/// A weight `[n, k]`, of which rows `[m, k]` are multiplied with the transpose.
pub(crate) struct PackedWeight {
    n: usize,
    k: usize,
    /// `[ceil(n / PANEL), k, PANEL]`, with zeros beyond `n`.
    panels: Vec<f32>,
}

impl PackedWeight {
    /// The weight whose element for output `j` and input `l` is `element(j, l)`.
    pub(crate) fn new(n: usize, k: usize, element: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let mut panels = vec![0.0; n.div_ceil(PANEL) * PANEL * k];
        panels.par_chunks_exact_mut(PANEL * k).enumerate().for_each(|(panel, values)| {
            for (l, values) in values.chunks_exact_mut(PANEL).enumerate() {
                let outputs = panel * PANEL..(panel * PANEL + PANEL).min(n);
                values.iter_mut().zip(outputs).for_each(|(value, j)| *value = element(j, l));
            }
        });
        PackedWeight { n, k, panels }
    }

    /// The weight that lies row by row, as checkpoints have it.
    pub(crate) fn from_rows(weight: &[f32], k: usize) -> Self {
        Self::new(weight.len() / k, k, |j, l| weight[j * k + l])
    }

    /// `x w^T` of rows that lie one after the other.
    pub(crate) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.k;
        let mut out = vec![0.0; rows * self.n];
        self.multiply(&mut out, self.n, x, self.k, rows);
        out
    }

    /// `out[m, n] = x[m, k] w^T`; rows lie `x_stride` and `out_stride` numbers apart.
    pub(crate) fn multiply(&self, out: &mut [f32], out_stride: usize, x: &[f32], x_stride: usize, m: usize) {
        let mut tile = vec![0.0; TILE * self.k];
        vectorised(
            #[inline(always)]
            || {
                for first in (0..m).step_by(TILE) {
                    let (x, out) = (&x[first * x_stride..], &mut out[first * out_stride..]);
                    match m - first {
                        1 => self.rows::<1>(out, out_stride, x, x_stride, &mut tile),
                        2 => self.rows::<2>(out, out_stride, x, x_stride, &mut tile),
                        3 => self.rows::<3>(out, out_stride, x, x_stride, &mut tile),
                        4 => self.rows::<4>(out, out_stride, x, x_stride, &mut tile),
                        5 => self.rows::<5>(out, out_stride, x, x_stride, &mut tile),
                        _ => self.rows::<TILE>(out, out_stride, x, x_stride, &mut tile),
                    }
                }
            },
        );
    }

    /// The first `R` rows. `tile` receives them input by input.
    #[inline(always)]
    fn rows<const R: usize>(&self, out: &mut [f32], out_stride: usize, x: &[f32], x_stride: usize, tile: &mut [f32]) {
        let tile = &mut tile.as_chunks_mut::<R>().0[..self.k];
        for i in 0..R {
            let row = &x[i * x_stride..i * x_stride + self.k];
            tile.iter_mut().zip(row).for_each(|(inputs, value)| inputs[i] = *value);
        }
        for (panel, weights) in self.panels.chunks_exact(PANEL * self.k).enumerate() {
            let mut sums = [[0.0f32; PANEL]; R];
            for (inputs, weights) in tile.iter().zip(weights.as_chunks::<PANEL>().0) {
                for i in 0..R {
                    for j in 0..PANEL {
                        sums[i][j] = inputs[i].mul_add(weights[j], sums[i][j]);
                    }
                }
            }
            let start = panel * PANEL;
            let width = PANEL.min(self.n - start);
            for (i, sums) in sums.iter().enumerate() {
                out[i * out_stride + start..i * out_stride + start + width].copy_from_slice(&sums[..width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| (i * factor % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// Each sum as one chain of multiply-adds, which every row must give to the bit, whatever stands beside it.
    #[test]
    fn products_are_the_plain_ones_to_the_bit() {
        for (m, n, k) in [(1, 16, 8), (5, 33, 7), (6, 7, 1), (13, 48, 128), (32, 100, 96)] {
            let (x, w) = (numbers(m * k, 37), numbers(n * k, 53));
            let chain = |i: usize, j: usize| (0..k).fold(0.0, |sum, l| x[i * k + l].mul_add(w[j * k + l], sum));
            let expected: Vec<f32> =
                (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| chain(i, j)).collect();
            assert_eq!(PackedWeight::from_rows(&w, k).apply(&x), expected, "{m} x {n} x {k}");
        }
    }

    #[test]
    fn rows_may_lie_apart() {
        let weight = PackedWeight::from_rows(&numbers(3 * 2, 53), 2);
        let x = [1.0, 2.0, 9.0, 3.0, 4.0];
        let mut out = [7.0; 8];
        weight.multiply(&mut out, 5, &x, 3, 2);
        let expected = [weight.apply(&x[..2]), weight.apply(&x[3..])];
        assert_eq!((&out[..3], &out[5..]), (&expected[0][..], &expected[1][..]));
        assert_eq!(out[3..5], [7.0; 2], "what lies between rows is left alone");
    }
}
