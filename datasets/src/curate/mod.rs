//! Curation: from raw problem sets to training data, as a job of named steps.
//!
//! A step reads the rows that the step before it left, and leaves rows of its own: a folder of Parquet parts under the hash
//! of all that made them ([`Step`], seed, the files read, the step before). So a job that was killed goes on after its last
//! finished step, and a job that was changed in one step repeats nothing before it. Whatever is not finished lies under a
//! name that ends in `.partial`, and is removed when the job goes on. A policy that a step asks counts by its content, as a
//! file does.
//!
//! | file | what it holds |
//! |---|---|
//! | `job` | the steps and their parameters, as validated |
//! | `work` | what every step works with: rows in and out, verdicts, the tally |
//! | `parts`, `frame` | rows on disk, and tasks as data frames |
//! | `finished` | what an earlier run left of a step, if it is whole |
//! | `ledger` | which files the job has written, and what they held |
//! | `aside` | rows to look at: examples, and all that were dropped |
//! | `files` | files written whole or not at all |
//! | `check` | what can be told of a job's files before it runs |
//! | `text` | prompts as words, runs of words, similarity |
//! | `load`, `map`, `filter`, `dedup/`, `decontaminate`, `verify`, `difficulty`, `mix`, `write` | the steps |
//! | `expression` | conditions on rows |
//! | `stats` | what a set of tasks is like |

mod aside;
mod check;
mod decontaminate;
mod dedup;
mod difficulty;
mod expression;
mod files;
mod filter;
mod finished;
mod frame;
mod job;
mod ledger;
mod load;
mod map;
mod mix;
mod parts;
mod stats;
mod text;
mod verify;
mod work;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rewards::RewardSet;
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;
use crate::source::hash_file;
use crate::task::Task;
pub use check::check;
pub use expression::Expression;
pub use filter::LANGUAGES;
pub use job::{
    Decontaminate, Dedup, Difficulty, EvaluationSet, FamilySource, FileSource, Filter, Group, Job, Load, Map, Mix,
    MixBy, NamedStep, PromptTemplate, Sample, Shares, Source, Step, Verify, Write,
};
pub use map::check_template;
pub use stats::{Histogram, Stats};
pub use work::Tally;
pub use write::{check_name, check_place, row, write_tasks};

use files::{create, hash_text, remove, remove_old, remove_partial};
use finished::Finished;
use ledger::Ledger;
use parts::Parts;
use work::Work;

/// What makes rows changes its meaning with this number: results of older programs are not taken again.
const FORMAT: u32 = 6;

/// What a job asks of its surroundings.
pub trait Host: Sync {
    /// The verifier of references. Python is needed only where `programs` are among them.
    ///
    /// # Errors
    /// What a person should read, if it cannot be made.
    fn rewards(&self, programs: bool) -> Result<Arc<RewardSet>, String>;

    /// A hash of all that makes the policy of a step what it is: its weights, configuration and tokenizer.
    ///
    /// # Errors
    /// What a person should read, if there is no such policy.
    fn policy(&self, step: &Difficulty) -> Result<String, String>;

    /// Checks that the policy of a step can be asked these tasks.
    ///
    /// # Errors
    /// What a person should read about the first that it cannot be asked.
    fn check_attempts(&self, step: &Difficulty, tasks: &[Task]) -> Result<(), String>;

    /// Has the policy of a step attempt each task, whose ids differ, and hands over each attempt as it ends: the task's place
    /// among them, the sample from 0, the text. What is written to a task depends on nothing but policy, step, task, sample
    /// and seed: not on which tasks are attempted with it.
    ///
    /// # Errors
    /// What a person should read, if the policy fails. What was handed over before counts.
    fn attempts(
        &self,
        step: &Difficulty,
        tasks: &[Task],
        seed: u64,
        take: &mut dyn FnMut(usize, usize, String),
    ) -> Result<(), String>;

    /// A step begins: its place from 1, of how many, and how many rows come in.
    fn step_started(&self, place: usize, of: usize, step: &NamedStep, rows: u64);

    /// So many rows of the step are done.
    fn progress(&self, rows: u64);

