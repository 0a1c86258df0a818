//! Python functions: write `f` in one line, as asked.
//!
//! - Draws from: functions of a list of integers (keep some, change each, finish: [`items`]), of
//!   an integer ([`number`]) and of a word ([`word`]).
//! - Range: constants 1 to 20; lists of four to seven integers in -9..=20; integers in -9..=30; words of five to eight
//!   letters.
//! - Size: about 4,100 functions of a list, 750 of a number, 250 of a word.
//! - Verifier: `Reference::Tests`, three assertions whose inputs are drawn from the content (so
//!   that one question has one reference) and whose values the Rust twin of the function computes.
//!   Every list has something that is kept and, where the filter can drop, something that is not.
//!
//! Code is written with single spaces between all tokens, as the prompts are: `sum ( x + 3 for x
//! in items if x % 2 == 0 )` is valid Python, and a small vocabulary covers all of it.

mod items;
mod number;
mod value;
mod word;

use rewards::Reference;

use super::Quality;
use super::problem::{Attempt, GUESS_THINK, Problem};
use crate::random::{Counter, hash_text};
use items::ItemsFunction;
use number::NumberFunction;
use value::Value;
use word::WordFunction;

/// Shares of the corpus.
const QUALITIES: &[(Quality, u32)] =
    &[(Quality::Guess, 46), (Quality::Worked, 26), (Quality::Slip, 10), (Quality::GivesUp, 8), (Quality::Bare, 10)];

/// How many of 100 guesses are written right.
const GUESS_RIGHT_PERCENT: u32 = 30;

/// Of 100 wrong functions, how many forget a part of the question; the others mistake one.
const FORGETS_PERCENT: u32 = 70;

/// Kinds of functions, as weights.
const KINDS: &[(Kind, u32)] = &[(Kind::Items, 65), (Kind::Number, 25), (Kind::Word, 10)];

/// How many assertions a task has.
const ASSERTIONS: usize = 3;

/// The largest constant of a function.
const LARGEST_CONSTANT: i64 = 20;

/// How long a list is, at least and at most.
const LIST_LENGTHS: (usize, usize) = (4, 7);

/// What stands in a list.
const ITEMS: (i64, i64) = (-9, 20);

/// The numbers that a function of a number is tested with, the least and the largest.
const NUMBERS: (i64, i64) = (-9, 30);

/// How many letters a word has, at least and at most.
const WORD_LENGTHS: (usize, usize) = (5, 8);

/// Between which bounds functions and their inputs lie, for lists.
pub(super) fn range() -> String {
    let ((fewest, most), (least, largest)) = (LIST_LENGTHS, ITEMS);
    let ((low, high), (shortest, longest)) = (NUMBERS, WORD_LENGTHS);
    format!(
        "constants to {LARGEST_CONSTANT}, lists of {fewest} to {most} numbers of {least} to {largest}, numbers of {low} to \
         {high}, words of {shortest} to {longest} letters"
    )
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Items,
    Number,
    Word,
}

/// What is asked of each kind of function.
trait Spec: Sized {
    /// The parameter's name.
    const PARAMETER: &'static str;
    /// A function, from the whole range of its kind.
    fn draw(counter: &mut Counter) -> Self;
    /// What it returns, in words.
    fn phrase(&self) -> String;
    /// What to do, in words: the thought before the code.
    fn plan(&self) -> String;
    /// What it returns, in Python.
    fn code(&self) -> String;
    /// What it returns: the Rust twin of [`Spec::code`]. `None` where Python would raise.
    fn evaluate(&self, input: &Value) -> Option<Value>;
    /// An input on which the function shows what it does.
    fn input(&self, counter: &mut Counter) -> Value;
    /// The function with a part forgotten.
    fn forget(&self) -> Self;
    /// The function with a part mistaken.
    fn mistake(&self, counter: &mut Counter) -> Self;
}

/// A function to write.
#[derive(Debug, Clone)]
pub(crate) enum Function {
    Items(ItemsFunction),
    Number(NumberFunction),
    Word(WordFunction),
}

/// Calls a method of [`Spec`] on whichever kind the function is.
macro_rules! on_spec {
    ($function:expr, $spec:ident => $result:expr) => {
        match $function {
            Function::Items($spec) => $result,
            Function::Number($spec) => $result,
            Function::Word($spec) => $result,
        }
    };
}

