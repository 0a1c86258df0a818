//! Curation jobs from the file to the folder: the work is `datasets::curate`, what people see of it is here.
//!
//! | file | what it holds |
//! |---|---|
//! | `host` | rewards, a policy and progress, for the steps that ask for them |
//! | `solver` | the policy of a `difficulty` step |
//! | `card` | the data card |
//! | `hub` | sources that are data sets of the Hugging Face Hub |
//! The page itself is drawn in `report/job`.

mod card;
mod host;
mod hub;
mod solver;

use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::curate::{Difficulty, JobOutcome, Source, Step};
use datasets::source::hub::Hub;
use policy::{Place, Tokenizer};
use serde_json::json;

use crate::config::{JobFile, RecipeError};
use crate::hub::Fetcher;
use crate::interrupt::Interrupt;
use crate::progress::Reporter;
use crate::run::write_whole;
use crate::wording::thousands;
use host::JobHost;

/// Where and how a job runs.
#[derive(Debug)]
pub struct CurateOptions {
    /// The job's folder.
    pub folder: PathBuf,
    /// Where prepared interpreters lie.
    pub cache_dir: PathBuf,
    /// Where progress goes.
    pub reporter: Reporter,
    /// Raised to stop.
    pub interrupt: Interrupt,
    /// Where data sets that a job names are fetched from.
    pub hub: Hub,
    /// Threads; all cores unless given.
    pub threads: Option<usize>,
    /// Where a policy lives that a step asks.
    pub place: Place,
}

/// Runs a job and writes what people read about it: `report.html`, `README.md` (the data card), `summary.json`, `job.toml`.
///
/// # Errors
/// If the folder is another job's, or whatever the job says.
pub fn curate(job: &JobFile, options: &CurateOptions) -> anyhow::Result<JobOutcome> {
    let folder = &options.folder;
    let summary = folder.join("summary.json");
    if folder.exists() && !summary.exists() && !folder.join("steps").exists() {
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot use {}", folder.display()))?;
        // What a job leaves that ended before its first step.
        let ours = |name: std::ffi::OsString| name == crate::run::LOCK || name == hub::PINS;
        let others = entries.flatten().any(|entry| !ours(entry.file_name()));
        anyhow::ensure!(!others, "{} holds other things\n  hint: name another folder with --out DIR", folder.display());
    }
    // Before there is a folder: what is not to be had leaves none.
    let fetcher = Fetcher { hub: &options.hub, reporter: &options.reporter, interrupt: &options.interrupt };
    let (resolved, pins) = hub::with_hub_files(&job.job, folder, &fetcher)?;
    let job = &JobFile { job: resolved, ..job.clone() };
    check_models(job)?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // Two processes would write the same steps.
    let _lock = crate::run::lock(folder)?;
    pins.write(folder)?;
    let host = JobHost::new(options);
    let run = || datasets::curate::run(&job.job, folder, &host);
    let outcome = match options.threads {
        None => run(),
        Some(threads) => {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?.install(run)
        }
    }?;
    write_whole(&folder.join("job.toml"), job_as_run(job).as_bytes())?;
    write_whole(&folder.join("README.md"), card::card(job, &outcome).as_bytes())?;
    write_whole(&folder.join("report.html"), crate::report::job::render(job, &outcome).as_bytes())?;
    let text = serde_json::to_string_pretty(&summary_of(job, &outcome))? + "\n";
    write_whole(&summary, text.as_bytes())?;
    Ok(outcome)
}

/// Checks what a job names without running it: its files and their first rows, its models. Returns what a person should know.
///
/// # Errors
/// What the job would end with.
pub fn check(job: &JobFile) -> anyhow::Result<Vec<String>> {
    check_models(job)?;
    Ok(datasets::curate::check(&job.job)?)
}

/// What stands above a job in its own folder, where the files that it names do not lie.
const TO_RUN_AGAIN: &str =
    "# To run this again: recipe curate job.toml --data DIR, where DIR is the folder of the files that it names.\n";

/// The job's text, with how to run it from where it lies now.
fn job_as_run(job: &JobFile) -> String {
    let named = sources(job).any(|source| matches!(source, Source::File(_)));
    if named && !job.text.starts_with(TO_RUN_AGAIN) {
        return format!("{TO_RUN_AGAIN}\n{}", job.text);
    }
    job.text.clone()
}

/// That the policies which a step asks are there, and have the template in which they are to be asked: said before any step has
/// taken its time.
fn check_models(job: &JobFile) -> anyhow::Result<()> {
    for (index, named) in job.job.steps.iter().enumerate() {
        let Step::Difficulty(step @ Difficulty { model: Some(model), .. }) = &named.step else { continue };
        let place = || format!("step {} ({})", index + 1, named.name);
        if !model.join("config.json").is_file() {
            return Err(RecipeError::no_model(model)).with_context(place);
        }
        let tokenizer = Tokenizer::from_dir(model)?;
        solver::encoder(&tokenizer, step).with_context(place)?;
    }
    Ok(())
}

/// The counts, for programs. Nothing in it depends on the clock or on what was reused.
fn summary_of(job: &JobFile, outcome: &JobOutcome) -> serde_json::Value {
    let steps: Vec<_> = outcome
        .steps
        .iter()
        .map(|step| {
            json!({
                "name": step.name,
                "kind": step.kind,
                "rows_in": step.tally.rows_in,
                "rows_out": step.tally.rows_out,
                "dropped": step.tally.dropped,
                "marked": step.tally.marked,
                "notes": step.tally.notes,
            })
        })
        .collect();
    json!({
        "job": job.job.name,
        "seed": job.job.seed,
        "version": env!("CARGO_PKG_VERSION"),
        "steps": steps,
        "files_read": outcome.files,
        "files_written": outcome.written,
    })
}

/// The sources of a job.
fn sources(job: &JobFile) -> impl Iterator<Item = &Source> {
    job.job
        .steps
        .iter()
        .filter_map(|named| match &named.step {
            Step::Load(load) => Some(&load.sources),
            _ => None,
        })
        .flatten()
}

/// The table that is printed at the end.
#[must_use]
pub fn table(outcome: &JobOutcome, folder: &Path) -> String {
    let mut text = String::new();
    let width = outcome.steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max(4);
    text.push_str(&format!("{:width$}  {:>9}  {:>9}  why rows went\n", "step", "rows in", "rows out"));
    for step in &outcome.steps {
        let reasons: Vec<String> =
            step.tally.dropped.iter().map(|(reason, count)| format!("{reason} {}", thousands(*count))).collect();
        let marks = step.tally.marked.iter().map(|(mark, count)| format!("{mark}: {}", thousands(*count)));
        let why: Vec<String> = reasons.into_iter().chain(marks).collect();
        text.push_str(
            format!(
                "{:width$}  {:>9}  {:>9}  {}",
                step.name,
                thousands(step.tally.rows_in),
                thousands(step.tally.rows_out),
                why.join(", ")
            )
            .trim_end(),
        );
        text.push('\n');
        for note in step.tally.notes.iter().take(8) {
            text.push_str(&format!("{:width$}    {note}\n", ""));
        }
    }
    if outcome.left.rows == 0 {
        text.push_str("\nno row is left: see above why they went, and dropped/ where keep_dropped is set\n");
    }
    text.push_str(&format!("\n{}\n", folder.join("report.html").display()));
    text
}

#[cfg(test)]
mod tests;
