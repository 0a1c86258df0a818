//! What the layouts of programming tasks share: their tests, and what the question says about them.

use rewards::{CallCase, Checker, Reference, StdinCase, Tolerance};
use serde_json::Value;

use super::request::{BEGINNING, FUNCTION, PROGRAM};
use super::{Columns, Draft, json_column, optional_text, type_name};

/// What a function finds imported: `LeetCode` and those who took its tasks over do so, and their signatures use it.
pub(super) const CALL_SETUP: &str =
    "import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
from builtins import *";

/// Columns that may hold a question, the plainest name last.
pub(super) const QUESTIONS: [&str; 9] = [
    "question_content",
    "problem_statement",
    "question",
    "problem",
    "description",
    "statement",
    "prompt",
    "text",
    "instruction",
];

/// Columns that may hold pairs of input and output, or lists of them, or objects with either.
pub(super) const CASES: [&str; 10] = [
    "input_output",
    "official_tests",
    "tests",
    "test_cases",
    "testcases",
    "public_tests",
    "private_tests",
    "generated_tests",
    "verification_info",
    "examples",
];
const INPUTS: [&str; 4] = ["input", "inputs", "stdin", "test_input"];
const OUTPUTS: [&str; 6] = ["output", "outputs", "stdout", "expected_output", "expected_stdout", "test_output"];

/// The question, from the first of [`QUESTIONS`] that is text. A prompt of messages is their last.
pub(crate) fn question(columns: &Columns) -> Result<String, String> {
    let found = QUESTIONS.iter().find_map(|name| match columns.get(*name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Some(text.as_str()),
        Some(Value::Array(messages)) => messages.last()?.get("content")?.as_str(),
        _ => None,
    });
    let question =
        found.ok_or_else(|| format!("the question is missing: none of the columns {}", QUESTIONS.join(", ")))?;
    Ok(question.replace("\r\n", "\n").trim().to_owned())
}

/// The question, with the request for a program, or for a function that begins as the source says.
pub(super) fn draft(
    question: &str,
    function: Option<&str>,
    starter: &str,
    reference: Reference,
    used: &'static [&'static str],
) -> Draft {
    let prompt = match function {
        None if question.contains("standard input") && question.contains("Python") => question.to_owned(),
        None => format!("{question}\n\n{PROGRAM}"),
        Some(name) if starter.trim().is_empty() => format!("{question}\n\n{FUNCTION} `{name}`."),
        Some(_) => {
            let shown = format!("\n\n{BEGINNING}\n\n{}", starter.trim_end());
            let draft = Draft::new(format!("{question}{shown}"), reference, used);
            return Draft { shown: shown.len(), ..draft };
        }
    };
    Draft::new(prompt, reference, used)
}

/// Programs whose output is compared as `checker` says, within what the question states.
pub(super) fn stdin(question: &str, cases: Vec<StdinCase>, checker: Checker) -> Result<Reference, String> {
    if cases.is_empty() {
        return Err("it has no pairs of input and output".to_owned());
    }
    Ok(Reference::Stdin { cases, checker, tolerance: stated_tolerance(question) })
}

/// A function that is called.
pub(super) fn calls(question: &str, function: &str, cases: Vec<CallCase>) -> Result<Reference, String> {
    if cases.is_empty() {
        return Err("it has no calls".to_owned());
    }
    let tolerance = stated_tolerance(question);
    Ok(Reference::Calls { setup: CALL_SETUP.to_owned(), function: function.to_owned(), cases, tolerance })
}

/// APPS' object, which others took over: `inputs` and `outputs`, lists of one length, and `fn_name` for functions.
///
/// Its judge compares words; and it takes what a function returns for right where it is in a list of its own.
pub(super) fn input_output(question: &str, text: &str) -> Result<(Reference, Option<String>), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("the tests are no JSON: {error}"))?;
    let (Some(Value::Array(inputs)), Some(Value::Array(outputs))) = (value.get("inputs"), value.get("outputs")) else {
        return Err("the tests have no lists `inputs` and `outputs`".to_owned());
    };
    if inputs.len() != outputs.len() {
        return Err(format!("the tests have {} inputs and {} outputs", inputs.len(), outputs.len()));
    }
    let function = match value.get("fn_name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.as_str()).filter(|name| !name.is_empty()),
        Some(other) => return Err(format!("the `fn_name` of the tests should be text, but is {}", type_name(other))),
    };
    let Some(function) = function else {
        let mut cases = Vec::with_capacity(inputs.len());
        pairs(inputs, outputs, &mut cases)?;
        return Ok((stdin(question, cases, Checker::Tokens)?, None));
    };
    // From the text itself: whole numbers may be of any size.
    let parts = |key, length| {
        let parts = json_member(text, key).and_then(json_elements).filter(|parts| parts.len() == length);
        parts.ok_or_else(|| format!("the tests have more than one `{key}`"))
    };
    let (arguments, expected) = (parts("inputs", inputs.len())?, parts("outputs", outputs.len())?);
    let cases = arguments.into_iter().zip(expected).map(|(arguments, expected)| CallCase {
        // A single argument that is no list stands alone in some rows.
        arguments: if arguments.starts_with('[') { arguments.to_owned() } else { format!("[{arguments}]") },
        expected: expected.to_owned(),
        wrapped: true,
        weight: 1,
    });
    Ok((calls(question, function, cases.collect())?, Some(function.to_owned())))
}

