//! Whole runs with every loss and option of the grpo stage.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use policy::checkpoint::{TensorData, load_tensors};
use serde_json::Value;

use crate::support::{base, finish, in_a_process, lines, model_setting, options, place, same, small, step_rows};

/// Runs the small recipe's grpo stage on its base.
fn run(name: &str, settings: &[&str]) -> PathBuf {
    let path = place(name);
    let model = model_setting(base());
    let shorter = ["grpo.eval_every=0", "eval.tasks_per_family=1", &model];
    finish(&small(&[&shorter[..], settings].concat()), &options(&path));
    path
}

/// The weights, and the routers' biases beside them.
fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row:#}"))
}

#[test]
fn a_learning_rate_of_0_changes_nothing() {
    let path = run("rate-0", &["grpo.steps=2", "grpo.learning_rate=0", "grpo.weight_decay=0.1", "grpo.epochs=2"]);
    assert!(step_rows(&path).iter().any(|row| number(row, "gradient_norm") > 0.0), "there was nothing to learn");
    assert!(weights(&path.join("checkpoints/step-000002")) == weights(base()));
}

#[test]
fn equal_rewards_change_nothing() {
    // In one token no tag can be closed: every completion scores 0.
    let one = ["grpo.steps=2", "grpo.max_new_tokens=1", "grpo.kl_coefficient=0", "grpo.reference_every=0"];
    let cases = [
        ("equal", "grpo.refill_rounds=0"),
        ("equal-refilled", "grpo.refill_rounds=2"),
        ("equal-measured", "grpo.reference=frozen"),
    ];
    for (name, more) in cases {
        let path = run(name, &[&one[..], &[more]].concat());
        for row in step_rows(&path) {
            assert_eq!((number(&row, "flat_groups_share"), number(&row, "gradient_norm")), (1.0, 0.0));
            // That of what was sampled is known, whatever was learnt from it.
            assert_eq!((number(&row, "trained_share"), number(&row, "entropy") > 0.0), (0.0, true), "{row:#}");
            assert_eq!((&row["ratio"]["min"], &row["ratio"]["max"]), (&Value::from(1.0), &Value::from(1.0)));
            assert!(row["kl"].is_null(), "of no token: {row:#}");
        }
        assert!(weights(&path.join("checkpoints/step-000002")) == weights(base()));
    }
}

#[test]
fn a_stage_weighs_rewards_as_it_says() {
    let path = run("weights", &["grpo.steps=1", "grpo.reward_weights={ format = 3.0, accuracy = -1.0 }"]);
    let weight = |name: &str| match name {
        "format" => 3.0,
        "accuracy" => -1.0,
        _ => 1.0,
    };
    let mut totals = BTreeSet::new();
    for record in lines(&path.join("completions/step-000001.jsonl")) {
        let parts = record["parts"].as_array().unwrap().iter();
        let expected: f64 = parts.map(|part| weight(part["name"].as_str().unwrap()) * number(part, "score")).sum();
        assert_eq!(number(&record, "reward"), expected, "{record:#}");
        totals.insert(expected.to_string());
    }
    assert!(totals.len() > 1, "{totals:?}");
}

