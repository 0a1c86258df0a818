//! One run: its folder, its stages, its report.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::Split;
use datasets::source::hub::Hub;
use policy::Place;

use crate::alarms::RaisedAlarm;
use crate::config::{GrpoSettings, HandOn, Recipe, RecipeError, Stage, StageSettings};
use crate::hub::Fetcher;
use crate::interrupt::Interrupt;
use crate::metrics::{EvalMetrics, StepMetrics, is_more};
use crate::place;
use crate::progress::{Reporter, Verbosity};
use crate::report;
use crate::run::{
    BestCheckpoint, Maker, Reuse, RunDir, RunFailed, RunInfo, RunStatus, RunSummary, Unusable, hash_files, hash_model,
    newest_run, runs_of,
};
use crate::stage::{self, RunContext, StagesOutcome, Tasks};
use crate::wording::one_line;

/// How a recipe is run: all that does not belong to the recipe itself.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where runs are kept, each in a folder called after its recipe.
    pub runs_root: PathBuf,
    /// The folder of this run, instead of one below `runs_root`.
    pub run_dir: Option<PathBuf>,
    /// Goes on with the run in `run_dir`; or with the newest unfinished one that was made with this recipe, under its name;
    /// or, if all of these are finished, with the newest.
    pub resume: bool,
    /// A new run that takes over what an earlier one did before this stage: see [`crate::run`].
    pub from: Option<String>,
    /// The folder of that earlier run, instead of the newest of this recipe's name.
    pub of: Option<PathBuf>,
    /// Stops once this stage is done. A resumed run for which none is named stops where it was to stop when it began, unless it
    /// has got there.
    pub until: Option<String>,
    /// Threads to work with; none takes what the process has.
    pub threads: Option<usize>,
    /// Where to compute, as `--device` takes it; none is the CPU, and for a resumed run where it was before.
    pub device: Option<String>,
    /// Where bases and the prepared Python are kept from run to run.
    pub cache_dir: PathBuf,
    /// What is shown meanwhile.
    pub verbosity: Verbosity,
    /// Raised from outside, it makes the run stop with a checkpoint.
    pub interrupt: Interrupt,
    /// The `key=value` settings that are in the recipe already: written down for a later resume.
    pub settings: Vec<String>,
    /// The command line, for the record.
    pub command: Vec<String>,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            runs_root: PathBuf::from("runs"),
            run_dir: None,
            resume: false,
            from: None,
            of: None,
            until: None,
            threads: None,
            device: None,
            cache_dir: sandbox::default_cache_dir(),
            verbosity: Verbosity::Auto,
            interrupt: Interrupt::new(),
            settings: Vec::new(),
            command: Vec::new(),
        }
    }
}

/// What `--from` and `--only` ask for is not to be had of the earlier run: why.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct NothingToTakeOver(anyhow::Error);

/// The characters of a failure that its report shows.
const LONGEST_FAILURE: usize = 600;

/// Runs a recipe from its first stage to its report, or on from where it stopped.
///
/// # Errors
/// If the folder cannot be used, or a stage fails. What was done before the failure is in the run
/// folder, and `resume` goes on from its last checkpoint.
pub fn run_recipe(recipe: &Recipe, options: &RunOptions) -> anyhow::Result<RunSummary> {
    let reporter = Reporter::new(options.verbosity);
    let threads = options.threads.unwrap_or_else(rayon::current_num_threads);
    let fetcher = Fetcher { hub: &Hub::from_env(), reporter: &reporter, interrupt: &options.interrupt };
    let recipe = &with_absolute_paths(recipe, &fetcher)?;
    let to_resume = options.resume.then(|| run_to_resume(options, &recipe.name, |_| Ok(recipe.clone()))).transpose()?;
    let device = device(options, to_resume.as_deref())?;
    let place = place::open(Some(&device))?;
    let resumed = to_resume.is_some();
    let (run, tasks) = match to_resume {
        Some(path) => reopen_run(recipe, &path, (&device, &options.settings), &reporter)?,
        None => open_run(recipe, options, (threads, device, &place), &reporter)?,
    };
    let until = until(options, &run, &reporter)?;
    let mut context = RunContext {
        recipe,
        run,
        reporter,
        interrupt: options.interrupt.clone(),
        cache_dir: options.cache_dir.clone(),
        threads,
        place,
        resumed,
        until,
    };
    // The stages run inside of the pool: a parallel operation then begins where it is called, without waking a thread.
    // The pool is the run's own, so that two runs in one process do not share a setting.
    let done = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .context("cannot start the threads")?
        .install(|| stage::run(&mut context, tasks));
    let outcome = done.map_err(|error| {
        let refused = error.is::<stage::Refused>() || error.is::<Unusable>();
        if !refused {
            report_failure(&context, &error);
        }
        let folder = context.run.path().display().to_string();
        error.context(RunFailed { folder, resumable: !refused && context.run.holds_work() })
    })?;
    let status = match (&outcome.interrupted, &outcome.stopped_after) {
        (Some(record), _) => RunStatus::Interrupted { stage: record.name.clone(), step: record.steps },
        (None, Some(stage)) => RunStatus::StoppedAfter { stage: stage.clone() },
        (None, None) => RunStatus::Finished,
    };
    let summary = summarise(&context, status, outcome)?;
    context.run.write_summary(&summary)?;
    report::write(&context.run, recipe, &summary)?;
    Ok(summary)
}

