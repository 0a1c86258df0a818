//! Which text of a completion, or of a reference, is compared.
//!
//! The order is the policy's, and [`crate::extract`] finds the places. Between the last bold text and the last number
//! stand two that mark nothing but are safe: a text that is an answer as a whole, and the last formula.

use std::borrow::Cow;

use super::answer::{self, Answer};
use super::parser::NoParse;
use super::unit;
use crate::extract::{self, Place};

/// A text longer than this is no answer as a whole.
const WHOLE_LENGTH: usize = 400;

/// How many characters before a number are looked at for words that change it.
const WORDS_BESIDE: usize = 40;

/// The answer of a completion; `None` where it gives none.
pub(crate) fn candidate(completion: &str) -> Option<Result<Answer, NoParse>> {
    match extract::boxes(completion) {
        extract::Boxes::Complete(boxes) => return Some(answer::parse(&joined(&boxes))),
        extract::Boxes::Broken => return None,
        extract::Boxes::Absent => {}
    }
    let found = extract::marked(completion)?;
    match found {
        Some(found) => {
            let whole = match found.place {
                Place::Tag => answer::parse(found.text),
                // "The answer is $5$ squared": the sentence goes on behind the formula.
                _ => as_said(completion, found.text).ok_or(NoParse::Unparsable).and_then(|said| answer::parse(&said)),
            };
            // In the weaker places a sentence may surround the value: "the answer is that she has 5 left".
            if found.place != Place::Tag
                && whole.as_ref().map_or(true, |whole| whole.has_words() && !whole.is_choice())
                && let Some(value) = extract::value_of_sentence(found.text)
                && let Some(value) = as_said(completion, value)
                && let Ok(value) = answer::parse(&value)
            {
                return Some(Ok(match &whole {
                    Ok(whole) => value.within(whole),
                    Err(_) => value,
                }));
            }
            // An anchor within a formula, "\\text{the answer is }5", cuts it.
            if whole.is_err() && found.place == Place::Anchor {
                return unmarked(completion);
            }
            Some(whole)
        }
        None => unmarked(completion),
    }
}

/// A text without any mark: an answer as a whole, else its last formula or number, else short words.
fn unmarked(completion: &str) -> Option<Result<Answer, NoParse>> {
    let text = completion.trim();
    let short = !text.is_empty() && text.len() <= WHOLE_LENGTH;
    let whole = short.then(|| answer::parse(text));
    if let Some(Ok(whole)) = &whole
        && (!whole.has_words() || whole.is_choice())
    {
        return Some(Ok(whole.clone()));
    }
    if let Some(value) = extract::last_value(completion) {
        let Some(value) = as_said(completion, value) else {
            return Some(whole.unwrap_or(Err(NoParse::Unparsable)));
        };
        let value = answer::parse(&value);
        return Some(match (value, &whole) {
            (Ok(value), Some(Ok(whole))) => Ok(value.within(whole)),
            (value, _) => value,
        });
    }
    whole
}

/// What `completion` says where `value`, a part of it, stands: "5 thousand" is 5000. `None` where the words beside it
/// say something else: "5 squared", "half of 5", "at least 5".
fn as_said<'a>(completion: &str, value: &'a str) -> Option<Cow<'a, str>> {
    let is_mark = |next: char| matches!(next, '$' | '*' | '(' | ')' | '\\' | '[' | ']' | '_');
    let start = value.as_ptr() as usize - completion.as_ptr() as usize;
    let behind = completion[start + value.len()..].trim_start_matches(is_mark);
    let before = completion[..start].trim_end_matches(|next: char| is_mark(next) || next.is_whitespace());
    let from = before.char_indices().rev().nth(WORDS_BESIDE).map_or(0, |(at, _)| at);
    let before = &before[from..];
    // "negative 5"
    let sign = unit::before_sign(before).filter(|_| is_unsigned(value));
    if unit::changed_by_words_before(sign.unwrap_or(before)) {
        return None;
    }
    let value = if sign.is_some() { Cow::Owned(format!("-{value}")) } else { Cow::Borrowed(value) };
    if !behind.starts_with(char::is_whitespace) {
        return Some(value);
    }
    let end = behind.find(['.', ',', ';', ':', '!', '?', '\n', '(']).unwrap_or(behind.len());
    let words = behind[..end].split_whitespace().take(2).map(|word| word.trim_matches(is_mark).to_lowercase());
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.first() {
        Some(scale) if unit::is_scale(scale) => Some(Cow::Owned(format!("{value} {scale}"))),
        _ => (!unit::changed_by_words_behind(&words)).then_some(value),
    }
}

/// Whether `value` is one value without a sign of its own, which the word before it may give it.
fn is_unsigned(value: &str) -> bool {
    !value.contains(|next: char| "+-−–,;=<>".contains(next)) && !value.contains(" or ") && !value.contains(" and ")
}

/// The answer of a reference: as it stands, or, where it is a whole solution, what a completion like it would answer.
pub(crate) fn reference(text: &str) -> Result<Answer, NoParse> {
    // Most references are short and hold no mark.
    match extract::boxes(text) {
        extract::Boxes::Complete(boxes) => return answer::parse(&joined(&boxes)),
        extract::Boxes::Broken => return Err(NoParse::Unparsable),
        extract::Boxes::Absent => {}
    }
    let whole = answer::parse(text);
    let usable = whole.as_ref().is_ok_and(|whole| !whole.has_words());
    if usable || !looks_like_solution(text) {
        return whole;
    }
    match candidate(text) {
        Some(Ok(found)) => Ok(found),
        _ => whole,
    }
}

/// Prose with a formula in it, or a mark.
fn looks_like_solution(text: &str) -> bool {
    let formula = super::text::count_plain_dollars(text) >= 2 || text.contains("\\(") || text.contains("\\[");
    text.contains("####") || text.contains("nswer") || formula && text.split_whitespace().count() > 3
}

/// Several boxes side by side are one list.
fn joined<'a>(boxes: &[&'a str]) -> Cow<'a, str> {
    match boxes {
        [only] => Cow::Borrowed(only),
        _ => {
            let mut distinct: Vec<&str> = vec![];
            for piece in boxes {
                if !distinct.contains(&piece.trim()) {
                    distinct.push(piece.trim());
                }
            }
            Cow::Owned(distinct.join(", "))
        }
    }
}
