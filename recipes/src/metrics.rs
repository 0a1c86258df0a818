//! What is measured, as rows of `metrics.jsonl`.
//!
//! All that depends on the clock stands in a row's `time`, so that two runs can be compared with
//! the times aside: everything else is the same to the bit for the same recipe and seed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarms::Alarm;

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

/// Mean and standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

impl Spread {
    /// Mean and standard deviation of the values; zeros if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Spread {
        if values.is_empty() {
            return Spread::default();
        }
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Spread { mean, std: (squares / count(values.len())).sqrt() }
    }
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

/// The smallest and the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extremes {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
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

/// A mean with its 95% confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// How far the interval reaches: from `mean - half_width` to `mean + half_width`. None where fewer than two tasks leave
    /// nothing to tell it from.
    #[serde(default)]
    pub half_width: Option<f64>,
}

/// Standard deviations of a normal distribution on each side that hold 95% of it.
const NORMAL_95: f64 = 1.959_964;

impl Estimate {
    /// The mean of one share per task (each the mean over that task's samples), with the interval
    /// over tasks: the samples of one task are no independent evidence.
    #[must_use]
    pub fn over_tasks(values: &[f64]) -> Estimate {
        Estimate::within(values, (0.0, 1.0))
    }

    /// The mean of one difference of shares per task, with the interval over tasks.
    #[must_use]
    pub fn of_differences(values: &[f64]) -> Estimate {
        Estimate::within(values, (-1.0, 1.0))
    }

    /// The mean of values that lie between these bounds, by the normal approximation. Where all are equal, or all but a few,
    /// that would claim to be nearly certain. Wilson's interval for how many more would differ, given that none of n did, ends
    /// at `z^2 / (n + z^2)`; each of those could lie as far away as the bounds are, and so far the interval reaches at least.
    /// For shares that are all 0 or all 1 it is Wilson's own; of values that are 0 or 1 it is the normal one from about four
    /// of each on.
    fn within(values: &[f64], (low, high): (f64, f64)) -> Estimate {
        let (mean, number) = (mean(values), count(values.len()));
        if values.len() < 2 {
            return Estimate { mean, half_width: None };
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let normal = NORMAL_95 * (squares / (number - 1.0) / number).sqrt();
        let square = NORMAL_95 * NORMAL_95;
        let least = square / (number + square) * (mean - low).max(high - mean);
        // To a millionth, as the quantile is: so short a number is the same when it is read from a file again.
        Estimate { mean, half_width: Some(normal.max((least * 1e6).round() / 1e6)) }
    }

    /// The mean of independent estimates, each counting the same; without an interval where one has none.
    #[must_use]
    pub fn mean_of(estimates: &[Estimate]) -> Estimate {
        if estimates.is_empty() {
            return Estimate::default();
        }
        let number = count(estimates.len());
        let sum: f64 = estimates.iter().map(|estimate| estimate.mean).sum();
        let squares: Option<f64> = estimates.iter().map(|estimate| Some(estimate.half_width?.powi(2))).sum();
        Estimate { mean: sum / number, half_width: squares.map(|squares| squares.sqrt() / number) }
    }

    /// How far the interval reaches, in percent: `±2.7`; nothing where there is none.
    #[must_use]
    pub fn reach(&self) -> String {
        self.half_width.map_or_else(String::new, |half_width| format!("±{:.1}", half_width * 100.0))
    }
}

/// In percent: `31.0% ±2.7`.
impl std::fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.1}% {}", self.mean * 100.0, self.reach());
        formatter.pad(text.trim_end())
    }
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

/// The mean; 0 of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / count(values.len()) }
}

/// Whether a share is larger than another. One that was written to a file and read again may differ in its last bit.
pub(crate) fn is_more(one: f64, other: f64) -> bool {
    one > other + 1e-9
}

/// Pearson's correlation; none where one of the two does not vary.
#[must_use]
pub fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let (one, other): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (mean_one, mean_other) = (mean(&one), mean(&other));
    let sum = |product: fn(f64, f64) -> f64| -> f64 {
        pairs.iter().map(|(a, b)| product(a - mean_one, b - mean_other)).sum()
    };
    let (squares, other_squares) = (sum(|a, _| a * a), sum(|_, b| b * b));
    // Equal values may leave a rounding error.
    let varies = |squares: f64, mean: f64| squares > 1e-18 * count(pairs.len()) * (1.0 + mean * mean);
    (varies(squares, mean_one) && varies(other_squares, mean_other))
        .then(|| sum(|a, b| a * b) / (squares * other_squares).sqrt())
}

fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_over_tasks() {
        // 40 of 100 tasks right: sqrt(0.4 * 0.6 / 99) * 1.96.
        let mut values = vec![0.0; 60];
        values.extend(vec![1.0; 40]);
        let estimate = Estimate::over_tasks(&values);
        assert!((estimate.mean - 0.4).abs() < 1e-12);
        assert!((estimate.half_width.unwrap() - 1.959_964 * (0.24_f64 / 99.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn tasks_that_all_agree_are_no_certainty() {
        #[track_caller]
        fn check(estimate: Estimate, expected: &str) {
            assert_eq!(estimate.to_string(), expected);
        }
        // Wilson's upper end for 0 of 30: 3.8415 / 33.8415.
        check(Estimate::over_tasks(&[0.0; 30]), "0.0% ±11.4");
        check(Estimate::over_tasks(&[1.0; 30]), "100.0% ±11.4");
        check(Estimate::over_tasks(&[0.5; 30]), "50.0% ±5.7");
        // A mean whose sum rounds is spread over nothing all the same.
        check(Estimate::over_tasks(&[0.1; 30]), "10.0% ±10.2");
        check(Estimate::of_differences(&[0.0; 30]), "0.0% ±11.4");
        check(Estimate::of_differences(&[1.0; 30]), "100.0% ±22.7");
        check(Estimate::over_tasks(&[1.0]), "100.0%");
        check(Estimate::of_differences(&[1.0]), "100.0%");
        check(Estimate::over_tasks(&[]), "0.0%");
        check(Estimate::mean_of(&[Estimate::over_tasks(&[0.0; 30]), Estimate::over_tasks(&[1.0])]), "50.0%");
    }

    #[test]
    fn one_right_answer_does_not_make_the_rest_certain() {
        #[track_caller]
        fn check(values: &[f64], most: f64) {
            let without = Estimate::over_tasks(&vec![0.0; values.len()]).half_width.unwrap();
            let found = Estimate::over_tasks(values).half_width.unwrap();
            assert!(found > without - 0.01 && found <= most, "{without} {found}");
        }
        // One of 64 samples of one of 30 problems; one of 4 samples of one of 40.
        check(&[vec![1.0 / 64.0], vec![0.0; 29]].concat(), 0.114);
        check(&[vec![0.25], vec![0.0; 39]].concat(), 0.088);
        // With enough of both it is the normal approximation's.
        let tasks = [vec![1.0; 10], vec![0.0; 90]].concat();
        assert!(
            (Estimate::over_tasks(&tasks).half_width.unwrap() - 1.959_964 * (0.09_f64 / 99.0).sqrt()).abs() < 1e-12
        );
    }

    #[test]
    fn families_count_the_same() {
        let estimates = [(0.2, 0.03), (0.6, 0.04)].map(|(mean, reach)| Estimate { mean, half_width: Some(reach) });
        let both = Estimate::mean_of(&estimates);
        assert!((both.mean - 0.4).abs() < 1e-12);
        assert!((both.half_width.unwrap() - 0.025).abs() < 1e-12);
    }

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
    fn correlations_by_hand() {
        fn check(pairs: &[(f64, f64)], expected: Option<f64>) {
            let found = correlation(pairs);
            let close = found.zip(expected).is_none_or(|(found, expected)| (found - expected).abs() < 1e-12);
            assert!(found.is_some() == expected.is_some() && close, "{pairs:?}: {found:?}");
        }
        check(&[(0.0, 0.1), (1.0, 1.1), (2.0, 2.1)], Some(1.0));
        check(&[(0.0, 1.0), (1.0, 0.0)], Some(-1.0));
        // Covariance 1/3 over the root of 2/3 times 2/3, both times 3.
        check(&[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], Some(0.5));
        check(&[(0.1, 0.0), (0.1, 1.0), (0.1, 1.0)], None);
        check(&[], None);
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