/// Writes the page of what there was until a run broke off: curves often show why.
fn report_failure(context: &RunContext<'_>, error: &anyhow::Error) {
    let status = RunStatus::Failed { why: one_line(&format!("{error:#}"), LONGEST_FAILURE) };
    let report = || {
        let summary = summarise(context, status, StagesOutcome::default())?;
        context.run.write_summary(&summary)?;
        report::write(&context.run, context.recipe, &summary)
    };
    // Where that fails too, what the person should read is what failed first.
    if report().is_ok() {
        let page = context.run.path().join("report.html");
        context.reporter.note(&format!("the report of what there was until then: {}", page.display()));
    }
}

/// The run in figures, as far as it has come.
fn summarise(context: &RunContext<'_>, status: RunStatus, outcome: StagesOutcome) -> anyhow::Result<RunSummary> {
    let RunContext { recipe, run, .. } = context;
    let examined = |stage: &str| {
        recipe.stages.iter().any(|other| other.name == stage && matches!(other.settings, StageSettings::Eval {}))
    };
    Ok(RunSummary {
        recipe: recipe.name.clone(),
        seed: recipe.seed,
        run_dir: run.path().to_owned(),
        status,
        stages: run.stages_done()?,
        unfinished: outcome.interrupted.filter(|record| record.steps > 0),
        evaluations: run.evaluations()?.into_iter().filter(|eval| !eval.quick && examined(&eval.stage)).collect(),
        best: best(run, recipe)?,
        alarms: alarms(run)?,
        parameters: outcome.parameters,
        active_parameters: outcome.active_parameters,
        threads: context.threads,
        host_cores: run.info().host_cores,
        card: place::card_name(&context.place),
    })
}

/// Where to compute: as asked for; else where a resumed run did before; else on the CPU.
fn device(options: &RunOptions, to_resume: Option<&Path>) -> anyhow::Result<String> {
    match (&options.device, to_resume) {
        (Some(device), _) => Ok(device.clone()),
        (None, Some(run)) => Ok(RunDir::read_info(run)?.device),
        (None, None) => Ok(place::CPU.to_owned()),
    }
}

/// The stage that the run stops after: as asked for now; else, of a run that goes on, as asked for when it began.
fn until(options: &RunOptions, run: &RunDir, reporter: &Reporter) -> anyhow::Result<Option<String>> {
    let begun = run.info().until.as_ref().filter(|_| options.resume && options.until.is_none());
    let Some(stage) = begun else { return Ok(options.until.clone()) };
    if run.is_done(stage)? {
        return Ok(None);
    }
    reporter.note(&format!("the run was begun with --only {stage}: it stops once that is done"));
    Ok(Some(stage.clone()))
}

/// The best checkpoint of each grpo stage, as far as it has come.
fn best(run: &RunDir, recipe: &Recipe) -> anyhow::Result<Vec<BestCheckpoint>> {
    let evaluations = run.evaluations()?;
    let of_stage = |(stage, settings): (&Stage, &GrpoSettings)| {
        let quick: Vec<&EvalMetrics> =
            evaluations.iter().filter(|eval| eval.quick && eval.stage == stage.name).collect();
        let better = |eval: &EvalMetrics, best: &EvalMetrics| is_more(eval.sampled().mean, best.sampled().mean);
        let best = quick.iter().copied().reduce(|best, eval| if better(eval, best) { eval } else { best })?;
        let folder = run.checkpoint(&stage.name, best.step);
        folder.is_dir().then(|| BestCheckpoint {
            stage: stage.name.clone(),
            step: best.step,
            sampled: best.sampled(),
            of: quick.len() as u64,
            folder,
            handed_on: settings.hand_on == HandOn::Best,
        })
    };
    Ok(recipe.grpo().filter_map(of_stage).collect())
}

