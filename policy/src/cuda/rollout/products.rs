//! Products of a step's rows and weights: of few rows by kernels of our own, which read a weight once and add or activate at
//! once, and of more, as prompts have them, by cuBLAS.

use std::cell::Cell;

use device::ops::{FewRows, FewRowsWeight, Parts, RmsNorm, swiglu};
use device::{Buffer, Device, Gemm, Numbers, Result, Slice, bf16};

use crate::cuda::Parameter;
use crate::cuda::feed_forward::Swiglu;
use crate::cuda::linear::{add_projection_bias, linear_into};
use crate::model::parts::Projection;

/// The residual stream, `[rows, d]`. The product that was added last may still be in parts, which the next norm adds up: it reads
/// all of the rows anyway.
pub(super) struct Residual<'a> {
    rows: Slice<'a, f32>,
    waiting: Cell<Option<Parts<'a>>>,
}

impl<'a> Residual<'a> {
    pub(super) fn new(rows: Slice<'a, f32>) -> Self {
        Residual { rows, waiting: Cell::new(None) }
    }

    /// The rows, with all that was added: each part of a layer begins with a norm, after which nothing is waiting.
    pub(super) fn rows(&self) -> Slice<'a, f32> {
        debug_assert!(self.waiting.get().is_none());
        self.rows
    }

    fn add(&self, parts: Parts<'a>) -> Result<()> {
        debug_assert!(self.waiting.get().is_none());
        self.waiting.set(Some(parts));
        Ok(())
    }

    /// `out` `[rows, d]`: the rows' norm.
    pub(super) fn normalise(
        &self,
        device: &Device,
        out: Slice<'_, bf16>,
        weight: &Parameter<'_>,
        eps: f64,
    ) -> Result<()> {
        let norm = RmsNorm { weight: weight.master, eps: eps as f32 };
        match self.waiting.take() {
            Some(parts) => norm.add_forward(device, out, self.rows, parts),
            None => norm.forward(device, out, self.rows, weight.master.len()),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.get().is_some()
    }
}

/// What multiplies.
pub(super) struct Products<'a> {
    device: &'a Device,
    few: FewRows,
}

impl<'a> Products<'a> {
    /// For a residual stream of width `width`.
    pub(super) fn new(device: &'a Device, width: usize) -> Result<Self> {
        Ok(Products { device, few: FewRows::new(device, width)? })
    }

    /// `y = x W^T`, `[rows, outputs]` of `x` `[rows, inputs]`.
    pub(super) fn linear<'b>(
        &self,
        y: impl Into<Numbers<'b>>,
        x: Slice<'b, bf16>,
        (weight, inputs): (Slice<'b, bf16>, usize),
    ) -> Result<()> {
        self.linear_or_add(y.into(), x, (weight, inputs), false)
    }

    /// `y = x W^T + b`.
    pub(super) fn project(
        &self,
        y: Slice<'_, bf16>,
        x: Slice<'_, bf16>,
        (projection, inputs): (&Projection<Parameter<'_>>, usize),
    ) -> Result<()> {
        self.linear(y, x, (projection.weight.copy, inputs))?;
        add_projection_bias(self.device, y, projection)
    }

    /// `y += x W^T + b`.
    pub(super) fn add_projection<'s>(
        &'s self,
        y: &Residual<'s>,
        x: Slice<'_, bf16>,
        (projection, inputs): (&Projection<Parameter<'_>>, usize),
    ) -> Result<()> {
        let weight = projection.weight.copy;
        if projection.bias.is_none() && FewRows::take(x, weight, inputs) {
            return y.add(self.few.multiply_parts(self.device, x, (FewRowsWeight::Outputs(weight), inputs))?);
        }
        self.linear_or_add(y.rows().into(), x, (weight, inputs), true)?;
        add_projection_bias(self.device, y.rows(), projection)
    }

    /// `y += down(silu(gate x) * up x)`; x `[rows, width]`. `gate_up` `[rows, 2 inner]` and `hidden` `[rows, inner]` are
    /// overwritten.
    pub(super) fn add_swiglu<'s>(
        &'s self,
        y: &Residual<'s>,
        x: Slice<'_, bf16>,
        (weight, width): (Slice<'_, bf16>, usize),
        (gate_up, hidden): (&Buffer<bf16>, &Buffer<bf16>),
    ) -> Result<()> {
        let (device, rows) = (self.device, x.len() / width);
        let Swiglu { gate_up: weight, down, inner } = Swiglu::new(weight, width);
        let hidden = hidden.slice(..rows * inner);
        if FewRows::take(x, weight, width) && FewRows::take(hidden, down, inner) {
            self.few.activate(device, hidden, x, (weight, width))?;
            return y.add(self.few.multiply_parts(device, hidden, (FewRowsWeight::Inputs(down), inner))?);
        }
        let gate_up = gate_up.slice(..rows * 2 * inner);
        linear_into(device, gate_up, (x, weight), width, false)?;
        swiglu(device, hidden, gate_up, inner)?;
        device.gemm(&Gemm::new([rows, width, inner], hidden, down, y.rows()).added())
    }

    fn linear_or_add(
        &self,
        y: Numbers<'_>,
        x: Slice<'_, bf16>,
        (weight, inputs): (Slice<'_, bf16>, usize),
        add: bool,
    ) -> Result<()> {
        if FewRows::take(x, weight, inputs) {
            return self.few.multiply(self.device, y, x, (FewRowsWeight::Outputs(weight), inputs), add);
        }
        linear_into(self.device, y, (x, weight), inputs, add)
    }
}
