//! Rejection sampling: several answers to each task, of which the right and readable ones are kept as demonstrations.
//!
//! DeepSeek-R1, section 2.3.3: reasoning data is sampled from the policy of the stage before, and only right answers that
//! are not in mixed languages are kept. An answer is kept here if it ends by itself, is right, has enough tokens, reaches
//! what `require` asks of the recipe's rewards (format, one language, no repetition), and was not given before to the same
//! task; of each task at most `keep`. The first reason that applies is counted.
//!
//! Each step's part is written whole, so that a stage that was stopped goes on after its last step to the same data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use datasets::{Message, Task};
use serde::Serialize;

use super::ask::{Asked, Grading};
use super::bench::Bench;
use super::draws::Draws;
use super::grade::Graded;
use super::passes::Passes;
use super::prompt::conversation;
use super::start::Refused;
use super::tasks::Tasks;
use super::{Ended, RunContext};
use crate::config::{RejectStage, Stage, TaskSettings};
use crate::hash::sha256;
use crate::metrics::{MetricRow, RejectMetrics, Times, mean};
use crate::model::Model;
use crate::run::{StageRecord, write_whole};
use crate::wording::counted;

/// Among so many training tasks for each that is wanted, different ones are looked for.
const LOOK_AHEAD: u64 = 20;

/// A kept answer, as it is written: with the question in R1-Zero's template, with the whole conversation where it was asked in
/// a chat template.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    source: &'a str,
    task: &'a str,
    tokens: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Pair { prompt: &'a str, response: &'a str },
    Conversation { messages: Vec<Message> },
}

impl<'a> Shown<'a> {
    fn of(settings: &TaskSettings, task: &'a Task, response: &'a str) -> Shown<'a> {
        match conversation(settings, task) {
            None => Shown::Pair { prompt: &task.prompt, response },
            Some(mut messages) => {
                messages.push(Message { role: "assistant".to_owned(), content: response.to_owned() });
                Shown::Conversation { messages }
            }
        }
    }
}

/// What became of the answers of one step.
#[derive(Default)]
struct Sorted {
    lines: Vec<u8>,
    kept: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    pass_rates: BTreeMap<String, Vec<f64>>,
    sampled_tokens: u64,
    answers: u64,
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    bench: &Bench,
    draws: Draws,
    stage: &Stage,
    sampling: &RejectStage,
    from: &Path,
) -> anyhow::Result<Ended> {
    let settings = &sampling.settings;
    let data = context.run.data(&stage.name);
    if let Some(record) = context.run.stages_done()?.into_iter().find(|record| record.name == stage.name) {
        if std::fs::read(&data).is_ok_and(|lines| record.data.is_none_or(|hash| hash == sha256(&lines))) {
            return Ok(Ended::Done(from.to_owned()));
        }
        let path = data.display();
        context.reporter.note(&format!("{path} is damaged or gone: it is put together again from its parts"));
    }
    let (tasks, _) = different_tasks(&bench.tasks, draws.first, settings.tasks);
    if tasks.len() < settings.tasks {
        let found = counted(tasks.len(), "different task", "different tasks");
        context.reporter.note(&format!("{}: {found} where {} were asked for", stage.name, settings.tasks));
    }
    let steps: Vec<&[Task]> = tasks.chunks(settings.tasks_per_step).collect();
    let done = steps_done(context, stage)?;
    context.run.rewind(&stage.name, done)?;
    if done > 0 {
        context.reporter.note(&format!("{}: going on after step {done}", stage.name));
    }
    let model = Model::load(from, &context.place)?;
    let phase = context.reporter.phase(&stage.name, Some(steps.len() as u64), "steps");
    phase.set_position(done);
    for (step, tasks) in (1..).zip(&steps).skip(done as usize) {
        if context.interrupt.requested() {
            return Ok(Ended::Interrupted(record(context, stage, &model, step - 1)?));
        }
        let start = Instant::now();
        let (graded, prompt_tokens) = sample(context, bench, &model, sampling, tasks, draws.key(step))?;
        let sorted = sort(tasks, &graded, sampling, &context.recipe.tasks)?;
        let records: Vec<_> =
            graded.iter().map(|graded| graded.record(&tasks[graded.completion.task as usize], None)).collect();
        context.run.write_completions(&stage.name, step, &records)?;
        let part = part(&data, step);
        if let Some(folder) = part.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        write_whole(&part, &sorted.lines)?;
        let kept: u64 = sorted.kept.values().sum();
        phase.inc(1);
        phase.set_message(&format!("kept {kept} of {}", sorted.answers));
        let mut time = Times { seconds: start.elapsed().as_secs_f64(), ..Times::default() };
        let seconds = time.seconds;
        time.add("sampling", seconds, sorted.sampled_tokens);
        context.run.push_metrics(&MetricRow::Reject(RejectMetrics {
            stage: stage.name.clone(),
            step,
            tasks: tasks.len() as u64,
            answers: sorted.answers,
            kept: sorted.kept,
            data: Some(sha256(&sorted.lines)),
            dropped: sorted.dropped,
            pass_rate: sorted.pass_rates.into_iter().map(|(family, rates)| (family, mean(&rates))).collect(),
            prompt_tokens,
            sampled_tokens: sorted.sampled_tokens,
            time,
        }))?;
    }
    let record = record(context, stage, &model, steps.len() as u64)?;
    finish(context, record, &data, phase)?;
    Ok(Ended::Done(from.to_owned()))
}

