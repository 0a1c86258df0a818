//! Just enough of Python's surface to tell `assert CALL == LITERAL` from everything else.
//!
//! A scanner of brackets, strings and top-level operators, not a parser: where it is not certain it says
//! [`Form::Other`], and the assertion is run as it stands.

use super::literal;

/// What an assertion asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// `assert expression == literal`, either way round; the literal in canonical form.
    Equal { expression: &'a str, expected: String },
    /// `assert name(...)` or `assert not name(...)`.
    Truth { expression: &'a str, expected: bool },
    /// Anything else.
    Other,
}

/// Names that make an expression a comparison of its own: what they are called with holds the expected value.
const COMPARING: &[&str] = &["isclose", "approx", "allclose", "abs", "all", "any", "bool", "isinstance", "is_close"];

/// The form of `assertion`; `setup` says which other names are not the submission's.
pub(crate) fn form<'a>(assertion: &'a str, setup: &str) -> Form<'a> {
    equal_or_truth(assertion, setup).unwrap_or(Form::Other)
}

fn equal_or_truth<'a>(assertion: &'a str, setup: &str) -> Option<Form<'a>> {
    let rest = assertion.trim().strip_prefix("assert")?;
    if !rest.starts_with([' ', '(', '\t']) {
        return None;
    }
    let mut condition = rest.trim_start();
    let mut expected_truth = true;
    if let Some(negated) = condition.strip_prefix("not ") {
        expected_truth = false;
        condition = negated.trim_start();
    }
    let mut top = scan(condition)?;
    condition = condition[..top.end].trim_end();
    // assert (f(1) == 2)
    if top.equals.is_empty() && condition.starts_with('(') && condition.ends_with(')') {
        let inside = &condition[1..condition.len() - 1];
        top = scan(inside)?;
        if top.comma {
            return None;
        }
        condition = inside[..top.end].trim();
        top = scan(condition)?;
    }
    match top.equals[..] {
        [] => {
            let name = words(condition).next().filter(|name| condition.starts_with(name))?;
            let call = condition[name.len()..].starts_with('(') && closes_at_end(&condition[name.len()..]);
            let of_submission = !COMPARING.contains(&name) && !words(setup).any(|word| word == name);
            (call && of_submission).then_some(Form::Truth { expression: condition, expected: expected_truth })
        }
        [at] if expected_truth => {
            let (left, right) = (condition[..at].trim(), condition[at + 2..].trim());
            let (expression, expected) = match (literal::canonical(left), literal::canonical(right)) {
                (None, Some(expected)) => (left, expected),
                (Some(expected), None) => (right, expected),
                _ => return None,
            };
            let calls = expression.contains('(') && !words(expression).any(|word| COMPARING.contains(&word));
            calls.then_some(Form::Equal { expression, expected })
        }
        _ => None,
    }
}

/// What stands outside all brackets and strings of an expression.
struct TopLevel {
    /// Where each `==` begins.
    equals: Vec<usize>,
    /// Whether a comma ends the expression: what follows is the assertion's message.
    comma: bool,
    /// Where the expression ends: at that comma, at a comment, or with the text.
    end: usize,
}

/// `None` where anything stands at the top level that makes it more than operands joined by `==`.
fn scan(text: &str) -> Option<TopLevel> {
    let bytes = text.as_bytes();
    let mut top = TopLevel { equals: Vec::new(), comma: false, end: text.len() };
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => at = string_end(text, at)?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            // A comment within brackets, or the text of another line: not worth understanding.
            b'#' if depth > 0 => return None,
            _ if depth > 0 => {}
            b'#' => {
                top.end = at;
                return Some(top);
            }
            b',' => {
                top.comma = true;
                top.end = at;
                // The message runs to the end, and must not hide another statement.
                return (!text[at..].contains([';', '\n'])).then_some(top);
            }
            b'=' if bytes.get(at + 1) == Some(&b'=') => {
                top.equals.push(at);
                at += 1;
            }
            b'=' | b'!' | b'<' | b'>' | b':' | b';' | b'\\' | b'\n' => return None,
            next if next.is_ascii_alphabetic() || next == b'_' => {
                let word = words(&text[at..]).next()?;
                if ["and", "or", "not", "in", "is", "if", "else", "lambda", "for", "await", "yield"].contains(&word) {
                    return None;
                }
                at += word.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    (depth == 0).then_some(top)
}

/// The index of the closing quote's last byte.
fn string_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| rest.starts_with(quote))?;
    let bytes = text.as_bytes();
    let mut at = start + quote.len();
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at..].starts_with(quote.as_bytes()) {
            return Some(at + quote.len() - 1);
        } else {
            at += 1;
        }
    }
    None
}