impl Function {
    fn parameter(&self) -> &'static str {
        fn of<S: Spec>(_: &S) -> &'static str {
            S::PARAMETER
        }
        on_spec!(self, spec => of(spec))
    }

    fn phrase(&self) -> String {
        on_spec!(self, spec => spec.phrase())
    }

    fn plan(&self) -> String {
        on_spec!(self, spec => spec.plan())
    }

    fn definition(&self) -> String {
        let code = on_spec!(self, spec => spec.code());
        format!("def f ( {} ) : return {code}", self.parameter())
    }

    fn evaluate(&self, input: &Value) -> Option<Value> {
        on_spec!(self, spec => spec.evaluate(input))
    }

    /// The inputs of the assertions: they follow from the question alone.
    fn inputs(&self) -> Vec<Value> {
        let mut counter = Counter::new(&[hash_text("python inputs"), hash_text(&self.content())]);
        (0..ASSERTIONS).map(|_| on_spec!(self, spec => spec.input(&mut counter))).collect()
    }

    /// The function as somebody writes it who did not read closely.
    fn misread(&self, counter: &mut Counter) -> Self {
        let forgets = counter.percent(FORGETS_PERCENT);
        match self {
            Self::Items(spec) if forgets => Self::Items(spec.forget()),
            Self::Items(spec) => Self::Items(spec.mistake(counter)),
            Self::Number(spec) if forgets => Self::Number(spec.forget()),
            Self::Number(spec) => Self::Number(spec.mistake(counter)),
            Self::Word(spec) if forgets => Self::Word(spec.forget()),
            Self::Word(spec) => Self::Word(spec.mistake(counter)),
        }
    }

    /// Whether `other` passes this function's assertions.
    fn is_met_by(&self, other: &Self) -> bool {
        self.inputs().iter().all(|input| other.evaluate(input) == self.evaluate(input))
    }
}

impl Problem for Function {
    const QUALITIES: &'static [(Quality, u32)] = QUALITIES;

    fn draw(counter: &mut Counter) -> Self {
        match counter.weighted(KINDS) {
            Kind::Items => Self::Items(Spec::draw(counter)),
            Kind::Number => Self::Number(Spec::draw(counter)),
            Kind::Word => Self::Word(Spec::draw(counter)),
        }
    }

    fn content(&self) -> String {
        format!("python {}", self.definition())
    }

    fn prompt(&self) -> String {
        format!("Write f ( {} ) that returns {}", self.parameter(), self.phrase())
    }

    fn reference(&self) -> Reference {
        let assertions = self.inputs().into_iter().filter_map(|input| {
            // Never `None`: `input` draws what the function is defined on (a test says so).
            self.evaluate(&input).map(|value| format!("assert f({input}) == {value}"))
        });
        Reference::Tests { setup: String::new(), assertions: assertions.collect() }
    }

    fn attempt(&self, quality: Quality, counter: &mut Counter) -> Attempt {
        let (think, written) = match quality {
            Quality::Guess | Quality::Bare => {
                let right = counter.percent(GUESS_RIGHT_PERCENT);
                (GUESS_THINK.to_owned(), if right { self.clone() } else { self.misread(counter) })
            }
            Quality::Worked => (self.plan(), self.clone()),
            Quality::Slip => {
                let written = self.misread(counter);
                (written.plan(), written)
            }
            Quality::GivesUp => {
                let answer = format!("def f ( {0} ) : return {0}", self.parameter());
                let right = self.inputs().iter().all(|input| self.evaluate(input).as_ref() == Some(input));
                return Attempt { think: "not sure".to_owned(), answer, right };
            }
        };
        Attempt { think, right: self.is_met_by(&written), answer: written.definition() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_has_one_reference_whatever_drew_it() {
        let mut seen = std::collections::HashMap::new();
        let mut counter = Counter::new(&[5]);
        for _ in 0..5_000 {
            let function = Function::draw(&mut counter);
            let Reference::Tests { assertions, .. } = function.reference() else { panic!("not tests") };
            assert_eq!(assertions.len(), ASSERTIONS, "{}", function.prompt());
            let earlier = seen.entry(function.prompt()).or_insert_with(|| (function.content(), assertions.clone()));
            assert_eq!(*earlier, (function.content(), assertions), "{}", function.prompt());
        }
        assert!(seen.len() > 2_000, "only {} different questions in 5,000", seen.len());
    }

    #[test]
    fn most_misreadings_fail_the_assertions() {
        let mut counter = Counter::new(&[6]);
        let passing = (0..2_000)
            .filter(|_| {
                let function = Function::draw(&mut counter);
                function.is_met_by(&function.misread(&mut counter))
            })
            .count();
        assert!(passing < 100, "{passing} of 2,000 misread functions pass");
    }
}
