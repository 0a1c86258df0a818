//! One optimizer step over packed micro-batches, whatever the loss, and the trainer's state on disk.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use candle_core::Tensor;
use policy::checkpoint::{load_tensors, save_tensors};
use policy::grpo::MicroBatch;
use policy::ops::router::Balance;
use policy::optim::{AdamW, AdamWConfig, Gradients};
use policy::{Forward, Track};

use super::bench::Model;

const OPTIMIZER: &str = "optimizer.safetensors";

/// A model with its optimizer.
pub(super) struct Trainer {
    pub(super) model: Model,
    optimizer: AdamW,
}

/// How an optimizer step is made.
pub(super) struct StepSettings {
    pub(super) temperature: f64,
    pub(super) learning_rate: f64,
    pub(super) max_grad_norm: f64,
    pub(super) router_bias_rate: f64,
}

/// What an optimizer step did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stepped {
    /// Length of the gradient before clipping.
    pub(super) gradient_norm: f64,
    /// The largest load of an expert over the mean, less 1, in the worst layer.
    pub(super) max_vio: f64,
    /// Whether the weights moved: they do not where the gradient is not finite.
    pub(super) applied: bool,
    /// Rows that went through the model.
    pub(super) rows: u64,
}

/// The loss's derivatives by what a pass computed for each target.
pub(super) struct Slopes {
    pub(super) logprobs: Vec<f32>,
    /// Empty where the loss does not look at the entropy.
    pub(super) entropy: Vec<f32>,
}

impl From<Vec<f32>> for Slopes {
    fn from(logprobs: Vec<f32>) -> Slopes {
        Slopes { logprobs, entropy: Vec::new() }
    }
}

impl Trainer {
    pub(super) fn new(model: Model, config: AdamWConfig) -> anyhow::Result<Trainer> {
        let optimizer = AdamW::new(model.policy.parameters(), config)?;
        Ok(Trainer { model, optimizer })
    }

    /// One optimizer step. `slope` is told each micro-batch's pass and its log-probabilities, and returns the loss's
    /// derivative with respect to each of them, and to the entropies where it has one.
    pub(super) fn step<S: Into<Slopes>>(
        &mut self,
        batches: &[MicroBatch],
        settings: &StepSettings,
        mut slope: impl FnMut(&MicroBatch, &Forward, &[f32]) -> anyhow::Result<S>,
    ) -> anyhow::Result<Stepped> {
        let policy = &self.model.policy;
        let mut gradients = Gradients::zeros(policy.parameters());
        let mut balance = vec![Balance::default(); policy.router_bias().len()];
        let mut rows = 0;
        for micro in batches {
            let forward = policy.forward(&micro.batch, settings.temperature, Track::Gradients)?;
            let logprobs = forward.logprobs.to_vec1::<f32>().context("read the log-probabilities")?;
            let slopes: Slopes = slope(micro, &forward, &logprobs)?.into();
            rows += micro.batch.token_ids.len() as u64;
            balance.iter_mut().zip(&forward.routing).for_each(|(balance, routing)| balance.count(routing));
            let surrogate = surrogate(&forward, slopes).context("build the loss")?;
            let store = surrogate.backward().context("backward pass")?;
            gradients.accumulate(&store, policy.parameters(), 1.0)?;
        }
        let report = self.optimizer.step(&gradients, settings.learning_rate, Some(settings.max_grad_norm))?;
        if report.applied {
            self.model.policy.update_router_bias(&balance, settings.router_bias_rate as f32);
        }
        let max_vio = balance.iter().map(Balance::max_violation).fold(0.0, f64::max);
        Ok(Stepped { gradient_norm: report.grad_norm, max_vio, applied: report.applied, rows })
    }

    /// Writes the model as a Hugging Face folder, and the optimizer beside it.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        self.model.save(folder)?;
        save_tensors(folder.join(OPTIMIZER), &self.optimizer.state(), &BTreeMap::new())?;
        Ok(())
    }

    /// Reads what [`Trainer::save`] wrote.
    pub(super) fn load(folder: &Path, config: AdamWConfig) -> anyhow::Result<Trainer> {
        let mut trainer = Trainer::new(Model::load(folder)?, config)?;
        trainer.optimizer.restore(&load_tensors(folder.join(OPTIMIZER))?)?;
        Ok(trainer)
    }
}

/// With g fixed, the gradient of `sum(g * logprobs)` is the loss's own; likewise for the entropy.
fn surrogate(forward: &Forward, slopes: Slopes) -> candle_core::Result<Tensor> {
    let sum = |tensor: &Tensor, slopes: Vec<f32>| (tensor * Tensor::new(slopes, tensor.device())?)?.sum_all();
    let of_logprobs = sum(&forward.logprobs, slopes.logprobs)?;
    if slopes.entropy.is_empty() { Ok(of_logprobs) } else { of_logprobs + sum(&forward.entropy, slopes.entropy)? }
}

/// Stops a run whose steps cannot be applied any more: nothing it does would change anything.
pub(super) struct Divergence {
    in_a_row: u32,
}

/// So many steps in a row that cannot be applied end the run.
const PATIENCE: u32 = 3;

impl Divergence {
    pub(super) fn new() -> Divergence {
        Divergence { in_a_row: 0 }
    }

    /// Notes a step; the text is a warning to show, if there is one.
    pub(super) fn watch(&mut self, step: u64, stepped: &Stepped) -> anyhow::Result<Option<String>> {
        if stepped.applied {
            self.in_a_row = 0;
            return Ok(None);
        }
        self.in_a_row += 1;
        let what = format!(
            "step {step}: the gradient is not finite (norm {}): this optimizer step was not applied, the weights are as \
             they were before it",
            stepped.gradient_norm
        );
        anyhow::ensure!(
            self.in_a_row < PATIENCE,
            "{what}; {PATIENCE} optimizer steps in a row, so the run stops\n  hint: look at gradient_norm, kl and ratio in \
             metrics.jsonl before this step; a lower learning_rate or max_grad_norm usually helps"
        );
        Ok(Some(what))
    }
}
