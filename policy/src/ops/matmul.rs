//! Matrix products on slices, cut into blocks that do not depend on the number of threads.
//!
//! The products themselves are the `gemm` crate's, single-threaded: its own threading chooses blocks by the number of
//! threads. `rows_*` below run their blocks in parallel on rayon; the plain ones run where they are called.

use std::time::Instant;

use rayon::prelude::*;

use super::Real;

/// Rows of the left-hand side that one task multiplies.
const ROW_BLOCK: usize = 128;
/// Most tasks that a weight gradient is cut into, each of which reads the whole batch.
const GRADIENT_BLOCKS: usize = 4;

/// A matrix inside a slice: element (i, j) stands at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    data: &'a [T],
    row: usize,
    column: usize,
}

impl<'a, T> View<'a, T> {
    /// Row-major rows, `stride` elements apart.
    pub(crate) fn rows(data: &'a [T], stride: usize) -> Self {
        View { data, row: stride, column: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        View { data: self.data, row: self.column, column: self.row }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// `out[m, n] = scale * a[m, k] b[k, n]`, or `out +=` it if `accumulate`; `out`'s rows are `stride` elements apart.
pub(crate) fn matmul<T: Real>(
    out: &mut [T],
    stride: usize,
    (m, n, k): (usize, usize, usize),
    a: View<'_, T>,
    b: View<'_, T>,
    scale: T,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.covers(m, k) && b.covers(k, n), "matmul: operand shorter than {m} x {k} by {k} x {n}");
    assert!((m - 1) * stride + n <= out.len(), "matmul: result shorter than {m} x {n}");
    // SAFETY: the assertions above keep every element that is read or written (i < m, j < n, l < k) inside its slice;
    // `out` is borrowed exclusively, so it overlaps neither operand. T is f32 or f64 (the only `Real`s), which gemm knows.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            T::one(),
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `out[m, k] = y[m, n] w[n, k]`, or `out +=` it, in parallel over blocks of rows.
pub(crate) fn rows_times<T: Real>(out: &mut [T], y: &[T], w: &[T], n: usize, k: usize, accumulate: bool) {
    out.par_chunks_mut(ROW_BLOCK * k).zip(y.par_chunks(ROW_BLOCK * n)).for_each(|(out, y)| {
        let m = out.len() / k;
        matmul(out, k, (m, k, n), View::rows(y, n), View::rows(w, k), T::one(), accumulate);
    });
}

/// `out[n, k] += y[m, n]^T x[m, k]`, the gradient of a weight, in parallel over blocks of its rows.
pub(crate) fn add_weight_gradient<T: Real>(out: &mut [T], y: &[T], x: &[T], n: usize, k: usize) {
    let m = x.len() / k;
    let block = n.div_ceil(GRADIENT_BLOCKS).next_multiple_of(16);
    out.par_chunks_mut(block * k).enumerate().for_each(|(index, out)| {
        let rows = out.len() / k;
        if m > 0 {
            matmul(out, k, (rows, k, m), View::rows(&y[index * block..], n).t(), View::rows(x, k), T::one(), true);
        }
    });
}

/// Floating-point operations per second of the matrix product in f32, all of the current pool's threads working: the best
/// of several rounds of some hundredths of a second.
pub fn peak_flops() -> f64 {
    const SIZE: usize = 512;
    const ROUNDS: usize = 12;
    const PRODUCTS: usize = 8;
    let threads = rayon::current_num_threads();
    let numbers: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 7) as f32 - 3.0).collect();
    let mut results = vec![0.0; threads * SIZE * SIZE];
    let operations = (2 * SIZE * SIZE * SIZE * PRODUCTS * threads) as f64;
    let round = |results: &mut [f32]| {
        let start = Instant::now();
        results.par_chunks_mut(SIZE * SIZE).with_max_len(1).for_each(|out| {
            let (a, b) = (View::rows(&numbers, SIZE), View::rows(&numbers, SIZE).t());
            (0..PRODUCTS).for_each(|_| matmul(out, SIZE, (SIZE, SIZE, SIZE), a, b, 1.0, false));
        });
        operations / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| round(&mut results)).fold(0.0, f64::max)
}
