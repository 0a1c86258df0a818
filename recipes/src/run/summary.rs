//! A run in figures, once it has ended.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::records::StageRecord;
use crate::alarms::RaisedAlarm;
use crate::metrics::{Estimate, EvalMetrics};

/// Whether a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RunStatus {
    /// It did all of its stages.
    Finished,
    /// It was asked to stop; `--resume` goes on.
    Interrupted {
        /// The stage it was in.
        stage: String,
        /// The last step that it finished.
        step: u64,
    },
    /// It did what was asked for, up to this stage; `--resume` does the others.
    StoppedAfter {
        /// The stage.
        stage: String,
    },
    /// It broke off.
    Failed {
        /// Why.
        why: String,
    },
}

/// The checkpoint of a grpo stage that did best in its quick evaluations, on few tasks with one answer each: the best of
/// several noisy figures flatters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestCheckpoint {
    /// The stage.
    pub stage: String,
    /// Its step; of equals the earliest.
    pub step: u64,
    /// pass@1 there.
    pub sampled: Estimate,
    /// Of so many quick evaluations.
    pub of: u64,
    /// Its folder, a model like any other.
    pub folder: PathBuf,
    /// Whether later stages begin with it, and not with the last.
    pub handed_on: bool,
}

/// A run in figures: what `summary.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The recipe's name.
    pub recipe: String,
    /// The seed.
    pub seed: u64,
    /// The folder.
    pub run_dir: PathBuf,
    /// Whether it came to its end.
    #[serde(flatten)]
    pub status: RunStatus,
    /// The stages that are done.
    pub stages: Vec<StageRecord>,
    /// The stage that was interrupted, up to its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<StageRecord>,
    /// The evaluations by stages of kind `eval`, in order.
    pub evaluations: Vec<EvalMetrics>,
    /// The best checkpoint of each grpo stage that has quick evaluations.
    #[serde(default)]
    pub best: Vec<BestCheckpoint>,
    /// What looked like a known collapse while it learned.
    #[serde(default)]
    pub alarms: Vec<RaisedAlarm>,
    /// Parameters of the policy.
    pub parameters: u64,
    /// Parameters that one token goes through.
    pub active_parameters: u64,
    /// Threads that it had.
    pub threads: usize,
    /// Cores of the machine.
    pub host_cores: usize,
    /// The card that it computed on, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

impl RunSummary {
    /// The stages that are done, and the one that was interrupted, as far as it came.
    pub fn stages_begun(&self) -> impl Iterator<Item = &StageRecord> {
        self.stages.iter().chain(&self.unfinished)
    }

    /// The first and the last evaluation: before and after, if there are two.
    #[must_use]
    pub fn before_and_after(&self) -> Option<(&EvalMetrics, &EvalMetrics)> {
        match &self.evaluations[..] {
            [before, .., after] => Some((before, after)),
            _ => None,
        }
    }
}
