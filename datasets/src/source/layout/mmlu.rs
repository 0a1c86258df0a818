//! MMLU (hendrycks/test), as Hugging Face and Qwen lay it out: `question`, `choices`, and `answer`, the number of the right
//! one from 0 (or its letter).
//!
//! The choices are written into the prompt with letters, and the reference is the letter.

use rewards::Reference;
use serde_json::Value;

use super::{Columns, Draft, Layout, has, text, texts};
use crate::task::Domain;

pub(super) const LAYOUT: Layout = Layout {
    name: "mmlu",
    needs: "question, choices, answer (a number from 0, or a letter)",
    recognises: |columns| has(columns, &["question", "choices", "answer"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let choices = texts(columns, "choices")?;
    let index = match columns.get("answer") {
        Some(Value::Number(number)) => number.as_u64().and_then(|index| usize::try_from(index).ok()),
        Some(Value::String(letter)) => match letter.trim().as_bytes() {
            [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
            digits => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        },
        _ => None,
    };
    let Some(index) = index.filter(|&index| index < choices.len() && choices.len() <= 26) else {
        return Err(format!("the column `answer` names none of the {} choices", choices.len()));
    };
    let letters = 'A'..='Z';
    let listed: Vec<String> =
        letters.zip(&choices).map(|(letter, choice)| format!("{letter}. {}", choice.trim())).collect();
    let prompt = format!(
        "{}\n{}\nAnswer with the letter of the right choice.",
        text(columns, "question")?.trim(),
        listed.join("\n")
    );
    let letter = char::from(b'A' + u8::try_from(index).unwrap_or(0));
    let mut draft = Draft::new(prompt, Reference::Math { answer: letter.to_string() }, &["question", "answer"]);
    draft.domain = Some(Domain::Choice);
    Ok(draft)
}
