//! An answer as a value: a number, a collection of answers, or text.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::clean::{SET_CLOSE, SET_OPEN, clean};
use super::expression::{self, Grammar, Literal, MAX_LENGTH, NoValue};
use super::text;
use super::unit::{self, Unit};

const MAX_ITEMS: usize = 64;
const MAX_NESTING: usize = 4;

/// What an answer says.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Number(Number),
    /// Any order, duplicates ignored: `{1, 2}`, `1, 2`, `1 or 2`, plus-minus.
    Set(Vec<Answer>),
    /// In order, with its delimiters: a tuple or an interval.
    Sequence {
        open: char,
        close: char,
        items: Vec<Answer>,
    },
    /// Anything else, normalised.
    Text(String),
}

/// An exact number and how it was written.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    /// The value as written: 25 for 25%.
    pub(crate) value: BigRational,
    pub(crate) literal: Option<Literal>,
    pub(crate) percent: bool,
    pub(crate) unit: Option<Unit>,
}

/// The answer that `text` says.
pub(crate) fn parse(text: &str) -> Result<Answer, NoValue> {
    if text.len() > MAX_LENGTH {
        return Err(NoValue::Budget);
    }
    let cleaned = clean(text).ok_or(NoValue::Unparsable)?;
    if cleaned.is_empty() {
        return Err(NoValue::Unparsable);
    }
    parse_cleaned(&cleaned, 0)
}

fn parse_cleaned(cleaned: &str, nesting: usize) -> Result<Answer, NoValue> {
    let cleaned = right_of_name(cleaned.trim());
    if nesting >= MAX_NESTING {
        return Ok(Answer::Text(text::normal_form(cleaned)));
    }
    if let Some((open, close, inside)) = delimited(cleaned) {
        let items = split(inside, &[","]);
        if open == SET_OPEN {
            return Ok(Answer::Set(parse_items(&items, nesting)?).unwrap_single());
        }
        if items.len() > 1 {
            return Ok(Answer::Sequence { open, close, items: parse_items(&items, nesting)? });
        }
    }
    match number(cleaned) {
        Ok(number) => return Ok(Answer::Number(number)),
        Err(NoValue::Unparsable) => {}
        Err(other) => return Err(other),
    }
    if let Some(both) = plus_minus(cleaned) {
        return Ok(both);
    }
    let items = split(cleaned, &[",", " and ", " or "]);
    if items.len() > 1 {
        let answers = parse_items(&items, nesting)?;
        // "red and blue" is a phrase; only a plain comma, or values, make a list.
        let values = answers.iter().all(|answer| !matches!(answer, Answer::Text(_)));
        let commas = split(cleaned, &[","]);
        if values {
            return Ok(Answer::Set(answers));
        }
        if commas.len() > 1 && commas.iter().all(|item| !item.trim().is_empty()) {
            return Ok(Answer::Set(parse_items(&commas, nesting)?));
        }
    }
    Ok(Answer::Text(text::normal_form(cleaned)))
}

impl Answer {
    /// `{5}` is 5.
    fn unwrap_single(self) -> Self {
        match self {
            Self::Set(mut items) if items.len() == 1 => items.remove(0),
            other => other,
        }
    }

    /// A text that is the same for answers that are the same, but for units and rounding.
    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::Number(number) => number.fraction().to_string(),
            Self::Set(items) => {
                let mut keys: Vec<String> = items.iter().map(Self::canonical).collect();
                keys.sort();
                keys.dedup();
                format!("{{{}}}", keys.join(","))
            }
            Self::Sequence { open, close, items } => {
                let keys: Vec<String> = items.iter().map(Self::canonical).collect();
                format!("{open}{}{close}", keys.join(","))
            }
            Self::Text(text) => format!("'{text}'"),
        }
    }
}

impl Number {
    /// The value with its percent sign worked out: 1/4 for 25%.
    pub(crate) fn fraction(&self) -> BigRational {
        if self.percent { &self.value / BigInt::from(100_u8) } else { self.value.clone() }
    }
}

