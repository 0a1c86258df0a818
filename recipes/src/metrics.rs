//! What is measured, as rows of `metrics.jsonl`.
//!
//! All that depends on the clock stands in a row's `time`, so that two runs can be compared with
//! the times aside: everything else is the same to the bit for the same recipe and seed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarms::Alarm;

mod figures;

pub(crate) use figures::is_more;
pub use figures::{Estimate, Extremes, Spread, correlation, mean};

/// One row of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
// Rows are made one at a time and written at once: a box would only be in the way.
#[allow(clippy::large_enum_variant)]
pub enum MetricRow {
    /// An optimizer step of a pretrain stage.
    Pretrain(PretrainMetrics),
    /// An optimizer step of an sft or distill stage.
    Sft(SftMetrics),
    /// A step of a reject stage.
    Reject(RejectMetrics),
    /// A step of a grpo stage.
    Step(StepMetrics),
    /// An evaluation.
    Eval(EvalMetrics),
}

/// An optimizer step of a pretrain stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PretrainMetrics {
    /// The stage's name.
    pub stage: String,
    /// The step, from 1.
    pub step: u64,
    /// Mean negative log-likelihood of a token, in nats.
    pub loss: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// How uneven the experts' load is: the largest load over the mean load, less 1; the worst
    /// layer.
    pub max_vio: f64,
    /// Tokens trained on in this step.
    pub tokens: u64,
    /// Times.
    pub time: Times,
}

/// An optimizer step of an sft or distill stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SftMetrics {
    /// The stage's name.
    pub stage: String,
    /// The step, from 1.
    pub step: u64,
    /// Passes over the demonstrations after this step.
    pub epoch: f64,
    /// Mean negative log-likelihood of an answer's token, in nats.
    pub loss: f64,
    /// The same on the demonstrations that were set aside, where it was measured.
    pub validation_loss: Option<f64>,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// How uneven the experts' load is: the largest load over the mean load, less 1; the worst
    /// layer.
    pub max_vio: f64,
    /// Tokens of answers in this step: those that bear loss.
    pub tokens: u64,
    /// Tokens that went through training, questions included.
    pub trained_tokens: u64,
    /// Times.
    pub time: Times,
}

/// A step of a reject stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RejectMetrics {
    /// The stage's name.
    pub stage: String,
    /// The step, from 1.
    pub step: u64,
    /// Tasks that were answered.
    pub tasks: u64,
    /// Answers that were sampled.
    pub answers: u64,
    /// Answers that were kept, by family of tasks.
    pub kept: BTreeMap<String, u64>,
    /// Answers that were not, by the first reason that applied.
    pub dropped: BTreeMap<String, u64>,
    /// SHA-256 of the file of the answers that were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Share of right answers, by family of tasks.
    pub pass_rate: BTreeMap<String, f64>,
    /// Tokens of prompts, each prompt counted once for all of its answers.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens sampled.
    pub sampled_tokens: u64,
    /// Times.
    pub time: Times,
}

