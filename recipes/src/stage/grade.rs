//! Grading on threads of its own while decoding goes on.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use datasets::Task;
use policy::{Completion, FinishReason, Tokenizer};
use rewards::{RewardSet, Sample, ScoreBreakdown, vote_key};

/// A completion with its text and its scores.
pub(super) struct Graded {
    pub(super) completion: Completion,
    pub(super) text: String,
    pub(super) breakdown: ScoreBreakdown,
    /// Under which its answer votes, where votes are asked for.
    pub(super) vote: Option<String>,
}

impl Graded {
    pub(super) fn truncated(&self) -> bool {
        self.completion.finish_reason == FinishReason::Length
    }

    /// Whether the answer is right, by the parts that judge answers; none where it cannot be judged.
    pub(super) fn right(&self) -> Option<bool> {
        let value = self.breakdown.get("accuracy").or_else(|| self.breakdown.get("code"))?;
        Some(value >= 1.0)
    }
}

/// What is graded, and how.
pub(super) struct Grader<'a> {
    pub(super) rewards: &'a RewardSet,
    pub(super) tokenizer: &'a Tokenizer,
    /// The tasks that completions number.
    pub(super) tasks: &'a [Task],
    /// Whether completions vote.
    pub(super) votes: bool,
    pub(super) threads: usize,
}

/// Completions in the order of (task, sample), and how long grading went on after the last was sampled.
pub(super) struct GradedBatch {
    pub(super) graded: Vec<Graded>,
    /// From the start to the last completion.
    pub(super) sampling: Duration,
    /// From the last completion to the last score.
    pub(super) waiting: Duration,
    /// The threads' time in the rewards, added up.
    pub(super) grading: Duration,
}

impl Grader<'_> {
    /// Runs `sample`, which hands over completions as they finish; they are graded meanwhile.
    pub(super) fn while_sampling(
        &self,
        sample: impl FnOnce(&mut dyn FnMut(Completion)) -> policy::Result<()>,
    ) -> anyhow::Result<GradedBatch> {
        let start = Instant::now();
        let (completions, jobs) = mpsc::channel::<Completion>();
        let (results, scores) = mpsc::channel::<anyhow::Result<(Graded, Duration)>>();
        let jobs = Mutex::new(jobs);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let results = results.clone();
                scope.spawn(|| self.work(&jobs, results));
            }
            drop(results);
            // A grader gives up only after it has sent its error, which is read below.
            let sampled = sample(&mut |completion| drop(completions.send(completion)));
            drop(completions);
            let sampling = start.elapsed();
            sampled?;
            let mut graded = Vec::new();
            let mut grading = Duration::ZERO;
            for result in scores {
                let (one, spent) = result?;
                grading += spent;
                graded.push(one);
            }
            graded.sort_by_key(|one| (one.completion.task, one.completion.sample));
            Ok(GradedBatch { graded, sampling, waiting: start.elapsed().saturating_sub(sampling), grading })
        })
    }

    fn work(&self, jobs: &Mutex<Receiver<Completion>>, results: Sender<anyhow::Result<(Graded, Duration)>>) {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(completion) = next else { return };
            let start = Instant::now();
            let result = self.grade(completion).map(|graded| (graded, start.elapsed()));
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
