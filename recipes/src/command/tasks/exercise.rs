//! A programming task with its solution, as rows of public sets hold them.
//!
//! `datasets` makes training tasks of such rows, where the solution has no place; here it is the point. Three layouts:
//! HumanEval (`prompt`, `canonical_solution`, `test`, `entry_point`), MBPP (`code`, `test_list`), and programs that read
//! standard input (APPS, TACO: `solutions`, `input_output`; Code Contests: `public_tests` and its kin; and plain rows
//! with a solution and `tests`, or `stdin` and `stdout`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use rewards::StdinCase;
use serde_json::{Map, Value};

type Row = Map<String, Value>;

/// How rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum Layout {
    /// By their columns
    Auto,
    /// `prompt`, `canonical_solution`, `test`, `entry_point`
    Humaneval,
    /// `code`, `test_list`
    Mbpp,
    /// A solution, and inputs with outputs
    Stdin,
}

/// A solution and what it must pass.
#[derive(Debug, PartialEq)]
pub(in crate::command) struct Exercise {
    pub(in crate::command) id: String,
    pub(in crate::command) solution: String,
    pub(in crate::command) tests: Tests,
}

#[derive(Debug, PartialEq)]
pub(in crate::command) enum Tests {
    Assertions { setup: String, assertions: Vec<String> },
    Stdin(Vec<StdinCase>),
}

/// Columns that may hold a solution, and the part of each that is one.
const SOLUTIONS: [&str; 8] = [
    "code",
    "canonical_solution",
    "solution",
    "solutions",
    "reference_solution",
    "gold_standard_solution",
    "program",
    "completion",
];
/// Columns that may hold cases.
const CASES: [&str; 9] = [
    "input_output",
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

/// The exercises of a file: JSON Lines, or one JSON document that is a list (or an object of rows by name), also
/// gzipped.
pub(in crate::command) fn read(path: &Path, layout: Layout) -> anyhow::Result<Vec<Exercise>> {
    let rows = rows(path).with_context(|| format!("cannot read the task file {}", path.display()))?;
    ensure!(!rows.is_empty(), "the task file {} holds no rows", path.display());
    rows.into_iter()
        .map(|(line, row)| exercise(&row, layout, line).with_context(|| format!("{}, row {line}", path.display())))
        .collect()
}

/// Every row with its place, counted from 1.
fn rows(path: &Path) -> anyhow::Result<Vec<(usize, Row)>> {
    let name = path.to_string_lossy().to_lowercase();
    let file = File::open(path)?;
    let packed = name.ends_with(".gz");
    let mut text: Box<dyn BufRead> = if packed {
        Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if name.ends_with(".json") {
        let mut document = String::new();
        text.read_to_string(&mut document)?;
        // Some sets call a file of lines `.json`.
        if let Ok(document) = serde_json::from_str::<Value>(&document) {
            return document_rows(document);
        }
        return lines(&mut document.as_bytes());
    }
    ensure!(
        name.ends_with(".jsonl") || name.ends_with(".ndjson"),
        "its name ends in none of .jsonl, .ndjson, .json (each also with .gz)"
    );
    lines(&mut text)
}

fn lines(text: &mut dyn BufRead) -> anyhow::Result<Vec<(usize, Row)>> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.with_context(|| format!("line {}", index + 1))?;
        if !line.trim().is_empty() {
            let row = serde_json::from_str(&line).with_context(|| format!("line {} is no JSON object", index + 1))?;
            rows.push((index + 1, row));
        }
    }
    Ok(rows)
}

fn document_rows(document: Value) -> anyhow::Result<Vec<(usize, Row)>> {
    let elements: Vec<Value> = match document {
        Value::Array(elements) => elements,
        Value::Object(fields) if fields.values().all(Value::is_object) => {
            fields.into_iter().map(|(_, row)| row).collect()
        }
        row @ Value::Object(_) => vec![row],
        _ => bail!("it is a JSON document, but neither a list nor an object"),
    };
    let row = |(index, element)| match element {
        Value::Object(row) => Ok((index + 1, row)),
        _ => bail!("row {} is no JSON object", index + 1),
    };
    elements.into_iter().enumerate().map(row).collect()
}

fn exercise(row: &Row, layout: Layout, line: usize) -> anyhow::Result<Exercise> {
    let id = ["task_id", "id", "problem_id", "question_id", "name"].iter().find_map(|name| scalar(row.get(*name)));
    let (solution, tests) = match layout {
        Layout::Humaneval => human_eval(row)?,
        Layout::Mbpp => mbpp(row)?,
        Layout::Stdin => stdin(row)?,
        Layout::Auto if row.contains_key("entry_point") && row.contains_key("test") => human_eval(row)?,
        Layout::Auto if row.contains_key("test_list") => mbpp(row)?,
        Layout::Auto => stdin(row).with_context(|| {
            let names: Vec<&str> = row.keys().map(String::as_str).collect();
            format!("neither humaneval, mbpp nor stdin by its columns ({})", names.join(", "))
        })?,
    };
    Ok(Exercise { id: id.unwrap_or_else(|| line.to_string()), solution, tests })
}

