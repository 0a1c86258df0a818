//! `recipe run`: the recipe that is meant, its plan or its run, and how to go on with it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use datasets::Split;
use rewards::Registry;

use super::arguments::RunArguments;
use super::{INTERRUPTED, Wrong, complaint, fetched, print};
use crate::config::{ModelSettings, Recipe, RecipeError, nearest};
use crate::hub::hub_name;
use crate::interrupt::Interrupt;
use crate::place;
use crate::plan;
use crate::progress::{Reporter, Verbosity};
use crate::run::RunDir;
use crate::session::{RunOptions, RunStatus, RunSummary, run_recipe, run_to_resume};
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
    if arguments.dry_run {
        let threads = options.threads.unwrap_or_else(rayon::current_num_threads);
        let only = arguments.only.as_deref();
        let span = plan::Span { from: only.or(arguments.from.as_deref()), until: only };
        check_model_here(&recipe)?;
        let mut text = plan::render(&recipe, threads, span, &Reporter::new(Verbosity::Plain))?;
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
    format!("recipe run {} --resume --run-dir {}{threads}{device}", arguments.recipe, summary.run_dir.display())
}

/// The recipe that the arguments mean. A resumed run takes the settings that it was started with
/// again, so that they need not be typed twice.
fn load(arguments: &RunArguments, options: &mut RunOptions, known: &Registry) -> anyhow::Result<Recipe> {
    let with = |mut settings: Vec<String>| -> anyhow::Result<(Recipe, Vec<String>)> {
        let given = given_settings(arguments, &settings, known)?;
        settings.extend(given);
        Ok((Recipe::find_with(&arguments.recipe, &settings, known)?, settings))
    };
    let settings_of = |run: &Path| -> anyhow::Result<Vec<String>> {
        Ok(RunDir::read_info(run).map_err(|error| Wrong(format!("{error:#}")))?.settings)
    };
    let mut earlier = Vec::new();
    if options.resume {
        let name = Recipe::name_of(&arguments.recipe, &arguments.settings)?;
        let asked = |run: &Path| settings_of(run).and_then(with).map(|(recipe, _)| recipe);
        let path = run_to_resume(options, &name, asked)?;
        earlier = settings_of(&path)?;
        options.run_dir = Some(path);
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
        let recipe = Recipe::find_with(&arguments.recipe, &all, known)?;
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
mod tests {
    use clap::Parser;

    use super::super::arguments::{Arguments, Command};
    use super::super::{WRONG, status};
    use super::*;

    fn run_arguments(line: &[&str]) -> RunArguments {
        let arguments = Arguments::try_parse_from(["recipe", "run"].iter().chain(line));
        match arguments.unwrap_or_else(|error| panic!("{error}")).command {
            Command::Run(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_become_settings_and_set_has_the_last_word() {
        fn check(line: &[&str], expected: &[&str]) {
            assert_eq!(given_settings(&run_arguments(line), &[], &Registry::builtin()).unwrap(), expected, "{line:?}");
        }
        check(&["smoke"], &[]);
        check(&["smoke", "--set", "seed=2", "--seed", "1"], &["seed=1", "seed=2"]);
        check(&["smoke", "--steps", "7"], &["grpo.steps=7"]);
        check(&["smoke", "--skip-bad-lines"], &["tasks.on_bad_line=skip"]);
        // Nothing is fetched for a plan.
        check(
            &["smoke", "--dry-run", "--tasks", "openai/gsm8k", "--held-out", "hub:a/math.v2:test"],
            &["tasks.files=[\"openai/gsm8k\"]", "tasks.held_out_files=[\"hub:a/math.v2:test\"]"],
        );
    }

    /// A recipe that has no stage to make a base, and names no model.
    const WITHOUT_A_MODEL: &str = "name = \"alone\"\n[[stage]]\nkind = \"grpo\"\n";

    #[test]
    fn steps_are_set_of_a_recipe_that_other_options_make_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, WITHOUT_A_MODEL).unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        let (file, model) = (file.to_str().unwrap(), model.to_str().unwrap());
        let given = |line: &[&str]| {
            given_settings(&run_arguments(line), &[], &Registry::builtin()).map_err(|error| error.to_string())
        };
        let by_model = given(&[file, "--model", model, "--steps", "7"]).unwrap();
        assert_eq!(by_model.last().unwrap(), "grpo.steps=7");
        let setting = format!("model.path={model}");
        assert_eq!(given(&[file, "--set", &setting, "--steps", "7"]).unwrap()[0], "grpo.steps=7");
        assert!(given(&[file, "--steps", "7"]).unwrap_err().contains("there is no model to start from"));
    }

    #[test]
    fn files_are_looked_for_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = folder.path().join("it's \"tasks\".jsonl");
        let model = folder.path().join("model");
        let tasks_text = tasks.to_str().unwrap();
        let model_text = model.to_str().unwrap();
        let line = ["smoke", "--tasks", tasks_text, "--model", model_text];
        let error = given_settings(&run_arguments(&line), &[], &Registry::builtin()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the task file "), "{error}");
        std::fs::write(&tasks, "").unwrap();
        let error = given_settings(&run_arguments(&line), &[], &Registry::builtin()).unwrap_err().to_string();
        assert!(error.ends_with("there is no such model folder"), "{error}");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        let held_out = folder.path().join("held.jsonl");
        std::fs::write(&held_out, "").unwrap();
        let line = [&line[..], &["--held-out", held_out.to_str().unwrap()]].concat();
        let settings = given_settings(&run_arguments(&line), &[], &Registry::builtin()).unwrap();
        let recipe = Recipe::find_with("smoke", &settings, &Registry::builtin()).unwrap();
        assert_eq!((recipe.tasks.files, recipe.tasks.held_out_files), (vec![tasks], vec![held_out]));
        assert_eq!(recipe.model, crate::config::ModelSettings::Folder { path: model });
    }

    #[test]
    fn a_given_model_is_looked_at_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let setting = format!("model={{ path = {} }}", toml_text(folder.path()).unwrap());
        let recipe = Recipe::find_with("smoke", &[setting], &Registry::builtin()).unwrap();
        let check = |config: serde_json::Value, expected: &str| {
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let error = check_model(&recipe).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(status(&error), WRONG);
        };
        check(serde_json::json!({"model_type": "t5"}), "t5");
        let shape = |positions| crate::config::ModelShape { max_position_embeddings: positions, ..Default::default() };
        check(shape(32).hf_config(512), "leaves no room for a prompt: the model has 32 positions");
        std::fs::write(folder.path().join("config.json"), shape(512).hf_config(512).to_string()).unwrap();
        check_model(&recipe).unwrap();
        std::fs::remove_file(folder.path().join("config.json")).unwrap();
        assert_eq!(status(&check_model(&recipe).unwrap_err()), WRONG);
    }

    #[test]
    fn what_only_files_and_folders_can_tell_is_wrong_too() {
        fn check(error: anyhow::Error) {
            assert_eq!(status(&error), WRONG, "{error:#}");
        }
        let folder = tempfile::tempdir().unwrap();
        let given = |line: &[&str]| given_settings(&run_arguments(line), &[], &Registry::builtin()).unwrap_err();
        check(given(&["smoke", "--tasks", "no/such/file.jsonl"]));
        check(given(&["smoke", "--held-out", "no/such/file.jsonl"]));
        check(given(&["smoke", "--tasks", folder.path().to_str().unwrap()]));
        check(given(&["smoke", "--model", "no/such/model"]));

        let resume = |run_dir: Option<PathBuf>| {
            let runs_root = folder.path().join("runs");
            let mut options = RunOptions { runs_root, run_dir, resume: true, ..RunOptions::default() };
            load(&run_arguments(&["smoke", "--resume"]), &mut options, &Registry::builtin()).unwrap_err()
        };
        check(resume(None));
        check(resume(Some(folder.path().to_owned())));

        let smoke = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            Recipe::find_with("smoke", &settings, &Registry::builtin()).unwrap()
        };
        let failed = |recipe: &Recipe, options: RunOptions| {
            let options =
                RunOptions { verbosity: Verbosity::Silent, cache_dir: folder.path().join("cache"), ..options };
            run_recipe(recipe, &options).unwrap_err()
        };
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let run_dir = || Some(folder.path().to_owned());
        check(failed(&smoke(&[]), RunOptions { run_dir: run_dir(), ..RunOptions::default() }));
        let info = crate::run::RunInfo::collect(0, 1, &[], &[], &[]).unwrap();
        let runs = folder.path().join("runs");
        let of = RunDir::create(&runs, None, &smoke(&[]), info).unwrap().path().to_owned();
        let from = || RunOptions { runs_root: runs.clone(), from: Some("after".to_owned()), ..RunOptions::default() };
        check(failed(&smoke(&["seed=2"]), RunOptions { of: Some(of.clone()), ..from() }));
        check(failed(&smoke(&[]), RunOptions { of: run_dir(), ..from() }));
        check(failed(&smoke(&["name=other"]), from()));
        let text = "[[stage]]\nkind = \"pretrain\"\n[[stage]]\nkind = \"sft\"\ndata = [\"no/such/traces.jsonl\"]\n";
        let error = failed(&Recipe::parse("x.toml", text, &[]).unwrap(), RunOptions::default());
        let said = error.to_string();
        assert!(
            said.contains("there is no such file of demonstrations\n  hint: name yours: --set 'STAGE.data="),
            "{said}"
        );
        check(error);
        let resume = RunOptions { run_dir: Some(of), resume: true, ..RunOptions::default() };
        check(failed(&smoke(&["grpo.learning_rate=1"]), resume));
    }

    /// The folder of a new run.
    fn begun(runs: &Path, recipe: &str, settings: &[&str]) -> PathBuf {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let recipe = Recipe::find_with(recipe, &settings, &Registry::builtin()).unwrap();
        let info = crate::run::RunInfo::collect(0, 1, &[], &settings, &[]).unwrap();
        RunDir::create(runs, None, &recipe, info).unwrap().path().to_owned()
    }

    /// The name of the recipe that a line with `--resume` means, and the folder of its run.
    fn to_resume(runs: &Path, line: &[&str]) -> anyhow::Result<(String, PathBuf)> {
        let mut options = RunOptions { runs_root: runs.to_owned(), resume: true, ..RunOptions::default() };
        let recipe = load(&run_arguments(line), &mut options, &Registry::builtin())?;
        Ok((recipe.name, options.run_dir.unwrap()))
    }

    /// The name is what a run is found by, whatever else the recipe needs to be whole.
    #[test]
    fn a_run_to_resume_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, WITHOUT_A_MODEL).unwrap();
        let runs = folder.path().join("runs");
        let start = |recipe: &str, settings: &[&str]| begun(&runs, recipe, settings);
        let resumed = |line: &[&str]| to_resume(&runs, line).unwrap();
        let file = file.to_str().unwrap();
        let alone = start(file, &["model.path=/a/model"]);
        assert_eq!(resumed(&[file, "--resume"]), ("alone".to_owned(), alone));
        let other = start("smoke", &["name=other"]);
        assert_eq!(resumed(&["smoke", "--set", "name=other", "--resume"]), ("other".to_owned(), other));
    }

    /// `recipe show smoke > mine.toml` keeps the name.
    #[test]
    fn a_run_to_resume_is_one_of_the_recipe_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let mine = folder.path().join("mine.toml");
        let shipped = crate::config::find_shipped("smoke").unwrap().text;
        std::fs::write(
            &mine,
            shipped.replace("kind = \"grpo\"\nsteps = 3\n", "kind = \"grpo\"\nname = \"rl\"\nsteps = 2\n"),
        )
        .unwrap();
        let start = |recipe: &str, settings: &[&str]| begun(&runs, recipe, settings);
        let resumed = |line: &[&str]| to_resume(&runs, line).map(|(_, run)| run);
        let name = mine.to_str().unwrap();
        let (first, seeded) = (start("smoke", &[]), start("smoke", &["seed=1"]));
        // The settings of the last are none of the shipped recipe, which calls the stage otherwise.
        let (copied, told) = (start(name, &[]), start(name, &["rl.steps=1"]));
        assert_eq!(resumed(&["smoke", "--resume"]).unwrap(), seeded);
        assert_eq!(resumed(&["smoke", "--seed", "0", "--resume"]).unwrap(), first);
        assert_eq!(resumed(&[name, "--resume"]).unwrap(), told);
        assert_eq!(resumed(&[name, "--steps", "2", "--resume"]).unwrap(), copied);
        let error = resumed(&["smoke", "--set", "grpo.group_size=6", "--resume"]).unwrap_err();
        let said = error.to_string();
        let newest = format!("the run in {} has ", copied.display());
        let folders = [told, copied, seeded, first].map(|run| run.display().to_string()).join(", ");
        let hint = format!("; --run-dir DIR goes on with another run called smoke: {folders}");
        assert!(said.starts_with(&newest) && said.ends_with(&hint), "{said}");
        assert_eq!(status(&error), WRONG);
    }

    #[test]
    fn numbers_have_bounds() {
        fn check(line: &[&str], fine: bool) {
            let line = ["recipe", "run", "smoke"].iter().chain(line);
            assert_eq!(Arguments::try_parse_from(line.clone()).is_ok(), fine, "{line:?}");
        }
        check(&["--threads", "1024"], true);
        check(&["--threads", "1025"], false);
        check(&["--threads", "0"], false);
        check(&["--seed", "9223372036854775807"], true);
        check(&["--seed", "9223372036854775808"], false);
        check(&["--seed", "18446744073709551615"], false);
    }

    #[test]
    fn paths_are_kept_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(toml_text(Path::new("a.jsonl")).unwrap(), toml_text(&here.join("a.jsonl")).unwrap());
    }

    #[test]
    fn a_resumed_run_takes_its_settings_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = RunOptions { runs_root: folder.path().to_owned(), ..RunOptions::default() };
        let first = load(&run_arguments(&["smoke", "--steps", "9"]), &mut options, &Registry::builtin()).unwrap();
        let info = crate::run::RunInfo::collect(0, 1, &[], &options.settings, &[]).unwrap();
        let path = RunDir::create(folder.path(), None, &first, info).unwrap().path().to_owned();
        options.resume = true;
        let again = load(&run_arguments(&["smoke", "--resume"]), &mut options, &Registry::builtin()).unwrap();
        assert_eq!(again, first);
        assert_eq!(options.run_dir, Some(path));
    }
}