/// The metrics of the steps that are done.
fn rows(context: &RunContext<'_>, stage: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    Ok(context.run.metrics()?.into_iter().filter(|row| row["stage"] == stage).collect())
}

fn sum(rows: &[serde_json::Value], key: &str) -> u64 {
    rows.iter().filter_map(|row| row[key].as_u64()).sum()
}

/// What has been done up to the end of step `steps`.
fn record(context: &RunContext<'_>, stage: &Stage, model: &Model, steps: u64) -> anyhow::Result<StageRecord> {
    let rows = rows(context, &stage.name)?;
    let sampled_tokens = sum(&rows, "sampled_tokens");
    let passes = Passes::forward(sum(&rows, "prompt_tokens") + sampled_tokens);
    Ok(StageRecord {
        steps,
        sampled_tokens,
        // Over all the processes that worked on it.
        seconds: rows.iter().filter_map(|row| row["time"]["seconds"].as_f64()).sum(),
        flops: passes.flops(model.policy.config().parameters().1),
        ..StageRecord::of(stage)
    })
}

/// Puts the parts together and notes that the stage is done.
fn finish(context: &mut RunContext<'_>, record: StageRecord, data: &Path, phase: crate::Phase) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for step in 1..=record.steps {
        let part = part(data, step);
        lines.extend(std::fs::read(&part).with_context(|| format!("cannot read {}", part.display()))?);
    }
    write_whole(data, &lines)?;
    let rows = rows(context, &record.name)?;
    let kept = lines.iter().filter(|byte| **byte == b'\n').count();
    let mut dropped = BTreeMap::<&str, u64>::new();
    for (reason, count) in rows.iter().filter_map(|row| row["dropped"].as_object()).flatten() {
        *dropped.entry(reason).or_default() += count.as_u64().unwrap_or(0);
    }
    let reasons: Vec<String> = dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let result = format!("kept {kept} of {} answers ({})", sum(&rows, "answers"), reasons.join(", "));
    phase.finish(&result);
    if kept == 0 {
        return Err(Refused::because(format!(
            "stage `{}` has kept no answer: {}\n  hint: the answers are in {}; a base that is hardly ever right, or a \
             `require` that it never meets, leaves nothing to learn from",
            record.name,
            reasons.join(", "),
            context.run.completions(&record.name, 1).display()
        )));
    }
    context.run.finish_stage(StageRecord { data: Some(sha256(&lines)), note: Some(format!("kept {kept}")), ..record })
}

/// Among so many training tasks `wanted` different ones are looked for.
pub(crate) fn candidate_positions(wanted: usize) -> u64 {
    (wanted as u64 * LOOK_AHEAD).max(1000)
}

/// The first training tasks from position `first` on that differ from each other, and the number of positions up to the last.
pub(super) fn different_tasks(tasks: &Tasks, first: u64, wanted: usize) -> (Vec<Task>, u64) {
    let mut seen = BTreeSet::new();
    let (mut found, mut positions) = (Vec::new(), 0);
    while found.len() < wanted && positions < candidate_positions(wanted) {
        let task = tasks.training(first + positions);
        positions += 1;
        if seen.insert(task.id.clone()) {
            found.push(task);
        }
    }
    (found, positions)
}

