//! Rows to look at: some of those that are left and of those that went, and all that went, with why.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use polars::prelude::DataFrame;
use serde_json::json;

use super::files::create;
use super::parts::Parts;
use super::{DroppedExamples, frame, write};
use crate::error::DatasetError;
use crate::task::Task;

/// Examples that are kept of each reason, and of what stays.
const EXAMPLES: usize = 3;

/// The list of rows that could not be read, in the folder of a `load` step: each with its file, its line and why.
pub(super) const UNREADABLE: &str = "unreadable.jsonl";

/// Some of the rows, from the beginning to the end: what comes from one source stands together.
pub(super) fn spread(parts: &Parts) -> Result<Vec<Task>, DatasetError> {
    let (rows, starts) = (parts.rows(), parts.starts());
    let count = EXAMPLES.min(rows);
    let mut tasks = Vec::new();
    for example in 0..count {
        let row = rows * example / count;
        let index = starts.partition_point(|&start| start <= row).saturating_sub(1);
        let place = i64::try_from(row - starts[index]).unwrap_or(0);
        tasks.extend(frame::to_tasks(&parts.read(index)?.slice(place, 1))?);
    }
    Ok(tasks)
}

/// Some of the rows that were dropped, by reason.
pub(super) fn examples(step: &str, input: &Parts, dropped: &Parts) -> Result<Vec<DroppedExamples>, DatasetError> {
    let mut by_reason: BTreeMap<String, Vec<(Task, String)>> = BTreeMap::new();
    // The first of them show what there is to see.
    for index in 0..dropped.len().min(2) {
        let list = dropped.read(index)?;
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        let few = |reason: &str, _: &str| {
            let count = wanted.entry(reason.to_owned()).or_default();
            *count += 1;
            *count <= EXAMPLES
        };
        for (task, reason, detail) in dropped_tasks(input, &list, few)? {
            let rows = by_reason.entry(reason).or_default();
            if rows.len() < EXAMPLES {
                rows.push((task, detail));
            }
        }
    }
    let step = step.to_owned();
    Ok(by_reason.into_iter().map(|(reason, rows)| DroppedExamples { step: step.clone(), reason, rows }).collect())
}

/// The rows of a list of dropped ones that `wanted` (by reason and detail) asks for, with both.
fn dropped_tasks(
    input: &Parts,
    list: &DataFrame,
    mut wanted: impl FnMut(&str, &str) -> bool,
) -> Result<Vec<(Task, String, String)>, DatasetError> {
    let broken = |error: polars::prelude::PolarsError| DatasetError::Frame { what: error.to_string() };
    let number = |name: &str| list.column(name).and_then(|column| column.u32()).map_err(broken);
    let (parts, rows) = (number("part")?, number("row")?);
    let (reasons, details) = (frame::text(list, "reason")?, frame::text(list, "detail")?);
    let mut tasks = Vec::new();
    // A part is read once: the list is in the order of the rows.
    let mut open: Option<(u32, DataFrame)> = None;
    for at in 0..list.height() {
        let (reason, detail) = (reasons.get(at).unwrap_or_default(), details.get(at).unwrap_or_default());
        if !wanted(reason, detail) {
            continue;
        }
        let (Some(part), Some(row)) = (parts.get(at), rows.get(at)) else {
            return Err(DatasetError::Frame { what: format!("row {at} of the dropped ones has no place") });
        };
        if open.as_ref().is_none_or(|(known, _)| *known != part) {
            open = Some((part, input.read(part as usize)?));
        }
        if let Some((_, frame)) = &open {
            for task in frame::to_tasks(&frame.slice(i64::from(row), 1))? {
                tasks.push((task, reason.to_owned(), detail.to_owned()));
            }
        }
    }
    Ok(tasks)
}

/// All rows that a step dropped, with why, as JSON Lines; also those that `load` could not read. Returns whether there are any.
pub(super) fn write_dropped(path: &Path, input: &Parts, dropped: &Parts, place: &Path) -> Result<bool, DatasetError> {
    let unreadable = place.join(UNREADABLE);
    let some_unreadable = fs::metadata(&unreadable).is_ok_and(|file| file.len() > 0);
    if !some_unreadable && dropped.rows() == 0 {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        create(folder)?;
    }
    // Part by part: what is dropped may be most of the rows.
    let partial = path.with_extension("partial");
    let failed = |source| DatasetError::Write { path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(&partial).map_err(failed)?);
    if some_unreadable {
        let mut list = File::open(&unreadable).map_err(|source| DatasetError::Read { path: unreadable, source })?;
        std::io::copy(&mut list, &mut file).map_err(failed)?;
    }
    for index in 0..dropped.len() {
        for (task, reason, detail) in dropped_tasks(input, &dropped.read(index)?, |_, _| true)? {
            let mut row = write::row(&task);
            row["dropped"] = json!({ "reason": reason, "detail": detail });
            writeln!(file, "{row}").map_err(failed)?;
        }
    }
    file.flush().and_then(|()| fs::rename(&partial, path)).map_err(failed)?;
    Ok(true)
}
