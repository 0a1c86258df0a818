//! Task files: from bytes on disk to [`Task`]s.
//!
//! Two questions, answered separately. How the rows lie in the file ([`json`], [`table`]) follows
//! from the file's name; what the columns mean ([`layout`]) follows from their names. Every row
//! keeps the line it stood on, so that whatever is wrong with it can be said with its place.

mod json;
mod layout;
mod table;

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::DatasetError;
use crate::task::{Split, Task};
use layout::Layout;

/// The endings of names that are read.
const KNOWN_KINDS: &str = ".jsonl, .ndjson, .json, .csv, .parquet (each also with .gz)";

/// How many well-formed rows the layout is chosen by. More than one, so that a single row with a
/// missing column does not decide for the whole file.
const ROWS_FOR_LAYOUT: usize = 100;

/// What to do about a malformed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadLine {
    /// Give up with an error that names the first one.
    Stop,
    /// Leave it out and report it beside the tasks.
    Skip,
}

/// A row that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its line in the file (for Parquet its row), counted from 1.
    pub line: usize,
    /// What was wrong with it.
    pub what: String,
}

/// What a task file held.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadTasks {
    /// The tasks, in the order of the file.
    pub tasks: Vec<Task>,
    /// The rows left out. Always empty with [`OnBadLine::Stop`].
    pub bad: Vec<BadLine>,
}

/// The columns of one row.
pub(crate) type Columns = Map<String, Value>;

/// One row as it lay in the file: its columns, or why there are none.
pub(crate) struct Row {
    /// Line, or row for Parquet, counted from 1.
    pub(crate) line: usize,
    /// The columns, or what is wrong with the row.
    pub(crate) columns: Result<Columns, String>,
}

/// Reads the task file at `path`: JSON Lines, JSON, CSV or Parquet by its name's ending, each
/// also gzipped, in any of the layouts that are recognised by their columns.
///
/// # Errors
/// If the file cannot be read, is damaged as a whole, holds no rows or no usable row, is of an
/// unknown kind or layout; with [`OnBadLine::Stop`] also for the first malformed row.
pub fn read(path: &Path, on_bad_line: OnBadLine) -> Result<ReadTasks, DatasetError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let bytes = std::fs::read(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let (name, bytes) = match name.strip_suffix(".gz") {
        Some(inner) => (inner.to_owned(), unzip(path, &bytes)?),
        None => (name, bytes),
    };
    // The place of a row is a line, except in a Parquet file, which has none.
    let place = if name.ends_with(".parquet") { "row" } else { "line" };
    let damaged = |what: String| DatasetError::Damaged { path: path.to_owned(), what };
    let rows = match name.rsplit_once('.').map(|(_, ending)| ending) {
        _ if bytes.is_empty() => return Err(DatasetError::Empty { path: path.to_owned() }),
        Some("jsonl" | "ndjson") => json::read_lines(&bytes),
        Some("json") => json::read_document(&bytes).map_err(damaged)?,
        Some("csv") => table::read_csv(&bytes).map_err(damaged)?,
        Some("parquet") => table::read_parquet(bytes).map_err(damaged)?,
        _ => return Err(DatasetError::UnknownKind { path: path.to_owned(), known: KNOWN_KINDS }),
    };
    if rows.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    // `gsm8k_train.jsonl.gz` is `gsm8k_train`.
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    to_tasks(path, stem, place, rows, on_bad_line)
}

/// Interprets the rows by the layout that most of the first ones show.
fn to_tasks(
    path: &Path,
    stem: &str,
    place: &'static str,
    rows: Vec<Row>,
    on_bad_line: OnBadLine,
) -> Result<ReadTasks, DatasetError> {
    let sample: Vec<&Columns> = rows.iter().filter_map(|row| row.columns.as_ref().ok()).take(ROWS_FOR_LAYOUT).collect();
    let layout = layout::choose(&sample);
    if layout.is_none() && !sample.is_empty() {
        return Err(DatasetError::UnknownLayout {
            path: path.to_owned(),
            found: layout::column_names(&sample),
            known: layout::known(),
        });
    }
    let mut read = ReadTasks { tasks: Vec::with_capacity(rows.len()), bad: Vec::new() };
    for row in rows {
        let task = row.columns.and_then(|columns| match layout {
            Some(layout) => to_task(layout, stem, columns),
            // Only when no row at all is well-formed.
            None => Err("no layout could be recognised".to_owned()),
        });
        match task {
            Ok(task) => read.tasks.push(task),
            Err(what) if on_bad_line == OnBadLine::Skip => read.bad.push(BadLine { line: row.line, what }),
            Err(what) => return Err(DatasetError::BadLine { path: path.to_owned(), place, line: row.line, what }),
        }
    }
    match read.bad.first() {
        Some(first) if read.tasks.is_empty() => Err(DatasetError::NothingUsable {
            path: path.to_owned(),
            count: read.bad.len(),
            place,
            line: first.line,
            what: first.what.clone(),
        }),
        _ => Ok(read),
    }
}

/// One row through the adapter; the columns it did not use are kept.
fn to_task(layout: &Layout, stem: &str, mut columns: Columns) -> Result<Task, String> {
    let draft = (layout.convert)(&columns).map_err(|what| format!("{what} (layout {})", layout.name))?;
    for used in draft.used {
        // Unlike `remove`, this leaves the others in their order.
        columns.shift_remove(*used);
    }
    Ok(Task::new(stem, draft.prompt, draft.reference, Split::Train, columns))
}

/// The content of a gzip file, its checksum and length verified.
fn unzip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, DatasetError> {
    let mut content = Vec::new();
    match flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(source) => Err(DatasetError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
