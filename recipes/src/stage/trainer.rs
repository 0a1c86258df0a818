//! One optimizer step over packed micro-batches, whatever the loss, and the trainer's state on disk.
//!
//! With adapters of low rank the optimizer moves them alone, and the model, which has them merged, follows. On disk the
//! merged model lies as any other does, with the adapters beside it; the frozen weights are those that the stage began with.

use std::collections::BTreeMap;
use std::path::Path;

use policy::checkpoint::{TensorView, load_tensors, save_tensors};
use policy::grpo::{MicroBatch, Sampled, pack};
use policy::lora::{Lora, LoraConfig};
use policy::ops::router::Balance;
use policy::optim::{AdamW, AdamWConfig};
use policy::{Forward, Place, Policy, Slopes, Track};

use super::passes::Passes;
use crate::config::Stage;
use crate::model::Model;

const OPTIMIZER: &str = "optimizer.safetensors";
const ADAPTERS: &str = "adapters.safetensors";

/// A model with its optimizer.
pub(super) struct Trainer {
    pub(super) model: Model,
    lora: Option<Lora>,
    optimizer: AdamW,
}

/// How a model is trained.
pub(super) struct Training {
    pub(super) adamw: AdamWConfig,
    /// Whether the optimizer of a policy on a card stays in the host's memory.
    pub(super) moments_on_host: bool,
    /// Adapters that are trained in place of the weights, and the seed that they begin with.
    pub(super) lora: Option<(LoraConfig, u64)>,
}

impl Training {
    pub(super) fn of(stage: &Stage, adamw: AdamWConfig, moments_on_host: bool, seed: u64) -> Training {
        Training { adamw, moments_on_host, lora: stage.lora.as_ref().map(|lora| (lora.adapters(), seed)) }
    }

    fn adapters(&self, policy: &Policy) -> anyhow::Result<Option<Lora>> {
        Ok(self.lora.as_ref().map(|(config, seed)| Lora::new(policy, config, *seed)).transpose()?)
    }
}

/// How an optimizer step is made.
pub(super) struct StepSettings {
    pub(super) temperature: f64,
    pub(super) learning_rate: f64,
    pub(super) max_grad_norm: f64,
    /// The step of the routers' bias, and the weight of the balance loss.
    pub(super) balancing: (f64, f64),
    pub(super) track: Track,
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
    /// Rows that were trained on.
    pub(super) rows: u64,
    /// How often they went through the model.
    pub(super) passes: Passes,
}

impl Trainer {
    pub(super) fn new(model: Model, training: &Training) -> anyhow::Result<Trainer> {
        let lora = training.adapters(&model.policy)?;
        let optimizer = match &lora {
            Some(lora) => AdamW::new(lora.parameters(), training.adamw)?,
            None if training.moments_on_host => AdamW::for_policy_with_host_moments(&model.policy, training.adamw)?,
            None => AdamW::for_policy(&model.policy, training.adamw)?,
        };
        Ok(Trainer { model, lora, optimizer })
    }

    /// One optimizer step. `slope` is told each micro-batch's pass, and returns the loss's derivative with respect to each
    /// of its log-probabilities, and of its entropies where it has one.
    pub(super) fn step<S: Into<Slopes>>(
        &mut self,
        batches: &[MicroBatch],
        settings: &StepSettings,
        mut slope: impl FnMut(&MicroBatch, &Forward) -> anyhow::Result<S>,
    ) -> anyhow::Result<Stepped> {
        let policy = &self.model.policy;
        let mut gradients = policy.gradients()?;
        let mut balance = vec![Balance::default(); policy.router_bias().len()];
        let (bias_rate, balance_coefficient) = settings.balancing;
        let all_rows: usize = batches.iter().map(|micro| micro.batch.token_ids.len()).sum();
        let mut rows = 0;
        for micro in batches {
            let forward = policy.forward(&micro.batch, settings.temperature, settings.track)?;
            let slopes = slope(micro, &forward)?.into();
            rows += micro.batch.token_ids.len() as u64;
            balance.iter_mut().zip(&forward.routing).for_each(|(balance, routing)| balance.count(routing));
            // The step's balance loss is the mean over its rows of what each micro-batch's own load gives: that of the step is
            // known only once all of them were computed.
            let share = micro.batch.token_ids.len() as f64 / all_rows as f64;
            policy.backward(forward, &slopes, balance_coefficient * share, &mut gradients)?;
        }
        if let Some(lora) = &self.lora {
            gradients = lora.gradients(policy, &gradients)?;
        }
        let report = self.optimizer.step(&gradients, settings.learning_rate, Some(settings.max_grad_norm))?;
        if report.applied {
            if let Some(lora) = &self.lora {
                lora.merge(&self.model.policy)?;
            }
            self.model.policy.update_router_bias(&balance, bias_rate as f32)?;
        }
        let passes = Passes::training(rows, settings.track);
        let max_vio = balance.iter().map(Balance::max_violation).fold(0.0, f64::max);
        Ok(Stepped { gradient_norm: report.grad_norm, max_vio, applied: report.applied, rows, passes })
    }

    /// One optimizer step that makes texts likelier, all of whose tokens count the same, and the tokens' mean loss before
    /// it. So many `rows` go through the model at once.
    pub(super) fn imitate(
        &mut self,
        texts: &[Sampled<'_>],
        rows: usize,
        settings: &StepSettings,
    ) -> anyhow::Result<(f64, Stepped)> {
        let tokens: usize = texts.iter().map(|text| text.token_ids.len()).sum();
        let mut loss = 0.0;
        let stepped = self.step(&pack(texts, rows)?, settings, |_, forward| {
            loss -= forward.logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>() / tokens as f64;
            Ok(vec![-1.0 / tokens as f32; forward.logprobs.len()])
        })?;
        Ok((loss, stepped))
    }

    /// Writes the model as a Hugging Face folder, and beside it the optimizer and what adapters there are.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        self.model.save(folder)?;
        if let Some(lora) = &self.lora {
            let state = lora.state()?;
            let named = state.iter().map(|(name, data)| (name.clone(), data.shape.clone(), data.values.as_slice()));
            save_tensors(folder.join(ADAPTERS), &named.collect::<Vec<TensorView<'_>>>(), &BTreeMap::new())?;
        }
        save_tensors(folder.join(OPTIMIZER), &self.optimizer.state()?.views(), &BTreeMap::new())?;
        Ok(())
    }

    /// Reads what [`Trainer::save`] wrote, from a checkpoint that was just verified; the policy lives at `place`. `begun`
    /// gives the model that the stage began with, which adapters need.
    pub(super) fn load(
        folder: &Path,
        training: &Training,
        place: &Place,
        begun: impl FnOnce() -> anyhow::Result<Model>,
    ) -> anyhow::Result<Trainer> {
        let mut trainer = if training.lora.is_some() {
            let mut trainer = Trainer::new(begun()?, training)?;
            if let Some(lora) = &trainer.lora {
                lora.restore(&load_tensors(folder.join(ADAPTERS))?)?;
            }
            trainer.model = Model::read(folder, place)?;
            trainer
        } else {
            Trainer::new(Model::read(folder, place)?, training)?
        };
        trainer.optimizer.restore(&load_tensors(folder.join(OPTIMIZER))?)?;
        Ok(trainer)
    }
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
