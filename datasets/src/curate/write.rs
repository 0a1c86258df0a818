//! `write`: rows to a file that people and other programs read, written aside and renamed into place.
//!
//! Columns: `id`, `source`, `domain`, `split`, `prompt` (messages with `role` and `content`), `answer` (text, where there is
//! one), `reference` (what the verifier takes), `difficulty`, `extra`. In Parquet and CSV, `reference` and `extra` are JSON
//! text; in JSON Lines they are objects.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use polars::prelude::{
    BooleanChunked, Column, CsvWriter, DataFrame, IntoSeries, NamedFrom, NewChunkedArray, ParquetWriter,
    ReshapeDimension, SerWriter, Series, StructChunked,
};
use rewards::Reference;
use serde_json::{Map, Value, json};

use super::frame::{text, to_tasks};
use super::parts::{Parts, compression};
use crate::error::DatasetError;
use crate::task::{Split, Task};

/// The endings of names that are written.
const KNOWN_KINDS: &str = ".parquet, .jsonl, .csv (the last two also with .gz)";

/// How a file is laid out, by the end of its name.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Parquet,
    Lines,
    Csv,
}

fn kind_of(path: &Path) -> Result<(Kind, bool), DatasetError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let (inner, zipped) = name.strip_suffix(".gz").map_or((name.as_str(), false), |inner| (inner, true));
    match inner.rsplit_once('.').map(|(_, ending)| ending) {
        Some("parquet") if !zipped => Ok((Kind::Parquet, false)),
        Some("jsonl" | "ndjson") => Ok((Kind::Lines, zipped)),
        Some("csv") => Ok((Kind::Csv, zipped)),
        _ => Err(DatasetError::CannotWriteKind { path: path.to_owned(), known: KNOWN_KINDS }),
    }
}

/// Checks that a file of this name can be written.
///
/// # Errors
/// If its ending is not one of those that are written.
pub fn check_name(path: &Path) -> Result<(), DatasetError> {
    kind_of(path).map(|_| ())
}

/// Writes tasks into a new file at `path`.
///
/// # Errors
/// If the ending is not known, the file exists, its folder does not, or it cannot be written. Nothing is left behind then.
pub fn write_tasks(path: &Path, tasks: &[Task]) -> Result<(), DatasetError> {
    check_name(path)?;
    check_place(path)?;
    let mut frames = tasks.chunks(super::parts::ROWS).map(super::frame::to_frame);
    write_frames(path, &mut frames)?.into_place(path)
}

/// Checks that a new file can be put there: said before there are rows to be lost.
///
/// # Errors
/// If it exists, or its folder does not.
pub fn check_place(path: &Path) -> Result<(), DatasetError> {
    if path.exists() {
        return Err(DatasetError::Exists { path: path.to_owned() });
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.is_dir() => Err(DatasetError::NoFolder { folder: folder.to_owned() }),
        _ => Ok(()),
    }
}

/// A whole file that has not got its name yet. Dropped without one, it is removed.
pub(super) struct Aside(PathBuf);