fn parse_items(items: &[&str], nesting: usize) -> Result<Vec<Answer>, NoValue> {
    if items.len() > MAX_ITEMS {
        return Err(NoValue::Budget);
    }
    items.iter().map(|item| parse_cleaned(item, nesting + 1)).collect()
}

/// A number with an optional currency sign before, and percent sign or unit behind.
fn number(text: &str) -> Result<Number, NoValue> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest.trim_start()));
    let (currency, text) = match text.chars().next() {
        Some(symbol @ ('$' | '€' | '£')) => (Some(symbol), text[symbol.len_utf8()..].trim_start()),
        _ => (None, text),
    };
    let (core, suffix) = split_suffix(text);
    let (percent, rest) = match suffix.strip_prefix('%').or_else(|| suffix.strip_prefix("percent")) {
        Some(rest) => (true, rest),
        None => (false, suffix),
    };
    let (scale, rest) = scale_word(rest);
    let unit = unit::parse(rest).ok_or(NoValue::Unparsable)?;
    let unit = match (currency, unit) {
        (Some(symbol), None) => unit::parse(symbol.encode_utf8(&mut [0; 4])).flatten(),
        // "$5 dollars" is clumsy and says one thing; "$5 km" says none.
        (Some(symbol), Some(unit)) => {
            let money = unit::parse(symbol.encode_utf8(&mut [0; 4])).flatten();
            if money.as_ref() != Some(&unit) {
                return Err(NoValue::Unparsable);
            }
            money
        }
        (None, unit) => unit,
    };
    let evaluated = if sign.is_empty() {
        expression::evaluate(core, Grammar::Answer)?
    } else {
        expression::evaluate(&format!("{sign}{core}"), Grammar::Answer)?
    };
    let literal = evaluated.literal.filter(|_| scale == 1);
    Ok(Number { value: evaluated.value * BigInt::from(scale), literal, percent, unit })
}