/// Each option, at a learning rate at which the policy leaves what sampled behind within a step.
#[test]
fn every_loss_and_option_learns() {
    const OFTEN: [&str; 4] = ["grpo.steps=2", "grpo.epochs=2", "grpo.learning_rate=5e-3", "grpo.reference_every=0"];
    const CASES: [(&str, &[&str]); 19] = [
        ("grpo", &[]),
        ("bnpo", &["grpo.loss=bnpo"]),
        ("dr-grpo", &["grpo.loss=dr_grpo", "grpo.advantage_scale=none"]),
        ("dapo", &["grpo.loss=dapo", "grpo.clip_high=0.28", "grpo.mask_truncated=true"]),
        ("cispo", &["grpo.loss=cispo", "grpo.clip_high=4"]),
        ("gspo", &["grpo.loss=gspo", "grpo.clip_low=3e-4", "grpo.clip_high=4e-4"]),
        ("sapo", &["grpo.loss=sapo"]),
        ("dual-clip", &["grpo.dual_clip=1.02", "grpo.clip_high=0.01"]),
        ("batch", &["grpo.advantage_scale=batch"]),
        ("leave-one-out", &["grpo.leave_one_out=true", "grpo.advantage_scale=none"]),
        ("k1-reward", &["grpo.kl_in=reward", "grpo.kl_estimator=k1", "grpo.kl_coefficient=0.1"]),
        ("k2", &["grpo.kl_estimator=k2", "grpo.kl_coefficient=0.1"]),
        ("k3-importance", &["grpo.kl_importance=true", "grpo.kl_coefficient=0.1"]),
        ("no-reference", &["grpo.kl_coefficient=0"]),
        ("measured", &["grpo.kl_coefficient=0", "grpo.reference=frozen"]),
        ("average", &["grpo.reference=moving_average", "grpo.reference_every=1", "grpo.reference_rate=0.5"]),
        ("entropy", &["grpo.entropy_coefficient=0.05"]),
        ("top-entropy", &["grpo.top_entropy_share=0.2"]),
        ("in-order", &["grpo.mini_batch_split=in_order"]),
    ];
    let mut ends = BTreeSet::new();
    for (name, settings) in CASES {
        let path = run(&format!("option-{name}"), &[&OFTEN[..], settings].concat());
        let rows = step_rows(&path);
        assert_eq!(rows.len(), 2);
        let mut moved = 0.0f64;
        for row in &rows {
            for key in ["loss", "gradient_norm", "entropy", "clip_fraction", "repetition"] {
                assert!(number(row, key).is_finite(), "{name}: {key}");
            }
            moved = moved.max(number(&row["ratio"], "max") - 1.0);
            let unmeasured = name == "no-reference" || number(row, "trained_share") == 0.0;
            assert_eq!(row["kl"].is_null(), unmeasured, "{name}: {row:#}");
            assert_eq!(row["kl_penalty"].is_number(), name == "k1-reward", "{name}: {row:#}");
            assert_eq!(row["clip_dual_fraction"].is_number(), name == "dual-clip", "{name}: {row:#}");
            // A penalty or a bonus in the loss is of all completions; without one those alone are trained on that differ from
            // their group.
            let (least, most) = match name {
                "k1-reward" => (0.0, 1.0),
                "no-reference" | "measured" => (0.0, 1.0 - number(row, "flat_groups_share")),
                // Masks what was cut off.
                "dapo" => (1.0 - number(row, "truncated_share"), 1.0 - number(row, "truncated_share")),
                _ => (1.0, 1.0),
            };
            assert!((least..=most).contains(&number(row, "trained_share")), "{name}: {row:#}");
        }
        assert!(moved > 0.01, "{name}: the policy stayed where it was: {rows:#?}");
        let end = weights(&path.join("checkpoints/step-000002"));
        assert!(end != weights(base()), "{name}: nothing was learned");
        // A reference that is only measured changes nothing.
        let new = ends.insert(end);
        assert_eq!(new, name != "measured", "{name}: it ends as another option does");
    }
}

