//! `recipe experiment`: variants of a recipe under several seeds, each an ordinary run, and a table and figures of what
//! they left.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the runs, and what is written |
//! | `read` | numbers and lines out of finished runs |
//! | `table` | the table, in Markdown |
//!
//! A run that is finished is not repeated and one that was stopped goes on, so an experiment can be stopped at any time and
//! be given more seeds later.

mod read;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::config::Experiment;
use crate::interrupt::Interrupt;
use crate::progress::{Reporter, Verbosity};
use crate::report;
use crate::run::write_whole;
use crate::session::{RunOptions, RunStatus, RunSummary, run_recipe};

pub(crate) use read::{Lines, Run};
pub(crate) use table::{markdown, written};

/// How an experiment is run.
#[derive(Clone, Debug)]
pub struct ExperimentOptions {
    /// Seeds 0, 1 and so on: how many.
    pub seeds: u64,
    /// The experiment's folder.
    pub out: PathBuf,
    /// Threads of each run.
    pub threads: Option<usize>,
    /// Where each run computes, as `--device` takes it.
    pub device: Option<String>,
    /// Where bases and the prepared Python lie.
    pub cache_dir: PathBuf,
    /// What is shown meanwhile.
    pub verbosity: Verbosity,
    /// Stops the run under way with a checkpoint.
    pub interrupt: Interrupt,
    /// The command line, for the record.
    pub command: Vec<String>,
}

/// One measure of one variant over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The value under each seed; none where the run has none.
    pub values: Vec<Option<f64>>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The experiment.
    pub experiment: String,
    /// The measures' names.
    pub measures: Vec<String>,
    /// The variants, each with its measures.
    pub variants: Vec<(String, Vec<Cell>)>,
    /// Seeds that every variant was run under.
    pub seeds: u64,
}

/// Runs what is not finished yet, then writes `results.json`, `table.md`, `figure-1.svg` and so on, and `report.html`. None
/// if it was stopped.
///
/// # Errors
/// If a run fails, or a file cannot be written.
pub fn run(experiment: &Experiment, options: &ExperimentOptions) -> anyhow::Result<Option<Outcome>> {
    let out = &options.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let _lock = crate::run::lock(out)?;
    let reporter = Reporter::new(options.verbosity);
    let all = experiment.variants.len() as u64 * options.seeds;
    let mut number = 0;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); experiment.variants.len()];
    // Seed by seed: whatever was stopped, the variants are compared on the same seeds.
    for seed in 0..options.seeds {
        for (variant, runs) in experiment.variants.iter().zip(&mut runs) {
            number += 1;
            let folder = out.join("runs").join(format!("{}-seed-{seed}", variant.name));
            reporter.note(&format!("run {number} of {all}: {}, seed {seed}", variant.name));
            let recipe = experiment.recipe_of(variant, seed)?;
            let run_options = RunOptions {
                run_dir: Some(folder.clone()),
                resume: folder.join("recipe.toml").is_file(),
                threads: options.threads,
                device: options.device.clone(),
                cache_dir: options.cache_dir.clone(),
                verbosity: options.verbosity,
                interrupt: options.interrupt.clone(),
                settings: experiment.settings_of(variant, seed),
                command: options.command.clone(),
                ..RunOptions::default()
            };
            let summary = match finished(&folder, &recipe)? {
                Some(summary) => summary,
                None => run_recipe(&recipe, &run_options)?,
            };
            if summary.status != RunStatus::Finished {
                return Ok(None);
            }
            runs.push(Run::read(summary, &folder)?);
        }
    }
    let variants = experiment.variants.iter().zip(&runs).map(|(variant, runs)| {
        let cells = experiment.measures.iter();
        let cells = cells.map(|measure| Cell { values: runs.iter().map(|run| run.measure(measure)).collect() });
        (variant.name.clone(), cells.collect())
    });
    let outcome = Outcome {
        experiment: experiment.name.clone(),
        measures: experiment.measures.iter().map(|measure| measure.name.clone()).collect(),
        variants: variants.collect(),
        seeds: options.seeds,
    };
    let figures: Vec<Lines> = experiment.figures.iter().map(|figure| read::lines(experiment, figure, &runs)).collect();
    let drawn = report::experiment::figures(experiment, &figures);
    write(out, experiment, &outcome, &runs, &drawn)?;
    Ok(Some(outcome))
}

/// The summary of a run that came to its end, and was made by this very recipe.
fn finished(folder: &Path, recipe: &crate::config::Recipe) -> anyhow::Result<Option<RunSummary>> {
    let path = folder.join("summary.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let summary: RunSummary = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let stored = crate::config::Recipe::read(&folder.join("recipe.toml"), &[])?;
    let same = recipe.difference(&stored).is_none();
    // Of another recipe, the run itself will say so when it is resumed.
    Ok(Some(summary).filter(|summary| same && summary.status == RunStatus::Finished))
}

fn write(
    out: &Path,
    experiment: &Experiment,
    outcome: &Outcome,
    runs: &[Vec<Run>],
    drawn: &report::experiment::Drawn,
) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(outcome)? + "\n";
    write_whole(&out.join("results.json"), json.as_bytes())?;
    write_whole(&out.join("table.md"), markdown(experiment, outcome, runs).as_bytes())?;
    write_whole(&out.join("experiment.toml"), experiment.text.as_bytes())?;
    for (number, svg) in drawn.files.iter().enumerate() {
        write_whole(&out.join(format!("figure-{}.svg", number + 1)), svg.as_bytes())?;
    }
    let page = report::experiment::render(experiment, outcome, &drawn.page);
    write_whole(&out.join("report.html"), page.as_bytes())
}
