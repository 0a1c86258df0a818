//! `y = x W^T`: x `[tokens, in]`, W `[out, in]`, y `[tokens, out]`.
//!
//! Forward in the order of [`super::packed`], which decoding shares.

use rayon::prelude::*;

use super::packed::{PackedWeight, Store};
use super::{Real, matmul};

/// Rows that one task multiplies.
const ROW_BLOCK: usize = 128;

/// `x W^T` in new rows.
pub fn linear<T: Real>(x: &[T], weight: &[T], inputs: usize) -> Vec<T> {
    let mut y = vec![T::zero(); x.len() / inputs * (weight.len() / inputs)];
    multiply(&mut y, x, weight, inputs, Store::Set);
    y
}

/// `y += x W^T`: what a projection adds to the residual stream.
pub fn add_linear<T: Real>(y: &mut [T], x: &[T], weight: &[T], inputs: usize) {
    multiply(y, x, weight, inputs, Store::Add);
}

fn multiply<T: Real>(y: &mut [T], x: &[T], weight: &[T], inputs: usize, store: Store<T>) {
    let outputs = weight.len() / inputs;
    let weight = PackedWeight::from_rows(weight, inputs);
    y.par_chunks_mut(ROW_BLOCK * outputs)
        .zip(x.par_chunks(ROW_BLOCK * inputs))
        .for_each(|(y, x)| weight.multiply(y, x, store));
}

/// `dx += dy W` and `dW += dy^T x`.
pub fn linear_backward<T: Real>(d_x: &mut [T], d_weight: &mut [T], x: &[T], weight: &[T], d_y: &[T], inputs: usize) {
    let outputs = weight.len() / inputs;
    matmul::rows_times(d_x, d_y, weight, outputs, inputs, true);
    matmul::add_weight_gradient(d_weight, d_y, x, outputs, inputs);
}
