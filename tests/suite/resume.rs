//! A run that was stopped, however it was stopped, and resumed ends in the same files as one that was not.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use recipes::{Interrupt, Recipe, RunOptions, RunStatus, run_recipe};

use crate::support::{
    INTERRUPTED, base, copy_folder, failure, finish, folder, in_a_process, model_setting, options, place, resuming,
    same, small, step_rows, whole,
};

/// Runs in a process of its own and sends it a signal once the metrics hold `step`; how it ended.
fn signalled_after(step: usize, signal: &str, recipe: &Recipe, options: &RunOptions) -> ExitStatus {
    let path = options.run_dir.as_ref().unwrap();
    let mut process = in_a_process(recipe, options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    loop {
        if step_rows(path).len() >= step {
            // It is still ours to wait for, so the number is its own, even if it has just ended.
            let _ = Command::new("sh").args(["-c", "kill -$0 $1", signal, &process.id().to_string()]).status().unwrap();
            return process.wait().unwrap();
        }
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether it was killed before it came to its end.
fn killed_after(step: usize, recipe: &Recipe, options: &RunOptions) -> bool {
    let status = signalled_after(step, "KILL", recipe, options);
    assert!(status.signal() == Some(9) || status.success(), "{status}");
    status.signal() == Some(9)
}

#[test]
fn killed_thrice_and_resumed_it_is_the_same_run() {
    base();
    let recipe = small(&[]);
    // Before the first checkpoint; beside the reference's replacement; with the best checkpoint and the newest. On a
    // machine that is very busy, a run may come to its end before it is killed.
    let mut names = (0..5).map(|attempt| place(&format!("killed-{attempt}")));
    let path = names.find(|path| killed_after(1, &recipe, &options(path))).expect("one of five runs is killed in time");
    let _ = killed_after(3, &recipe, &resuming(&path)) && killed_after(5, &recipe, &resuming(&path));
    let summary = finish(&recipe, &resuming(&path));
    assert_eq!(summary.evaluations.len(), 2);
    same(&path, whole());
}

/// With all that a checkpoint must hold beyond weights: how many tasks were used, a reference that is a moving average.
#[test]
fn killed_with_dynamic_sampling_and_resumed_it_is_the_same_run() {
    let average = ["grpo.reference=moving_average", "grpo.reference_every=1", "grpo.reference_rate=0.3"];
    let others = ["grpo.refill_rounds=2", "grpo.epochs=2", "eval.tasks_per_family=1"];
    let model = model_setting(base());
    let recipe = small(&[&average[..], &others, &[&model]].concat());
    let whole = place("dynamic-whole");
    finish(&recipe, &options(&whole));
    let steps = step_rows(&whole);
    let refilled = |row: &serde_json::Value| row["refill_rounds"].as_u64().unwrap() > 0;
    assert!(steps[..3].iter().any(refilled), "no task was sampled in another's place before the kill: {steps:#?}");

    let mut names = (0..5).map(|attempt| place(&format!("dynamic-killed-{attempt}")));
    let path = names.find(|path| killed_after(3, &recipe, &options(path))).expect("one of five runs is killed in time");
    finish(&recipe, &resuming(&path));
    same(&path, &whole);
}

#[test]
fn resuming_a_finished_run_says_that_it_is_finished() {
    let path = place("finished-and-said");
    copy_folder(whole(), &path);
    let output = in_a_process(&small(&[]), &resuming(&path)).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("is finished already"), "{words}");
}

/// Runs in this process and asks it to stop once the metrics hold `step`.
fn interrupted_after(step: usize, options: &RunOptions) -> RunStatus {
    let path = options.run_dir.clone().unwrap();
    let interrupt = options.interrupt.clone();
    let watcher = std::thread::spawn(move || {
        while step_rows(&path).len() < step {
            std::thread::sleep(Duration::from_millis(1));
        }
        interrupt.request();
    });
    let status = run_recipe(&small(&[]), options).unwrap().status;
    watcher.join().unwrap();
    status
}

#[test]
fn interrupted_and_resumed_it_is_the_same_run() {
    base();
    let (path, step) = (0..5)
        .find_map(|attempt| {
            let path = place(&format!("interrupted-{attempt}"));
            match interrupted_after(2, &options(&path)) {
                RunStatus::Interrupted { stage, step } if stage == "grpo" => Some((path, step)),
                _ => None,
            }
        })
        .expect("one of five runs is asked in time");
    // It stopped after the step it was in, with a checkpoint of it, due or not.
    assert_eq!(step_rows(&path).len() as u64, step);
    assert!(path.join(format!("checkpoints/step-{step:06}")).is_dir());
    assert!(!has_partial(&path.join("checkpoints")));
    finish(&small(&[]), &resuming(&path));
    same(&path, whole());
}

#[test]
fn stopped_by_ctrl_c_and_resumed_it_is_the_same_run() {
    base();
    let mut names = (0..5).map(|attempt| place(&format!("ctrl-c-{attempt}")));
    let stopped = |path: &PathBuf| {
        let status = signalled_after(1, "INT", &small(&[]), &options(path));
        assert!(status.code() == Some(INTERRUPTED) || status.success(), "{status}");
        !status.success() && step_rows(path).len() < 6
    };
    let path = names.find(stopped).expect("one of five runs is stopped in time");
    finish(&small(&[]), &resuming(&path));
    same(&path, whole());
}

/// What a run begins with is its own: what becomes of the folder later does not change it.
#[test]
fn a_given_model_may_change_after_the_run_began() {
    let model = place("given-model");
    copy_folder(base(), &model);
    let recipe = small(&[&model_setting(&model)]);
    let whole = place("given-model-whole");
    finish(&recipe, &options(&whole));
    let path = place("given-model-resumed");
    copy_folder(&whole, &path);
    std::fs::remove_dir_all(path.join("checkpoints")).unwrap();
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    finish(&recipe, &resuming(&path));
    same(&path, &whole);

    std::fs::remove_file(path.join("base/model.safetensors")).unwrap();
    let error = failure(&recipe, &resuming(&path));
    assert!(error.contains("base is damaged or gone") && error.contains("model.safetensors"), "{error}");
}

fn has_partial(folder: &Path) -> bool {
    folder.read_dir().unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("partial"))
}

#[test]
fn interrupted_while_the_base_is_made() {
    let recipe = small(&["pretrain.tokens=10_000", "grpo.steps=1", "eval.tasks_per_family=1"]);
    let cache = folder("cache-of-an-interrupted-base");
    let path = place("base-interrupted");
    let interrupt = Interrupt::new();
    interrupt.request();
    let stopped = RunOptions { cache_dir: cache.clone(), interrupt, ..options(&path) };
    let status = run_recipe(&recipe, &stopped).unwrap().status;
    assert_eq!(status, RunStatus::Interrupted { stage: "pretrain".to_owned(), step: 0 });
    assert!(!cache.join("bases").exists() || cache.join("bases").read_dir().unwrap().next().is_none());
    finish(&recipe, &RunOptions { cache_dir: cache, ..resuming(&path) });

    let other = place("base-not-interrupted");
    let fresh = folder("cache-of-a-base");
    finish(&recipe, &RunOptions { cache_dir: fresh, ..options(&other) });
    same(&path, &other);
}

/// As a kill leaves it between the row of an evaluation and the note that its stage is done.
#[test]
fn killed_as_an_evaluation_ends_it_is_the_same_run() {
    for done in ["before", "after"] {
        let path = place(&format!("killed-after-the-row-of-{done}"));
        copy_folder(whole(), &path);
        let file = path.join("stages.json");
        let mut stages: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        stages.truncate(stages.iter().position(|stage| stage["name"] == done).unwrap());
        std::fs::write(&file, serde_json::to_string(&stages).unwrap()).unwrap();
        finish(&small(&[]), &resuming(&path));
        same(&path, whole());
    }
}

/// An examination is stopped where it is, and begun anew.
#[test]
fn interrupted_in_an_evaluation_and_resumed_it_is_the_same_run() {
    let model = model_setting(base());
    // More than twice as many answers as are asked for at once.
    let many = ["eval.tasks_per_family=40", "eval.samples=64", "eval.max_new_tokens=8"];
    let recipe = small(&[&many[..], &[&model, "grpo.steps=1", "grpo.eval_every=0"]].concat());
    let path = place("interrupted-evaluation");
    let stopped = options(&path);
    let (interrupt, begun) = (stopped.interrupt.clone(), path.join("base/manifest.json"));
    let watcher = std::thread::spawn(move || {
        while !begun.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        interrupt.request();
    });
    let status = run_recipe(&recipe, &stopped).unwrap().status;
    watcher.join().unwrap();
    assert_eq!(status, RunStatus::Interrupted { stage: "before".to_owned(), step: 0 });
    finish(&recipe, &resuming(&path));
    let whole = place("interrupted-evaluation-whole");
    finish(&recipe, &options(&whole));
    same(&path, &whole);
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let path = place("finished");
    copy_folder(whole(), &path);
    let summary = finish(&small(&[]), &resuming(&path));
    assert_eq!(summary.evaluations.len(), 2);
    same(&path, whole());
}
