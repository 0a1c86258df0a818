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

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Var};
use rayon::prelude::*;

use super::{CHUNK, Gradients};
use crate::Policy;
use crate::checkpoint::{TensorData, TensorView};
#[cfg(feature = "cuda")]
use crate::cuda::CardAdamW;
use crate::error::{During, PolicyError, Result};
#[cfg(feature = "cuda")]
use crate::model::parameters::specs;

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
    /// Weights and moments, if they are on a card.
    #[cfg(feature = "cuda")]
    card: Option<CardAdamW>,
    steps: u64,
    /// `steps` as the saved state holds it. f32 counts exactly to 2^24; long before that the bias
    /// correction, all that depends on it, has rounded to one.
    steps_saved: [f32; 1],
}

#[derive(Debug)]
struct Slot {
    name: String,
    /// The parameter's place in the list.
    parameter: usize,
    shape: Vec<usize>,
    /// Absent where a card has them.
    host: Option<Moments>,
}

#[derive(Debug)]
struct Moments {
    var: Var,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// An optimizer's state: named tensors, to be saved.
#[derive(Debug)]
pub struct AdamWState<'a>(Vec<(String, Vec<usize>, Cow<'a, [f32]>)>);

impl AdamWState<'_> {
    /// The tensors as [`save_tensors`](crate::checkpoint::save_tensors) takes them.
    #[must_use]
    pub fn views(&self) -> Vec<TensorView<'_>> {
        self.0.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), &**values)).collect()
    }
}

impl AdamW {
    /// An optimizer with zero moments. The parameters are taken in the order of their names.
    ///
    /// # Errors
    /// Two parameters of one name, or one that is not contiguous f32 on the CPU.
    pub fn new(params: &[(String, Var)], config: AdamWConfig) -> Result<Self> {
        let mut slots = Vec::with_capacity(params.len());
        for (parameter, (name, var)) in params.iter().enumerate() {
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
            let moments = Moments { var: var.clone(), first: vec![0.0; count], second: vec![0.0; count] };
            slots.push(Slot { name: name.clone(), parameter, shape: var.dims().to_vec(), host: Some(moments) });
        }
        Self::of(slots, config)
    }

    /// The optimizer of all of a policy's parameters, at the policy's place.
    ///
    /// # Errors
    /// Too little memory on a card.
    pub fn for_policy(policy: &Policy, config: AdamWConfig) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if policy.resident().is_some() {
            return Self::on_card(policy, config, false);
        }
        Self::new(policy.parameters()?, config)
    }

    /// The same with the moments in the host's memory wherever the policy lives, for a card without room for them. A step
    /// takes longer then: they pass through the card each time.
    ///
    /// # Errors
    /// Too little memory on a card.
    pub fn for_policy_with_host_moments(policy: &Policy, config: AdamWConfig) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if policy.resident().is_some() {
            return Self::on_card(policy, config, true);
        }
        Self::new(policy.parameters()?, config)
    }

    #[cfg(feature = "cuda")]
    fn on_card(policy: &Policy, config: AdamWConfig, moments_on_host: bool) -> Result<Self> {
        let slot = |(parameter, spec): (usize, crate::model::parameters::Spec)| Slot {
            name: spec.name,
            parameter,
            shape: spec.shape,
            host: None,
        };
        let mut optimizer = Self::of(specs(policy.config()).into_iter().enumerate().map(slot).collect(), config)?;
        if let Some(resident) = policy.resident() {
            optimizer.card = Some(CardAdamW::new(resident, moments_on_host).during("make the optimizer")?);
        }
        Ok(optimizer)
    }

    fn of(mut slots: Vec<Slot>, config: AdamWConfig) -> Result<Self> {
        slots.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = slots.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let message = "is listed twice".to_owned();
            return Err(mismatch("make the optimizer", &pair[0].name, message));
        }
        Ok(Self {
            config,
            slots,
            #[cfg(feature = "cuda")]
            card: None,
            steps: 0,
            steps_saved: [0.0],
        })
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
        #[cfg(feature = "cuda")]
        if self.card.is_some() {
            return self.step_on_card(grads, lr, max_norm);
        }
        let grad_norm = grads.norm()?;
        let clip = max_norm.filter(|&limit| grad_norm > limit).map(|limit| limit / grad_norm);
        let report = |applied| StepReport { grad_norm, clipped: clip.is_some(), applied };
        let scale = clip.unwrap_or(1.0);
        if !grad_norm.is_finite() || grad_norm * scale > f64::from(f32::MAX).sqrt() {
            return Ok(report(false));
        }

        let rate = Rate::of(&self.config, lr, self.steps + 1);
        self.count_step();
        for (slot, entry) in self.slots.iter_mut().zip(grads.entries()) {
            let (Some(gradient), Some(moments)) = (&entry.values, &mut slot.host) else { continue };
            let update = Update {
                rate: rate.decaying(slot.shape.len() >= 2),
                gradient_scale: scale as f32,
                gradient,
                moments: RefCell::new((&mut moments.first, &mut moments.second)),
            };
            moments.var.inplace_op1(&update).during(format!("update `{}`", slot.name))?;
        }
        Ok(report(true))
    }

    fn count_step(&mut self) {
        self.steps += 1;
        self.steps_saved = [self.steps as f32];
    }

    #[cfg(feature = "cuda")]
    fn step_on_card(&mut self, grads: &Gradients, lr: f64, max_norm: Option<f64>) -> Result<StepReport> {
        let rate = Rate::of(&self.config, lr, self.steps + 1);
        let (Some(card), Some(sums)) = (&mut self.card, grads.sums()) else {
            unreachable!("it was checked that both are on the card");
        };
        let verdict =
            card.step(sums, |decays| rate.decaying(decays).on_card(), max_norm).during("step the optimizer")?;
        if verdict.applied {
            self.count_step();
        }
        let clipped = max_norm.is_some_and(|limit| verdict.norm > limit);
        Ok(StepReport { grad_norm: verdict.norm, clipped, applied: verdict.applied })
    }

    /// The whole state as named tensors: `first_moment.NAME`, `second_moment.NAME` (in the
    /// parameter's shape) and `steps`. It is the same on a card, from which it is copied: a run can go on elsewhere.
    ///
    /// # Errors
    /// If a card fails.
    pub fn state(&self) -> Result<AdamWState<'_>> {
        let mut state = Vec::with_capacity(2 * self.slots.len() + 1);
        for slot in &self.slots {
            let [first, second] = self.moments(slot)?;
            state.push((format!("{FIRST}{}", slot.name), slot.shape.clone(), first));
            state.push((format!("{SECOND}{}", slot.name), slot.shape.clone(), second));
        }
        state.push((STEPS.to_owned(), vec![1], Cow::Borrowed(self.steps_saved.as_slice())));
        Ok(AdamWState(state))
    }

    fn moments<'a>(&'a self, slot: &'a Slot) -> Result<[Cow<'a, [f32]>; 2]> {
        #[cfg(feature = "cuda")]
        if let Some(card) = &self.card {
            return Ok(card.read(slot.parameter).during("copy the optimizer's moments")?.map(Cow::Owned));
        }
        let host = |moment: fn(&Moments) -> &Vec<f32>| {
            Cow::Borrowed(slot.host.as_ref().map_or(&[][..], |moments| moment(moments).as_slice()))
        };
        Ok([host(|moments| &moments.first), host(|moments| &moments.second)])
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
            let first = find(format!("{FIRST}{}", slot.name), &slot.shape)?;
            moments.push((first, find(format!("{SECOND}{}", slot.name), &slot.shape)?));
        }
        if state.len() != 2 * self.slots.len() + 1 {
            let ours = |name: &str| {
                let named = name.strip_prefix(FIRST).or_else(|| name.strip_prefix(SECOND));
                name == STEPS || named.is_some_and(|name| self.slots.iter().any(|slot| slot.name == name))
            };
            if let Some(stranger) = state.keys().find(|name| !ours(name)) {
                let message = "is of no parameter of this model".to_owned();
                return Err(mismatch(OPERATION, stranger, message));
            }
        }
        for (slot, (first, second)) in self.slots.iter_mut().zip(moments) {
            #[cfg(feature = "cuda")]
            if let Some(card) = &mut self.card {
                card.write(slot.parameter, [&first, &second]).during(OPERATION)?;
            }
            if let Some(moments) = &mut slot.host {
                (moments.first, moments.second) = (first, second);
            }
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
            if slot.name != entry.name || slot.shape.iter().product::<usize>() != entry.elements {
                let message =
                    format!("the gradients have `{}` of {} elements in its place", entry.name, entry.elements);
                return Err(mismatch(OPERATION, &slot.name, message));
            }
        }
        #[cfg(feature = "cuda")]
        match (&self.card, grads.sums()) {
            (None, None) => {}
            (Some(card), Some(sums)) if card.is_of(sums) => {}
            _ => {
                let message = "the gradients are of another policy, or at another place".to_owned();
                return Err(PolicyError::Argument { operation: OPERATION, message });
            }
        }
        Ok(())
    }
}

