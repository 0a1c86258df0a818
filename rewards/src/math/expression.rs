//! Arithmetic on exact rationals: one pass that parses and evaluates, within a budget.
//!
//! ```text
//! sum     := product (('+' | '-') product)*
//! product := signed (('*' | '/') signed)*
//! signed  := ('+' | '-')* power
//! power   := primary ('^' exponent)?                    answers only; a tower of powers is refused
//! primary := number | '(' sum ')' | \frac{sum}{sum} | whole fraction      the last two in answers only
//! ```
//! Bounds: the length of the text, the depth of nesting (the only recursion), the number of operations, the
//! bits of every intermediate value, and the sum of their squares. They are steps and sizes, not clocks, so a verdict is the same on
//! every machine; together they keep the worst case at a few milliseconds.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// The longest text that is looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 2048;
const MAX_DEPTH: usize = 64;
const MAX_OPERATIONS: usize = 128;
const MAX_BITS: u64 = 8192;
/// The sum over all operations of the square of their result's bits: what reducing fractions costs.
const MAX_WORK: u64 = 8 * MAX_BITS * MAX_BITS;
const MAX_DECIMAL_EXPONENT: u32 = 400;

/// What may stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Whole numbers, `+ - * /` (and `x`), parentheses: what Countdown allows.
    Countdown,
    /// Also decimals, thousands separators, `\frac`, mixed numbers, powers.
    Answer,
}

/// Why a text has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoValue {
    Unparsable,
    DivisionByZero,
    Budget,
}

/// How a value was written, where it was one literal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Digits after the decimal point.
    pub(crate) places: u32,
    /// Digits from the first that is not 0.
    pub(crate) significant: u32,
}

/// A value, the numbers it was made of, and how it was written if it was a single number.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub(crate) value: BigRational,
    pub(crate) leaves: Vec<BigRational>,
    pub(crate) literal: Option<Literal>,
}

