//! The layout of our own files: what a curation job writes. `prompt` holds messages, `reference` is an object (in Parquet and
//! CSV the same as JSON text), and every further column of the source lies in `extra`.

use rewards::Reference;
use serde_json::{Map, Value};

use super::{Columns, Draft, Layout, conversation, has, optional_text};
use crate::task::{Domain, Split};

pub(super) const LAYOUT: Layout = Layout {
    name: "task",
    needs: "prompt, reference, domain",
    recognises: |columns| has(columns, &["prompt", "reference", "domain"]),
    convert,
};

/// An object, or the JSON text of one.
fn object(columns: &Columns, name: &str) -> Result<Option<Value>, String> {
    match columns.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map(Some).map_err(|error| format!("the column `{name}` is no JSON: {error}"))
        }
        Some(value) => Ok(Some(value.clone())),
    }
}

fn convert(columns: &Columns) -> Result<Draft, String> {
    let (prompt, turns) = match object(columns, "prompt") {
        // CSV holds the messages as JSON text.
        Ok(Some(list @ Value::Array(_))) => conversation(&Map::from_iter([("prompt".to_owned(), list)]), "prompt")?,
        _ => conversation(columns, "prompt")?,
    };
    let reference = object(columns, "reference")?.ok_or("the column `reference` is empty")?;
    let reference: Reference =
        serde_json::from_value(reference).map_err(|error| format!("the column `reference` is not one: {error}"))?;
    let mut draft = Draft::new(
        prompt,
        reference,
        &["id", "source", "domain", "split", "prompt", "reference", "difficulty", "extra", "answer"],
    );
    draft.turns = turns;
    draft.source = Some(optional_text(columns, "source")?).filter(|source| !source.is_empty());
    draft.domain = Domain::from_name(&optional_text(columns, "domain")?);
    draft.split = Split::from_name(&optional_text(columns, "split")?);
    draft.difficulty = match columns.get("difficulty") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    if let Some(Value::Object(extra)) = object(columns, "extra")? {
        draft.extra = extra;
    }
    Ok(draft)
}
