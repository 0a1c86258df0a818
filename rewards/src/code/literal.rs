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

use super::parse;
use super::source::quoted;

/// A decimal exponent beyond this is a number that no task is about, and would take its digits in memory.
const MAX_EXPONENT: u64 = 5_000;

/// The most digits of a fraction's part, or of a decimal: its exact value costs their square.
const MAX_DIGITS: usize = 10_000;

/// What the exact values within one literal may cost together, in squared digits: a few tenths of a second. A guest may say
/// millions of numbers, each of which is cheap alone.
const EXACT_WORK: u64 = 1_000_000_000;

/// What is left of [`EXACT_WORK`].
struct Work(u64);

impl Work {
    /// Takes what the exact value of so many digits costs.
    fn spend(&mut self, digits: u64) -> Option<()> {
        self.0 = self.0.checked_sub(digits.checked_mul(digits)?)?;
        Some(())
    }
}

/// What Python calls its collections that are neither list, tuple, set nor dictionary, and other values of the library that
/// are made of plain ones. Those of the last line stand in no test's own text: see `literal.py`.
#[rustfmt::skip]
pub(super) const MADE: &[&str] = &[
    "frozenset", "deque", "iter", "range", "bytearray", "complex", "Decimal", "Fraction",
    "date_of", "time_of", "datetime_of", "timedelta_of", "keys_of", "values_of", "items_of", "argument_of",
];

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
        parse::whole(text, false)
    }

    /// The value that `text` writes as JSON, with whole numbers of any size.
    pub(crate) fn parse_json(text: &str) -> Option<Self> {
        parse::whole(text, true)
    }

    /// The same text exactly for values that are equal in Python; `None` also where its numbers cost more than
    /// [`EXACT_WORK`].
    pub(crate) fn canonical(&self) -> Option<String> {
        self.canonical_within(&mut Work(EXACT_WORK))
    }

    fn canonical_within(&self, work: &mut Work) -> Option<String> {
        let all = |items: &[Self], work: &mut Work| {
            items.iter().map(|item| item.canonical_within(work)).collect::<Option<Vec<_>>>()
        };
        let set = |items: &[Self], work: &mut Work| {
            let items: BTreeSet<String> = all(items, work)?.into_iter().collect();
            Some(format!("{{{}}}", items.into_iter().collect::<Vec<_>>().join(",")))
        };
        Some(match self {
            Self::None => "N".to_owned(),
            Self::Bool(truth) => format!("i{}", u8::from(*truth)),
            Self::Integer(digits) => format!("i{digits}"),
            Self::Float(value) => double(*value, work)?,
            Self::Text(text) => format!("s{}:{text}", text.len()),
            Self::Bytes(text) => format!("b{}:{text}", text.len()),
            Self::List(items) => format!("[{}]", all(items, work)?.join(",")),
            Self::Tuple(items) => format!("({})", all(items, work)?.join(",")),
            Self::Set(items) => set(items, work)?,
            Self::Dictionary(entries) => {
                let entries: BTreeMap<String, String> = entries
                    .iter()
                    .map(|(key, value)| Some((key.canonical_within(work)?, value.canonical_within(work)?)))
                    .collect::<Option<_>>()?;
                let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                // Told from the empty set by its first letter.
                format!("d{{{}}}", entries.join(","))
            }
            Self::Made("frozenset", arguments) => match &arguments[..] {
                [] => set(&[], work)?,
                [one] => set(one.items()?, work)?,
                _ => return None,
            },
            Self::Made("range", arguments) => range(arguments)?,
            // As sets; a dictionary's values equal nothing, not even the same dictionary's.
            Self::Made("keys_of" | "items_of", arguments) => match &arguments[..] {
                [Self::List(items)] => set(items, work)?,
                _ => return None,
            },
            Self::Made("values_of" | "argument_of", _) => return None,
            // The items; how many it may have does not count.
            Self::Made("deque", arguments) => match &arguments[..] {
                [] => "deque([])".to_owned(),
                [Self::List(items) | Self::Tuple(items)] => format!("deque([{}])", all(items, work)?.join(",")),
                _ => return None,
            },
            Self::Made("bytearray", arguments) => match &arguments[..] {
                [bytes @ Self::Bytes(_)] => bytes.canonical_within(work)?,
                _ => return None,
            },
            Self::Made("complex", arguments) => match &arguments[..] {
                [real, imaginary] => match (real.canonical_within(work)?, imaginary.canonical_within(work)?) {
                    (real, imaginary) if imaginary == "i0" => real,
                    (real, imaginary) => format!("c{real}+{imaginary}"),
                },
                _ => return None,
            },
            Self::Made("Decimal" | "Fraction", arguments) => rational(&exact(arguments, work)?)?,
            Self::Made(name, arguments) => format!("{name}({})", all(arguments, work)?.join(",")),
        })
    }

    /// For a comparison with JSON: tuples as lists, keys as text, as Python's `json` writes them.
    pub(crate) fn into_json(self) -> Self {
        let all = |items: Vec<Self>| items.into_iter().map(Self::into_json).collect();
        match self {
            Self::List(items) | Self::Tuple(items) => Self::List(all(items)),
            Self::Dictionary(entries) => {
                let entries = entries.into_iter().map(|(key, value)| (Self::Text(key.as_key()), value.into_json()));
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
        self.near_within(expected, tolerance, &mut Work(EXACT_WORK))
    }

    fn near_within(&self, expected: &Self, tolerance: f64, work: &mut Work) -> bool {
        let pairs = |left: &[Self], right: &[Self], work: &mut Work| {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.near_within(right, tolerance, work))
        };
        match (self, expected) {
            (Self::Float(_), Self::Float(_) | Self::Integer(_)) | (Self::Integer(_), Self::Float(_)) => {
                match (self.number(), expected.number()) {
                    (Some(left), Some(right)) => (left - right).abs() <= tolerance * right.abs().max(1.0),
                    // Infinity is near to itself alone.
                    _ => self == expected,
                }
            }
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => pairs(left, right, work),
            (Self::Dictionary(left), Self::Dictionary(right)) => {
                let (Some(left), Some(right)) = (by_key(left, work), by_key(right, work)) else { return false };
                left.len() == right.len()
                    && left.iter().zip(&right).all(|((key, value), (other_key, other))| {
                        key == other_key && value.near_within(other, tolerance, work)
                    })
            }
            _ => self.canonical_within(work).is_some_and(|text| Some(text) == expected.canonical_within(work)),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Integer(digits) => digits.parse().ok(),
            _ => None,
        }
        .filter(|value| value.is_finite())
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

    pub(super) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn into_items(self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => Some(items),
            _ => None,
        }
    }
}

