//! Rows that lie in a table: CSV and Parquet, read by polars.
//!
//! polars tells no line for a malformed CSV record, so the records are first told apart here (by
//! quotes and line ends, nothing else); those with another number of fields than the header, or
//! with invalid UTF-8, become bad rows with their line, and polars parses the others.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use polars::prelude::{AnyValue, CsvReadOptions, DataFrame, ParquetReader, SerReader};
use serde_json::Value;

use super::{Columns, Row};

/// CSV with a header. Every column is read as text: the adapters know what they want, and a
/// guessed type would turn `007` into 7.
pub(crate) fn read_csv(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut records = split_records(bytes).into_iter();
    let Some(header) = records.next() else { return Ok(Vec::new()) };
    if let Some(what) = header.flaw(header.fields) {
        return Err(format!("line {}: the header cannot be read: {what}", header.line));
    }
    let mut good = Vec::with_capacity(bytes.len());
    good.extend_from_slice(header.text);
    good.push(b'\n');
    let mut rows: Vec<Row> = Vec::new();
    for record in records {
        let columns = match record.flaw(header.fields) {
            Some(what) => Err(what),
            None => {
                good.extend_from_slice(record.text);
                good.push(b'\n');
                // Filled in below, once polars has parsed all of the good records at once.
                Ok(Columns::new())
            }
        };
        rows.push(Row { line: record.line, columns });
    }
    let mut places = rows.iter_mut().filter_map(|row| row.columns.as_mut().ok());
    if good.len() > header.text.len() + 1 {
        let frame = CsvReadOptions::default()
            .with_has_header(true)
            .with_infer_schema_length(Some(0))
            .into_reader_with_file_handle(Cursor::new(good))
            .finish()
            .map_err(|error| format!("malformed CSV: {error}"))?;
        let parsed = to_rows(&frame)?;
        let count = parsed.len();
        let mut filled = 0;
        for (place, columns) in places.by_ref().zip(parsed) {
            *place = columns;
            filled += 1;
        }
        // If the two readings of the quotes disagreed, lines would be told wrongly.
        if filled != count || places.next().is_some() {
            return Err(format!("malformed CSV: the quoting is ambiguous ({count} records parsed)"));
        }
    }
    Ok(rows)
}

/// A Parquet file whose rows are taken slice by slice, nested lists and structs included.
pub(super) struct ParquetFile {
    bytes: Bytes,
    height: usize,
}

enum Bytes {
    Path(PathBuf),
    Memory(Vec<u8>),
}

impl ParquetFile {
    /// A file on disk.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let (mut head, mut tail) = ([0; 4], [0; 4]);
        file.read_exact(&mut head).map_err(|_| NOT_PARQUET.to_owned())?;
        file.seek(SeekFrom::End(-4)).and_then(|_| file.read_exact(&mut tail)).map_err(|error| error.to_string())?;
        check_ends(&head, &tail, length)?;
        Self::of(Bytes::Path(path.to_owned()))
    }

    /// A file in memory.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        let tail = &bytes[bytes.len().saturating_sub(4)..];
        check_ends(bytes.get(..4).unwrap_or_default(), tail, bytes.len() as u64)?;
        Self::of(Bytes::Memory(bytes))
    }

    fn of(bytes: Bytes) -> Result<Self, String> {
        let mut parquet = Self { bytes, height: 0 };
        parquet.height = match &parquet.bytes {
            Bytes::Path(path) => ParquetReader::new(File::open(path).map_err(|error| error.to_string())?).num_rows(),
            Bytes::Memory(bytes) => ParquetReader::new(Cursor::new(bytes.as_slice())).num_rows(),
        }
        .map_err(|error| format!("malformed Parquet: {error}"))?;
        Ok(parquet)
    }

    /// Up to `count` rows from the row `start`, counted from 0.
    pub(super) fn rows(&self, start: usize, count: usize) -> Result<Vec<Row>, String> {
        let count = count.min(self.height.saturating_sub(start));
        if count == 0 {
            return Ok(Vec::new());
        }
        let slice = Some((start, count));
        let frame = match &self.bytes {
            Bytes::Path(path) => {
                ParquetReader::new(File::open(path).map_err(|error| error.to_string())?).with_slice(slice).finish()
            }
            Bytes::Memory(bytes) => ParquetReader::new(Cursor::new(bytes.as_slice())).with_slice(slice).finish(),
        }
        .map_err(|error| format!("malformed Parquet: {error}"))?;
        let rows = to_rows(&frame)?;
        if rows.len() != count {
            return Err(format!("malformed Parquet: {} rows where its footer counts {count}", rows.len()));
        }
        let numbered = rows.into_iter().enumerate();
        Ok(numbered.map(|(index, columns)| Row { line: start + index + 1, columns: Ok(columns) }).collect())
    }
}