/// The prompt is the head of the solution. What stands in it before the function goes into the setup too, as it does
/// for training.
fn human_eval(row: &Row) -> anyhow::Result<(String, Tests)> {
    let (prompt, test, entry_point) = (text(row, "prompt")?, text(row, "test")?, text(row, "entry_point")?);
    let body = solution(row)?;
    // In some editions the solution is whole.
    let whole = body.contains(&format!("def {entry_point}("));
    let program = if whole { body } else { format!("{prompt}{body}") };
    let preamble = prompt.find(&format!("def {entry_point}(")).map_or("", |start| prompt[..start].trim());
    let setup = if preamble.is_empty() { test } else { format!("{preamble}\n\n{test}") };
    Ok((program, Tests::Assertions { setup, assertions: vec![format!("check({entry_point})")] }))
}

fn mbpp(row: &Row) -> anyhow::Result<(String, Tests)> {
    let mut assertions = texts(row, "test_list")?;
    ensure!(!assertions.is_empty(), "the column `test_list` is empty");
    assertions.extend(texts(row, "challenge_test_list")?);
    let mut setup = texts(row, "test_imports")?;
    setup.extend(row.get("test_setup_code").and_then(Value::as_str).map(str::to_owned));
    setup.retain(|part| !part.trim().is_empty());
    let setup = setup.join("\n").replace("\r\n", "\n");
    Ok((solution(row)?.replace("\r\n", "\n"), Tests::Assertions { setup, assertions }))
}

fn stdin(row: &Row) -> anyhow::Result<(String, Tests)> {
    let mut cases = Vec::new();
    for value in CASES.iter().filter_map(|name| row.get(*name)) {
        collect_cases(&unpacked(value), &mut cases);
    }
    if cases.is_empty() {
        collect_cases(&Value::Object(row.clone()), &mut cases);
    }
    ensure!(!cases.is_empty(), "it has no pairs of input and output");
    Ok((solution(row)?, Tests::Stdin(cases)))
}

/// Finds pairs of input and output: side by side in an object, as two lists of one length, in a list, or deeper.
fn collect_cases(value: &Value, cases: &mut Vec<StdinCase>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| collect_cases(element, cases)),
        Value::Object(fields) => {
            let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name));
            match (first(&INPUTS), first(&OUTPUTS)) {
                (Some(Value::Array(inputs)), Some(Value::Array(outputs))) if inputs.len() == outputs.len() => {
                    cases.extend(inputs.iter().zip(outputs).filter_map(|(input, output)| case(input, output)));
                }
                (Some(input), Some(output)) => cases.extend(case(input, output)),
                _ => fields.values().filter(|value| value.is_array()).for_each(|value| collect_cases(value, cases)),
            }
        }
        _ => {}
    }
}

/// An input or output that is a list holds lines.
fn case(input: &Value, output: &Value) -> Option<StdinCase> {
    let joined = |value: &Value| match value {
        Value::Array(lines) => {
            lines.iter().map(|line| scalar(Some(line))).collect::<Option<Vec<_>>>().map(|l| l.join("\n"))
        }
        value => scalar(Some(value)),
    };
    Some(StdinCase { stdin: joined(input)?, stdout: joined(output)? })
}

/// The first solution in Python.
fn solution(row: &Row) -> anyhow::Result<String> {
    let found = SOLUTIONS.iter().find_map(|name| first_program(&unpacked(row.get(*name)?)));
    found.with_context(|| format!("it has no solution (none of the columns {})", SOLUTIONS.join(", ")))
}

fn first_program(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(unfenced(text).to_owned()),
        Value::Array(elements) => elements.iter().find_map(first_program),
        // Code Contests numbers languages; 3 is Python 3.
        Value::Object(fields) => match (fields.get("language"), fields.get("solution").or(fields.get("code"))) {
            (Some(Value::Array(languages)), Some(Value::Array(programs))) => languages
                .iter()
                .zip(programs)
                .find_map(|(language, program)| (language == 3).then(|| first_program(program))?),
            (_, program) => first_program(program?),
        },
        _ => None,
    }
}

/// A program that stands in a fence of Markdown.
fn unfenced(text: &str) -> &str {
    let inner = text.trim().strip_prefix("```python").and_then(|text| text.trim_end().strip_suffix("```"));
    inner.unwrap_or(text)
}

