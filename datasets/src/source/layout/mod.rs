//! What the columns of public problem sets mean: one small adapter each, recognised by columns.
//!
//! To add one: a file with `recognises` and `convert`, and a line in [`LAYOUTS`], before any
//! layout whose columns are a subset of its own.

mod aime;
mod apps;
mod codeforces;
mod gsm8k;
mod humaneval;
mod live_code_bench;
mod math;
mod mbpp;
mod mmlu;
mod open_r1;
mod plain;
mod program;
mod request;
mod stdin;
mod stored;
mod svamp;
mod verification_info;
mod verl;

use std::collections::HashSet;

use rewards::Reference;
use serde_json::Value;

use super::Columns;
use super::json::type_name;
use crate::task::{Domain, Message, Split};
pub use plain::ColumnNames;
pub(crate) use program::question;
pub(crate) use request::{REQUESTS, before_shown_code};

/// A way to lay out problems in columns.
pub(crate) struct Layout {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// The columns it needs, in words.
    pub(crate) needs: &'static str,
    /// Whether a row looks like it.
    pub(crate) recognises: fn(&Columns) -> bool,
    /// The task in a row, or what is wrong with the row.
    pub(crate) convert: fn(&Columns) -> Result<Draft, String>,
}

/// What an adapter makes of a row.
pub(crate) struct Draft {
    /// The question.
    pub(crate) prompt: String,
    /// Bytes at the end of the prompt that are code which the adapter shows, with its request: no part of what is asked, since
    /// signatures are alike in many rows.
    pub(crate) shown: usize,
    /// What its answers are compared with.
    pub(crate) reference: Reference,
    /// The columns that are wholly contained in these two; the others are kept beside the task.
    pub(crate) used: &'static [&'static str],
    /// Further such columns, whose names are not the layout's own.
    pub(crate) named: Vec<String>,
    /// What stands before the question.
    pub(crate) turns: Vec<Message>,
    /// What the row itself says of source, domain, split and difficulty.
    pub(crate) source: Option<String>,
    pub(crate) domain: Option<Domain>,
    pub(crate) split: Option<Split>,
    pub(crate) difficulty: Option<f64>,
    /// Columns that are not in the file.
    pub(crate) added: Vec<(&'static str, Value)>,
    /// Columns that lie within a column.
    pub(crate) extra: Columns,
}

impl Draft {
    pub(crate) fn new(prompt: String, reference: Reference, used: &'static [&'static str]) -> Self {
        Self {
            prompt,
            shown: 0,
            reference,
            used,
            named: Vec::new(),
            turns: Vec::new(),
            source: None,
            domain: None,
            split: None,
            difficulty: None,
            added: Vec::new(),
            extra: Columns::new(),
        }
    }

    /// The prompt without the code that the adapter shows.
    pub(crate) fn asked(&self) -> &str {
        &self.prompt[..self.prompt.len() - self.shown]
    }
}

/// All layouts, those with the most particular columns first.
const LAYOUTS: &[Layout] = &[
    stored::LAYOUT,
    verl::LAYOUT,
    humaneval::LAYOUT,
    mbpp::LAYOUT,
    apps::LAYOUT,
    live_code_bench::LAYOUT,
    codeforces::LAYOUT,
    verification_info::LAYOUT,
    stdin::LAYOUT,
    svamp::LAYOUT,
    aime::LAYOUT,
    mmlu::LAYOUT,
    gsm8k::LAYOUT,
    open_r1::LAYOUT,
    math::LAYOUT,
    plain::LAYOUT,
];

/// The names of all layouts.
pub(crate) fn names() -> Vec<&'static str> {
    LAYOUTS.iter().map(|layout| layout.name).collect()
}

/// A row without a question gets one that says so: what tests a solution needs none.
pub(crate) fn supply_question(columns: &mut Columns) {
    let is_question = |name: &str| program::QUESTIONS.iter().any(|question| name.eq_ignore_ascii_case(question));
    if !columns.iter().any(|(name, value)| !value.is_null() && is_question(name)) {
        columns.insert("prompt".to_owned(), Value::from("(the source has no question)"));
    }
}

