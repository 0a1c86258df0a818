//! verl's parquet layout: `data_source`, `prompt` (messages), `ability`, and `reward_model` with `ground_truth`.

use rewards::Reference;
use serde_json::Value;

use super::program::input_output;
use super::{Columns, Draft, Layout, conversation, has};

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
        _ => return Err("the column `reward_model` has no `ground_truth`".to_owned()),
    };
    let mut draft = Draft::new(prompt, reference, &["prompt", "reward_model", "data_source"]);
    draft.turns = turns;
    if let Some(Value::String(source)) = columns.get("data_source") {
        draft.source = Some(source.clone());
    }
    Ok(draft)
}

/// An answer; or, for code, a JSON object whose `assert_case` are assertions, or with `inputs` and `outputs`.
fn ground_truth(question: &str, text: &str) -> Result<Reference, String> {
    if let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) {
        if let Some(Value::Array(cases)) = fields.get("assert_case") {
            let assertions = cases.iter().map(|case| case.as_str().map(str::to_owned)).collect::<Option<_>>();
            let assertions = assertions.ok_or("an `assert_case` of `ground_truth` is no text")?;
            return Ok(Reference::Tests { setup: String::new(), assertions });
        }
        return Ok(input_output(question, text)?.0);
    }
    Ok(Reference::Math { answer: text.to_owned() })
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
