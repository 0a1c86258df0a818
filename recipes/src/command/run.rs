//! `recipe run`: the recipe that is meant, its plan or its run, and how to go on with it.

mod own_base;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use datasets::Split;
use rewards::Registry;

use super::arguments::RunArguments;
use super::{INTERRUPTED, Wrong, complaint, fetched, print};
use crate::config::{ModelSettings, Recipe, RecipeError, find_shipped, nearest};
use crate::hub::hub_name;
use crate::interrupt::Interrupt;
use crate::place;
use crate::plan;
use crate::progress::{Reporter, Verbosity};
use crate::run::{RunDir, RunStatus, RunSummary};
use crate::session::{RunOptions, run_recipe, run_to_resume};
use crate::table;

pub(super) fn run(arguments: &RunArguments, known: &Registry) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::new();
    let mut options = RunOptions {
        runs_root: arguments.runs.clone(),
        run_dir: arguments.run_dir.clone(),
        resume: arguments.resume,
        from: arguments.from.clone().or_else(|| arguments.only.clone()),
        of: arguments.of.clone(),
        until: arguments.only.clone(),
        threads: arguments.threads.map(usize::from),
        device: arguments.device.clone(),
        interrupt: interrupt.clone(),
        command: std::env::args().collect(),
        ..RunOptions::default()
    };
    let recipe = load(arguments, &mut options, known)?;
    for name in arguments.from.iter().chain(&arguments.only) {
        check_stage(&recipe, name)?;
    }
    let of_own_base = if arguments.resume { Vec::new() } else { own_base::notes(&recipe, &named(arguments), known) };
    if arguments.dry_run {
        let threads = options.threads.unwrap_or_else(rayon::current_num_threads);
        let only = arguments.only.as_deref();
        let span = plan::Span { from: only.or(arguments.from.as_deref()), until: only };
        check_model_here(&recipe)?;
        let mut text = plan::render(&recipe, threads, span, &Reporter::new(Verbosity::Plain))?;
        text.extend(of_own_base.iter().map(|note| format!("note: {note}\n")));
        if let Some(device) = arguments.device.as_deref().filter(|device| *device != place::CPU) {
            text.push_str(
                "times are the processor's; `recipe model info MODEL --card-memory GIB` says whether it fits on a card\n",
            );
            if let Err(error) = place::open(Some(device)) {
                text.push_str(&complaint(&error).replacen("error", "a run would be refused here", 1));
            }
        }
        return print(&text);
    }
    if !arguments.resume {
        check_model(&recipe)?;
    }
    let reporter = Reporter::new(options.verbosity);
    of_own_base.iter().for_each(|note| reporter.note(note));
    interrupt.on_ctrl_c(say_stopping)?;
    let summary = run_recipe(&recipe, &options)?;
    print(&table::render(&summary))?;
    if let RunStatus::StoppedAfter { stage } = &summary.status {
        let text = format!("stage {stage} is done. To do the others:\n  {}\n", resume_command(arguments, &summary));
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    if let RunStatus::Interrupted { stage, step } = &summary.status {
        let what = match step {
            0 => format!("stopped in {stage}, which will be begun anew; all before it is kept"),
            _ => format!("stopped in {stage} after step {step}; nothing is lost"),
        };
        let text = format!("{what}. To go on:\n  {}\n", resume_command(arguments, &summary));
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says when the run stops that was asked to.
pub(super) fn say_stopping(awaited: Option<&'static str>) {
    let when = match awaited {
        Some(awaited) => format!("as soon as {awaited}"),
        None => "after this step, with a checkpoint".to_owned(),
    };
    let text =
        format!("\nstopping {when} (Ctrl-C again stops at once: --resume then goes on from the last checkpoint)\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// That the recipe has a stage of this name.
fn check_stage(recipe: &Recipe, name: &str) -> anyhow::Result<()> {
    let names: Vec<&str> = recipe.stages.iter().map(|stage| stage.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its stages are {}", names.join(", ")),
    };
    Err(Wrong(format!("{} has no stage called `{name}`\n  hint: {hint}", recipe.name)).into())
}

fn resume_command(arguments: &RunArguments, summary: &RunSummary) -> String {
    let threads = arguments.threads.map_or_else(String::new, |threads| format!(" --threads {threads}"));
    let device = arguments.device.as_ref().map_or_else(String::new, |device| format!(" --device {device}"));
    let recipe = arguments.recipe.as_ref().map_or_else(String::new, |recipe| format!(" {recipe}"));
    format!("recipe run{recipe} --resume --run-dir {}{threads}{device}", summary.run_dir.display())
}

/// What the recipe is called on the command line: without a name, that of the run to go on with is meant.
fn named(arguments: &RunArguments) -> String {
    let of_run = || arguments.run_dir.clone().unwrap_or_default().join("recipe.toml").display().to_string();
    arguments.recipe.clone().unwrap_or_else(of_run)
}

/// That no folder stands in the place of a recipe; it may well be that of a run.
fn check_no_folder(named: &str) -> anyhow::Result<()> {
    let folder = Path::new(named);
    if find_shipped(named).is_ok() || !folder.is_dir() {
        return Ok(());
    }
    let text = if folder.join("run.json").is_file() {
        format!(
            "{named} is the folder of a run, and no recipe\n  hint: recipe run --resume --run-dir {named} goes on with it; \
             its recipe is {}",
            folder.join("recipe.toml").display()
        )
    } else {
        format!("{named} is a folder, and no recipe\n  hint: name the recipe's file, or a shipped one (recipe list)")
    };
    Err(Wrong(text).into())
}

/// The recipe that the arguments mean. A resumed run takes the settings that it was started with
/// again, so that they need not be typed twice.
fn load(arguments: &RunArguments, options: &mut RunOptions, known: &Registry) -> anyhow::Result<Recipe> {
    let recipe_named = named(arguments);
    check_no_folder(&recipe_named)?;
    let with = |mut settings: Vec<String>| -> anyhow::Result<(Recipe, Vec<String>)> {
        let given = given_settings(arguments, &settings, known)?;
        settings.extend(given);
        Ok((Recipe::find_with(&recipe_named, &settings, known)?, settings))
    };
    let settings_of = |run: &Path| -> anyhow::Result<Vec<String>> {
        Ok(RunDir::read_info(run).map_err(|error| Wrong(format!("{error:#}")))?.settings)
    };
    let mut earlier = Vec::new();
    if options.resume {
        let asked = |run: &Path| settings_of(run).and_then(with).map(|(recipe, _)| recipe);
        let path = match &options.run_dir {
            Some(path) => path.clone(),
            None => run_to_resume(options, &Recipe::name_of(&recipe_named, &arguments.settings)?, asked)?,
        };
        earlier = settings_of(&path)?;
        options.run_dir = Some(path);
    }
    if arguments.recipe.is_none() {
        // They are in the run's own recipe.
        let (recipe, given) = with(Vec::new())?;
        options.settings = [earlier, given].concat();
        return Ok(recipe);
    }
    let (recipe, settings) = with(earlier)?;
    options.settings = settings;
    Ok(recipe)
}

/// That a given model is of a kind that is read, and that completions fit into it: said before anything is prepared.
fn check_model(recipe: &Recipe) -> anyhow::Result<()> {
    let ModelSettings::Folder { path } = &recipe.model else { return Ok(()) };
    let file = path.join("config.json");
    if !file.is_file() {
        return Err(RecipeError::no_model(path).into());
    }
    let config = policy::ModelConfig::from_file(&file).map_err(|error| Wrong(error.to_string()))?;
    recipe.check_positions(&recipe.model, config.max_position_embeddings).map_err(|problem| {
        let text = format!("{}: {}", path.display(), problem.message);
        Wrong(problem.hint.map_or_else(|| text.clone(), |hint| format!("{text}\n  hint: {hint}"))).into()
    })
}

/// The same of a model that is here; a plan can be had without it.
fn check_model_here(recipe: &Recipe) -> anyhow::Result<()> {
    match &recipe.model {
        ModelSettings::Folder { path } if !path.join("config.json").is_file() => Ok(()),
        _ => check_model(recipe),
    }
}

/// Every option that changes the recipe, as settings: those of `--set` come last, so that they
/// have the last word. `earlier` are those that a resumed run has already.
fn given_settings(arguments: &RunArguments, earlier: &[String], known: &Registry) -> anyhow::Result<Vec<String>> {
    let mut settings = Vec::new();
    if let Some(seed) = arguments.seed {
        settings.push(format!("seed={seed}"));
    }
    for (what, key, named, purpose) in [
        ("task file", "files", &arguments.tasks, Split::Train),
        ("held-out task file", "held_out_files", &arguments.held_out, Split::Held),
    ] {
        if named.is_empty() {
            continue;
        }
        for file in named {
            if hub_name(file)?.is_some() {
                continue;
            }
            let wrong = |why: String| Wrong(format!("cannot read the {what} {}: {why}", file.display()));
            let metadata = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
            if metadata.is_dir() {
                return Err(wrong("it is a folder".to_owned()).into());
            }
            std::fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
        }
        let files = match arguments.dry_run {
            // Nothing is fetched for a plan, as nothing is of what a recipe names itself.
            true => named.clone(),
            // A data set of the Hub becomes its files, of the commit that it is at now: the run can then be resumed with the same.
            false => fetched(named, purpose)?,
        };
        settings.push(format!("tasks.{key}={}", toml_list(&files)?));
    }
    if arguments.skip_bad_lines {
        settings.push("tasks.on_bad_line=skip".to_owned());
    }
    if let Some(model) = &arguments.model {
        // Said now rather than after the sandbox has been prepared.
        if !model.join("config.json").is_file() {
            return Err(RecipeError::no_model(model).into());
        }
        settings.push(format!("model={{ path = {} }}", toml_text(model)?));
    }
    if let Some(steps) = arguments.steps {
        // The recipe may be whole only with all of the settings.
        let all = [earlier, &settings, &arguments.settings].concat();
        let recipe = Recipe::find_with(&named(arguments), &all, known)?;
        let before = settings.len();
        settings.extend(recipe.grpo().map(|(stage, _)| format!("{}.steps={steps}", stage.name)));
        if settings.len() == before {
            let text = "--steps is of stages of kind \"grpo\", and the recipe has none\n  hint: --set STAGE.max_steps=N limits \
                        one of kind \"sft\" or \"distill\"";
            return Err(Wrong(text.to_owned()).into());
        }
    }
    settings.extend(arguments.settings.iter().cloned());
    Ok(settings)
}

/// As TOML text, and absolute: a resumed run may be started from another folder.
fn toml_text(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("cannot find the folder of {}", path.display()))?;
    let text = path.to_str().with_context(|| format!("the path {} is not Unicode text", path.display()))?;
    Ok(toml::Value::from(text).to_string())
}

/// The same of several; the name of a data set of the Hub stays as it is.
fn toml_list(paths: &[PathBuf]) -> anyhow::Result<String> {
    let text = |path: &PathBuf| match hub_name(path)? {
        Some(_) => Ok(toml::Value::from(path.to_string_lossy().into_owned()).to_string()),
        None => toml_text(path),
    };
    let texts = paths.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(format!("[{}]", texts.join(", ")))
}

#[cfg(test)]
mod tests;