/// The hashes of the models that stages read where they lie.
fn model_files(recipe: &Recipe) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for folder in recipe.other_models() {
        files.extend(hash_model(folder)?);
    }
    Ok(files)
}

/// The alarms of all steps.
fn alarms(run: &RunDir) -> anyhow::Result<Vec<RaisedAlarm>> {
    let of_step = |step: StepMetrics| {
        let (stage, number) = (step.stage, step.step);
        step.alarms.into_iter().map(move |alarm| RaisedAlarm { stage: stage.clone(), step: number, alarm })
    };
    Ok(run.steps()?.into_iter().flat_map(of_step).collect())
}

/// The folder of the run that a `--resume` means: of those called so, the newest unfinished one that was made with the
/// recipe which is asked for, else the newest finished one. A copy of a recipe keeps its name, so the newest of all may be
/// another's. `asked` says what is asked for of the run in a folder, whose settings need not be given again.
///
/// # Errors
/// If there is no run of this name, or all were made with other recipes: then how the newest differs.
pub(crate) fn run_to_resume(
    options: &RunOptions,
    name: &str,
    asked: impl Fn(&Path) -> anyhow::Result<Recipe>,
) -> anyhow::Result<PathBuf> {
    if let Some(path) = &options.run_dir {
        return Ok(path.clone());
    }
    let runs = runs_of(&options.runs_root, name);
    let newest = runs.first().ok_or_else(|| Unusable {
        what: format!("there is no run called {name} in {} to resume", options.runs_root.display()),
        hint: "start one without --resume, or name its folder with --run-dir".to_owned(),
        without_options: "start one".to_owned(),
    })?;
    if runs.len() == 1 {
        return Ok(newest.clone());
    }
    let (hub, reporter) = (Hub::from_env(), Reporter::new(options.verbosity));
    let fetcher = Fetcher { hub: &hub, reporter: &reporter, interrupt: &options.interrupt };
    let (mut finished, mut unfinished, mut differs) = (None, None, None);
    for run in &runs {
        let recipe = match asked(run) {
            // Where the settings that a run was given are none of this recipe, it was made with another.
            Err(error) if error.is::<RecipeError>() => continue,
            recipe => with_absolute_paths(&recipe?, &fetcher)?,
        };
        // Where its list of stages cannot be read, opening the run says so.
        let is_finished = RunDir::has_finished(run, &recipe).unwrap_or(false);
        match RunDir::difference(run, &recipe)? {
            None if is_finished => finished = finished.or(Some(run)),
            None => return Ok(run.clone()),
            Some(why) => {
                unfinished = unfinished.or(Some(run).filter(|_| !is_finished));
                differs = differs.or(Some(why));
            }
        }
    }
    if let Some(finished) = finished {
        if let Some(other) = unfinished.map(|run| run.display()) {
            reporter.note(&format!(
                "the run in {other}, of other settings, is not finished: --resume --run-dir {other} goes on with it"
            ));
        }
        return Ok(finished.clone());
    }
    let Some(mut why) = differs else { return asked(newest).map(|_| newest.clone()) };
    let folders: Vec<String> = runs.iter().map(|run| run.display().to_string()).collect();
    let _ = write!(why.hint, "; --run-dir DIR goes on with another run called {name}: {}", folders.join(", "));
    Err(why.into())
}

/// The recipe with the paths of what it reads made absolute, so that a run can be resumed from any folder. Data sets of the Hub
/// are fetched, and become the files on disk.
fn with_absolute_paths(recipe: &Recipe, fetcher: &Fetcher<'_>) -> anyhow::Result<Recipe> {
    let mut recipe = recipe.clone();
    recipe.tasks.files = fetcher.task_files(&recipe.tasks.files, Split::Train)?;
    recipe.tasks.held_out_files = fetcher.task_files(&recipe.tasks.held_out_files, Split::Held)?;
    recipe.make_paths_absolute()?;
    Ok(recipe)
}

