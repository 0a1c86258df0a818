//! Multiple choice: MMLU (hendrycks/test), as Hugging Face and Qwen lay it out (`question`, `choices`, and `answer`, the number
//! of the right one from 0 or its letter); MMLU-Pro (`options`, and `answer_index` beside the letter); MedQA (`options` by
//! letter, `answer_idx` with the letter, and in `answer` the choice itself).
//!
//! The choices are written into the prompt with letters, and the reference is the letter.

use rewards::Reference;
use serde_json::Value;

use super::request::CHOICE;
use super::{Columns, Draft, Layout, has, json_column, text, type_name};
use crate::task::Domain;

pub(super) const LAYOUT: Layout = Layout {
    name: "mmlu",
    needs: "question, choices or options, answer (a number from 0, or a letter) or answer_index or answer_idx",
    recognises: |columns| {
        has(columns, &["question"])
            && LISTS.iter().any(|name| has_choices(columns, name))
            && ANSWERS.iter().any(|name| has(columns, &[name]))
    },
    convert,
};

/// Columns that may hold the choices.
const LISTS: [&str; 2] = ["choices", "options"];

/// Columns that may say which choice is right; that which is surely a place comes first.
const ANSWERS: [&str; 3] = ["answer_index", "answer_idx", "answer"];

/// Whether there are choices in the column. An empty list, or an empty text, is that of a question without any.
fn has_choices(columns: &Columns, name: &str) -> bool {
    match columns.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(elements)) => !elements.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::String(text)) => !matches!(text.trim(), "" | "[]" | "{}"),
        Some(_) => true,
    }
}

/// The column with the choices of a row, if it has any. Its answer is the name of one of them.
pub(super) fn choices(columns: &Columns) -> Option<&'static str> {
    LISTS.into_iter().find(|name| has_choices(columns, name))
}

/// The column with the choices of a row whose question does not show them itself.
pub(super) fn hidden_choices(columns: &Columns, question: &str) -> Option<&'static str> {
    let list = choices(columns)?;
    let choices = read_choices(columns, list).ok()?;
    choices.iter().any(|choice| !question.contains(choice.text.trim())).then_some(list)
}

/// A choice, and what the source calls it.
struct Choice {
    name: Option<String>,
    text: String,
}

fn convert(columns: &Columns) -> Result<Draft, String> {
    let question = text(columns, "question")?;
    let list = choices(columns).ok_or("the column `choices` is missing")?;
    let choices = read_choices(columns, list)?;
    let right =
        ANSWERS.iter().filter(|name| has(columns, &[name])).find_map(|name| place(name, &columns[*name], &choices));
    let Some(index) = right.filter(|_| choices.len() <= 26) else {
        let said: Vec<String> =
            ANSWERS.iter().filter(|name| has(columns, &[name])).map(|name| format!("`{name}`")).collect();
        if said.is_empty() {
            return Err("the column `answer` is missing".to_owned());
        }
        return Err(format!("the column {} names none of the {} choices", said.join(" or "), choices.len()));
    };
    let letters = 'A'..='Z';
    let listed: Vec<String> =
        letters.zip(&choices).map(|(letter, choice)| format!("{letter}. {}", choice.text.trim())).collect();
    let prompt = format!("{}\n{}\n{CHOICE}", question.trim(), listed.join("\n"));
    let letter = char::from(b'A' + u8::try_from(index).unwrap_or(0));
    let mut draft = Draft::new(prompt, Reference::Math { answer: letter.to_string() }, &["question", "answer"]);
    draft.domain = Some(Domain::Choice);
    Ok(draft)
}

/// The choices: a list of texts, an object of texts by name, or a list of such pairs (as Parquet has maps). In CSV the JSON of
/// one.
fn read_choices(columns: &Columns, name: &str) -> Result<Vec<Choice>, String> {
    let wrong = |found: &Value| {
        format!("the column `{name}` should be a list of texts, or texts by letter, but holds {}", type_name(found))
    };
    let choice = |name: Option<&str>, value: &Value| match value {
        Value::String(text) => Ok(Choice { name: name.map(str::to_owned), text: text.replace("\r\n", "\n") }),
        Value::Number(number) => Ok(Choice { name: name.map(str::to_owned), text: number.to_string() }),
        other => Err(wrong(other)),
    };
    match json_column(columns, name)? {
        Value::Array(elements) => elements
            .iter()
            .map(|element| match (element.get("key").and_then(Value::as_str), element.get("value")) {
                (Some(key), Some(value)) => choice(Some(key), value),
                _ => choice(None, element),
            })
            .collect(),
        // In Parquet every row has the names of all, and those that it has not are null.
        Value::Object(fields) => {
            fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| choice(Some(key), value)).collect()
        }
        other => Err(wrong(&other)),
    }
}

/// The place of the choice that a value in the column `name` stands for: a number from 0; or text, which may be a choice as it is
/// written, its name or letter, or a number.
///
/// Text in `answer` that is just one of the choices is that one: of 3, 4, 5 and 6, "3" is the first. The other columns say a place.
fn place(name: &str, value: &Value, choices: &[Choice]) -> Option<usize> {
    let there = |index: &usize| *index < choices.len();
    match value {
        Value::Number(number) => number.as_f64().and_then(whole).filter(there),
        Value::String(said) => {
            let said = said.trim();
            let mut alike = choices.iter().enumerate().filter(|(_, choice)| choice.text.trim() == said);
            let written = alike.next().map(|(index, _)| index);
            let certain = written.filter(|_| name == "answer" && alike.next().is_none());
            let named = |choice: &Choice| choice.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(said));
            let letter = || match said.as_bytes() {
                [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
                _ => said.parse().ok().and_then(whole),
            };
            let place = certain.or_else(|| choices.iter().position(named)).or_else(letter);
            place.filter(there).or(written)
        }
        _ => None,
    }
}

/// A place that is written as a number: as a float too (`1.0`), which pandas makes of whole numbers where one is missing.
fn whole(number: f64) -> Option<usize> {
    // Beyond the choices there are none.
    (number.fract() == 0.0 && (0.0..1e6).contains(&number)).then_some(number as usize)
}
