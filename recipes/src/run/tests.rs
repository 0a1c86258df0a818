//! Run folders: kept apart, locked, cut back on resume, and never overwritten.

use std::path::Path;

use super::*;
use crate::config::{Recipe, find_shipped};
use crate::metrics::{EvalMetrics, MetricRow, PretrainMetrics, StepMetrics};

fn smoke(settings: &[&str]) -> Recipe {
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    find_shipped("smoke").unwrap().recipe(&settings).unwrap()
}

fn create(root: &Path, recipe: &Recipe) -> RunDir {
    let info = RunInfo::collect(recipe.seed, 2, &[], &[], &recipe.tasks.files).unwrap();
    RunDir::create(root, None, recipe, info).unwrap()
}

fn name(run: &RunDir) -> String {
    run.path().file_name().unwrap().to_str().unwrap().to_owned()
}

fn step(step: u64) -> MetricRow {
    MetricRow::Step(StepMetrics { stage: "grpo".to_owned(), step, ..StepMetrics::default() })
}

fn eval(stage: &str, step: u64) -> MetricRow {
    MetricRow::Eval(EvalMetrics { stage: stage.to_owned(), step, ..EvalMetrics::default() })
}

fn pretrain(step: u64) -> MetricRow {
    MetricRow::Pretrain(PretrainMetrics { stage: "pretrain".to_owned(), step, ..PretrainMetrics::default() })
}

/// The rows as `stage step`, to compare with what is expected.
fn rows(run: &RunDir) -> Vec<String> {
    let text = |row: &serde_json::Value| format!("{} {}", row["stage"].as_str().unwrap(), row["step"]);
    run.metrics().unwrap().iter().map(text).collect()
}

#[test]
fn a_second_run_does_not_touch_the_first() {
    let root = tempfile::tempdir().unwrap();
    let recipe = smoke(&[]);
    let first = create(root.path(), &recipe);
    let second = create(root.path(), &recipe);
    assert_eq!((name(&first).as_str(), name(&second).as_str()), ("smoke", "smoke-2"));
    // The highest number counts, not the first gap; other names do not count at all.
    std::fs::create_dir(root.path().join("smoke-7")).unwrap();
    std::fs::create_dir(root.path().join("smoke-screen")).unwrap();
    // What holds no recipe is no run, but its name is taken.
    assert_eq!(newest_run(root.path(), "smoke").unwrap().0, 2);
    assert_eq!(name(&create(root.path(), &recipe)), "smoke-8");
    assert!(newest_run(root.path(), "r1-zero").is_none());
}

#[test]
fn a_run_of_another_recipe_is_not_the_newest() {
    let root = tempfile::tempdir().unwrap();
    create(root.path(), &smoke(&[]));
    let other = Recipe { name: "smoke-2".to_owned(), ..smoke(&[]) };
    assert_eq!(name(&create(root.path(), &other)), "smoke-2");
    assert_eq!(newest_run(root.path(), "smoke").unwrap().0, 1);
    assert_eq!(newest_run(root.path(), "smoke-2").unwrap().1, root.path().join("smoke-2"));
    // One that cannot be read is not passed over.
    std::fs::write(root.path().join("smoke-2/recipe.toml"), "name =").unwrap();
    assert_eq!(newest_run(root.path(), "smoke").unwrap().0, 2);
}

#[test]
fn a_lost_file_is_named() {
    for lost in ["stages.json", "metrics.jsonl"] {
        let root = tempfile::tempdir().unwrap();
        let path = create(root.path(), &smoke(&[])).path().to_owned();
        std::fs::remove_file(path.join(lost)).unwrap();
        let error = RunDir::open(&path, &smoke(&[])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is gone: ", path.join(lost).display())), "{error}");
        assert!(!path.join(lost).exists());
    }
}

#[test]
fn a_run_holds_work_once_it_has_a_stage_or_a_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let mut run = create(root.path(), &smoke(&[]));
    assert!(!run.holds_work());
    std::fs::create_dir(run.checkpoint("grpo", 1)).unwrap();
    assert!(run.holds_work());
    std::fs::remove_dir(run.checkpoint("grpo", 1)).unwrap();
    run.finish_stage(StageRecord { name: "pretrain".to_owned(), ..StageRecord::default() }).unwrap();
    assert!(run.holds_work() && !run.is_finished().unwrap());
}

