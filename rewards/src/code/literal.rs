//! Python literals, reduced to a canonical text that is the same exactly where Python's `==` holds.
//!
//! `1`, `1.0` and `True` are one value; a list is no tuple; sets and dictionaries have no order; a frozenset is
//! its set. NaN equals nothing and has no canonical text. Numbers are kept as digits or as the bits of a
//! double, never rounded.

use std::collections::{BTreeMap, BTreeSet};

const MAX_DEPTH: usize = 100;

/// The canonical text of a literal; `None` where `text` is not one (or is nested beyond reason).
pub(crate) fn canonical(text: &str) -> Option<String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.value()?;
    parser.skip_space();
    (parser.at == text.len()).then_some(value.text)
}

/// A canonical text, and the items where the value is a collection that `set(...)` and its kin can take over.
struct Value {
    text: String,
    items: Option<Vec<String>>,
}

impl Value {
    fn scalar(text: String) -> Option<Self> {
        Some(Self { text, items: None })
    }

    fn list(items: Vec<String>) -> Self {
        Self { text: format!("[{}]", items.join(",")), items: Some(items) }
    }

    fn tuple(items: Vec<String>) -> Self {
        Self { text: format!("({})", items.join(",")), items: Some(items) }
    }

    fn set(items: Vec<String>) -> Self {
        let items: Vec<String> = items.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        Self { text: format!("{{{}}}", items.join(",")), items: Some(items) }
    }

    /// Distinguished from the empty set by its first letter.
    fn dictionary(entries: BTreeMap<String, String>) -> Self {
        let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
        Self { text: format!("d{{{}}}", entries.join(",")), items: None }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = match self.peek()? {
            b'[' => {
                self.at += 1;
                Value::list(texts(self.items(b']')?.0))
            }
            b'(' => self.parenthesised()?,
            b'{' => self.braces()?,
            b'\'' | b'"' => self.strings()?,
            b'-' | b'+' => self.signed()?,
            b'0'..=b'9' | b'.' => Value::scalar(self.number(false)?)?,
            _ => self.word()?,
        };
        self.depth -= 1;
        Some(value)
    }

    /// The items up to the closing bracket, and whether a comma stood among them. No part of the text is read
    /// twice, here or below: nested brackets would double the work at each level.
    fn items(&mut self, close: u8) -> Option<(Vec<Value>, bool)> {
        let mut items = Vec::new();
        let comma = self.more_items(close, &mut items)?;
        Some((items, comma))
    }

