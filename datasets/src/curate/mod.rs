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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

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
    MixBy, NamedStep, OnConflict, PromptTemplate, Sample, Shares, Source, Step, Verify, Write,
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

/// What a job asks of its surroundings. Their own errors are made with [`DatasetError::host`].
pub trait Host: Sync {
    /// The verifier of references. Python is needed only where `programs` are among them.
    ///
    /// # Errors
    /// If it cannot be made.
    fn rewards(&self, programs: bool) -> Result<Arc<RewardSet>, DatasetError>;

    /// A hash of all that makes the policy of a step what it is: its weights, configuration and tokenizer.
    ///
    /// # Errors
    /// If there is no such policy.
    fn policy(&self, step: &Difficulty) -> Result<String, DatasetError>;

    /// Checks that the policy of a step can be asked these tasks.
    ///
    /// # Errors
    /// About the first that it cannot be asked.
    fn check_attempts(&self, step: &Difficulty, tasks: &[Task]) -> Result<(), DatasetError>;

    /// Has the policy of a step attempt each task, whose ids differ, and hands over each attempt as it ends: the task's place
    /// among them, the sample from 0, the text. What is written to a task depends on nothing but policy, step, task, sample
    /// and seed: not on which tasks are attempted with it.
    ///
    /// # Errors
    /// If the policy fails. What was handed over before counts.
    fn attempts(
        &self,
        step: &Difficulty,
        tasks: &[Task],
        seed: u64,
        take: &mut dyn FnMut(usize, usize, String),
    ) -> Result<(), DatasetError>;

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
#[derive(Debug, Clone, Default, PartialEq)]
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
    let mut running = Running::begin(job, folder, host)?;
    for (index, named) in job.steps.iter().enumerate() {
        let (place, started) = (index + 1, Instant::now());
        host.step_started(place, job.steps.len(), named, running.input.rows() as u64);
        let done = match &named.step {
            Step::Write(write) => running.write(write),
            _ => running.make(place, named),
        };
        let (tally, reused) = done.map_err(|error| error.in_step(place, &named.name))?;
        let (name, kind) = (named.name.clone(), named.step.kind());
        let step = StepOutcome { name, kind, tally, reused, seconds: started.elapsed().as_secs_f64() };
        host.step_finished(&step);
        running.outcome.steps.push(step);
    }
    running.end()
}

/// A job between two of its steps.
struct Running<'a> {
    job: &'a Job,
    folder: &'a Path,
    /// Where its steps leave their rows.
    steps: PathBuf,
    host: &'a dyn Host,
    ledger: Ledger,
    /// The rows so far, and the hash of all that made them.
    input: Parts,
    key: String,
    /// Its steps by their hashes, and its lists of dropped rows: whatever else lies there is an earlier form's.
    current: Vec<String>,
    lists: BTreeSet<PathBuf>,
    outcome: JobOutcome,
}

impl<'a> Running<'a> {
    fn begin(job: &'a Job, folder: &'a Path, host: &'a dyn Host) -> Result<Self, DatasetError> {
        let steps = folder.join("steps");
        create(&steps)?;
        remove_partial(&steps)?;
        Ok(Self {
            job,
            folder,
            steps,
            host,
            ledger: Ledger::open(folder)?,
            input: Parts::default(),
            key: hash_text(&format!("{FORMAT} {} {}", env!("CARGO_PKG_VERSION"), job.seed)),
            current: Vec::new(),
            lists: BTreeSet::new(),
            outcome: JobOutcome::default(),
        })
    }

    /// Does a step that writes, unless an earlier run did.
    fn write(&mut self, write: &Write) -> Result<(Tally, bool), DatasetError> {
        let (written, reused) = self.ledger.write(write, &self.key, &self.input)?;
        let tally = tally_of(write, &self.input, &written);
        self.outcome.written.insert(write.path.display().to_string(), written);
        Ok((tally, reused))
    }

    /// Does a step that makes rows, unless an earlier run did, and goes on with them.
    fn make(&mut self, place: usize, named: &NamedStep) -> Result<(Tally, bool), DatasetError> {
        let NamedStep { name, step } = named;
        let policy = policy_of(step, self.host)?;
        self.key = step_key(&self.key, step, policy.as_ref(), &mut self.outcome.files)?;
        let own = self.steps.join(&self.key);
        let before = Finished::find(&own).unwrap_or_else(|damage| {
            self.host.note(&format!("step {place} ({name}) is done again: {damage}"));
            None
        });
        let reused = before.is_some();
        let finished = match before {
            Some(finished) => finished,
            None => self.execute(step, &own, policy.as_ref().map(|(_, hash)| hash.as_str()))?,
        };
        let dropped = finished.dropped.moved_to(own.join("dropped"));
        self.outcome.dropped.extend(aside::examples(name, &self.input, &dropped)?);
        if self.job.keep_dropped {
            let list = self.folder.join("dropped").join(format!("{place:02}-{name}.jsonl"));
            if aside::write_dropped(&list, &self.input, &dropped, &own)? {
                self.lists.insert(list);
            }
        }
        // Folders are named anew: the job's may have been moved.
        let rows_of = if finished.rows_of.is_empty() { &self.key } else { &finished.rows_of };
        self.input = finished.kept.moved_to(self.steps.join(rows_of).join("kept"));
        if matches!(step, Step::Load(_)) {
            self.outcome.loaded = Stats::of(&self.input)?;
        }
        self.current.push(self.key.clone());
        Ok((finished.tally, reused))
    }

    /// Does a step into its own folder: whole, or not at all. `policy` is the hash of the model that it asks.
    fn execute(&self, step: &Step, own: &Path, policy: Option<&str>) -> Result<Finished, DatasetError> {
        if own.exists() {
            remove(own)?;
        }
        let partial = own.with_extension("partial");
        let done = Work::begin(&self.input, &partial, self.host, self.job.seed)
            .and_then(|work| execute(step, work, &partial, self.folder, policy))
            .inspect_err(|_| {
                // The error that counts is the step's.
                let _ = fs::remove_dir_all(&partial);
            })?;
        fs::rename(&partial, own).map_err(|source| DatasetError::Write { path: own.to_owned(), source })?;
        Ok(done)
    }

    /// What came of it all; what an earlier form of the job left is removed.
    fn end(mut self) -> Result<JobOutcome, DatasetError> {
        self.outcome.left = Stats::of(&self.input)?;
        self.outcome.kept = aside::spread(&self.input)?;
        remove_old(&self.steps, &self.current)?;
        ledger::remove_stale_lists(&self.folder.join("dropped"), &self.lists)?;
        let (removed, kept) = self.ledger.remove_stale()?;
        for name in removed {
            let changed = "this job wrote it before it was changed, and does not any more";
            self.host.note(&format!("{name} is removed: {changed}"));
        }
        for name in kept {
            let changed = "this job wrote it before, does not any more, and somebody has changed it";
            self.host.note(&format!("{name} stays: {changed}"));
        }
        Ok(self.outcome)
    }
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
        // Makes no rows: `Running::write` sees to it.
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
    Ok(Some((model, host.policy(step)?)))
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
