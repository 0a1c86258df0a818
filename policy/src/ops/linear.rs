//! `y = x W^T`: x `[tokens, in]`, W `[out, in]`, y `[tokens, out]`.

use rayon::prelude::*;

use super::sum::dot;
use super::{Real, matmul, vectorised};

/// Up to this many outputs, rows are multiplied by dot products: the matrix product takes paths that depend on the number
/// of rows there, and a router must choose alike in sampling and in training.
const NARROW: usize = 32;
/// Rows that one task multiplies by dot products.
const ROW_BLOCK: usize = 256;

/// `x W^T` in new rows.
pub fn linear<T: Real>(x: &[T], weight: &[T], inputs: usize) -> Vec<T> {
    let outputs = weight.len() / inputs;
    let mut y = vec![T::zero(); x.len() / inputs * outputs];
    if outputs <= NARROW {
        y.par_chunks_mut(ROW_BLOCK * outputs).zip(x.par_chunks(ROW_BLOCK * inputs)).for_each(|(y, x)| {
            vectorised(
                #[inline(always)]
                || narrow_rows(y, x, weight, outputs, inputs),
            );
        });
    } else {
        matmul::rows_times_transposed(&mut y, x, weight, outputs, inputs, false);
    }
    y
}

/// `y += x W^T`: what a projection adds to the residual stream.
pub fn add_linear<T: Real>(y: &mut [T], x: &[T], weight: &[T], inputs: usize) {
    matmul::rows_times_transposed(y, x, weight, weight.len() / inputs, inputs, true);
}

/// `dx += dy W` and `dW += dy^T x`.
pub fn linear_backward<T: Real>(d_x: &mut [T], d_weight: &mut [T], x: &[T], weight: &[T], d_y: &[T], inputs: usize) {
    let outputs = weight.len() / inputs;
    matmul::rows_times(d_x, d_y, weight, outputs, inputs, true);
    matmul::add_weight_gradient(d_weight, d_y, x, outputs, inputs);
}

/// `out[rows, n] = x[rows, k] w[n, k]^T` by dot products, where it is called.
#[inline(always)]
pub(crate) fn narrow_rows<T: Real>(out: &mut [T], x: &[T], w: &[T], n: usize, k: usize) {
    for (out, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(k)) {
        for (out, w) in out.iter_mut().zip(w.chunks_exact(k)) {
            *out = dot(x, w);
        }
    }
}
