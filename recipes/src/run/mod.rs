//! A run on disk: one folder that holds all that is needed to understand it and to go on with it.
//!
//! ```text
//! runs/r1-zero/
//!   recipe.toml          the recipe as resolved: every setting with its value
//!   run.json             seed, version and commit, machine, command line, hashes of the files that it reads
//!   metrics.jsonl        one row per step and per evaluation
//!   completions/step-000001.jsonl   what was sampled in a step, with its scores
//!   checkpoints/step-000020/        Hugging Face folders with the trainer's state
//!   base/                the model that reinforcement learning began with
//!   data/reject.jsonl    the demonstrations that a reject stage kept
//!   stages.json          the stages that are done
//!   summary.json, report.html       at the end
//! ```
//! With several grpo stages, each has a folder of its own below `completions` and `checkpoints`; the
//! completions of evaluations always lie in a folder named after their stage.

mod files;
mod folder;
mod info;
mod kept;
mod lines;
mod maker;
mod records;
mod reuse;
mod summary;
mod unusable;

pub use files::newest_run;
pub(crate) use files::{LOCK, lock, runs_of, write_whole};
pub use folder::RunDir;
pub use info::RunInfo;
pub(crate) use info::{belongs_to_model, hash_files, hash_model};
pub(crate) use lines::{JsonLines, read_rows};
pub use maker::Maker;
pub use records::{CompletionRecord, RewardPart, StageRecord};
pub(crate) use reuse::Reuse;
pub use summary::{BestCheckpoint, RunStatus, RunSummary};
pub(crate) use unusable::{RunFailed, Unusable};

#[cfg(test)]
mod tests;