/// The exact value of `text`.
pub(crate) fn evaluate(text: &str, grammar: Grammar) -> Result<Evaluated, NoValue> {
    if text.len() > MAX_LENGTH {
        return Err(NoValue::Budget);
    }
    let mut parser = Parser {
        bytes: text.as_bytes(),
        at: 0,
        grammar,
        depth: 0,
        operations: 0,
        work: 0,
        leaves: Vec::new(),
        literal: None,
    };
    let value = parser.sum()?;
    parser.skip_space();
    if parser.at < parser.bytes.len() {
        return Err(NoValue::Unparsable);
    }
    let literal = parser.literal.filter(|_| parser.operations == 0);
    Ok(Evaluated { value, leaves: parser.leaves, literal })
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    grammar: Grammar,
    depth: usize,
    operations: usize,
    work: u64,
    leaves: Vec<BigRational>,
    literal: Option<Literal>,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<BigRational, NoValue> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NoValue::Budget);
        }
        let mut value = self.product()?;
        loop {
            let right = match self.peek() {
                Some(b'+') => self.right(Self::product)?,
                Some(b'-') => -self.right(Self::product)?,
                _ => break,
            };
            value = self.bounded(value + right)?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn product(&mut self) -> Result<BigRational, NoValue> {
        let mut value = self.signed()?;
        loop {
            value = match self.peek() {
                Some(b'*') => value * self.right(Self::signed)?,
                Some(b'x' | b'X') if self.grammar == Grammar::Countdown => value * self.right(Self::signed)?,
                Some(b'/') => {
                    let right = self.right(Self::signed)?;
                    self.divide(value, &right)?
                }
                _ => return Ok(value),
            };
            value = self.bounded(value)?;
        }
    }

    fn signed(&mut self) -> Result<BigRational, NoValue> {
        let mut negative = false;
        loop {
            match self.peek() {
                Some(b'-') => negative = !negative,
                Some(b'+') => {}
                _ => break,
            }
            self.at += 1;
        }
        let value = self.power()?;
        Ok(if negative { -value } else { value })
    }

    fn power(&mut self) -> Result<BigRational, NoValue> {
        let base = self.primary()?;
        if self.grammar == Grammar::Countdown || self.peek() != Some(b'^') {
            return Ok(base);
        }
        let exponent = self.right(|parser| match parser.peek() {
            Some(b'{' | b'(') => parser.primary(),
            // TeX would raise one digit alone: 2^10 is 2 to the 1, then 0. People mean 10.
            Some(b'0'..=b'9') => parser.number(),
            Some(b'-') => {
                parser.at += 1;
                parser.number().map(|value| -value)
            }
            _ => Err(NoValue::Unparsable),
        })?;
        if !exponent.is_integer() {
            return Err(NoValue::Unparsable);
        }
        let exponent = exponent.to_integer().to_i32().ok_or(NoValue::Budget)?;
        if base.is_zero() && exponent < 0 {
            return Err(NoValue::DivisionByZero);
        }
        let trivial = base.is_zero() || base.numer().magnitude().is_one() && base.denom().is_one();
        // A value has bits for its numerator and its denominator; a power of 2 needs one more than its exponent.
        if !trivial && (bits(&base) - 2).saturating_mul(u64::from(exponent.unsigned_abs())) > MAX_BITS {
            return Err(NoValue::Budget);
        }
        // 0, 1 and -1 stay small whatever the exponent, but for the sign.
        let exponent = if trivial { exponent.signum() * (2 - exponent.rem_euclid(2)) } else { exponent };
        self.bounded(base.pow(exponent))
    }

    fn primary(&mut self) -> Result<BigRational, NoValue> {
        match self.peek() {
            Some(b'0'..=b'9' | b'.') => {
                let start = self.at;
                let whole = self.number()?;
                self.mixed(whole, start)
            }
            Some(b'(') => self.group(b'(', b')'),
            Some(b'{') if self.grammar == Grammar::Answer => self.group(b'{', b'}'),
            Some(b'\\') if self.grammar == Grammar::Answer => self.fraction(),
            _ => Err(NoValue::Unparsable),
        }
    }

    fn group(&mut self, open: u8, close: u8) -> Result<BigRational, NoValue> {
        self.expect(open)?;
        let value = self.sum()?;
        self.expect(close)?;
        Ok(value)
    }

    /// `\frac{a}{b}`, and `\frac12` with one digit each.
    fn fraction(&mut self) -> Result<BigRational, NoValue> {
        const NAME: &[u8] = b"\\frac";
        if !self.bytes[self.at..].starts_with(NAME) {
            return Err(NoValue::Unparsable);
        }
        self.at += NAME.len();
        let numerator = self.fraction_part()?;
        let denominator = self.fraction_part()?;
        self.operations += 1;
        let value = self.divide(numerator, &denominator)?;
        self.bounded(value)
    }

    fn fraction_part(&mut self) -> Result<BigRational, NoValue> {
        match self.peek() {
            Some(b'{') => self.group(b'{', b'}'),
            Some(digit @ b'0'..=b'9') => {
                self.at += 1;
                Ok(BigRational::from_integer(BigInt::from(digit - b'0')))
            }
            _ => Err(NoValue::Unparsable),
        }
    }

    /// `3\frac{1}{2}` and `3 1/2`: a whole number, then a fraction, with no operator between.
    fn mixed(&mut self, whole: BigRational, start: usize) -> Result<BigRational, NoValue> {
        if self.grammar == Grammar::Countdown || !self.bytes[start..self.at].iter().all(u8::is_ascii_digit) {
            return Ok(whole);
        }
        let spaced = self.bytes.get(self.at) == Some(&b' ');
        match self.peek() {
            Some(b'\\') => {
                let part = self.fraction()?;
                self.bounded(whole + part)
            }
            Some(b'0'..=b'9') if spaced => {
                let numerator = self.number()?;
                self.expect(b'/')?;
                if !matches!(self.peek(), Some(b'0'..=b'9')) {
                    return Err(NoValue::Unparsable);
                }
                let denominator = self.number()?;
                self.operations += 1;
                let part = self.divide(numerator, &denominator)?;
                self.bounded(whole + part)
            }
            _ => Ok(whole),
        }
    }

    /// One literal number; the grammar of answers knows separators, decimals and exponents.
    fn number(&mut self) -> Result<BigRational, NoValue> {
        let mut digits = Vec::new();
        self.digits(&mut digits);
        let mut places = 0_u32;
        let mut exponent = 0_i32;
        if self.grammar == Grammar::Answer {
            self.thousands(&mut digits);
            if self.bytes.get(self.at) == Some(&b'.') {
                self.at += 1;
                let before = digits.len();
                self.digits(&mut digits);
                // Cannot overflow: the text is at most `MAX_LENGTH` bytes long.
                places = (digits.len() - before) as u32;
            }
            exponent = self.decimal_exponent()?;
        }
        if digits.is_empty() {
            return Err(NoValue::Unparsable);
        }
        let significant = digits.iter().skip_while(|digit| **digit == b'0').count() as u32;
        let magnitude = BigUint::parse_bytes(&digits, 10).ok_or(NoValue::Unparsable)?;
        let mut numerator = BigInt::from(magnitude);
        let mut denominator = BigInt::from(10_u8).pow(places);
        let scale = BigInt::from(10_u8).pow(exponent.unsigned_abs());
        if exponent < 0 {
            denominator *= scale
        } else {
            numerator *= scale
        }
        let value = BigRational::new(numerator, denominator);
        self.literal = (exponent == 0).then_some(Literal { places, significant });
        self.leaves.push(value.clone());
        Ok(value)
    }

    fn digits(&mut self, into: &mut Vec<u8>) {
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            into.push(*digit);
            self.at += 1;
        }
    }

    /// Groups of exactly three digits after a comma or a space: `7,425,000`, `1 000`.
    fn thousands(&mut self, digits: &mut Vec<u8>) {
        let Some(&separator @ (b',' | b' ')) = self.bytes.get(self.at) else { return };
        if !(1..=3).contains(&digits.len()) {
            return;
        }
        while let [first, a, b, c, rest @ ..] = &self.bytes[self.at..] {
            let group = [*a, *b, *c];
            let ends = !rest.first().is_some_and(u8::is_ascii_digit);
            // A space before `1 234/5` would be a mixed number, not a separator.
            let fraction = separator == b' ' && rest.first() == Some(&b'/');
            if *first != separator || !group.iter().all(u8::is_ascii_digit) || !ends || fraction {
                return;
            }
            digits.extend(group);
            self.at += 4;
        }
    }

    /// `e-3`, `E5` right after a number.
    fn decimal_exponent(&mut self) -> Result<i32, NoValue> {
        let rest = &self.bytes[self.at..];
        let [b'e' | b'E', rest @ ..] = rest else { return Ok(0) };
        let (negative, rest) = match rest {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, rest),
        };
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return Ok(0);
        }
        let magnitude = rest[..length]
            .iter()
            .fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
        if magnitude > MAX_DECIMAL_EXPONENT {
            return Err(NoValue::Budget);
        }
        self.at = self.bytes.len() - rest.len() + length;
        let magnitude = magnitude as i32;
        Ok(if negative { -magnitude } else { magnitude })
    }

    /// Steps over an operator and counts it, then reads its right side.
    fn right<F>(&mut self, read: F) -> Result<BigRational, NoValue>
    where
        F: FnOnce(&mut Self) -> Result<BigRational, NoValue>,
    {
        self.at += 1;
        self.operations += 1;
        if self.operations > MAX_OPERATIONS {
            return Err(NoValue::Budget);
        }
        read(self)
    }

    fn divide(&self, left: BigRational, right: &BigRational) -> Result<BigRational, NoValue> {
        if right.is_zero() { Err(NoValue::DivisionByZero) } else { Ok(left / right) }
    }

    fn bounded(&mut self, value: BigRational) -> Result<BigRational, NoValue> {
        let bits = bits(&value);
        self.work = self.work.saturating_add(bits.saturating_mul(bits));
        let within = bits <= MAX_BITS && self.work <= MAX_WORK && self.operations <= MAX_OPERATIONS;
        if within { Ok(value) } else { Err(NoValue::Budget) }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoValue> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(NoValue::Unparsable)
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
}

