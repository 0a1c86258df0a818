//! Asks a policy tasks, and has its answers graded while others are still being decoded.

use datasets::Task;
use policy::{Request, RolloutEngine, RolloutOptions, SamplingParams};
use rewards::RewardSet;

use super::RunContext;
use super::grade::{GradedBatch, Grader};
use super::prompt::PromptEncoder;
use crate::model::Model;
use crate::progress::Phase;

/// Most sequences decoded at once.
pub(crate) const DECODE_BATCH: usize = 256;

/// A policy that is asked the recipe's tasks.
pub(super) struct Asked<'a> {
    model: &'a Model,
    encoder: PromptEncoder<'a>,
    engine: RolloutEngine,
    options: RolloutOptions,
    threads: usize,
}

/// By what answers are graded.
pub(super) struct Grading<'a> {
    pub(super) rewards: &'a RewardSet,
    /// The tasks that requests number.
    pub(super) tasks: &'a [Task],
    /// Whether answers vote.
    pub(super) votes: bool,
}

impl<'a> Asked<'a> {
    /// With random numbers of their own for each `key`.
    pub(super) fn new(context: &'a RunContext<'_>, model: &'a Model, key: u32) -> anyhow::Result<Self> {
        Ok(Asked {
            model,
            encoder: PromptEncoder::of_tasks(&model.tokenizer, &context.recipe.tasks)?,
            engine: RolloutEngine::new(&model.policy)?,
            options: RolloutOptions {
                seed: context.recipe.seed,
                step: key,
                end_of_text: model.tokenizer.end_ids().to_vec(),
                batch: DECODE_BATCH,
            },
            threads: context.threads,
        })
    }

    /// For `samples` answers to each task; they are numbered from `first` on.
    pub(super) fn requests(&self, tasks: &[Task], first: usize, samples: u32) -> anyhow::Result<Vec<Request>> {
        let request = |(task, asked): (usize, &Task)| {
            Ok(Request { task: task as u32, prompt: self.encoder.ask(asked)?, samples })
        };
        (first..).zip(tasks).map(request).collect()
    }

    /// The graded answers to requests that ask for as many each; `phase` counts them.
    pub(super) fn graded(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        grading: &Grading<'_>,
        phase: &Phase,
    ) -> anyhow::Result<GradedBatch> {
        let &Grading { rewards, tasks, votes } = grading;
        let (tokenizer, opening, threads) = (&self.model.tokenizer, self.encoder.opening(), self.threads);
        let grader = Grader { rewards, tokenizer, tasks, opening, votes, threads };
        let samples = requests.first().map_or(1, |request| request.samples);
        grader.while_sampling(samples, |finish| {
            self.engine.generate(requests, params, &self.options, |completion| {
                phase.inc(1);
                finish(completion);
            })
        })
    }
}