/// Lists and objects are often written as text.
fn unpacked(value: &Value) -> Value {
    match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        value => value.clone(),
    }
}

fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        _ => None,
    }
}

fn text(row: &Row, name: &str) -> anyhow::Result<String> {
    match row.get(name) {
        Some(Value::String(text)) => Ok(text.replace("\r\n", "\n")),
        Some(_) => bail!("the column `{name}` is no text"),
        None => bail!("the column `{name}` is missing"),
    }
}

/// A list of texts, possibly missing.
fn texts(row: &Row, name: &str) -> anyhow::Result<Vec<String>> {
    match row.get(name).map(unpacked) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(elements)) => elements
            .iter()
            .map(|element| element.as_str().map(|text| text.replace("\r\n", "\n")))
            .collect::<Option<_>>()
            .with_context(|| format!("the column `{name}` holds something that is no text")),
        Some(_) => bail!("the column `{name}` is no list of texts"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_row(row: &Value, layout: Layout) -> anyhow::Result<Exercise> {
        exercise(row.as_object().unwrap(), layout, 7)
    }

    fn cases(pairs: &[(&str, &str)]) -> Tests {
        Tests::Stdin(pairs.iter().map(|(i, o)| StdinCase { stdin: (*i).into(), stdout: (*o).into() }).collect())
    }

    #[test]
    fn a_human_eval_solution_is_prompt_and_body() {
        let row = json!({
            "task_id": "HumanEval/1", "prompt": "import math\n\ndef f(x):\n", "canonical_solution": "    return x\n",
            "test": "def check(g):\n    assert g(1) == 1", "entry_point": "f",
        });
        let expected = Exercise {
            id: "HumanEval/1".into(),
            solution: "import math\n\ndef f(x):\n    return x\n".into(),
            tests: Tests::Assertions {
                setup: "import math\n\ndef check(g):\n    assert g(1) == 1".into(),
                assertions: vec!["check(f)".into()],
            },
        };
        assert_eq!(read_row(&row, Layout::Auto).unwrap(), expected);
    }

    #[test]
    fn an_mbpp_row_brings_all_its_tests() {
        let row = json!({
            "task_id": 3, "code": "def f():\r\n    return 1", "test_list": ["assert f() == 1"],
            "test_setup_code": "x = 1", "challenge_test_list": ["assert f() < 2"],
        });
        let expected = Exercise {
            id: "3".into(),
            solution: "def f():\n    return 1".into(),
            tests: Tests::Assertions {
                setup: "x = 1".into(),
                assertions: vec!["assert f() == 1".into(), "assert f() < 2".into()],
            },
        };
        assert_eq!(read_row(&row, Layout::Auto).unwrap(), expected);
    }

    #[test]
    fn pairs_of_input_and_output_are_found_where_they_lie() {
        let check = |row: Value, solution: &str, expected: &[(&str, &str)]| {
            let exercise = read_row(&row, Layout::Auto).unwrap_or_else(|error| panic!("{row}: {error:#}"));
            assert_eq!((exercise.solution.as_str(), exercise.tests), (solution, cases(expected)), "{row}");
        };
        check(
            json!({"solutions": "[\"print(input())\", \"x\"]", "input_output": "{\"inputs\": [\"1\", \"2\"], \"outputs\": [\"1\", \"2\"]}"}),
            "print(input())",
            &[("1", "1"), ("2", "2")],
        );
        check(
            json!({"solutions": {"language": [2, 3], "solution": ["c++", "py"]},
                "public_tests": {"input": ["1"], "output": ["2"]}, "private_tests": {"input": ["3"], "output": ["4"]}}),
            "py",
            &[("1", "2"), ("3", "4")],
        );
        check(
            json!({"solution": "s", "tests": [{"input": "1\n", "output": "2\n"}, {"stdin": "3", "expected_output": "4"}]}),
            "s",
            &[("1\n", "2\n"), ("3", "4")],
        );
        check(json!({"code": "s", "stdin": "1", "stdout": 2}), "s", &[("1", "2")]);
        check(
            json!({"gold_standard_solution": "```python\ns\n```", "verification_info": "{\"test_cases\": [{\"input\": \"a\", \"output\": \"b\"}]}"}),
            "\ns\n",
            &[("a", "b")],
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |row: Value, layout, expected: &str| {
            let error = format!("{:#}", read_row(&row, layout).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(json!({"code": "x"}), Layout::Mbpp, "`test_list` is empty");
        check(json!({"prompt": "x"}), Layout::Humaneval, "`test` is missing");
        check(json!({"test_list": ["assert 1"]}), Layout::Auto, "no solution");
        check(json!({"question": "x", "answer": "y"}), Layout::Auto, "question, answer");
    }
}
