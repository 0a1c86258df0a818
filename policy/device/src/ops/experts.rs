//! The routed experts: SwiGLU layers, each for the tokens that chose it.
//!
//! `y_t += sum over the slots k of token t of g_tk * down_e(silu(gate_e x_t) * up_e x_t)`, e being the expert in slot k. The
//! weights of E experts of inner width I over rows of width D are one tensor `[E, 3 I, D]`: gate, up, and down transposed.
//! Shazeer, "GLU Variants Improve Transformer", 2020; DeepSeek-V3, section 2.1.2.
//!
//! Backward, a pair's result is `g down^T h`. With `q = down d_y` the gradient through the weight alone: `d_g = q . h`, so the
//! results need not be kept, and the factor g goes to the activation's gradient and to the h of down's gradient: `d_down +=
//! (g h)^T d_y`. So rows of `x` and of `d_y` are read in place, token by token, and never copied for each expert.

use half::bf16;

use super::checks::Checks;
use super::combine::{combine, gates_from_places, gates_to_places, sum_slots};
use super::grouped_gemm::{ExpertMatrices, PairRows, Tile, activate_rows, add_weight_gradient, multiply_rows};
use super::grouping::Grouped;
use super::swiglu::{Factors, SwigluGradients, swiglu_backward};
use crate::Numbers;
use crate::{Buffer, Device, Element, Result, Slice};

/// The weights of all experts, or their gradients: `[experts, 3 inner, width]`.
#[derive(Debug, Clone, Copy)]
pub struct ExpertWeights<'a, T: Element> {
    /// For each expert gate `[inner, width]`, up `[inner, width]` and down transposed `[inner, width]`.
    pub values: Slice<'a, T>,
    /// The width of the activation.
    pub inner: usize,
    /// The width of a token's row.
    pub width: usize,
}

impl<'a, T: Element> ExpertWeights<'a, T> {
    fn stride(&self) -> usize {
        3 * self.inner * self.width
    }

    /// Gate and up of each expert, `[2 inner, width]`.
    fn gate_up(&self) -> ExpertMatrices<'a, T> {
        ExpertMatrices { values: self.values, height: 2 * self.inner, width: self.width, stride: self.stride() }
    }

    /// Down transposed of each expert, `[inner, width]`.
    fn down(&self) -> ExpertMatrices<'a, T> {
        let values = self.values.slice(2 * self.inner * self.width..);
        ExpertMatrices { values, height: self.inner, width: self.width, stride: self.stride() }
    }

    fn check(&self, check: Checks, experts: usize) -> Result<()> {
        check.holds("the experts' weights", self.values.len(), experts * self.stride())
    }
}

/// What experts compute on the way; one serves all layers.
#[derive(Debug)]
pub struct ExpertScratch {
    /// `[pairs, inner]`
    hidden: Buffer<bf16>,
    /// `[pairs, width]`
    rows: Buffer<bf16>,
    /// What only the backward pass needs: `[pairs, inner]`, and `[pairs]` twice.
    d_hidden: Buffer<bf16>,
    gates: Buffer<f32>,
    d_gates: Buffer<f32>,
}

impl ExpertScratch {
    /// For up to `pairs` pairs of a token and an expert; `backward`: also for the backward pass.
    ///
    /// # Errors
    /// The device's memory.
    pub fn new(device: &Device, pairs: usize, inner: usize, width: usize, backward: bool) -> Result<Self> {
        let back = if backward { pairs } else { 0 };
        Ok(ExpertScratch {
            hidden: device.alloc(pairs * inner, "activations of experts")?,
            rows: device.alloc(pairs * width, "results of experts")?,
            d_hidden: device.alloc(back * inner, "gradients of experts' activations")?,
            gates: device.alloc(back, "gates by expert")?,
            d_gates: device.alloc(back, "gradients of gates by expert")?,
        })
    }

    fn check(&self, check: Checks, pairs: usize, inner: usize, width: usize, backward: bool) -> Result<()> {
        check.has_room("the scratch for activations", self.hidden.len(), pairs * inner)?;
        check.has_room("the scratch for results", self.rows.len(), pairs * width)?;
        if backward {
            check.has_room("the scratch for the backward pass", self.d_hidden.len(), pairs * inner)?;
            check.has_room("the scratch for gates", self.gates.len(), pairs)?;
        }
        Ok(())
    }
}