    /// Something that a person should know and that is not in what a job makes.
    fn note(&self, _text: &str) {}

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
    /// SHA-256 of each file read, and of the content of each policy asked.
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

/// Runs a job in its folder. A folder in which it has run before is gone on with.
///
/// # Errors
/// Whatever a step says; [`DatasetError::Stopped`] if the host asked for it. What was finished stays.
pub fn run(job: &Job, folder: &Path, host: &dyn Host) -> Result<JobOutcome, DatasetError> {
    check::files_are_there(job)?;
    let steps_folder = folder.join("steps");
    create(&steps_folder)?;
    remove_partial(&steps_folder)?;
    let mut ledger = Ledger::open(folder)?;
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
    let (mut current, mut lists) = (Vec::new(), BTreeSet::new());
    for (index, named) in job.steps.iter().enumerate() {
        let started = std::time::Instant::now();
        host.step_started(index + 1, job.steps.len(), named, input.rows() as u64);
        let in_step = |error: DatasetError| error.in_step(index + 1, &named.name);
        let (tally, reused) = if let Step::Write(write) = &named.step {
            let (written, reused) = ledger.write(write, &key, &input).map_err(in_step)?;
            let tally = tally_of(write, &input, &written);
            outcome.written.insert(write.path.display().to_string(), written);
            (tally, reused)
        } else {
            let policy = policy_of(&named.step, host).map_err(in_step)?;
            key = step_key(&key, &named.step, policy.as_ref(), &mut files).map_err(in_step)?;
            let place = steps_folder.join(&key);
            let before = Finished::find(&place).unwrap_or_else(|damage| {
                host.note(&format!("step {} ({}) is done again: {damage}", index + 1, named.name));
                None
            });
            let reused = before.is_some();
            let finished = match before {
                Some(finished) => finished,
                None => {
                    if place.exists() {
                        remove(&place)?;
                    }
                    let partial = steps_folder.join(format!("{key}.partial"));
                    let policy = policy.as_ref().map(|(_, hash)| hash.as_str());
                    let done = Work::begin(&input, &partial, host, job.seed)
                        .and_then(|work| execute(&named.step, work, &partial, folder, policy))
                        .map_err(|error| {
                            // The error that counts is this one.
                            let _ = fs::remove_dir_all(&partial);
                            in_step(error)
                        })?;
                    fs::rename(&partial, &place)
                        .map_err(|source| DatasetError::Write { path: place.clone(), source })?;
                    done
                }
            };
            let dropped = finished.dropped.moved_to(place.join("dropped"));
            outcome.dropped.extend(aside::examples(&named.name, &input, &dropped).map_err(in_step)?);
            if job.keep_dropped {
                let list = folder.join("dropped").join(format!("{:02}-{}.jsonl", index + 1, named.name));
                if aside::write_dropped(&list, &input, &dropped, &place).map_err(in_step)? {
                    lists.insert(list);
                }
            }
            // Folders are named anew: the job's may have been moved.
            let rows_of = if finished.rows_of.is_empty() { &key } else { &finished.rows_of };
            input = finished.kept.moved_to(steps_folder.join(rows_of).join("kept"));
            if matches!(named.step, Step::Load(_)) {
                outcome.loaded = Stats::of(&input).map_err(in_step)?;
            }
            current.push(key.clone());
            (finished.tally, reused)
        };
        let (name, kind) = (named.name.clone(), named.step.kind());
        let step = StepOutcome { name, kind, tally, reused, seconds: started.elapsed().as_secs_f64() };
        host.step_finished(&step);
        outcome.steps.push(step);
    }
    outcome.left = Stats::of(&input)?;
    outcome.kept = aside::spread(&input)?;
    outcome.files = files;
    remove_old(&steps_folder, &current)?;
    ledger::remove_stale_lists(&folder.join("dropped"), &lists)?;
    let (removed, kept) = ledger.remove_stale()?;
    for name in removed {
        host.note(&format!("{name} is removed: this job wrote it before it was changed, and does not any more"));
    }
    for name in kept {
        host.note(&format!("{name} stays: this job wrote it before, does not any more, and somebody has changed it"));
    }
    Ok(outcome)
}

/// What became of the rows of a step that writes.
fn tally_of(write: &Write, input: &Parts, written: &Written) -> Tally {
    let (name, all) = (write.path.display(), input.rows() as u64);
    let mut tally = Tally { rows_in: all, rows_out: all, ..Tally::default() };
    tally.marked.insert(format!("in {name}"), written.rows);
    if let (0, 1.., Some(split)) = (written.rows, all, write.split) {
        tally.notes.push(format!("{name} is empty: no row is of the split \"{}\"", split.name()));
    }
    tally
}

/// Does a step into a folder of its own. `policy` is the hash of what it asks, if it asks one.
fn execute(
    step: &Step,
    mut work: Work<'_>,
    place: &Path,
    folder: &Path,
    policy: Option<&str>,
) -> Result<Finished, DatasetError> {
    match step {
        Step::Load(load) => load::run(load, &mut work, place),
        Step::Map(map) => map::run(map, &mut work),
        Step::Filter(filter) => filter::run(filter, &mut work),
        Step::Dedup(dedup) => dedup::run(dedup, &mut work, place),
        Step::Decontaminate(step) => decontaminate::run(step, &mut work),
        Step::Verify(verify) => verify::run(verify, &mut work),
        Step::Difficulty(step) => difficulty::run(step, policy, &mut work, folder),
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
    finished.write(place)?;
    Ok(finished)
}

/// The policy that a step asks: where it lies, and the hash of its content.
fn policy_of<'a>(step: &'a Step, host: &dyn Host) -> Result<Option<(&'a Path, String)>, DatasetError> {
    let Step::Difficulty(step) = step else { return Ok(None) };
    let Some(model) = &step.model else { return Ok(None) };
    let hash = host.policy(step).map_err(|what| DatasetError::Host { what })?;
    Ok(Some((model, hash)))
}

/// The hash of all that makes a step's rows.
fn step_key(
    before: &str,
    step: &Step,
    policy: Option<&(&Path, String)>,
    files: &mut BTreeMap<String, String>,
) -> Result<String, DatasetError> {
    let mut text = before.to_owned();
    text.push_str(&serde_json::to_string(step).map_err(|error| DatasetError::Frame { what: error.to_string() })?);
    for (path, optional) in step.files() {
        let hash = if optional && !path.exists() { "missing".to_owned() } else { hash_file(path)? };
        text.push_str(&hash);
        files.insert(path.display().to_string(), hash);
    }
    if let Some((path, hash)) = policy {
        text.push_str(hash);
        files.insert(path.display().to_string(), hash.clone());
    }
    Ok(hash_text(&text))
}

impl Step {
    /// The files that decide what it does, and whether each may be missing. (A model is a folder: [`policy_of`].)
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

#[cfg(test)]
mod tests;
