//! One seed, one result: metrics (times aside), completions and weights, whatever the number of threads.

use std::fs;

use recipes::RunOptions;

use crate::support::{base, finish, folder, model_setting, options, place, same, small, step_rows, whole};

/// The largest difference there may be between a token's log-probability when it was sampled and in training.
const LOGPROB_TOLERANCE: f64 = 1e-4;

#[test]
fn a_run_repeats_with_any_number_of_threads() {
    for threads in [1, 2, 3] {
        let path = place(&format!("with-{threads}-threads"));
        base();
        finish(&small(&[]), &RunOptions { threads: Some(threads), ..options(&path) });
        same(&path, whole());
    }
}

/// Programs are graded by threads of their own, in the order in which they come.
#[test]
fn runs_with_programs_repeat_too() {
    let made = place("base-of-programs");
    let only = "tasks.families={ python = 1.0 }";
    finish(&small(&[only, "grpo.steps=0", "eval.tasks_per_family=1"]), &options(&made));
    let model = model_setting(&made.join("base"));
    let settings =
        [only, &model, "grpo.steps=2", "grpo.max_new_tokens=64", "rewards=[{ name = 'code' }, { name = 'format' }]"];
    let [one, two] = [1, 2].map(|threads| {
        let path = place(&format!("programs-with-{threads}-threads"));
        finish(&small(&settings), &RunOptions { threads: Some(threads), ..options(&path) });
        path
    });
    same(&one, &two);
    // Some ran, and ended in more ways than one.
    let text = fs::read_to_string(one.join("completions/step-000001.jsonl")).unwrap();
    assert!(text.contains("assertion_failed") || text.contains("exception") || text.contains("syntax_error"), "{text}");
}

#[test]
fn a_base_repeats_with_any_number_of_threads() {
    let recipe = small(&["pretrain.tokens=10_000", "grpo.steps=1", "eval.tasks_per_family=1"]);
    let [one, two] = [1, 2].map(|threads| {
        let path = place(&format!("base-with-{threads}-threads"));
        // A cache of its own, so that each run makes its base.
        let cache_dir = folder(&format!("cache-with-{threads}-threads"));
        let summary = finish(&recipe, &RunOptions { threads: Some(threads), cache_dir, ..options(&path) });
        assert_eq!(summary.stages[0].note, None, "the base was not made");
        path
    });
    same(&one, &two);
}

#[test]
fn another_seed_is_another_run() {
    let model = model_setting(base());
    let [one, other] = [6, 7].map(|seed| {
        let path = place(&format!("seed-{seed}"));
        finish(&small(&[&model, &format!("seed={seed}"), "grpo.steps=1", "eval.tasks_per_family=1"]), &options(&path));
        fs::read_to_string(path.join("completions/step-000001.jsonl")).unwrap()
    });
    assert_ne!(one, other);
}

/// The tests of whole runs would say nothing about a policy that stays where it is.
#[test]
fn the_small_recipe_does_move_the_policy() {
    let steps = step_rows(whole());
    assert_eq!(steps.len(), 6);
    assert!(steps.iter().any(|row| row["flat_groups_share"].as_f64().unwrap() < 1.0), "{steps:#?}");
    assert!(steps.iter().any(|row| row["gradient_norm"].as_f64().unwrap() > 0.0), "{steps:#?}");
    assert!(steps.iter().any(|row| row["kl"].as_f64().unwrap() > 0.0), "{steps:#?}");
    let weights = |folder: &std::path::Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert_ne!(weights(&whole().join("checkpoints/step-000006")), weights(base()));
}

#[test]
fn sampling_and_training_agree_on_every_token_of_a_step() {
    // One mini-batch: the whole step goes through the policy that sampled it.
    let path = place("one-mini-batch");
    let model = model_setting(base());
    finish(&small(&[&model, "grpo.mini_batches=1", "eval.tasks_per_family=1"]), &options(&path));
    for row in step_rows(&path) {
        let difference = row["logprob_difference_max"].as_f64().unwrap();
        assert!(difference <= LOGPROB_TOLERANCE, "step {}: {difference:e}", row["step"]);
        assert!(row["entropy"].as_f64().unwrap() > 0.0, "step {}", row["step"]);
        let ratio = &row["ratio"];
        assert!(
            (ratio["min"].as_f64().unwrap() - 1.0).abs() < 2e-4 && (ratio["max"].as_f64().unwrap() - 1.0).abs() < 2e-4
        );
    }
}
