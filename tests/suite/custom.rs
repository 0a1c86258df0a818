//! A recipe that brings its own reward along, from its file to the run's folder.

use std::fs;
use std::path::{Path, PathBuf};

use recipes::{Recipe, RunOptions};
use serde_json::Value;

use crate::support::{
    base, failure, finish, folder, lines, model_setting, options, place, resuming, rows, same, small, step_rows,
};

/// Compares the completions of a group by their tokens, and prints.
const LONGEST: &str = r#"
seen = []

def reward(prompts, completions, completion_ids, scale=1.0, **columns):
    seen.extend(completions)
    lengths = [len(ids) for ids in completion_ids]
    print("longest of", len(seen), "is", max(lengths))
    return [scale * length / max(lengths) for length in lengths]
"#;

/// The small recipe for two steps, with the reward in `file`.
fn recipe(file: &Path, more: &str) -> Recipe {
    let rewards = format!("rewards=[{{name='format', weight=0.5}}, {{name='mine', path='{}'{more}}}]", file.display());
    let model = model_setting(base());
    small(&[&model, &rewards, "grpo.steps=2", "grpo.eval_every=0", "eval.tasks_per_family=1"])
}

fn reward_file(name: &str, text: &str) -> PathBuf {
    let file = folder(name).join("mine.py");
    fs::write(&file, text).unwrap();
    file
}

fn completions(run: &Path, step: u64) -> Vec<Value> {
    lines(&run.join(format!("completions/step-{step:06}.jsonl")))
}

#[test]
fn a_python_reward_scores_whole_groups_on_any_number_of_threads() {
    let file = reward_file("custom-reward", LONGEST);
    let recipe = recipe(&file, ", parameters={scale=2}");
    let run = place("custom");
    finish(&recipe, &RunOptions { threads: Some(1), ..options(&run) });
    for step in 1..=2 {
        let records = completions(&run, step);
        assert_eq!(records.len(), 4 * 4);
        for group in records.chunks(4) {
            let longest = group.iter().map(|record| record["tokens"].as_u64().unwrap()).max().unwrap();
            for record in group {
                let part = &record["parts"][1];
                let expected = 2.0 * record["tokens"].as_f64().unwrap() / longest as f64;
                assert_eq!(part["name"], "mine");
                let score = part["score"].as_f64().unwrap();
                // The reward divides before it multiplies, which may round otherwise.
                assert!((score - expected).abs() < 1e-12, "{score} {expected}");
                let format = record["parts"][0]["score"].as_f64().unwrap();
                assert_eq!(record["reward"].as_f64(), Some(0.5 * format + score));
            }
        }
        // Four groups, each in an interpreter of its own.
        let log = fs::read_to_string(run.join(format!("completions/step-{step:06}.log"))).unwrap();
        assert_eq!(log.matches("longest of 4 is ").count(), 4, "{log}");
    }
    assert!(step_rows(&run).iter().all(|row| row["reward_parts"]["mine"].as_f64().unwrap() > 0.5));
    // Examinations report it beside pass@1.
    let examined: Vec<Value> = rows(&run).into_iter().filter(|row| row["kind"] == "eval").collect();
    assert_eq!(examined.len(), 2);
    for row in &examined {
        let mean = row["families"]["countdown"]["rewards"]["mine"].as_f64().unwrap();
        assert!((1.0..=2.0).contains(&mean), "{row}");
        // The whole reward too, as the recipe weighs it.
        let family = &row["families"]["countdown"];
        let whole = 0.5 * family["rewards"]["format"].as_f64().unwrap() + mean;
        assert!((family["reward"].as_f64().unwrap() - whole).abs() < 1e-9, "{row}");
    }
    let info: Value = serde_json::from_str(&fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert!(info["reward_files"][file.to_str().unwrap()].is_string(), "{info}");

    let again = place("custom-threads");
    finish(&recipe, &RunOptions { threads: Some(2), ..options(&again) });
    same(&run, &again);
}

#[test]
fn a_reward_that_fails_stops_the_run_and_can_be_mended() {
    let file = reward_file("custom-failing", "def reward(completions):\n    return [1 / 0 for c in completions]\n");
    let run = place("custom-failed");
    let recipe = recipe(&file, "");
    let said = failure(&recipe, &options(&run));
    let expected = format!("{}, line 2: the reward `mine` raised ZeroDivisionError: division by zero", file.display());
    assert!(said.contains(&expected), "{said}");
    let page = || fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page().contains("The run failed:") && page().contains("raised ZeroDivisionError"), "{}", page());
    fs::write(&file, "def reward(completions):\n    return [1.0 for c in completions]\n").unwrap();
    finish(&recipe, &resuming(&run));
    assert!(!page().contains("The run failed:"));
    assert_eq!(completions(&run, 2)[0]["parts"][1]["score"], Value::from(1.0));
}

#[test]
fn a_failure_that_is_borne_is_counted() {
    let file = reward_file("custom-borne", "def reward(completions):\n    raise ValueError('no')\n");
    let run = place("custom-unscored");
    finish(&recipe(&file, ", on_error='unscored'"), &options(&run));
    for row in step_rows(&run) {
        assert_eq!(row["unscorable"].as_u64(), Some(16), "{row}");
    }
    let record = &completions(&run, 1)[0];
    assert_eq!((&record["reward"], &record["parts"][1]["cause"]), (&Value::Null, &Value::from("reward_failed")));
    let log = fs::read_to_string(run.join("completions/step-000001.log")).unwrap();
    assert!(log.contains("line 2: the reward `mine` raised ValueError: no"), "{log}");
}

#[test]
fn what_is_wrong_with_a_reward_is_said_before_there_is_a_run() {
    let run = place("custom-unusable");
    let check = |name: &str, text: &str, more: &str, expected: &str| {
        let said = failure(&recipe(&reward_file(name, text), more), &options(&run));
        assert!(said.contains(expected), "{said}");
        assert!(!run.exists());
    };
    check(
        "custom-syntax",
        "def reward(completions:\n    pass\n",
        "",
        "mine.py, line 1: the reward `mine` is no Python",
    );
    check("custom-nameless", "def other(completions):\n    pass\n", "", "has no function `reward`");
    let slip = ", parameters={scal=1}";
    check("custom-parameter", LONGEST, slip, "the reward `mine` has no parameter `scal`");
}

#[test]
fn paths_are_relative_to_the_recipes_file() {
    let folder = folder("custom-recipe");
    fs::create_dir(folder.join("rewards")).unwrap();
    fs::write(folder.join("rewards/mine.py"), LONGEST).unwrap();
    let text = |path: &str| {
        format!(
            "[[rewards]]\nname = \"mine\"\npath = \"{path}\"\n\n[[stage]]\nkind = \"pretrain\"\n\n[[stage]]\nkind = \"grpo\"\n"
        )
    };
    let file = folder.join("recipe.toml");
    fs::write(&file, text("rewards/mine.py")).unwrap();
    let recipe = Recipe::read(&file, &[]).unwrap();
    assert_eq!(recipe.reward_files(), [folder.join("rewards/mine.py")]);
    assert_eq!(Recipe::parse("again.toml", &recipe.to_toml().unwrap(), &[]).unwrap(), recipe);
    fs::write(&file, text("mine.py")).unwrap();
    let error = Recipe::read(&file, &[]).unwrap_err().to_string();
    let expected = format!("{}, line 3: there is no file {}", file.display(), folder.join("mine.py").display());
    assert!(error.starts_with(&expected), "{error}");
}
