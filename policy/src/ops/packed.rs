//! A weight laid out once for products with any number of rows.
//!
//! Decoding multiplies a few rows at every token, training thousands, and a row's result must be the same to the bit in
//! both. Here the weight is copied into panels of [`PANEL`] outputs; a tile of [`TILE`] rows keeps its sums in registers
//! while it runs down a panel. Each sum is one chain of fused multiply-adds over the inputs in ascending order, so a row's
//! result depends on nothing but the row: neither on how many rows there are, nor on their order.

use pulp::Simd;
use rayon::prelude::*;

use super::{Real, vectorised};

/// From this many parameters on, a model is large (128 MiB, more than caches hold): it is decoded where its weights lie
/// ([`super::rows`]), in another order than this one.
pub(crate) const LARGE: usize = 1 << 25;
/// Outputs that are computed side by side.
const PANEL: usize = 16;
/// Rows that are computed side by side: with 16 outputs, ten of the 16 registers of AVX2 hold sums. (With six rows the
/// compiler keeps one of twelve sums in memory, which then takes longer than all the others.)
const TILE: usize = 5;

/// A weight `[n, k]`, of which rows `[m, k]` are multiplied with the transpose.
#[derive(Debug, Clone)]
pub struct PackedWeight<T> {
    n: usize,
    k: usize,
    /// `[ceil(n / PANEL), k, PANEL]`, with zeros beyond `n`.
    panels: Vec<T>,
}

/// What becomes of a sum.
#[derive(Debug, Clone, Copy)]
pub enum Store<T> {
    /// `out = sum`
    Set,
    /// `out += sum`
    Add,
    /// `out = sum * factor`
    Scaled(T),
}

/// Rows to be multiplied and where the results go, each some numbers apart.
#[derive(Debug)]
pub struct Rows<'a, T> {
    pub(crate) out: &'a mut [T],
    pub(crate) out_stride: usize,
    pub(crate) x: &'a [T],
    pub(crate) x_stride: usize,
    /// How many.
    pub(crate) count: usize,
}

/// How a number type multiplies with a packed weight, on the calling thread.
pub trait Kernel: Sized {
    /// Multiplies `rows`.
    fn multiply(weight: &PackedWeight<Self>, rows: Rows<'_, Self>, store: Store<Self>);
}

impl<T: Real> PackedWeight<T> {
    /// The weight whose element for output `j` and input `l` is `element(j, l)`.
    pub(crate) fn new(n: usize, k: usize, element: impl Fn(usize, usize) -> T + Sync) -> Self {
        let mut panels = vec![T::zero(); n.div_ceil(PANEL) * PANEL * k];
        panels.par_chunks_exact_mut((PANEL * k).max(1)).enumerate().for_each(|(panel, values)| {
            for (l, values) in values.chunks_exact_mut(PANEL).enumerate() {
                let outputs = panel * PANEL..(panel * PANEL + PANEL).min(n);
                values.iter_mut().zip(outputs).for_each(|(value, j)| *value = element(j, l));
            }
        });
        PackedWeight { n, k, panels }
    }

    /// The weight that lies row by row, as checkpoints have it.
    pub(crate) fn from_rows(weight: &[T], k: usize) -> Self {
        Self::new(weight.len() / k, k, |j, l| weight[j * k + l])
    }

    /// The weight `[n, k]` that lies as `[k, n]`.
    pub(crate) fn from_columns(weight: &[T], n: usize) -> Self {
        Self::new(n, weight.len() / n, |j, l| weight[l * n + j])
    }

    /// `x w^T` of rows that lie one after the other.
    pub(crate) fn apply(&self, x: &[T]) -> Vec<T> {
        let mut out = vec![T::zero(); x.len() / self.k * self.n];
        self.multiply(&mut out, x, Store::Set);
        out
    }

    /// `x w^T` of rows that lie one after the other, on the calling thread.
    pub(crate) fn multiply(&self, out: &mut [T], x: &[T], store: Store<T>) {
        let (out_stride, x_stride, count) = (self.n, self.k, x.len() / self.k);
        self.multiply_rows(Rows { out, out_stride, x, x_stride, count }, store);
    }

