//! Agreement with published labels, on data that lies beside the checkout and not in it.
//!
//! Where the data is absent the tests say so and pass: they measure, the unit tests decide.

// What was measured, and what was skipped, is for people to read.
#![allow(clippy::print_stderr)]

use super::math;
use crate::corpus;

/// Rows of a file of cases: name, reference, completion, label. `None` where the file is absent.
fn rows(file: &str, completion_key: &str) -> Option<Vec<(String, String, String, bool)>> {
    let text = corpus::read("grader", file)?;
    let rows = text.lines().filter_map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        Some((field("id"), field("gold"), field(completion_key), row["expected"].as_bool()?))
    });
    Some(rows.collect())
}

/// Checks that at least `least` of the rows get their label.
fn check_agreement(file: &str, completion_key: &str, wrap: impl Fn(&str) -> String, least: f64) {
    let Some(rows) = rows(file, completion_key) else { return };
    let mut disagreements = Vec::new();
    for (id, gold, completion, expected) in &rows {
        let score = math(&wrap(completion), gold);
        if (score.value == Some(1.0)) != *expected {
            disagreements.push(format!("{id}: gold {gold:?}, label {expected}, scored {score:?}"));
        }
    }
    let agreement = 1.0 - disagreements.len() as f64 / rows.len() as f64;
    eprintln!("{file}: {} of {} rows, {:.2}%", rows.len() - disagreements.len(), rows.len(), 100.0 * agreement);
    for line in &disagreements {
        eprintln!("  {line}");
    }
    assert!(agreement >= least, "{file}: agreement {agreement:.4} is below {least}");
}

#[test]
fn model_solutions_to_gsm8k() {
    check_agreement("gsm8k_outputs.jsonl", "pred", str::to_owned, 0.99);
}

#[test]
fn model_responses_to_math() {
    check_agreement("qwen_outputs.jsonl", "response", str::to_owned, 0.97);
}

#[test]
fn published_graders_own_cases() {
    // Far more than this verifier's grammar is in these: radicals, sets of solutions, matrices.
    check_agreement("hendrycks_math.jsonl", "pred", |pred| format!("\\boxed{{{pred}}}"), 0.6);
}

/// Every answer of a task file equals itself, boxed and in `<answer>`; the exceptions are few and known.
fn check_references(file: &str, answers: impl Iterator<Item = String>, most_exceptions: usize) {
    let mut exceptions = Vec::new();
    let mut count = 0;
    for answer in answers {
        count += 1;
        for completion in [format!("So \\boxed{{{answer}}}."), format!("<answer> {answer} </answer>")] {
            let score = math(&completion, &answer);
            if score.value != Some(1.0) {
                exceptions.push(format!("{answer:?}: {score:?}"));
            }
        }
    }
    eprintln!("{file}: {count} references, {} exceptions", exceptions.len());
    for line in &exceptions {
        eprintln!("  {line}");
    }
    assert!(count > 0 && exceptions.len() <= most_exceptions, "{file}: {} exceptions", exceptions.len());
}

#[test]
fn references_equal_themselves() {
    let string = |row: &serde_json::Value| row["answer"].as_str().unwrap_or_default().to_owned();
    if let Some(text) = corpus::read("tasks", "math500.jsonl") {
        check_references("math500", text.lines().map(|line| string(&serde_json::from_str(line).unwrap())), 0);
    }
    if let Some(text) = corpus::read("tasks", "gsm8k_train.jsonl") {
        let answers = text.lines().map(|line| {
            let solution = string(&serde_json::from_str(line).unwrap());
            solution.rsplit("####").next().unwrap_or_default().trim().to_owned()
        });
        check_references("gsm8k_train", answers, 0);
    }
    if let Some(text) = corpus::read("tasks", "math_train.json") {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        // Four rows have no answer at all: unscorable, in both forms.
        check_references("math_train", rows.iter().map(string), 8);
    }
}
