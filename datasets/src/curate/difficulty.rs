//! `difficulty`: how often a policy fails a task, from saved completions or from new ones.
//!
//! Completions are JSON Lines with `task` (the task's id), and `completion` (graded here) or `right` or `score`. New ones
//! are appended to `completions.jsonl` in the job's folder as they are made, so that a job that was stopped goes on with
//! the tasks that are left.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use rayon::prelude::*;
use rewards::RewardSet;
use serde_json::{Value, json};

use super::frame::{to_frame, to_tasks};
use super::job::Difficulty;
use super::work::{Verdict, Work, each_part};
use crate::error::DatasetError;
use crate::task::{Domain, Task};

/// Tasks that are attempted at once: what is lost at most when a job is stopped.
const TASKS_AT_ONCE: usize = 64;

/// What is known of one task's attempts: those that are judged, and texts that are not yet.
#[derive(Default)]
struct Attempts {
    right: usize,
    judged: usize,
    texts: Vec<String>,
}

pub(super) fn run(step: &Difficulty, work: &mut Work<'_>, folder: &Path) -> Result<(), DatasetError> {
    let mut attempts: HashMap<String, Attempts> = HashMap::new();
    if let Some(path) = &step.completions {
        read(path, &mut attempts, false)?;
    }
    if step.model.is_some() {
        let path = folder.join("completions.jsonl");
        if path.exists() {
            read(&path, &mut attempts, true)?;
        }
        attempt_missing(step, work, &mut attempts, &path)?;
    }
    let known = attempts.len();
    let programs = any_program(work)?;
    let rewards = work.host.rewards(programs).map_err(|what| DatasetError::Host { what })?;
    let mut measured = 0_u64;
    let (low, high) = step.keep;
    let judged = |task: &mut Task| -> Result<Verdict, DatasetError> {
        let Some(attempts) = attempts.get(&task.id) else {
            let keep = step.keep_unmeasured;
            return Ok(if keep { Verdict::Keep } else { Verdict::drop("not measured", "no completion names it") });
        };
        let (mut right, mut count) = (attempts.right, attempts.judged);
        for text in &attempts.texts {
            if let Some(verdict) = grade(&rewards, task, text)? {
                right += usize::from(verdict);
                count += 1;
            }
        }
        if count == 0 {
            return Ok(Verdict::drop("not measured", "no attempt could be judged"));
        }
        let rate = right as f64 / count as f64;
        task.difficulty = Some(1.0 - rate);
        task.extra.insert("attempts".to_owned(), json!(count));
        let detail = format!("{right} of {count} right");
        Ok(if rate > high {
            Verdict::drop("too easy", detail)
        } else if rate < low {
            Verdict::drop("too hard", detail)
        } else {
            Verdict::Keep
        })
    };
    let (input, host) = (work.input, work.host);
    each_part(
        input,
        host,
        &[],
        |_, frame| {
            let mut tasks = to_tasks(&frame)?;
            let verdicts = tasks.par_iter_mut().map(&judged).collect::<Result<Vec<_>, _>>()?;
            let count = tasks.iter().filter(|task| task.extra.contains_key("attempts")).count();
            Ok((to_frame(&tasks)?, verdicts, count))
        },
        |index, (frame, verdicts, count)| {
            measured += count as u64;
            work.put(index, &frame, &verdicts)
        },
    )?;
    work.tally.marked.insert("measured".to_owned(), measured);
    if measured == 0 && known > 0 {
        work.tally.notes.push(format!("none of the {known} tasks that have completions is among the rows"));
    }
    Ok(())
}

fn grade(rewards: &RewardSet, task: &Task, completion: &str) -> Result<Option<bool>, DatasetError> {
    let breakdown =
        rewards.score(&task.sample(completion)).map_err(|error| DatasetError::Host { what: error.to_string() })?;
    Ok(breakdown.total.map(|total| total >= 1.0))
}

fn any_program(work: &Work<'_>) -> Result<bool, DatasetError> {
    for index in 0..work.input.len() {
        let frame = work.input.read_columns(index, &["domain"])?;
        if super::frame::text(&frame, "domain")?.iter().flatten().any(|domain| domain == Domain::Code.name()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads completions. A last line that was cut off is left out where the file is our own: it was being written.
fn read(path: &Path, attempts: &mut HashMap<String, Attempts>, own: bool) -> Result<(), DatasetError> {
    let file = File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        if line.trim().is_empty() {
            continue;
        }
        let bad = |what: String| DatasetError::BadLine { path: path.to_owned(), place: "line", line: number + 1, what };
        let row: Value = match serde_json::from_str(&line) {
            Ok(row) => row,
            Err(_) if own => continue,
            Err(error) => return Err(bad(format!("malformed JSON: {error}"))),
        };
        let Some(task) = row.get("task").or_else(|| row.get("id")).and_then(Value::as_str) else {
            return Err(bad("expected `task` (the id of a task) and `completion`, `right` or `score`".to_owned()));
        };
        let entry = attempts.entry(task.to_owned()).or_default();
        let right = row.get("right").and_then(Value::as_bool);
        let score = row.get("score").and_then(Value::as_f64);
        match (right.or_else(|| score.map(|score| score >= 1.0)), row.get("completion").and_then(Value::as_str)) {
            (Some(right), _) => {
                entry.judged += 1;
                entry.right += usize::from(right);
            }
            (None, Some(completion)) => entry.texts.push(completion.to_owned()),
            (None, None) => {
                return Err(bad("expected `completion`, `right` or `score` beside `task`".to_owned()));
            }
        }
    }
    Ok(())
}

/// Lets the policy attempt what has fewer attempts than asked for.
fn attempt_missing(
    step: &Difficulty,
    work: &Work<'_>,
    attempts: &mut HashMap<String, Attempts>,
    path: &Path,
) -> Result<(), DatasetError> {
    let write_error = |source| DatasetError::Write { path: path.to_owned(), source };
    let mut file = File::options().create(true).append(true).open(path).map_err(write_error)?;
    // After half a line of a killed process, a line of our own begins.
    file.write_all(b"\n").map_err(write_error)?;
    let mut done = 0;
    for index in 0..work.input.len() {
        let tasks = to_tasks(&work.input.read(index)?)?;
        done += tasks.len() as u64;
        let enough =
            |task: &Task| attempts.get(&task.id).is_some_and(|known| known.judged + known.texts.len() >= step.samples);
        let missing: Vec<Task> = tasks.into_iter().filter(|task| !enough(task)).collect();
        for some in missing.chunks(TASKS_AT_ONCE) {
            if work.host.stop_requested() {
                return Err(DatasetError::Stopped);
            }
            let made = work.host.attempts(step, some, work.seed).map_err(|what| DatasetError::Host { what })?;
            let mut lines = String::new();
            for (task, texts) in some.iter().zip(made) {
                // A task that was cut off in the middle is attempted anew as a whole.
                let entry = attempts.entry(task.id.clone()).or_default();
                *entry = Attempts::default();
                for (sample, completion) in texts.into_iter().enumerate() {
                    let row = json!({ "task": task.id, "sample": sample, "completion": completion });
                    lines.push_str(&row.to_string());
                    lines.push('\n');
                    entry.texts.push(completion);
                }
            }
            file.write_all(lines.as_bytes()).and_then(|()| file.flush()).map_err(write_error)?;
        }
        work.host.progress(done);
    }
    Ok(())
}
