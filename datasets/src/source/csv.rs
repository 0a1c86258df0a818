//! Rows of CSV, read by polars.
//!
//! polars tells no line for a malformed record, so the records are first told apart here, as Python's csv module does: a quote
//! is around a field only where it begins it. Those with another number of fields than the header, or with invalid UTF-8,
//! become bad rows with their line, and polars parses the others.

use std::borrow::Cow;
use std::io::Cursor;

use polars::prelude::{CsvReadOptions, SerReader};

use super::cell::to_rows;
use super::{Columns, Row};

/// CSV with a header. Every column is read as text: the adapters know what they want, and a
/// guessed type would turn `007` into 7.
///
/// Beside the rows, the names of the columns: a row has only those in which it has a value.
pub(crate) fn read_csv(bytes: &[u8]) -> Result<(Vec<Row>, Vec<String>), String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut records = split_records(bytes).into_iter();
    let Some(header) = records.next() else { return Ok((Vec::new(), Vec::new())) };
    if let Some(what) = header.flaw(header.fields) {
        return Err(format!("line {}: the header cannot be read: {what}", header.line));
    }
    // One column alone is no task.
    if header.fields == 1
        && let Some(separator) = [b';', b'\t'].into_iter().find(|separator| header.text.contains(separator))
    {
        let what = if separator == b';' { "a semicolon" } else { "a tab" };
        return Err(format!(
            "line {}: the header is one column with {what} in its name\n  hint: the separator must be a comma: save it so",
            header.line
        ));
    }
    let mut good = Vec::with_capacity(bytes.len());
    good.extend_from_slice(&header.text);
    good.push(b'\n');
    let (mut rows, mut names): (Vec<Row>, Vec<String>) = (Vec::new(), Vec::new());
    for record in records {
        let columns = match record.flaw(header.fields) {
            Some(what) => Err(what),
            None => {
                good.extend_from_slice(&record.text);
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
        names = frame.get_column_names().into_iter().map(ToString::to_string).collect();
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
    Ok((rows, names))
}

/// A record of a CSV file, not yet parsed.
struct Record<'a> {
    line: usize,
    fields: usize,
    closed: bool,
    text: Cow<'a, [u8]>,
}

impl Record<'_> {
    /// What is wrong with the record, if anything.
    fn flaw(&self, expected: usize) -> Option<String> {
        if !self.closed {
            return Some("a quoted field is never closed".to_owned());
        }
        if let Err(error) = std::str::from_utf8(&self.text) {
            return Some(format!("invalid UTF-8 at byte {}", error.valid_up_to() + 1));
        }
        (self.fields != expected).then(|| format!("{} fields where the header has {expected}", self.fields))
    }
}

/// Where in a record the reading is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// At the beginning of a field.
    Start,
    /// In a field without quotes around it, or behind what was in quotes: a quote here is one of its letters.
    Plain,
    Quoted,
    /// Behind a quote in quotes: it closes them, unless another follows.
    Closing,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Closing,
            (Self::Quoted, _) | (Self::Start | Self::Closing, b'"') => Self::Quoted,
            (_, b',' | b'\n') => Self::Start,
            // Of a line end.
            (Self::Closing, b'\r') => Self::Closing,
            _ => Self::Plain,
        }
    }
}

/// Tells records apart: a line end outside quotes ends one. Blank lines are left out. A field that is never closed takes its
/// line and not the rest of the file.
fn split_records(bytes: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let (mut start, mut line) = (0, 1);
    while start < bytes.len() {
        let rest = &bytes[start..];
        let (mut place, mut fields, mut bare, mut end) = (Place::Start, 1, false, None);
        for (at, &byte) in rest.iter().enumerate() {
            let next = place.after(byte);
            if next == Place::Start && byte == b'\n' {
                end = Some(at);
                break;
            }
            fields += usize::from(next == Place::Start);
            bare |= next == Place::Plain && (byte == b'"' || place == Place::Closing);
            place = next;
        }
        let closed = end.is_some() || place != Place::Quoted;
        let first_line = || rest.iter().position(|&byte| byte == b'\n');
        let end = if closed { end } else { first_line() }.unwrap_or(rest.len());
        let text = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        if !text.trim_ascii().is_empty() {
            let text = if bare && closed { Cow::Owned(in_quotes(text)) } else { Cow::Borrowed(text) };
            records.push(Record { line, fields, closed, text });
        }
        line += 1 + rest[..end].iter().filter(|&&byte| byte == b'\n').count();
        start += end + 1;
    }
    records
}

/// A record with quotes around each field that holds some: polars knows no bare ones. Read as Python's csv module reads it.
fn in_quotes(record: &[u8]) -> Vec<u8> {
    let (mut written, mut field, mut quotes) = (Vec::new(), Vec::new(), false);
    let close = |field: &mut Vec<u8>, quotes: &mut bool, written: &mut Vec<u8>| {
        if std::mem::take(quotes) {
            let doubled = field.iter().flat_map(|&byte| std::iter::repeat_n(byte, 1 + usize::from(byte == b'"')));
            written.extend([b'"'].into_iter().chain(doubled).chain([b'"']));
            field.clear();
        } else {
            written.append(field);
        }
    };
    let mut place = Place::Start;
    for &byte in record {
        let next = place.after(byte);
        quotes |= byte == b'"';
        match (place, next) {
            // Quotes around a field are no part of it.
            (Place::Start, Place::Quoted) | (Place::Quoted, Place::Closing) => {}
            (_, Place::Start) => {
                close(&mut field, &mut quotes, &mut written);
                written.push(byte);
            }
            _ => field.push(byte),
        }
        place = next;
    }
    close(&mut field, &mut quotes, &mut written);
    written
}
