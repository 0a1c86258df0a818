//! A task file in batches, so that its size does not decide how much memory it takes.
//!
//! JSON Lines and Parquet are read piece by piece; a `.json` document and CSV as a whole, since neither can be cut without
//! being read.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::layout::{self, Layout};
use super::{BadLine, Columns, OnBadLine, ReadTasks, Row, json, table, to_task};
use crate::error::DatasetError;

/// The endings of names that are read.
const KNOWN_KINDS: &str = ".jsonl, .ndjson, .json, .csv, .parquet (each also with .gz)";

/// How many well-formed rows the layout is chosen by. More than one, so that a single row with a missing column does not
/// decide for the whole file.
const ROWS_FOR_LAYOUT: usize = 100;

/// Rows of a batch.
const BATCH: usize = 8_192;

/// Bytes of lines from which a batch is full: rows may be megabytes of tests.
const BATCH_BYTES: usize = 64 << 20;

/// Where rows come from.
enum Rows {
    /// A line at a time. The line's number is that of the last one read.
    Lines { reader: Box<dyn BufRead + Send>, line: usize },
    /// Slices of a Parquet file.
    Parquet { file: table::ParquetFile, next: usize },
    /// Everything at once.
    Whole(std::vec::IntoIter<Row>),
}

/// A task file that is read in batches.
pub struct TaskStream {
    path: PathBuf,
    stem: String,
    place: &'static str,
    rows: Rows,
    layout: Option<&'static Layout>,
    on_bad_line: OnBadLine,
    questions_needed: bool,
    good: usize,
    /// How many rows were skipped, and the first of them.
    skipped: usize,
    first_bad: Option<BadLine>,
}

