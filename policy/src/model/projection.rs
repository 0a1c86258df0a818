//! A projection by a weight, with a bias or without, forward and backward.

use super::parts::Projection;
use crate::ops::bias::{add_bias, add_bias_backward};
use crate::ops::linear::{add_linear, linear, linear_backward};
use crate::ops::sum::add_scaled;

/// `x W^T + b`.
pub(super) fn project(x: &[f32], projection: &Projection<&[f32]>, inputs: usize) -> Vec<f32> {
    let mut y = linear(x, projection.weight, inputs);
    if let Some(bias) = projection.bias {
        add_bias(&mut y, bias);
    }
    y
}

/// `y += x W^T + b`, the sum on the right first.
pub(super) fn add_projection(y: &mut [f32], x: &[f32], projection: &Projection<&[f32]>, inputs: usize) {
    if projection.bias.is_some() {
        add_scaled(y, &project(x, projection, inputs), 1.0);
    } else {
        add_linear(y, x, projection.weight, inputs);
    }
}

/// `d_x +=` and the parameters' gradients `+=`.
pub(super) fn project_backward(
    d_x: &mut [f32],
    gradient: &mut Projection<&mut [f32]>,
    x: &[f32],
    projection: &Projection<&[f32]>,
    d_y: &[f32],
    inputs: usize,
) {
    if let Some(bias) = &mut gradient.bias {
        add_bias_backward(bias, d_y);
    }
    linear_backward(d_x, gradient.weight, x, projection.weight, d_y, inputs);
}
