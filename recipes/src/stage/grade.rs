//! Grading on threads of its own while decoding goes on.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use datasets::Task;
use policy::{Completion, FinishReason, Tokenizer};
use rewards::{RewardSet, Sample, ScoreBreakdown, vote_key};

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

    /// Whether the answer is right, by the parts that judge answers; none where it cannot be judged.
    pub(crate) fn right(&self) -> Option<bool> {
        let value = self.breakdown.get("accuracy").or_else(|| self.breakdown.get("code"))?;
        Some(value >= 1.0)
    }
}

/// What is graded, and how.
pub(crate) struct Grader<'a> {
    pub(crate) rewards: &'a RewardSet,
    pub(crate) tokenizer: &'a Tokenizer,
    /// The tasks that completions number.
    pub(crate) tasks: &'a [Task],
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
}

/// How long sampling and grading took.
pub(crate) struct Spent {
    /// From the start to the last completion.
    pub(crate) sampling: Duration,
    /// From the last completion to the last score.
    pub(crate) waiting: Duration,
    /// The threads' time in the rewards, added up.
    pub(crate) grading: Duration,
}

impl Grader<'_> {
    /// Runs `sample`, which hands over completions as they finish; they are graded meanwhile, and kept.
    pub(super) fn while_sampling(
        &self,
        sample: impl FnOnce(&mut dyn FnMut(Completion)) -> policy::Result<()>,
    ) -> anyhow::Result<GradedBatch> {
        let graded = Mutex::new(Vec::new());
        let spent = self.each(sample, &|one| {
            graded.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            Ok(())
        })?;
        let mut graded = graded.into_inner().unwrap_or_else(PoisonError::into_inner);
        graded.sort_by_key(|one| (one.completion.task, one.completion.sample));
        Ok(GradedBatch { graded, sampling: spent.sampling, waiting: spent.waiting, grading: spent.grading })
    }

    /// Runs `sample`, which hands over completions as they finish; they are graded meanwhile, each handed to `on_graded` by
    /// the thread that graded it.
    pub(crate) fn each(
        &self,
        sample: impl FnOnce(&mut dyn FnMut(Completion)) -> policy::Result<()>,
        on_graded: &(dyn Fn(Graded) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<Spent> {
        let start = Instant::now();
        let (completions, jobs) = mpsc::channel::<Completion>();
        let (results, scores) = mpsc::channel::<anyhow::Result<Duration>>();
        let jobs = Mutex::new(jobs);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let results = results.clone();
                scope.spawn(|| self.work(&jobs, results, on_graded));
            }
            drop(results);
            // A grader gives up only after it has sent its error, which is read below.
            let sampled = sample(&mut |completion| drop(completions.send(completion)));
            drop(completions);
            let sampling = start.elapsed();
            sampled?;
            let mut grading = Duration::ZERO;
            for result in scores {
                grading += result?;
            }
            Ok(Spent { sampling, waiting: start.elapsed().saturating_sub(sampling), grading })
        })
    }

    fn work(
        &self,
        jobs: &Mutex<Receiver<Completion>>,
        results: Sender<anyhow::Result<Duration>>,
        on_graded: &(dyn Fn(Graded) -> anyhow::Result<()> + Sync),
    ) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(completion) = next else { return };
            let start = Instant::now();
            let graded = self.grade(completion);
            let spent = start.elapsed();
            let result = graded.and_then(on_graded).map(|()| spent);
            let failed = result.is_err();
            if results.send(result).is_err() || failed {
                return;
            }
        }
    }

    fn grade(&self, completion: Completion) -> anyhow::Result<Graded> {
        // Where all of a group's rewards are equal nothing is trained on, so this may be the only place that sees it.
        anyhow::ensure!(
            completion.logprobs.iter().all(|logprob| logprob.is_finite()),
            "the policy's log-probabilities are not finite: its weights hold NaN, infinity, or numbers near it\n  hint: a \
             model that was given may be damaged; for one that was trained here, look at gradient_norm, kl and ratio in \
             metrics.jsonl before this step; a lower learning_rate or max_grad_norm usually helps"
        );
        let task = &self.tasks[completion.task as usize];
        let text = self.tokenizer.decode(&completion.token_ids);
        let sample = Sample {
            prompt: &task.prompt,
            completion: &text,
            reference: &task.reference,
            truncated: completion.finish_reason == FinishReason::Length,
        };
        let breakdown = self.rewards.score(&sample)?;
        let vote = if self.votes { vote_key(&sample) } else { None };
        Ok(Graded { completion, text, breakdown, vote })
    }
}
