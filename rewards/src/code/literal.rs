//! Python literals: the only thing that a submission's guest is believed to say.
//!
//! A value comes out of a guest as text. Here the text becomes a tree of plain values or nothing, so that whatever is
//! compared, or handed to the guest of the tests, is data and never code. Two values are compared by a canonical text that is
//! the same exactly where Python's `==` holds: `1`, `1.0` and `True` are one value; a list is no tuple; sets and dictionaries
//! have no order; a frozenset is its set. NaN equals nothing and has no canonical text. Numbers are kept as digits or as
//! doubles, never rounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed as _, ToPrimitive as _, Zero as _};

use super::source::quoted;

const MAX_DEPTH: usize = 100;

/// A decimal exponent beyond this is a number that no task is about, and would take its digits in memory.
const MAX_EXPONENT: i64 = 5_000;

/// What Python calls its collections that are neither list, tuple, set nor dictionary, and other values of the library that
/// are made of plain ones.
const MADE: &[&str] = &["frozenset", "deque", "iter", "range", "bytearray", "complex", "Decimal", "Fraction"];

/// A plain value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    /// Decimal digits without leading zeros, perhaps with a sign.
    Integer(String),
    Float(f64),
    Text(String),
    /// Bytes as characters up to 255.
    Bytes(String),
    List(Vec<Literal>),
    Tuple(Vec<Literal>),
    Set(Vec<Literal>),
    Dictionary(Vec<(Literal, Literal)>),
    /// One of [`MADE`], of its arguments.
    Made(&'static str, Vec<Literal>),
}

/// The canonical text of a literal; `None` where `text` is not one (or is nested beyond reason).
pub(crate) fn canonical(text: &str) -> Option<String> {
    Literal::parse(text)?.canonical()
}