/// A step of a grpo stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The stage's name.
    pub stage: String,
    /// The step, from 1.
    pub step: u64,
    /// The summed reward of the step's completions.
    pub reward: Spread,
    /// The mean of each part of the reward, by its name, before it is weighted.
    pub reward_parts: BTreeMap<String, f64>,
    /// How the parts of the reward go together, over completions: Pearson's coefficient of each two that both vary, by
    /// their names. Near 1 one of them says nothing new; below 0 they pull against each other.
    #[serde(default)]
    pub reward_correlation: BTreeMap<String, f64>,
    /// Share of right completions, by family of tasks.
    pub accuracy: BTreeMap<String, f64>,
    /// Completions that could not be scored (their reference is unusable) and were left out.
    pub unscorable: u64,
    /// Tokens of a completion.
    pub length: Lengths,
    /// Share of completions cut off at the limit.
    pub truncated_share: f64,
    /// Share of runs of four tokens that their completion has had before.
    #[serde(default)]
    pub repetition: f64,
    /// Share of groups whose rewards are all equal: they teach nothing.
    pub flat_groups_share: f64,
    /// Groups that dynamic sampling dropped for that.
    #[serde(default)]
    pub groups_dropped: u64,
    /// How many times it sampled further tasks in this step.
    #[serde(default)]
    pub refill_rounds: u64,
    /// Share of the step's completions that were trained on. Those of groups that were dropped were not, nor those that are
    /// left out of the loss, nor, without a KL penalty and an entropy bonus, those that did just as well as their group.
    #[serde(default)]
    pub trained_share: f64,
    /// Entropy of the policy at the sampling temperature, in nats per token, over all completions, trained on or not:
    /// estimated by the mean of `-log p` of the sampled tokens, whose expectation it is. `p` is of the whole distribution; where
    /// `top_p` or `top_k` cut its tail off, only likely tokens are averaged over: less than its entropy, and not that of what
    /// is left. None where no token was sampled.
    pub entropy: Option<f64>,
    /// The loss.
    pub loss: f64,
    /// Estimate of the divergence from the reference policy (k3, whatever `kl_estimator` is), in nats per token, of the
    /// tokens that were trained on, over all optimizer steps; none without a reference, and where no token was trained on.
    pub kl: Option<f64>,
    /// What the divergence from the reference took off the rewards, on average; none where it takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_penalty: Option<f64>,
    /// Share of the tokens that were trained on whose probability ratio was clipped in any way, over all optimizer steps.
    pub clip_fraction: f64,
    /// Share of them clipped below.
    #[serde(default)]
    pub clip_low_fraction: f64,
    /// Share of them clipped above.
    #[serde(default)]
    pub clip_high_fraction: f64,
    /// Share of them clipped by the dual clip; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_dual_fraction: Option<f64>,
    /// Extremes of the probability ratio between the policy and the one that sampled, of the tokens that were trained on.
    pub ratio: Extremes,
    /// Largest difference between the log-probability of a token when it was sampled and in its training pass, of the
    /// completions of the first optimizer step: the policy is then still the one that sampled.
    pub logprob_difference_max: f64,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// How uneven the experts' load is: the largest load over the mean load, less 1; the worst
    /// layer.
    pub max_vio: f64,
    /// Tokens of prompts, each prompt counted once per group.
    pub prompt_tokens: u64,
    /// Tokens sampled.
    pub sampled_tokens: u64,
    /// Tokens that went through training, prompts included.
    pub trained_tokens: u64,
    /// What looks like a known collapse, said once for each cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    /// Times.
    pub time: Times,
}

/// Tokens of a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
    /// The mean of right completions; none if there were none.
    pub right_mean: Option<f64>,
    /// The mean of wrong completions; none if there were none.
    pub wrong_mean: Option<f64>,
}

/// What depends on the clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// All of it, in seconds.
    pub seconds: f64,
    /// Each phase by its name: `sampling`, `grading`, `update` ...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<String, PhaseTime>,
}

impl Times {
    /// Adds a phase; `tokens` are what it worked on.
    pub fn add(&mut self, phase: &str, seconds: f64, tokens: u64) {
        self.phases.insert(phase.to_owned(), PhaseTime { seconds, tokens_per_second: rate(tokens, seconds) });
    }
}

/// Tokens each second; 0 where no time was measured.
#[must_use]
pub fn rate(tokens: u64, seconds: f64) -> f64 {
    let tokens = tokens as f64;
    if seconds > 0.0 { tokens / seconds } else { 0.0 }
}

/// How long a phase took and how fast it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Seconds.
    pub seconds: f64,
    /// Tokens each second.
    pub tokens_per_second: f64,
}

/// An evaluation on held-out tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalMetrics {
    /// The stage's name; a quick evaluation inside of a grpo stage carries that stage's.
    pub stage: String,
    /// Steps of reinforcement learning in all stages before it.
    pub step: u64,
    /// Whether this is a quick evaluation during training.
    pub quick: bool,
    /// Each family of tasks, or each task file.
    pub families: BTreeMap<String, FamilyEval>,
    /// Times.
    pub time: Times,
}

