//! AdamW in one pass over each parameter, with f32 moments that can be saved.
//!
//! With the (clipped) gradient g of step t (Loshchilov, Hutter: "Decoupled weight decay
//! regularization", 2019; the arithmetic in PyTorch's order):
//!
//! ```text
//! w <- w (1 - lr decay)
//! m <- m + (1 - beta1) (g - m)
//! v <- beta2 v + (1 - beta2) g^2
//! w <- w - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! Clipping scales all gradients by `max_norm / norm` where their joint norm is larger (PyTorch
//! divides by `norm + 1e-6`). Weight decay applies to matrices only, tables of embeddings included,
//! as is customary: not to the vectors (the gains of the norms, biases). A step whose gradient is
//! not finite is not applied and leaves no trace in the state.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Var};
use rayon::prelude::*;

use super::{CHUNK, Gradients};
use crate::checkpoint::{TensorData, TensorView};
use crate::error::{During, PolicyError, Result};

const FIRST: &str = "first_moment.";
const SECOND: &str = "second_moment.";
const STEPS: &str = "steps";

/// The constants of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Decay of the matrices' weights per step, times the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    /// PyTorch's, without weight decay (RL fine-tuning seldom wants any).
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// What one call of [`AdamW::step`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The gradients' joint norm, before clipping.
    pub grad_norm: f64,
    /// Whether they were scaled down.
    pub clipped: bool,
    /// Whether the weights moved: `false` where the gradient was not finite.
    pub applied: bool,
}

/// The optimizer of a list of named parameters.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    slots: Vec<Slot>,
    steps: u64,
    /// `steps` as the saved state holds it. f32 counts exactly to 2^24; long before that the bias
    /// correction, all that depends on it, has rounded to one.
    steps_saved: [f32; 1],
}