/// What a stage computed, in operations for each parameter: counted where it runs, whatever it is for.
#[test]
fn every_pass_is_counted() {
    let plain = ["grpo.steps=1", "grpo.kl_coefficient=0", "grpo.reference_every=0"];
    let counted = |name: &str, more: &[&str]| {
        let path = run(&format!("passes-{name}"), &[&plain[..], more].concat());
        let summary: Value = serde_json::from_str(&fs::read_to_string(path.join("summary.json")).unwrap()).unwrap();
        let stages = summary["stages"].as_array().unwrap();
        let stage = stages.iter().find(|stage| stage["name"] == "grpo").unwrap();
        let row = &step_rows(&path)[0];
        let of = |key: &str| number(row, key);
        let least = 2.0 * (of("prompt_tokens") + of("sampled_tokens")) + 6.0 * of("trained_tokens");
        (number(stage, "flops") / number(&summary, "active_parameters") - least, of("trained_tokens"))
    };
    let (none, trained) = counted("plain", &[]);
    assert!(trained > 0.0 && none.abs() < 1e-6, "{none}");
    for (name, more) in [("reference", "grpo.reference=frozen"), ("again", "grpo.checkpoint_layers=true")] {
        let (extra, trained) = counted(name, &[more]);
        assert!((extra - 2.0 * trained).abs() < 1e-6, "{name}: {extra} of {trained}");
    }
    // A pass over all completions, also those that are not trained on.
    let (extra, trained) = counted("entropies", &["grpo.top_entropy_share=0.5"]);
    assert!(extra >= 2.0 * trained, "{extra} of {trained}");
    // A quick evaluation is the stage's work too.
    assert!(counted("evaluation", &["grpo.eval_every=1"]).0 > 0.0);
}

#[test]
fn dynamic_sampling_learns_from_groups_that_differ_and_no_task_comes_twice() {
    let path = run("dynamic", &["grpo.refill_rounds=3", "grpo.steps=3"]);
    let rows = step_rows(&path);
    assert!(rows.iter().any(|row| number(row, "groups_dropped") > 0.0), "{rows:#?}");
    let mut seen = HashSet::new();
    for (index, row) in rows.iter().enumerate() {
        let file = path.join(format!("completions/step-{:06}.jsonl", index + 1));
        let text = fs::read_to_string(file).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let groups: Vec<&[Value]> = records.chunk_by(|a, b| a["task"] == b["task"]).collect();
        let flat = |group: &&&[Value]| group.windows(2).all(|pair| pair[0]["reward"] == pair[1]["reward"]);
        let dropped = groups.iter().filter(flat).count();
        assert_eq!(dropped as f64, number(row, "groups_dropped"));
        // Full, or at the end of its rounds.
        assert!(groups.len() - dropped == 4 || number(row, "refill_rounds") == 3.0, "{row:#}");
        assert!(groups.len() - dropped <= 4);
        for group in &groups {
            assert!(seen.insert(group[0]["task"].as_str().unwrap().to_owned()), "a task came twice");
            let learned = group.iter().any(|record| record["advantage"].as_f64() != Some(0.0));
            assert_eq!(learned, !flat(&group), "{group:#?}");
        }
    }
}

/// With one mini-batch there is nothing to split; with two the split decides what each of them learns.
#[test]
fn a_split_matters_where_there_is_something_to_split() {
    let [(one_random, two_random), (one_in_order, two_in_order)] = ["random", "in_order"].map(|split| {
        let setting = format!("grpo.mini_batch_split={split}");
        let parts = |number: u32| {
            run(&format!("{split}-{number}"), &["grpo.steps=2", &format!("grpo.mini_batches={number}"), &setting])
        };
        (parts(1), parts(2))
    });
    same(&one_random, &one_in_order);
    let end = |path: &Path| weights(&path.join("checkpoints/step-000002"));
    assert!(end(&two_random) != end(&two_in_order));
    assert!(end(&one_random) != end(&two_random));
}

