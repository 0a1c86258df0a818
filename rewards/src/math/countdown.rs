//! Countdown: an expression that uses each given number exactly once and reaches the target.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use super::clean::clean;
use super::expression::{NoValue, evaluate};

/// The value of an answer that keeps to the numbers, or the cause where it does not parse or does not.
pub(crate) fn value(answer: &str, numbers: &[i64]) -> Result<BigRational, &'static str> {
    let (left, right) = sides(answer)?;
    let evaluated = evaluate(&left).map_err(cause)?;
    // A sign is an operator, not part of a number: -3 is used as 0 - 3 would be.
    let mut used = evaluated.leaves.clone();
    let mut given: Vec<BigInt> = numbers.iter().map(|number| BigInt::from(*number).abs()).collect();
    used.sort();
    given.sort();
    if used != given {
        return Err("wrong_numbers");
    }
    match right {
        None => Ok(evaluated.value),
        Some(claim) => {
            let claim = evaluate(&claim).map_err(cause)?;
            if claim.value == evaluated.value { Ok(evaluated.value) } else { Err("wrong_claim") }
        }
    }
}

/// Whether `answer` solves the task; if not, the cause.
pub(crate) fn check(answer: &str, numbers: &[i64], target: i64) -> Result<(), &'static str> {
    if value(answer, numbers)? == BigRational::from_integer(BigInt::from(target)) { Ok(()) } else { Err("wrong_value") }
}

/// The expression, and what is written behind a trailing `=`.
fn sides(answer: &str) -> Result<(String, Option<String>), &'static str> {
    // Longer than any honest answer: not worth cleaning.
    if answer.len() > super::expression::MAX_LENGTH {
        return Err("budget");
    }
    let cleaned = clean(answer).ok_or("unparsable")?;
    match cleaned.split_once('=') {
        None => Ok((cleaned, None)),
        Some((_, right)) if right.contains('=') => Err("unparsable"),
        Some((left, right)) => Ok((left.to_owned(), Some(right.to_owned()))),
    }
}

fn cause(no_value: NoValue) -> &'static str {
    match no_value {
        NoValue::Unparsable => "unparsable",
        NoValue::DivisionByZero => "division_by_zero",
        NoValue::Budget => "budget",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn verdict(answer: &str, expected: Result<(), &'static str>) {
        assert_eq!(check(answer, &[3, 4, 25], 87), expected, "{answer:?}");
    }

    #[test]
    fn solutions() {
        verdict("(25 + 4) * 3", Ok(()));
        verdict("(25+4) × 3 = 87", Ok(()));
        verdict(r"$3 \times (4 + 25)$.", Ok(()));
        verdict(r"3 \cdot (4 + 25) = 87", Ok(()));
        verdict("(4+25) x 3", Ok(()));
        verdict("**(25+4) * 3**", Ok(()));
        verdict("(25 + 4) / (1/3)", Err("wrong_numbers"));
        assert_eq!(check("5 / (1 / 3)", &[1, 3, 5], 15), Ok(()));
        assert_eq!(check("8 ÷ (3 - 8 ÷ 3)", &[3, 3, 8, 8], 24), Ok(()));
        assert_eq!(check("-3 + 10", &[3, 10], 7), Ok(()));
    }

    #[test]
    fn failures_and_their_causes() {
        verdict("25 + 4 + 3", Err("wrong_value"));
        verdict("87", Err("wrong_numbers"));
        verdict("25 * 3 + 4 * 3", Err("wrong_numbers"));
        verdict("(25 + 4) * 3 + 0", Err("wrong_numbers"));
        verdict("254 + 3", Err("wrong_numbers"));
        verdict("(25 + 4) * 3 = 88", Err("wrong_claim"));
        verdict("25 + 4 = 29, 29 * 3 = 87", Err("unparsable"));
        verdict("25 + 4 times 3", Err("unparsable"));
        verdict("(25 + 4) * 3 # yes", Err("unparsable"));
        verdict("25 / (4 - 4) * 3", Err("division_by_zero"));
        assert_eq!(check("2**3 + 4", &[23, 4], 27), Err("unparsable"));
        verdict("", Err("unparsable"));
        verdict(&"(".repeat(100_000), Err("budget"));
        verdict(&"(".repeat(100), Err("budget"));
    }
}
