//! Task files: from bytes on disk to [`Task`]s.
//!
//! Two questions, answered separately. How the rows lie in the file ([`json`], [`csv`], [`parquet`]) follows
//! from the file's name; what the columns mean ([`layout`]) follows from their names. Every row
//! keeps the line it stood on, so that whatever is wrong with it can be said with its place. A data set of the Hugging Face
//! Hub is fetched first ([`hub`]); its rows carry the commit they are of.

mod cell;
mod csv;
mod demonstration;
pub mod hub;
mod json;
mod layout;
mod parquet;
mod stream;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::DatasetError;
use crate::task::{Split, Task};
pub use demonstration::{Demonstration, ReadDemonstrations, read_demonstrations};
pub use layout::ColumnNames;
use layout::Layout;
pub(crate) use layout::{REQUESTS, before_shown_code};
pub use stream::TaskStream;

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

/// The further column that names the commit of a data set of the Hub.
const HUB_REVISION: &str = "hub_revision";

/// Where the rows of a file come from.
pub(crate) struct Origin {
    /// What a task's `source` says, unless the row says something else: the file's stem, or the Hub's name.
    pub(crate) source: String,
    /// The commit, where the file is of a data set of the Hub.
    pub(crate) commit: Option<String>,
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
    let mut stream = TaskStream::open(path, None, on_bad_line)?;
    let mut read = ReadTasks { tasks: Vec::new(), bad: Vec::new() };
    while let Some(batch) = stream.next_batch()? {
        read.tasks.extend(batch.tasks);
        read.bad.extend(batch.bad);
    }
    Ok(read)
}

/// The names of the layouts that are known, for `layout = "..."`.
#[must_use]
pub fn layout_names() -> Vec<&'static str> {
    layout::names()
}

/// The columns that are not null: a row of JSON names those that are, and one of CSV or Parquet never does.
fn without_nulls(mut columns: Columns) -> Columns {
    columns.retain(|_, value| !value.is_null());
    columns
}

/// One row through the adapter; the columns it did not use are kept. Beside the task, the names of those without a value: of the
/// row's own, and of its file's (`names`).
fn to_task(
    layout: &Layout,
    named: Option<&ColumnNames>,
    origin: &Origin,
    names: &[String],
    mut columns: Columns,
) -> Result<(Task, Vec<String>), String> {
    let convert = |columns: &Columns| layout::convert(layout, named, columns);
    let converted = if columns.values().any(Value::is_null) {
        // What is wrong may be that one is null: then it is said of the row as it is.
        convert(&without_nulls(columns.clone())).or_else(|_| convert(&columns))
    } else {
        convert(&columns)
    };
    let draft = converted.map_err(|what| {
        if what.ends_with("is missing") {
            let found = layout::column_names(&[&columns]);
            return format!("{what}: the layout {} needs {}; found {found}", layout.name, layout.needs);
        }
        format!("{what} (layout {})", layout.name)
    })?;
    let used = || draft.used.iter().copied().chain(draft.named.iter().map(String::as_str));
    for used in used() {
        // Unlike `remove`, this leaves the others in their order.
        columns.shift_remove(used);
    }
    let lacks = |name: &&String| !used().any(|used| used == *name) && columns.get(*name).is_none_or(Value::is_null);
    let without: Vec<String> = names.iter().chain(columns.keys()).filter(lacks).cloned().collect();
    columns.extend(draft.extra);
    let mut columns = without_nulls(columns);
    columns.extend(draft.added.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let Some(commit) = &origin.commit {
        columns.insert(HUB_REVISION.to_owned(), Value::from(commit.as_str()));
    }
    let source = draft.source.as_deref().unwrap_or(&origin.source);
    let mut task = Task::new(source, draft.prompt, draft.reference, draft.split.unwrap_or(Split::Train), columns);
    if !draft.turns.is_empty() {
        task = task.after(draft.turns);
    }
    task.domain = draft.domain.unwrap_or(task.domain);
    task.difficulty = draft.difficulty;
    Ok((task, without))
}

/// The SHA-256 of a file's content, in hexadecimal digits.
pub(crate) fn hash_file(path: &Path) -> Result<String, DatasetError> {
    let error = |source| DatasetError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(error)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).map_err(error)? {
            0 => return Ok(hex(&digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