/// The formula and the words behind it: the latter begin at the first letter, `%` or `°` outside braces that
/// no command owns.
fn split_suffix(text: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    let mut in_command = false;
    for (at, next) in text.char_indices() {
        match next {
            '\\' => in_command = true,
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if next != '\\' && !next.is_ascii_alphabetic() {
            in_command = false;
        }
        // The `e` of 1.5e3 belongs to the number.
        let exponent = matches!(next, 'e' | 'E')
            && text[..at].ends_with(|before: char| before.is_ascii_digit() || before == '.')
            && text[at + 1..].starts_with(|after: char| after.is_ascii_digit() || "+-".contains(after));
        let word = next.is_alphabetic() && !in_command && !exponent;
        if depth == 0 && (word || matches!(next, '%' | '°' | '¢' | '$' | '€' | '£')) {
            return (text[..at].trim_end(), &text[at..]);
        }
    }
    (text, "")
}

/// "5 million apples": the factor, and what follows.
fn scale_word(suffix: &str) -> (i64, &str) {
    const SCALES: [(&str, i64); 5] = [
        ("hundred", 100),
        ("thousand", 1000),
        ("million", 1_000_000),
        ("billion", 1_000_000_000),
        ("trillion", 1_000_000_000_000),
    ];
    let suffix = suffix.trim();
    for (word, scale) in SCALES {
        if let Some(rest) = suffix.strip_prefix(word)
            && (rest.is_empty() || rest.starts_with(' '))
        {
            return (scale, rest);
        }
    }
    (1, suffix)
}

/// `\pm 5` and `3 \pm 2`, as the two values.
fn plus_minus(text: &str) -> Option<Answer> {
    let (before, after) = text.split_once("\\pm")?;
    let values = ["+", "-"].map(|sign| number(&format!("{before}{sign}{after}")).map(Answer::Number).ok());
    let [Some(plus), Some(minus)] = values else { return None };
    Some(Answer::Set(vec![plus, minus]))
}

/// `x = 4` and `f(x) = 4` say 4: what follows the one equals sign where a bare name stands before it.
fn right_of_name(text: &str) -> &str {
    let Some((left, right)) = text.split_once('=') else { return text };
    let name = left.trim();
    let is_name = match name.as_bytes() {
        [letter] => letter.is_ascii_alphabetic(),
        [letter, b'(', argument, b')'] => letter.is_ascii_alphabetic() && argument.is_ascii_alphabetic(),
        [letter, b'_', index] => letter.is_ascii_alphabetic() && index.is_ascii_alphanumeric(),
        _ => false,
    };
    let right = right.trim();
    if is_name && !right.is_empty() && !right.contains('=') { right } else { text }
}

/// The delimiters around all of `text`, and what stands between.
fn delimited(text: &str) -> Option<(char, char, &str)> {
    let open = text.chars().next()?;
    let close = text.chars().next_back()?;
    let fits = matches!((open, close), (SET_OPEN, SET_CLOSE) | ('(' | '[', ')' | ']'));
    let inside = text.get(open.len_utf8()..text.len().checked_sub(close.len_utf8())?)?;
    let mut depth = 0_i32;
    for next in inside.chars() {
        match next {
            '(' | '[' | '{' | SET_OPEN => depth += 1,
            ')' | ']' | '}' | SET_CLOSE => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    (fits && depth == 0).then_some((open, close, inside))
}

/// `text` at the separators that stand outside all delimiters.
fn split<'a>(text: &'a str, separators: &[&str]) -> Vec<&'a str> {
    let mut items = Vec::new();
    let mut depth = 0_i32;
    let mut start = 0;
    let mut skip_to = 0;
    for (at, next) in text.char_indices() {
        match next {
            '(' | '[' | '{' | SET_OPEN => depth += 1,
            ')' | ']' | '}' | SET_CLOSE => depth -= 1,
            _ => {}
        }
        if depth != 0 || at < skip_to {
            continue;
        }
        if let Some(separator) = separators.iter().find(|separator| text[at..].starts_with(**separator)) {
            // In "1, 2, and 3" the last two separators are one.
            let item = text.get(start..at).unwrap_or("");
            if !(item.trim().is_empty() && *separator != ",") {
                items.push(item);
            }
            start = at + separator.len();
            // The space that ends one separator may begin the next, which then ends an empty item: "and or ".
            skip_to = start - usize::from(separator.ends_with(' '));
        }
    }
    items.push(&text[start..]);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let canonical = parse(text).map_or_else(|error| format!("{error:?}"), |answer| answer.canonical());
        assert_eq!(canonical, expected, "{text:?}");
    }

    #[test]
    fn numbers_in_their_many_clothes() {
        check("17", "17");
        check(" 17. ", "17");
        check(r"\$1,250.50", "2501/2");
        check("-$5", "-5");
        check("25%", "1/4");
        check(r"25\%", "1/4");
        check("12 percent", "3/25");
        check("18 dollars", "18");
        check(r"5\text{ cm}^2", "5");
        check("7 red apples", "7");
        check(r"90^\circ", "90");
        check("5 million", "5000000");
        check("x = 4", "4");
        check("f(x) = 4", "4");
        check(r"3 \cdot 10^{2}", "300");
        check("1.5e3", "1500");
        check(r"\frac{10}{4}", "5/2");
        check("1e-3", "1/1000");
    }

    #[test]
    fn collections() {
        check("5 or 7", "{5,7}");
        check("1, 2, and 3", "{1,2,3}");
        check(r"\{3, 1, 3\}", "{1,3}");
        check(r"\{5\}", "5");
        check("(1, 2)", "(1,2)");
        check("[0, 1)", "[0,1)");
        check(r"\pm 5", "{-5,5}");
        check(r"3 \pm 2", "{1,5}");
        check("1,2", "{1,2}");
        check("1,234", "1234");
        check("x = 2 or x = 3", "{2,3}");
    }

    #[test]
    fn what_is_no_number_stays_text() {
        check("3x", "'3x'");
        check("12:00", "'12:00'");
        check("7 squared", "'7squared'");
        check(r"2\sqrt{3}", r"'2\sqrt{3}'");
        check("East", "'east'");
        check("5 and a half", "'5andahalf'");
    }

    #[test]
    fn no_answer_at_all() {
        check("", "Unparsable");
        check(r"\frac{1}{", "Unparsable");
        check("1/0", "DivisionByZero");
        check(&"9".repeat(5000), "Budget");
        check(&"1,2,".repeat(100), "Budget");
    }
}
