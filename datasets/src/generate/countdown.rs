//! Countdown: make a target from numbers, each used exactly once, as in TinyZero.
//!
//! - Draws from: three numbers (sometimes two) of 1 to 12, joined in some order and grouping by
//!   `+`, `-` and `*`, so that the target can be reached by construction.
//! - Range: targets 1 to 40; on the way to them and in every try nothing leaves 1..=60.
//! - Size: about 3,000 pairs of numbers and target, the order of the numbers not counted.
//! - Verifier: `Reference::Countdown`, which evaluates the expression and checks its numbers.
//!
//! The worked texts are searches: each try is computed step by step, its value set beside the target
//! (`= 24 ? 21 no`), and then on to the next, or `yes` and answered. More tries find more, so here thinking longer pays,
//! if the policy checks what it found: with the target beside it a small policy learns to.

use rewards::Reference;

use super::Quality;
use super::problem::{Attempt, GUESS_THINK, Problem};
use crate::random::Counter;

/// Shares of the corpus.
const QUALITIES: &[(Quality, u32)] =
    &[(Quality::Guess, 38), (Quality::Worked, 33), (Quality::Slip, 1), (Quality::GivesUp, 18), (Quality::Bare, 10)];

/// How many of 100 guesses are right.
const GUESS_RIGHT_PERCENT: u32 = 30;

/// Wrong tries before the right one in a worked text, as weights.
const TRIES_BEFORE_SUCCESS: &[(usize, u32)] =
    &[(0, 22), (1, 18), (2, 15), (3, 12), (4, 10), (5, 8), (6, 6), (7, 4), (8, 3), (9, 2)];

/// Wrong tries before the wrong one that a slip takes for right, as weights.
const TRIES_BEFORE_SLIP: &[(usize, u32)] = &[(0, 40), (1, 30), (2, 20), (3, 10)];

/// Tries before giving up, as weights.
const TRIES_BEFORE_GIVING_UP: &[(usize, u32)] = &[(1, 35), (2, 30), (3, 20), (4, 10), (5, 5)];

/// How many numbers, as weights.
const LENGTHS: &[(usize, u32)] = &[(2, 10), (3, 90)];

const LARGEST_NUMBER: i64 = 12;
const LARGEST_TARGET: i64 = 40;
/// The largest value inside a try.
const LARGEST: i64 = 60;

/// Between which bounds puzzles lie, for lists.
pub(super) fn range() -> String {
    format!(
        "numbers 1 to {LARGEST_NUMBER}, targets 1 to {LARGEST_TARGET}, each reachable without leaving 1 to {LARGEST}"
    )
}

/// Numbers and a target that can be made from them.
#[derive(Debug, Clone)]
pub(crate) struct Puzzle {
    numbers: Vec<i64>,
    target: i64,
}

/// A way to use every number once: its steps, its value, and the expression they amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Try {
    steps: String,
    value: i64,
    expression: String,
}

/// `+`, `*`, and `-` with the larger first, as (sign, left, right, value). The operands keep their
/// order otherwise, so that a sum is not tried twice. Values outside 1..=60 are left out.
fn combine(left: i64, right: i64) -> impl Iterator<Item = (char, bool, i64)> {
    let swapped = right > left;
    [('+', false, left + right), ('*', false, left * right), ('-', swapped, (left - right).abs())]
        .into_iter()
        .filter(|(_, _, value)| (1..=LARGEST).contains(value))
}

/// Every try for these numbers, in a fixed order, without repetition.
fn all_tries(numbers: &[i64]) -> Vec<Try> {
    let mut tries: Vec<Try> = Vec::new();
    let mut push = |found: Try| {
        if !tries.contains(&found) {
            tries.push(found);
        }
    };
    let joined = |sign, swapped, left: &str, right: &str| {
        if swapped { format!("{right} {sign} {left}") } else { format!("{left} {sign} {right}") }
    };
    for (at, &first) in numbers.iter().enumerate() {
        for (offset, &second) in numbers[at + 1..].iter().enumerate() {
            for (sign, swapped, inner) in combine(first, second) {
                let pair = joined(sign, swapped, &first.to_string(), &second.to_string());
                let pair_step = format!("{pair} = {inner}");
                let rest = numbers.iter().enumerate().find(|(place, _)| *place != at && *place != at + 1 + offset);
                let Some((_, &third)) = rest else {
                    push(Try { steps: pair_step, value: inner, expression: pair });
                    continue;
                };
                for (sign, swapped, value) in combine(inner, third) {
                    let step = joined(sign, swapped, &inner.to_string(), &third.to_string());
                    let expression = joined(sign, swapped, &format!("( {pair} )"), &third.to_string());
                    push(Try { steps: format!("{pair_step} , {step} = {value}"), value, expression });
                }
            }
        }
    }
    tries
}

impl Puzzle {
    /// A try held against the target. A `verdict` that the value does not bear out is a slip.
    fn checked(&self, steps: &str, verdict: &str) -> String {
        format!("{steps} ? {} {verdict}", self.target)
    }

    /// Tries that all failed.
    fn failures(&self, tries: &[Try]) -> Vec<String> {
        tries.iter().map(|found| self.checked(&found.steps, "no")).collect()
    }

    /// Wrong tries, then right ones, each in random order.
    fn shuffled_tries(&self, counter: &mut Counter) -> (Vec<Try>, Vec<Try>) {
        let mut tries = all_tries(&self.numbers);
        counter.shuffle(&mut tries);
        tries.into_iter().partition(|found| found.value != self.target)
    }
}