/// Every pair of input and output in a value: side by side in an object, as two lists of one length, in a list, or deeper.
/// An input without its output is an error, and so is one that is no text; the pairs before it are in `cases`.
pub(super) fn collect_cases(value: &Value, cases: &mut Vec<StdinCase>) -> Result<(), String> {
    match value {
        Value::Array(elements) => {
            let pairs = elements.iter().any(Value::is_object);
            elements.iter().try_for_each(|element| match element {
                Value::Array(_) | Value::Object(_) => collect_cases(element, cases),
                other if pairs => Err(format!("a test should have input and output, but is {}", type_name(other))),
                _ => Ok(()),
            })
        }
        Value::Object(fields) => {
            let first = |names: &[&'static str]| {
                names
                    .iter()
                    .find_map(|name| fields.get(*name).filter(|value| !value.is_null()).map(|value| (*name, value)))
            };
            match (first(&INPUTS), first(&OUTPUTS)) {
                (Some((_, Value::Array(inputs))), Some((_, Value::Array(outputs))))
                    if inputs.len() == outputs.len() =>
                {
                    pairs(inputs, outputs, cases)
                }
                (Some(("inputs", Value::Array(inputs))), Some(("outputs", Value::Array(outputs)))) => {
                    Err(format!("the tests have {} inputs and {} outputs", inputs.len(), outputs.len()))
                }
                (Some((_, input)), Some((_, output))) => {
                    cases.push(case(input, output)?);
                    Ok(())
                }
                (Some((name, _)), None) => Err(format!("a test has an `{name}` and no output")),
                (None, Some((name, _))) => Err(format!("a test has an `{name}` and no input")),
                (None, None) => {
                    fields.values().filter(|value| value.is_array()).try_for_each(|value| collect_cases(value, cases))
                }
            }
        }
        _ => Ok(()),
    }
}

fn pairs(inputs: &[Value], outputs: &[Value], cases: &mut Vec<StdinCase>) -> Result<(), String> {
    inputs.iter().zip(outputs).try_for_each(|(input, output)| {
        cases.push(case(input, output)?);
        Ok(())
    })
}

/// An input or output that is a list holds lines.
fn case(input: &Value, output: &Value) -> Result<StdinCase, String> {
    let text = |what: &str, value: &Value| {
        let wrong = |what: &str, value| format!("{what} of a test should be text, but is {}", type_name(value));
        match value {
            Value::Array(lines) => {
                let lines =
                    lines.iter().map(|line| scalar(line).ok_or_else(|| wrong(&format!("a line of {what}"), line)));
                lines.collect::<Result<Vec<_>, _>>().map(|lines| lines.join("\n"))
            }
            value => scalar(value).ok_or_else(|| wrong(what, value)),
        }
    };
    Ok(StdinCase { stdin: text("the input", input)?, stdout: text("the output", output)?, weight: 1 })
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        _ => None,
    }
}

/// The pairs in a column: a list or an object, or the JSON text of one.
pub(super) fn column_cases(columns: &Columns, name: &str, cases: &mut Vec<StdinCase>) -> Result<(), String> {
    let value = json_column(columns, name)?;
    collect_cases(&value, cases).map_err(|what| format!("the column `{name}`: {what}"))
}

/// A column that holds JSON, as text or as it is.
pub(super) fn json_text(columns: &Columns, name: &str) -> Result<String, String> {
    match columns.get(name) {
        Some(value @ (Value::Object(_) | Value::Array(_))) => Ok(value.to_string()),
        _ => optional_text(columns, name),
    }
}

