//! Examines a policy on held-out tasks: pass@1 of sampled answers, of the likeliest answer, and of the majority's.
//!
//! Tasks are asked some at a time, so that an examination can be stopped between them. Nothing of one that was stopped is
//! kept: the resumed run begins it anew, and since an answer depends on its task and its number alone, to the same figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use policy::{Request, SamplingParams};

use super::ask::{Asked, DECODE_BATCH, Grading};
use super::bench::Bench;
use super::grade::Graded;
use super::passes::Passes;
use super::start;
use super::{Ended, RunContext};
use crate::answers::{Answers, powers};
use crate::config::{JUDGES, Stage};
use crate::metrics::{Estimate, EvalMetrics, FamilyEval, MetricRow, Times};
use crate::model::Model;
use crate::run::StageRecord;

use datasets::Task;

/// Stands where training has its step in the random numbers' key: evaluations of one seed draw alike.
const EVALUATION: u32 = u32::MAX;
/// Answers that are asked for at once. A batch that is not full at the end of them costs a little; the next one is looked
/// at for being stopped before.
const ASKED_AT_ONCE: usize = 8 * DECODE_BATCH;
/// Completions of each family that are kept for people to read.
const KEPT_COMPLETIONS: usize = 24;

/// How much is measured.
pub(super) struct Examination {
    /// Of each family or file.
    pub(super) tasks: usize,
    /// Those before them are left for others to ask.
    pub(super) skipped: usize,
    pub(super) samples: u32,
    pub(super) sampling: SamplingParams,
    pub(super) greedy: bool,
    /// Whether it ends where the run is asked to stop.
    pub(super) can_stop: bool,
}

/// Figures, and the sampled completions they come from.
pub(super) struct Examined {
    pub(super) metrics: EvalMetrics,
    pub(super) tasks: Vec<Task>,
    pub(super) graded: Vec<Graded>,
    pub(super) tokens: u64,
    pub(super) passes: Passes,
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    bench: &Bench,
    stage: &Stage,
    rl_steps: u64,
    folder: &Path,
) -> anyhow::Result<Ended> {
    if context.interrupt.requested() {
        return Ok(Ended::Interrupted(StageRecord::of(stage)));
    }
    let start = Instant::now();
    let settings = &context.recipe.eval;
    let model = start::load(context, folder)?;
    let examination = Examination {
        tasks: settings.tasks_per_family,
        skipped: 0,
        samples: settings.samples as u32,
        sampling: context.recipe.eval_sampling(),
        greedy: true,
        can_stop: true,
    };
    context.run.restart(&stage.name)?;
    let awaiting = context.interrupt.awaiting("the answers at hand are there; the examination is begun anew");
    let Some(mut examined) = examine(context, bench, &model, &examination, &stage.name)? else {
        return Ok(Ended::Interrupted(StageRecord::of(stage)));
    };
    drop(awaiting);
    (examined.metrics.stage, examined.metrics.step) = (stage.name.clone(), rl_steps);
    let mut kept = BTreeMap::<&str, usize>::new();
    let records: Vec<_> = examined
        .graded
        .iter()
        .map(|graded| (graded, &examined.tasks[graded.completion.task as usize]))
        .filter(|(graded, task)| {
            let number = kept.entry(&task.source).or_default();
            *number += 1;
            graded.completion.sample == 0 && *number <= KEPT_COMPLETIONS * examination.samples as usize
        })
        .map(|(graded, task)| graded.record(task, None))
        .collect();
    context.run.write_completions(&stage.name, rl_steps, &records)?;
    let (_, active) = model.policy.config().parameters();
    context.run.push_metrics(&MetricRow::Eval(examined.metrics))?;
    context.run.finish_stage(StageRecord {
        sampled_tokens: examined.tokens,
        seconds: start.elapsed().as_secs_f64(),
        flops: examined.passes.flops(active),
        ..StageRecord::of(stage)
    })?;
    Ok(Ended::Done(folder.to_owned()))
}

