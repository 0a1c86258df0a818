//! What a step samples: groups of completions of its tasks, graded; with dynamic sampling, of as many further tasks as it
//! takes.
//!
//! Dynamic sampling (Yu et al., "DAPO", 2025, section 3.2): a group whose rewards are all equal teaches nothing. It is
//! dropped, and as many further tasks are sampled as groups are missing, in up to `refill_rounds` rounds. Deviations from
//! the paper: there a round samples a full batch again and what is too much of it is thrown away; here nothing is, and a
//! step that comes to the end of its rounds learns from what it has. There a group is dropped if all or none of its answers
//! are right; here if its total rewards are all equal, whatever they are made of.

use std::ops::Range;
use std::time::Duration;

use datasets::Task;
use policy::Request;
use policy::grpo::is_flat;
use rewards::Printed;

use super::super::RunContext;
use super::super::ask::{Asked, Grading};
use super::super::bench::Bench;
use super::super::grade::Graded;
use super::Learner;

/// A step's tasks and completions.
#[derive(Default)]
pub(super) struct Rollout {
    /// In the order of their positions; completions number them.
    pub(super) tasks: Vec<Task>,
    /// Each task's prompt.
    pub(super) requests: Vec<Request>,
    /// In the order of (task, sample).
    pub(super) graded: Vec<Graded>,
    /// Whether groups that teach nothing are dropped.
    pub(super) drops_flat: bool,
    /// Rounds beyond the first.
    pub(super) refills: u64,
    pub(super) sampling: Duration,
    pub(super) waiting: Duration,
    pub(super) grading: Duration,
    /// What rewards printed.
    pub(super) printed: Vec<Printed>,
}

impl Rollout {
    /// The completions, task by task.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[Graded]> {
        self.graded.chunk_by(|a, b| a.completion.task == b.completion.task)
    }

    /// The groups that are learned from, as ranges of the completions.
    pub(super) fn learned(&self) -> Vec<Range<usize>> {
        let mut end = 0;
        let ranges = self.groups().filter_map(|group| {
            let range = end..end + group.len();
            end = range.end;
            (!self.drops_flat || !is_flat(&rewards(group))).then_some(range)
        });
        ranges.collect()
    }
}

/// A group's rewards; none where a completion could not be scored.
pub(super) fn rewards(group: &[Graded]) -> Vec<Option<f64>> {
    group.iter().map(|graded| graded.breakdown.total).collect()
}

impl Learner<'_> {
    /// Samples and grades a step's completions; its tasks are those from position `first` on.
    pub(super) fn sample(
        &self,
        context: &RunContext<'_>,
        bench: &Bench,
        step: u64,
        first: u64,
    ) -> anyhow::Result<Rollout> {
        let settings = self.settings;
        let samples = settings.group_size as u32;
        let asked = Asked::new(context, &self.trainer.model, self.draws.key(step))?;
        let mut rollout = Rollout { drops_flat: settings.refill_rounds > 0, ..Rollout::default() };
        let mut missing = settings.prompts_per_step;
        loop {
            let known = rollout.tasks.len();
            rollout.tasks.extend((known..known + missing).map(|task| bench.tasks.training(first + task as u64)));
            let requests = asked.requests(&rollout.tasks[known..], known, samples)?;
            let name = if rollout.refills == 0 { "sampling" } else { "sampling further tasks" };
            let phase = context.reporter.inner_phase(name, Some(missing as u64 * u64::from(samples)), "answers");
            let grading = Grading { rewards: &bench.rewards, tasks: &rollout.tasks, votes: false };
            let batch = asked.graded(&requests, &settings.sampling(), &grading, &phase)?;
            rollout.requests.extend(requests);
            rollout.graded.extend(batch.graded);
            rollout.sampling += batch.sampling;
            rollout.waiting += batch.waiting;
            rollout.grading += batch.grading;
            rollout.printed.extend(batch.printed);
            missing = settings.prompts_per_step - rollout.learned().len();
            if missing == 0 || rollout.refills == settings.refill_rounds as u64 {
                return Ok(rollout);
            }
            rollout.refills += 1;
        }
    }
}
