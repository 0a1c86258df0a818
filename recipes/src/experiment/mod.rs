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
//! be given more seeds later. One that failed is tried again by the next call, and does not keep the others from running.

mod read;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Serialize;

use crate::config::{Experiment, Recipe, RecipeError, Variant};
use crate::hub::hub_name;
use crate::interrupt::Interrupt;
use crate::progress::{Reporter, Verbosity};
use crate::report;
use crate::run::{Maker, RunFailed, RunStatus, RunSummary, Unusable, write_whole};
use crate::session::{RunOptions, run_recipe};

pub(crate) use read::{Curve, Lines, Run};
pub(crate) use table::{markdown, notes, written};

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
    /// The experiment as it was typed: a shipped one's name, or a file.
    pub asked: String,
}

/// One measure of one variant over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The value under each seed; none where the run has none, or failed.
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
    /// Runs that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failure>,
    /// What made the runs that came to their end.
    pub makers: Vec<Made>,
    /// Measures and figures that found no number in any run, each with where it looked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_numbers: Vec<String>,
}

/// A program on a processor, and the runs that it worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// What made them.
    pub maker: Maker,
    /// The runs, as variant and seed.
    pub runs: Vec<String>,
}

impl Outcome {
    /// Whether runs differ by more than variants and seeds: by the program that made them, or the kind of processor.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.makers.iter().any(|one| self.makers.iter().any(|other| !one.maker.is_like(&other.maker)))
    }
}

/// A run that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The variant.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// What it failed of.
    pub why: String,
}

/// Runs what is not finished yet, then writes `results.json`, `table.md`, `figure-1.svg` and so on, and `report.html`. None
/// if it was stopped. A run that fails is told of in the outcome, and the others are run.
///
/// # Errors
/// If there is no such device, the folder holds runs of another recipe, or a file cannot be written.
pub fn run(experiment: &Experiment, options: &ExperimentOptions) -> anyhow::Result<Option<Outcome>> {
    let out = &options.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let _lock = crate::run::lock(out)?;
    // What every run would fail of is said once, before any.
    crate::place::open(options.device.as_deref())?;
    check_kept(experiment, options)?;
    let Some((runs, failed)) = all_runs(experiment, options)? else { return Ok(None) };
    let variants = experiment.variants.iter().zip(&runs).map(|(variant, runs)| {
        let of = |measure| runs.iter().map(|run| run.as_ref()?.measure(measure)).collect();
        let cells = experiment.measures.iter().map(|measure| Cell { values: of(measure) });
        (variant.name.clone(), cells.collect())
    });
    let outcome = Outcome {
        experiment: experiment.name.clone(),
        measures: experiment.measures.iter().map(|measure| measure.name.clone()).collect(),
        variants: variants.collect(),
        seeds: options.seeds,
        failed,
        makers: makers(experiment, &runs),
        without_numbers: read::without_numbers(experiment, &runs),
    };
    let figures: Vec<Lines> = experiment.figures.iter().map(|figure| read::lines(experiment, figure, &runs)).collect();
    let drawn = report::experiment::figures(experiment, &figures);
    write(options, experiment, &outcome, &runs, &drawn)?;
    Ok(Some(outcome))
}

/// What made the runs, each with those that it worked on.
fn makers(experiment: &Experiment, runs: &Runs) -> Vec<Made> {
    let mut makers = BTreeMap::<Maker, Vec<String>>::new();
    for (variant, runs) in experiment.variants.iter().zip(runs) {
        for (seed, run) in runs.iter().enumerate() {
            for maker in run.iter().flat_map(|run| &run.makers) {
                makers.entry(maker.clone()).or_default().push(format!("{}, seed {seed}", variant.name));
            }
        }
    }
    makers.into_iter().map(|(maker, runs)| Made { maker, runs }).collect()
}

/// The runs of each variant by seed, with none in the place of one that failed.
type Runs = Vec<Vec<Option<Run>>>;

/// Every variant under every seed, and what failed; none if it was stopped.
fn all_runs(experiment: &Experiment, options: &ExperimentOptions) -> anyhow::Result<Option<(Runs, Vec<Failure>)>> {
    let reporter = Reporter::new(options.verbosity);
    let all = experiment.variants.len() as u64 * options.seeds;
    let mut number = 0;
    let mut runs: Runs = vec![Vec::new(); experiment.variants.len()];
    let mut failed = Vec::new();
    // Seed by seed: whatever was stopped, the variants are compared on the same seeds.
    for seed in 0..options.seeds {
        for (variant, runs) in experiment.variants.iter().zip(&mut runs) {
            number += 1;
            reporter.note(&format!("run {number} of {all}: {}, seed {seed}", variant.name));
            match one_run(experiment, variant, seed, options) {
                Ok(Some(run)) => runs.push(Some(run)),
                Ok(None) => return Ok(None),
                // Asked to stop, it is not to begin the next one.
                Err(error) if options.interrupt.requested() => return Err(anyhow!(why(&error))),
                Err(error) => {
                    let failure = Failure { variant: variant.name.clone(), seed, why: why(&error) };
                    reporter.note(&format!("{}, seed {seed} failed: {}", variant.name, failure.why));
                    failed.push(failure);
                    runs.push(None);
                }
            }
        }
    }
    Ok(Some((runs, failed)))
}

