//! Root-mean-square normalisation: `y = x / sqrt(mean(x^2) + eps) * weight`, row by row.
//!
//! Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019. With `r = 1 / sqrt(mean(x^2) + eps)` and n columns,
//! `dx = r * (dy * w - x * r^2 * sum(dy * w * x) / n)` and `dw = sum over rows of dy * x * r`.

use rayon::prelude::*;

use super::sum::{add_scaled, dot};
use super::{Real, vectorised};

/// Rows that one task normalises, and whose share of the weight's gradient is summed before it is added to the rest.
const ROW_BLOCK: usize = 256;

/// Normalises rows and scales their columns by `weight` `[width]`. Rows of `x` begin `stride` (at least `width`) apart, so
/// that a part of wider rows can be normalised; the result's lie close.
pub fn rms_norm<T: Real>(x: &[T], stride: usize, weight: &[T], eps: f64) -> Vec<T> {
    let width = weight.len();
    let mut y = vec![T::zero(); x.len() / stride * width];
    y.par_chunks_mut(ROW_BLOCK * width).zip(x.par_chunks(ROW_BLOCK * stride)).for_each(|(y, x)| {
        vectorised(
            #[inline(always)]
            || normalise_strided(y, x, stride, weight, eps),
        );
    });
    y
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn reciprocal<T: Real>(x: &[T], eps: T) -> T {
    T::one() / (dot(x, x) / T::from_f64(x.len() as f64) + eps).sqrt()
}

/// Normalises rows where it is called; the rollout engine shares it.
#[inline(always)]
pub(crate) fn normalise_rows<T: Real>(out: &mut [T], x: &[T], weight: &[T], eps: f64) {
    normalise_strided(out, x, weight.len(), weight, eps);
}

#[inline(always)]
fn normalise_strided<T: Real>(out: &mut [T], x: &[T], stride: usize, weight: &[T], eps: f64) {
    let eps = T::from_f64(eps);
    let width = weight.len();
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(stride)) {
        let x = &x[..width];
        let r = reciprocal(x, eps);
        for ((o, v), w) in out.iter_mut().zip(x).zip(weight) {
            *o = *v * r * *w;
        }
    }
}

/// `dx +=` and `dw +=` the gradients for `dy`, whose rows lie close; those of `x` and `dx` begin `stride` apart.
pub fn rms_norm_backward<T: Real>(
    (d_x, d_weight): (&mut [T], &mut [T]),
    (x, stride): (&[T], usize),
    weight: &[T],
    d_y: &[T],
    eps: f64,
) {
    let width = weight.len();
    let (eps, n) = (T::from_f64(eps), T::from_f64(width as f64));
    let partial: Vec<Vec<T>> = d_x
        .par_chunks_mut(ROW_BLOCK * stride)
        .zip(x.par_chunks(ROW_BLOCK * stride))
        .zip(d_y.par_chunks(ROW_BLOCK * width))
        .map(|((d_x, x), d_y)| {
            vectorised(
                #[inline(always)]
                || {
                    let mut d_weight = vec![T::zero(); width];
                    let mut scaled = vec![T::zero(); width];
                    let rows = d_x.chunks_exact_mut(stride).zip(x.chunks_exact(stride));
                    for ((d_x, x), d_y) in rows.zip(d_y.chunks_exact(width)) {
                        let (d_x, x) = (&mut d_x[..width], &x[..width]);
                        let r = reciprocal(x, eps);
                        for ((s, g), w) in scaled.iter_mut().zip(d_y).zip(weight) {
                            *s = *g * *w;
                        }
                        let shared = dot(&scaled, x) * r * r / n;
                        for ((d, s), v) in d_x.iter_mut().zip(&scaled).zip(x) {
                            *d += r * (*s - *v * shared);
                        }
                        for ((d, g), v) in d_weight.iter_mut().zip(d_y).zip(x) {
                            *d += *g * *v * r;
                        }
                    }
                    d_weight
                },
            )
        })
        .collect();
    for part in &partial {
        add_scaled(d_weight, part, T::one());
    }
}
