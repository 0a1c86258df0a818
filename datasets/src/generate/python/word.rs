//! Functions of a word of small letters: take a part or replace, then turn round, raise or repeat.

use super::value::Value;
use super::{Spec, WORD_LENGTHS};
use crate::random::Counter;

/// The letters of words and of what is asked about them: few, so that they occur.
const LETTERS: &[char] = &['a', 'b', 'c', 'd', 'e', 'f'];

/// A function of a word: first the inner part, then the outer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WordFunction {
    inner: Inner,
    outer: Outer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    Whole,
    First(usize),
    Last(usize),
    Without(usize),
    Replaced(char, char),
    /// A number; nothing is done to it afterwards.
    Count(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    Same,
    Reversed,
    Upper,
    Repeated(usize),
}

impl Inner {
    fn phrase(self) -> String {
        match self {
            Self::Whole => "s".to_owned(),
            Self::First(count) => format!("the first {count} letters of s"),
            Self::Last(count) => format!("the last {count} letters of s"),
            Self::Without(count) => format!("s without the first {count} letters"),
            Self::Replaced(from, to) => format!("s with {from} replaced by {to}"),
            Self::Count(letter) => format!("the count of {letter} in s"),
        }
    }

    fn plan(self) -> String {
        match self {
            Self::Whole => "take s".to_owned(),
            Self::First(count) => format!("take first {count}"),
            Self::Last(count) => format!("take last {count}"),
            Self::Without(count) => format!("drop first {count}"),
            Self::Replaced(from, to) => format!("replace {from} by {to}"),
            Self::Count(letter) => format!("count {letter}"),
        }
    }

    fn code(self) -> String {
        match self {
            Self::Whole => "s".to_owned(),
            Self::First(count) => format!("s [ : {count} ]"),
            Self::Last(count) => format!("s [ -{count} : ]"),
            Self::Without(count) => format!("s [ {count} : ]"),
            Self::Replaced(from, to) => format!("s.replace ( '{from}' , '{to}' )"),
            Self::Count(letter) => format!("s.count ( '{letter}' )"),
        }
    }
}

impl Outer {
    fn phrase(self) -> String {
        match self {
            Self::Same => String::new(),
            Self::Reversed => " , reversed".to_owned(),
            Self::Upper => " , in capitals".to_owned(),
            Self::Repeated(count) => format!(" , {count} times"),
        }
    }

    fn plan(self) -> String {
        match self {
            Self::Same => String::new(),
            Self::Reversed => " , reverse".to_owned(),
            Self::Upper => " , capitals".to_owned(),
            Self::Repeated(count) => format!(" , {count} times"),
        }
    }

    fn code(self) -> String {
        match self {
            Self::Same => String::new(),
            Self::Reversed => " [ : : -1 ]".to_owned(),
            Self::Upper => " .upper ( )".to_owned(),
            Self::Repeated(count) => format!(" * {count}"),
        }
    }
}

impl Spec for WordFunction {
    const PARAMETER: &'static str = "s";

    fn draw(counter: &mut Counter) -> Self {
        let mut count = || 2 + counter.below(3);
        let (first, last, without) = (count(), count(), count());
        let repeated = 2 + counter.below(3);
        let from = counter.below(LETTERS.len());
        let to = (from + 1 + counter.below(LETTERS.len() - 1)) % LETTERS.len();
        let inner = match counter.below(8) {
            0 => Inner::Whole,
            1 => Inner::First(first),
            2 => Inner::Last(last),
            3 => Inner::Without(without),
            4 => Inner::Count(LETTERS[from]),
            _ => Inner::Replaced(LETTERS[from], LETTERS[to]),
        };
        let outer = match counter.below(5) {
            _ if matches!(inner, Inner::Count(_)) => Outer::Same,
            0 if inner != Inner::Whole => Outer::Same,
            0 | 1 => Outer::Reversed,
            2 => Outer::Upper,
            _ => Outer::Repeated(repeated),
        };
        Self { inner, outer }
    }

