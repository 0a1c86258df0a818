//! Curation: from raw problem sets to training data, as a job of named steps.
//!
//! A step reads the rows that the step before it left, and leaves rows of its own: a folder of Parquet parts under the hash
//! of all that made them ([`Step`], seed, the files read, the step before). So a job that was killed goes on after its last
//! finished step, and a job that was changed in one step repeats nothing before it. Whatever is not finished lies under a
//! name that ends in `.partial`, and is removed when the job goes on.
//!
//! | file | what it holds |
//! |---|---|
//! | `job` | the steps and their parameters, as validated |
//! | `work` | what every step works with: rows in and out, verdicts, the tally |
//! | `parts`, `frame` | rows on disk, and tasks as data frames |
//! | `text` | prompts as words, runs of words, similarity |
//! | `load`, `map`, `filter`, `dedup/`, `decontaminate`, `verify`, `difficulty`, `mix`, `write` | the steps |
//! | `expression` | conditions on rows |
//! | `stats` | what a set of tasks is like |

mod decontaminate;
mod dedup;
mod difficulty;
mod expression;
mod filter;
mod frame;
mod job;
mod load;
mod map;
mod mix;
mod parts;
mod stats;
mod text;
mod verify;
mod work;
mod write;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polars::prelude::DataFrame;
use rewards::RewardSet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DatasetError;
use crate::source::{hash_file, hex};
use crate::task::Task;
pub use expression::Expression;
pub use filter::LANGUAGES;
pub use job::{
    Decontaminate, Dedup, Difficulty, EvaluationSet, FamilySource, FileSource, Filter, Group, Job, Load, Map, Mix,
    MixBy, NamedStep, Sample, Shares, Source, Step, Verify, Write,
};
pub use stats::{Histogram, Stats};
pub use work::Tally;
pub use write::{check_name, row, write_tasks};

use parts::Parts;
use work::Work;

/// What makes rows changes its meaning with this number: results of older programs are not taken again.
const FORMAT: u32 = 2;

/// Examples that are kept of each reason, and of what stays.
const EXAMPLES: usize = 3;

/// What a job asks of its surroundings.
pub trait Host: Sync {
    /// The verifier of references. Python is needed only where `programs` are among them.
    ///
    /// # Errors
    /// What a person should read, if it cannot be made.
    fn rewards(&self, programs: bool) -> Result<Arc<RewardSet>, String>;

    /// A policy's attempts at each task.
    ///
    /// # Errors
    /// What a person should read, if there is no such policy or it fails.
    fn attempts(&self, step: &Difficulty, tasks: &[Task], seed: u64) -> Result<Vec<Vec<String>>, String>;

    /// A step begins: its place from 1, of how many, and how many rows come in.
    fn step_started(&self, place: usize, of: usize, step: &NamedStep, rows: u64);

    /// So many rows of the step are done.
    fn progress(&self, rows: u64);

    /// A step is done.
    fn step_finished(&self, outcome: &StepOutcome);

    /// Whether the job should stop where nothing is lost.
    fn stop_requested(&self) -> bool;
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutcome {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Counts and reasons.
    pub tally: Tally,
    /// Whether an earlier run had done it already.
    pub reused: bool,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Rows that a step dropped for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedExamples {
    /// The step's name.
    pub step: String,
    /// The reason.
    pub reason: String,
    /// Some of the rows with what was particular to them.
    pub rows: Vec<(Task, String)>,
}

/// What a job did.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOutcome {
    /// The steps in order.
    pub steps: Vec<StepOutcome>,
    /// What was loaded, and what is left at the end.
    pub loaded: Stats,
    /// What is left at the end.
    pub left: Stats,
    /// Some of the rows that are left.
    pub kept: Vec<Task>,
    /// Some of the rows that were dropped, by step and reason.
    pub dropped: Vec<DroppedExamples>,
    /// The files written, with their SHA-256 and rows.
    pub written: BTreeMap<String, Written>,
    /// SHA-256 of each file read.
    pub files: BTreeMap<String, String>,
}

/// A file that a job wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// SHA-256 of its content.
    pub sha256: String,
    /// How many rows it holds.
    pub rows: u64,
}

/// What a finished step leaves beside its parts.
#[derive(Serialize, Deserialize)]
struct Finished {
    /// The rows that go on: in the step's own folder, or picked from that of an earlier one, whose name this is.
    rows_of: String,
    kept: Parts,
    dropped: Parts,
    tally: Tally,
}