#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl AdamW {
    /// An optimizer with zero moments. The parameters are taken in the order of their names.
    ///
    /// # Errors
    /// Two parameters of one name, or one that is not contiguous f32 on the CPU.
    pub fn new(params: &[(String, Var)], config: AdamWConfig) -> Result<Self> {
        let mut slots = Vec::with_capacity(params.len());
        for (name, var) in params {
            if var.dtype() != DType::F32 || !var.device().is_cpu() || !var.is_contiguous() {
                return Err(mismatch(
                    "make the optimizer",
                    name,
                    format!(
                        "expected contiguous F32 on the CPU, found {:?} on {:?}",
                        var.dtype(),
                        var.device().location()
                    ),
                ));
            }
            let count = var.elem_count();
            slots.push(Slot {
                name: name.clone(),
                var: var.clone(),
                first: vec![0.0; count],
                second: vec![0.0; count],
            });
        }
        slots.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = slots.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let message = "is listed twice".to_owned();
            return Err(mismatch("make the optimizer", &pair[0].name, message));
        }
        Ok(Self { config, slots, steps: 0, steps_saved: [0.0] })
    }

    /// Steps applied so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves the parameters against `grads`, which are first clipped to the norm `max_norm`.
    ///
    /// A gradient that is not finite (or whose square would not be, in f32) changes nothing:
    /// neither weights nor moments nor the count of steps; the report says `applied: false`.
    ///
    /// # Errors
    /// `grads` was made for other parameters. Nothing has changed then either.
    pub fn step(&mut self, grads: &Gradients, lr: f64, max_norm: Option<f64>) -> Result<StepReport> {
        self.check_matches(grads)?;
        let grad_norm = grads.norm();
        let clip = max_norm.filter(|&limit| grad_norm > limit).map(|limit| limit / grad_norm);
        let report = |applied| StepReport { grad_norm, clipped: clip.is_some(), applied };
        let scale = clip.unwrap_or(1.0);
        if !grad_norm.is_finite() || grad_norm * scale > f64::from(f32::MAX).sqrt() {
            return Ok(report(false));
        }

        self.steps += 1;
        self.steps_saved = [self.steps as f32];
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        for (slot, entry) in self.slots.iter_mut().zip(grads.entries()) {
            let Some(gradient) = &entry.values else { continue };
            let decay = if slot.var.rank() >= 2 { weight_decay } else { 0.0 };
            let update = Update {
                rate: Rate {
                    gradient_scale: scale as f32,
                    keep: (1.0 - lr * decay) as f32,
                    one_minus_beta1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    one_minus_beta2: (1.0 - beta2) as f32,
                    step: (lr / (1.0 - beta1.powi(t))) as f32,
                    root_correction: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
                    eps: eps as f32,
                },
                gradient,
                moments: RefCell::new((&mut slot.first, &mut slot.second)),
            };
            slot.var.inplace_op1(&update).during(format!("update `{}`", slot.name))?;
        }
        Ok(report(true))
    }

    /// The whole state as named tensors: `first_moment.NAME`, `second_moment.NAME` (in the
    /// parameter's shape) and `steps`.
    #[must_use]
    pub fn state(&self) -> Vec<TensorView<'_>> {
        let mut state: Vec<TensorView<'_>> = Vec::with_capacity(2 * self.slots.len() + 1);
        for slot in &self.slots {
            let shape = slot.var.dims().to_vec();
            state.push((format!("{FIRST}{}", slot.name), shape.clone(), slot.first.as_slice()));
            state.push((format!("{SECOND}{}", slot.name), shape, slot.second.as_slice()));
        }
        state.push((STEPS.to_owned(), vec![1], self.steps_saved.as_slice()));
        state
    }

    /// Takes back a state that [`state`](Self::state) gave. Nothing changes if it does not fit.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, or of no parameter of ours; the message names it.
    pub fn restore(&mut self, state: &BTreeMap<String, TensorData>) -> Result<()> {
        const OPERATION: &str = "restore the optimizer";
        let find = |name: String, shape: &[usize]| -> Result<Vec<f32>> {
            let Some(tensor) = state.get(&name) else {
                return Err(mismatch(OPERATION, &name, "missing".to_owned()));
            };
            if tensor.shape != shape {
                let message = format!("expected shape {shape:?}, found {:?}", tensor.shape);
                return Err(mismatch(OPERATION, &name, message));
            }
            Ok(tensor.values.clone())
        };
        let steps = find(STEPS.to_owned(), &[1])?[0];
        if !(steps >= 0.0 && steps.fract() == 0.0) {
            return Err(mismatch(OPERATION, STEPS, format!("{steps} is not a count")));
        }
        let mut moments = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let shape = slot.var.dims();
            let first = find(format!("{FIRST}{}", slot.name), shape)?;
            moments.push((first, find(format!("{SECOND}{}", slot.name), shape)?));
        }
        if state.len() != 2 * self.slots.len() + 1 {
            let ours: std::collections::BTreeSet<String> = self.state().into_iter().map(|(name, ..)| name).collect();
            if let Some(stranger) = state.keys().find(|name| !ours.contains(*name)) {
                let message = "is of no parameter of this model".to_owned();
                return Err(mismatch(OPERATION, stranger, message));
            }
        }
        for (slot, (first, second)) in self.slots.iter_mut().zip(moments) {
            slot.first = first;
            slot.second = second;
        }
        self.steps = steps as u64;
        self.steps_saved = [steps];
        Ok(())
    }

    fn check_matches(&self, grads: &Gradients) -> Result<()> {
        const OPERATION: &str = "step the optimizer";
        let entries = grads.entries();
        if entries.len() != self.slots.len() {
            return Err(PolicyError::Argument {
                operation: OPERATION,
                message: format!("{} gradients for {} parameters", entries.len(), self.slots.len()),
            });
        }
        for (slot, entry) in self.slots.iter().zip(entries) {
            if slot.name != entry.name || slot.first.len() != entry.elements {
                let message =
                    format!("the gradients have `{}` of {} elements in its place", entry.name, entry.elements);
                return Err(mismatch(OPERATION, &slot.name, message));
            }
        }
        Ok(())
    }
}

/// One parameter's update, as an operation on its storage.
struct Update<'a> {
    rate: Rate,
    gradient: &'a [f32],
    /// candle hands an operation `&self`; the cell lends the moments to its single call.
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

/// The step's constants, rounded to f32 once.
#[derive(Clone, Copy)]
struct Rate {
    gradient_scale: f32,
    keep: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step: f32,
    root_correction: f32,
    eps: f32,
}

impl Rate {
    fn apply(self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * self.gradient_scale;
            *m += self.one_minus_beta1 * (g - *m);
            *v = self.beta2 * *v + self.one_minus_beta2 * g * g;
            let denominator = v.sqrt() * self.root_correction + self.eps;
            *w = *w * self.keep - self.step * *m / denominator;
        }
    }
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("adamw: the parameter is not f32");
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("adamw: the parameter is not contiguous");
        };
        let mut moments = self.moments.borrow_mut();
        let (first, second) = &mut *moments;
        let rate = self.rate;
        values[start..end]
            .par_chunks_mut(CHUNK)
            .zip(self.gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((weights, gradient), first), second)| {
                rate.apply(weights, gradient, first, second);
            });
        Ok(())
    }
}

fn mismatch(operation: &'static str, tensor: &str, message: String) -> PolicyError {
    PolicyError::TensorMismatch { operation: operation.into(), tensor: tensor.to_owned(), message }
}

#[cfg(test)]
mod tests;