impl TaskStream {
    /// Opens a file. `layout` names the adapter; `None` recognises it by the columns of the first rows.
    ///
    /// # Errors
    /// If the file cannot be read, is of an unknown kind, or is damaged as a whole; if no layout has that name.
    pub fn open(path: &Path, layout: Option<&str>, on_bad_line: OnBadLine) -> Result<Self, DatasetError> {
        let layout = match layout {
            None => None,
            Some(name) => Some(layout::named(name).ok_or_else(|| DatasetError::NoSuchLayout {
                name: name.to_owned(),
                known: layout::names().join(", "),
            })?),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let read_error = |source| DatasetError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read_error)?;
        if file.metadata().map_err(read_error)?.len() == 0 {
            return Err(DatasetError::Empty { path: path.to_owned() });
        }
        let (name, zipped) = match name.strip_suffix(".gz") {
            Some(inner) => (inner.to_owned(), true),
            None => (name, false),
        };
        // A wrong checksum or length at the end of a gzip file is an error of reading it.
        let mut reader: Box<dyn Read + Send> =
            if zipped { Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };
        let mut whole = || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes).map_err(read_error)
        };
        let damaged = |what: String| DatasetError::Damaged { path: path.to_owned(), what };
        let rows = match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("jsonl" | "ndjson") => {
                Rows::Lines { reader: Box::new(BufReader::with_capacity(1 << 18, reader)), line: 0 }
            }
            Some("json") => Rows::Whole(json::read_document(&whole()?).map_err(damaged)?.into_iter()),
            Some("csv") => Rows::Whole(table::read_csv(&whole()?).map_err(damaged)?.into_iter()),
            Some("parquet") if zipped => {
                Rows::Parquet { file: table::ParquetFile::of_bytes(whole()?).map_err(damaged)?, next: 0 }
            }
            Some("parquet") => Rows::Parquet { file: table::ParquetFile::open(path).map_err(damaged)?, next: 0 },
            _ => return Err(DatasetError::UnknownKind { path: path.to_owned(), known: KNOWN_KINDS }),
        };
        // The place of a row is a line, except in a Parquet file, which has none.
        let place = if matches!(rows, Rows::Parquet { .. }) { "row" } else { "line" };
        // `gsm8k_train.jsonl.gz` is `gsm8k_train`.
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem).to_owned();
        let path = path.to_owned();
        Ok(Self {
            path,
            stem,
            place,
            rows,
            layout,
            on_bad_line,
            questions_needed: true,
            good: 0,
            skipped: 0,
            first_bad: None,
        })
    }

    /// The same, also where rows have no question: for whoever only tests solutions.
    #[must_use]
    pub fn without_questions(mut self) -> Self {
        self.questions_needed = false;
        self
    }

    /// The next tasks, in the order of the file; `None` at its end.
    ///
    /// # Errors
    /// If the file turns out to be damaged, of an unknown layout, or without a usable row; with [`OnBadLine::Stop`] also
    /// for the first malformed row.
    pub fn next_batch(&mut self) -> Result<Option<ReadTasks>, DatasetError> {
        let mut rows = self.next_rows()?;
        if !self.questions_needed {
            rows.iter_mut().filter_map(|row| row.columns.as_mut().ok()).for_each(layout::supply_question);
        }
        if rows.is_empty() {
            return self.at_end();
        }
        let layout = self.layout_of(&rows)?;
        let stem = self.stem.as_str();
        let tasks: Vec<_> = rows
            .into_par_iter()
            .map(|row| {
                let task = row.columns.and_then(|columns| match layout {
                    Some(layout) => to_task(layout, stem, columns),
                    // Only where no row of the first batch is well-formed.
                    None => Err("no layout could be recognised".to_owned()),
                });
                (row.line, task)
            })
            .collect();
        let mut read = ReadTasks { tasks: Vec::with_capacity(tasks.len()), bad: Vec::new() };
        for (line, task) in tasks {
            match task {
                Ok(task) => read.tasks.push(task),
                Err(what) if self.on_bad_line == OnBadLine::Skip => read.bad.push(BadLine { line, what }),
                Err(what) => {
                    return Err(DatasetError::BadLine { path: self.path.clone(), place: self.place, line, what });
                }
            }
        }
        self.good += read.tasks.len();
        self.skipped += read.bad.len();
        if self.first_bad.is_none() {
            self.first_bad = read.bad.first().cloned();
        }
        Ok(Some(read))
    }

    /// The layout, recognised by the first rows that are well-formed.
    fn layout_of(&mut self, rows: &[Row]) -> Result<Option<&'static Layout>, DatasetError> {
        if self.layout.is_none() {
            let sample: Vec<&Columns> =
                rows.iter().filter_map(|row| row.columns.as_ref().ok()).take(ROWS_FOR_LAYOUT).collect();
            self.layout = layout::choose(&sample);
            if self.layout.is_none() && !sample.is_empty() {
                return Err(DatasetError::UnknownLayout {
                    path: self.path.clone(),
                    found: layout::column_names(&sample),
                    known: layout::known(),
                });
            }
        }
        Ok(self.layout)
    }

    fn at_end(&self) -> Result<Option<ReadTasks>, DatasetError> {
        match &self.first_bad {
            Some(first) if self.good == 0 => Err(DatasetError::NothingUsable {
                path: self.path.clone(),
                count: self.skipped,
                place: self.place,
                line: first.line,
                what: first.what.clone(),
            }),
            None if self.good == 0 => Err(DatasetError::Empty { path: self.path.clone() }),
            _ => Ok(None),
        }
    }

    fn next_rows(&mut self) -> Result<Vec<Row>, DatasetError> {
        match &mut self.rows {
            Rows::Whole(rows) => Ok(rows.by_ref().take(BATCH).collect()),
            Rows::Parquet { file, next } => {
                let rows =
                    file.rows(*next, BATCH).map_err(|what| DatasetError::Damaged { path: self.path.clone(), what })?;
                *next += rows.len();
                Ok(rows)
            }
            Rows::Lines { reader, line } => {
                let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
                let mut total = 0;
                while lines.len() < BATCH && total < BATCH_BYTES {
                    let mut bytes = Vec::new();
                    let count = reader
                        .read_until(b'\n', &mut bytes)
                        .map_err(|source| DatasetError::Read { path: self.path.clone(), source })?;
                    if count == 0 {
                        break;
                    }
                    total += count;
                    *line += 1;
                    if *line == 1 && bytes.starts_with(b"\xEF\xBB\xBF") {
                        bytes.drain(..3);
                    }
                    if !bytes.trim_ascii().is_empty() {
                        lines.push((*line, bytes));
                    }
                }
                let rows = lines.into_par_iter();
                Ok(rows.map(|(line, bytes)| Row { line, columns: json::parse_line(bytes.trim_ascii()) }).collect())
            }
        }
    }
}
