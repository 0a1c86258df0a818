//! Literal numbers: digits, separators, decimals, exponents, periods, bases.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;

use super::super::node::{Literal, Node};
use super::{NoParse, Parsed};

/// The largest power of ten that a literal may have.
const MAX_EXPONENT: u32 = 1500;

/// `1,234.50`, `.5`, `6.02e23`.
pub(super) fn literal(text: &str) -> Parsed<Literal> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i64>().map_err(|_| NoParse::Budget)?),
        None => (text, 0),
    };
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = whole.bytes().chain(places.bytes()).filter(u8::is_ascii_digit).collect();
    if digits.is_empty() {
        return Err(NoParse::Unparsable);
    }
    let significant = digits.iter().skip_while(|digit| **digit == b'0').count() as u32;
    let magnitude = if digits.len() <= 18 {
        let small = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        BigUint::from(small)
    } else {
        BigUint::parse_bytes(&digits, 10).ok_or(NoParse::Unparsable)?
    };
    let scale = exponent.checked_sub_unsigned(places.len() as u64).ok_or(NoParse::Budget)?;
    let size = u32::try_from(scale.unsigned_abs()).ok().filter(|size| *size <= MAX_EXPONENT + places.len() as u32);
    let power = BigInt::from(10_u8).pow(size.ok_or(NoParse::Budget)?);
    let value = match scale {
        0 => BigRational::from_integer(magnitude.into()),
        1.. => BigRational::from_integer(BigInt::from(magnitude) * power),
        _ => BigRational::new(magnitude.into(), power),
    };
    // 2.5E3 has no places; its digits are those of the mantissa.
    let places = if exponent == 0 { places.len() as u32 } else { 0 };
    Ok(Literal { value, places, significant, plain })
}

/// `0.1` and `6` for 0.1666...
pub(super) fn repeating(before: &str, period: &str) -> Parsed<Literal> {
    let start = match before.strip_suffix('.').unwrap_or(before) {
        "" => literal("0")?,
        whole => literal(whole)?,
    };
    let places = before.split_once('.').map_or(0, |(_, places)| places.len()) as u32;
    let nines = BigInt::from(10_u8).pow(period.len() as u32) - 1_u8;
    let digits: BigInt = period.parse().map_err(|_| NoParse::Unparsable)?;
    let tail = BigRational::new(digits, nines * BigInt::from(10_u8).pow(places));
    Ok(Literal { value: start.value + tail, places: 0, significant: 0, plain: false })
}

/// `0.333...`: the digits that repeat, if they do so at least twice at the end. With it, whether that may be chance: they do so
/// just twice, behind others, as in 2.718281828...
pub(super) fn trailing_period(text: &str) -> Option<(Literal, bool)> {
    let (_, places) = text.split_once('.')?;
    let count = places.len();
    let length =
        (1..=count / 2).find(|&length| places[count - length..] == places[count - 2 * length..count - length])?;
    let period = &places[count - length..];
    let before = &places[..count - 2 * length];
    // The period goes back as far as it repeats; one copy of it is the tail.
    let literal = repeating(&text[..text.len() - length], period).ok()?;
    Some((literal, count > 5 && !before.is_empty() && !before.ends_with(period)))
}

/// `3.141592...`, not rounded but cut off: the middle of what it may be, which is half of its last place from the ends.
pub(super) fn cut_off(literal: Literal) -> Literal {
    let half = BigRational::new(BigInt::from(1_u8), BigInt::from(10_u8).pow(literal.places) * 2_u8);
    Literal { value: literal.value + half, ..literal }
}

/// `204_5`; `None` where a digit is not below the base.
pub(super) fn based(digits: &str, base: &str) -> Option<Node> {
    let base: u32 = base.parse().ok().filter(|base| (2..=36).contains(base))?;
    let fits = digits.chars().all(|digit| digit.is_digit(base));
    fits.then(|| Node::Based(digits.trim_start_matches('0').to_ascii_lowercase(), base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Parsed<Literal>, numerator: i64, denominator: i64) {
        assert_eq!(found.unwrap().value, BigRational::new(numerator.into(), denominator.into()));
    }

    #[test]
    fn literals() {
        check(literal("1,250.50"), 2501, 2);
        check(literal(".5"), 1, 2);
        check(literal("25E-1"), 5, 2);
        check(repeating("0.", "3"), 1, 3);
        check(repeating("0.1", "6"), 1, 6);
        check(repeating("2.", "142857"), 15, 7);
        for (text, numerator, denominator) in [("0.1666", 1, 6), ("0.142857142857", 1, 7), ("0.333333", 1, 3)] {
            let (literal, by_chance) = trailing_period(text).unwrap();
            check(Ok(literal), numerator, denominator);
            assert!(!by_chance, "{text}");
        }
        assert!(trailing_period("2.718281828").unwrap().1);
        assert!(trailing_period("3.14159").is_none());
        assert_eq!(literal("1e999999").unwrap_err(), NoParse::Budget);
        assert_eq!(literal("1.5e-9223372036854775808").unwrap_err(), NoParse::Budget);
        assert_eq!(based("204", "5"), Some(Node::Based("204".to_owned(), 5)));
        assert_eq!(based("274", "5"), None);
    }
}
