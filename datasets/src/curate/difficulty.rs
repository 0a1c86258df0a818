//! `difficulty`: how often a policy fails a task, from saved completions or from new ones.
//!
//! Completions are JSON Lines with `task` (the task's id), and `completion` (graded here) or `right` or `score`. New ones
//! are appended to a file in the job's folder `completions` as they are made, each with its task and its sample, so that a
//! job that was stopped goes on with what is left. The file's name is a hash of all that decides what an attempt says: the
//! policy's content, the prompt's template, the sampling, the seed ([`made_by`]). So attempts of another policy, of this one
//! before it was trained further, or under other settings, are never taken for this one's. How many samples are asked for is
//! not among it: more of them are the same ones and some besides.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use rayon::prelude::*;
use rewards::RewardSet;
use serde_json::{Value, json};

use super::FORMAT;
use super::files::{create, hash_text};
use super::frame::{to_frame, to_tasks};
use super::job::Difficulty;
use super::work::{Verdict, Work, each_part};
use crate::error::DatasetError;
use crate::task::{Domain, Task};

/// Attempts that are asked for at once: enough that a policy is seldom waited for by few of them at the end, and what a wish
/// to stop waits for.
const ATTEMPTS_AT_ONCE: usize = 1_024;

/// The folder of what policies wrote, in the job's.
const FOLDER: &str = "completions";

/// What is known of one task's attempts: those that are judged, and texts that are not yet.
#[derive(Default)]
struct Attempts {
    right: usize,
    judged: usize,
    texts: Vec<String>,
}

impl Attempts {
    fn count(&self) -> usize {
        self.judged + self.texts.len()
    }
}

/// What a policy wrote to each task, by the task's id and by sample.
type Made = HashMap<String, Vec<Option<String>>>;

/// The name of the file of a policy's attempts: a hash of all that decides what they say. `policy` is that of its content.
fn made_by(step: &Difficulty, policy: &str, seed: u64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let settings = (step.template, &step.system_prompt, step.max_new_tokens, step.temperature);
    hash_text(&json!([FORMAT, version, policy, seed, settings]).to_string())
}

/// `policy` is the hash of its content, if one is to be asked.
pub(super) fn run(
    step: &Difficulty,
    policy: Option<&str>,
    work: &mut Work<'_>,
    folder: &Path,
) -> Result<(), DatasetError> {
    let mut attempts: HashMap<String, Attempts> = HashMap::new();
    if let Some(path) = &step.completions {
        read(path, &mut attempts)?;
    }
    if let Some(policy) = policy {
        let folder = folder.join(FOLDER);
        create(&folder)?;
        let path = folder.join(format!("{}.jsonl", made_by(step, policy, work.seed)));
        let mut made = if path.exists() { read_made(&path, step.samples)? } else { Made::new() };
        make_missing(step, work, &attempts, &mut made, &path)?;
        // Attempts of two policies make no rate: where too few are saved, the policy's own count alone.
        made.retain(|task, _| !enough(step, &attempts, task));
        for (task, samples) in made {
            attempts.insert(task, Attempts { texts: samples.into_iter().flatten().collect(), ..Attempts::default() });
        }
    }
    let known = attempts.len();
    let programs = any_program(work)?;
    let rewards = work.host.rewards(programs)?;
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
    let breakdown = rewards.score(&task.sample(completion)).map_err(DatasetError::host)?;
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

/// Whether so many attempts at a task are saved that no policy needs to be asked.
fn enough(step: &Difficulty, attempts: &HashMap<String, Attempts>, task: &str) -> bool {
    attempts.get(task).is_some_and(|known| known.count() >= step.samples)
}

/// Each line of a file that is not blank, with its number from 1.
fn each_line(path: &Path, mut take: impl FnMut(usize, &[u8]) -> Result<(), DatasetError>) -> Result<(), DatasetError> {
    let error = |source| DatasetError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.map_err(error)?;
        if !line.trim_ascii().is_empty() {
            take(number + 1, &line)?;
        }
    }
    Ok(())
}

