//! Rows of CSV, read by polars.
//!
//! polars tells no line for a malformed record, so the records are first told apart here (by quotes and line ends, nothing
//! else); those with another number of fields than the header, or with invalid UTF-8, become bad rows with their line, and
//! polars parses the others.

use std::io::Cursor;

use polars::prelude::{CsvReadOptions, SerReader};

use super::cell::to_rows;
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
        let parsed = to_rows(frame.columns())?;
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
