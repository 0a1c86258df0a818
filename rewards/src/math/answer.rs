//! An answer as text and as what it may mean, and the comparison of two.

use super::budget::{Budget, Stop, VERDICT_STEPS};
use super::clean::clean;
use super::compare::Comparison;
use super::exact::rational;
use super::node::Node;
use super::parser::{self, NoParse};
use super::text::{self, Choice};
use super::unit;

/// An answer: its text in normal form, and its readings, the usual one first.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    form: String,
    /// Whether that is the form of words.
    words: bool,
    /// Whether the text is one word in small letters, or with a capital where a sentence begins.
    word: bool,
    /// The form of the sentence that the answer was taken from, if it was.
    around: Option<String>,
    choice: Option<Choice>,
    /// `1000,99` as 1000.99.
    pub(crate) decimal_comma: Option<Node>,
    /// `8 dozen` as 8: how many dozens may have been asked for.
    unscaled: Option<Node>,
    /// Whether space stands between a value and a letter: `5 m`.
    letters_apart: bool,
    pub(crate) readings: Vec<Node>,
}

/// The answer that `text` says.
pub(crate) fn parse(text: &str) -> Result<Answer, NoParse> {
    let text = text.trim();
    if text.len() > super::lexer::MAX_LENGTH {
        return Err(NoParse::Budget);
    }
    let text = text::to_ascii(text);
    let text = text.as_ref();
    let (form, words) = text::form(text);
    if form.is_empty() {
        return Err(NoParse::Unparsable);
    }
    // Emphasis says nothing: **42**.
    let bare = text.strip_prefix("**").and_then(|text| text.strip_suffix("**")).unwrap_or(text);
    let readings = parser::parse(bare)?;
    Ok(Answer {
        form,
        words,
        word: one_word(bare),
        around: None,
        choice: text::choice(text),
        decimal_comma: decimal_comma(bare),
        unscaled: unscaled(bare),
        letters_apart: letters_apart(bare),
        readings,
    })
}

/// Whether `text` is three small letters or more, of which the first may be a capital: `tie`, `Tom`.
fn one_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1..].iter().all(u8::is_ascii_lowercase)
}

/// The number that a comma without a space makes, with two digits at least behind it.
fn decimal_comma(text: &str) -> Option<Node> {
    if !text.contains(',') || text.len() > 64 {
        return None;
    }
    let cleaned = clean(text)?;
    let (whole, places) = cleaned.split_once(',')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(places) || places.len() < 2 {
        return None;
    }
    parser::parse(&format!("{whole}.{places}")).ok()?.into_iter().next()
}

/// What a number says without the scale behind it.
fn unscaled(text: &str) -> Option<Node> {
    let text = unit::without_scales(text).filter(|text| !text.contains('+'))?;
    let node = parser::parse(&text).ok()?.into_iter().next()?;
    (!node.any(&mut |part| matches!(part, Node::Text(_) | Node::Symbol(_)))).then_some(node)
}

/// Whether a letter follows a value with space between them, in one of TeX's ways.
fn letters_apart(text: &str) -> bool {
    let is_space = |next: char| next.is_whitespace() || next == '~';
    let letters = text.char_indices().filter(|(_, next)| next.is_ascii_alphabetic());
    letters.map(|(at, _)| &text[..at]).any(|before| {
        let value = before.trim_end_matches(is_space);
        let value =
            ["\\,", "\\;", "\\:", "\\"].into_iter().find_map(|space| value.strip_suffix(space)).unwrap_or(value);
        value.len() < before.len() && value.ends_with(|last: char| !last.is_alphabetic())
    })
}

impl Answer {
    /// The same answer, taken from a sentence that may itself be what was asked for.
    pub(crate) fn within(mut self, sentence: &Self) -> Self {
        self.around = Some(sentence.form.clone());
        self
    }

    /// Whether it is words, or holds any.
    pub(crate) fn has_words(&self) -> bool {
        self.readings.iter().all(|reading| reading.any(&mut |node| matches!(node, Node::Text(_))))
    }

    /// Whether it is the letter of a choice, perhaps with what is written behind it.
    pub(crate) fn is_choice(&self) -> bool {
        self.choice.is_some()
    }

