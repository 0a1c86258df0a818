//! Open R1's verifiable coding problems: `prompt`, `problem` or `problem_statement`, and `verification_info` with `test_cases`:
//! objects with `input`, `output`, `type` (`stdin_stdout` or `function_call`) and `fn_name`; as an object or JSON text. Also
//! SYNTHETIC-1's, whose problems of mathematics have a `ground_truth` there.

use rewards::{CallCase, Checker, Reference};
use serde_json::Value;

use super::program::{calls, collect_cases, draft, question, stdin};
use super::{Columns, Draft, Layout, has, json_column};

pub(super) const LAYOUT: Layout = Layout {
    name: "open-r1-code",
    needs: "prompt or problem_statement, verification_info with test_cases or ground_truth",
    recognises: |columns| has(columns, &["verification_info"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let question = question(columns)?;
    let info = json_column(columns, "verification_info")?;
    let used = &["verification_info", "prompt", "question", "problem", "problem_statement"];
    let language = info.get("language").and_then(Value::as_str).unwrap_or("python");
    if !language.eq_ignore_ascii_case("python") {
        return Err(format!("its language is {language}, and only Python is run"));
    }
    // SYNTHETIC-1's problems of mathematics.
    let test_cases = info.get("test_cases").filter(|tests| !tests.is_null());
    if let (None, Some(Value::String(answer))) = (test_cases, info.get("ground_truth"))
        && !answer.trim().is_empty()
    {
        return Ok(Draft::new(question, Reference::Math { answer: answer.trim().to_owned() }, used));
    }
    // In some editions a text within the text.
    let tests = match info.get("test_cases") {
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|error| format!("the `test_cases` of the column `verification_info` are no JSON: {error}"))?,
        other => other.cloned().unwrap_or_default(),
    };
    let Value::Array(tests) = tests else {
        return Err("the column `verification_info` has no list `test_cases`".to_owned());
    };
    let function = tests.iter().find_map(|test| test.get("fn_name")?.as_str()).filter(|name| !name.is_empty());
    let Some(function) = function else {
        let mut cases = Vec::new();
        collect_cases(&Value::Array(tests), &mut cases)?;
        return Ok(draft(&question, None, "", stdin(&question, cases, Checker::Lines)?, used));
    };
    let cases = tests.iter().map(|test| {
        let (input, output) = (test.get("input")?, test.get("output")?);
        Some(CallCase { arguments: arguments(input), expected: json(output), wrapped: true, weight: 1 })
    });
    let cases = cases.collect::<Option<_>>().ok_or("a test case has no `input` and `output`")?;
    let reference = calls(&question, function, cases)?;
    Ok(draft(&question, Some(function), "", reference, used))
}

/// A list, as JSON or as the text of it; a single value is the only argument; lines are one argument each.
fn arguments(input: &Value) -> String {
    match input {
        Value::Array(_) => input.to_string(),
        Value::String(text) if text.trim_start().starts_with('[') && serde_json::from_str::<Value>(text).is_ok() => {
            text.trim().to_owned()
        }
        Value::String(text) => {
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            format!("[{}]", lines.join(", "))
        }
        other => format!("[{other}]"),
    }
}

fn json(output: &Value) -> String {
    match output {
        Value::String(text) if serde_json::from_str::<Value>(text).is_ok() => text.clone(),
        other => other.to_string(),
    }
}
