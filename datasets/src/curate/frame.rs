//! Tasks as a data frame and back: the form in which steps hand rows to each other.
//!
//! All columns are text but the difficulty; what has parts (turns, reference, further columns) is JSON. So the schema never
//! depends on the data, and steps that only look at the prompt read one column and copy the rest untouched.

use std::borrow::Cow;

use polars::prelude::{Column, DataFrame, NamedFrom, Series, StringChunked};
use rewards::Reference;
use serde_json::Value;

use crate::error::DatasetError;
use crate::task::{Domain, Message, Split, Task, conversation};

fn broken(error: &impl std::fmt::Display) -> DatasetError {
    DatasetError::Frame { what: error.to_string() }
}

/// The rows of these tasks.
pub(super) fn to_frame(tasks: &[Task]) -> Result<DataFrame, DatasetError> {
    let json = |value: Result<String, serde_json::Error>| value.map_err(|error| broken(&error));
    let texts = |name: &str, texts: Vec<&str>| Column::from(Series::new(name.into(), texts));
    let mut references = Vec::with_capacity(tasks.len());
    let mut turns = Vec::with_capacity(tasks.len());
    let mut extras = Vec::with_capacity(tasks.len());
    for task in tasks {
        references.push(json(serde_json::to_string(&task.reference))?);
        turns.push(if task.turns.is_empty() { String::new() } else { json(serde_json::to_string(&task.turns))? });
        extras.push(if task.extra.is_empty() { String::new() } else { json(serde_json::to_string(&task.extra))? });
    }
    let difficulty: Vec<Option<f64>> = tasks.iter().map(|task| task.difficulty).collect();
    let columns = vec![
        texts("id", tasks.iter().map(|task| task.id.as_str()).collect()),
        texts("source", tasks.iter().map(|task| task.source.as_str()).collect()),
        texts("domain", tasks.iter().map(|task| task.domain.name()).collect()),
        texts("split", tasks.iter().map(|task| task.split.name()).collect()),
        texts("prompt", tasks.iter().map(|task| task.prompt.as_str()).collect()),
        texts("turns", turns.iter().map(String::as_str).collect()),
        texts("reference", references.iter().map(String::as_str).collect()),
        Column::from(Series::new("difficulty".into(), difficulty)),
        texts("extra", extras.iter().map(String::as_str).collect()),
    ];
    DataFrame::new(tasks.len(), columns).map_err(|error| broken(&error))
}

/// A column of text.
pub(super) fn text<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a StringChunked, DatasetError> {
    frame.column(name).and_then(|column| column.str()).map_err(|error| broken(&error))
}

/// What each row says, of the columns `prompt` and `turns`: its question, behind what was said before it.
pub(super) fn said(frame: &DataFrame) -> Result<Vec<Cow<'_, str>>, DatasetError> {
    let rows = text(frame, "prompt")?.iter().zip(text(frame, "turns")?.iter());
    rows.map(|(prompt, turns)| {
        let (prompt, turns) = (prompt.unwrap_or_default(), turns.unwrap_or_default());
        if turns.is_empty() {
            return Ok(Cow::Borrowed(prompt));
        }
        let turns: Vec<Message> = serde_json::from_str(turns).map_err(|error| broken(&error))?;
        Ok(Cow::Owned(conversation(&turns, prompt)))
    })
    .collect()
}

/// The tasks of these rows.
pub(super) fn to_tasks(frame: &DataFrame) -> Result<Vec<Task>, DatasetError> {
    let column = |name: &str| text(frame, name).map(|column| column.iter().map(Option::unwrap_or_default));
    let difficulty =
        frame.column("difficulty").and_then(|column| column.f64().cloned()).map_err(|error| broken(&error))?;
    let mut difficulty = difficulty.iter();
    let (mut ids, mut sources, mut domains) = (column("id")?, column("source")?, column("domain")?);
    let (mut splits, mut prompts, mut turns) = (column("split")?, column("prompt")?, column("turns")?);
    let (mut references, mut extras) = (column("reference")?, column("extra")?);
    let mut tasks = Vec::with_capacity(frame.height());
    for _ in 0..frame.height() {
        let (turns, extra) = (turns.next().unwrap_or_default(), extras.next().unwrap_or_default());
        let reference: Reference =
            serde_json::from_str(references.next().unwrap_or_default()).map_err(|error| broken(&error))?;
        let extra: Value =
            if extra.is_empty() { Value::Null } else { serde_json::from_str(extra).map_err(|error| broken(&error))? };
        let domain = domains.next().unwrap_or_default();
        let split = splits.next().unwrap_or_default();
        tasks.push(Task {
            id: ids.next().unwrap_or_default().to_owned(),
            source: sources.next().unwrap_or_default().to_owned(),
            domain: Domain::from_name(domain).ok_or_else(|| broken(&format!("no domain `{domain}`")))?,
            prompt: prompts.next().unwrap_or_default().to_owned(),
            turns: if turns.is_empty() {
                Vec::new()
            } else {
                serde_json::from_str(turns).map_err(|error| broken(&error))?
            },
            reference,
            difficulty: difficulty.next().flatten(),
            split: Split::from_name(split).ok_or_else(|| broken(&format!("no split `{split}`")))?,
            extra: match extra {
                Value::Object(extra) => extra,
                _ => serde_json::Map::new(),
            },
        });
    }
    Ok(tasks)
}
