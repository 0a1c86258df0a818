//! `y = x + b`: x `[tokens, width]`, b `[width]`. The bias's gradient is the sum over tokens, added up in block order.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::sum::add_scaled;
use super::{Real, dispatch, read, slice, vectorised};

const NAME: &str = "add_bias";
/// Rows that one task computes.
const ROW_BLOCK: usize = 256;

struct AddBias;

/// Adds `bias` `[width]` to every row of `x` `[tokens, width]`.
///
/// # Errors
/// If the shapes do not fit or the number type is neither f32 nor f64.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.dims2()?.1 != bias.dims1()? {
        candle_core::bail!("{NAME}: rows of {:?} with a bias of {:?}", x.shape(), bias.shape());
    }
    x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias)
}

/// Adds a bias to rows where it is called; the rollout engine shares it.
#[inline(always)]
pub(crate) fn add_to_rows<T: Real>(rows: &mut [T], bias: &[T]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        add_scaled(row, bias, T::one());
    }
}

fn column_sums<T: Real>(grad: &[T], width: usize) -> Vec<T> {
    let partial: Vec<Vec<T>> = grad
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
    let mut total = vec![T::zero(); width];
    partial.iter().for_each(|part| add_scaled(&mut total, part, T::one()));
    total
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        dispatch!(NAME, x, T => {
            let (mut y, bias) = (slice::<T>(NAME, x, lx)?.to_vec(), slice::<T>(NAME, b, lb)?);
            y.par_chunks_mut(ROW_BLOCK * bias.len()).for_each(|rows| {
                vectorised(#[inline(always)] || add_to_rows(rows, bias));
            });
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(y), lx.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, b: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let sums = dispatch!(NAME, x, T => {
            let sums = column_sums::<T>(read(&grad).slice(NAME)?, b.dims1()?);
            Tensor::from_vec(sums, b.shape(), b.device())?
        });
        Ok((Some(grad), Some(sums)))
    }
}
