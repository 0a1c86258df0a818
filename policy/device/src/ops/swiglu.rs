//! The activation between the two products of a SwiGLU layer: `silu(gate) * up`. See `kernels/swiglu.cu`.

use half::bf16;

use super::checks::{Checks, EIGHT};
use crate::{Argument, Device, Grid, Result, Slice};

const THREADS: u32 = 128;
/// Blocks that each multiprocessor is to have, where rows are few.
const BLOCKS: usize = 4;

/// `hidden` `[n, inner]` from `gate_up` `[n, 2 inner]`, where gate and up stand side by side.
///
/// # Errors
/// Lengths that do not fit, an inner width that is no multiple of 8, or the card's.
pub fn swiglu(device: &Device, hidden: Slice<'_, bf16>, gate_up: Slice<'_, bf16>, inner: usize) -> Result<()> {
    let check = Checks("swiglu");
    let rows = check_rows(check, hidden, gate_up, inner)?;
    let kernel = device.kernel("swiglu", &[], "swiglu")?;
    let arguments = [hidden.into(), gate_up.into(), check.int("inner", inner)?.into()];
    // Each number stands for itself, so how rows are cut makes no difference to it.
    let most = inner.div_ceil(EIGHT * THREADS as usize);
    let pieces = (BLOCKS * device.multiprocessors()).div_ceil(rows.max(1)).min(most);
    device.submit(&kernel, Grid::blocks_3d([rows, pieces, 1], THREADS), &arguments)
}

/// What rows of experts are multiplied with after the layer, and the gradient of that.
#[derive(Clone, Copy)]
pub struct Factors<'a> {
    /// `[n]`
    pub factors: Slice<'a, f32>,
    /// `[n]`, set.
    pub d_factors: Slice<'a, f32>,
}

/// What [`swiglu_backward`] writes.
#[derive(Clone, Copy)]
pub struct SwigluGradients<'a> {
    /// `[n, 2 inner]`, set; may be `gate_up` itself.
    pub d_gate_up: Slice<'a, bf16>,
    /// The activation made again, `[n, inner]`, times its row's factor: what the gradient of the second product's weight
    /// is made of, with the gradient of the layer's result as it comes.
    pub hidden: Option<Slice<'a, bf16>>,
}

/// The backward pass, where the row's result is `factor * down(hidden)`.
///
/// `d_hidden` `[n, inner]` is the gradient of the result through `down` alone, before the factor; so the gradient of the
/// factor is the dot product of it with the activation.
///
/// # Errors
/// As [`swiglu`].
pub fn swiglu_backward(
    device: &Device,
    gradients: SwigluGradients<'_>,
    gate_up: Slice<'_, bf16>,
    d_hidden: Slice<'_, bf16>,
    factors: Option<Factors<'_>>,
    inner: usize,
) -> Result<()> {
    let check = Checks("swiglu, backward");
    let rows = check_rows(check, d_hidden, gate_up, inner)?;
    check_rows(check, gradients.hidden.unwrap_or(d_hidden), gradients.d_gate_up, inner)?;
    check.holds("the gradient of gate and up", gradients.d_gate_up.len(), gate_up.len())?;
    if let Some(Factors { factors, d_factors }) = factors {
        check.holds("the factors", factors.len(), rows)?;
        check.holds("their gradient", d_factors.len(), rows)?;
    }
    let kernel = device.kernel("swiglu", &[], "swiglu_backward")?;
    let arguments = [
        gradients.d_gate_up.into(),
        gradients.hidden.map_or(Argument::null(), Into::into),
        factors.map_or(Argument::null(), |factors| factors.d_factors.into()),
        gate_up.into(),
        d_hidden.into(),
        factors.map_or(Argument::null(), |factors| factors.factors.into()),
        check.int("inner", inner)?.into(),
    ];
    device.submit(&kernel, Grid::blocks(rows, THREADS), &arguments)
}

/// Checks both arrays; returns the number of rows.
fn check_rows(check: Checks, hidden: Slice<'_, bf16>, gate_up: Slice<'_, bf16>, inner: usize) -> Result<usize> {
    check.in_eights("the inner width", inner)?;
    let rows = hidden.len() / inner;
    check.holds("the activation or its gradient", hidden.len(), rows * inner)?;
    check.holds("gate and up or their gradient", gate_up.len(), rows * 2 * inner)?;
    check.aligned("the activation or its gradient", hidden)?;
    check.aligned("gate and up or their gradient", gate_up)?;
    Ok(rows)
}
