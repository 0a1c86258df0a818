//! A task file in batches, so that its size does not decide how much memory it takes.
//!
//! JSON Lines and Parquet are read piece by piece; a `.json` document and CSV as a whole, since neither can be cut without
//! being read, and so is a gzipped Parquet file, whose end says where its pieces are. What is unpacked as a whole has a bound:
//! a small file may hold more than there is memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use serde_json::Value;

use super::hub::HubName;
use super::layout::{self, ColumnNames, Layout};
use super::parquet::ParquetFile;
use super::{BadLine, Columns, OnBadLine, Origin, ReadTasks, Row, csv, json, to_task, without_nulls};
use crate::error::DatasetError;
use crate::task::conversation;

/// The endings of names that are read.
const KNOWN_KINDS: &str = ".jsonl, .ndjson, .json, .csv, .parquet (each also with .gz)";

/// How rows lie in a file of this name, by its ending: `jsonl`, `ndjson`, `json`, `csv` or `parquet`, gzipped or not.
pub(super) fn file_kind(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let ending = name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1;
    ["jsonl", "ndjson", "json", "csv", "parquet"].into_iter().find(|kind| *kind == ending)
}

/// How many well-formed rows the layout is chosen by. More than one, so that a single row with a missing column does not
/// decide for the whole file.
const ROWS_FOR_LAYOUT: usize = 100;

/// Rows of a batch.
const BATCH: usize = 8_192;

/// Bytes from which a batch is full, of lines, or of rows of Parquet unpacked: rows may be megabytes of tests.
const BATCH_BYTES: usize = 64 << 20;

/// Bytes of the longest line. Those of the largest tests have some 100 million; what is longer is no JSON Lines.
const LONGEST_LINE: usize = 256 << 20;

/// Bytes that a gzip file may unpack to where it is taken into memory as a whole.
const LARGEST_UNPACKED: u64 = 1 << 30;

/// The content of a gzip file, with errors in words that do not ask for its format to be known.
struct Unzipped(MultiGzDecoder<BufReader<File>>);

impl Read for Unzipped {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes).map_err(|error| {
            let said = error.to_string();
            let what = if error.kind() == std::io::ErrorKind::UnexpectedEof {
                "the gzip file is cut off".to_owned()
            } else if said.contains("invalid gzip header") {
                "it is no gzip file, though its name ends in .gz".to_owned()
            } else if said.contains("checksum") {
                "the gzip file is damaged: its content has not the length and the checksum that its end states"
                    .to_owned()
            } else {
                format!("the gzip file is damaged ({said})")
            };
            std::io::Error::new(error.kind(), what)
        })
    }
}

/// All of a file, if these are at most so many bytes.
fn read_whole(reader: &mut dyn Read, most: u64, path: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut bytes = Vec::new();
    let read = reader.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > most {
        return Err(DatasetError::TooLarge { path: path.to_owned(), most });
    }
    Ok(bytes)
}

/// What a file is that is not what its name says, by its first bytes.
fn disguised(head: &[u8], zipped: bool) -> Option<&'static str> {
    match head {
        [0x1F, 0x8B, ..] if !zipped => Some("it looks like gzip\n  hint: give it a name that ends in .gz"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] if !zipped => Some("it looks like UTF-16\n  hint: save it as UTF-8"),
        _ => None,
    }
}

/// Where rows come from.
enum Rows {
    /// A line at a time. The line's number is that of the last one read.
    Lines { reader: Box<dyn BufRead + Send>, line: usize },
    /// Slices of a Parquet file.
    Parquet { file: ParquetFile, next: usize },
    /// Everything at once.
    Whole(std::vec::IntoIter<Row>),
}

/// The questions of some rows.
pub(crate) struct Questions {
    /// Each behind what is said before it, without code that an adapter shows.
    pub(crate) said: Vec<String>,
    /// The rows that have none.
    pub(crate) without: Vec<BadLine>,
}