/// The run in a folder, to go on.
fn reopen_run(
    recipe: &Recipe,
    path: &Path,
    (device, settings): (&str, &[String]),
    reporter: &Reporter,
) -> anyhow::Result<(RunDir, Tasks)> {
    let run = RunDir::open_with(path, recipe, Some(settings))?;
    let path = run.path().display();
    if run.info().device != device {
        let before = &run.info().device;
        reporter.note(&format!("the run computed on {before}, and goes on on {device}, which rounds otherwise"));
    }
    if let Some(before) = run.earlier_maker() {
        let now = Maker::here();
        reporter.note(&format!(
            "the run was worked on by {before}, and goes on with {now}: it may come to other bits than if it had not changed"
        ));
    }
    for (then, now) in run.moved() {
        reporter.note(&format!("what was {} lies in {} now, and is the same", then.display(), now.display()));
    }
    for what in run.changed_rewards() {
        reporter.note(&format!("{what} is not what it was: from here on, the reward as it is now scores"));
    }
    if run.is_finished()? {
        reporter.note(&format!("the run in {path} is finished already: it goes on only if a checkpoint is damaged"));
    } else {
        reporter.note(&format!("resuming the run in {path}"));
    }
    let tasks = Tasks::read(recipe, reporter)?;
    Ok((run, tasks))
}

/// A new run, and its folder.
fn open_run(
    recipe: &Recipe,
    options: &RunOptions,
    (threads, device, place): (usize, String, &Place),
    reporter: &Reporter,
) -> anyhow::Result<(RunDir, Tasks)> {
    // What was given is read before there is a folder: what is wrong with it can then be mended without a trace.
    let tasks = Tasks::read(recipe, reporter)?;
    stage::check_model(recipe)?;
    let files = &recipe.input_files();
    let info = RunInfo {
        reward_files: hash_files("reward file", &recipe.reward_files())?,
        model_files: model_files(recipe)?,
        device,
        card: place::card_name(place),
        until: options.until.clone(),
        ..RunInfo::collect(recipe.seed, threads, &options.command, &options.settings, files)?
    };
    stage::check_rewards(recipe, &options.cache_dir)?;
    stage::check_targets(recipe)?;
    let earlier = newest_run(&options.runs_root, &recipe.name);
    let is_first = |name: &str| recipe.stages.first().is_some_and(|stage| stage.name == name);
    if let (Some(first), Some(of)) = (options.from.as_deref().filter(|first| is_first(first)), &options.of) {
        let what = anyhow::anyhow!(
            "`{first}` is the first stage of {}: there is nothing before it to take over from {}\n  hint: leave --of out",
            recipe.name,
            of.display()
        );
        return Err(NothingToTakeOver(what).into());
    }
    let reuse = options.from.as_deref().filter(|first| !is_first(first));
    let reuse = reuse
        .map(|first| {
            let source = options.of.clone().or_else(|| earlier.clone().map(|(_, path)| path)).with_context(|| {
                format!(
                    "there is no run called {} in {} whose stages before `{first}` could be taken over\n  hint: name its \
                     folder with --of, or run all stages",
                    recipe.name,
                    options.runs_root.display()
                )
            })?;
            Reuse::find(&source, recipe, first)
        })
        .transpose()
        .map_err(NothingToTakeOver)?;
    let taken = reuse.as_ref().map(|reuse| reuse.stages().join(", "));
    for what in reuse.iter().flat_map(Reuse::changed_rewards) {
        reporter.note(&format!(
            "{what} is not what it was: what is taken over was scored by it as it was, and what follows is by it as it is"
        ));
    }
    let fill = |path: &Path| reuse.map_or(Ok(()), |reuse| reuse.take_over(path, recipe));
    let run = RunDir::create_with(&options.runs_root, options.run_dir.as_deref(), recipe, info, fill)?;
    let mut note = format!("{} runs in {}", recipe.name, run.path().display());
    if let (None, Some((_, earlier))) = (&options.run_dir, earlier) {
        let same = matches!(RunDir::difference(&earlier, recipe), Ok(None));
        let resumed = if same { "; --resume would have gone on with it" } else { "" };
        let _ = write!(note, " ({} is kept{resumed})", earlier.display());
    }
    reporter.note(&note);
    if let Some(taken) = taken {
        reporter.note(&format!("taken over from an earlier run: {taken}"));
    }
    Ok((run, tasks))
}

#[cfg(test)]
mod tests;
