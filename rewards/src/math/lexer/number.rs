//! Where a number ends: digits, thousands in their many separators, decimals, periods, exponents.

use super::{Lexer, Token};

impl<'a> Lexer<'a> {
    fn digits_from(&self, at: usize) -> usize {
        self.text.as_bytes()[at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// Three digits and no fourth behind a separator that begins at `at` and is `length` long.
    fn group_behind(&self, at: usize, length: usize) -> bool {
        self.text.is_char_boundary(at + length) && self.digits_from(at + length) == 3
    }

    pub(super) fn number(&mut self) {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let lead = self.digits_from(start);
        self.at += lead;
        if (1..=3).contains(&lead) {
            self.thousands(start);
        }
        if bytes.get(self.at) == Some(&b'.') {
            let places = self.digits_from(self.at + 1);
            let behind = &self.text[self.at + 1..];
            let repeating =
                places == 0 && ["\\overline", "\\bar", "\\dot", "("].iter().any(|name| behind.starts_with(name));
            if places > 0 || repeating {
                self.at += 1 + places;
                if let Some((period, end)) = self.period() {
                    let before = &self.text[start..self.at];
                    self.at = end;
                    self.push(Token::Repeating(before, period), start);
                    return;
                }
                // "5.(a)": only a full stop.
                if behind.starts_with('(') {
                    self.at -= 1;
                }
            }
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            let sign = usize::from(matches!(bytes.get(self.at + 1), Some(b'+' | b'-')));
            let digits = self.digits_from((self.at + 1 + sign).min(bytes.len()));
            if digits > 0 {
                self.at += 1 + sign + digits;
            }
        }
        self.push(Token::Number(&self.text[start..self.at]), start);
    }

    /// Takes the groups of three digits that follow.
    fn thousands(&mut self, start: usize) {
        let mut groups = 0;
        let mut at = self.at;
        let mut separator = "";
        loop {
            let rest = &self.text[at..];
            let candidates =
                ["{,}", ",\\!\\!", ",\\!", "{,}\\!", "\\,", "{\\,}", ",\\,", ",", " ", "\u{a0}", "\u{202f}"];
            let spaced = |found: &str| found == ",\\!" && rest[found.len()..].starts_with(' ');
            let Some(found) = candidates.into_iter().find(|candidate| rest.starts_with(candidate)) else { break };
            let length = found.len() + usize::from(spaced(found));
            if groups > 0 && found != separator || !self.group_behind(at, length) {
                break;
            }
            if found == "," && (self.depth > 0 || !self.reading.commas) {
                self.commas |= self.depth == 0;
                break;
            }
            let end = at + length + 3;
            // "1 234/5" is a mixed number, "1 234.5"... one number.
            if found == " " && self.text[end..].starts_with('/') {
                break;
            }
            separator = found;
            groups += 1;
            at = end;
        }
        // A group of another length ends the reading as one number: 10,100,1000.
        if groups > 0 && separator == "," && self.text[at..].starts_with(',') && self.digits_from(at + 1) > 0 {
            return;
        }
        if groups > 0 {
            self.commas |= separator == ",";
            self.at = at;
        }
        debug_assert!(self.at >= start);
    }

    /// `\overline{3}` right behind a decimal: the digits that repeat, and where it ends.
    fn period(&self) -> Option<(&'a str, usize)> {
        let rest = self.rest();
        let name = ["\\overline", "\\bar", "\\dot", "("].into_iter().find(|name| rest.starts_with(name))?;
        let close = if name == "(" { ")" } else { "}" };
        let inside = rest[name.len()..].trim_start();
        let inside = match inside.strip_prefix('{') {
            Some(inside) if name != "(" => inside,
            // TeX takes one digit without braces: \bar3.
            None if name != "(" => {
                let digit = inside.get(..1).filter(|digit| digit.bytes().all(|byte| byte.is_ascii_digit()))?;
                return Some((digit, self.text.len() - inside.len() + 1));
            }
            _ => inside,
        };
        let end = inside.find(close)?;
        let digits = &inside[..end];
        let fits = !digits.is_empty() && digits.len() <= 64 && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| (digits, self.text.len() - inside.len() + end + close.len()))
    }
}