impl Aside {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name.
    pub(super) fn into_place(self, path: &Path) -> Result<(), DatasetError> {
        fs::rename(&self.0, path).map_err(|source| DatasetError::Write { path: path.to_owned(), source })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Is not there any more where it got its name.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the rows of a split, or all, beside `path`. Returns how many.
pub(super) fn write_parts(path: &Path, split: Option<Split>, parts: &Parts) -> Result<(Aside, u64), DatasetError> {
    let mut rows = 0;
    let mut frames = (0..parts.len()).map(|index| {
        let frame = parts.read(index)?;
        let Some(split) = split else {
            rows += frame.height() as u64;
            return Ok(frame);
        };
        let keep: Vec<bool> = text(&frame, "split")?.iter().map(|name| name == Some(split.name())).collect();
        rows += keep.iter().filter(|&&keep| keep).count() as u64;
        frame
            .filter(&BooleanChunked::from_slice("keep".into(), &keep))
            .map_err(|error| DatasetError::Frame { what: error.to_string() })
    });
    let aside = write_frames(path, &mut frames)?;
    Ok((aside, rows))
}

fn write_frames(
    path: &Path,
    frames: &mut dyn Iterator<Item = Result<DataFrame, DatasetError>>,
) -> Result<Aside, DatasetError> {
    let (kind, zipped) = kind_of(path)?;
    let error = |source| DatasetError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(error)?;
    }
    let aside = Aside(partial_of(path));
    let file = BufWriter::with_capacity(1 << 18, File::create(aside.path()).map_err(error)?);
    match (kind, zipped) {
        (Kind::Parquet, _) => parquet(path, file, frames),
        (_, false) => lines(path, kind, file, frames).and_then(|mut file| file.flush().map_err(error)),
        (_, true) => {
            let zipped = lines(path, kind, GzEncoder::new(file, flate2::Compression::default()), frames)?;
            zipped.finish().and_then(|mut file| file.flush()).map_err(error)
        }
    }?;
    Ok(aside)
}

/// The name under which a file lies while it is not whole.
fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

fn parquet(
    path: &Path,
    file: BufWriter<File>,
    frames: &mut dyn Iterator<Item = Result<DataFrame, DatasetError>>,
) -> Result<(), DatasetError> {
    let broken = |error: polars::prelude::PolarsError| DatasetError::Write {
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    };
    // The columns do not depend on the rows, so even without a row there is a file with its columns.
    let columns = public_frame(&[])?;
    let options = ParquetWriter::new(file).with_compression(compression()).set_parallel(false);
    let mut writer = options.batched(columns.schema()).map_err(broken)?;
    for frame in frames {
        let frame = frame?;
        if frame.height() > 0 {
            writer.write_batch(&public_frame(&to_tasks(&frame)?)?).map_err(broken)?;
        }
    }
    writer.finish().map(|_| ()).map_err(broken)
}

/// The answer as a person reads it, where the reference has one.
pub(super) fn answer_of(reference: &Reference) -> Option<String> {
    match reference {
        Reference::Math { answer } => Some(answer.clone()),
        Reference::Integer { value } => Some(value.to_string()),
        _ => None,
    }
}

fn json_text(value: &impl serde::Serialize) -> Result<String, DatasetError> {
    serde_json::to_string(value).map_err(|error| DatasetError::Frame { what: error.to_string() })
}

/// Rows with the columns that others see.
fn public_frame(tasks: &[Task]) -> Result<DataFrame, DatasetError> {
    let broken = |error: polars::prelude::PolarsError| DatasetError::Frame { what: error.to_string() };
    let texts = |name: &str, texts: Vec<&str>| Column::from(Series::new(name.into(), texts));
    let references: Vec<String> = tasks.iter().map(|task| json_text(&task.reference)).collect::<Result<_, _>>()?;
    let extras: Vec<String> = tasks.iter().map(|task| json_text(&task.extra)).collect::<Result<_, _>>()?;
    let answers: Vec<Option<String>> = tasks.iter().map(|task| answer_of(&task.reference)).collect();
    let difficulty: Vec<Option<f64>> = tasks.iter().map(|task| task.difficulty).collect();
    let columns = vec![
        texts("id", tasks.iter().map(|task| task.id.as_str()).collect()),
        texts("source", tasks.iter().map(|task| task.source.as_str()).collect()),
        texts("domain", tasks.iter().map(|task| task.domain.name()).collect()),
        texts("split", tasks.iter().map(|task| task.split.name()).collect()),
        Column::from(messages(tasks).map_err(broken)?),
        Column::from(Series::new("answer".into(), answers)),
        texts("reference", references.iter().map(String::as_str).collect()),
        Column::from(Series::new("difficulty".into(), difficulty)),
        texts("extra", extras.iter().map(String::as_str).collect()),
    ];
    DataFrame::new(tasks.len(), columns).map_err(broken)
}

/// The prompts as a column of lists of messages.
fn messages(tasks: &[Task]) -> Result<Series, polars::prelude::PolarsError> {
    let structs = |turns: &[(&str, &str)]| {
        let roles = Series::new("role".into(), turns.iter().map(|turn| turn.0).collect::<Vec<_>>());
        let contents = Series::new("content".into(), turns.iter().map(|turn| turn.1).collect::<Vec<_>>());
        StructChunked::from_series("prompt".into(), turns.len(), [roles, contents].iter()).map(IntoSeries::into_series)
    };
    if tasks.iter().all(|task| task.turns.is_empty()) {
        // One message each: a column of structs, each put into a list of its own.
        let all: Vec<(&str, &str)> = tasks.iter().map(|task| ("user", task.prompt.as_str())).collect();
        let lists = structs(&all)?.reshape_list(&[ReshapeDimension::Infer, ReshapeDimension::new(1)])?;
        return Ok(lists.with_name("prompt".into()));
    }
    let lists: Vec<Series> = tasks
        .iter()
        .map(|task| {
            let mut turns: Vec<(&str, &str)> =
                task.turns.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
            turns.push(("user", &task.prompt));
            structs(&turns)
        })
        .collect::<Result<_, _>>()?;
    Ok(Series::new("prompt".into(), lists))
}

fn lines<W: Write>(
    path: &Path,
    kind: Kind,
    mut file: W,
    frames: &mut dyn Iterator<Item = Result<DataFrame, DatasetError>>,
) -> Result<W, DatasetError> {
    let error = |source| DatasetError::Write { path: path.to_owned(), source };
    let mut first = true;
    for frame in frames {
        let tasks = to_tasks(&frame?)?;
        if kind == Kind::Csv {
            let mut frame = csv_frame(&tasks)?;
            CsvWriter::new(&mut file)
                .include_header(std::mem::take(&mut first))
                .finish(&mut frame)
                .map_err(|source| error(std::io::Error::other(source.to_string())))?;
            continue;
        }
        let mut text = String::new();
        for task in &tasks {
            text.push_str(&json_text(&row(task))?);
            text.push('\n');
        }
        file.write_all(text.as_bytes()).map_err(error)?;
    }
    Ok(file)
}

/// A task as a row of JSON Lines.
#[must_use]
pub fn row(task: &Task) -> Value {
    let mut row = Map::new();
    row.insert("id".to_owned(), json!(task.id));
    row.insert("source".to_owned(), json!(task.source));
    row.insert("domain".to_owned(), json!(task.domain));
    row.insert("split".to_owned(), json!(task.split));
    row.insert("prompt".to_owned(), json!(task.messages()));
    if let Some(answer) = answer_of(&task.reference) {
        row.insert("answer".to_owned(), json!(answer));
    }
    row.insert("reference".to_owned(), json!(task.reference));
    if let Some(difficulty) = task.difficulty {
        row.insert("difficulty".to_owned(), json!(difficulty));
    }
    if !task.extra.is_empty() {
        row.insert("extra".to_owned(), json!(task.extra));
    }
    Value::Object(row)
}

/// The same with messages as JSON text, since CSV has no lists.
fn csv_frame(tasks: &[Task]) -> Result<DataFrame, DatasetError> {
    let mut frame = public_frame(tasks)?;
    let prompts: Vec<String> = tasks.iter().map(|task| json_text(&task.messages())).collect::<Result<_, _>>()?;
    frame
        .with_column(Column::from(Series::new("prompt".into(), prompts)))
        .map_err(|error| DatasetError::Frame { what: error.to_string() })?;
    Ok(frame)
}