#[test]
fn a_folder_in_use_or_with_something_in_it_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let recipe = smoke(&[]);
    let run = create(root.path(), &recipe);
    let error = RunDir::open(run.path(), &recipe).unwrap_err().to_string();
    assert!(error.starts_with("another process is working in "), "{error}");
    let info = run.info().clone();
    let error = RunDir::create(root.path(), Some(run.path()), &recipe, info).unwrap_err().to_string();
    assert!(error.contains("is not empty\n  hint: add --resume"), "{error}");
    let path = run.path().to_owned();
    drop(run);
    let run = RunDir::open(&path, &recipe).unwrap();
    assert_eq!(run.info().resumed.len(), 1);
}

/// As a kill leaves it while a run takes over what an earlier one did: the recipe, which comes last, is not there yet.
#[test]
fn a_folder_in_which_the_making_of_a_run_broke_off_is_used_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("mine");
    let recipe = smoke(&[]);
    let info = RunInfo::collect(recipe.seed, 2, &[], &[], &recipe.tasks.files).unwrap();
    let begin = |info: &RunInfo| RunDir::create(root.path(), Some(&path), &recipe, info.clone());
    let broken = RunDir::create_with(root.path(), Some(&path), &recipe, info.clone(), |path| {
        std::fs::create_dir_all(path.join("checkpoints/step-000001"))?;
        anyhow::bail!("killed")
    });
    assert!(broken.is_err() && !path.join("recipe.toml").exists());
    drop(begin(&info).unwrap());
    assert!(path.join("recipe.toml").is_file() && !path.join("checkpoints/step-000001").exists());

    // One that was made and has lost its recipe is no such folder: its checkpoints may be days of work.
    std::fs::remove_file(path.join("recipe.toml")).unwrap();
    std::fs::create_dir_all(path.join("checkpoints/step-000001")).unwrap();
    let error = begin(&info).unwrap_err().to_string();
    assert!(error.contains("is not empty") && path.join("checkpoints/step-000001").is_dir(), "{error}");
    let error = format!("{:#}", RunDir::open(&path, &recipe).unwrap_err());
    assert!(error.contains("recipe.toml is gone") && error.contains("put the file back"), "{error}");
}

#[test]
fn a_recipe_that_would_change_the_run_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = create(root.path(), &smoke(&[])).path().to_owned();
    for harmless in ["grpo.keep_checkpoints=5", "grpo.moments_on_host=true", "pretrain.checkpoint_layers=true"] {
        assert!(RunDir::open(&path, &smoke(&[harmless])).is_ok(), "{harmless}");
    }
    let error = RunDir::open(&path, &smoke(&["grpo.group_size=8"])).unwrap_err().to_string();
    assert!(error.contains("has grpo.group_size = 4, the recipe now has 8"), "{error}");
}

#[test]
fn a_task_file_that_changed_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("tasks.jsonl");
    std::fs::write(&file, "{}\n").unwrap();
    let recipe = smoke(&[&format!("tasks.files=['{}']", file.display())]);
    let path = create(root.path(), &recipe).path().to_owned();
    assert!(RunDir::open(&path, &recipe).is_ok());
    std::fs::write(&file, "{}\n{}\n").unwrap();
    let error = RunDir::open(&path, &recipe).unwrap_err();
    let said = format!("the task file {} is not what it was when the run in {} began", file.display(), path.display());
    assert!(error.is::<Unusable>() && error.to_string().starts_with(&said), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = RunDir::open(&path, &recipe).unwrap_err().to_string();
    assert!(error.contains("is gone") && error.contains("hint: put the file back"), "{error}");
}

/// A project: its own tasks, model, teacher, demonstrations and reward, and a recipe that names them from where it lies.
fn project(root: &Path) -> Recipe {
    let model = |name: &str| {
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("config.json"), "{}").unwrap();
        std::fs::write(root.join(name).join("model.safetensors"), name).unwrap();
    };
    std::fs::create_dir_all(root).unwrap();
    model("model");
    model("teacher");
    for (file, text) in
        [("tasks.jsonl", "{}\n"), ("shown.jsonl", "{}\n"), ("mine.py", "def reward(completions): ...\n")]
    {
        std::fs::write(root.join(file), text).unwrap();
    }
    let text = "tasks.files = ['tasks.jsonl']\nmodel.path = 'model'\n[[rewards]]\nname = \"mine\"\npath = 'mine.py'\n\
                [[rewards]]\nname = \"accuracy\"\n[[stage]]\nkind = \"distill\"\nteacher = './teacher'\n[[stage]]\nkind = \"sft\"\ndata = ['shown.jsonl']\n\
                [[stage]]\nkind = \"grpo\"\n[[stage]]\nkind = \"export\"\npath = 'out'\n";
    std::fs::write(root.join("x.toml"), text).unwrap();
    Recipe::read(&root.join("x.toml"), &[]).unwrap()
}

