//! `y = x + b`: x `[tokens, width]`, b `[width]`. The bias's gradient is the sum over tokens, added up in block order.

use rayon::prelude::*;

use super::sum::add_scaled;
use super::{Real, vectorised};

/// Rows that one task computes.
const ROW_BLOCK: usize = 256;

/// Adds `bias` `[width]` to every row.
pub fn add_bias<T: Real>(rows: &mut [T], bias: &[T]) {
    rows.par_chunks_mut(ROW_BLOCK * bias.len()).for_each(|rows| {
        vectorised(
            #[inline(always)]
            || add_to_rows(rows, bias),
        );
    });
}

/// Adds a bias to rows where it is called; the rollout engine shares it.
#[inline(always)]
pub(crate) fn add_to_rows<T: Real>(rows: &mut [T], bias: &[T]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        add_scaled(row, bias, T::one());
    }
}

/// `db += sum over rows of dy`.
pub fn add_bias_backward<T: Real>(d_bias: &mut [T], d_y: &[T]) {
    let width = d_bias.len();
    let partial: Vec<Vec<T>> = d_y
        .par_chunks(ROW_BLOCK * width)
        .map(|rows| {
            let mut sum = vec![T::zero(); width];
            vectorised(
                #[inline(always)]
                || rows.chunks_exact(width).for_each(|row| add_scaled(&mut sum, row, T::one())),
            );
            sum
        })
        .collect();
    partial.iter().for_each(|part| add_scaled(d_bias, part, T::one()));
}
