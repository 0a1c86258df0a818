//! Problem sets as they lie. They are not part of the repository, so the tests look for them beside it.

use std::path::{Path, PathBuf};

use recipes::config::find_shipped;

use crate::smoke::smoke;
use crate::support::{finish, model_setting, options, path_setting, place, step_rows};

#[allow(clippy::print_stderr, reason = "says that a test shows nothing here")]
fn find(name: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/tasks").join(name);
    if file.is_file() {
        return file.canonicalize().ok();
    }
    eprintln!("skipped: there is no {}", file.display());
    None
}

/// One step and its two evaluations; the smoke recipe's base knows nothing of such problems, so only that it works.
fn one_step(name: &str, judge: &str) {
    let Some(file) = find(name) else { return };
    let settings = [
        path_setting("tasks.files=[", &file, "]"),
        model_setting(&smoke().run_dir.join("base")),
        "grpo.steps=1".to_owned(),
        "grpo.eval_every=0".to_owned(),
        "grpo.prompts_per_step=4".to_owned(),
        "eval.tasks_per_family=2".to_owned(),
    ];
    let recipe = find_shipped("smoke").unwrap().recipe(&settings).unwrap_or_else(|error| panic!("{error}"));
    let path = place(&format!("on-{name}"));
    let summary = finish(&recipe, &options(&path));
    let source = name.trim_end_matches(".jsonl");
    assert_eq!(summary.evaluations.len(), 2);
    assert_eq!(summary.evaluations[0].families.keys().collect::<Vec<_>>(), [source]);
    let steps = step_rows(&path);
    assert_eq!(steps.len(), 1);
    // Judged by the reward for its kind, and every task could be.
    assert!(steps[0]["reward_parts"][judge].is_number() && steps[0]["accuracy"][source].is_number(), "{:#}", steps[0]);
    assert_eq!(steps[0]["unscorable"], 0);
}

#[test]
fn gsm8k() {
    one_step("gsm8k_train.jsonl", "accuracy");
}

#[test]
fn mbpp() {
    one_step("mbpp.jsonl", "binary_code");
}