/// The task in a row of the layout; in a plain one, whose columns a job names.
pub(crate) fn convert(layout: &Layout, names: Option<&ColumnNames>, columns: &Columns) -> Result<Draft, String> {
    names.map_or_else(|| (layout.convert)(columns), |names| plain::convert(names, columns))
}

/// The layout of rows whose columns a job names.
pub(crate) const OF_NAMED_COLUMNS: &Layout = &plain::LAYOUT;

/// The layout of this name.
pub(crate) fn named(name: &str) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.name == name)
}

/// The first layout that more than half of the rows show; where none does, the one that most
/// show. A particular layout so wins over a plainer one that its rows show as well, even if some
/// rows lack what makes it particular: those are then malformed.
pub(crate) fn choose(rows: &[&Columns]) -> Option<&'static Layout> {
    let shown = |layout: &Layout| rows.iter().filter(|row| (layout.recognises)(row)).count();
    let by_majority = LAYOUTS.iter().find(|layout| shown(layout) * 2 > rows.len());
    // `max_by_key` takes the last of equals; reversed, the most particular.
    by_majority.or_else(|| LAYOUTS.iter().rev().filter(|layout| shown(layout) > 0).max_by_key(|layout| shown(layout)))
}

/// What to do about columns with names of one's own.
const RENAME: &str = "hint: call the columns with the question and the answer `prompt` and `answer`; or say in a job of `recipe \
                      curate` which they are: columns = { prompt = \"...\", answer = \"...\" } (docs/data.md)";

/// The layouts and what each needs, a line each, for the message that none fits these rows: first those of which most columns
/// are there; where none is, the plain one, to which rows are easily brought.
pub(crate) fn known(rows: &[&Columns]) -> String {
    let there: HashSet<String> = rows.iter().flat_map(|row| row.keys()).map(|name| name.to_lowercase()).collect();
    let found = |layout: &&Layout| {
        // What is in brackets or quotes tells of a column, and names none.
        let named = layout.needs.split(['(', ')', '`']).step_by(2);
        let words = named.flat_map(|part| part.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
        words.filter(|word| there.contains(&word.to_lowercase())).collect::<HashSet<_>>().len()
    };
    let mut layouts: Vec<&Layout> = LAYOUTS.iter().collect();
    // Stable: those with the most particular columns stay before the others.
    layouts.sort_by_key(|layout| std::cmp::Reverse(found(layout)));
    let some_near = layouts.first().is_some_and(|nearest| found(nearest) > 0);
    if !some_near {
        layouts.sort_by_key(|layout| layout.name != plain::LAYOUT.name);
    }
    let order = if some_near { ", the nearest first" } else { "" };
    let lines: String = layouts.iter().map(|layout| format!("\n  {} ({})", layout.name, layout.needs)).collect();
    format!("known layouts{order}:{lines}\n  {RENAME}")
}

/// The names of all columns of these rows, in the order in which they first appear.
pub(crate) fn column_names(rows: &[&Columns]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The columns with names in lower case, but where that is another's name: `Problem` and `problem` are the same to everybody
/// but a program.
pub(crate) fn in_lower_case(columns: Columns) -> Columns {
    let written: HashSet<String> = columns.keys().cloned().collect();
    let mut named = Columns::new();
    for (name, value) in columns {
        let lower = name.to_lowercase();
        let taken = lower != name && (written.contains(&lower) || named.contains_key(&lower));
        named.insert(if taken { name } else { lower }, value);
    }
    named
}

/// Whether all of these columns are there.
fn has(columns: &Columns, names: &[&str]) -> bool {
    names.iter().all(|name| columns.contains_key(*name))
}

fn column<'a>(columns: &'a Columns, name: &str) -> Result<&'a Value, String> {
    columns.get(name).ok_or_else(|| format!("the column `{name}` is missing"))
}

