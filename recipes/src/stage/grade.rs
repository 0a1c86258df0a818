//! Grading on threads of its own while decoding goes on.
//!
//! A completion is scored as soon as it ends by every reward that needs nothing else. Rewards that compare the completions
//! of a group are asked by whichever thread scores the group's last one: still while other groups are being decoded.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use datasets::Task;
use policy::{Completion, FinishReason, PolicyError, Tokenizer};
use rewards::{Component, Pending, Printed, RewardSet, Sample, ScoreBreakdown, vote_key};

use crate::config::JUDGES;
use crate::run::{CompletionRecord, RewardPart};

/// A completion with its text and its scores.
pub(crate) struct Graded {
    pub(crate) completion: Completion,
    pub(crate) text: String,
    pub(crate) breakdown: ScoreBreakdown,
    /// Under which its answer votes, where votes are asked for.
    pub(crate) vote: Option<String>,
}

impl Graded {
    pub(crate) fn truncated(&self) -> bool {
        self.completion.finish_reason == FinishReason::Length
    }

    /// Whether the answer is right; none where it cannot be judged.
    pub(crate) fn right(&self) -> Option<bool> {
        right_by(&self.breakdown)
    }

    /// As people read it; `advantage` is what it counted for in an update.
    pub(super) fn record(&self, task: &Task, advantage: Option<f64>) -> CompletionRecord {
        let part = |component: &Component| RewardPart {
            name: component.name.clone(),
            score: component.score.value,
            cause: component.score.cause.clone(),
        };
        CompletionRecord {
            task: task.id.clone(),
            group: self.completion.task,
            source: task.source.clone(),
            prompt: task.prompt.clone(),
            completion: self.text.clone(),
            reward: self.breakdown.total,
            parts: self.breakdown.components.iter().map(part).collect(),
            advantage,
            tokens: self.completion.token_ids.len() as u64,
            truncated: self.truncated(),
        }
    }
}

/// Whether an answer is right, by the first part that judges answers and has a verdict.
pub(super) fn right_by(breakdown: &ScoreBreakdown) -> Option<bool> {
    let judges = |component: &&Component| JUDGES.contains(&component.name.as_str());
    let value = breakdown.components.iter().filter(judges).find_map(|component| component.score.value)?;
    Some(value >= 1.0)
}

/// What is graded, and how.
pub(crate) struct Grader<'a> {
    pub(crate) rewards: &'a RewardSet,
    pub(crate) tokenizer: &'a Tokenizer,
    /// The tasks that completions number.
    pub(crate) tasks: &'a [Task],
    /// What completions begin with that stands at the end of their prompts.
    pub(crate) opening: &'static str,
    /// Whether completions vote.
    pub(crate) votes: bool,
    pub(crate) threads: usize,
}

/// Completions in the order of (task, sample), and how long sampling and grading took.
pub(super) struct GradedBatch {
    pub(super) graded: Vec<Graded>,
    pub(super) sampling: Duration,
    pub(super) waiting: Duration,
    pub(super) grading: Duration,
    /// What rewards printed.
    pub(super) printed: Vec<Printed>,
}

/// A completion that is scored as far as it can be by itself.
struct Waiting {
    completion: Completion,
    text: String,
    vote: Option<String>,
    pending: Pending,
}

/// The groups that lack a completion, by their task.
type Groups = Mutex<HashMap<u32, Vec<Waiting>>>;

/// How long sampling and grading took.
pub(crate) struct Spent {
    /// From the start to the last completion.
    pub(crate) sampling: Duration,
    /// From the last completion to the last score.
    pub(crate) waiting: Duration,
    /// The threads' time in the rewards, added up.
    pub(crate) grading: Duration,
}

/// What can be done where the policy has no numbers any more.
fn explained(error: PolicyError) -> anyhow::Error {
    match error {
        // Where all of a group's rewards are equal nothing is trained on, so sampling may be the only place that sees it.
        PolicyError::NotFinite { .. } => anyhow::anyhow!(
            "{error}\n  hint: a model that was given may be damaged; for one that was trained here, look at gradient_norm, kl \
             and ratio in metrics.jsonl before this step; a lower learning_rate or max_grad_norm usually helps"
        ),
        error => error.into(),
    }
}