/// A task file that is read in batches.
pub struct TaskStream {
    path: PathBuf,
    origin: Origin,
    place: &'static str,
    rows: Rows,
    /// The columns of a file that says them once for all rows.
    names: Vec<String>,
    /// Further columns in which some row had no value.
    without_value: BTreeSet<String>,
    layout: Option<&'static Layout>,
    /// Which columns are question and answer, where a job says so.
    named: Option<ColumnNames>,
    /// Whether the layout has been looked for among the columns, also where it was named.
    recognised: bool,
    /// Whether its columns are there, but in another case.
    in_lower_case: bool,
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
        let read_error = |source: std::io::Error| DatasetError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read_error)?;
        if file.metadata().map_err(read_error)?.len() == 0 {
            return Err(DatasetError::Empty { path: path.to_owned() });
        }
        let (name, zipped) = match name.strip_suffix(".gz") {
            Some(inner) => (inner.to_owned(), true),
            None => (name, false),
        };
        let damaged = |what: String| DatasetError::Damaged { path: path.to_owned(), what };
        if file_kind(&name).is_some() {
            let mut head = Vec::new();
            file.by_ref().take(2).read_to_end(&mut head).map_err(read_error)?;
            if let Some(what) = disguised(&head, zipped) {
                return Err(damaged(what.to_owned()));
            }
            file.rewind().map_err(read_error)?;
        }
        // A wrong checksum or length at the end of a gzip file is an error of reading it.
        let mut reader: Box<dyn Read + Send> =
            if zipped { Box::new(Unzipped(MultiGzDecoder::new(BufReader::new(file)))) } else { Box::new(file) };
        let most = if zipped { LARGEST_UNPACKED } else { u64::MAX };
        let mut whole = || read_whole(&mut reader, most, path);
        let mut names = Vec::new();
        let rows = match file_kind(&name) {
            Some("jsonl" | "ndjson") => {
                Rows::Lines { reader: Box::new(BufReader::with_capacity(1 << 18, reader)), line: 0 }
            }
            Some("json") => Rows::Whole(json::read_document(&whole()?).map_err(damaged)?.into_iter()),
            Some("csv") => {
                let (rows, columns) = csv::read_csv(&whole()?).map_err(damaged)?;
                names = columns;
                Rows::Whole(rows.into_iter())
            }
            Some("parquet") if zipped => {
                Rows::Parquet { file: ParquetFile::of_bytes(whole()?).map_err(damaged)?, next: 0 }
            }
            Some("parquet") => Rows::Parquet { file: ParquetFile::open(path).map_err(damaged)?, next: 0 },
            _ => return Err(DatasetError::UnknownKind { path: path.to_owned(), known: KNOWN_KINDS }),
        };
        if let Rows::Parquet { file, .. } = &rows {
            names = file.names().to_vec();
        }
        // The place of a row is a line, except in a Parquet file, which has none.
        let place = if matches!(rows, Rows::Parquet { .. }) { "row" } else { "line" };
        let origin = match HubName::of_cached_file(path) {
            Some((repo, commit)) => Origin { source: repo, commit: Some(commit) },
            // `gsm8k_train.jsonl.gz` is `gsm8k_train`.
            None => {
                let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
                Origin { source: stem.to_owned(), commit: None }
            }
        };
        let path = path.to_owned();
        Ok(Self {
            path,
            origin,
            place,
            rows,
            names,
            without_value: BTreeSet::new(),
            layout,
            named: None,
            recognised: false,
            in_lower_case: false,
            on_bad_line,
            questions_needed: true,
            good: 0,
            skipped: 0,
            first_bad: None,
        })
    }

    /// The same, where these columns are question and answer: the layout is `plain`, and the names are as they are written.
    #[must_use]
    pub fn with_columns(self, names: ColumnNames) -> Self {
        Self { named: Some(names), layout: Some(layout::OF_NAMED_COLUMNS), recognised: true, ..self }
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
        let (origin, in_lower_case, of_job) = (&self.origin, self.in_lower_case, self.named.as_ref());
        let named = self.names.iter().map(|name| (name.clone(), Value::Null)).collect();
        let named = if in_lower_case { layout::in_lower_case(named) } else { named };
        // What is known already need not be found again.
        let names: Vec<String> =
            named.into_iter().map(|(name, _)| name).filter(|name| !self.without_value.contains(name)).collect();
        let tasks: Vec<_> = rows
            .into_par_iter()
            .map(|row| {
                let task = row.columns.and_then(|columns| match layout {
                    Some(layout) if in_lower_case => {
                        to_task(layout, of_job, origin, &names, layout::in_lower_case(columns))
                    }
                    Some(layout) => to_task(layout, of_job, origin, &names, columns),
                    // Only where no row of the first batch is well-formed.
                    None => Err("no layout could be recognised".to_owned()),
                });
                (row.line, task)
            })
            .collect();
        let mut read = ReadTasks { tasks: Vec::with_capacity(tasks.len()), bad: Vec::new() };
        for (line, task) in tasks {
            match task {
                Ok((task, without_value)) => {
                    read.tasks.push(task);
                    self.without_value.extend(without_value);
                }
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

    /// The next questions; `None` at the file's end. For whoever only compares questions: a row in no layout that is known, or
    /// without a usable answer, has one all the same.
    ///
    /// # Errors
    /// If the file turns out to be damaged, or no row of it has a question.
    pub(crate) fn next_questions(&mut self) -> Result<Option<Questions>, DatasetError> {
        let rows = self.next_rows()?;
        if rows.is_empty() {
            return self.at_end().map(|_| None);
        }
        self.recognise(&rows);
        let (layout, in_lower_case) = (self.layout, self.in_lower_case);
        let question_of = |columns: Columns| {
            let columns = without_nulls(columns);
            let columns = if in_lower_case { layout::in_lower_case(columns) } else { columns };
            match layout.and_then(|layout| (layout.convert)(&columns).ok()) {
                Some(draft) => Ok(conversation(&draft.turns, draft.asked())),
                None => layout::question(&layout::in_lower_case(columns)),
            }
        };
        let read: Vec<_> = rows.into_par_iter().map(|row| (row.line, row.columns.and_then(question_of))).collect();
        let mut found = Questions { said: Vec::with_capacity(read.len()), without: Vec::new() };
        for (line, question) in read {
            match question {
                Ok(question) => found.said.push(question),
                Err(what) => found.without.push(BadLine { line, what }),
            }
        }
        self.good += found.said.len();
        self.skipped += found.without.len();
        if self.first_bad.is_none() {
            self.first_bad = found.without.first().cloned();
        }
        Ok(Some(found))
    }

    /// Finds the layout by the first rows that are well-formed, and whether its columns are written in another case there.
    fn recognise(&mut self, rows: &[Row]) {
        let sample: Vec<&Columns> =
            rows.iter().filter_map(|row| row.columns.as_ref().ok()).take(ROWS_FOR_LAYOUT).collect();
        if self.recognised || sample.is_empty() {
            return;
        }
        self.recognised = true;
        let present: Vec<Columns> = sample.iter().map(|columns| without_nulls((*columns).clone())).collect();
        let lower = || present.iter().map(|columns| layout::in_lower_case(columns.clone())).collect::<Vec<_>>();
        let there = present.iter().collect::<Vec<_>>();
        if let Some(named) = self.layout {
            let shown = |row: &Columns| (named.recognises)(row);
            let as_written = sample.iter().chain(&there).any(|row| shown(row));
            self.in_lower_case = !as_written && lower().iter().any(shown);
            return;
        }
        // Where no row has all of the columns, those that are null say which are meant.
        self.layout = layout::choose(&there).or_else(|| layout::choose(&sample));
        if self.layout.is_none() {
            self.layout = layout::choose(&lower().iter().collect::<Vec<_>>());
            self.in_lower_case = self.layout.is_some();
        }
    }

    /// The layout; none where no row of the first batch is well-formed.
    fn layout_of(&mut self, rows: &[Row]) -> Result<Option<&'static Layout>, DatasetError> {
        self.recognise(rows);
        if self.layout.is_none() {
            let sample: Vec<&Columns> =
                rows.iter().filter_map(|row| row.columns.as_ref().ok()).take(ROWS_FOR_LAYOUT).collect();
            if !sample.is_empty() {
                return Err(DatasetError::UnknownLayout {
                    path: self.path.clone(),
                    found: layout::column_names(&sample),
                    known: layout::known(&sample),
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

    /// Whether the file has a row, well-formed or not. What cannot be opened is for whoever reads it to say.
    pub(super) fn is_empty(path: &Path) -> bool {
        match Self::open(path, None, OnBadLine::Skip) {
            Ok(stream) => match stream.rows {
                Rows::Whole(rows) => rows.len() == 0,
                Rows::Parquet { file, .. } => file.height() == 0,
                Rows::Lines { mut reader, .. } => {
                    let mut first = Vec::new();
                    // A piece at a time: a file of blanks may be of any size.
                    loop {
                        first.clear();
                        match reader.by_ref().take(1 << 16).read_until(b'\n', &mut first) {
                            Ok(0) => break true,
                            Ok(_) if first.trim_ascii().is_empty() => {}
                            _ => break false,
                        }
                    }
                }
            },
            Err(error) => matches!(error, DatasetError::Empty { .. }),
        }
    }

    /// Further columns in which some row that was read had no value: they exist, even if no other row has one there.
    #[must_use]
    pub fn without_value(&self) -> &BTreeSet<String> {
        &self.without_value
    }

    /// What the place of a row is called: `line` or `row`.
    #[must_use]
    pub fn place(&self) -> &'static str {
        self.place
    }

    /// The next rows as they lie, whatever they mean; none at the end of the file.
    pub(super) fn next_rows(&mut self) -> Result<Vec<Row>, DatasetError> {
        match &mut self.rows {
            Rows::Whole(rows) => Ok(rows.by_ref().take(BATCH).collect()),
            Rows::Parquet { file, next } => {
                let count = file.fitting(*next, BATCH, BATCH_BYTES);
                let rows =
                    file.rows(*next, count).map_err(|what| DatasetError::Damaged { path: self.path.clone(), what })?;
                *next += rows.len();
                Ok(rows)
            }
            Rows::Lines { reader, line } => {
                let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
                let mut total = 0;
                while lines.len() < BATCH && total < BATCH_BYTES {
                    let mut bytes = Vec::new();
                    let count = reader
                        .by_ref()
                        .take(LONGEST_LINE as u64 + 1)
                        .read_until(b'\n', &mut bytes)
                        .map_err(|source| DatasetError::Read { path: self.path.clone(), source })?;
                    if count == 0 {
                        break;
                    }
                    total += count;
                    *line += 1;
                    if count > LONGEST_LINE {
                        let what = format!(
                            "the line is longer than {} MiB: is this JSON Lines, a row on each line?",
                            LONGEST_LINE >> 20
                        );
                        return Err(DatasetError::BadLine {
                            path: self.path.clone(),
                            place: "line",
                            line: *line,
                            what,
                        });
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_as_a_whole_has_a_bound() {
        let zeros = || std::io::repeat(b' ').take(3 << 20);
        let read = |most| read_whole(&mut zeros(), most, Path::new("rows.json.gz"));
        assert_eq!(read(3 << 20).unwrap().len(), 3 << 20);
        assert_eq!(
            read(2 << 20).unwrap_err().to_string(),
            "rows.json.gz: it unpacks to more than 2 MiB, and its kind is read as a whole\n  hint: unpack it (gunzip), or save its \
             rows as .jsonl.gz, which is read in pieces"
        );
    }
}
