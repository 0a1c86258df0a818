//! Stages that make and use demonstrations: `sft`, `reject`, `distill`, and `export` at the end.

use std::collections::BTreeMap;

use serde::Serialize;

use policy::lora::LoraConfig;

use super::error::nearest;
use super::keys::{Any, Problem, at_least, between, positive, positive_up_to, settings, temperatures, words};
use super::stages::{Balance, MOST_COMPLETIONS, MOST_TOKENS, Schedule};

words! {
    /// What to do about an example that is longer than it may be.
    OnTooLong {
        /// Leave it out, and say how many were.
        Drop = "drop",
        /// Stop the run and name it.
        Stop = "stop",
    }
}

words! {
    /// How a question becomes a prompt.
    Template {
        /// R1-Zero's.
        R1Zero = "r1-zero",
        /// The model's own chat template, from its tokenizer.
        Chat = "chat",
    }
}

words! {
    /// How numbers are written in a model folder.
    ExportType {
        /// 32 bits, as they were trained.
        F32 = "f32",
        /// 16 bits with the exponent of 32: half the size, as most published models are.
        Bf16 = "bf16",
    }
}

settings! {
    /// Supervised fine-tuning: the policy learns to answer as demonstrations do. The loss is on the answers alone.
    SftSettings typed SftTable {
        /// How a question becomes a prompt: R1-Zero's template, or the chat template of the model's tokenizer. Where it is
        /// not given it is that of `[tasks]`.
        template: Template = Template::R1Zero, Any;
        /// Passes over the demonstrations.
        epochs: u64 = 2, between(1, 1000);
        /// Demonstrations of one optimizer step (R1: 128; its distillation: 64).
        batch_size: usize = 32, between(1, MOST_COMPLETIONS);
        /// Optimizer steps in all; 0 is as many as the passes take.
        max_steps: u64 = 0, between(0, 1e9);
        /// A demonstration may have so many tokens, its question and template included; 0 is as many as the model has
        /// positions.
        max_length: usize = 0, between(0, MOST_TOKENS);
        /// What to do about a demonstration that is longer.
        on_too_long: OnTooLong = OnTooLong::Drop, Any;
        /// Peak learning rate. At 0 nothing changes, the routers' balancing included.
        learning_rate: f64 = 3e-4, at_least(0);
        /// Share of the steps over which the learning rate rises: step s of n such steps has s/n of the peak (transformers: one
        /// s less).
        warmup_share: f64 = 0.03, between(0, 1);
        /// How the learning rate moves after the warm-up.
        schedule: Schedule = Schedule::Cosine, Any;
        /// Where the cosine ends, as a share of the peak: at the last step (transformers: one step after it).
        min_ratio: f64 = 0.1, between(0, 1);
        /// AdamW's decoupled weight decay.
        weight_decay: f64 = 0.0, at_least(0);
        /// AdamW's decay of the first moment.
        beta1: f64 = 0.9, between(0, 0.9999);
        /// AdamW's decay of the second moment.
        beta2: f64 = 0.95, between(0, 0.99999);
        /// Gradients longer than this are shortened to it.
        max_grad_norm: f64 = 1.0, positive();
        /// Keep only the layers' inputs while training and compute the layers again: a third more work, less memory.
        checkpoint_layers: bool = false, Any;
        /// On a card: keep AdamW's moments in the host's memory, for a model that does not fit otherwise. Steps take longer.
        moments_on_host: bool = false, Any;
        /// How the experts are kept evenly busy: in one way at a time (DeepSeek-V3: by the bias and, at 1e-4 and for each
        /// sequence by itself, a balance loss).
        balance: Balance = Balance::Bias, Any;
        /// With `balance = "bias"`: the step of the router's bias, per optimizer step.
        router_bias_rate: f64 = 1e-3, at_least(0);
        /// With `balance = "auxiliary"`: the weight of the balance loss, which asks for balance within each micro-batch: with
        /// fewer `micro_batch_tokens` it asks for more.
        balance_coefficient: f64 = 1e-2, at_least(0);
        /// Share of the questions that is set aside; the loss on them is measured after each pass. 0 is none.
        validation_share: f64 = 0.05, between(0, 0.5);
        /// Tokens that go through the model at once: more is faster, less is smaller in memory.
        micro_batch_tokens: usize = 8192, between(16, MOST_TOKENS);
        /// A checkpoint is written every so many steps, and at the end; 0 is only at the end.
        checkpoint_every: u64 = 20, at_least(0);
        /// The newest checkpoints that are kept.
        keep_checkpoints: usize = 1, at_least(1);
    }
}

