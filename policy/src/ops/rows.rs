//! Products of few rows with a large weight, read where it lies.
//!
//! A large model's weights do not fit any cache: what counts is that each number is read from memory once for all rows, and
//! that no second copy is needed. So the weight `[n, k]` stays row by row. A tile of rows and outputs keeps its sums in vector
//! registers, each lane a chain of fused multiply-adds over every so many inputs; then the lanes are added up. The order
//! depends on the processor's vector width, and on nothing else: a row's result does not depend on the rows beside it.

use pulp::Simd;
use rayon::prelude::*;

/// Outputs of one task: few enough that tasks are many, and a multiple of what is computed side by side.
const BLOCK: usize = 48;
/// Rows and outputs that are computed side by side: twelve sums, and what they are made of, in the sixteen registers of AVX2.
const TILE: (usize, usize) = (4, 3);

/// `out[m, n] = x[m, k] weight[n, k]^T`, the outputs shared among the threads; `out`'s rows begin `stride` apart.
pub(crate) fn few_rows_times_transposed(out: &mut [f32], stride: usize, x: &[f32], weight: &[f32], k: usize) {
    let (m, n) = (x.len() / k, weight.len() / k);
    if m == 0 {
        return; // An expert that no row goes to.
    }
    // Blocks of outputs, [blocks, m, BLOCK], so that each task writes to numbers of its own.
    let mut blocks = vec![0.0; n.div_ceil(BLOCK) * BLOCK * m];
    blocks.par_chunks_mut(BLOCK * m).zip(weight.par_chunks(BLOCK * k)).for_each(|(out, weight)| {
        pulp::Arch::new().dispatch(Block { out, x, weight, k });
    });
    out.par_chunks_mut(stride).enumerate().for_each(|(row, out)| {
        for (out, block) in out[..n].chunks_mut(BLOCK).zip(blocks.chunks_exact(BLOCK * m)) {
            out.copy_from_slice(&block[row * BLOCK..row * BLOCK + out.len()]);
        }
    });
}

/// One task: `out` `[m, BLOCK]`.
struct Block<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    k: usize,
}

impl pulp::WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Block { out, x, weight, k } = self;
        for (index, weight) in weight.chunks(TILE.1 * k).enumerate() {
            let out = &mut out[index * TILE.1..];
            match weight.len() / k {
                3 => rows::<S, 3>(simd, out, x, weight, k),
                2 => rows::<S, 2>(simd, out, x, weight, k),
                _ => rows::<S, 1>(simd, out, x, weight, k),
            }
        }
    }
}

/// `C` outputs of all rows.
#[inline(always)]
fn rows<S: Simd, const C: usize>(simd: S, out: &mut [f32], x: &[f32], weight: &[f32], k: usize) {
    for (index, x) in x.chunks(TILE.0 * k).enumerate() {
        let out = &mut out[index * TILE.0 * BLOCK..];
        match x.len() / k {
            4 => tile::<S, 4, C>(simd, out, x, weight, k),
            3 => tile::<S, 3, C>(simd, out, x, weight, k),
            2 => tile::<S, 2, C>(simd, out, x, weight, k),
            _ => tile::<S, 1, C>(simd, out, x, weight, k),
        }
    }
}

/// `C` outputs of `R` rows.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(simd: S, out: &mut [f32], x: &[f32], weight: &[f32], k: usize) {
    let count = S::as_simd_f32s(&x[..k]).0.len();
    let x_rows: [&[f32]; R] = std::array::from_fn(|i| &x[i * k..(i + 1) * k]);
    let w_rows: [&[f32]; C] = std::array::from_fn(|j| &weight[j * k..(j + 1) * k]);
    let x_vectors: [&[S::f32s]; R] = std::array::from_fn(|i| &S::as_simd_f32s(x_rows[i]).0[..count]);
    let w_vectors: [&[S::f32s]; C] = std::array::from_fn(|j| &S::as_simd_f32s(w_rows[j]).0[..count]);
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for l in 0..count {
        let w: [S::f32s; C] = std::array::from_fn(|j| w_vectors[j][l]);
        for i in 0..R {
            let x = x_vectors[i][l];
            for j in 0..C {
                sums[i][j] = simd.mul_add_f32s(x, w[j], sums[i][j]);
            }
        }
    }
    for i in 0..R {
        let x_rest = S::as_simd_f32s(x_rows[i]).1;
        for j in 0..C {
            let rest = x_rest.iter().zip(S::as_simd_f32s(w_rows[j]).1);
            out[i * BLOCK + j] = rest.fold(simd.reduce_sum_f32s(sums[i][j]), |sum, (x, w)| x.mul_add(*w, sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| (i * factor % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn products_are_right_and_do_not_depend_on_the_rows_beside() {
        for (m, n, k) in [(1, 1, 1), (4, 3, 16), (7, 50, 37), (16, 97, 64), (9, 200, 130)] {
            let (x, w) = (numbers(m * k, 37), numbers(n * k, 53));
            let mut out = vec![9.0; m * (n + 2)];
            few_rows_times_transposed(&mut out, n + 2, &x, &w, k);
            for i in 0..m {
                let row = &out[i * (n + 2)..(i + 1) * (n + 2)];
                for j in 0..n {
                    let exact: f64 = (0..k).map(|l| f64::from(x[i * k + l]) * f64::from(w[j * k + l])).sum();
                    assert!((f64::from(row[j]) - exact).abs() < 1e-4, "{m} x {n} x {k}: {} {exact}", row[j]);
                }
                assert_eq!(row[n..], [9.0; 2], "what lies between rows is left alone");
                let mut alone = vec![0.0; n];
                few_rows_times_transposed(&mut alone, n, &x[i * k..(i + 1) * k], &w, k);
                assert_eq!(alone, row[..n], "row {i} of {m} x {n} x {k}");
            }
        }
        few_rows_times_transposed(&mut [], 3, &[], &numbers(6, 53), 2);
    }
}