/// Samples and grades; the caller names the stage and step in the figures. None if it was stopped.
pub(super) fn examine(
    context: &RunContext<'_>,
    bench: &Bench,
    model: &Model,
    examination: &Examination,
    name: &str,
) -> anyhow::Result<Option<Examined>> {
    let start = Instant::now();
    let tasks = bench.tasks.held_out_after(examination.skipped, examination.tasks)?;
    anyhow::ensure!(
        !tasks.is_empty(),
        "there is no held-out task to examine the policy on\n  hint: raise tasks.held_out_share"
    );
    let asked = Asked::new(context, model, EVALUATION)?;
    let sampled = asked.requests(&tasks, 0, examination.samples)?;
    let total = tasks.len() as u64 * (u64::from(examination.samples) + u64::from(examination.greedy));
    let phase = context.reporter.phase(&format!("evaluation `{name}`"), Some(total), "answers");
    let grading = Grading { rewards: &bench.verdict, tasks: &tasks, votes: examination.samples > 1 };
    let mut sampling = Duration::ZERO;
    // All answers to these requests, in order; none if it was stopped.
    let mut answer = |requests: &[Request], params: &SamplingParams| -> anyhow::Result<Option<Vec<Graded>>> {
        let samples = requests[0].samples;
        let mut graded = Vec::new();
        for requests in requests.chunks((ASKED_AT_ONCE / samples as usize).max(1)) {
            if examination.can_stop && context.interrupt.requested() {
                return Ok(None);
            }
            let batch = asked.graded(requests, params, &grading, &phase)?;
            sampling += batch.sampling;
            graded.extend(batch.graded);
        }
        Ok(Some(graded))
    };
    let Some(drawn) = answer(&sampled, &examination.sampling)? else { return Ok(None) };
    let greedy = if examination.greedy {
        let requests: Vec<Request> = sampled.iter().map(|request| Request { samples: 1, ..request.clone() }).collect();
        let likeliest = SamplingParams { temperature: 0.0, ..examination.sampling.clone() };
        let Some(greedy) = answer(&requests, &likeliest)? else { return Ok(None) };
        Some(greedy)
    } else {
        None
    };

    let families = summarise(&tasks, &drawn, greedy.as_deref());
    let all = drawn.iter().chain(greedy.iter().flatten());
    let tokens = all.map(|graded| graded.completion.token_ids.len() as u64).sum();
    let prompts: u64 = sampled.iter().map(|request| request.prompt.len() as u64).sum();
    let passes = Passes::forward(tokens + prompts * (1 + u64::from(examination.greedy)));
    let mut time = Times { seconds: start.elapsed().as_secs_f64(), ..Times::default() };
    time.add("sampling", sampling.as_secs_f64(), tokens);
    let metrics = EvalMetrics { families, time, ..EvalMetrics::default() };
    let result = metrics.families.iter().map(|(name, family)| format!("{name} {:.1}%", family.sampled.mean * 100.0));
    phase.finish(&format!("pass@1 {}", result.collect::<Vec<_>>().join(", ")));
    Ok(Some(Examined { metrics, tasks, graded: drawn, tokens, passes }))
}

/// The figures of each family. A task with a reference that cannot be used counts for nothing but itself.
fn summarise(tasks: &[Task], sampled: &[Graded], greedy: Option<&[Graded]>) -> BTreeMap<String, FamilyEval> {
    #[derive(Default)]
    struct Sums {
        answers: Vec<Answers>,
        greedy: f64,
        tokens: usize,
        completions: usize,
        samples: usize,
        unscorable: u64,
        /// The sum and number of whole rewards.
        reward: (f64, usize),
        /// The sum and number of each other reward's scores.
        rewards: BTreeMap<String, (f64, usize)>,
    }
    let mut families = BTreeMap::<String, Sums>::new();
    for group in sampled.chunk_by(|a, b| a.completion.task == b.completion.task) {
        let index = group[0].completion.task as usize;
        let sums = families.entry(tasks[index].source.clone()).or_default();
        sums.samples = sums.samples.max(group.len());
        sums.tokens += group.iter().map(|graded| graded.completion.token_ids.len()).sum::<usize>();
        sums.completions += group.len();
        for total in group.iter().filter_map(|graded| graded.breakdown.total) {
            sums.reward = (sums.reward.0 + total, sums.reward.1 + 1);
        }
        for component in group.iter().flat_map(|graded| &graded.breakdown.components) {
            if let (Some(value), false) = (component.score.value, JUDGES.contains(&component.name.as_str())) {
                let sum = sums.rewards.entry(component.name.clone()).or_default();
                *sum = (sum.0 + value, sum.1 + 1);
            }
        }
        let right: Option<Vec<bool>> = group.iter().map(Graded::right).collect();
        let Some(right) = right else {
            sums.unscorable += 1;
            continue;
        };
        sums.answers.push(Answers { right, votes: group.iter().map(|graded| graded.vote.clone()).collect() });
        if let Some(greedy) = greedy.and_then(|greedy| greedy.get(index)) {
            sums.greedy += f64::from(u8::from(greedy.right() == Some(true)));
        }
    }
    let finish = |sums: Sums| {
        let tasks = sums.answers.len() as f64;
        let shares: Vec<f64> = sums.answers.iter().map(Answers::share).collect();
        let by_k = |of: &dyn Fn(&Answers, usize) -> f64| -> Vec<(usize, f64)> {
            let ks = if tasks > 0.0 { powers(sums.samples) } else { Vec::new() };
            ks.into_iter().map(|k| (k, sums.answers.iter().map(|one| of(one, k)).sum::<f64>() / tasks)).collect()
        };
        let majority_at = by_k(&Answers::majority_at);
        FamilyEval {
            tasks: sums.answers.len() as u64,
            samples: sums.samples as u64,
            sampled: Estimate::over_tasks(&shares),
            greedy: (greedy.is_some() && tasks > 0.0).then(|| sums.greedy / tasks),
            majority: majority_at.last().map(|(_, share)| *share).filter(|_| sums.samples > 1),
            pass_at: by_k(&Answers::pass_at),
            majority_at,
            reward: (sums.reward.1 > 0).then(|| sums.reward.0 / sums.reward.1 as f64),
            rewards: sums.rewards.into_iter().map(|(name, (sum, count))| (name, sum / count as f64)).collect(),
            mean_length: sums.tokens as f64 / sums.completions.max(1) as f64,
            unscorable: sums.unscorable,
        }
    };
    families.into_iter().map(|(name, sums)| (name, finish(sums))).collect()
}