settings! {
    /// Low-rank adaptation: the weights are frozen, and each matrix learns a correction of two narrow factors, which is
    /// merged into it. Stages of kind sft, distill and grpo can have it.
    LoraSettings typed LoraTable {
        /// The inner width of the correction.
        rank: usize = 16, between(1, 65_536);
        /// The correction is scaled by alpha / rank.
        alpha: f64 = 32.0, positive();
        /// The matrices that learn, by their last names in a checkpoint; all-linear stands for every projection of attention,
        /// feed-forward and experts.
        targets: Vec<String> = vec![LoraConfig::ALL.to_owned()], Any;
    }
}

impl LoraSettings {
    /// As the policy takes it.
    #[must_use]
    pub fn adapters(&self) -> LoraConfig {
        LoraConfig { rank: self.rank, alpha: self.alpha, targets: self.targets.clone() }
    }

    /// That the targets are known in some architecture; that this model has them is seen once it is known.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let known = LoraConfig::TARGETS;
        let Some(strange) = self.targets.iter().find(|target| !known.contains(&target.as_str())) else { return Ok(()) };
        let problem = Problem::anywhere(format!("`lora.targets`: no matrix of a model is called \"{strange}\""));
        Err(match nearest(strange, known) {
            Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
            None => problem.hint(format!("there are {}", known.join(", "))),
        })
    }
}

settings! {
    /// How answers are sampled and which are kept.
    RejectSettings typed RejectTable {
        /// Different training tasks to answer.
        tasks: usize = 1000, between(1, MOST_COMPLETIONS);
        /// Answers sampled for each.
        samples: usize = 4, between(1, 65_536);
        /// At most so many of them are kept for each task.
        keep: usize = 1, between(1, 65_536);
        /// Tasks whose answers are sampled at once; what is done up to there is kept when the run is stopped.
        tasks_per_step: usize = 250, between(1, MOST_COMPLETIONS);
        /// Sampling temperature.
        temperature: f64 = 1.0, temperatures();
        /// Sample among the likeliest tokens that hold this share of the probability; 1 is all.
        top_p: f64 = 1.0, positive_up_to(1);
        /// Sample among this many likeliest tokens; 0 is all.
        top_k: usize = 0, at_least(0);
        /// An answer is cut off after so many tokens, and then not kept.
        max_new_tokens: usize = 128, between(1, MOST_TOKENS);
        /// An answer of fewer tokens is not kept.
        min_length: usize = 0, between(0, MOST_TOKENS);
        /// Of a task that the policy solves in more than this share of its answers, none is kept; 1 keeps all.
        max_pass_rate: f64 = 1.0, positive_up_to(1);
    }
}

/// A stage that samples answers and keeps the good ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RejectStage {
    /// How answers are sampled.
    #[serde(flatten)]
    pub settings: RejectSettings,
    /// Rewards of the recipe, and the score that an answer must reach in each to be kept, besides being right.
    pub require: BTreeMap<String, f64>,
}

settings! {
    /// Writes the policy as a Hugging Face folder, with a model card.
    ExportSettings typed ExportTable {
        /// The folder; without one it is `export` in the run's folder.
        path: String = String::new(), Any;
        /// How numbers are written.
        dtype: ExportType = ExportType::F32, Any;
    }
}

impl RejectSettings {
    /// How answers are sampled.
    #[must_use]
    pub fn sampling(&self) -> policy::SamplingParams {
        policy::SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_tokens: self.max_new_tokens,
        }
    }

    /// What must hold between the keys.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.keep > self.samples {
            return Err(Problem::anywhere(format!(
                "`keep` is {}, but only {} answers are sampled for each task (`samples`)",
                self.keep, self.samples
            )));
        }
        if self.min_length > self.max_new_tokens {
            return Err(Problem::anywhere(format!(
                "`min_length` is {}, but an answer is cut off after {} tokens (`max_new_tokens`)",
                self.min_length, self.max_new_tokens
            )));
        }
        Ok(())
    }
}