    fn phrase(&self) -> String {
        self.inner.phrase() + &self.outer.phrase()
    }

    fn plan(&self) -> String {
        self.inner.plan() + &self.outer.plan()
    }

    fn code(&self) -> String {
        self.inner.code() + &self.outer.code()
    }

    fn evaluate(&self, input: &Value) -> Option<Value> {
        let Value::Text(word) = input else { return None };
        let inner: String = match self.inner {
            Inner::Whole => word.clone(),
            Inner::First(count) => word.chars().take(count).collect(),
            Inner::Last(count) => word.chars().skip(word.chars().count().saturating_sub(count)).collect(),
            Inner::Without(count) => word.chars().skip(count).collect(),
            Inner::Replaced(from, to) => word.replace(from, &to.to_string()),
            Inner::Count(letter) => return Some(Value::Integer(word.matches(letter).count() as i64)),
        };
        Some(Value::Text(match self.outer {
            Outer::Same => inner,
            Outer::Reversed => inner.chars().rev().collect(),
            Outer::Upper => inner.to_uppercase(),
            Outer::Repeated(count) => inner.repeat(count),
        }))
    }

    fn input(&self, counter: &mut Counter) -> Value {
        // Ends: a random word of five letters or more out of six is seldom without a given one.
        loop {
            let (shortest, longest) = WORD_LENGTHS;
            let length = shortest + counter.below(longest - shortest + 1);
            let word: String = (0..length).map(|_| *counter.pick(LETTERS)).collect();
            let shows = match self.inner {
                Inner::Replaced(letter, _) | Inner::Count(letter) => word.contains(letter),
                _ => true,
            };
            if shows && !word.chars().eq(word.chars().rev()) {
                return Value::Text(word);
            }
        }
    }

    fn forget(&self) -> Self {
        match (self.inner, self.outer) {
            (Inner::Count(letter), _) => Self { inner: Inner::Replaced(letter, LETTERS[0]), outer: Outer::Same },
            (Inner::Whole, Outer::Same | Outer::Reversed) => Self { outer: Outer::Upper, ..*self },
            (Inner::Whole, _) | (_, Outer::Same) => Self { inner: Inner::Whole, outer: Outer::Reversed },
            _ => Self { outer: Outer::Same, ..*self },
        }
    }

    fn mistake(&self, _counter: &mut Counter) -> Self {
        let inner = match self.inner {
            Inner::Whole => Inner::Without(1),
            Inner::First(count) => Inner::Last(count),
            Inner::Last(count) => Inner::First(count),
            Inner::Without(count) => Inner::First(count),
            Inner::Replaced(from, to) => Inner::Replaced(to, from),
            Inner::Count(letter) => Inner::Count(if letter == LETTERS[0] { LETTERS[1] } else { LETTERS[0] }),
        };
        Self { inner, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_the_code_and_the_value_agree() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (inner, outer, phrase, code, value) in [
            (Inner::Whole, Outer::Reversed, "s , reversed", "s [ : : -1 ]", text("edcba")),
            (
                Inner::First(3),
                Outer::Upper,
                "the first 3 letters of s , in capitals",
                "s [ : 3 ] .upper ( )",
                text("ABC"),
            ),
            (Inner::Last(2), Outer::Repeated(3), "the last 2 letters of s , 3 times", "s [ -2 : ] * 3", text("dedede")),
            (Inner::Without(1), Outer::Same, "s without the first 1 letters", "s [ 1 : ]", text("bcde")),
            (
                Inner::Replaced('b', 'f'),
                Outer::Same,
                "s with b replaced by f",
                "s.replace ( 'b' , 'f' )",
                text("afcde"),
            ),
            (Inner::Count('a'), Outer::Same, "the count of a in s", "s.count ( 'a' )", Value::Integer(1)),
        ] {
            let function = WordFunction { inner, outer };
            assert_eq!((function.phrase().as_str(), function.code().as_str()), (phrase, code));
            assert_eq!(function.evaluate(&text("abcde")), Some(value), "{code}");
        }
    }
}