/// One parameter's update, as an operation on its storage.
struct Update<'a> {
    rate: Rate,
    gradient_scale: f32,
    gradient: &'a [f32],
    /// candle hands an operation `&self`; the cell lends the moments to its single call.
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

/// The step's constants, rounded to f32 once.
#[derive(Clone, Copy)]
struct Rate {
    keep: f32,
    /// `keep` of what does not decay, and of what does.
    keeps: [f32; 2],
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step: f32,
    root_correction: f32,
    eps: f32,
}

impl Rate {
    /// Of step `step`, counted from 1.
    fn of(config: &AdamWConfig, lr: f64, step: u64) -> Rate {
        let &AdamWConfig { beta1, beta2, eps, weight_decay } = config;
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        Rate {
            keep: 1.0,
            keeps: [1.0, (1.0 - lr * weight_decay) as f32],
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            step: (lr / (1.0 - beta1.powi(t))) as f32,
            root_correction: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
            eps: eps as f32,
        }
    }

    /// For a parameter that decays, or one that does not.
    fn decaying(self, decays: bool) -> Rate {
        Rate { keep: self.keeps[usize::from(decays)], ..self }
    }

    #[cfg(feature = "cuda")]
    fn on_card(self) -> device::ops::AdamW {
        let Rate { keep, one_minus_beta1, beta2, one_minus_beta2, step, root_correction, eps, .. } = self;
        device::ops::AdamW { keep, one_minus_beta1, beta2, one_minus_beta2, step, root_correction, eps }
    }

    fn apply(
        self,
        gradient_scale: f32,
        weights: &mut [f32],
        gradient: &[f32],
        (first, second): (&mut [f32], &mut [f32]),
    ) {
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * gradient_scale;
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
        let (rate, scale) = (self.rate, self.gradient_scale);
        values[start..end]
            .par_chunks_mut(CHUNK)
            .zip(self.gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((weights, gradient), first), second)| {
                rate.apply(scale, weights, gradient, (first, second));
            });
        Ok(())
    }
}

fn mismatch(operation: &'static str, tensor: &str, message: String) -> PolicyError {
    PolicyError::TensorMismatch { operation: operation.into(), tensor: tensor.to_owned(), message }
}

#[cfg(test)]
mod tests;