/// Reads completions that somebody saved.
fn read(path: &Path, attempts: &mut HashMap<String, Attempts>) -> Result<(), DatasetError> {
    each_line(path, |line, text| {
        let bad = |what: String| DatasetError::BadLine { path: path.to_owned(), place: "line", line, what };
        let row: Value = serde_json::from_slice(text).map_err(|error| bad(format!("malformed JSON: {error}")))?;
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
        Ok(())
    })
}

/// Reads the first `samples` attempts at each task that this step made before. A line that was being written when the process
/// was killed is none.
fn read_made(path: &Path, samples: usize) -> Result<Made, DatasetError> {
    let mut made = Made::new();
    each_line(path, |_, text| {
        let row: Value = serde_json::from_slice(text).unwrap_or_default();
        let sample = row["sample"].as_u64().and_then(|sample| usize::try_from(sample).ok());
        if let (Some(task), Some(sample), Some(text)) = (row["task"].as_str(), sample, row["completion"].as_str()) {
            put(&mut made, samples, task, sample, || text.to_owned());
        }
        Ok(())
    })?;
    Ok(made)
}

/// Notes an attempt, unless it is known or not asked for. Says whether it was new.
fn put(made: &mut Made, samples: usize, task: &str, sample: usize, text: impl FnOnce() -> String) -> bool {
    let known = made.entry(task.to_owned()).or_insert_with(|| vec![None; samples]);
    let Some(place @ None) = known.get_mut(sample) else { return false };
    *place = Some(text());
    true
}

/// The tasks of a part that the policy has to attempt, with their rows.
fn missing(
    step: &Difficulty,
    work: &Work<'_>,
    index: usize,
    attempts: &HashMap<String, Attempts>,
    made: &Made,
) -> Result<Vec<(usize, Task)>, DatasetError> {
    let whole = |task: &str| made.get(task).is_some_and(|samples| samples.iter().all(Option::is_some));
    let mut wanted = HashSet::new();
    let tasks = to_tasks(&work.input.read(index)?)?.into_iter().enumerate();
    Ok(tasks
        .filter(|(_, task)| !enough(step, attempts, &task.id) && !whole(&task.id) && wanted.insert(task.id.clone()))
        .collect())
}

/// Has the policy attempt what is not attempted yet, and appends what it writes to the file at `path` as it is written.
fn make_missing(
    step: &Difficulty,
    work: &Work<'_>,
    attempts: &HashMap<String, Attempts>,
    made: &mut Made,
    path: &Path,
) -> Result<(), DatasetError> {
    let stopped = || if work.host.stop_requested() { Err(DatasetError::Stopped) } else { Ok(()) };
    // What cannot be asked is said before the first is asked.
    for index in 0..work.input.len() {
        stopped()?;
        let tasks: Vec<Task> = missing(step, work, index, attempts, made)?.into_iter().map(|(_, task)| task).collect();
        if !tasks.is_empty() {
            work.host.check_attempts(step, &tasks)?;
        }
    }
    let write_error = |source| DatasetError::Write { path: path.to_owned(), source };
    let mut file = File::options().create(true).append(true).open(path).map_err(write_error)?;
    // After half a line of a killed process, a line of our own begins.
    file.write_all(b"\n").map_err(write_error)?;
    for (index, start) in work.input.starts().into_iter().enumerate() {
        let missing = missing(step, work, index, attempts, made)?;
        for some in missing.chunks((ATTEMPTS_AT_ONCE / step.samples).max(1)) {
            stopped()?;
            let tasks: Vec<Task> = some.iter().map(|(_, task)| task.clone()).collect();
            let mut written = Ok(());
            let outcome = work.host.attempts(step, &tasks, work.seed, &mut |place, sample, text| {
                let task = &tasks[place].id;
                let line = json!({ "task": task, "sample": sample, "completion": text }).to_string() + "\n";
                if put(made, step.samples, task, sample, || text) && written.is_ok() {
                    written = file.write_all(line.as_bytes());
                }
            });
            written.map_err(write_error)?;
            outcome?;
            let (last, _) = some[some.len() - 1];
            work.host.progress((start + last + 1) as u64);
        }
        work.host.progress((start + work.input.heights()[index]) as u64);
    }
    Ok(())
}