/// A range by what it yields: its length, its first number and its step, as far as there is one.
fn range(arguments: &[Literal]) -> Option<String> {
    let number = |argument: &Literal| match argument {
        Literal::Integer(digits) => digits.parse::<i128>().ok(),
        _ => None,
    };
    let numbers = arguments.iter().map(number).collect::<Option<Vec<_>>>()?;
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        _ => return None,
    };
    let (way, step_length) = (stop.checked_sub(start)?.checked_mul(step.signum())?, step.checked_abs()?);
    Some(match way {
        ..=0 => "range()".to_owned(),
        _ if way <= step_length => format!("range(i{start})"),
        _ => format!("range(i{start},{},{step})", (way - 1) / step_length + 1),
    })
}

/// The value of `Decimal('1.5')` or `Fraction(3, 2)`.
fn exact(arguments: &[Literal], work: &mut Work) -> Option<BigRational> {
    // Before anything is parsed: reading digits, too, takes the square of their number.
    let mut parse = |digits: &str, more: u64| {
        work.spend(digits.len() as u64 + more)?;
        if digits.len() > MAX_DIGITS { None } else { digits.parse::<BigInt>().ok() }
    };
    match arguments {
        [Literal::Text(decimal)] => {
            let (digits, exponent) = decimal.split_once(['e', 'E']).unwrap_or((decimal, "0"));
            let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
            let exponent = exponent.parse::<i64>().ok()?.checked_sub_unsigned(behind.len() as u64)?;
            let size = exponent.unsigned_abs();
            if size > MAX_EXPONENT {
                return None;
            }
            let digits = parse(&format!("{whole}{behind}"), size)?;
            let power = BigInt::from(10).pow(u32::try_from(size).ok()?);
            Some(if exponent < 0 { BigRational::new(digits, power) } else { (digits * power).into() })
        }
        [Literal::Integer(top), Literal::Integer(bottom)] => {
            let (top, bottom) = (parse(top, bottom.len() as u64)?, parse(bottom, 0)?);
            if bottom.is_zero() { None } else { Some(BigRational::new(top, bottom)) }
        }
        _ => None,
    }
}

/// The values of a dictionary in the order of their keys' canonical texts, so that two are compared in one pass.
fn by_key<'a>(entries: &'a [(Literal, Literal)], work: &mut Work) -> Option<BTreeMap<String, &'a Literal>> {
    entries.iter().map(|(key, value)| Some((key.canonical_within(work)?, value))).collect()
}

/// A double: as the integer it equals, else by its bits.
fn double(value: f64, work: &mut Work) -> Option<String> {
    if value.abs() > 1e18 {
        work.spend(64)?;
    }
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
        Some(near) if near.is_finite() && BigRational::from_float(near).as_ref() == Some(value) => {
            double(near, &mut Work(EXACT_WORK))
        }
        _ => Some(format!("q{}{}/{}", if value.is_negative() { "-" } else { "" }, value.numer().abs(), value.denom())),
    }
}

#[cfg(test)]
mod tests;