/// A run of it, which has made its copy of the model.
fn run_in_project(root: &Path) -> std::path::PathBuf {
    let recipe = project(root);
    let mut info = RunInfo::collect(0, 1, &[], &[], &recipe.input_files()).unwrap();
    info.reward_files = hash_files("reward file", &recipe.reward_files()).unwrap();
    for folder in recipe.other_models() {
        info.model_files.extend(hash_model(folder).unwrap());
    }
    let run = RunDir::create(&root.join("runs"), None, &recipe, info).unwrap();
    std::fs::create_dir(run.base()).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(root.join("model").join(file), run.base().join(file)).unwrap();
    }
    Path::new("runs").join(run.path().file_name().unwrap())
}

#[test]
fn a_project_can_be_moved_with_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    let run = run_in_project(&before);
    std::fs::rename(&before, &after).unwrap();
    let recipe = Recipe::read(&after.join("x.toml"), &[]).unwrap();
    let settings = ["seed=0".to_owned()];
    let opened = RunDir::open_with(&after.join(&run), &recipe, Some(&settings)).unwrap();
    let names = |(then, now): &(std::path::PathBuf, std::path::PathBuf)| {
        assert_eq!((then.parent(), now.parent()), (Some(before.as_path()), Some(after.as_path())));
        now.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let moved: Vec<String> = opened.moved().iter().map(names).collect();
    assert_eq!(moved, ["tasks.jsonl", "model", "mine.py", "teacher", "shown.jsonl"]);
    assert!(opened.changed_rewards().is_empty() && opened.info().settings == settings);
    recipe.other_models().for_each(|folder| opened.check_model(folder).unwrap());
    drop(opened);
    // From then on it is where it is.
    assert_eq!(Recipe::read(&after.join(&run).join("recipe.toml"), &[]).unwrap(), recipe);
    let opened = RunDir::open(&after.join(&run), &recipe).unwrap();
    assert!(opened.moved().is_empty() && opened.info().settings == settings);
}

#[test]
fn what_is_not_the_same_elsewhere_is_refused() {
    for (file, key) in [
        ("tasks.jsonl", "tasks.files"),
        ("model/model.safetensors", "model.path"),
        ("mine.py", "rewards.mine.path"),
        ("teacher/model.safetensors", "distill"),
        ("shown.jsonl", "sft.data"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        let run = run_in_project(&before);
        std::fs::rename(&before, &after).unwrap();
        std::fs::write(after.join(file), "# another\n").unwrap();
        let recipe = Recipe::read(&after.join("x.toml"), &[]).unwrap();
        let error = RunDir::open(&after.join(&run), &recipe).unwrap_err();
        let said = error.to_string();
        assert!(error.is::<Unusable>() && said.contains(&format!(" has {key}")), "{file}: {said}");
    }
}

#[test]
fn what_a_recipe_says_of_its_own_reward_may_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join(run_in_project(folder.path()));
    let with = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Recipe::read(&folder.path().join("x.toml"), &settings).unwrap()
    };
    let mended = with(&["rewards.mine.function=score", "rewards.mine.on_error=unscored"]);
    let opened = RunDir::open(&run, &mended).unwrap();
    assert_eq!(opened.changed_rewards(), ["`function` of the reward mine", "`on_error` of the reward mine"]);
    drop(opened);
    assert!(RunDir::open(&run, &mended).unwrap().changed_rewards().is_empty());
    let error = RunDir::open(&run, &with(&["rewards.mine.weight=2"])).unwrap_err().to_string();
    assert!(error.contains("has rewards.mine.weight = "), "{error}");
}

#[test]
fn what_is_lost_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let mut run = create(root.path(), &smoke(&[]));
    assert_eq!(run.last_step("grpo").unwrap(), 0);
    for row in [pretrain(7), step(1), step(2), eval("grpo", 9)] {
        run.push_metrics(&row).unwrap();
    }
    assert_eq!(run.last_step("grpo").unwrap(), 2);
    run.write_completions("grpo", 2, &[]).unwrap();
    assert_eq!((run.lost_completions("grpo", 2), run.lost_completions("grpo", 0)), (1, 0));
}

