//! Arithmetic on exact rationals as Countdown allows it: one pass that parses and evaluates, within a budget.
//!
//! ```text
//! sum     := product (('+' | '-') product)*
//! product := signed (('*' | 'x' | '/') signed)*
//! signed  := ('+' | '-')* primary
//! primary := whole number | '(' sum ')'
//! ```
//! Bounds: the length of the text, the depth of nesting (the only recursion), the number of operations, the bits of every
//! intermediate value.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::Zero;

/// The longest text that is looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 2048;
const MAX_DEPTH: usize = 64;
const MAX_OPERATIONS: usize = 128;
const MAX_BITS: u64 = 8192;

/// Why a text has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoValue {
    Unparsable,
    DivisionByZero,
    Budget,
}

/// A value and the numbers it was made of.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub(crate) value: BigRational,
    pub(crate) leaves: Vec<BigInt>,
}

/// The exact value of `text`.
pub(crate) fn evaluate(text: &str) -> Result<Evaluated, NoValue> {
    if text.len() > MAX_LENGTH {
        return Err(NoValue::Budget);
    }
    let mut parser = Parser { bytes: text.as_bytes(), at: 0, depth: 0, operations: 0, leaves: Vec::new() };
    let value = parser.sum()?;
    if parser.peek().is_some() {
        return Err(NoValue::Unparsable);
    }
    Ok(Evaluated { value, leaves: parser.leaves })
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    operations: usize,
    leaves: Vec<BigInt>,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<BigRational, NoValue> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NoValue::Budget);
        }
        let mut value = self.product()?;
        loop {
            value = match self.peek() {
                Some(b'+') => value + self.right(Self::product)?,
                Some(b'-') => value - self.right(Self::product)?,
                _ => break,
            };
            value = bounded(value)?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn product(&mut self) -> Result<BigRational, NoValue> {
        let mut value = self.signed()?;
        loop {
            value = match self.peek() {
                Some(b'*' | b'x' | b'X') => value * self.right(Self::signed)?,
                Some(b'/') => {
                    let right = self.right(Self::signed)?;
                    if right.is_zero() {
                        return Err(NoValue::DivisionByZero);
                    }
                    value / right
                }
                _ => return Ok(value),
            };
            value = bounded(value)?;
        }
    }

    fn signed(&mut self) -> Result<BigRational, NoValue> {
        let mut negative = false;
        while let Some(sign @ (b'+' | b'-')) = self.peek() {
            negative ^= sign == b'-';
            self.at += 1;
        }
        let value = self.primary()?;
        Ok(if negative { -value } else { value })
    }

    fn primary(&mut self) -> Result<BigRational, NoValue> {
        match self.peek() {
            Some(b'0'..=b'9') => {
                let start = self.at;
                while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                    self.at += 1;
                }
                let magnitude = BigUint::parse_bytes(&self.bytes[start..self.at], 10).ok_or(NoValue::Unparsable)?;
                let number = BigInt::from(magnitude);
                self.leaves.push(number.clone());
                Ok(BigRational::from_integer(number))
            }
            Some(b'(') => {
                self.at += 1;
                let value = self.sum()?;
                if self.peek() != Some(b')') {
                    return Err(NoValue::Unparsable);
                }
                self.at += 1;
                Ok(value)
            }
            _ => Err(NoValue::Unparsable),
        }
    }

    /// Steps over an operator and counts it, then reads its right side.
    fn right(&mut self, read: fn(&mut Self) -> Result<BigRational, NoValue>) -> Result<BigRational, NoValue> {
        self.at += 1;
        self.operations += 1;
        if self.operations > MAX_OPERATIONS {
            return Err(NoValue::Budget);
        }
        read(self)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }
}

fn bounded(value: BigRational) -> Result<BigRational, NoValue> {
    let bits = value.numer().bits() + value.denom().bits();
    if bits <= MAX_BITS { Ok(value) } else { Err(NoValue::Budget) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(i64, i64), NoValue>) {
        let expected = expected.map(|(numerator, denominator)| BigRational::new(numerator.into(), denominator.into()));
        assert_eq!(evaluate(text).map(|evaluated| evaluated.value), expected, "{text:?}");
    }

    #[test]
    fn countdown_expressions() {
        check("(3 + 4) * 2", Ok((14, 1)));
        check("8/3/2", Ok((4, 3)));
        check("8 - 3 - 2", Ok((3, 1)));
        check("3 x 4 X 5", Ok((60, 1)));
        check("-3 + 10", Ok((7, 1)));
        check("5 / (3 - 3)", Err(NoValue::DivisionByZero));
        for text in ["3 4", "(3)(4)", "3 + 4)", "2^3", "2**3", "1.5 + 2", ""] {
            check(text, Err(NoValue::Unparsable));
        }
    }

    #[test]
    fn the_budget_ends_everything_hostile() {
        for text in ["(".repeat(100_000), "(".repeat(1000), "9".repeat(1_000_000), "1+".repeat(800)] {
            check(&text, Err(NoValue::Budget));
        }
    }
}
