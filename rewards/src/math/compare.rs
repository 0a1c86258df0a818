//! When two answers are the same, by the written grading policy.
//!
//! Symmetric, but for one rule: a *reference* that is a decimal accepts a repeating value that rounds to it.

use super::answer::{Answer, Number};
use super::expression::{rounds_to, terminates};
use super::text;
use super::unit::Unit;

/// The fewest significant digits by which a decimal stands for a value that has no finite decimal.
const ENOUGH_DIGITS: u32 = 6;

/// Whether `candidate` says what `reference` says; if not, in what they differ.
pub(crate) fn compare(reference: &Answer, candidate: &Answer) -> Result<(), &'static str> {
    match (reference, candidate) {
        (Answer::Number(reference), Answer::Number(candidate)) => numbers(reference, candidate),
        (Answer::Set(reference), Answer::Set(candidate)) => sets(reference, candidate),
        (
            Answer::Sequence { open, close, items },
            Answer::Sequence { open: other_open, close: other_close, items: other_items },
        ) => {
            if items.len() != other_items.len() {
                return Err("wrong_number_of_values");
            }
            if (open, close) != (other_open, other_close) {
                return Err("wrong_brackets");
            }
            items.iter().zip(other_items).try_for_each(|(left, right)| compare(left, right))
        }
        (Answer::Text(reference), Answer::Text(candidate)) => texts(reference, candidate),
        (_, Answer::Set(_)) => Err("several_answers"),
        (Answer::Set(_), _) => Err("wrong_number_of_values"),
        (Answer::Number(_), _) => Err("not_a_number"),
        _ => Err("wrong_kind"),
    }
}

fn numbers(reference: &Number, candidate: &Number) -> Result<(), &'static str> {
    let same = match (&reference.unit, &candidate.unit) {
        (
            Some(Unit::Known { dimension, factor }),
            Some(Unit::Known { dimension: other_dimension, factor: other_factor }),
        ) => {
            if dimension != other_dimension {
                return Err("wrong_unit");
            }
            if factor == other_factor {
                values(reference, candidate)
            } else {
                reference.fraction() * factor == candidate.fraction() * other_factor
            }
        }
        (Some(unit), Some(other)) if unit != other => return Err("wrong_unit"),
        _ => values(reference, candidate),
    };
    if same { Ok(()) } else { Err("wrong_value") }
}

fn values(reference: &Number, candidate: &Number) -> bool {
    match (reference.percent, candidate.percent) {
        // 25% is said as 25 and as 0.25.
        (true, false) | (false, true) => {
            reference.value == candidate.value || reference.fraction() == candidate.fraction()
        }
        _ => {
            reference.value == candidate.value
                || stands_for(reference, candidate, 1)
                || stands_for(candidate, reference, ENOUGH_DIGITS)
        }
    }
}

/// Whether `decimal` is a rounding of `exact`, a value without a finite decimal, to at least `digits`
/// significant digits.
fn stands_for(decimal: &Number, exact: &Number, digits: u32) -> bool {
    decimal.literal.is_some_and(|literal| {
        literal.places > 0
            && literal.significant >= digits
            && !terminates(&exact.value)
            && rounds_to(&exact.value, &decimal.value, literal.places)
    })
}

fn sets(reference: &[Answer], candidate: &[Answer]) -> Result<(), &'static str> {
    let covers = |these: &[Answer], by: &[Answer], swapped: bool| {
        these.iter().all(|this| {
            by.iter().any(|other| if swapped { compare(other, this) } else { compare(this, other) }.is_ok())
        })
    };
    if covers(reference, candidate, false) && covers(candidate, reference, true) {
        return Ok(());
    }
    Err(if reference.len() == candidate.len() { "wrong_value" } else { "wrong_number_of_values" })
}

fn texts(reference: &str, candidate: &str) -> Result<(), &'static str> {
    if reference == candidate {
        return Ok(());
    }
    match (text::choice(reference), text::choice(candidate)) {
        (Some((letter, alone)), Some((other, other_alone))) if letter == other && (alone || other_alone) => Ok(()),
        _ => Err("wrong_text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::answer::parse;

    #[track_caller]
    fn check(reference: &str, candidate: &str, expected: Result<(), &'static str>) {
        let verdict = compare(&parse(reference).unwrap(), &parse(candidate).unwrap());
        assert_eq!(verdict, expected, "{reference:?} and {candidate:?}");
    }

    #[test]
    fn one_value_in_two_spellings() {
        for (left, right) in [
            ("0.5", r"\frac{1}{2}"),
            (".1", "0.1"),
            (r"\$18.00", "18 dollars"),
            ("18", r"\$18"),
            ("25%", "25"),
            ("25%", "0.25"),
            ("7,425,000", "7425000"),
            ("5 km", "5000 m"),
            ("10^{30}", "1000000000000000000000000000000"),
            (r"3\frac{1}{2}", "7/2"),
            ("1, 2, 3", r"\{3, 2, 1\}"),
            ("North", "north."),
            ("A", "(A)"),
            ("(B) 42", "B"),
            ("1/3", "0.333333"),
            ("x = 4", "4"),
        ] {
            check(left, right, Ok(()));
            check(right, left, Ok(()));
        }
    }

    #[test]
    fn values_that_differ_however_slightly() {
        check("10^{30}", "10^{30}+1", Err("wrong_value"));
        check("1/3", "0.33", Err("wrong_value"));
        check("1/3", "0.333334", Err("wrong_value"));
        check("3.14", "3.14159", Err("wrong_value"));
        check("5 m", "5 cm", Err("wrong_value"));
        check("5 m", "5 kg", Err("wrong_unit"));
        check("5 apples", "5 pears", Err("wrong_unit"));
        check("7", "5 or 7", Err("several_answers"));
        check("2021", r"\pm 2021", Err("several_answers"));
        check(r"\pm 2021", "2021", Err("wrong_number_of_values"));
        check("(1, 2)", "(2, 1)", Err("wrong_value"));
        check("[1, 2]", "(1, 2)", Err("wrong_brackets"));
        check("4", "four", Err("not_a_number"));
        check("25%", "26", Err("wrong_value"));
    }

    #[test]
    fn a_decimal_reference_accepts_what_rounds_to_it() {
        check("0.33", "1/3", Ok(()));
        check("0.34", "1/3", Err("wrong_value"));
    }
}