#[test]
fn demonstrations_that_changed_are_called_what_they_are() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("traces.jsonl");
    std::fs::write(&file, "{}\n").unwrap();
    let text = format!(
        "[[stage]]\nkind = \"pretrain\"\n[[stage]]\nkind = \"sft\"\ndata = ['{}']\n[[stage]]\nkind = \"eval\"\n",
        file.display()
    );
    let recipe = Recipe::parse("x.toml", &text, &[]).unwrap();
    let info = RunInfo::collect(0, 2, &[], &[], &recipe.input_files()).unwrap();
    let path = RunDir::create(root.path(), None, &recipe, info).unwrap().path().to_owned();
    std::fs::write(&file, "{}\n{}\n").unwrap();
    let said = format!("the file of demonstrations {} is not what it was", file.display());
    let error = RunDir::open(&path, &recipe).unwrap_err();
    assert!(error.is::<Unusable>() && error.to_string().starts_with(&said), "{error}");
    let error = Reuse::find(&path, &recipe, "eval").unwrap_err().to_string();
    assert!(error.starts_with(&said) && error.contains("hint: put the file back"), "{error}");
}

/// The stages before the last are to be taken over from a run that has done them.
fn taken_over(root: &Path, recipe: &Recipe, mut info: RunInfo) -> RunDir {
    info.task_files.clear();
    let mut run = RunDir::create(root, None, recipe, info).unwrap();
    for stage in &recipe.stages[..recipe.stages.len() - 1] {
        run.finish_stage(StageRecord { name: stage.name.clone(), ..StageRecord::default() }).unwrap();
    }
    run
}

#[test]
fn a_reward_that_changed_since_is_noted_where_stages_were_scored_by_it() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("mine.py");
    std::fs::write(&file, "def reward(completions):\n    return [1.0 for _ in completions]\n").unwrap();
    let stages = |first: &str| {
        format!(
            "[[rewards]]\nname = \"mine\"\npath = '{}'\n[[stage]]\nkind = \"pretrain\"\n{first}[[stage]]\nkind = \"grpo\"\n",
            file.display()
        )
    };
    let examined = Recipe::parse("examined.toml", &stages("[[stage]]\nkind = \"eval\"\n"), &[]).unwrap();
    let alone = Recipe::parse("alone.toml", &stages(""), &[]).unwrap();
    let changed =
        |recipe: &Recipe, run: &RunDir| Reuse::find(run.path(), recipe, "grpo").unwrap().changed_rewards().len();
    let info = || RunInfo {
        reward_files: hash_files("reward file", &examined.reward_files()).unwrap(),
        ..RunInfo::collect(0, 1, &[], &[], &[]).unwrap()
    };
    let runs = [taken_over(root.path(), &examined, info()), taken_over(root.path(), &alone, info())];
    assert_eq!((changed(&examined, &runs[0]), changed(&alone, &runs[1])), (0, 0));
    std::fs::write(&file, "def reward(completions):\n    return [0.0 for _ in completions]\n").unwrap();
    // Nothing of a base depends on it.
    assert_eq!((changed(&examined, &runs[0]), changed(&alone, &runs[1])), (1, 0));
}

#[test]
fn another_model_in_the_folder_is_not_that_of_the_stages_that_are_taken_over() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("model");
    let write = |folder: &Path, weights: &str| {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        std::fs::write(folder.join("model.safetensors"), weights).unwrap();
    };
    write(&model, "first");
    let recipe = smoke(&[&format!("model={{ path = '{}' }}", model.display())]);
    let run = taken_over(root.path(), &recipe, RunInfo::collect(0, 1, &[], &[], &[]).unwrap());
    write(&run.base(), "first");
    let last = &recipe.stages.last().unwrap().name;
    Reuse::find(run.path(), &recipe, last).unwrap();
    write(&model, "second");
    let error = Reuse::find(run.path(), &recipe, last).unwrap_err().to_string();
    let said = format!("the model in {} is not what it was when the run began", model.display());
    assert!(error.starts_with(&said) && error.contains("its model.safetensors is another"), "{error}");
}

