//! What a command line means: its settings, its recipe, the run that it goes on with.

use clap::Parser;

use super::super::arguments::{Arguments, Command};
use super::super::{WRONG, status};
use super::*;
use crate::run::StageRecord;

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
        let options = RunOptions { verbosity: Verbosity::Silent, cache_dir: folder.path().join("cache"), ..options };
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
    assert!(said.contains("there is no such file of demonstrations\n  hint: name yours: --set 'STAGE.data="), "{said}");
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

/// Of the runs that are meant, a finished one is not gone on with while another waits.
#[test]
fn an_unfinished_run_is_resumed_before_a_finished_one() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let (whole, shorter) = (begun(&runs, "smoke", &[]), begun(&runs, "smoke", &["grpo.steps=1"]));
    let finish = |path: &Path| {
        let recipe = Recipe::read(&path.join("recipe.toml"), &[]).unwrap();
        let mut run = RunDir::open(path, &recipe).unwrap();
        for stage in &recipe.stages {
            run.finish_stage(StageRecord { name: stage.name.clone(), ..StageRecord::default() }).unwrap();
        }
    };
    let resumed = |line: &[&str]| to_resume(&runs, line).unwrap().1;
    assert_eq!(resumed(&["smoke", "--resume"]), shorter);
    finish(&shorter);
    assert_eq!(resumed(&["smoke", "--resume"]), whole);
    assert_eq!(resumed(&["smoke", "--steps", "1", "--resume"]), shorter);
    finish(&whole);
    assert_eq!(resumed(&["smoke", "--resume"]), shorter);
}

/// The folder of a run is enough to go on with it; it is no recipe.
#[test]
fn a_run_brings_its_recipe_along() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path(), "smoke", &["grpo.steps=1"]);
    let run = run.to_str().unwrap();
    let mut options = RunOptions { run_dir: Some(run.into()), resume: true, ..RunOptions::default() };
    let arguments = run_arguments(&["--resume", "--run-dir", run]);
    let recipe = load(&arguments, &mut options, &Registry::builtin()).unwrap();
    assert_eq!(recipe, Recipe::find("smoke", &["grpo.steps=1".to_owned()]).unwrap());
    assert_eq!(options.settings, ["grpo.steps=1"]);
    for line in [&["--resume"][..], &["--run-dir", run]] {
        assert!(Arguments::try_parse_from(["recipe", "run"].iter().chain(line)).is_err(), "{line:?}");
    }
    let check = |named: &str, hint: &str| {
        let error = load(&run_arguments(&[named, "--resume"]), &mut options.clone(), &Registry::builtin()).unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
        assert_eq!(status(&error), WRONG);
    };
    check(run, &format!("hint: recipe run --resume --run-dir {run} goes on with it"));
    check(folder.path().to_str().unwrap(), "is a folder, and no recipe");
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
