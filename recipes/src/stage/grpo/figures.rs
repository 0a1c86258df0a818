//! The figures of a step that follow from its completions and scores alone.

use std::collections::{BTreeMap, HashSet};

use policy::grpo::is_flat;

use super::super::grade::Graded;
use super::rollout::{Rollout, rewards};
use crate::metrics::{Lengths, Spread, StepMetrics, correlation, mean};

/// Tokens in a row that count as repeated where they stand twice in a completion.
const REPEATED: usize = 4;

/// The figures of all completions, also of those that are not learned from: else dynamic sampling would hide that the
/// policy gets better.
pub(super) fn describe(rollout: &Rollout) -> StepMetrics {
    let mut metrics = StepMetrics::default();
    let mut totals = Vec::new();
    let mut parts = Parts::default();
    let mut right_by_family = BTreeMap::<String, Vec<f64>>::new();
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    let (mut lengths, mut repetitions) = (Vec::new(), Vec::new());
    let (mut groups, mut flat, mut truncated) = (0, 0, 0);
    let mut surprise = 0.0;
    for group in rollout.groups() {
        let scores = rewards(group);
        groups += 1;
        flat += usize::from(is_flat(&scores));
        for graded in group {
            let length = graded.completion.token_ids.len();
            lengths.push(length as f64);
            surprise -= graded.completion.logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>();
            repetitions.push(repetition(&graded.completion.token_ids));
            metrics.length.max = metrics.length.max.max(length as u64);
            metrics.sampled_tokens += length as u64;
            truncated += usize::from(graded.truncated());
            metrics.unscorable += u64::from(graded.breakdown.total.is_none());
            parts.add(graded);
            if let Some(is_right) = graded.right() {
                if is_right {
                    right.push(length as f64)
                } else {
                    wrong.push(length as f64)
                }
                let family = &rollout.tasks[graded.completion.task as usize].source;
                right_by_family.entry(family.clone()).or_default().push(f64::from(u8::from(is_right)));
            }
        }
        totals.extend(scores.into_iter().flatten());
    }
    let means = |values: BTreeMap<String, Vec<f64>>| values.into_iter().map(|(name, v)| (name, mean(&v))).collect();
    let mean_of_some = |values: &[f64]| (!values.is_empty()).then(|| mean(values));
    metrics.reward = Spread::of(&totals);
    metrics.reward_correlation = parts.correlations();
    metrics.reward_parts = means(parts.values);
    metrics.accuracy = means(right_by_family);
    metrics.length = Lengths {
        mean: mean(&lengths),
        max: metrics.length.max,
        right_mean: mean_of_some(&right),
        wrong_mean: mean_of_some(&wrong),
    };
    metrics.entropy = (metrics.sampled_tokens > 0).then(|| surprise / metrics.sampled_tokens as f64);
    metrics.repetition = mean(&repetitions);
    metrics.truncated_share = truncated as f64 / lengths.len().max(1) as f64;
    metrics.flat_groups_share = flat as f64 / groups.max(1) as f64;
    metrics.groups_dropped = (groups - rollout.learned().len()) as u64;
    metrics.refill_rounds = rollout.refills;
    metrics.prompt_tokens = rollout.requests.iter().map(|request| request.prompt.len() as u64).sum();
    metrics
}

/// The scores of each part of the reward.
#[derive(Default)]
struct Parts {
    values: BTreeMap<String, Vec<f64>>,
    /// Both scores of each completion that has both.
    pairs: BTreeMap<(String, String), Vec<(f64, f64)>>,
}

impl Parts {
    fn add(&mut self, graded: &Graded) {
        let scored: Vec<(&str, f64)> = graded
            .breakdown
            .components
            .iter()
            .filter_map(|component| Some((component.name.as_str(), component.score.value?)))
            .collect();
        for (index, (name, value)) in scored.iter().enumerate() {
            self.values.entry((*name).to_owned()).or_default().push(*value);
            for (other, other_value) in &scored[index + 1..] {
                let key = ((*name).to_owned(), (*other).to_owned());
                self.pairs.entry(key).or_default().push((*value, *other_value));
            }
        }
    }

    /// Of the pairs in which both parts vary.
    fn correlations(&self) -> BTreeMap<String, f64> {
        let named = |((one, other), values): (&(String, String), &Vec<(f64, f64)>)| {
            Some((format!("{one}, {other}"), correlation(values)?))
        };
        self.pairs.iter().filter_map(named).collect()
    }
}

/// The share of a completion's runs of [`REPEATED`] tokens that it has had before.
fn repetition(token_ids: &[u32]) -> f64 {
    let runs = token_ids.windows(REPEATED);
    let all = runs.len();
    let different = runs.collect::<HashSet<_>>().len();
    if all == 0 { 0.0 } else { (all - different) as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_is_the_share_of_runs_seen_before() {
        fn check(token_ids: &[u32], expected: f64) {
            assert!((repetition(token_ids) - expected).abs() < 1e-12, "{token_ids:?}");
        }
        check(&[], 0.0);
        check(&[1, 1, 1], 0.0);
        check(&[1, 2, 3, 4, 5, 6], 0.0);
        check(&[1; 13], 0.9);
        check(&[1, 2, 3, 4, 1, 2, 3, 4], 0.2);
    }
}
