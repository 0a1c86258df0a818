//! `y = x W^T`: x `[tokens, in]`, W `[out, in]`, y `[tokens, out]`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use rayon::prelude::*;

use super::sum::dot;
use super::{Real, dispatch, matmul, read, slice, vectorised};

const NAME: &str = "linear";
/// Up to this many outputs, rows are multiplied by dot products: the matrix product takes paths that depend on the number
/// of rows there, and a router must choose alike in sampling and in training.
const NARROW: usize = 32;
/// Rows that one task multiplies by dot products.
const ROW_BLOCK: usize = 256;

struct Linear;

/// Multiplies every row of `x` `[tokens, in]` by the transpose of `weight` `[out, in]`.
///
/// # Errors
/// If the shapes do not fit or the number type is neither f32 nor f64.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((_, inputs), (_, expected)) = (x.dims2()?, weight.dims2()?);
    if inputs != expected {
        candle_core::bail!("{NAME}: {:?} by the transpose of {:?}", x.shape(), weight.shape());
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, Linear)
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

fn gradients<T: Real>(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    let (outputs, inputs) = weight.dims2()?;
    let (x_read, w_read, dy_read) = (read(x), read(weight), read(grad));
    let (x_rows, w, dy) = (x_read.slice::<T>(NAME)?, w_read.slice::<T>(NAME)?, dy_read.slice::<T>(NAME)?);
    let mut dx = vec![T::zero(); x_rows.len()];
    let mut dw = vec![T::zero(); w.len()];
    matmul::rows_times(&mut dx, dy, w, outputs, inputs);
    matmul::add_weight_gradient(&mut dw, dy, x_rows, outputs, inputs);
    Ok((Tensor::from_vec(dx, x.shape(), x.device())?, Tensor::from_vec(dw, weight.shape(), x.device())?))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (tokens, inputs) = lx.shape().dims2()?;
        let (outputs, _) = lw.shape().dims2()?;
        dispatch!(NAME, x, T => {
            let (x, w) = (slice::<T>(NAME, x, lx)?, slice::<T>(NAME, w, lw)?);
            let mut y = vec![<T as num_traits::Zero>::zero(); tokens * outputs];
            if outputs <= NARROW {
                y.par_chunks_mut(ROW_BLOCK * outputs).zip(x.par_chunks(ROW_BLOCK * inputs)).for_each(|(y, x)| {
                    vectorised(#[inline(always)] || narrow_rows(y, x, w, outputs, inputs));
                });
            } else {
                matmul::rows_times_transposed(&mut y, x, w, outputs, inputs);
            }
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(y), (tokens, outputs).into()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = dispatch!(NAME, x, T => gradients::<T>(x, w, &grad.contiguous()?)?);
        Ok((Some(dx), Some(dw)))
    }
}
