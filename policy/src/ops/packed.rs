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
/// ([`super::rows`]).
pub(crate) const LARGE: usize = 1 << 25;
/// Outputs that are computed side by side.
const PANEL: usize = 16;
/// Rows that are computed side by side: with 16 outputs, ten of the 16 registers of AVX2 hold sums. (With six rows the
/// compiler keeps one of twelve sums in memory, which then takes longer than all the others.)
const TILE: usize = 5;
/// The same for two panels where one vector is a panel: of AVX-512's 32 registers 16 hold sums.
const WIDE_TILE: usize = 8;

/// A weight `[n, k]`, of which rows `[m, k]` are multiplied with the transpose.
#[derive(Debug, Clone)]
pub(crate) struct PackedWeight<T> {
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
    /// `[count, k]`, or `[k, count]` where it is transposed.
    pub(crate) x: &'a [T],
    pub(crate) x_stride: usize,
    pub(crate) transposed: bool,
    /// How many.
    pub(crate) count: usize,
}

/// A weight's first outputs over its first inputs.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a, T> {
    weight: &'a PackedWeight<T>,
    n: usize,
    k: usize,
}

/// How a number type multiplies with a packed weight, on the calling thread.
pub trait Kernel: Sized {
    /// Multiplies `rows`.
    fn multiply(weight: Part<'_, Self>, rows: Rows<'_, Self>, store: Store<Self>);
}

impl<T: Real> PackedWeight<T> {
    /// The weight whose element for output `j` and input `l` is `element(j, l)`.
    pub(crate) fn new(n: usize, k: usize, element: impl Fn(usize, usize) -> T + Sync) -> Self {
        let mut weight = Self::zero(n, k);
        weight.panels.par_chunks_exact_mut((PANEL * k).max(1)).enumerate().for_each(|(panel, values)| {
            for (l, values) in values.chunks_exact_mut(PANEL).enumerate() {
                let outputs = panel * PANEL..(panel * PANEL + PANEL).min(n);
                values.iter_mut().zip(outputs).for_each(|(value, j)| *value = element(j, l));
            }
        });
        weight
    }

    /// Zeros.
    fn zero(n: usize, k: usize) -> Self {
        PackedWeight { n, k, panels: vec![T::zero(); n.div_ceil(PANEL) * PANEL * k] }
    }

    /// The weight that lies row by row, as checkpoints have it.
    pub(crate) fn from_rows(weight: &[T], k: usize) -> Self {
        Self::new(weight.len() / k, k, |j, l| weight[j * k + l])
    }

    /// The weight `[n, k]` that lies as `[k, n]`.
    pub(crate) fn from_columns(weight: &[T], n: usize) -> Self {
        Self::new(n, weight.len() / n, |j, l| weight[l * n + j])
    }

    /// Some rows `[n, k]` that lie `stride` numbers apart, packed on the calling thread.
    pub(crate) fn of_rows(rows: &[T], (n, k): (usize, usize), stride: usize) -> Self {
        let mut weight = Self::zero(n, k);
        for (j, row) in rows.chunks(stride).take(n).enumerate() {
            let panel = &mut weight.panels[j / PANEL * PANEL * k..][..PANEL * k];
            panel.chunks_exact_mut(PANEL).zip(row).for_each(|(values, x)| values[j % PANEL] = *x);
        }
        weight
    }

    /// Some columns `[k, n]`, packed on the calling thread.
    pub(crate) fn of_columns(columns: &[T], (n, k): (usize, usize)) -> Self {
        let mut weight = Self::zero(n, k);
        for (panel, values) in weight.panels.chunks_exact_mut((PANEL * k).max(1)).enumerate() {
            for (values, column) in values.chunks_exact_mut(PANEL).zip(columns.chunks_exact(n)) {
                values.iter_mut().zip(&column[panel * PANEL..]).for_each(|(value, x)| *value = *x);
            }
        }
        weight
    }

    /// The first `n` outputs.
    pub(crate) fn outputs(&self, n: usize) -> Part<'_, T> {
        debug_assert!(n <= self.n);
        Part { weight: self, n, k: self.k }
    }

    /// All outputs over the first `k` inputs.
    pub(crate) fn inputs(&self, k: usize) -> Part<'_, T> {
        debug_assert!(k <= self.k);
        Part { weight: self, n: self.n, k }
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
        self.multiply_rows(Rows { out, out_stride, x, x_stride, transposed: false, count }, store);
    }

    /// The same of rows that lie apart.
    pub(crate) fn multiply_rows(&self, rows: Rows<'_, T>, store: Store<T>) {
        self.outputs(self.n).multiply(rows, store);
    }
}