fn bits(value: &BigRational) -> u64 {
    value.numer().bits() + value.denom().bits()
}

/// Whether the decimal expansion of `value` ends.
pub(crate) fn terminates(value: &BigRational) -> bool {
    let mut rest = value.denom().magnitude().clone();
    if let Some(twos) = rest.trailing_zeros() {
        rest >>= twos;
    }
    let five = BigUint::from(5_u8);
    while !rest.is_one() {
        if !(&rest % &five).is_zero() {
            return false;
        }
        rest /= &five;
    }
    true
}

/// Whether `value`, rounded to `places` decimals, is `decimal`.
pub(crate) fn rounds_to(value: &BigRational, decimal: &BigRational, places: u32) -> bool {
    let two = BigInt::from(2_u8);
    let half_unit = BigRational::new(BigInt::one(), two * BigInt::from(10_u8).pow(places));
    (value - decimal).abs() <= half_unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, grammar: Grammar, expected: Result<(i64, i64), NoValue>) {
        let expected = expected.map(|(numerator, denominator)| BigRational::new(numerator.into(), denominator.into()));
        assert_eq!(evaluate(text, grammar).map(|evaluated| evaluated.value), expected, "{text:?}");
    }

    #[test]
    fn countdown_expressions() {
        let check = |text, expected| check(text, Grammar::Countdown, expected);
        check("(3 + 4) * 2", Ok((14, 1)));
        check("8/3/2", Ok((4, 3)));
        check("8 - 3 - 2", Ok((3, 1)));
        check("3 x 4 X 5", Ok((60, 1)));
        check("-3 + 10", Ok((7, 1)));
        check("5 / (3 - 3)", Err(NoValue::DivisionByZero));
        check("3 4", Err(NoValue::Unparsable));
        check("(3)(4)", Err(NoValue::Unparsable));
        check("3 + 4)", Err(NoValue::Unparsable));
        check("2^3", Err(NoValue::Unparsable));
        check("2**3", Err(NoValue::Unparsable));
        check("1.5 + 2", Err(NoValue::Unparsable));
        check("", Err(NoValue::Unparsable));
    }

    #[test]
    fn numbers_of_answers() {
        let check = |text, expected| check(text, Grammar::Answer, expected);
        check("7,425,000", Ok((7_425_000, 1)));
        check("1 000", Ok((1000, 1)));
        check("1,23", Err(NoValue::Unparsable));
        check("-.5", Ok((-1, 2)));
        check("5.", Ok((5, 1)));
        check(r"\frac{1}{2}", Ok((1, 2)));
        check(r"-\frac34", Ok((-3, 4)));
        check(r"3\frac{1}{2}", Ok((7, 2)));
        check("-3 1/2", Ok((-7, 2)));
        check("1.5e3", Ok((1500, 1)));
        check("2^{10}", Ok((1024, 1)));
        check("2^-1", Ok((1, 2)));
        check("-2^2", Ok((-4, 1)));
        check("(-1)^{1000001}", Ok((-1, 1)));
        check("0^0", Ok((1, 1)));
        check(r"\frac{1}{2} + \frac1{72}", Ok((37, 72)));
        check("1/0", Err(NoValue::DivisionByZero));
        check("0^{-1}", Err(NoValue::DivisionByZero));
        check("2^{1/2}", Err(NoValue::Unparsable));
        check("x", Err(NoValue::Unparsable));
    }

    #[test]
    fn the_budget_ends_everything_hostile() {
        let check = |text: &str| check(text, Grammar::Answer, Err(NoValue::Budget));
        check("9^{9^{9}}");
        check("(9^{99})^{99}");
        check("2^{999999999}");
        check("1e999999999");
        check(&"(".repeat(100_000));
        check(&"(".repeat(1000));
        check(&"9".repeat(1_000_000));
        check(&"1+".repeat(800));
        check(&format!("{}5", "\\frac{1}{".repeat(100)));
    }

    #[test]
    fn expansions_that_end() {
        for (numerator, denominator, expected) in
            [(1, 8, true), (7, 50, true), (1, 3, false), (22, 7, false), (5, 1, true)]
        {
            let value = BigRational::new(BigInt::from(numerator), BigInt::from(denominator));
            assert_eq!(terminates(&value), expected, "{value}");
        }
    }
}
