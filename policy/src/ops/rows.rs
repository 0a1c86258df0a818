//! Products of few rows with a large weight, read where it lies.
//!
//! A large model's weights do not fit any cache: what counts is that each number is read from memory once for all rows, and
//! that no second copy is needed. So the weight `[n, k]` stays row by row, and it is the rows `[m, k]` that are laid out in
//! panels ([`super::packed`]), as if they were the weight. The two are alike in a product: each sum is the same chain of
//! multiply-adds as where the weight itself is packed, so a large model samples and trains to the same bits as a small one.

use rayon::prelude::*;

use super::packed::{PackedWeight, Store};

/// Outputs of one task: few enough that tasks are many and their part of the weight stays in the cache while it meets all
/// rows.
const BLOCK: usize = 40;

/// `out[m, n] = x[m, k] weight[n, k]^T`, the outputs shared among the threads.
pub(crate) fn few_rows_times_transposed(out: &mut [f32], x: &[f32], weight: &[f32], k: usize) {
    let (m, n) = (x.len() / k, weight.len() / k);
    if m == 0 {
        return; // An expert that no row goes to.
    }
    let x = PackedWeight::from_rows(x, k);
    let mut transposed = vec![0.0; n * m];
    transposed
        .par_chunks_mut(BLOCK * m)
        .zip(weight.par_chunks(BLOCK * k))
        .for_each(|(out, weight)| x.multiply(out, weight, Store::Set));
    out.par_chunks_exact_mut(n).enumerate().for_each(|(row, out)| {
        out.iter_mut().zip(transposed[row..].iter().step_by(m)).for_each(|(out, sum)| *out = *sum);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| (i * factor % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn a_product_has_the_bits_of_the_packed_weights() {
        for (m, n, k) in [(1, 1, 1), (4, 3, 16), (7, 50, 37), (16, 97, 64), (33, 200, 130)] {
            let (x, w) = (numbers(m * k, 37), numbers(n * k, 53));
            let mut out = vec![9.0; m * n];
            few_rows_times_transposed(&mut out, &x, &w, k);
            assert_eq!(out, PackedWeight::from_rows(&w, k).apply(&x), "{m} x {n} x {k}");
        }
        few_rows_times_transposed(&mut [], &[], &numbers(6, 53), 2);
    }
}