impl<T: Real> Part<'_, T> {
    /// `x w^T`, on the calling thread.
    pub(crate) fn multiply(self, rows: Rows<'_, T>, store: Store<T>) {
        T::multiply(self, rows, store);
    }
}

impl Kernel for f32 {
    fn multiply(weight: Part<'_, f32>, rows: Rows<'_, f32>, store: Store<f32>) {
        pulp::Arch::new().dispatch(Product { weight, rows, store });
    }
}

/// Only tests run in f64.
impl Kernel for f64 {
    fn multiply(Part { weight, n, k }: Part<'_, f64>, rows: Rows<'_, f64>, store: Store<f64>) {
        let Rows { out, out_stride, x, x_stride, transposed, count } = rows;
        vectorised(
            #[inline(always)]
            || {
                for i in 0..count {
                    let out = &mut out[i * out_stride..][..n];
                    for (out, panel) in out.chunks_mut(PANEL).zip(weight.panels.chunks_exact((PANEL * weight.k).max(1)))
                    {
                        let mut sums = [0.0; PANEL];
                        for (l, weights) in panel.as_chunks::<PANEL>().0.iter().enumerate().take(k) {
                            let x = if transposed { x[l * x_stride + i] } else { x[i * x_stride + l] };
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
    weight: Part<'a, f32>,
    rows: Rows<'a, f32>,
    store: Store<f32>,
}

impl pulp::WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.rows.transposed { self.panels::<S, true>(simd) } else { self.panels::<S, false>(simd) }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn panels<S: Simd, const TRANSPOSED: bool>(mut self, simd: S) {
        let (count, panels) = (self.rows.count, self.weight.n.div_ceil(PANEL));
        // Where a panel is one vector there are registers for the sums of two, and of more rows.
        let (side_by_side, most) = if S::F32_LANES == PANEL { (2, WIDE_TILE) } else { (1, TILE) };
        // Tiles of nearly one size: a small one would take as long as a full one.
        let tiles = count.div_ceil(most);
        for panel in (0..panels).step_by(side_by_side) {
            let mut first = 0;
            for tile in 0..tiles {
                let rows = (count - first).div_ceil(tiles - tile);
                match (S::F32_LANES, side_by_side.min(panels - panel)) {
                    (16, 2) => self.tile::<S, 1, 2, TRANSPOSED>(simd, panel, first, rows),
                    (16, _) => self.tile::<S, 1, 1, TRANSPOSED>(simd, panel, first, rows),
                    (8, _) => self.tile::<S, 2, 1, TRANSPOSED>(simd, panel, first, rows),
                    (4, _) => self.tile::<S, 4, 1, TRANSPOSED>(simd, panel, first, rows),
                    _ => self.tile::<S, PANEL, 1, TRANSPOSED>(simd, panel, first, rows),
                }
                first += rows;
            }
        }
    }

    /// The outputs of `P` panels from `panel` on, for `rows` rows from `first` on; a panel is `V` vectors.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const P: usize, const TRANSPOSED: bool>(
        &mut self,
        simd: S,
        panel: usize,
        first: usize,
        rows: usize,
    ) {
        match rows {
            1 => self.rows::<S, V, P, 1, TRANSPOSED>(simd, panel, first),
            2 => self.rows::<S, V, P, 2, TRANSPOSED>(simd, panel, first),
            3 => self.rows::<S, V, P, 3, TRANSPOSED>(simd, panel, first),
            4 => self.rows::<S, V, P, 4, TRANSPOSED>(simd, panel, first),
            5 => self.rows::<S, V, P, 5, TRANSPOSED>(simd, panel, first),
            6 => self.rows::<S, V, P, 6, TRANSPOSED>(simd, panel, first),
            7 => self.rows::<S, V, P, 7, TRANSPOSED>(simd, panel, first),
            _ => self.rows::<S, V, P, WIDE_TILE, TRANSPOSED>(simd, panel, first),
        }
    }

    /// The outputs of `P` panels from `panel` on, for `R` rows from `first` on.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const P: usize, const R: usize, const TRANSPOSED: bool>(
        &mut self,
        simd: S,
        panel: usize,
        first: usize,
    ) {
        let Part { weight, n, k } = self.weight;
        let Rows { out, out_stride, x, x_stride, .. } = &mut self.rows;
        let mut sums = [[[simd.splat_f32s(0.0); V]; P]; R];
        let weights: [&[[S::f32s; V]]; P] = std::array::from_fn(|p| {
            let panel = &weight.panels[(panel + p) * PANEL * weight.k..][..PANEL * k];
            &S::as_simd_f32s(panel).0.as_chunks::<V>().0[..k]
        });
        if TRANSPOSED {
            for (l, x) in x.chunks(*x_stride).enumerate().take(k) {
                let x = *x[first..].first_chunk().expect("a column of all rows");
                add_outer(simd, &mut sums, x, std::array::from_fn(|p| &weights[p][l]));
            }
        } else {
            let x: [&[f32]; R] = std::array::from_fn(|i| &x[(first + i) * *x_stride..][..k]);
            for l in 0..k {
                add_outer(simd, &mut sums, std::array::from_fn(|i| x[i][l]), std::array::from_fn(|p| &weights[p][l]));
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (p, sums) in sums.iter().enumerate() {
                let start = (panel + p) * PANEL;
                let out = &mut out[(first + i) * *out_stride + start..][..PANEL.min(n - start)];
                let mut all = [0.0f32; PANEL];
                S::as_mut_simd_f32s(&mut all).0.copy_from_slice(sums);
                self.store.put(out, &all);
            }
        }
    }
}

/// `sums += x weights^T` of one input.
#[inline(always)]
fn add_outer<S: Simd, const V: usize, const P: usize, const R: usize>(
    simd: S,
    sums: &mut [[[S::f32s; V]; P]; R],
    x: [f32; R],
    weights: [&[S::f32s; V]; P],
) {
    for i in 0..R {
        let x = simd.splat_f32s(x[i]);
        for p in 0..P {
            for v in 0..V {
                sums[i][p][v] = simd.mul_add_f32s(x, weights[p][v], sums[i][p][v]);
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
        let rows = Rows { out: &mut out, out_stride: 5, x: &x, x_stride: 3, transposed: false, count: 2 };
        weight.multiply_rows(rows, Store::Set);
        let expected = [weight.apply(&x[..2]), weight.apply(&x[3..])];
        assert_eq!((&out[..3], &out[5..]), (&expected[0][..], &expected[1][..]));
        assert_eq!(out[3..5], [7.0; 2], "what lies between rows is left alone");
    }

    /// The first outputs over the first inputs, of rows that lie as columns.
    #[test]
    fn parts_are_what_they_are_of_the_whole() {
        let (m, n, k) = (13, 37, 21);
        let (x, w) = (numbers(m * k, 37), numbers(n * k, 53));
        let transposed: Vec<f32> =
            (0..k).flat_map(|l| (0..m).map(move |i| (i, l))).map(|(i, l)| x[i * k + l]).collect();
        let w_columns: Vec<f32> = (0..k).flat_map(|l| (0..n).map(move |j| (j, l))).map(|(j, l)| w[j * k + l]).collect();
        let (by_rows, by_columns) =
            (PackedWeight::of_rows(&w, (n, k), k), PackedWeight::of_columns(&w_columns, (n, k)));
        for (part, outputs, inputs) in [(by_rows.outputs(20), 20, k), (by_columns.inputs(9), n, 9)] {
            let mut out = vec![7.0; m * n];
            let rows = Rows { out: &mut out, out_stride: n, x: &transposed, x_stride: m, transposed: true, count: m };
            part.multiply(rows, Store::Set);
            for (i, out) in out.chunks_exact(n).enumerate() {
                let chain = |j: usize| (0..inputs).fold(0.0, |sum, l| x[i * k + l].mul_add(w[j * k + l], sum));
                let expected: Vec<f32> = (0..n).map(|j| if j < outputs { chain(j) } else { 7.0 }).collect();
                assert_eq!(out, expected, "row {i}, {outputs} outputs over {inputs} inputs");
            }
        }
    }
}
