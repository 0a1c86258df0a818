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

use candle_core::{DType, Var};

use super::Gradients;
use crate::Policy;
#[cfg(feature = "cuda")]
use crate::cuda::CardAdamW;
use crate::error::{During, PolicyError, Result};
#[cfg(feature = "cuda")]
use crate::model::parameters::{Spec, specs};

mod state;
mod update;

pub use state::AdamWState;
use update::{Rate, Update};

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
    shape: Vec<usize>,
    moments: At,
}

/// Where a parameter and its moments are.
#[derive(Debug)]
enum At {
    Host(Moments),
    /// On the card, at this place in the list of a policy's parameters.
    #[cfg(feature = "cuda")]
    Card(usize),
}

#[derive(Debug)]
struct Moments {
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
            let moments = Moments { var: var.clone(), first: vec![0.0; count], second: vec![0.0; count] };
            slots.push(Slot { name: name.clone(), shape: var.dims().to_vec(), moments: At::Host(moments) });
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
        let slot = |(parameter, spec): (usize, Spec)| Slot {
            name: spec.name,
            shape: spec.shape,
            moments: At::Card(parameter),
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
            let (Some(gradient), At::Host(moments)) = (&entry.values, &mut slot.moments) else { continue };
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

fn mismatch(operation: &'static str, tensor: &str, message: String) -> PolicyError {
    PolicyError::TensorMismatch { operation: operation.into(), tensor: tensor.to_owned(), message }
}

#[cfg(test)]
mod tests;
