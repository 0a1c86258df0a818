//! Norms of rows in a pass: the operation with the memory that it needs.

use device::ops::{Numbers, RmsNorm, WeightGradient};
use device::{Buffer, Device, Result, Slice, bf16};

use super::Parameter;

/// Rows to be normalised, which begin `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: Numbers<'a>,
    pub(super) count: usize,
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `width` numbers without gaps.
    pub(super) fn packed(values: impl Into<Numbers<'a>>, width: usize) -> Self {
        let values = values.into();
        Rows { values, count: values.len() / width, stride: width }
    }
}

/// The rows normalised, `[count, width]`.
pub(super) fn norm(device: &Device, x: Rows<'_>, weight: &Parameter<'_>, eps: f64) -> Result<Buffer<bf16>> {
    let out = device.alloc(x.count * weight.master.len(), "normalised rows")?;
    operation(weight, eps).forward(device, out.view(), x.values, x.stride)?;
    Ok(out)
}

/// The gradients for `d_y`: in f32 `d_x +=`, in bf16 `d_x =`, and the weight's `+=`.
pub(super) fn norm_backward<'a>(
    device: &Device,
    (d_x, d_weight): (impl Into<Numbers<'a>>, Slice<'_, f32>),
    x: Rows<'a>,
    (weight, eps): (&Parameter<'_>, f64),
    d_y: impl Into<Numbers<'a>>,
) -> Result<()> {
    let norm = operation(weight, eps);
    let partial = device.alloc(norm.partial_len(x.count), "sums of a norm's gradient")?;
    let d_weight = WeightGradient { sum: d_weight, partial: partial.view() };
    norm.backward(device, d_x, Some(d_weight), (x.values, x.stride), d_y)
}

fn operation<'a>(weight: &Parameter<'a>, eps: f64) -> RmsNorm<'a> {
    RmsNorm { weight: weight.master, eps: eps as f32 }
}