/// How much goes through the model at once is a matter of memory, not of what is learned.
#[test]
fn a_step_is_the_same_in_micro_batches_of_any_size() {
    // At a learning rate of 0 the second optimizer step begins with the same weights, not with those that the first one's
    // rounding gave.
    const STILL: [&str; 3] = ["grpo.steps=1", "grpo.learning_rate=0", "grpo.mask_truncated=true"];
    const CASES: [(&str, &[&str]); 4] = [
        ("bnpo", &["grpo.loss=bnpo", "grpo.entropy_coefficient=0.5"]),
        ("dapo", &["grpo.loss=dapo", "grpo.top_entropy_share=0.3", "grpo.entropy_coefficient=0.5"]),
        ("dr-grpo", &["grpo.loss=dr_grpo", "grpo.kl_coefficient=0", "grpo.reference_every=0"]),
        ("grpo", &["grpo.top_entropy_share=0.3", "grpo.kl_coefficient=0", "grpo.reference_every=0"]),
    ];
    for (name, settings) in CASES {
        // One completion at a time, and all of them at once.
        let [small, large] = [16, 8192].map(|tokens| {
            let tokens = format!("grpo.micro_batch_tokens={tokens}");
            let path = run(
                &format!("{name}-{}", tokens.replace(['.', '='], "-")),
                &[&STILL[..], settings, &[&tokens]].concat(),
            );
            step_rows(&path).remove(0)
        });
        // Prompts are repeated in each micro-batch.
        assert!(number(&small, "trained_tokens") > number(&large, "trained_tokens"), "{name}: they are cut alike");
        assert!(number(&large, "gradient_norm") > 0.0, "{name}: there was nothing to learn");
        for key in ["loss", "gradient_norm"] {
            let (small, large) = (number(&small, key), number(&large, key));
            assert!(
                (small - large).abs() <= 1e-5 * large.abs().max(1.0),
                "{name}: {key} is {small}, all at once {large}"
            );
        }
    }
}

/// The tensors of a model, the routers' biases among them.
fn tensors(folder: &Path) -> BTreeMap<String, TensorData> {
    load_tensors(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_reference_is_replaced_when_it_is_due() {
    let path = run(
        "replaced",
        &["grpo.steps=3", "grpo.reference_every=2", "grpo.checkpoint_every=1", "grpo.keep_checkpoints=3"],
    );
    let at = |step: u64| weights(&path.join(format!("checkpoints/step-{step:06}")));
    let reference = |step: u64| weights(&path.join(format!("checkpoints/step-{step:06}/reference")));
    assert!(at(1) != weights(base()) && at(2) != at(1) && at(3) != at(2), "nothing was learned");
    assert!(reference(1) == weights(base()));
    assert!(reference(2) == at(2));
    assert!(reference(3) == at(2));
}

#[test]
fn a_moving_average_goes_the_rate_of_the_way() {
    const RATE: f32 = 0.25;
    let average = ["grpo.reference=moving_average", "grpo.reference_every=1", "grpo.reference_rate=0.25"];
    let often = ["grpo.steps=2", "grpo.checkpoint_every=1", "grpo.learning_rate=5e-3"];
    let path = run("average-moves", &[&often[..], &average].concat());
    let mut old = tensors(base());
    for step in 1..=2 {
        let folder = path.join(format!("checkpoints/step-{step:06}"));
        let (new, found) = (tensors(&folder), tensors(&folder.join("reference")));
        // The model's weights and its routers' biases, in that order.
        let mut apart = [0.0f32; 2];
        assert_eq!(found.keys().collect::<Vec<_>>(), old.keys().collect::<Vec<_>>());
        for (name, found) in &found {
            let kind = usize::from(name.ends_with("e_score_correction_bias"));
            for ((found, old), new) in found.values.iter().zip(&old[name].values).zip(&new[name].values) {
                let expected = (1.0 - RATE) * old + RATE * new;
                assert!((found - expected).abs() < 1e-6, "step {step}, {name}: {found}, expected {expected}");
                apart[kind] = apart[kind].max((new - old).abs());
            }
        }
        assert!(apart.iter().all(|apart| *apart > 1e-4), "step {step}: the policy stayed where it was: {apart:?}");
        old = found;
    }
}

#[test]
fn a_reference_that_would_move_after_the_last_step_is_said() {
    let said = |name: &str, reference_every: &str| {
        let model = model_setting(base());
        let settings = ["grpo.steps=2", "grpo.eval_every=0", "eval.tasks_per_family=1", reference_every, &model];
        let output = in_a_process(&small(&settings), &options(&place(name))).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        text.contains("the reference stays as it is: it moves every 2 steps, and there are only 2")
    };
    assert!(said("late", "grpo.reference_every=2"));
    assert!(!said("in-time", "grpo.reference_every=1"));
}
