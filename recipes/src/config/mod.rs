//! Recipes: what a run does, as a TOML file.
//!
//! A recipe exists in two forms. *As typed*, every key is optional and carries its place in the
//! file ([`toml::Spanned`]); *as validated* ([`Recipe`]), every key has a value and every value is
//! allowed. Only the validated form leaves this module, so no stage checks a setting again.
//!
//! | file | what it holds |
//! |---|---|
//! | `keys` | how a table of settings is declared: key, type, default, allowed values |
//! | `model` | `[model]` |
//! | `settings` | `[tasks]`, `[eval]`, `[[rewards]]` |
//! | `stages` | `[[stage]]`: pretrain, eval, and what a stage is |
//! | `grpo` | `[[stage]]` of kind grpo |
//! | `fine_tuning` | `[[stage]]`: sft, reject, distill, export |
//! | `chain` | which policy and which data a stage takes up |
//! | `recipe` | the whole recipe |
//! | `check` | what must hold between its tables |
//! | `read`, `read_stages` | the tables whose keys depend on what they are: the model, the stages |
//! | `paths` | what a path in a recipe's file is relative to |
//! | `compare` | whether two recipes are the same |
//! | `document` | the text, `--set` on top of it, and where each value came from |
//! | `error` | what a person reads when a recipe is wrong |
//! | `engine` | settings in the types that the other crates take |
//! | `shipped` | the recipes inside the binary |
//! | `job`, `job_steps` | curation jobs, and those inside the binary |
//! | `experiment` | experiments, and those inside the binary |

mod chain;
mod check;
mod compare;
mod document;
mod engine;
mod error;
mod experiment;
mod fine_tuning;
mod grpo;
mod job;
mod job_steps;
mod keys;
mod model;
mod paths;
mod read;
mod read_stages;
mod recipe;
mod settings;
mod shipped;
mod stages;

pub use chain::{BASE, DataSource};
pub use error::RecipeError;
pub(crate) use error::nearest;
pub use experiment::{
    Cost, EvalValue, Experiment, Figure, Line, Measure, NumberKind, OfSamples, SHIPPED_EXPERIMENTS, ShippedExperiment,
    Variant,
};
pub use fine_tuning::{
    ExportSettings, ExportType, LoraSettings, OnTooLong, RejectSettings, RejectStage, SftSettings, Template,
};
pub use grpo::{AdvantageScale, GrpoSettings, HandOn, KlEstimator, KlPlace, LossKind, MiniBatchSplit, ReferenceKind};
pub use job::{JobFile, SHIPPED_JOBS, ShippedJob};
pub use keys::KeyHelp;
pub(crate) use keys::{LARGEST_SEED, name_problem};
pub use model::{DenseKind, DenseShape, ModelSettings, ModelShape};
pub use recipe::Recipe;
pub use settings::{EvalSettings, OnBadLine, RewardSettings, TaskSettings};
pub(crate) use settings::{JUDGES, weighted};
pub use shipped::{SHIPPED, ShippedRecipe, find_shipped};
pub use stages::{PretrainSettings, Schedule, Stage, StageSettings};

#[cfg(test)]
mod tests;