/// A variant under a seed, run to its end if it is not there yet; none if it was stopped.
fn one_run(
    experiment: &Experiment,
    variant: &Variant,
    seed: u64,
    options: &ExperimentOptions,
) -> anyhow::Result<Option<Run>> {
    let folder = folder_of(options, variant, seed);
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
    Ok(Some(Run::read(summary, &folder)?))
}

fn folder_of(options: &ExperimentOptions, variant: &Variant, seed: u64) -> PathBuf {
    options.out.join("runs").join(format!("{}-seed-{seed}", variant.name))
}

/// The summary of a run that came to its end, and was made by this very recipe.
fn finished(folder: &Path, recipe: &Recipe) -> anyhow::Result<Option<RunSummary>> {
    let path = folder.join("summary.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let summary: RunSummary = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let stored = Recipe::read(&folder.join("recipe.toml"), &[])?;
    let same = as_kept(recipe, &stored)?.difference(&stored).is_none();
    // One of another recipe was refused before anything was run (`check_kept`).
    Ok(Some(summary).filter(|summary| same && summary.status == RunStatus::Finished))
}

/// That no run in the folder was made by another recipe: the table would compare what was not asked for. Looked at before
/// anything is run.
fn check_kept(experiment: &Experiment, options: &ExperimentOptions) -> anyhow::Result<()> {
    for (variant, seed) in experiment.variants.iter().flat_map(|one| (0..options.seeds).map(move |seed| (one, seed))) {
        let folder = folder_of(options, variant, seed);
        // One that cannot be read is told of where it is resumed.
        let Ok(stored) = Recipe::read(&folder.join("recipe.toml"), &[]) else { continue };
        let recipe = as_kept(&experiment.recipe_of(variant, seed)?, &stored)?;
        if let Some((key, now, before)) = recipe.difference(&stored) {
            let message = format!(
                "the run has {key} = {before}, the experiment now has {now}: going on would make it a different run"
            );
            let hint = "take the change back, give the experiment another `name` or --out, or remove the folder";
            return Err(RecipeError::new(folder.display().to_string(), message).hint(hint).into());
        }
    }
    Ok(())
}

/// The recipe as its run keeps it: with absolute paths. Which files a data set of the Hub became, only the kept one knows.
fn as_kept(recipe: &Recipe, stored: &Recipe) -> anyhow::Result<Recipe> {
    let mut recipe = recipe.clone();
    for file in &recipe.tasks.files {
        if hub_name(file)?.is_some() {
            recipe.tasks.files.clone_from(&stored.tasks.files);
            break;
        }
    }
    recipe.make_paths_absolute()?;
    Ok(recipe)
}

/// Why a run failed, with its causes. An experiment has no `--resume` and no `--from`: what a run advises of them is put
/// otherwise or left out, for it is the same command that goes on.
fn why(error: &anyhow::Error) -> String {
    let failed = error.downcast_ref::<RunFailed>();
    let mut text = String::new();
    for cause in error.chain() {
        let cause = match (cause.downcast_ref::<Unusable>(), failed, cause.to_string()) {
            (Some(unusable), ..) => unusable.said_without_options(),
            // A context cannot be asked what it is, only the whole error can.
            (None, Some(failed), said) if said == failed.to_string() => failed.said_without_options(),
            (None, _, said) => said,
        };
        // Many errors say what caused them within their own text.
        if !text.contains(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    text
}

fn write(
    options: &ExperimentOptions,
    experiment: &Experiment,
    outcome: &Outcome,
    runs: &[Vec<Option<Run>>],
    drawn: &report::experiment::Drawn,
) -> anyhow::Result<()> {
    let out = &options.out;
    let json = serde_json::to_string_pretty(outcome)? + "\n";
    write_whole(&out.join("results.json"), json.as_bytes())?;
    write_whole(&out.join("table.md"), markdown(experiment, &options.asked, outcome, runs).as_bytes())?;
    write_whole(&out.join("experiment.toml"), experiment.text.as_bytes())?;
    for (number, svg) in drawn.files.iter().enumerate() {
        write_whole(&out.join(format!("figure-{}.svg", number + 1)), svg.as_bytes())?;
    }
    let page = report::experiment::render(experiment, outcome, &drawn.page);
    write_whole(&out.join("report.html"), page.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_what_an_experiment_can_follow() {
        let failed = || RunFailed { folder: "x".to_owned(), resumable: true };
        let error = anyhow!("the reward is wrong\n  hint: mend it").context(failed());
        assert!(error.to_string().contains("--resume goes on"));
        assert_eq!(why(&error), "the run in x failed: the reward is wrong\n  hint: mend it");
        let gone = Unusable::put_back("metrics.jsonl is gone".to_owned(), "put the file back");
        assert!(gone.to_string().ends_with("put the file back, or start a new run without --resume"));
        let error = anyhow::Error::from(gone).context("in it").context(failed());
        let said =
            "the run in x failed: in it: metrics.jsonl is gone\n  hint: put the file back, or remove the run's folder";
        assert_eq!(why(&error), said);
        let error = anyhow!("too little memory\n  hint: --set grpo.group_size=4 takes less");
        assert_eq!(why(&error), "too little memory\n  hint: --set grpo.group_size=4 takes less");
        assert_eq!(why(&anyhow!("a: b").context("in a: b")), "in a: b");
    }
}