/// `y` `[n, width] +=` the chosen experts' layers of `x` `[n, width]`, weighted by `gates` `[n, top_k]`.
///
/// `gate_up` `[pairs, 2 inner]`, if given, is set to what the backward pass needs. The result does not depend on `tile`.
///
/// # Errors
/// Sizes that do not fit together, widths that are no multiples of 8, or the device's.
pub fn add_experts(
    device: &Device,
    y: Slice<'_, f32>,
    (x, gates): (Slice<'_, bf16>, Slice<'_, f32>),
    weights: ExpertWeights<'_, bf16>,
    grouped: &Grouped<'_>,
    (gate_up, scratch): (Option<Slice<'_, bf16>>, &ExpertScratch),
    tile: Tile,
) -> Result<()> {
    let check = Checks("experts");
    let (ExpertWeights { inner, width, .. }, pairs) = (weights, grouped.pairs());
    weights.check(check, grouped.experts())?;
    scratch.check(check, pairs, inner, width, false)?;
    let (hidden, results) = (scratch.hidden.slice(..pairs * inner), scratch.rows.slice(..pairs * width));
    activate_rows(device, (hidden, gate_up), PairRows::OfTokens(x), weights.gate_up(), grouped, tile)?;
    multiply_rows(device, results, PairRows::Sorted(hidden), (weights.down(), false), grouped, tile)?;
    combine(device, y, results, gates, grouped, width)
}

/// What the backward pass gives.
#[derive(Clone, Copy)]
pub struct ExpertGradients<'a> {
    /// Of x, `[n, width]`: added to if `add`, else set.
    pub d_x: Numbers<'a>,
    /// Whether `d_x` is added to.
    pub add: bool,
    /// Of the gates, `[n, top_k]`: set.
    pub d_gates: Slice<'a, f32>,
    /// Of the weights: added to.
    pub d_weights: ExpertWeights<'a, f32>,
}

/// The backward pass of [`add_experts`] for the gradient `d_y` `[n, width]` of its result.
///
/// `gate_up` is what the forward pass left, and is overwritten.
///
/// # Errors
/// As [`add_experts`].
pub fn experts_backward(
    device: &Device,
    gradients: ExpertGradients<'_>,
    (x, gates): (Slice<'_, bf16>, Slice<'_, f32>),
    weights: ExpertWeights<'_, bf16>,
    grouped: &Grouped<'_>,
    (gate_up, scratch): (Slice<'_, bf16>, &ExpertScratch),
    d_y: Slice<'_, bf16>,
) -> Result<()> {
    let check = Checks("experts, backward");
    let (ExpertWeights { inner, width, .. }, pairs) = (weights, grouped.pairs());
    let ExpertGradients { d_x, add, d_gates, d_weights } = gradients;
    weights.check(check, grouped.experts())?;
    d_weights.check(check, grouped.experts())?;
    check.that((d_weights.inner, d_weights.width) == (inner, width), || "gradients of other weights".into())?;
    scratch.check(check, pairs, inner, width, true)?;
    let tile = Tile::for_rows(pairs, grouped.experts());
    let (hidden, d_hidden) = (scratch.hidden.slice(..pairs * inner), scratch.d_hidden.slice(..pairs * inner));
    let d_rows = scratch.rows.slice(..pairs * width);
    let (factors, d_factors) = (scratch.gates.slice(..pairs), scratch.d_gates.slice(..pairs));

    gates_to_places(device, factors, gates, grouped)?;
    multiply_rows(device, d_hidden, PairRows::OfTokens(d_y), (weights.down(), true), grouped, tile)?;
    let written = SwigluGradients { d_gate_up: gate_up, hidden: Some(hidden) };
    swiglu_backward(device, written, gate_up, d_hidden, Some(Factors { factors, d_factors }), inner)?;
    gates_from_places(device, d_gates, d_factors, grouped)?;
    add_weight_gradient(device, d_weights.down(), PairRows::Sorted(hidden), PairRows::OfTokens(d_y), grouped)?;
    add_weight_gradient(device, d_weights.gate_up(), PairRows::Sorted(gate_up), PairRows::OfTokens(x), grouped)?;
    multiply_rows(device, d_rows, PairRows::Sorted(gate_up), (weights.gate_up(), false), grouped, tile)?;
    sum_slots(device, d_x, d_rows, grouped, width, add)
}
