//! `[[stage]]`: what a run does, in order. Each kind of stage has its own table of settings.

use std::collections::BTreeMap;

use super::chain::DataSource;
use super::fine_tuning::{ExportSettings, LoraSettings, RejectStage, SftSettings};
use super::grpo::GrpoSettings;
use super::keys::{Any, at_least, between, positive, settings, words};
use super::model::ModelSettings;

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

words! {
    /// How the experts of a mixture are kept evenly busy.
    Balance {
        /// By the bias with which the router chooses; no gradient is bent for it (DeepSeek-V3).
        Bias = "bias",
        /// By an auxiliary loss over each micro-batch, added to the others.
        Auxiliary = "auxiliary",
        /// Not at all.
        None = "none",
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
        /// Peak learning rate. At 0 nothing changes, the routers' balancing included.
        learning_rate: f64 = 3e-3, at_least(0);
        /// Steps over which the learning rate rises: step s of them has s/warmup_steps of the peak (transformers: one s less).
        warmup_steps: u64 = 20, at_least(0);
        /// How the learning rate moves after the warm-up.
        schedule: Schedule = Schedule::Cosine, Any;
        /// Where the cosine ends, as a share of the peak: at the last step (transformers: one step after it).
        min_ratio: f64 = 0.1, between(0, 1);
        /// AdamW's decoupled weight decay.
        weight_decay: f64 = 0.1, at_least(0);
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
        /// With `balance = "auxiliary"`: the weight of the balance loss, which asks for balance within what goes through the
        /// model at once (4096 tokens).
        balance_coefficient: f64 = 1e-2, at_least(0);
        /// Worked thoughts have connecting words, and this share of them mixes in those of a second language, as the
        /// thoughts of R1-Zero do; 0 leaves thoughts without such words.
        mixed_thoughts: f64 = 0.0, between(0, 1);
    }
}

/// One stage of a recipe.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Stage {
    /// Its name, unique in the recipe; the kind's name if the recipe gives none. Metrics carry it,
    /// and `--set NAME.key=value` addresses it.
    pub name: String,
    /// The stage whose policy it begins with, or `base`; none is the stage before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The demonstrations that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataSource>,
    /// What it does.
    #[serde(flatten)]
    pub settings: StageSettings,
    /// The families that it practises, where they are not those of `[tasks.families]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub families: Option<BTreeMap<String, f64>>,
    /// The weights of rewards that differ from the recipe's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_weights: BTreeMap<String, f64>,
    /// The adapters that it trains in place of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
    /// The model that it makes or begins with, where it is not the recipe's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSettings>,
}

impl Stage {
    /// Whether it examines the policy on held-out tasks.
    #[must_use]
    pub fn examines(&self) -> bool {
        match &self.settings {
            StageSettings::Eval {} => true,
            StageSettings::Grpo(settings) => settings.eval_every > 0 && settings.steps > 0,
            _ => false,
        }
    }

    /// The weight of a reward in this stage; `of_recipe` is that in `[[rewards]]`.
    #[must_use]
    pub fn weight(&self, reward: &str, of_recipe: f64) -> f64 {
        self.reward_weights.get(reward).copied().unwrap_or(of_recipe)
    }
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a recipe has a handful of them")]
pub enum StageSettings {
    /// Makes the base model.
    Pretrain(PretrainSettings),
    /// Supervised fine-tuning on demonstrations.
    Sft(SftSettings),
    /// Reinforcement learning.
    Grpo(GrpoSettings),
    /// Samples answers and keeps the good ones as demonstrations.
    Reject(RejectStage),
    /// A student learns from a teacher's answers: as `sft`, of which it differs in whom it begins with.
    Distill(SftSettings),
    /// Measures the policy as it is at this point, as the recipe's `[eval]` table says.
    Eval {},
    /// Writes the policy as a model folder for others to use.
    Export(ExportSettings),
}

impl StageSettings {
    /// Every kind, as written in a recipe.
    pub(crate) const KINDS: [&str; 7] = ["pretrain", "sft", "grpo", "reject", "distill", "eval", "export"];

    /// The kind, as written in a recipe.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        Self::KINDS[match self {
            StageSettings::Pretrain(_) => 0,
            StageSettings::Sft(_) => 1,
            StageSettings::Grpo(_) => 2,
            StageSettings::Reject(_) => 3,
            StageSettings::Distill(_) => 4,
            StageSettings::Eval {} => 5,
            StageSettings::Export(_) => 6,
        }]
    }

    /// Whether it trains a policy; a stage that does not hands on the one that it was given.
    #[must_use]
    pub fn makes_policy(&self) -> bool {
        matches!(
            self,
            StageSettings::Pretrain(_) | StageSettings::Sft(_) | StageSettings::Grpo(_) | StageSettings::Distill(_)
        )
    }

    /// Whether it samples answers and judges them.
    #[must_use]
    pub fn grades(&self) -> bool {
        matches!(self, StageSettings::Grpo(_) | StageSettings::Reject(_) | StageSettings::Eval {})
    }

    /// Whether it writes demonstrations that a later stage can read.
    #[must_use]
    pub fn makes_data(&self) -> bool {
        self.sampling().is_some()
    }

    /// How a stage that makes demonstrations samples them.
    #[must_use]
    pub fn sampling(&self) -> Option<&RejectStage> {
        match self {
            StageSettings::Reject(stage) => Some(stage),
            _ => None,
        }
    }

    /// How a stage that learns from demonstrations learns.
    #[must_use]
    pub fn training(&self) -> Option<&SftSettings> {
        match self {
            StageSettings::Sft(settings) | StageSettings::Distill(settings) => Some(settings),
            _ => None,
        }
    }

    /// The length that completions of this stage may have, if it samples any in training.
    #[must_use]
    pub fn max_new_tokens(&self) -> Option<usize> {
        match self {
            StageSettings::Grpo(settings) => Some(settings.max_new_tokens),
            _ => Some(self.sampling()?.settings.max_new_tokens),
        }
    }
}