impl Literal {
    /// The value that `text` writes as Python does.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Parser { text, at: 0, depth: 0, json: false }.whole()
    }

    /// The value that `text` writes as JSON, with whole numbers of any size.
    pub(crate) fn parse_json(text: &str) -> Option<Self> {
        Parser { text, at: 0, depth: 0, json: true }.whole()
    }

    /// The same text exactly for values that are equal in Python.
    pub(crate) fn canonical(&self) -> Option<String> {
        let all = |items: &[Self]| items.iter().map(Self::canonical).collect::<Option<Vec<_>>>();
        let set = |items: &[Self]| {
            let items: BTreeSet<String> = all(items)?.into_iter().collect();
            Some(format!("{{{}}}", items.into_iter().collect::<Vec<_>>().join(",")))
        };
        Some(match self {
            Self::None => "N".to_owned(),
            Self::Bool(truth) => format!("i{}", u8::from(*truth)),
            Self::Integer(digits) => format!("i{digits}"),
            Self::Float(value) => double(*value)?,
            Self::Text(text) => format!("s{}:{text}", text.len()),
            Self::Bytes(text) => format!("b{}:{text}", text.len()),
            Self::List(items) => format!("[{}]", all(items)?.join(",")),
            Self::Tuple(items) => format!("({})", all(items)?.join(",")),
            Self::Set(items) => set(items)?,
            Self::Dictionary(entries) => {
                let entries: BTreeMap<String, String> = entries
                    .iter()
                    .map(|(key, value)| Some((key.canonical()?, value.canonical()?)))
                    .collect::<Option<_>>()?;
                let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                // Told from the empty set by its first letter.
                format!("d{{{}}}", entries.join(","))
            }
            Self::Made("frozenset", arguments) => match &arguments[..] {
                [] => set(&[])?,
                [one] => set(one.items()?)?,
                _ => return None,
            },
            Self::Made("bytearray", arguments) => match &arguments[..] {
                [bytes @ Self::Bytes(_)] => bytes.canonical()?,
                _ => return None,
            },
            Self::Made("complex", arguments) => match &arguments[..] {
                [real, imaginary] if imaginary.canonical()? == "i0" => real.canonical()?,
                [real, imaginary] => format!("c{}+{}", real.canonical()?, imaginary.canonical()?),
                _ => return None,
            },
            Self::Made("Decimal" | "Fraction", arguments) => rational(&self.rational(arguments)?)?,
            Self::Made(name, arguments) => format!("{name}({})", all(arguments)?.join(",")),
        })
    }

    /// For a comparison with JSON: tuples as lists, keys as text, as Python's `json` writes them.
    pub(crate) fn as_json(self) -> Self {
        let all = |items: Vec<Self>| items.into_iter().map(Self::as_json).collect();
        match self {
            Self::List(items) | Self::Tuple(items) => Self::List(all(items)),
            Self::Dictionary(entries) => {
                let entries = entries.into_iter().map(|(key, value)| (Self::Text(key.as_key()), value.as_json()));
                Self::Dictionary(entries.collect())
            }
            other => other,
        }
    }

    fn as_key(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(truth) => truth.to_string(),
            Self::None => "null".to_owned(),
            other => other.python(),
        }
    }

    /// Whether the values are the same but for numbers, where one is not whole, that differ by at most `tolerance`, absolutely
    /// or relative to `expected`.
    pub(crate) fn near(&self, expected: &Self, tolerance: f64) -> bool {
        let pairs = |left: &[Self], right: &[Self]| {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.near(right, tolerance))
        };
        match (self, expected) {
            (Self::Float(_), Self::Float(_) | Self::Integer(_)) | (Self::Integer(_), Self::Float(_)) => {
                match (self.number(), expected.number()) {
                    (Some(left), Some(right)) => {
                        left == right || (left - right).abs() <= tolerance * right.abs().max(1.0)
                    }
                    _ => false,
                }
            }
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => pairs(left, right),
            (Self::Dictionary(left), Self::Dictionary(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(key, value)| {
                        let same = |other: &&(Self, Self)| key.canonical() == other.0.canonical();
                        right.iter().find(same).is_some_and(|(_, other)| value.near(other, tolerance))
                    })
            }
            _ => self.canonical().is_some_and(|text| Some(text) == expected.canonical()),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value).filter(|value| value.is_finite()),
            Self::Integer(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The value as Python text, for the guest of the tests. The names `inf` and `nan` and those of [`MADE`] must be known
    /// there.
    pub(crate) fn python(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        fn all<'a>(text: &mut String, items: impl IntoIterator<Item = &'a Literal>) {
            for item in items {
                item.write(text);
                text.push(',');
            }
        }
        let mut enclosed = |open: &str, items: &[Self], close: &str| {
            text.push_str(open);
            all(text, items);
            text.push_str(close);
        };
        match self {
            Self::None => text.push_str("None"),
            Self::Bool(true) => text.push_str("True"),
            Self::Bool(false) => text.push_str("False"),
            Self::Integer(digits) => text.push_str(digits),
            Self::Float(value) if value.is_nan() => text.push_str("nan"),
            // Writing to a String cannot fail.
            Self::Float(value) => {
                let _ = write!(text, "{value:?}");
            }
            Self::Text(value) => text.push_str(&quoted(value)),
            Self::Bytes(value) => {
                text.push_str("b\"");
                for byte in value.chars() {
                    let _ = write!(text, "\\x{:02x}", u32::from(byte));
                }
                text.push('"');
            }
            Self::List(items) => enclosed("[", items, "]"),
            Self::Tuple(items) => enclosed("(", items, ")"),
            Self::Set(items) => enclosed("set([", items, "])"),
            Self::Made(name, arguments) => enclosed(&format!("{name}("), arguments, ")"),
            Self::Dictionary(entries) => {
                text.push('{');
                for (key, value) in entries {
                    key.write(text);
                    text.push(':');
                    value.write(text);
                    text.push(',');
                }
                text.push('}');
            }
        }
    }

    fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The value of `Decimal('1.5')` or `Fraction(3, 2)`.
    fn rational(&self, arguments: &[Self]) -> Option<BigRational> {
        match arguments {
            [Self::Text(decimal)] => {
                let (digits, exponent) = decimal.split_once(['e', 'E']).unwrap_or((decimal, "0"));
                let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
                let exponent = exponent.parse::<i64>().ok()? - i64::try_from(behind.len()).ok()?;
                if exponent.abs() > MAX_EXPONENT {
                    return None;
                }
                let power = BigInt::from(10).pow(u32::try_from(exponent.abs()).ok()?);
                let digits: BigInt = format!("{whole}{behind}").parse().ok()?;
                Some(if exponent < 0 { BigRational::new(digits, power) } else { (digits * power).into() })
            }
            [Self::Integer(top), Self::Integer(bottom)] => {
                let bottom: BigInt = bottom.parse().ok()?;
                if bottom.is_zero() { None } else { Some(BigRational::new(top.parse().ok()?, bottom)) }
            }
            _ => None,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    json: bool,
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Option<Literal> {
        let value = self.value()?;
        self.skip_space();
        (self.at == self.text.len()).then_some(value)
    }

    fn value(&mut self) -> Option<Literal> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = match self.peek()? {
            b'(' | b'\'' if self.json => return None,
            b'[' => {
                self.at += 1;
                Literal::List(self.items(b']')?.0)
            }
            b'(' => self.parenthesised()?,
            b'{' => self.braces()?,
            b'\'' | b'"' => self.strings()?,
            b'-' | b'+' => self.signed()?,
            b'0'..=b'9' | b'.' => self.number(false)?,
            _ => self.word()?,
        };
        self.depth -= 1;
        Some(value)
    }

    /// The items up to the closing bracket, and whether a comma stood among them. No part of the text is read
    /// twice, here or below: nested brackets would double the work at each level.
    fn items(&mut self, close: u8) -> Option<(Vec<Literal>, bool)> {
        let mut items = Vec::new();
        let comma = self.more_items(close, &mut items)?;
        Some((items, comma))
    }

    fn more_items(&mut self, close: u8, items: &mut Vec<Literal>) -> Option<bool> {
        let mut comma = false;
        while self.peek()? != close {
            items.push(self.value()?);
            comma |= self.separator(close)?;
        }
        self.at += 1;
        Some(comma)
    }

    /// Steps over a comma and says so; or finds the closing bracket.
    fn separator(&mut self, close: u8) -> Option<bool> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Some(true)
            }
            next => (next == close).then_some(false),
        }
    }

    fn parenthesised(&mut self) -> Option<Literal> {
        self.expect(b'(')?;
        let (mut items, comma) = self.items(b')')?;
        if items.len() == 1 && !comma { items.pop() } else { Some(Literal::Tuple(items)) }
    }

    fn braces(&mut self) -> Option<Literal> {
        self.expect(b'{')?;
        let mut entries = Vec::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Literal::Dictionary(entries));
        }
        let mut key = self.value()?;
        if self.peek()? != b':' {
            if self.json {
                return None;
            }
            let mut items = vec![key];
            self.separator(b'}')?;
            self.more_items(b'}', &mut items)?;
            return Some(Literal::Set(items));
        }
        loop {
            self.expect(b':')?;
            entries.push((key, self.value()?));
            self.separator(b'}')?;
            if self.peek()? == b'}' {
                self.at += 1;
                return Some(Literal::Dictionary(entries));
            }
            key = self.value()?;
        }
    }

    fn signed(&mut self) -> Option<Literal> {
        let negative = self.peek()? == b'-';
        self.at += 1;
        for infinity in ["inf", "Infinity"] {
            if negative && self.rest().starts_with(infinity) {
                self.at += infinity.len();
                return self.number_ends().then_some(Literal::Float(f64::NEG_INFINITY));
            }
        }
        self.number(negative)
    }

    fn number(&mut self, negative: bool) -> Option<Literal> {
        self.skip_space();
        let rest = self.rest();
        let hexadecimal = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        if let Some(digits) = hexadecimal {
            let length = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
            let value = u128::from_str_radix(&digits[..length], 16).ok()?;
            self.at += 2 + length;
            return self.number_ends().then(|| integer(negative, &value.to_string()));
        }
        let mut written = String::new();
        let mut whole = true;
        let mut bytes = rest.bytes().enumerate().peekable();
        let mut length = 0;
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'0'..=b'9' => written.push(byte as char),
                b'_' => {}
                b'.' => {
                    whole = false;
                    written.push('.');
                }
                b'e' | b'E' => {
                    whole = false;
                    written.push('e');
                    if let Some((_, sign @ (b'+' | b'-'))) = bytes.peek() {
                        written.push(*sign as char);
                        bytes.next();
                        length = at + 2;
                        continue;
                    }
                }
                _ => break,
            }
            length = at + 1;
        }
        self.at += length;
        if !self.number_ends() || !written.contains(|next: char| next.is_ascii_digit()) {
            return None;
        }
        if whole {
            return Some(integer(negative, &written));
        }
        let value: f64 = written.parse().ok()?;
        Some(Literal::Float(if negative { -value } else { value }))
    }

    /// Not the number of `1j`, `2if`, `0b1`.
    fn number_ends(&self) -> bool {
        !self.rest().starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '.')
    }

    /// One string literal, or several side by side.
    fn strings(&mut self) -> Option<Literal> {
        let mut joined = String::new();
        while let Some(b'\'' | b'"') = self.peek() {
            joined.push_str(&self.string(false, false)?);
        }
        Some(Literal::Text(joined))
    }

    fn string(&mut self, raw: bool, bytes: bool) -> Option<String> {
        let rest = self.rest();
        let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| rest.starts_with(quote))?;
        // JSON has one kind: `""` is empty, whatever comes after it.
        let quote = if self.json { "\"" } else { quote };
        let inside = rest.strip_prefix(quote)?;
        let mut characters = inside.char_indices();
        let mut value = String::new();
        while let Some((at, next)) = characters.next() {
            if inside[at..].starts_with(quote) {
                self.at += quote.len() + at + quote.len();
                return Some(value);
            }
            match next {
                '\n' if quote.len() == 1 => return None,
                '\\' if raw => {
                    value.push('\\');
                    value.push(characters.next()?.1);
                }
                '\\' => escape(&mut characters, bytes, self.json, &mut value)?,
                next if bytes && !next.is_ascii() => return None,
                next => value.push(next),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Literal> {
        let rest = self.rest();
        let length = rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_')).unwrap_or(rest.len());
        let word = &rest[..length];
        self.at += length;
        Some(match (word, self.json) {
            ("true", true) => Literal::Bool(true),
            ("false", true) => Literal::Bool(false),
            ("null", true) => Literal::None,
            ("Infinity", true) => Literal::Float(f64::INFINITY),
            ("NaN", true) => Literal::Float(f64::NAN),
            (_, true) => return None,
            ("None", _) => Literal::None,
            ("True", _) => Literal::Bool(true),
            ("False", _) => Literal::Bool(false),
            ("inf", _) => Literal::Float(f64::INFINITY),
            ("nan", _) => Literal::Float(f64::NAN),
            ("u" | "U", _) if matches!(self.rest().bytes().next(), Some(b'\'' | b'"')) => self.strings()?,
            ("r" | "R", _) => Literal::Text(self.string(true, false)?),
            ("b" | "B", _) => Literal::Bytes(self.string(false, true)?),
            ("set" | "list" | "tuple", _) => {
                self.expect(b'(')?;
                let items = if self.peek()? == b')' { Vec::new() } else { self.value()?.items()?.to_vec() };
                self.expect(b')')?;
                match word {
                    "list" => Literal::List(items),
                    "tuple" => Literal::Tuple(items),
                    _ => Literal::Set(items),
                }
            }
            ("float", _) => {
                self.expect(b'(')?;
                self.peek()?;
                let value = match self.string(false, false)?.as_str() {
                    "inf" | "Infinity" => f64::INFINITY,
                    "-inf" | "-Infinity" => f64::NEG_INFINITY,
                    _ => return None,
                };
                self.expect(b')')?;
                Literal::Float(value)
            }
            _ => {
                let name = MADE.iter().find(|name| **name == word)?;
                self.expect(b'(')?;
                Literal::Made(name, self.items(b')')?.0)
            }
        })
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

/// What follows a backslash.
fn escape(characters: &mut std::str::CharIndices<'_>, bytes: bool, json: bool, value: &mut String) -> Option<()> {
    let (_, letter) = characters.next()?;
    let digits = match letter {
        'x' => 2,
        'u' if !bytes => 4,
        'U' if !bytes => 8,
        'N' if !bytes => return None,
        _ => 0,
    };
    let code = |characters: &mut std::str::CharIndices<'_>| {
        let mut code = 0_u32;
        for _ in 0..digits {
            code = code.checked_mul(16)? + characters.next()?.1.to_digit(16)?;
        }
        Some(code)
    };
    if digits > 0 {
        let mut first = code(characters)?;
        // JSON writes what lies beyond 16 bits as two halves.
        if json && (0xD800..0xDC00).contains(&first) && characters.next()?.1 == '\\' && characters.next()?.1 == 'u' {
            let second = code(characters)?.checked_sub(0xDC00).filter(|half| *half < 0x400)?;
            first = 0x10000 + ((first - 0xD800) << 10) + second;
        }
        value.push(char::from_u32(first)?);
        return Some(());
    }
    match letter {
        'n' => value.push('\n'),
        't' => value.push('\t'),
        'r' => value.push('\r'),
        'a' => value.push('\u{7}'),
        'b' => value.push('\u{8}'),
        'f' => value.push('\u{c}'),
        'v' => value.push('\u{b}'),
        '/' if json => value.push('/'),
        '\\' | '\'' | '"' => value.push(letter),
        '\n' => {}
        '0'..='7' => {
            let mut code = letter.to_digit(8)?;
            for _ in 0..2 {
                let Some(digit) = characters.clone().next().and_then(|(_, next)| next.to_digit(8)) else { break };
                code = code * 8 + digit;
                characters.next();
            }
            value.push(char::from_u32(code)?);
        }
        other => value.extend(['\\', other]),
    }
    Some(())
}

fn integer(negative: bool, digits: &str) -> Literal {
    let digits = digits.trim_start_matches('0');
    Literal::Integer(match digits {
        "" => "0".to_owned(),
        _ if negative => format!("-{digits}"),
        _ => digits.to_owned(),
    })
}

/// A double: as the integer it equals, else by its bits.
fn double(value: f64) -> Option<String> {
    if value.is_nan() {
        None
    } else if value.is_finite() && value.fract() == 0.0 {
        // Formatting without decimals writes every digit of the exact value; the sign of zero is none.
        let digits = format!("{:.0}", value.abs());
        Some(if value < 0.0 { format!("i-{digits}") } else { format!("i{digits}") })
    } else {
        Some(format!("f{:x}", value.to_bits()))
    }
}

/// A fraction: as the integer or double that it equals, else by itself.
fn rational(value: &BigRational) -> Option<String> {
    if value.is_integer() {
        return Some(format!("i{}", value.to_integer()));
    }
    match value.to_f64() {
        Some(near) if near.is_finite() && BigRational::from_float(near).as_ref() == Some(value) => double(near),
        _ => Some(format!("q{}{}/{}", if value.is_negative() { "-" } else { "" }, value.numer().abs(), value.denom())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_equal(left: &str, right: &str) {
        assert!(canonical(left).is_some(), "{left}");
        assert_eq!(canonical(left), canonical(right), "{left} and {right}");
    }

    #[test]
    fn equal_in_python() {
        check_equal("1", "1.0");
        check_equal("1", "True");
        check_equal("-0.0", "0");
        check_equal("1e22", "10000000000000000000000");
        check_equal("0xff", "255");
        check_equal("1_000", "1000");
        check_equal("0.1", ".1");
        check_equal("[1, 2,]", "[ 1,2 ]");
        check_equal("(5)", "5");
        check_equal("((1, 2))", "(1, 2)");
        check_equal("{2, 1, 1}", "{1, 2}");
        check_equal("set([2, 1])", "{1, 2}");
        check_equal("set((1, 2))", "{1.0, True, 2}");
        check_equal("frozenset([1])", "frozenset({1, 1})");
        check_equal("frozenset([1])", "{1}");
        check_equal("{'a': 1, 'b': [2]}", "{\"b\": [2], \"a\": 1}");
        check_equal(r"'a\x41\n\u00e9'", "'''aA\né'''");
        check_equal("'ab' \"c\"", "'abc'");
        check_equal(r"r'\n'", r"'\\n'");
        check_equal("float('inf')", "inf");
        check_equal("b'a'", r"b'\x61'");
        check_equal("bytearray(b'a')", "b'a'");
        check_equal("Fraction(5, 2)", "2.5");
        check_equal("Decimal('2.50')", "2.5");
        check_equal("Decimal('1E+2')", "100");
        check_equal("complex(2.0, 0.0)", "2");
        check_equal(&format!("1{}", "0".repeat(5000)), &format!("1{}", "0".repeat(5000)));
    }

    #[test]
    fn different_in_python() {
        for (left, right) in [
            ("[1, 2]", "(1, 2)"),
            ("(1,)", "1"),
            ("1", "'1'"),
            ("{}", "set()"),
            ("'a'", "b'a'"),
            ("0.1", "0.10000000000000002"),
            ("0.1", "Decimal('0.1')"),
            ("9007199254740993", "9007199254740992.0"),
            ("None", "False"),
            ("['a,b']", "['a', 'b']"),
            ("[[1], 2]", "[1, [2]]"),
            ("'a'", "'A'"),
            ("[1]", "deque([1])"),
        ] {
            assert!(canonical(left).is_some() && canonical(right).is_some(), "{left}, {right}");
            assert_ne!(canonical(left), canonical(right), "{left} and {right}");
        }
    }

    #[test]
    fn not_literals() {
        for text in
            ["", "f(1)", "x", "1 + 2", "[1", "'a", "1j", "nan", "f'a'", "{[}", "1 2", "'a\nb'", "lambda: 1", "?Foo"]
        {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert_eq!(canonical(&"[".repeat(100_000)), None);
        assert_eq!(canonical(&format!("{}{}", "[".repeat(1000), "]".repeat(1000))), None);
        assert_eq!(canonical(&"{".repeat(100_000)), None);
        assert_eq!(canonical(&"(".repeat(100_000)), None);
        assert_eq!(canonical("Decimal('1e999999999')"), None);
        assert_eq!(canonical("Fraction(1, 0)"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "[1,-2.5,\"a\\\"\\n\\U000000e9\",(),(1,),None,True,set([]),{1:{\"a\":inf,},},b\"\\x00\\xff\",]",
            "Decimal(\"1.5\",)",
            "-inf",
            "deque([1,],)",
        ] {
            let value = Literal::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(Literal::parse(&value.python()), Some(value.clone()), "{text}");
            assert_eq!(value.python(), text);
        }
    }

    #[test]
    fn json_is_read_and_compared_as_json() {
        for (json, python, same) in [
            ("[1, 2]", "(1, 2)", true),
            ("[[1, \"a\"]]", "[(1, 'a')]", true),
            ("true", "True", true),
            ("null", "None", true),
            ("{\"1\": [2]}", "{1: (2,)}", true),
            (r#""\/\ud83d\ude00""#, "'/\u{1f600}'", true),
            ("\"\"", "''", true),
            ("123456789012345678901234567890", "123456789012345678901234567890", true),
            ("123456789012345678901234567890", "123456789012345678901234567891", false),
            ("2.0", "2", true),
            ("[1]", "{1}", false),
            ("\"1\"", "1", false),
        ] {
            let expected = Literal::parse_json(json).unwrap_or_else(|| panic!("{json}")).canonical();
            let found = Literal::parse(python).unwrap().as_json().canonical();
            assert_eq!(found == expected, same, "{json} {python}");
        }
        for text in ["None", "(1)", "'a'", "[1, 2", "set([1])", "{1, 2}x"] {
            assert_eq!(Literal::parse_json(text), None, "{text}");
        }
    }

    #[test]
    fn a_tolerance_is_for_numbers_that_are_not_whole() {
        let near = |left: &str, right: &str| Literal::parse(left).unwrap().near(&Literal::parse(right).unwrap(), 1e-6);
        assert!(near("[0.3000000001, 'a']", "[0.3, 'a']") && near("2", "2.0000001") && near("2000000.5", "2000001.0"));
        assert!(
            !near("0.3001", "0.3") && !near("1000000", "1000001") && !near("nan", "nan") && !near("[0.3]", "[0.3, 1]")
        );
        assert!(near("{'a': 0.3}", "{'a': 0.30000001}") && !near("{'b': 0.3}", "{'a': 0.3}"));
    }
}