impl Problem for Puzzle {
    const QUALITIES: &'static [(Quality, u32)] = QUALITIES;

    fn draw(counter: &mut Counter) -> Self {
        let length = counter.weighted(LENGTHS);
        // Ends: whatever the numbers, their sum is a try, and it is at most 36.
        loop {
            let numbers: Vec<i64> = (0..length).map(|_| counter.between(1, LARGEST_NUMBER)).collect();
            let tries = all_tries(&numbers);
            let target = counter.pick(&tries).value;
            // With one try only (1 and 1) every guess would be right.
            if target <= LARGEST_TARGET && tries.iter().any(|found| found.value != target) {
                return Self { numbers, target };
            }
        }
    }

    fn content(&self) -> String {
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        format!("countdown {numbers:?} {}", self.target)
    }

    fn prompt(&self) -> String {
        let numbers: Vec<String> = self.numbers.iter().map(i64::to_string).collect();
        format!("Make {} from {}", self.target, numbers.join(" "))
    }

    fn reference(&self) -> Reference {
        Reference::Countdown { numbers: self.numbers.clone(), target: self.target }
    }

    fn attempt(&self, quality: Quality, counter: &mut Counter) -> Attempt {
        let (wrong, right) = self.shuffled_tries(counter);
        // `draw` sees to it that neither is empty.
        let wrong_tries = |count: usize| &wrong[..count.min(wrong.len())];
        match quality {
            Quality::Guess | Quality::Bare => {
                let is_right = counter.percent(GUESS_RIGHT_PERCENT);
                let answer = if is_right { &right[0] } else { &wrong[0] };
                Attempt { think: GUESS_THINK.to_owned(), answer: answer.expression.clone(), right: is_right }
            }
            Quality::Worked => {
                let mut search = self.failures(wrong_tries(counter.weighted(TRIES_BEFORE_SUCCESS)));
                search.push(self.checked(&right[0].steps, "yes"));
                Attempt { think: search.join(" , "), answer: right[0].expression.clone(), right: true }
            }
            Quality::Slip => {
                // The last try is taken for right.
                let (last, before) = wrong.split_last().unwrap_or((&right[0], &[]));
                let mut search = self.failures(&before[..counter.weighted(TRIES_BEFORE_SLIP).min(before.len())]);
                search.push(self.checked(&last.steps, "yes"));
                Attempt { think: search.join(" , "), answer: last.expression.clone(), right: false }
            }
            Quality::GivesUp => {
                let tried = wrong_tries(counter.weighted(TRIES_BEFORE_GIVING_UP));
                let answer = tried.last().map_or_else(String::new, |last| last.expression.clone());
                Attempt { think: self.failures(tried).join(" , "), answer, right: false }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_use_every_number_once_and_say_their_value() {
        let tries = all_tries(&[3, 5, 9]);
        for (steps, expression, value) in [
            ("3 * 5 = 15 , 15 + 9 = 24", "( 3 * 5 ) + 9", 24),
            ("9 - 5 = 4 , 4 * 3 = 12", "( 9 - 5 ) * 3", 12),
            ("3 + 5 = 8 , 9 - 8 = 1", "9 - ( 3 + 5 )", 1),
        ] {
            let found = Try { steps: steps.to_owned(), value, expression: expression.to_owned() };
            assert!(tries.contains(&found), "{expression} is not among {tries:#?}");
        }
        assert_eq!(all_tries(&[4, 9]).len(), 3);
        // 4 - 4 is 0 and left out; 4 + 4 and 4 * 4 stay.
        assert_eq!(all_tries(&[4, 4]).len(), 2);
    }

    #[test]
    fn the_order_of_the_numbers_is_not_content() {
        let content = |numbers: &[i64]| Puzzle { numbers: numbers.to_vec(), target: 24 }.content();
        assert_eq!(content(&[3, 5, 9]), content(&[9, 3, 5]));
        assert_ne!(content(&[3, 5, 9]), content(&[3, 5, 5]));
    }

    #[test]
    fn draws_keep_to_the_stated_range_and_can_be_solved() {
        let mut counter = Counter::new(&[3]);
        for _ in 0..2_000 {
            let puzzle = Puzzle::draw(&mut counter);
            assert!((1..=LARGEST_TARGET).contains(&puzzle.target));
            let (wrong, right) = puzzle.shuffled_tries(&mut counter);
            assert!(!wrong.is_empty() && !right.is_empty(), "{puzzle:?}");
        }
    }

    #[test]
    fn a_search_ends_in_yes_and_its_answer_repeats_the_last_try() {
        let puzzle = Puzzle { numbers: vec![3, 5, 9], target: 24 };
        let mut counter = Counter::new(&[4]);
        for _ in 0..50 {
            let worked = puzzle.attempt(Quality::Worked, &mut counter);
            assert!(worked.think.ends_with("= 24 ? 24 yes") && worked.right, "{}", worked.think);
            assert_eq!(worked.answer, "( 3 * 5 ) + 9");
            let given_up = puzzle.attempt(Quality::GivesUp, &mut counter);
            assert!(given_up.think.ends_with("? 24 no") && !given_up.right, "{}", given_up.think);
            let slip = puzzle.attempt(Quality::Slip, &mut counter);
            assert!(slip.think.ends_with("? 24 yes") && !slip.right, "{}", slip.think);
        }
    }
}
