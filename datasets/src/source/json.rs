//! Rows that lie as JSON: one object per line, or one array of objects.
//!
//! `serde_json` row by row rather than a data frame: a frame wants one type per column and gives
//! no line for what is wrong, and the rows of public sets are both ragged and nested.

use std::collections::HashSet;

use serde_json::{Deserializer, Value};

use super::{Columns, Row, layout};

/// JSON Lines: each line that is not blank is a row. Lines are independent of each other, so a
/// line that is not even UTF-8 costs only itself.
fn read_lines(bytes: &[u8]) -> Vec<Row> {
    without_mark(bytes)
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| Row { line: index + 1, columns: parse_line(line.trim_ascii()) })
        .collect()
}

/// A `.json` file: an array of objects, or JSON Lines under that name. A single object is a row where a layout has its columns, and
/// else what is around the rows (`{"data": [...]}`).
///
/// Elements of the array that are no objects are bad rows; a syntax error inside the array is the
/// end of the file, since nothing tells where the next element would begin.
pub(crate) fn read_document(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let bytes = without_mark(bytes);
    let start = skip_blank(bytes, 0);
    match bytes.get(start) {
        Some(b'[') => read_array(bytes, start + 1),
        Some(b'{') => read_object(bytes).unwrap_or_else(|| Ok(read_lines(bytes))),
        _ => Ok(read_lines(bytes)),
    }
}

/// The rows of a document that is one object over several lines; none where it is another one.
fn read_object(bytes: &[u8]) -> Option<Result<Vec<Row>, String>> {
    let start = skip_blank(bytes, 0);
    let mut objects = Deserializer::from_slice(&bytes[start..]).into_iter::<Value>();
    let Some(Ok(Value::Object(columns))) = objects.next() else { return None };
    let end = start + objects.byte_offset();
    let text = &bytes[start..end];
    if skip_blank(bytes, end) < bytes.len() {
        return None;
    }
    if layout::choose(&[&columns]).is_some() {
        let line = LineCount::default().at(bytes, start);
        return Some(Ok(vec![Row { line, columns: Ok(with_all_digits(columns, text)) }]));
    }
    // A list of messages is a conversation within a row.
    let is_row = |value: &Value| value.is_object() && value.get("role").or_else(|| value.get("from")).is_none();
    let rows = columns.iter().filter(|(_, value)| value.get(0).is_some_and(is_row)).map(|(name, _)| name);
    let of_name = |name: &String| {
        let named = |quoted: &[u8]| serde_json::from_slice::<String>(quoted).is_ok_and(|found| found == *name);
        members(text).into_iter().rev().find(|(quoted, _)| named(quoted)).map(|(_, list)| list)
    };
    match rows.map(of_name).collect::<Vec<_>>()[..] {
        // Both are pieces of the same memory.
        [Some(list)] => Some(read_array(bytes, list.as_ptr() as usize - bytes.as_ptr() as usize + 1)),
        _ if !text.contains(&b'\n') => None,
        _ => Some(Err(format!(
            "it is one object, with {}: expected an array of rows, a row on each line, or an object in which one list holds the \
             rows",
            layout::column_names(&[&columns])
        ))),
    }
}

fn read_array(bytes: &[u8], start: usize) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut position = skip_blank(bytes, start);
    let mut lines = LineCount::default();
    if bytes.get(position) == Some(&b']') {
        return Ok(rows);
    }
    loop {
        let line = lines.at(bytes, position);
        let mut elements = Deserializer::from_slice(&bytes[position..]).into_iter::<Value>();
        let element = match elements.next() {
            Some(Ok(element)) => element,
            Some(Err(error)) => {
                // The parser counts from where it started.
                let line = line + error.line().saturating_sub(1);
                return Err(format!("line {line}: malformed JSON: {}", without_place(&error)));
            }
            None => return Err(format!("line {line}: the array is not closed: the file is cut off")),
        };
        let end = position + elements.byte_offset();
        rows.push(Row { line, columns: into_columns(element, &bytes[position..end]) });
        position = skip_blank(bytes, end);
        let separator_line = lines.at(bytes, position);
        match bytes.get(position) {
            Some(b',') => position = skip_blank(bytes, position + 1),
            Some(b']') => return Ok(rows),
            Some(_) => {
                return Err(format!("line {separator_line}: malformed JSON: expected `,` or `]` after an element"));
            }
            None => return Err(format!("line {separator_line}: the array is not closed: the file is cut off")),
        }
    }
}

