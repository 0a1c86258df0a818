//! What a run writes besides its metrics: completions for people, and the stages that are done.

use serde::{Deserialize, Serialize};

use crate::config::Stage;

/// One completion, as people read it in `completions/`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionRecord {
    /// The task's id.
    pub task: String,
    /// The task's number within its step, from 0: the completions of one number are a group, also where the task stands next
    /// to itself.
    #[serde(default)]
    pub group: u32,
    /// The family or file that the task is from.
    pub source: String,
    /// The question, without the template around it.
    pub prompt: String,
    /// What the policy wrote.
    pub completion: String,
    /// The weighted sum; none if it could not be scored.
    pub reward: Option<f64>,
    /// Each part of the reward: name, score, and the cause where it is not full.
    pub parts: Vec<RewardPart>,
    /// What the completion counted for in the update; none in an evaluation.
    pub advantage: Option<f64>,
    /// Its tokens.
    pub tokens: u64,
    /// Whether it was cut off at the limit.
    pub truncated: bool,
}

/// One part of a completion's reward.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RewardPart {
    /// The reward's name.
    pub name: String,
    /// Its score before it is weighted; none if it could not be scored.
    pub score: Option<f64>,
    /// Why the score is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What a stage did and took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The stage's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its steps.
    pub steps: u64,
    /// Tokens sampled.
    pub sampled_tokens: u64,
    /// Tokens trained on.
    pub trained_tokens: u64,
    /// Seconds, over all the processes that worked on it.
    pub seconds: f64,
    /// Estimated floating-point operations: of each parameter that a row goes through, 2 for each time that it is computed
    /// forward and 4 where its gradient is. Counted are the prompts and answers of sampling and of quick evaluations, the
    /// training passes, layers that are computed again, and the passes of a reference, of `top_entropy_share` and of
    /// validation. A base from the cache costs nothing.
    pub flops: f64,
    /// SHA-256 of the demonstrations that it kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// A remark for the final table, such as `from the cache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl StageRecord {
    /// Of a stage that has done nothing yet.
    pub(crate) fn of(stage: &Stage) -> StageRecord {
        StageRecord { name: stage.name.clone(), kind: stage.settings.kind().to_owned(), ..StageRecord::default() }
    }
}
