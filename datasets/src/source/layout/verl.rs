//! verl's parquet layout: `data_source`, `prompt` (messages), `ability`, and `reward_model` with `ground_truth`; so do
//! DAPO-Math, Skywork-OR1 and others lay out theirs.

use rewards::Reference;
use serde_json::Value;

use super::program::{CALL_SETUP, input_output};
use super::{Columns, Draft, Layout, conversation, has, type_name};

pub(super) const LAYOUT: Layout = Layout {
    name: "verl",
    needs: "prompt (messages), reward_model with ground_truth",
    recognises: |columns| {
        has(columns, &["prompt"])
            && columns.get("reward_model").is_some_and(|model| model.get("ground_truth").is_some())
    },
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let (prompt, turns) = conversation(columns, "prompt")?;
    let truth = columns.get("reward_model").and_then(|model| model.get("ground_truth"));
    let reference = match truth {
        Some(Value::String(answer)) if !answer.trim().is_empty() => ground_truth(&prompt, answer.trim())?,
        Some(Value::Number(number)) => Reference::Math { answer: number.to_string() },
        Some(Value::Object(fields)) => countdown(fields)?,
        Some(Value::Array(answers)) => only(answers)?,
        _ => return Err("the column `reward_model` has no `ground_truth`".to_owned()),
    };
    let mut draft = Draft::new(prompt, reference, &["prompt", "reward_model", "data_source"]);
    draft.turns = turns;
    if let Some(Value::String(source)) = columns.get("data_source") {
        draft.source = Some(source.clone());
    }
    Ok(draft)
}

/// What Skywork's judge imports before a program, beside what LeetCode does. In front of that: `operator` has names of builtins.
const ASSERTED_SETUP: &str = "import datetime\nfrom string import *\nfrom operator import *";

/// An answer, or a JSON list of texts with it; for code, a JSON object: with `inputs` and `outputs`; or (Skywork's) with
/// `assert_case`, assertions; or with `test_code`, which defines `check`, what to call it with and what to import before.
fn ground_truth(question: &str, text: &str) -> Result<Reference, String> {
    let fields = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => fields,
        // `[1, 2]` is an interval, or a list, that is the answer itself.
        Ok(Value::Array(answers)) if !answers.is_empty() && answers.iter().all(Value::is_string) => {
            return only(&answers);
        }
        _ => return Ok(Reference::Math { answer: text.to_owned() }),
    };
    if let Some(Value::Array(cases)) = fields.get("assert_case") {
        let assertions = cases.iter().map(|case| case.as_str().map(str::to_owned)).collect::<Option<_>>();
        let assertions = assertions.ok_or("an `assert_case` of `ground_truth` is no text")?;
        return Ok(Reference::Tests { setup: format!("{ASSERTED_SETUP}\n{CALL_SETUP}"), assertions });
    }
    if fields.contains_key("test_code") {
        let field = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let (Some(tests), Some(function)) = (field("test_code"), field("entry_point")) else {
            return Err("`ground_truth` has no texts `test_code` and `entry_point`".to_owned());
        };
        if !tests.contains("def check(") {
            return Err("the `test_code` of `ground_truth` does not define `check`".to_owned());
        }
        let imports = match fields.get("import_prefix") {
            None | Some(Value::Null) => "",
            Some(Value::String(imports)) => imports.trim(),
            Some(other) => return Err(format!("`import_prefix` should be text, but is {}", type_name(other))),
        };
        let setup = format!("{imports}\n\n{tests}").trim().to_owned();
        return Ok(Reference::Tests { setup, assertions: vec![format!("check({function})")] });
    }
    Ok(input_output(question, text)?.0)
}

/// The answer in a list of one. Of several any would be right, and a reference holds one.
fn only(answers: &[Value]) -> Result<Reference, String> {
    match answers {
        [Value::String(answer)] if !answer.trim().is_empty() => {
            Ok(Reference::Math { answer: answer.trim().to_owned() })
        }
        [Value::Number(answer)] => Ok(Reference::Math { answer: answer.to_string() }),
        [other] => {
            Err(format!("`ground_truth` is a list of one answer, which should be text, but is {}", type_name(other)))
        }
        _ => Err(format!("`ground_truth` lists {} answers, and a task is compared with one", answers.len())),
    }
}

/// TinyZero's Countdown in verl's layout: `numbers` and `target`.
fn countdown(fields: &serde_json::Map<String, Value>) -> Result<Reference, String> {
    let numbers: Option<Vec<i64>> =
        fields.get("numbers").and_then(Value::as_array).and_then(|numbers| numbers.iter().map(Value::as_i64).collect());
    match (numbers, fields.get("target").and_then(Value::as_i64)) {
        (Some(numbers), Some(target)) if !numbers.is_empty() => Ok(Reference::Countdown { numbers, target }),
        _ => Err("`ground_truth` is an object without whole `numbers` and `target`".to_owned()),
    }
}
