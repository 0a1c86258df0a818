//! The `recipe` command: configuration, the training loops, runs on disk and reports.
//!
//! ```text
//! config     a recipe: a TOML file, read, checked, with `--set` on top
//! stage      what a recipe does: pretrain, sft, grpo, reject, eval, export
//! run        the folder of a run: metrics, completions, checkpoints; locking and resuming
//! metrics    what is measured; `alarms` what of it looks like a known collapse
//! progress   what a person sees meanwhile
//! table      the figures at the end; `report` the same as a page with curves
//! hub        data sets of the Hugging Face Hub, as task files
//! session    one run from its folder to its report
//! place      where it computes: the CPU, or a card
//! plan       what a recipe would do and take, without doing it
//! curation   curation jobs: the work is `datasets::curate`, what people see of it is here
//! evaluation models on benchmarks
//! lineage    in which template a model was trained; `model` models as they are loaded
//! answers    pass@k and the majority's answer: of one problem
//! export     a policy as a folder for others, with its card
//! experiment variants of a recipe under several seeds, compared
//! wording    numbers as people read them; `hash` SHA-256 as text
//! import     configurations of other trainers as recipes
//! command    the command line
//! ```
//! This is the only crate that prints, parses arguments or uses `anyhow`.

pub mod alarms;
mod answers;
pub mod command;
pub mod config;
pub mod curation;
pub mod evaluation;
pub mod experiment;
mod export;
mod hash;
mod hub;
pub mod import;
pub mod interrupt;
mod lineage;
pub mod metrics;
mod model;
pub mod place;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod session;
pub mod stage;
pub mod table;
mod wording;

pub use command::main_with;
pub use config::Recipe;
pub use interrupt::Interrupt;
pub use progress::{Phase, Reporter, Verbosity};
pub use run::{RunDir, RunStatus, RunSummary};
pub use session::{RunOptions, run_recipe};
pub use stage::{RunContext, StagesOutcome};