/// Whether the bracket that begins `text` closes with its last byte.
fn closes_at_end(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => match string_end(text, at) {
                Some(end) => at = end,
                None => return false,
            },
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1 == bytes.len();
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|next: char| !(next.is_alphanumeric() || next == '_')).filter(|word| !word.is_empty())
}

/// `text` as a Python string literal of ASCII alone.
pub(crate) fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for next in text.chars() {
        match next {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            ' '..='~' => literal.push(next),
            other => literal.push_str(&format!("\\U{:08x}", u32::from(other))),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal<'a>(expression: &'a str, literal: &str) -> Form<'a> {
        Form::Equal { expression, expected: literal::canonical(literal).unwrap() }
    }

    fn truth(expression: &str, expected: bool) -> Form<'_> {
        Form::Truth { expression, expected }
    }

    #[track_caller]
    fn check(assertion: &str, expected: Form<'_>) {
        assert_eq!(form(assertion, "from math import sqrt"), expected, "{assertion}");
    }

    #[test]
    fn assertions_that_are_judged_outside() {
        check("assert f(1, [2, 3]) == [4, 5]", equal("f(1, [2, 3])", "[4, 5]"));
        check("assert f('a == b, \\'') == 'x'", equal("f('a == b, \\'')", "'x'"));
        check("assert f(1) == (1, 2), 'message'", equal("f(1)", "(1, 2)"));
        check("assert (f(1) == 2)", equal("f(1)", "2"));
        check("assert(f(1)==2)", equal("f(1)", "2"));
        check("assert 2 == f(1)  # yes", equal("f(1)", "2"));
        check("assert set(f(x=1)) == set([1, 2])", equal("set(f(x=1))", "{1, 2}"));
        check("assert f({'a': 1}) == {'a': [1]}", equal("f({'a': 1})", "{'a': [1]}"));
        check("assert f(3)", truth("f(3)", true));
        check("assert not f(3)", truth("f(3)", false));
        check("assert(f(3))", truth("f(3)", true));
    }

    #[test]
    fn everything_else_runs_as_it_stands() {
        for assertion in [
            "assert f(1) == 2 and f(2) == 3",
            "assert f(1) == f(2)",
            "assert f(1) != 2",
            "assert f(1) < 2",
            "assert f(1) == 2 == g(1)",
            "assert f(1) is None",
            "assert 3 in f(1)",
            "assert 1 == 1",
            "assert f(1) == 2; import os",
            "assert f(1) == 2\nassert f(2) == 3",
            "x = f(1)",
            "assert isclose(f(1), 2.5)",
            "assert sqrt(f(1))",
            "assert abs(f(1) - 2.5) == 0",
            "assert (f(1), 2)",
            "assert f(1) == float('nan')",
            "assert not f(1) == 2",
            "assert f(1)(2)[",
            "assertion(1)",
            "assert f",
            "assert (yield)",
            "assert f(1) + g(2)",
            "",
        ] {
            check(assertion, Form::Other);
        }
    }

    #[test]
    fn quoting_leaves_ascii() {
        assert_eq!(quoted("a\"b\\\né\t"), r#""a\"b\\\n\U000000e9\U00000009""#);
    }

    /// Most of a real set of tests is judged where no submission can reach.
    #[test]
    #[allow(clippy::print_stderr)] // The measurement is for people to read.
    fn most_of_mbpp_is_judged_outside() {
        let Some(text) = crate::corpus::read("tasks", "mbpp.jsonl") else { return };
        let (mut outside, mut inside) = (0, Vec::new());
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let setup = row["test_setup_code"].as_str().unwrap_or_default();
            for assertion in row["test_list"].as_array().unwrap().iter().filter_map(|test| test.as_str()) {
                match form(assertion, setup) {
                    Form::Other => inside.push(assertion.to_owned()),
                    _ => outside += 1,
                }
            }
        }
        eprintln!("mbpp: {outside} assertions judged outside, {} inside:", inside.len());
        for assertion in inside.iter().step_by(10) {
            eprintln!("  {assertion}");
        }
        assert!(inside.len() * 20 < outside, "{}", inside.len());
    }
}
