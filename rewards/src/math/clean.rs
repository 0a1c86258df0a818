//! From LaTeX and typographic text to the plain notation that the parsers read.
//!
//! Layout goes (`\left`, `\,`, `$...$`, `\text{...}`), spellings of one thing become one (`\dfrac`, `×`, `−`),
//! and set braces get characters of their own ([`SET_OPEN`], [`SET_CLOSE`]), so that every brace that is left
//! is grouping. One pass, no recursion.

use super::layout::{Layout, is_power, layout, spelling};
use super::text::count_plain_dollars;

/// `\{`, once cleaned.
pub(crate) const SET_OPEN: char = '\u{2983}';
/// `\}`, once cleaned.
pub(crate) const SET_CLOSE: char = '\u{2984}';

/// `text` in plain notation. `None` where its braces do not balance.
pub(crate) fn clean(text: &str) -> Option<String> {
    let text = text.trim();
    let dollars = count_plain_dollars(text);
    let mut cleaned = String::with_capacity(text.len());
    // For each open brace, whether it is left out: those of \text{...} are.
    let mut braces: Vec<bool> = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\\' => rest = command(rest, &mut cleaned, &mut braces),
            '{' if rest.starts_with(",}") => {
                // 1{,}000: a thousands separator set tight.
                cleaned.push(',');
                rest = &rest[2..];
            }
            '{' => {
                braces.push(false);
                cleaned.push('{');
            }
            '}' => cleaned.push(if braces.pop()? { ' ' } else { '}' }),
            // A single dollar sign is money; a pair of them delimits a formula.
            '$' if dollars == 1 => cleaned.push('$'),
            '$' => cleaned.push(' '),
            '*' if rest.starts_with('*') => {
                let before = &text[..text.len() - rest.len() - 1];
                rest = &rest[1..];
                if is_power(before, rest) {
                    cleaned.push('^');
                }
            }
            other => plain(other, &mut cleaned),
        }
    }
    if !braces.is_empty() {
        return None;
    }
    Some(tidy(&cleaned))
}

/// Handles the command whose name begins `rest`, and returns what follows it.
fn command<'a>(rest: &'a str, cleaned: &mut String, braces: &mut Vec<bool>) -> &'a str {
    let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    if length == 0 {
        let Some(symbol) = rest.chars().next() else { return rest };
        match symbol {
            '!' | '(' | ')' | '[' | ']' => {}
            '{' => cleaned.push(SET_OPEN),
            '}' => cleaned.push(SET_CLOSE),
            '$' | '%' | '&' | '#' | '_' | '|' => cleaned.push(symbol),
            '\\' => cleaned.push_str("\\\\"),
            _ => cleaned.push(' '),
        }
        return &rest[symbol.len_utf8()..];
    }
    let (name, rest) = rest.split_at(length);
    match layout(name) {
        Some(Layout::Space) => {
            cleaned.push(' ');
            return rest;
        }
        Some(Layout::Text) => {
            if let Some(inside) = rest.trim_start().strip_prefix('{') {
                braces.push(true);
                cleaned.push(' ');
                return inside;
            }
            return rest;
        }
        None => {}
    }
    match spelling(name) {
        "times" | "cdot" | "ast" => cleaned.push('*'),
        "div" => cleaned.push('/'),
        "lbrace" => cleaned.push(SET_OPEN),
        "rbrace" => cleaned.push(SET_CLOSE),
        "degree" => cleaned.push('°'),
        name => {
            cleaned.push('\\');
            cleaned.push_str(name);
        }
    }
    rest
}

/// One character of text, in its plain spelling.
fn plain(character: char, cleaned: &mut String) {
    match character {
        '−' | '–' | '‐' | '‑' | '﹣' | '－' => cleaned.push('-'),
        '×' | '·' | '⋅' | '∗' | '∙' => cleaned.push('*'),
        '÷' | '⁄' | '∕' => cleaned.push('/'),
        '％' => cleaned.push('%'),
        'π' => cleaned.push_str("\\pi "),
        '√' => cleaned.push_str("\\sqrt "),
        '∞' => cleaned.push_str("\\infty "),
        '≤' => cleaned.push_str("\\le "),
        '≥' => cleaned.push_str("\\ge "),
        '≠' => cleaned.push_str("\\ne "),
        '±' => cleaned.push_str("\\pm "),
        '∪' => cleaned.push_str("\\cup "),
        '~' => cleaned.push(' '),
        '“' | '”' | '"' | '‘' | '’' | '`' => cleaned.push('\''),
        other if other.is_whitespace() => cleaned.push(' '),
        other => cleaned.push(other),
    }
}

/// Single spaces, the degree sign in one spelling, no full stop at the end.
fn tidy(cleaned: &str) -> String {
    let mut tidied = String::with_capacity(cleaned.len());
    for word in cleaned.split_whitespace() {
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    for spelling in ["^{\\circ}", "^{ \\circ }", "^\\circ", "^ \\circ"] {
        if tidied.contains(spelling) {
            tidied = tidied.replace(spelling, "°");
        }
    }
    let end = tidied.trim_end_matches([' ', '.', ',', ';', '!']).len();
    tidied.truncate(end);
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(clean(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn layout_goes_and_spellings_agree() {
        check(r"$\dfrac{1}{2}$.", Some(r"\frac{1}{2}"));
        check(r"\left( 3, \tfrac{\pi}{2} \right)", Some(r"( 3, \frac{\pi}{2} )"));
        check(r"10{,}000", Some("10,000"));
        check(r"10,\!000", Some("10,000"));
        check(r"\text{13}", Some("13"));
        check(r"5\text{ cm}", Some("5 cm"));
        check(r"\$18.00", Some("$18.00"));
        check("$18.00", Some("$18.00"));
        check("$18$", Some("18"));
        check(r"90^{\circ}", Some("90°"));
        check(r"90^\circ", Some("90°"));
        check(r"3 × 4 − 2 ÷ 1", Some("3 * 4 - 2 / 1"));
        check("**42**", Some("42"));
        check("2**3", Some("2^3"));
        check(r"\|-5\|", Some("|-5|"));
        check(r"\{1,2\}", Some("\u{2983}1,2\u{2984}"));
        check("", Some(""));
    }

    #[test]
    fn unbalanced_braces_are_refused() {
        check(r"\frac{1}{", None);
        check("1}", None);
        check(r"\text{a", None);
    }
}