fn wrong_type(name: &str, expected: &str, found: &Value) -> String {
    if found.is_null() {
        return format!("the column `{name}` is null: this row has none");
    }
    format!("the column `{name}` should be {expected}, but is {}", type_name(found))
}

/// A column that must be text with something in it. Windows line ends become plain ones.
fn text(columns: &Columns, name: &str) -> Result<String, String> {
    match column(columns, name)? {
        Value::String(text) if text.trim().is_empty() => Err(format!("the column `{name}` is empty")),
        Value::String(text) => Ok(text.replace("\r\n", "\n")),
        other => Err(wrong_type(name, "text", other)),
    }
}

/// A column that may be missing or empty, but is text if there.
fn optional_text(columns: &Columns, name: &str) -> Result<String, String> {
    match columns.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.replace("\r\n", "\n")),
        Some(other) => Err(wrong_type(name, "text", other)),
    }
}

/// What programs write where a value is missing or was not to be had, in small letters.
const NO_VALUES: [&str; 7] = ["null", "none", "nan", "inf", "-inf", "infinity", "-infinity"];

/// A column that holds a value: text, or a number, of which 145.0 is written 145.
fn value_text(columns: &Columns, name: &str) -> Result<String, String> {
    match column(columns, name)? {
        Value::Number(number) => {
            let text = number.to_string();
            Ok(text.strip_suffix(".0").map_or(text.clone(), str::to_owned))
        }
        Value::String(_) => {
            let text = text(columns, name)?.trim().to_owned();
            if NO_VALUES.contains(&text.to_lowercase().as_str()) {
                return Err(format!("the column `{name}` is `{text}`, which is no value"));
            }
            Ok(text)
        }
        other => Err(wrong_type(name, "text or a number", other)),
    }
}

/// A column that holds a list of texts, possibly missing. In CSV, a JSON array written as text.
fn optional_texts(columns: &Columns, name: &str) -> Result<Vec<String>, String> {
    let parsed;
    let list = match columns.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(_)) => {
            parsed = json_column(columns, name)?;
            &parsed
        }
        Some(other) => other,
    };
    let Value::Array(elements) = list else { return Err(wrong_type(name, "a list of texts", list)) };
    elements
        .iter()
        .map(|element| match element {
            Value::String(text) => Ok(text.replace("\r\n", "\n")),
            other => Err(format!("the column `{name}` should be a list of texts, but holds {}", type_name(other))),
        })
        .collect()
}

/// A column that holds JSON, as text or as it is; null where it is missing or empty.
fn json_column(columns: &Columns, name: &str) -> Result<Value, String> {
    match columns.get(name) {
        None => Ok(Value::Null),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Value::Null),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| format!("the column `{name}` is no JSON: {error}"))
        }
        Some(value) => Ok(value.clone()),
    }
}

/// A list of texts that must be there and hold something.
fn texts(columns: &Columns, name: &str) -> Result<Vec<String>, String> {
    column(columns, name)?;
    let list = optional_texts(columns, name)?;
    if list.is_empty() { Err(format!("the column `{name}` is an empty list")) } else { Ok(list) }
}

/// A prompt that is text, or a list of messages of which the last is the question.
fn conversation(columns: &Columns, name: &str) -> Result<(String, Vec<Message>), String> {
    let Value::Array(elements) = column(columns, name)? else { return Ok((text(columns, name)?, Vec::new())) };
    let mut messages = Vec::with_capacity(elements.len());
    for element in elements {
        let field = |key: &str| element.get(key).and_then(Value::as_str).map(|text| text.replace("\r\n", "\n"));
        let (Some(role), Some(content)) = (field("role"), field("content")) else {
            return Err(format!("the column `{name}` should be a list of messages with `role` and `content`"));
        };
        messages.push(Message { role, content });
    }
    match messages.pop() {
        Some(last) if !last.content.trim().is_empty() => Ok((last.content, messages)),
        Some(_) => Err(format!("the last message of the column `{name}` is empty")),
        None => Err(format!("the column `{name}` is an empty list")),
    }
}
