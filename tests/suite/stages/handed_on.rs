//! What a stage finds: tasks that no other has practised, the best checkpoint, and a teacher that is still the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use recipes::{Recipe, RunOptions, run_recipe};

use super::{of_stage, spoil, text, whole};
use crate::support::{failure, finish, folder, lines, options, place, recipe, resuming};

/// Reinforcement learning does not practise what demonstrations were sampled for, nor the other way round.
#[test]
fn stages_practise_tasks_of_their_own() {
    let tasks = |stage: &str| -> BTreeSet<String> {
        let files = fs::read_dir(whole().join("completions").join(stage)).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
        files.flat_map(|path| lines(&path)).map(|row| row["task"].as_str().unwrap().to_owned()).collect()
    };
    let (asked, practised, taught) = (tasks("reject"), tasks(""), tasks("distill-traces"));
    assert_eq!((asked.len(), practised.len(), taught.len()), (300, 8, 200));
    // Different places may hold the same task now and then, of families that have few.
    let common = |one: &BTreeSet<String>, other| one.intersection(other).count();
    assert!(common(&asked, &practised) <= 1 && common(&practised, &taught) <= 1, "{asked:?} {practised:?} {taught:?}");
}

/// The policy of the best checkpoint is what later stages get; it is named, and stays.
#[test]
fn the_best_checkpoint_is_handed_on() {
    let text = format!(
        "{}dtype = \"f32\"\n",
        text().split("[[stage]]\nkind = \"distill\"").next().unwrap().to_owned() + "[[stage]]\nkind = \"export\"\n"
    );
    // A rate that breaks the policy: what comes after the first step can do nothing.
    let settings =
        ["grpo.steps=4", "grpo.eval_every=1", "grpo.eval_tasks=32", "grpo.learning_rate=0.3", "grpo.warmup_steps=2"];
    let run = |name: &str, more: &[&str]| {
        let path = place(name);
        let summary = finish(&recipe("chain", &text, &[&settings[..], more].concat()), &options(&path));
        (path, summary)
    };
    whole();
    let (path, summary) = run("best", &["grpo.hand_on=best"]);
    let quick: Vec<f64> = of_stage(&path, "grpo")
        .into_iter()
        .filter(|row| row["kind"] == "eval")
        .map(|row| {
            let families = row["families"].as_object().unwrap();
            families.values().map(|family| family["sampled"]["mean"].as_f64().unwrap()).sum::<f64>()
        })
        .collect();
    assert_eq!(quick.len(), 4, "the last step is looked at too");
    let best = quick.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u64 + 1;
    assert!(best < 4, "the last step is the best: {quick:?}");
    assert_eq!(summary.best.len(), 1);
    let said = &summary.best[0];
    assert_eq!((said.stage.as_str(), said.step, said.of, said.handed_on), ("grpo", best, 4, true));
    assert_eq!(said.folder, path.join(format!("checkpoints/step-{best:06}")));
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&path.join("export")) == weights(&said.folder));
    assert!(recipes::table::render(&summary).contains(&format!("best: grpo, step {best}, handed on: ")));
    assert!(fs::read_to_string(path.join("report.html")).unwrap().contains("The best checkpoint of grpo"));

    let (other, summary) = run("best-last", &[]);
    assert!(
        !summary.best[0].handed_on && weights(&other.join("export")) == weights(&other.join("checkpoints/step-000004"))
    );

    // Without it, what comes after cannot go on.
    fs::remove_file(said.folder.join("model.safetensors")).unwrap();
    let recipe = recipe("chain", &text, &[&settings[..], &["grpo.hand_on=best"]].concat());
    let error = failure(&recipe, &resuming(&path));
    assert!(error.contains("the best checkpoint of stage `grpo`") && error.contains("put it back"), "{error}");
}

/// A teacher outside of the run is read when its stage comes, perhaps days after the run began.
#[test]
fn a_teacher_that_has_changed_is_refused() {
    let teacher = folder("changing-teacher");
    for entry in fs::read_dir(whole().join("base")).unwrap().map(Result::unwrap) {
        // One from elsewhere has no manifest.
        if entry.file_name() != "manifest.json" {
            fs::copy(entry.path(), teacher.join(entry.file_name())).unwrap();
        }
    }
    let text = text().replacen("teacher = \"grpo\"", &format!("teacher = '{}'", teacher.display()), 1);
    let recipe = Recipe::parse("chain.toml", &text, &[]).unwrap();
    let path = place("changing-teacher-run");
    let until = RunOptions { until: Some("reject".to_owned()), ..options(&path) };
    run_recipe(&recipe, &until).unwrap();
    spoil(&teacher.join("model.safetensors"));
    let error = failure(&recipe, &resuming(&path));
    let said = format!(
        "the model in {} is not what it was when the run began: its model.safetensors is another",
        teacher.display()
    );
    assert!(error.contains(&said) && error.contains("put the model back"), "{error}");
    spoil(&teacher.join("model.safetensors"));
    fs::write(teacher.join("tokenizer_config.json"), "{}").unwrap();
    let error = failure(&recipe, &resuming(&path));
    assert!(error.contains("its tokenizer_config.json is another"), "{error}");
}