/// One family of tasks in an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FamilyEval {
    /// Tasks.
    pub tasks: u64,
    /// Completions sampled for each task.
    pub samples: u64,
    /// pass@1: the mean over tasks of the share of right samples.
    pub sampled: Estimate,
    /// Share of tasks that the likeliest completion solves; none where it was not measured.
    pub greedy: Option<f64>,
    /// Share of tasks that the majority of the samples' answers solves; none where there is one
    /// sample.
    pub majority: Option<f64>,
    /// For each k (powers of two), k and pass@k: the share of tasks that one of k samples solves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_at: Vec<(usize, f64)>,
    /// The same of the majority of k samples; of one it is pass@1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub majority_at: Vec<(usize, f64)>,
    /// The mean of the recipe's whole reward, its parts weighted as the recipe weighs them (a stage may weigh them otherwise), of
    /// sampled completions; those of which a part is missing are left out, as in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// The mean score of the recipe's rewards that look at an answer's shape, of sampled completions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, f64>,
    /// Mean tokens of a sampled completion.
    pub mean_length: f64,
    /// Tasks left out because their reference is unusable.
    pub unscorable: u64,
}

impl EvalMetrics {
    /// pass@1, sampled: the mean over the families, each counting the same.
    #[must_use]
    pub fn sampled(&self) -> Estimate {
        let estimates: Vec<Estimate> = self.families.values().map(|family| family.sampled).collect();
        Estimate::mean_of(&estimates)
    }

    /// pass@1, greedy: the mean over the families; none where one was not measured.
    #[must_use]
    pub fn greedy(&self) -> Option<f64> {
        mean_of_all(self.families.values().map(|family| family.greedy))
    }

    /// The majority's: the mean over the families; none where one was not measured.
    #[must_use]
    pub fn majority(&self) -> Option<f64> {
        mean_of_all(self.families.values().map(|family| family.majority))
    }

    /// The mean score of each reward that looks at an answer's shape: the mean over the families that have it.
    #[must_use]
    pub fn rewards(&self) -> BTreeMap<String, f64> {
        let mut scores = BTreeMap::<String, Vec<f64>>::new();
        for (name, score) in self.families.values().flat_map(|family| &family.rewards) {
            scores.entry(name.clone()).or_default().push(*score);
        }
        scores.into_iter().map(|(name, scores)| (name, mean(&scores))).collect()
    }

    /// Mean tokens of a sampled completion: the mean over the families.
    #[must_use]
    pub fn mean_length(&self) -> f64 {
        let lengths: Vec<f64> = self.families.values().map(|family| family.mean_length).collect();
        mean(&lengths)
    }
}

fn mean_of_all(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Option<Vec<f64>> = values.collect();
    values.filter(|values| !values.is_empty()).map(|values| mean(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_without_a_greedy_pass_leaves_no_mean() {
        let mut eval = EvalMetrics::default();
        let family = |greedy| FamilyEval { greedy, ..FamilyEval::default() };
        assert_eq!(eval.greedy(), None);
        eval.families.insert("a".to_owned(), family(Some(0.5)));
        assert_eq!(eval.greedy(), Some(0.5));
        eval.families.insert("b".to_owned(), family(None));
        assert_eq!(eval.greedy(), None);
    }

    #[test]
    fn rows_survive_the_file() {
        let mut step = StepMetrics { stage: "grpo".to_owned(), step: 3, ..StepMetrics::default() };
        step.time.add("sampling", 2.0, 500);
        let line = serde_json::to_string(&MetricRow::Step(step.clone())).unwrap();
        assert!(line.starts_with(r#"{"kind":"step","stage":"grpo","step":3,"#), "{line}");
        assert_eq!(serde_json::from_str::<MetricRow>(&line).unwrap(), MetricRow::Step(step));
    }
}
