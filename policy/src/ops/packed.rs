//! A weight laid out once for products with few rows, as decoding needs them at every token.
//!
//! A general matrix product copies both operands into its own order at each call, which for a few rows costs as much as
//! the product. Here the weight is copied once, into panels of [`PANEL`] outputs; a tile of [`TILE`] rows keeps its sums
//! in registers while it runs down a panel. Each sum is one chain of fused multiply-adds over the inputs in ascending
//! order, so a row's result depends on nothing but the row: neither on how many rows there are, nor on their order.

use pulp::Simd;
use rayon::prelude::*;

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
        pulp::Arch::new().dispatch(Product { weight: self, out, out_stride, x, x_stride, m });
    }
}

/// One product, on the calling thread.
struct Product<'a> {
    weight: &'a PackedWeight,
    out: &'a mut [f32],
    out_stride: usize,
    x: &'a [f32],
    x_stride: usize,
    m: usize,
}

impl pulp::WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Tiles of nearly one size: a small one would take as long as a full one.
        let tiles = self.m.div_ceil(TILE);
        let mut first = 0;
        for tile in 0..tiles {
            let rows = (self.m - first).div_ceil(tiles - tile);
            match S::F32_LANES {
                16 => self.tile::<S, 1>(simd, first, rows),
                8 => self.tile::<S, 2>(simd, first, rows),
                4 => self.tile::<S, 4>(simd, first, rows),
                _ => self.tile::<S, PANEL>(simd, first, rows),
            }
            first += rows;
        }
    }
}

impl Product<'_> {
    /// `rows` rows from `first`; a panel is `V` vectors.
    #[inline(always)]
    fn tile<S: Simd, const V: usize>(&mut self, simd: S, first: usize, rows: usize) {
        match rows {
            1 => self.rows::<S, V, 1>(simd, first),
            2 => self.rows::<S, V, 2>(simd, first),
            3 => self.rows::<S, V, 3>(simd, first),
            4 => self.rows::<S, V, 4>(simd, first),
            5 => self.rows::<S, V, 5>(simd, first),
            _ => self.rows::<S, V, TILE>(simd, first),
        }
    }

    /// `R` rows from `first`.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, first: usize) {
        let PackedWeight { n, k, ref panels } = *self.weight;
        let x: [&[f32]; R] = std::array::from_fn(|i| &self.x[(first + i) * self.x_stride..][..k]);
        let out = &mut self.out[first * self.out_stride..];
        for (panel, weights) in panels.chunks_exact(PANEL * k).enumerate() {
            let mut sums = [[simd.splat_f32s(0.0); V]; R];
            let weights = S::as_simd_f32s(weights).0.as_chunks::<V>().0;
            for (l, weights) in weights.iter().enumerate().take(k) {
                for i in 0..R {
                    let x = simd.splat_f32s(x[i][l]);
                    for v in 0..V {
                        sums[i][v] = simd.mul_add_f32s(x, weights[v], sums[i][v]);
                    }
                }
            }
            let start = panel * PANEL;
            let width = PANEL.min(n - start);
            for (i, sums) in sums.iter().enumerate() {
                let out = &mut out[i * self.out_stride + start..][..width];
                if let Ok(out) = <&mut [f32; PANEL]>::try_from(&mut *out) {
                    S::as_mut_simd_f32s(out).0.copy_from_slice(sums);
                } else {
                    let mut all = [0.0; PANEL];
                    S::as_mut_simd_f32s(&mut all).0.copy_from_slice(sums);
                    out.copy_from_slice(&all[..width]);
                }
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
