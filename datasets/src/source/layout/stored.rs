//! The layout of our own files: what a curation job writes. `prompt` holds messages, `reference` is an object (in Parquet and
//! CSV the same as JSON text), and every further column of the source lies in `extra`.

use rewards::Reference;
use serde_json::{Map, Value};

use super::request::BEGINNING;
use super::{Columns, Draft, Layout, conversation, has, json_column, mbpp, optional_text, wrong_type};
use crate::task::{Domain, Split};

pub(super) const LAYOUT: Layout = Layout {
    name: "task",
    needs: "prompt, reference, domain",
    recognises: |columns| has(columns, &["prompt", "reference", "domain"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let (prompt, turns) = match json_column(columns, "prompt") {
        // CSV holds the messages as JSON text.
        Ok(list @ Value::Array(_)) => conversation(&Map::from_iter([("prompt".to_owned(), list)]), "prompt")?,
        _ => conversation(columns, "prompt")?,
    };
    let reference = json_column(columns, "reference")?;
    if reference.is_null() {
        return Err("the column `reference` is empty".to_owned());
    }
    let reference: Reference =
        serde_json::from_value(reference).map_err(|error| format!("the column `reference` is not one: {error}"))?;
    let shown = shown(&prompt, &reference);
    let mut draft = Draft::new(
        prompt,
        reference,
        &["id", "source", "domain", "split", "prompt", "reference", "difficulty", "extra", "answer"],
    );
    draft.shown = shown;
    draft.turns = turns;
    draft.source = Some(optional_text(columns, "source")?).filter(|source| !source.is_empty());
    draft.domain = known(columns, "domain", "math, code, choice, logic or text", Domain::from_name)?;
    draft.split = known(columns, "split", "train, validation or held", Split::from_name)?;
    draft.difficulty = match columns.get("difficulty") {
        Some(Value::Number(number)) => number.as_f64(),
        _ => known(columns, "difficulty", "a number", |text| text.parse().ok())?,
    };
    match json_column(columns, "extra")? {
        Value::Null => {}
        Value::Object(extra) => draft.extra = extra,
        other => return Err(wrong_type("extra", "an object", &other)),
    }
    Ok(draft)
}

/// Bytes at the end of a prompt that are code which an adapter showed when the row was made: the first test of a reference, or the
/// beginning of the function that is called.
fn shown(prompt: &str, reference: &Reference) -> usize {
    match reference {
        Reference::Tests { assertions, .. } => {
            let shown = assertions.first().map(|test| mbpp::shown(test));
            shown.filter(|shown| prompt.ends_with(shown)).map_or(0, |shown| shown.len())
        }
        Reference::Calls { function, .. } => {
            let start = prompt.rfind(&format!("\n\n{BEGINNING}\n\n"));
            start.map(|start| &prompt[start..]).filter(|shown| shown.contains(function.as_str())).map_or(0, str::len)
        }
        _ => 0,
    }
}

/// What a text means that may be missing, but is one of `expected` if there.
fn known<T>(
    columns: &Columns,
    name: &str,
    expected: &str,
    meaning: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let text = optional_text(columns, name)?;
    if text.is_empty() {
        return Ok(None);
    }
    meaning(&text).map(Some).ok_or_else(|| format!("the column `{name}` should be {expected}, but is `{text}`"))
}