const NOT_PARQUET: &str = "not a Parquet file: it does not begin with `PAR1`";

/// The magic number stands at both ends: a file that was cut off lacks the second, and is told before anything tries to make
/// sense of it.
fn check_ends(head: &[u8], tail: &[u8], length: u64) -> Result<(), String> {
    if head != b"PAR1" {
        return Err(NOT_PARQUET.to_owned());
    }
    if length < 12 || tail != b"PAR1" {
        return Err("the Parquet file is cut off: it does not end with `PAR1`".to_owned());
    }
    Ok(())
}

/// The rows of a frame as JSON objects. Columns that are null are left out, as if missing.
fn to_rows(frame: &DataFrame) -> Result<Vec<Columns>, String> {
    let mut rows = vec![Columns::new(); frame.height()];
    for column in frame.columns() {
        for (index, row) in rows.iter_mut().enumerate() {
            let cell = column.get(index).map_err(|error| error.to_string())?;
            match to_json(&cell) {
                Value::Null => {}
                value => {
                    row.insert(column.name().to_string(), value);
                }
            }
        }
    }
    Ok(rows)
}

fn to_json(cell: &AnyValue<'_>) -> Value {
    match cell {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(truth) => Value::Bool(*truth),
        AnyValue::String(text) => Value::String((*text).to_owned()),
        AnyValue::StringOwned(text) => Value::String(text.to_string()),
        AnyValue::List(series) => Value::Array(series.iter().map(|element| to_json(&element)).collect()),
        AnyValue::StructOwned(fields) => {
            let (values, names) = &**fields;
            names.iter().zip(values).map(|(field, value)| (field.name().to_string(), to_json(value))).collect()
        }
        AnyValue::Struct(..) => to_json(&cell.clone().into_static()),
        float if float.is_float() => float.extract::<f64>().map_or(Value::Null, Value::from),
        integer if integer.is_integer() => match (integer.extract::<i64>(), integer.extract::<u64>()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::String(integer.to_string()),
        },
        other => Value::String(other.to_string()),
    }
}

/// A record of a CSV file, not yet parsed.
struct Record<'a> {
    line: usize,
    fields: usize,
    closed: bool,
    text: &'a [u8],
}

impl Record<'_> {
    /// What is wrong with the record, if anything.
    fn flaw(&self, expected: usize) -> Option<String> {
        if !self.closed {
            return Some("a quoted field is never closed".to_owned());
        }
        if let Err(error) = std::str::from_utf8(self.text) {
            return Some(format!("invalid UTF-8 at byte {}", error.valid_up_to() + 1));
        }
        (self.fields != expected).then(|| format!("{} fields where the header has {expected}", self.fields))
    }
}

/// Tells records apart: a line end outside quotes ends one. Blank lines are left out.
fn split_records(bytes: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let (mut start, mut line, mut start_line) = (0, 1, 1);
    let (mut fields, mut quoted) = (1, false);
    for (position, byte) in bytes.iter().chain(b"\n").enumerate() {
        let at_end = position == bytes.len();
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => fields += 1,
            b'\n' if !quoted || at_end => {
                let text = &bytes[start..position];
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                if !text.trim_ascii().is_empty() {
                    records.push(Record { line: start_line, fields, closed: !quoted, text });
                }
                line += 1;
                (start, start_line, fields) = (position + 1, line, 1);
            }
            b'\n' => line += 1,
            _ => {}
        }
    }
    records
}