/// Runs a job in its folder. A folder in which it has run before is gone on with.
///
/// # Errors
/// Whatever a step says; [`DatasetError::Stopped`] if the host asked for it. What was finished stays.
pub fn run(job: &Job, folder: &Path, host: &dyn Host) -> Result<JobOutcome, DatasetError> {
    check_files(job)?;
    let steps_folder = folder.join("steps");
    create(&steps_folder)?;
    remove_partial(&steps_folder)?;
    let mut files = BTreeMap::new();
    let mut key = hash_text(&format!("{FORMAT} {} {}", env!("CARGO_PKG_VERSION"), job.seed));
    let mut input = Parts::default();
    let mut outcome = JobOutcome {
        steps: Vec::new(),
        loaded: Stats::default(),
        left: Stats::default(),
        kept: Vec::new(),
        dropped: Vec::new(),
        written: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let mut current = Vec::new();
    for (index, named) in job.steps.iter().enumerate() {
        let started = std::time::Instant::now();
        host.step_started(index + 1, job.steps.len(), named, input.rows() as u64);
        let in_step = |error: DatasetError| error.in_step(index + 1, &named.name);
        if let Step::Write(write) = &named.step {
            let tally = write_step(write, &input, folder, &mut outcome.written).map_err(in_step)?;
            let seconds = started.elapsed().as_secs_f64();
            let step = StepOutcome { name: named.name.clone(), kind: "write", tally, reused: false, seconds };
            host.step_finished(&step);
            outcome.steps.push(step);
            continue;
        }
        key = step_key(&key, &named.step, &mut files).map_err(in_step)?;
        let place = steps_folder.join(&key);
        let reused = place.join("finished.json").is_file();
        if !reused {
            let partial = steps_folder.join(format!("{key}.partial"));
            if let Err(error) = execute(&named.step, &input, &partial, folder, job.seed, host) {
                // The error that counts is this one.
                let _ = fs::remove_dir_all(&partial);
                return Err(in_step(error));
            }
            fs::rename(&partial, &place).map_err(|source| DatasetError::Write { path: place.clone(), source })?;
        }
        let finished: Finished = read_json(&place.join("finished.json"))?;
        let dropped = finished.dropped.moved_to(place.join("dropped"));
        outcome.dropped.extend(examples(&named.name, &input, &dropped)?);
        if job.keep_dropped && dropped.rows() > 0 {
            let path = folder.join("dropped").join(format!("{:02}-{}.jsonl", index + 1, named.name));
            write_dropped(&path, &input, &dropped)?;
        }
        // Folders are named anew: the job's may have been moved.
        let rows_of = if finished.rows_of.is_empty() { &key } else { &finished.rows_of };
        input = finished.kept.moved_to(steps_folder.join(rows_of).join("kept"));
        if matches!(named.step, Step::Load(_)) {
            outcome.loaded = Stats::of(&input)?;
        }
        let step = StepOutcome {
            name: named.name.clone(),
            kind: named.step.kind(),
            tally: finished.tally,
            reused,
            seconds: started.elapsed().as_secs_f64(),
        };
        host.step_finished(&step);
        outcome.steps.push(step);
        current.push(key.clone());
    }
    outcome.left = Stats::of(&input)?;
    outcome.kept = spread(&input)?;
    outcome.files = files;
    remove_old(&steps_folder, &current)?;
    Ok(outcome)
}

/// That all files are there which a step will want: said before any step has taken its time.
fn check_files(job: &Job) -> Result<(), DatasetError> {
    for (index, named) in job.steps.iter().enumerate() {
        for (path, _) in named.step.files().into_iter().filter(|(_, optional)| !optional) {
            if let Err(source) = fs::metadata(path) {
                return Err(DatasetError::Read { path: path.to_owned(), source }.in_step(index + 1, &named.name));
            }
        }
    }
    Ok(())
}

/// Does a step into a folder of its own.
fn execute(
    step: &Step,
    input: &Parts,
    place: &Path,
    folder: &Path,
    seed: u64,
    host: &dyn Host,
) -> Result<(), DatasetError> {
    let mut work = Work::begin(input, place, host, seed)?;
    match step {
        Step::Load(load) => load::run(load, &mut work),
        Step::Map(map) => map::run(map, &mut work),
        Step::Filter(filter) => filter::run(filter, &mut work),
        Step::Dedup(dedup) => dedup::run(dedup, &mut work, place),
        Step::Decontaminate(step) => decontaminate::run(step, &mut work),
        Step::Verify(verify) => verify::run(verify, &mut work),
        Step::Difficulty(step) => difficulty::run(step, &mut work, folder),
        Step::Mix(mix) => mix::mix(mix, &mut work),
        Step::Split(shares) => mix::split(shares, &mut work),
        Step::Sample(sample) => mix::sample(sample, &mut work),
        // Is no rows' maker: `run` sees to it.
        Step::Write(_) => Ok(()),
    }?;
    let (kept, dropped, tally) = work.end()?;
    let own = kept.folder().starts_with(place);
    // `steps/KEY/kept`: the name of the step that wrote these rows.
    let name = kept.folder().parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let rows_of = if own { String::new() } else { name.unwrap_or_default() };
    let finished = Finished { rows_of, kept, dropped, tally };
    let path = place.join("finished.json");
    let text = serde_json::to_vec(&finished).map_err(|error| DatasetError::Frame { what: error.to_string() })?;
    fs::write(&path, text).map_err(|source| DatasetError::Write { path, source })
}

/// The hash of all that makes a step's rows.
fn step_key(before: &str, step: &Step, files: &mut BTreeMap<String, String>) -> Result<String, DatasetError> {
    let mut text = before.to_owned();
    text.push_str(&serde_json::to_string(step).map_err(|error| DatasetError::Frame { what: error.to_string() })?);
    for (path, optional) in step.files() {
        let hash = if optional && !path.exists() { "missing".to_owned() } else { hash_file(path)? };
        text.push_str(&hash);
        files.insert(path.display().to_string(), hash);
    }
    Ok(hash_text(&text))
}

impl Step {
    /// The files that decide what it does, and whether each may be missing.
    fn files(&self) -> Vec<(&Path, bool)> {
        match self {
            Self::Load(load) => {
                let files = load.sources.iter().filter_map(|source| match source {
                    Source::File(file) => Some((file.path.as_path(), file.optional)),
                    Source::Family(_) => None,
                });
                files.collect()
            }
            Self::Decontaminate(step) => step.against.iter().map(|set| (set.path.as_path(), set.optional)).collect(),
            Self::Difficulty(step) => step.completions.iter().map(|path| (path.as_path(), false)).collect(),
            _ => Vec::new(),
        }
    }
}

fn write_step(
    write: &Write,
    input: &Parts,
    folder: &Path,
    written: &mut BTreeMap<String, Written>,
) -> Result<Tally, DatasetError> {
    let ledger_path = folder.join("written.json");
    let mut ledger: BTreeMap<String, Written> =
        if ledger_path.exists() { read_json(&ledger_path)? } else { BTreeMap::new() };
    let path = folder.join(&write.path);
    let name = write.path.display().to_string();
    // What lies there may be replaced only if we wrote it, and nobody has changed it since.
    if path.exists() && ledger.get(&name).is_none_or(|known| hash_file(&path).is_ok_and(|hash| hash != known.sha256)) {
        return Err(DatasetError::Exists { path });
    }
    let rows = write::write_parts(&path, write.split, input)?;
    let entry = Written { sha256: hash_file(&path)?, rows };
    ledger.insert(name.clone(), entry.clone());
    written.insert(name.clone(), entry);
    let text = serde_json::to_vec_pretty(&ledger).map_err(|error| DatasetError::Frame { what: error.to_string() })?;
    write_whole(&ledger_path, &text)?;
    let all = input.rows() as u64;
    Ok(Tally { rows_in: all, rows_out: all, marked: [(format!("in {name}"), rows)].into(), ..Tally::default() })
}

/// Some of the rows, from the beginning to the end: what comes from one source stands together.
fn spread(parts: &Parts) -> Result<Vec<Task>, DatasetError> {
    let (rows, starts) = (parts.rows(), parts.starts());
    let mut tasks = Vec::new();
    for example in 0..EXAMPLES.min(rows) {
        let row = rows * example / EXAMPLES;
        let index = starts.partition_point(|&start| start <= row).saturating_sub(1);
        let place = i64::try_from(row - starts[index]).unwrap_or(0);
        tasks.extend(frame::to_tasks(&parts.read(index)?.slice(place, 1))?);
    }
    Ok(tasks)
}

/// Some of the rows that were dropped, by reason.
fn examples(step: &str, input: &Parts, dropped: &Parts) -> Result<Vec<DroppedExamples>, DatasetError> {
    let mut by_reason: BTreeMap<String, Vec<(Task, String)>> = BTreeMap::new();
    // The first of them show what there is to see.
    for index in 0..dropped.len().min(2) {
        let list = dropped.read(index)?;
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        let few = |reason: &str, _: &str| {
            let count = wanted.entry(reason.to_owned()).or_default();
            *count += 1;
            *count <= EXAMPLES
        };
        for (task, reason, detail) in dropped_tasks(input, &list, few)? {
            let rows = by_reason.entry(reason).or_default();
            if rows.len() < EXAMPLES {
                rows.push((task, detail));
            }
        }
    }
    let step = step.to_owned();
    Ok(by_reason.into_iter().map(|(reason, rows)| DroppedExamples { step: step.clone(), reason, rows }).collect())
}

/// The rows of a list of dropped ones that `wanted` (by reason and detail) asks for, with both.
fn dropped_tasks(
    input: &Parts,
    list: &DataFrame,
    mut wanted: impl FnMut(&str, &str) -> bool,
) -> Result<Vec<(Task, String, String)>, DatasetError> {
    let broken = |error: polars::prelude::PolarsError| DatasetError::Frame { what: error.to_string() };
    let number = |name: &str| list.column(name).and_then(|column| column.u32()).map_err(broken);
    let (parts, rows) = (number("part")?, number("row")?);
    let (reasons, details) = (frame::text(list, "reason")?, frame::text(list, "detail")?);
    let mut tasks = Vec::new();
    // A part is read once: the list is in the order of the rows.
    let mut open: Option<(u32, DataFrame)> = None;
    for at in 0..list.height() {
        let (reason, detail) = (reasons.get(at).unwrap_or_default(), details.get(at).unwrap_or_default());
        if !wanted(reason, detail) {
            continue;
        }
        let (part, row) = (parts.get(at).unwrap_or_default(), rows.get(at).unwrap_or_default());
        if open.as_ref().is_none_or(|(known, _)| *known != part) {
            open = Some((part, input.read(part as usize)?));
        }
        if let Some((_, frame)) = &open {
            for task in frame::to_tasks(&frame.slice(i64::from(row), 1))? {
                tasks.push((task, reason.to_owned(), detail.to_owned()));
            }
        }
    }
    Ok(tasks)
}

/// All rows that a step dropped, with why, as JSON Lines.
fn write_dropped(path: &Path, input: &Parts, dropped: &Parts) -> Result<(), DatasetError> {
    let mut text = String::new();
    for index in 0..dropped.len() {
        for (task, reason, detail) in dropped_tasks(input, &dropped.read(index)?, |_, _| true)? {
            let mut row = write::row(&task);
            row["dropped"] = serde_json::json!({ "reason": reason, "detail": detail });
            text.push_str(&row.to_string());
            text.push('\n');
        }
    }
    if let Some(folder) = path.parent() {
        create(folder)?;
    }
    write_whole(path, text.as_bytes())
}

fn create(folder: &Path) -> Result<(), DatasetError> {
    fs::create_dir_all(folder).map_err(|source| DatasetError::Write { path: folder.to_owned(), source })
}

/// Writes a file so that it is either the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| DatasetError::Write { path: path.to_owned(), source })
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DatasetError> {
    let bytes = fs::read(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| DatasetError::Damaged { path: path.to_owned(), what: error.to_string() })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let read = |source| DatasetError::Read { path: folder.to_owned(), source };
    fs::read_dir(folder).map_err(read)?.map(|entry| Ok(entry.map_err(read)?.path())).collect()
}

fn remove(path: &Path) -> Result<(), DatasetError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|source| DatasetError::Write { path: path.to_owned(), source })
}

/// What a process left that was killed.
fn remove_partial(folder: &Path) -> Result<(), DatasetError> {
    entries(folder)?
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "partial"))
        .try_for_each(|path| remove(path))
}

/// Steps of this job as it was before it was changed.
fn remove_old(folder: &Path, current: &[String]) -> Result<(), DatasetError> {
    let old = |path: &&PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !current.iter().any(|key| key == name))
    };
    entries(folder)?.iter().filter(old).try_for_each(|path| remove(path))
}

fn hash_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}

#[cfg(test)]
mod tests;
