//! The text of a Python literal, or of JSON, as a tree. See [`literal`](super::literal).
//!
//! JSON is read as strictly as Python's `json.loads` reads it: what that refuses fails in the guest, whatever the submission,
//! and must be the reference's fault.

use super::literal::{Literal, MADE};

const MAX_DEPTH: usize = 100;

/// The value that is all of `text`; `None` where it is none, or is nested beyond reason.
pub(super) fn whole(text: &str, json: bool) -> Option<Literal> {
    let mut parser = Parser { text, at: 0, depth: 0, json };
    let value = parser.value()?;
    parser.skip_space();
    (parser.at == text.len()).then_some(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    json: bool,
}

impl<'a> Parser<'a> {
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
                // JSON has no comma behind the last item.
                if self.json && self.peek()? == close { None } else { Some(true) }
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
        let is_text = |key: &Literal| matches!(key, Literal::Text(_));
        if self.json && !is_text(&key) {
            return None;
        }
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
            if self.json && !is_text(&key) {
                return None;
            }
        }
    }

    fn signed(&mut self) -> Option<Literal> {
        let negative = self.peek()? == b'-';
        if self.json && !negative {
            return None;
        }
        self.at += 1;
        for infinity in ["inf", "Infinity"] {
            if negative && self.rest().starts_with(infinity) && !(self.json && infinity == "inf") {
                self.at += infinity.len();
                return self.number_ends().then_some(Literal::Float(f64::NEG_INFINITY));
            }
        }
        self.number(negative)
    }

    fn number(&mut self, negative: bool) -> Option<Literal> {
        if self.json {
            return self.json_number(negative);
        }
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

    /// `0`, `12`, `1.5`, `2e-3`: no other zeros in front, a digit on both sides of the point.
    fn json_number(&mut self, negative: bool) -> Option<Literal> {
        let rest = self.rest();
        let digits = |at: usize| rest.bytes().skip(at).take_while(u8::is_ascii_digit).count();
        let whole = digits(0);
        if whole == 0 || whole > 1 && rest.starts_with('0') {
            return None;
        }
        let mut length = whole;
        if rest[length..].starts_with('.') {
            let places = digits(length + 1);
            if places == 0 {
                return None;
            }
            length += 1 + places;
        }
        if rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(length + 1 + sign);
            if exponent == 0 {
                return None;
            }
            length += 1 + sign + exponent;
        }
        self.at += length;
        if !self.number_ends() {
            return None;
        }
        if length == whole {
            return Some(integer(negative, &rest[..whole]));
        }
        let value: f64 = rest[..length].parse().ok()?;
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
            if self.json {
                break;
            }
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
                // Control characters must be escaped.
                '\0'..='\x1f' if self.json => return None,
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
                let items = if self.peek()? == b')' { Vec::new() } else { self.value()?.into_items()? };
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
        // Python has the form feed too.
        while self
            .text
            .as_bytes()
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_whitespace() && !(self.json && *byte == b'\x0c'))
        {
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
    if json && !matches!(letter, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u') {
        return None;
    }
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