    /// Whether it is one word, whatever letters it might multiply.
    #[cfg(test)]
    pub(crate) fn is_word(&self) -> bool {
        self.word
    }

    /// Why a reference cannot be compared with anything.
    pub(crate) fn unusable(&self) -> Option<Stop> {
        let first = self.readings.first()?;
        match rational(first, &mut vec![], &mut Budget::new(VERDICT_STEPS / 8)) {
            Err(Stop::DivisionByZero) => Some(Stop::DivisionByZero),
            _ => None,
        }
    }

    /// Whether it says neither a scale nor what it measures.
    fn is_bare(&self) -> bool {
        let measures = |part: &Node| {
            matches!(part, Node::Quantity(..) | Node::Percent(_) | Node::Degrees(_) | Node::Symbol(_) | Node::Text(_))
        };
        self.unscaled.is_none() && !self.readings.iter().any(|reading| reading.any(&mut |part| measures(part)))
    }

    /// Whether the text is the same but for layout and, in words, letter case and punctuation. Where both may be read as
    /// formulas, what they say decides: Rr is not RR, and x : y no list. A word that begins with a capital is the same word.
    fn has_form_of(&self, other: &Self) -> bool {
        let words = self.has_words() || other.has_words() || self.word && other.word;
        let formulas = self.words && !words;
        self.form == other.form && (!formulas || self.readings == other.readings)
    }

    /// Whether the candidate says what this reference says; if not, in what they differ.
    pub(crate) fn compare(&self, candidate: &Self) -> Result<(), &'static str> {
        if self.has_form_of(candidate) || candidate.around.as_ref() == Some(&self.form) {
            return Ok(());
        }
        if let Some(same) = choices(self, candidate) {
            return same;
        }
        let mut cause = None;
        // Every reading of one with every reading of the other; usually there is one of each.
        // A decimal comma is one where a single number is asked for; where two are, it parts them.
        let decimal_comma = candidate.decimal_comma.as_ref().filter(|_| self.readings.iter().all(Node::is_scalar));
        let unscaled = candidate.unscaled.as_ref().filter(|_| self.is_bare());
        let readings: Vec<&Node> = candidate.readings.iter().chain(decimal_comma).chain(unscaled).collect();
        let pairs = (self.readings.len() * readings.len()).max(1) as u64;
        for reference in &self.readings {
            for candidate in &readings {
                match Comparison::new(Budget::new(VERDICT_STEPS / pairs), self.letters_apart)
                    .compare(reference, candidate)
                {
                    Ok(()) => return Ok(()),
                    Err(found) if cause.is_none() || found == "budget" => cause = Some(found),
                    Err(_) => {}
                }
            }
        }
        Err(cause.unwrap_or("wrong_kind"))
    }
}

/// Letters of choices, with or without what is written behind them. `None` where it is not about choices.
fn choices(reference: &Answer, candidate: &Answer) -> Option<Result<(), &'static str>> {
    let is_letter = |choice: &Choice| choice.text.is_empty() && choice.is_usual();
    // The text alone also says which choice it is; but a letter says itself, whatever choice it is the text of.
    for (one, other) in [(reference, candidate), (candidate, reference)] {
        if one.choice.as_ref().is_some_and(|choice| !choice.text.is_empty() && choice.text == other.form)
            && !other.choice.as_ref().is_some_and(is_letter)
        {
            return Some(Ok(()));
        }
    }
    let (wanted, given) = (reference.choice.as_ref()?, candidate.choice.as_ref()?);
    let (text, other) = (&wanted.text, &given.text);
    if (given.goes_on || wanted.goes_on) && wanted.is_usual() && text != other {
        return Some(Err(if given.goes_on { "several_answers" } else { "wrong_text" }));
    }
    if wanted.letter != given.letter {
        // Variables are compared as such.
        return (!text.is_empty() || !other.is_empty()).then_some(Err("wrong_text"));
    }
    // x: 2 is not X: 2.
    if !wanted.is_usual() {
        return None;
    }
    (text.is_empty() || other.is_empty() || text == other).then_some(Ok(()))
}

#[cfg(test)]
mod tests;
