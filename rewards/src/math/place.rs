//! Which text of a completion, or of a reference, is compared.
//!
//! The order is the policy's, and [`crate::extract`] finds the places. Between the last bold text and the last number
//! stand two that mark nothing but are safe: a text that is an answer as a whole, and the last formula.

use std::borrow::Cow;

use super::answer::{self, Answer};
use super::parser::NoParse;
use crate::extract::{self, Place};

/// A text longer than this is no answer as a whole.
const WHOLE_LENGTH: usize = 400;

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
            let whole = answer::parse(found.text);
            // In the weaker places a sentence may surround the value: "the answer is that she has 5 left".
            if found.place != Place::Tag
                && whole.as_ref().map_or(true, |whole| whole.has_words() && !whole.is_choice())
                && let Some(value) = extract::value_of_sentence(found.text)
                && let Ok(value) = answer::parse(value)
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
        let value = answer::parse(value);
        return Some(match (value, &whole) {
            (Ok(value), Some(Ok(whole))) => Ok(value.within(whole)),
            (value, _) => value,
        });
    }
    whole
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
