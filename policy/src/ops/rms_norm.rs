//! Root-mean-square normalisation: `y = x / sqrt(mean(x^2) + eps) * weight`, row by row.
//!
//! Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019. With `r = 1 / sqrt(mean(x^2) + eps)` and n columns,
//! `dx = r * (dy * w - x * r^2 * sum(dy * w * x) / n)` and `dw = sum over rows of dy * x * r`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType};
use num_traits::Zero;
use rayon::prelude::*;

use super::sum::{add_scaled, dot};
use super::{Real, dispatch, read, slice, vectorised};

const NAME: &str = "rms_norm";
/// Rows that one task normalises, and whose share of the weight's gradient is summed before it is added to the rest.
const ROW_BLOCK: usize = 256;

struct RmsNorm {
    eps: f64,
}

/// Normalises the rows of `x` `[tokens, width]` and scales their columns by `weight` `[width]`.
///
/// # Errors
/// If the shapes do not fit or the number type is neither f32 nor f64.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if x.dims2()?.1 != weight.dims1()? {
        candle_core::bail!("{NAME}: rows of {:?} with a weight of {:?}", x.shape(), weight.shape());
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { eps })
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn reciprocal<T: Real>(x: &[T], eps: T) -> T {
    T::one() / (dot(x, x) / T::from_f64(x.len() as f64) + eps).sqrt()
}

/// Normalises rows where it is called; the rollout engine shares it.
#[inline(always)]
pub(crate) fn normalise_rows<T: Real>(out: &mut [T], x: &[T], weight: &[T], eps: f64) {
    let eps = T::from_f64(eps);
    for (out, x) in out.chunks_exact_mut(weight.len()).zip(x.chunks_exact(weight.len())) {
        let r = reciprocal(x, eps);
        for ((o, v), w) in out.iter_mut().zip(x).zip(weight) {
            *o = *v * r * *w;
        }
    }
}

fn gradients<T: Real>(x: &Tensor, weight: &Tensor, grad: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let width = weight.dims1()?;
    let (x_read, w_read, dy_read) = (read(x), read(weight), read(grad));
    let (xs, w, dys) = (x_read.slice::<T>(NAME)?, w_read.slice::<T>(NAME)?, dy_read.slice::<T>(NAME)?);
    let (eps, n) = (T::from_f64(eps), T::from_f64(width as f64));
    let mut dx = vec![T::zero(); xs.len()];
    let block = ROW_BLOCK * width;
    let partial: Vec<Vec<T>> = dx
        .par_chunks_mut(block)
        .zip(xs.par_chunks(block))
        .zip(dys.par_chunks(block))
        .map(|((dx, x), dy)| {
            vectorised(
                #[inline(always)]
                || {
                    let mut dw = vec![T::zero(); width];
                    let mut scaled = vec![T::zero(); width];
                    for ((dx, x), dy) in
                        dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width))
                    {
                        let r = reciprocal(x, eps);
                        for ((s, g), w) in scaled.iter_mut().zip(dy).zip(w) {
                            *s = *g * *w;
                        }
                        let shared = dot(&scaled, x) * r * r / n;
                        for ((d, s), v) in dx.iter_mut().zip(&scaled).zip(x) {
                            *d = r * (*s - *v * shared);
                        }
                        for ((d, g), v) in dw.iter_mut().zip(dy).zip(x) {
                            *d += *g * *v * r;
                        }
                    }
                    dw
                },
            )
        })
        .collect();
    let mut dw = vec![T::zero(); width];
    for part in &partial {
        add_scaled(&mut dw, part, T::one());
    }
    Ok((Tensor::from_vec(dx, x.shape(), x.device())?, Tensor::from_vec(dw, weight.shape(), x.device())?))
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        dispatch!(NAME, x, T => {
            let (x, w) = (slice::<T>(NAME, x, lx)?, slice::<T>(NAME, w, lw)?);
            let mut y = vec![T::zero(); x.len()];
            let block = ROW_BLOCK * w.len();
            y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
                vectorised(#[inline(always)] || normalise_rows(y, x, w, self.eps));
            });
            Ok((T::to_cpu_storage_owned(y), lx.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = dispatch!(NAME, x, T => gradients::<T>(x, w, &grad.contiguous()?, self.eps)?);
        Ok((Some(dx), Some(dw)))
    }
}
