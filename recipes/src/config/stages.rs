//! `[[stage]]`: what a run does, in order. Each kind of stage has its own table of settings.

use super::grpo::GrpoSettings;
use super::keys::{Any, at_least, between, positive, settings, words};

/// Above these, a size is a slip of the finger: no machine holds it in memory at once.
pub(crate) const MOST_TOKENS: u32 = 1 << 24;
/// Tasks or completions that are held at once.
pub(crate) const MOST_COMPLETIONS: u32 = 1 << 20;

words! {
    /// How the learning rate moves after the warm-up.
    Schedule {
        /// It stays.
        Constant = "constant",
        /// It falls along half a cosine to `min_ratio` of itself at the last step.
        Cosine = "cosine",
        /// It falls along a straight line to 0 after the last step.
        Linear = "linear",
    }
}

settings! {
    /// Makes the base: trains a tokenizer, then the model on generated worked text. Skipped where
    /// a model is given.
    PretrainSettings typed PretrainTable {
        /// Entries of the tokenizer's vocabulary.
        vocab_size: usize = 512, between(300, 200_000);
        /// Tokens to train on, in all.
        tokens: u64 = 4_000_000, between(1, 1e15);
        /// Tokens of one optimizer step.
        batch_tokens: usize = 8192, between(16, MOST_TOKENS);
        /// Peak learning rate.
        learning_rate: f64 = 3e-3, at_least(0);
        /// Steps over which the learning rate rises from 0.
        warmup_steps: u64 = 20, at_least(0);
        /// How the learning rate moves after the warm-up.
        schedule: Schedule = Schedule::Cosine, Any;
        /// Where the cosine ends, as a share of the peak.
        min_ratio: f64 = 0.1, between(0, 1);
        /// AdamW's decoupled weight decay.
        weight_decay: f64 = 0.1, at_least(0);
        /// AdamW's decay of the first moment.
        beta1: f64 = 0.9, between(0, 0.9999);
        /// AdamW's decay of the second moment.
        beta2: f64 = 0.95, between(0, 0.99999);
        /// Gradients longer than this are shortened to it.
        max_grad_norm: f64 = 1.0, positive();
        /// Step of the router's balancing bias, per optimizer step.
        router_bias_rate: f64 = 1e-3, at_least(0);
    }
}

/// One stage of a recipe.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Stage {
    /// Its name, unique in the recipe; the kind's name if the recipe gives none. Metrics carry it,
    /// and `--set NAME.key=value` addresses it.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub settings: StageSettings,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StageSettings {
    /// Makes the base model.
    Pretrain(PretrainSettings),
    /// Reinforcement learning.
    Grpo(GrpoSettings),
    /// Measures the policy as it is at this point, as the recipe's `[eval]` table says.
    Eval {},
}

impl StageSettings {
    /// Every kind, as written in a recipe.
    pub(crate) const KINDS: [&str; 3] = ["pretrain", "grpo", "eval"];

    /// The kind, as written in a recipe.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            StageSettings::Pretrain(_) => Self::KINDS[0],
            StageSettings::Grpo(_) => Self::KINDS[1],
            StageSettings::Eval {} => Self::KINDS[2],
        }
    }
}
