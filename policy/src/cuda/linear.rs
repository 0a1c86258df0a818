//! Products of a batch's rows and a weight, forward and backward. Weights are `[outputs, inputs]`.
//!
//! With `y = x W^T`: `d_x = d_y W`, `d_W += d_y^T x`. Products write what is read once more by another product in bf16, and
//! add to the residual stream and to sums of gradients in f32.

use device::ops::{add_bias, sum_rows, sum_rows_partial_len};
use device::{Buffer, Device, Gemm, Numbers, Result, Slice, bf16};

use super::Parameter;
use crate::model::parts::Projection;

/// `y = x W^T`, `[n, outputs]` of `x` `[n, inputs]`.
pub(super) fn linear(
    device: &Device,
    x: Slice<'_, bf16>,
    weight: Slice<'_, bf16>,
    inputs: usize,
) -> Result<Buffer<bf16>> {
    let [rows, outputs] = sizes(x, weight, inputs);
    let y = device.alloc(rows * outputs, "activations")?;
    device.gemm(&Gemm::new([rows, outputs, inputs], x, weight, y.view()).transposed_b())?;
    Ok(y)
}

/// `y += x W^T`, or with `add` false `y =`.
pub(super) fn linear_into<'a>(
    device: &Device,
    y: impl Into<Numbers<'a>>,
    (x, weight): (Slice<'a, bf16>, Slice<'a, bf16>),
    inputs: usize,
    add: bool,
) -> Result<()> {
    let [rows, outputs] = sizes(x, weight, inputs);
    let product = Gemm::new([rows, outputs, inputs], x, weight, y).transposed_b();
    device.gemm(&if add { product.added() } else { product })
}

/// `d_x = d_y W`, `[n, inputs]` of `d_y` `[n, outputs]`.
pub(super) fn linear_back(
    device: &Device,
    d_y: Slice<'_, bf16>,
    weight: Slice<'_, bf16>,
    inputs: usize,
) -> Result<Buffer<bf16>> {
    let outputs = weight.len() / inputs;
    let rows = d_y.len() / outputs;
    let d_x = device.alloc(rows * inputs, "gradients of activations")?;
    device.gemm(&Gemm::new([rows, inputs, outputs], d_y, weight, d_x.view()))?;
    Ok(d_x)
}

/// `d_x += d_y W`, or with `add` false `d_x =`.
pub(super) fn linear_back_into(
    device: &Device,
    d_x: Slice<'_, f32>,
    (d_y, weight): (Slice<'_, bf16>, Slice<'_, bf16>),
    inputs: usize,
    add: bool,
) -> Result<()> {
    let outputs = weight.len() / inputs;
    let product = Gemm::new([d_y.len() / outputs, inputs, outputs], d_y, weight, d_x);
    device.gemm(&if add { product.added() } else { product })
}

/// `d_W += d_y^T x`.
pub(super) fn add_weight_gradient(
    device: &Device,
    d_weight: Slice<'_, f32>,
    (x, d_y): (Slice<'_, bf16>, Slice<'_, bf16>),
    inputs: usize,
) -> Result<()> {
    let outputs = d_weight.len() / inputs;
    let rows = x.len() / inputs;
    device.gemm(&Gemm::new([outputs, inputs, rows], d_y, x, d_weight).transposed_a().added())
}

/// `y = x W^T + b`.
pub(super) fn project(
    device: &Device,
    x: Slice<'_, bf16>,
    projection: &Projection<Parameter<'_>>,
    inputs: usize,
) -> Result<Buffer<bf16>> {
    let y = linear(device, x, projection.weight.copy, inputs)?;
    add_projection_bias(device, y.view(), projection)?;
    Ok(y)
}

/// `y += x W^T + b`, y being the residual stream.
pub(super) fn add_projection(
    device: &Device,
    y: Slice<'_, f32>,
    x: Slice<'_, bf16>,
    projection: &Projection<Parameter<'_>>,
    inputs: usize,
) -> Result<()> {
    linear_into(device, y, (x, projection.weight.copy), inputs, true)?;
    add_projection_bias(device, y, projection)
}

/// `y += b`, if there is one.
pub(super) fn add_projection_bias<'a>(
    device: &Device,
    y: impl Into<Numbers<'a>>,
    projection: &Projection<Parameter<'_>>,
) -> Result<()> {
    let Some(bias) = &projection.bias else { return Ok(()) };
    let (y, outputs) = (y.into(), bias.master.len());
    add_bias(device, (y, y.len() / outputs, outputs), bias.master)
}

/// The parameters' gradients `+=`.
pub(super) fn add_projection_gradients(
    device: &Device,
    gradient: &Projection<Slice<'_, f32>>,
    (x, d_y): (Slice<'_, bf16>, Slice<'_, bf16>),
    inputs: usize,
) -> Result<()> {
    if let Some(bias) = gradient.bias {
        let (outputs, rows) = (bias.len(), d_y.len() / bias.len());
        let partial = device.alloc(sum_rows_partial_len(rows, outputs), "sums of a bias's gradient")?;
        sum_rows(device, bias, (d_y, rows, outputs), partial.view())?;
    }
    add_weight_gradient(device, gradient.weight, (x, d_y), inputs)
}

/// `d_x =` and the parameters' gradients `+=`.
pub(super) fn project_backward(
    device: &Device,
    d_x: Slice<'_, f32>,
    gradient: &Projection<Slice<'_, f32>>,
    (x, d_y): (Slice<'_, bf16>, Slice<'_, bf16>),
    projection: &Projection<Parameter<'_>>,
    inputs: usize,
) -> Result<()> {
    add_projection_gradients(device, gradient, (x, d_y), inputs)?;
    linear_back_into(device, d_x, (d_y, projection.weight.copy), inputs, false)
}

fn sizes(x: Slice<'_, bf16>, weight: Slice<'_, bf16>, inputs: usize) -> [usize; 2] {
    [x.len() / inputs, weight.len() / inputs]
}
