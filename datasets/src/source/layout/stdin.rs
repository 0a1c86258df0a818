//! Programs that read and print, in no layout of a name: a question, and pairs of input and output under one of the usual names,
//! side by side, as two lists, or deeper (Code Contests: `description`, `public_tests`, `private_tests`, `generated_tests`).
//!
//! Code Contests' judges compare words; where nothing says so, lines are compared.

use rewards::{Checker, StdinCase};
use serde_json::Value;

use super::program::{CASES, collect_cases, column_cases, draft, question, stdin};
use super::{Columns, Draft, Layout, has, json_column};

pub(super) const LAYOUT: Layout = Layout {
    name: "stdin",
    needs: "a question, and tests with input and output",
    recognises: |columns| {
        let mut cases = Vec::new();
        // A row whose tests are broken is such a row all the same.
        let broken = collect(columns, &mut cases).is_err() && columns.contains_key("tests");
        broken || !cases.is_empty()
    },
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let question = question(columns)?;
    let mut cases = Vec::new();
    collect(columns, &mut cases)?;
    let contests = has(columns, &["public_tests"]) && has(columns, &["private_tests"]);
    let checker = if contests { Checker::Tokens } else { Checker::Lines };
    let reference = stdin(&question, cases, checker)?;
    let used = &[
        "tests",
        "test_cases",
        "testcases",
        "public_tests",
        "private_tests",
        "generated_tests",
        "stdin",
        "stdout",
        "expected_output",
        "expected_stdout",
        "prompt",
        "question",
        "problem",
        "problem_statement",
        "description",
    ];
    Ok(draft(&question, None, "", reference, used))
}

fn collect(columns: &Columns, cases: &mut Vec<StdinCase>) -> Result<(), String> {
    for name in CASES {
        // These columns may hold other things too: assertions, or prose.
        let prose = match columns.get(name) {
            Some(Value::String(text)) if !text.trim_start().starts_with(['[', '{']) => true,
            Some(Value::String(_)) if name == "examples" => json_column(columns, name).is_err(),
            _ => false,
        };
        if !prose {
            column_cases(columns, name, cases)?;
        }
    }
    // Not `input` and `output` as such: that is how instructions and their answers are laid out.
    let pair = columns.contains_key("stdin") || columns.get("inputs").is_some_and(Value::is_array);
    if cases.is_empty() && pair { collect_cases(&Value::Object(columns.clone()), cases) } else { Ok(()) }
}
