//! Agreement with published labels, on data that lies beside the checkout and not in it.
//!
//! Where the data is absent the tests say so and pass: they measure, the unit tests decide.

// What was measured, and what was skipped, is for people to read.
#![allow(clippy::print_stderr)]

use super::math;
use crate::corpus;

/// A case: name, reference, completion, label.
struct Case {
    id: String,
    gold: String,
    pred: String,
    expected: bool,
}

/// The labelled cases of a file, with the keys of its references and completions. `None` where the file is absent.
fn cases(file: &str, gold: &str, pred: &str) -> Option<Vec<Case>> {
    let text = corpus::read("grader", file)?;
    let cases = text.lines().filter_map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        // The pairs of LaTeX and SymPy have no label: they mean the same, but for LaTeX that means nothing.
        let expected = row["expected"].as_bool().or_else(|| row["sympy"].as_str().map(|sympy| sympy != "None"))?;
        Some(Case { id: field("id"), gold: field(gold), pred: field(pred), expected })
    });
    Some(cases.collect())
}

/// Checks that every case gets its label, but for those `known` to disagree, which docs/grading.md lists with reasons.
fn check_agreement(file: &str, (gold, pred): (&str, &str), known: &[&str]) {
    let Some(cases) = cases(file, gold, pred) else { return };
    let mut unexpected = Vec::new();
    let mut disagreements = 0;
    for Case { id, gold, pred, expected } in &cases {
        let score = math(pred, gold);
        if (score.value == Some(1.0)) != *expected {
            disagreements += 1;
            if !known.contains(&id.as_str()) {
                unexpected.push(format!("{id}: gold {gold:?}, label {expected}, scored {score:?}"));
            }
        }
    }
    eprintln!("{file}: {} of {} labels", cases.len() - disagreements, cases.len());
    assert!(unexpected.is_empty(), "{file}: {unexpected:#?}");
    assert_eq!(disagreements, known.len(), "{file}: a known disagreement is none any more");
}

const GRADED: (&str, &str) = ("gold", "pred");

#[test]
fn model_solutions_to_gsm8k() {
    check_agreement("gsm8k_outputs.jsonl", GRADED, &[]);
}

#[test]
fn model_responses_to_math() {
    check_agreement("qwen_outputs.jsonl", ("gold", "response"), &[]);
}

#[test]
fn published_graders_own_cases() {
    check_agreement("hendrycks_math.jsonl", GRADED, &["hm-001", "hm-009"]);
    check_agreement("issues_and_probes.jsonl", GRADED, &[]);
    let known = ["mv-0147", "mv-0195", "mv-0199", "mv-0226", "mv-0262", "mv-0272"];
    check_agreement("math_verify.jsonl", GRADED, &known);
}

#[test]
fn latex_means_what_sympy_says() {
    const KNOWN: &[&str] = &[
        // gcd and lcm of symbols, which SymPy takes for polynomials
        "l2s-0122", "l2s-0131", "l2s-0690", "l2s-0692", "l2s-0698", "l2s-0699", "l2s-0703", "l2s-0704", "l2s-0880",
        "l2s-0881", "l2s-0882", "l2s-0883", "l2s-0885", "l2s-0886", "l2s-0887", "l2s-0905", "l2s-0920", "l2s-1166",
        "l2s-1167", // remainders in binary floating point
        "l2s-1071", "l2s-1072", "l2s-1077", // notation of that parser's own
        "l2s-0738", "l2s-1110", "l2s-1160",
    ];
    for pair in [("latex", "sympy"), ("sympy", "latex"), ("latex", "srepr"), ("srepr", "latex")] {
        check_agreement("latex_to_sympy.jsonl", pair, KNOWN);
    }
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
    if let Some(text) = corpus::read("tasks", "aime24.jsonl") {
        let answers = text.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["expected_answer"].as_str().map_or_else(|| row["expected_answer"].to_string(), str::to_owned)
        });
        check_references("aime24", answers, 0);
    }
}