/// What the question says about numbers that are not whole: "absolute or relative error does not exceed 10^{-6}", "within
/// 10^-5 of the actual answer".
pub(super) fn stated_tolerance(question: &str) -> Option<Tolerance> {
    let mut plain = question.replace(['\u{2212}', '\u{2013}'], "-");
    for layout in ["$", "{", "}", "\\,", "<sup>", "</sup>", "**", "`", "\\"] {
        plain = plain.replace(layout, if layout.contains("sup") || layout == "**" { "^" } else { "" });
    }
    let plain = plain.replace("^^", "^").replace("^ -", "^-");
    ["10^-", "1e-", "1E-", "10-"].iter().find_map(|mark| {
        plain.match_indices(mark).find_map(|(at, _)| {
            let before: String = plain[..at].chars().rev().take(120).collect::<String>().to_lowercase();
            let before: String = before.chars().rev().collect();
            // "10-4" is a difference unless the sentence is about errors.
            let about = ["error", "precision", "accuracy", "within", "tolerance", "differ"];
            if !about.iter().any(|word| before.contains(word)) {
                return None;
            }
            let digits: String = plain[at + mark.len()..].chars().take_while(char::is_ascii_digit).collect();
            let exponent: i32 = digits.parse().ok().filter(|exponent| (1..=15).contains(exponent))?;
            Tolerance::new(10_f64.powi(-exponent))
        })
    })
}

/// The text of the member `key` of a JSON object, which is well-formed.
fn json_member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let parts = json_parts(text, '{')?;
    parts.into_iter().find_map(|part| {
        let (name, value) = part.split_at(json_end(part));
        (name.trim_matches('"') == key).then(|| value.trim_start().strip_prefix(':').map(str::trim))?
    })
}

/// The texts of the elements of a JSON array, which is well-formed.
fn json_elements(text: &str) -> Option<Vec<&str>> {
    json_parts(text, '[')
}

/// What stands between the commas of an object or array.
fn json_parts(text: &str, open: char) -> Option<Vec<&str>> {
    let inside = text.trim().strip_prefix(open)?;
    let inside = inside.strip_suffix(if open == '[' { ']' } else { '}' })?;
    let (mut parts, mut start, mut depth, mut at) = (Vec::new(), 0, 0_usize, 0);
    let bytes = inside.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += json_end(&inside[at..]) - 1,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(inside[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.extend(Some(inside[start..].trim()).filter(|last| !last.is_empty()));
    Some(parts)
}

/// Where the JSON string that begins a text ends, after its closing quote.
fn json_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_one_that_the_question_states() {
        for (question, expected) in [
            ("if its absolute or relative error does not exceed $10^{-6}$.", Some(1e-6)),
            ("considered correct if the absolute or relative error is at most 10^{-9}.", Some(1e-9)),
            ("Answers within 10^-5 of the actual answer will be accepted.", Some(1e-5)),
            ("Answers within 10<sup>-5</sup> of the actual answer are accepted.", Some(1e-5)),
            ("with relative error 1e-4", Some(1e-4)),
            ("the error should not exceed 10 \u{2212} 6.", None),
            ("relative error 10\u{2212}6", Some(1e-6)),
            ("|a_i| <= 10^-9 are given.", None),
            ("Compute 10-4.", None),
            ("Print the number modulo 10^9 + 7.", None),
        ] {
            assert_eq!(stated_tolerance(question).map(Tolerance::value), expected, "{question}");
        }
    }

    #[test]
    fn json_is_cut_where_it_can_be() {
        let text = r#"{"a": [[1, "x,]\""], 123456789012345678901234567890], "fn_name": "f" }"#;
        assert_eq!(json_member(text, "fn_name"), Some("\"f\""));
        let elements = json_elements(json_member(text, "a").unwrap()).unwrap();
        assert_eq!(elements, [r#"[1, "x,]\""]"#, "123456789012345678901234567890"]);
        assert_eq!(json_elements("[]"), Some(vec![]));
        assert_eq!(json_member("[]", "a"), None);
    }

    #[test]
    fn functions_keep_their_numbers() {
        let text = r#"{"fn_name": "f", "inputs": [[12345678901234567890123], 7], "outputs": [[1], "x"]}"#;
        let (reference, function) = input_output("q", text).unwrap();
        let Reference::Calls { cases, .. } = reference else { panic!("{reference:?}") };
        assert_eq!(function.as_deref(), Some("f"));
        let texts: Vec<_> = cases.iter().map(|case| (case.arguments.as_str(), case.expected.as_str())).collect();
        assert_eq!(texts, [("[12345678901234567890123]", "[1]"), ("[7]", "\"x\"")]);
    }
}