/// The columns of one line.
pub(super) fn parse_line(line: &[u8]) -> Result<Columns, String> {
    let text =
        std::str::from_utf8(line).map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to() + 1))?;
    match serde_json::from_str(text) {
        Ok(value) => into_columns(value, text.as_bytes()),
        Err(error) => Err(format!("malformed JSON: {} at column {}", without_place(&error), error.column())),
    }
}

fn into_columns(value: Value, text: &[u8]) -> Result<Columns, String> {
    match value {
        Value::Object(columns) => Ok(with_all_digits(columns, text)),
        other => Err(format!("expected an object with named columns, found {}", type_name(&other))),
    }
}

/// Digits that a number of 64 bits holds, whatever they are.
const SURE_DIGITS: usize = 15;

/// With how many digits each number of 64 bits can be told from all others: programs that write all of them write so many.
const MOST_DIGITS: usize = 17;

/// Whether a number of 64 bits, written with as many digits as `digits`, has these.
fn is_written_so(number: f64, digits: &[u8]) -> bool {
    // What follows from the size of the number says nothing.
    let significant = |digits: &[u8]| {
        let end = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        digits[..end].to_vec()
    };
    let written = format!("{number:.places$e}", places = digits.len().saturating_sub(1));
    let mantissa = written.split('e').next().unwrap_or_default();
    let held: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    significant(&held) == significant(digits)
}

/// The columns with those numbers as text that a number of 64 bits cannot hold: an answer is what it is, to the last digit.
/// (`serde_json` can keep all digits of all numbers, but then every number everywhere is text that is read again.) Numbers
/// within lists and objects stay as they are. `text` is what the columns were read from.
fn with_all_digits(mut columns: Columns, text: &[u8]) -> Columns {
    if !columns.values().any(Value::is_f64) {
        return columns;
    }
    let mut seen = HashSet::new();
    for (name, written) in members(text).into_iter().rev() {
        let mantissa = written.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
        let digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
        let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
        let Ok(name) = serde_json::from_slice::<String>(name) else { continue };
        // Of a name that stands twice the last counts.
        if !seen.insert(name.clone()) {
            continue;
        }
        let digits = &digits[leading..];
        if digits.len() > SURE_DIGITS
            && let Ok(number) = std::str::from_utf8(written)
            && let Some(value) = columns.get_mut(&name).filter(|value| value.is_f64())
            && !(digits.len() <= MOST_DIGITS && value.as_f64().is_some_and(|held| is_written_so(held, digits)))
        {
            *value = Value::from(number);
        }
    }
    columns
}

/// The members of a well-formed JSON object as they are written: names in their quotes, and values.
fn members(text: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut members = Vec::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut start, mut name): (usize, &[u8]) = (0, &[]);
    for (at, &byte) in text.iter().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            b':' if depth == 1 => {
                name = text[start..at].trim_ascii();
                start = at + 1;
            }
            b',' | b'}' if depth == 1 => {
                members.push((name, text[start..at].trim_ascii()));
                start = at + 1;
            }
            _ => {}
        }
        if matches!(byte, b'}' | b']') {
            depth = depth.saturating_sub(1);
        }
    }
    members
}

/// The type of a JSON value, in words for messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The message without the `at line 1 column n` that serde_json appends: it counts from where the
/// parser started, not from the top of the file.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

fn skip_blank(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Counts lines up to positions that only grow, so that a file is counted through once.
#[derive(Default)]
struct LineCount {
    position: usize,
    newlines: usize,
}

impl LineCount {
    /// The line, counted from 1, on which `position` lies.
    fn at(&mut self, bytes: &[u8], position: usize) -> usize {
        let passed = bytes.get(self.position..position).unwrap_or_default();
        self.newlines += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.position = self.position.max(position);
        self.newlines + 1
    }
}