#[test]
fn going_back_drops_what_came_later() {
    fn check(stage: &str, step_number: Option<u64>, expected: &[&str], files: &[u64], done: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        let mut run = create(root.path(), &smoke(&[]));
        let all =
            [pretrain(1), pretrain(2), eval("before", 0), step(1), step(2), eval("grpo", 2), step(3), eval("after", 3)];
        for row in &all {
            run.push_metrics(row).unwrap();
        }
        for number in 1..=3 {
            run.write_completions("grpo", number, &[CompletionRecord::default()]).unwrap();
        }
        for name in ["pretrain", "before", "grpo", "after"] {
            run.finish_stage(StageRecord { name: name.to_owned(), ..StageRecord::default() }).unwrap();
        }
        let dropped = match step_number {
            Some(step) => run.rewind(stage, step).unwrap(),
            None => run.restart(stage).unwrap(),
        };
        assert_eq!(rows(&run), expected, "{stage} {step_number:?}");
        assert_eq!(dropped, all.len() - expected.len());
        let there: Vec<u64> = (1..=3).filter(|&n| run.completions("grpo", n).exists()).collect();
        assert_eq!(there, files, "{stage} {step_number:?}");
        let names: Vec<String> = run.stages_done().unwrap().into_iter().map(|stage| stage.name).collect();
        assert_eq!(names, done, "{stage} {step_number:?}");
        // What follows is added where the rest ends.
        run.push_metrics(&step(9)).unwrap();
        assert_eq!(rows(&run).last().unwrap(), "grpo 9");
        assert_eq!(rows(&run).len(), expected.len() + 1);
    }
    let before = ["pretrain 1", "pretrain 2", "before 0"];
    check("pretrain", Some(1), &["pretrain 1"], &[], &[]);
    // An evaluation before any step of reinforcement learning has the step 0.
    check("before", None, &before[..2], &[], &["pretrain"]);
    check("pretrain", None, &[], &[], &[]);
    check("grpo", Some(0), &before, &[], &["pretrain", "before"]);
    check("grpo", Some(1), &[&before[..], &["grpo 1"]].concat(), &[1], &["pretrain", "before"]);
    check("grpo", Some(2), &[&before[..], &["grpo 1", "grpo 2", "grpo 2"]].concat(), &[1, 2], &["pretrain", "before"]);
}

/// A process that ends in the middle of it leaves no stage that is done and has lost what it did.
#[test]
fn going_back_takes_stages_off_the_list_first() {
    let root = tempfile::tempdir().unwrap();
    let recipe = smoke(&[]);
    let mut run = create(root.path(), &recipe);
    for row in [step(1), step(2), step(3)] {
        run.push_metrics(&row).unwrap();
    }
    run.finish_stage(StageRecord { name: "grpo".to_owned(), steps: 3, ..StageRecord::default() }).unwrap();
    // Completions that cannot be removed.
    std::fs::create_dir_all(run.completions("grpo", 3).join("in the way")).unwrap();
    run.rewind("grpo", 2).unwrap_err();
    let path = run.path().to_owned();
    drop(run);
    assert!(RunDir::open(&path, &recipe).unwrap().stages_done().unwrap().is_empty());
}

#[test]
fn a_row_that_is_lost_in_the_middle_is_missed() {
    let root = tempfile::tempdir().unwrap();
    let recipe = smoke(&[]);
    let mut run = create(root.path(), &recipe);
    for row in [pretrain(1), step(1), step(3)] {
        run.push_metrics(&row).unwrap();
    }
    let lost =
        |error: anyhow::Error| error.is::<Unusable>() && error.to_string().contains("has lost rows of stage `grpo`");
    // A checkpoint after step 3 cannot have been written before the row of step 2.
    assert!(lost(run.rewind("grpo", 3).unwrap_err()));
    let record = |name: &str, steps| StageRecord { name: name.to_owned(), steps, ..StageRecord::default() };
    run.finish_stage(record("pretrain", 1)).unwrap();
    let path = run.path().to_owned();
    drop(run);
    let mut run = RunDir::open(&path, &recipe).unwrap();
    run.finish_stage(record("grpo", 3)).unwrap();
    drop(run);
    assert!(lost(RunDir::open(&path, &recipe).unwrap_err()));
}