impl Grader<'_> {
    /// Runs `sample`, which hands over completions as they finish, `group` of them for each task; they are graded
    /// meanwhile, and kept.
    pub(super) fn while_sampling(
        &self,
        group: u32,
        sample: impl FnOnce(&mut dyn FnMut(Completion)) -> policy::Result<()>,
    ) -> anyhow::Result<GradedBatch> {
        let graded = Mutex::new(Vec::new());
        let spent = self.each(group, sample, &|one| {
            graded.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            Ok(())
        })?;
        let mut graded = graded.into_inner().unwrap_or_else(PoisonError::into_inner);
        graded.sort_by_key(|one| (one.completion.task, one.completion.sample));
        let Spent { sampling, waiting, grading } = spent;
        Ok(GradedBatch { graded, sampling, waiting, grading, printed: self.rewards.take_printed() })
    }

    /// Runs `sample`, which hands over completions as they finish, `group` of them for each task; they are graded
    /// meanwhile, each handed to `on_graded` by the thread that graded it. `group` does not matter where no reward needs
    /// the whole of one.
    pub(crate) fn each(
        &self,
        group: u32,
        sample: impl FnOnce(&mut dyn FnMut(Completion)) -> policy::Result<()>,
        on_graded: &(dyn Fn(Graded) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<Spent> {
        let start = Instant::now();
        let (completions, jobs) = mpsc::channel::<Completion>();
        let (results, finished) = mpsc::channel::<anyhow::Result<Duration>>();
        let jobs = Mutex::new(jobs);
        let groups = Groups::default();
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let results = results.clone();
                scope.spawn(|| self.work(&jobs, (&groups, group as usize), results, on_graded));
            }
            drop(results);
            // A grader gives up only after it has sent its error, which is read below.
            let sampled = sample(&mut |completion| drop(completions.send(completion)));
            drop(completions);
            let sampling = start.elapsed();
            sampled.map_err(explained)?;
            let mut grading = Duration::ZERO;
            for result in finished {
                grading += result?;
            }
            let incomplete = groups.lock().unwrap_or_else(PoisonError::into_inner).len();
            anyhow::ensure!(incomplete == 0, "{incomplete} groups were sampled with fewer completions than {group}");
            Ok(Spent { sampling, waiting: start.elapsed().saturating_sub(sampling), grading })
        })
    }

    fn work(
        &self,
        jobs: &Mutex<Receiver<Completion>>,
        groups: (&Groups, usize),
        results: Sender<anyhow::Result<Duration>>,
        on_graded: &(dyn Fn(Graded) -> anyhow::Result<()> + Sync),
    ) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(completion) = next else { return };
            let start = Instant::now();
            let graded = self.grade(completion, groups);
            let spent = start.elapsed();
            let result = graded.and_then(|graded| graded.into_iter().try_for_each(on_graded)).map(|()| spent);
            let failed = result.is_err();
            if results.send(result).is_err() || failed {
                return;
            }
        }
    }

    /// Scores a completion by itself; and its group, if it is the last one.
    fn grade(&self, completion: Completion, (groups, group): (&Groups, usize)) -> anyhow::Result<Vec<Graded>> {
        let task = completion.task;
        let waiting = self.grade_alone(completion)?;
        if !self.rewards.needs_group(&self.tasks[task as usize].reference) {
            return self.grade_rest(vec![waiting]);
        }
        let whole = {
            let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
            let there = groups.entry(task).or_default();
            there.push(waiting);
            if there.len() < group {
                return Ok(Vec::new());
            }
            groups.remove(&task)
        };
        self.grade_rest(whole.unwrap_or_default())
    }

    fn grade_alone(&self, completion: Completion) -> anyhow::Result<Waiting> {
        let text = self.opening.to_owned() + &self.tokenizer.decode(&completion.token_ids);
        let sample = self.sample(&completion, &text);
        let pending = self.rewards.score_alone(&sample)?;
        let vote = if self.votes { vote_key(&sample) } else { None };
        Ok(Waiting { completion, text, vote, pending })
    }

    /// The rest of the scores of these completions of one task, in the order of their numbers, whichever ended first.
    fn grade_rest(&self, mut group: Vec<Waiting>) -> anyhow::Result<Vec<Graded>> {
        group.sort_by_key(|one| one.completion.sample);
        let samples: Vec<Sample<'_>> = group.iter().map(|one| self.sample(&one.completion, &one.text)).collect();
        let pending = group.iter().map(|one| one.pending.clone()).collect();
        let breakdowns = self.rewards.score_rest(&samples, pending)?;
        let graded = group.into_iter().zip(breakdowns);
        Ok(graded
            .map(|(Waiting { completion, text, vote, .. }, breakdown)| Graded { completion, text, breakdown, vote })
            .collect())
    }

    fn sample<'s>(&'s self, completion: &'s Completion, text: &'s str) -> Sample<'s> {
        Sample {
            completion_ids: &completion.token_ids,
            truncated: completion.finish_reason == FinishReason::Length,
            ..self.tasks[completion.task as usize].sample(text)
        }
    }
}
