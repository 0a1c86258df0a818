//! A projection by the next weights, with a bias or without.

use candle_core::{Result, Tensor};

use super::parameters::Weights;
use crate::ops::bias::add_bias;
use crate::ops::linear::linear;

/// `x W^T` with the next weight.
pub(super) fn project(x: &Tensor, weights: &mut Weights<'_>) -> Result<Tensor> {
    linear(x, &weights.next())
}

/// `x W^T + b` with the next weight and, in a model that has it, the bias after it.
pub(super) fn project_biased(x: &Tensor, weights: &mut Weights<'_>, biased: bool) -> Result<Tensor> {
    let y = project(x, weights)?;
    match weights.next_if(biased) {
        Some(bias) => add_bias(&y, &bias),
        None => Ok(y),
    }
}