/// Steps whose figures and part are both there and belong together, in a row from the first.
fn steps_done(context: &RunContext<'_>, stage: &Stage) -> anyhow::Result<u64> {
    let data = context.run.data(&stage.name);
    let is_whole = |step: u64, row: &serde_json::Value| {
        // Runs of earlier versions have no hash.
        std::fs::read(part(&data, step)).is_ok_and(|lines| row["data"].is_null() || row["data"] == sha256(&lines))
    };
    let rows = rows(context, &stage.name)?;
    Ok((1..).zip(&rows).take_while(|(step, row)| is_whole(*step, row)).last().map_or(0, |(step, _)| step))
}

/// The file of one step's kept answers: `data/NAME.parts/step-000001.jsonl` beside `data/NAME.jsonl`.
fn part(data: &Path, step: u64) -> PathBuf {
    data.with_extension("parts").join(format!("step-{step:06}.jsonl"))
}

/// The graded answers to a step's tasks, and the tokens of the prompts.
fn sample(
    context: &RunContext<'_>,
    bench: &Bench,
    model: &Model,
    sampling: &RejectStage,
    tasks: &[Task],
    key: u32,
) -> anyhow::Result<(Vec<Graded>, u64)> {
    let settings = &sampling.settings;
    let samples = settings.samples as u32;
    let asked = Asked::new(context, model, key)?;
    let requests = asked.requests(tasks, 0, samples)?;
    let phase = context.reporter.inner_phase("sampling", Some(tasks.len() as u64 * u64::from(samples)), "answers");
    let grading = Grading { rewards: &bench.rewards, tasks, votes: false };
    let batch = asked.graded(&requests, &settings.sampling(), &grading, &phase)?;
    Ok((batch.graded, requests.iter().map(|request| request.prompt.len() as u64).sum()))
}

/// Keeps and drops.
fn sort(tasks: &[Task], graded: &[Graded], sampling: &RejectStage, asked: &TaskSettings) -> anyhow::Result<Sorted> {
    let settings = &sampling.settings;
    let mut sorted = Sorted::default();
    for group in graded.chunk_by(|a, b| a.completion.task == b.completion.task) {
        let task = &tasks[group[0].completion.task as usize];
        let right = group.iter().filter(|graded| graded.right() == Some(true)).count();
        let pass_rate = right as f64 / group.len() as f64;
        sorted.pass_rates.entry(task.source.clone()).or_default().push(pass_rate);
        let mut given = BTreeSet::new();
        for graded in group {
            sorted.answers += 1;
            sorted.sampled_tokens += graded.completion.token_ids.len() as u64;
            let answer = graded.text.trim();
            let mut reason = fault(graded, sampling);
            if pass_rate > settings.max_pass_rate {
                reason = Some("too easy".to_owned());
            }
            if reason.is_none() {
                // Answers that differ in nothing but white space are one.
                let words = answer.split_whitespace().collect::<Vec<_>>().join(" ");
                if given.contains(&words) {
                    reason = Some("given before".to_owned());
                } else if given.len() >= settings.keep {
                    reason = Some("more than are kept".to_owned());
                } else {
                    given.insert(words);
                }
            }
            if let Some(reason) = reason {
                *sorted.dropped.entry(reason).or_default() += 1;
                continue;
            }
            *sorted.kept.entry(task.source.clone()).or_default() += 1;
            let tokens = graded.completion.token_ids.len();
            let (source, id) = (&task.source, &task.id);
            let kept = Kept { shown: Shown::of(asked, task, answer), source, task: id, tokens };
            serde_json::to_writer(&mut sorted.lines, &kept).context("cannot write a demonstration")?;
            sorted.lines.push(b'\n');
        }
    }
    Ok(sorted)
}

/// Why an answer is not kept, whatever the others are.
fn fault(graded: &Graded, sampling: &RejectStage) -> Option<String> {
    if graded.truncated() {
        return Some("cut off".to_owned());
    }
    match graded.right() {
        None => return Some("not judged".to_owned()),
        Some(false) => return Some("wrong".to_owned()),
        Some(true) => {}
    }
    if graded.completion.token_ids.len() < sampling.settings.min_length {
        return Some("too short".to_owned());
    }
    // A reward that does not apply, or finds nothing to judge, asks nothing.
    let short = sampling.require.iter().find(|(name, least)| {
        let component = graded.breakdown.components.iter().find(|component| component.name == **name);
        component.and_then(|component| component.score.value).is_some_and(|value| value < **least)
    });
    short.map(|(name, _)| format!("below {name}"))
}