    fn more_items(&mut self, close: u8, items: &mut Vec<Value>) -> Option<bool> {
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

    fn parenthesised(&mut self) -> Option<Value> {
        self.expect(b'(')?;
        let (mut items, comma) = self.items(b')')?;
        if items.len() == 1 && !comma { items.pop() } else { Some(Value::tuple(texts(items))) }
    }

    fn braces(&mut self) -> Option<Value> {
        self.expect(b'{')?;
        let mut entries = BTreeMap::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Value::dictionary(entries));
        }
        let mut key = self.value()?;
        if self.peek()? != b':' {
            let mut items = vec![key];
            self.separator(b'}')?;
            self.more_items(b'}', &mut items)?;
            return Some(Value::set(texts(items)));
        }
        loop {
            self.expect(b':')?;
            entries.insert(key.text, self.value()?.text);
            self.separator(b'}')?;
            if self.peek()? == b'}' {
                self.at += 1;
                return Some(Value::dictionary(entries));
            }
            key = self.value()?;
        }
    }

    fn signed(&mut self) -> Option<Value> {
        let negative = self.peek()? == b'-';
        self.at += 1;
        if self.rest().starts_with("inf") && negative {
            self.at += "inf".len();
            return Value::scalar(double(f64::NEG_INFINITY)?);
        }
        Value::scalar(self.number(negative)?)
    }

    fn number(&mut self, negative: bool) -> Option<String> {
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
        double(if negative { -value } else { value })
    }

    /// Not the number of `1j`, `2if`, `0b1`.
    fn number_ends(&self) -> bool {
        !self.rest().starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '.')
    }

    /// One string literal, or several side by side.
    fn strings(&mut self) -> Option<Value> {
        let mut joined = String::new();
        while let Some(b'\'' | b'"') = self.peek() {
            joined.push_str(&self.string(false, false)?);
        }
        Value::scalar(format!("s{}:{joined}", joined.len()))
    }

    fn string(&mut self, raw: bool, bytes: bool) -> Option<String> {
        let rest = self.rest();
        let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| rest.starts_with(quote))?;
        let mut characters = rest[quote.len()..].char_indices();
        let inside = &rest[quote.len()..];
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
                '\\' => escape(&mut characters, bytes, &mut value)?,
                next if bytes && !next.is_ascii() => return None,
                next => value.push(next),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Value> {
        let rest = self.rest();
        let length = rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_')).unwrap_or(rest.len());
        let word = &rest[..length];
        self.at += length;
        match word {
            "None" => Value::scalar("N".to_owned()),
            "True" => Value::scalar(integer(false, "1")),
            "False" => Value::scalar(integer(false, "0")),
            "inf" => Value::scalar(double(f64::INFINITY)?),
            "u" | "U" if matches!(self.rest().bytes().next(), Some(b'\'' | b'"')) => self.strings(),
            "r" | "R" => {
                let text = self.string(true, false)?;
                Value::scalar(format!("s{}:{text}", text.len()))
            }
            "b" | "B" => {
                let text = self.string(false, true)?;
                Value::scalar(format!("b{}:{text}", text.len()))
            }
            "set" | "frozenset" | "list" | "tuple" => {
                self.expect(b'(')?;
                let items = if self.peek()? == b')' { Vec::new() } else { self.value()?.items? };
                self.expect(b')')?;
                Some(match word {
                    "list" => Value::list(items),
                    "tuple" => Value::tuple(items),
                    _ => Value::set(items),
                })
            }
            "float" => {
                self.expect(b'(')?;
                self.peek()?;
                let value = match self.string(false, false)?.as_str() {
                    "inf" | "Infinity" => f64::INFINITY,
                    "-inf" | "-Infinity" => f64::NEG_INFINITY,
                    _ => return None,
                };
                self.expect(b')')?;
                Value::scalar(double(value)?)
            }
            _ => None,
        }
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

fn texts(items: Vec<Value>) -> Vec<String> {
    items.into_iter().map(|item| item.text).collect()
}

/// What follows a backslash.
fn escape(characters: &mut std::str::CharIndices<'_>, bytes: bool, value: &mut String) -> Option<()> {
    let (_, letter) = characters.next()?;
    let digits = match letter {
        'x' => 2,
        'u' if !bytes => 4,
        'U' if !bytes => 8,
        'N' if !bytes => return None,
        _ => 0,
    };
    if digits > 0 {
        let mut code = 0_u32;
        for _ in 0..digits {
            code = code.checked_mul(16)? + characters.next()?.1.to_digit(16)?;
        }
        value.push(char::from_u32(code)?);
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

fn integer(negative: bool, digits: &str) -> String {
    let digits = digits.trim_start_matches('0');
    match digits {
        "" => "i0".to_owned(),
        _ if negative => format!("i-{digits}"),
        _ => format!("i{digits}"),
    }
}

/// A double: as the integer it equals, else by its bits.
fn double(value: f64) -> Option<String> {
    if value.is_nan() {
        None
    } else if value.is_finite() && value.fract() == 0.0 {
        // Formatting without decimals writes every digit of the exact value.
        Some(integer(value < 0.0, &format!("{:.0}", value.abs())))
    } else {
        Some(format!("f{:x}", value.to_bits()))
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
        check_equal("{'a': 1, 'b': [2]}", "{\"b\": [2], \"a\": 1}");
        check_equal(r"'a\x41\n\u00e9'", "'''aA\né'''");
        check_equal("'ab' \"c\"", "'abc'");
        check_equal(r"r'\n'", r"'\\n'");
        check_equal("float('inf')", "inf");
        check_equal("b'a'", r"b'\x61'");
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
            ("9007199254740993", "9007199254740992.0"),
            ("None", "False"),
            ("['a,b']", "['a', 'b']"),
            ("[[1], 2]", "[1, [2]]"),
            ("'a'", "'A'"),
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
    }
}