    /// The same of rows that lie apart.
    pub(crate) fn multiply_rows(&self, rows: Rows<'_, T>, store: Store<T>) {
        T::multiply(self, rows, store);
    }
}

impl Kernel for f32 {
    fn multiply(weight: &PackedWeight<f32>, rows: Rows<'_, f32>, store: Store<f32>) {
        pulp::Arch::new().dispatch(Product { weight, rows, store });
    }
}

/// Only tests run in f64.
impl Kernel for f64 {
    fn multiply(weight: &PackedWeight<f64>, rows: Rows<'_, f64>, store: Store<f64>) {
        let PackedWeight { n, k, ref panels } = *weight;
        vectorised(
            #[inline(always)]
            || {
                for i in 0..rows.count {
                    let (x, out) = (&rows.x[i * rows.x_stride..][..k], &mut rows.out[i * rows.out_stride..][..n]);
                    for (out, panel) in out.chunks_mut(PANEL).zip(panels.chunks_exact((PANEL * k).max(1))) {
                        let mut sums = [0.0; PANEL];
                        for (x, weights) in x.iter().zip(panel.as_chunks::<PANEL>().0) {
                            sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum = x.mul_add(*w, *sum));
                        }
                        store.put(out, &sums);
                    }
                }
            },
        );
    }
}

impl<T: Real> Store<T> {
    #[inline(always)]
    fn put(self, out: &mut [T], sums: &[T; PANEL]) {
        let each = out.iter_mut().zip(sums);
        match self {
            Store::Set => each.for_each(|(out, sum)| *out = *sum),
            Store::Add => each.for_each(|(out, sum)| *out += *sum),
            Store::Scaled(factor) => each.for_each(|(out, sum)| *out = *sum * factor),
        }
    }
}

struct Product<'a> {
    weight: &'a PackedWeight<f32>,
    rows: Rows<'a, f32>,
    store: Store<f32>,
}

impl pulp::WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let PackedWeight { k, ref panels, .. } = *self.weight;
        let count = self.rows.count;
        // Tiles of nearly one size: a small one would take as long as a full one.
        let tiles = count.div_ceil(TILE);
        for (panel, weights) in panels.chunks_exact((PANEL * k).max(1)).enumerate() {
            let mut first = 0;
            for tile in 0..tiles {
                let rows = (count - first).div_ceil(tiles - tile);
                match S::F32_LANES {
                    16 => self.tile::<S, 1>(simd, panel, weights, first, rows),
                    8 => self.tile::<S, 2>(simd, panel, weights, first, rows),
                    4 => self.tile::<S, 4>(simd, panel, weights, first, rows),
                    _ => self.tile::<S, PANEL>(simd, panel, weights, first, rows),
                }
                first += rows;
            }
        }
    }
}

impl Product<'_> {
    /// A panel's outputs of `rows` rows from `first`; a panel is `V` vectors.
    #[inline(always)]
    fn tile<S: Simd, const V: usize>(&mut self, simd: S, panel: usize, weights: &[f32], first: usize, rows: usize) {
        match rows {
            1 => self.rows::<S, V, 1>(simd, panel, weights, first),
            2 => self.rows::<S, V, 2>(simd, panel, weights, first),
            3 => self.rows::<S, V, 3>(simd, panel, weights, first),
            4 => self.rows::<S, V, 4>(simd, panel, weights, first),
            _ => self.rows::<S, V, TILE>(simd, panel, weights, first),
        }
    }

    /// A panel's outputs of `R` rows from `first`.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, panel: usize, weights: &[f32], first: usize) {
        let PackedWeight { n, k, .. } = *self.weight;
        let Rows { out, out_stride, x, x_stride, .. } = &mut self.rows;
        let x: [&[f32]; R] = std::array::from_fn(|i| &x[(first + i) * *x_stride..][..k]);
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
            let out = &mut out[(first + i) * *out_stride + start..][..width];
            let mut all = [0.0f32; PANEL];
            S::as_mut_simd_f32s(&mut all).0.copy_from_slice(sums);
            self.store.put(out, &all);
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
            let weight = PackedWeight::from_rows(&w, k);
            assert_eq!(weight.apply(&x), expected, "{m} x {n} x {k}");
            let mut sums = vec![0.5; m * n];
            weight.multiply(&mut sums, &x, Store::Add);
            assert!(sums.iter().zip(&expected).all(|(sum, y)| *sum == 0.5 + *y), "{m} x {n} x {k}, added");
            weight.multiply(&mut sums, &x, Store::Scaled(0.7));
            assert!(sums.iter().zip(&expected).all(|(sum, y)| *sum == *y * 0.7), "{m} x {n} x {k}, scaled");
        }
    }

    #[test]
    fn rows_may_lie_apart() {
        let weight = PackedWeight::from_rows(&numbers(3 * 2, 53), 2);
        let x = [1.0, 2.0, 9.0, 3.0, 4.0];
        let mut out = [7.0; 8];
        weight.multiply_rows(Rows { out: &mut out, out_stride: 5, x: &x, x_stride: 3, count: 2 }, Store::Set);
        let expected = [weight.apply(&x[..2]), weight.apply(&x[3..])];
        assert_eq!((&out[..3], &out[5..]), (&expected[0][..], &expected[1][..]));
        assert_eq!(out[3..5], [7.0; 2], "what lies between rows is left alone");
    }
}