#[test]
fn numbers_are_read_as_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let mut run = create(root.path(), &smoke(&[]));
    // Of these, quick ways of reading miss some by the last bit.
    let numbers: Vec<f64> = (1..2000).map(|n| 1.0 / f64::from(n) + 0.1).collect();
    for (step, number) in (1..).zip(&numbers) {
        let metrics = StepMetrics { stage: "grpo".to_owned(), step, loss: *number, ..StepMetrics::default() };
        run.push_metrics(&MetricRow::Step(metrics)).unwrap();
    }
    let read: Vec<f64> = run.steps().unwrap().iter().map(|row| row.loss).collect();
    assert_eq!(read, numbers);
}

#[test]
fn a_run_that_goes_on_with_another_program_says_so_and_keeps_both() {
    let root = tempfile::tempdir().unwrap();
    let recipe = smoke(&[]);
    let path = create(root.path(), &recipe).path().to_owned();
    assert!(RunDir::open(&path, &recipe).unwrap().earlier_maker().is_none());
    let file = path.join("run.json");
    let mut info: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(info["other_makers"].is_null());
    info["processor"] = "an abacus".into();
    std::fs::write(&file, info.to_string()).unwrap();
    for earlier in [Some("an abacus"), None] {
        let run = RunDir::open(&path, &recipe).unwrap();
        assert_eq!(run.earlier_maker().map(|maker| maker.processor.as_str()), earlier);
        let makers: Vec<&Maker> = run.info().makers().collect();
        assert_eq!((makers.len(), makers[1]), (2, &Maker::here()));
    }
}

#[test]
fn a_half_written_row_is_taken_off() {
    let root = tempfile::tempdir().unwrap();
    let recipe = smoke(&[]);
    let mut run = create(root.path(), &recipe);
    run.push_metrics(&step(1)).unwrap();
    let path = run.path().to_owned();
    drop(run);
    let metrics = path.join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    text.push_str("{\"kind\":\"step\",\"stage\":\"gr");
    std::fs::write(&metrics, text).unwrap();
    let mut run = RunDir::open(&path, &recipe).unwrap();
    run.push_metrics(&step(2)).unwrap();
    assert_eq!(rows(&run), ["grpo 1", "grpo 2"]);
}

#[test]
fn numbers_that_are_none_do_not_break_the_rows() {
    let root = tempfile::tempdir().unwrap();
    let mut run = create(root.path(), &smoke(&[]));
    let metrics = StepMetrics { stage: "grpo".to_owned(), step: 1, gradient_norm: f64::NAN, ..StepMetrics::default() };
    run.push_metrics(&MetricRow::Step(metrics)).unwrap();
    assert!(run.metrics().unwrap()[0]["gradient_norm"].is_null());
    assert_eq!(run.rewind("grpo", 0).unwrap(), 1);
}

#[test]
fn evaluations_and_completions_are_found_again() {
    let root = tempfile::tempdir().unwrap();
    let mut run = create(root.path(), &smoke(&[]));
    run.push_metrics(&eval("before", 0)).unwrap();
    run.push_metrics(&step(1)).unwrap();
    assert_eq!(run.evaluations().unwrap().len(), 1);
    let record = CompletionRecord {
        completion: "<think> 1 \u{1f642} </think>\n".to_owned(),
        parts: vec![RewardPart { name: "format".to_owned(), score: None, cause: Some("x".to_owned()) }],
        ..CompletionRecord::default()
    };
    run.write_completions("grpo", 1, std::slice::from_ref(&record)).unwrap();
    run.write_completions("after", 1, &[]).unwrap();
    assert_eq!(run.read_completions("grpo", 1).unwrap(), [record]);
    assert!(run.read_completions("grpo", 2).unwrap().is_empty());
    assert_eq!(run.completions("grpo", 1), run.path().join("completions/step-000001.jsonl"));
    assert_eq!(run.completions("after", 1), run.path().join("completions/after/step-000001.jsonl"));
    assert_eq!(run.checkpoint("grpo", 20), run.path().join("checkpoints/step-000020"));
}

#[test]
fn resuming_what_is_not_there_says_so() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("none");
    let error = RunDir::open(&missing, &smoke(&[])).unwrap_err().to_string();
    assert!(error.starts_with("cannot use the run folder "), "{error}");
    std::fs::create_dir(&missing).unwrap();
    let error = RunDir::open(&missing, &smoke(&[])).unwrap_err().to_string();
    assert!(error.ends_with("holds no run to resume"), "{error}");
}
