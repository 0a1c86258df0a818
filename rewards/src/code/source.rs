//! Just enough of Python's surface to tell `assert CALL == LITERAL` from everything else.
//!
//! A scanner of brackets, strings and top-level operators, not a parser: where it is not certain it says
//! [`Form::Other`], and the assertion is run as it stands, in a guest of the tests' own.
//!
//! What is asked of the submission's guest is the value of one call of the submission's own ([`is_question`]). Anything that
//! computes with that value, or compares it, would do so where every name and every object is the submission's: of
//! `round(f(3) - 4.5, 5) == 0` both `round` and the difference.

use super::literal::{self, Literal};

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

/// Names that are not a submission's to define: Python's own functions, and what tests compare and collect with.
const FOREIGN: &str = "
    abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod compile complex delattr dict dir
    divmod enumerate eval exec filter float format frozenset getattr globals hasattr hash help hex id input int isinstance
    issubclass iter len list locals map max memoryview min next object oct open ord pow print property range repr reversed
    round set setattr slice sorted staticmethod str sum super tuple type vars zip __import__
    allclose approx is_close isclose Counter Decimal Fraction OrderedDict defaultdict deque
";

/// Those of them that only say the value in another form. A forged one would have to know what value to say.
const WRAPPING: &[&str] = &["frozenset", "list", "set", "sorted", "tuple"];

/// Those that run a text: what it computes is not seen from here.
const RUNNING: &[&str] = &["__import__", "compile", "eval", "exec"];

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
        [] => is_question(condition, setup).then_some(Form::Truth { expression: condition, expected: expected_truth }),
        [at] if expected_truth => {
            let (left, right) = (condition[..at].trim(), condition[at + 2..].trim());
            let (expression, expected) = match (literal::canonical(left), literal::canonical(right)) {
                (None, Some(expected)) => (left, expected),
                (Some(expected), None) => (right, expected),
                _ => return None,
            };
            is_question(expression, setup).then_some(Form::Equal { expression, expected })
        }
        _ => None,
    }
}

/// Whether the value of `expression` is one that the submission alone answers for: a call of a function of its own, perhaps an
/// item or attribute of what that returns, perhaps within one of [`WRAPPING`]. What decides is out of reach then: a value is said, and
/// compared elsewhere.
fn is_question(expression: &str, setup: &str) -> bool {
    let Some((name, inside, mut rest)) = call(expression) else {
        // (f(3))
        let text = expression.trim();
        return text.starts_with('(') && closing(text) == Some(text.len() - 1) && {
            is_question(&text[1..text.len() - 1], setup)
        };
    };
    let own = if words(FOREIGN).any(|word| word == name) {
        // MBPP has functions that are called `sum` and the like: with plain arguments it is the submission's that is asked.
        WRAPPING.contains(&name) && is_question(inside, setup) || is_plain(inside) && !RUNNING.contains(&name)
    } else {
        !may_define(setup, name) && is_harmless(inside)
    };
    // Solution().solve(3): the method of a class of the submission's is its own. Those of what it returns need not be.
    let mut of_class = name.starts_with(|letter: char| letter.is_ascii_uppercase());
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return own;
        }
        if rest.starts_with('[') {
            let Some(end) = closing(rest).filter(|end| is_plain(&rest[1..*end])) else { return false };
            rest = &rest[end + 1..];
        } else if let Some((_, inside, behind)) = rest.strip_prefix('.').and_then(call)
            && of_class
            && is_harmless(inside)
        {
            of_class = false;
            rest = behind;
        } else if let Some((attribute, behind)) = rest.strip_prefix('.').and_then(attribute)
            && !attribute.starts_with("__")
        {
            rest = behind;
        } else {
            return false;
        }
    }
}

/// Whether a name may be the setup's own: it stands there, or anything may, behind `import *`.
fn may_define(setup: &str, name: &str) -> bool {
    words(setup).any(|word| word == name)
        || setup.split("import").skip(1).any(|rest| rest.trim_start().starts_with('*'))
}

/// Whether an expression mentions a name of the setup.
pub(crate) fn mentions(expression: &str, setup: &str) -> bool {
    let is_name = |word: &&str| !word.starts_with(|first: char| first.is_ascii_digit());
    words(expression).filter(is_name).any(|name| words(setup).any(|word| word == name))
}

/// The parts of `name(inside)rest`.
fn call(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim();
    let name = words(text).next().filter(|name| text.starts_with(name))?;
    let behind = text[name.len()..].trim_start();
    let end = closing(behind).filter(|_| behind.starts_with('('))?;
    Some((name, &behind[1..end], &behind[end + 1..]))
}

/// The name that begins `text`, where it is not called, and what follows it.
fn attribute(text: &str) -> Option<(&str, &str)> {
    let name = words(text).next().filter(|name| text.starts_with(name))?;
    let behind = text[name.len()..].trim_start();
    (!behind.starts_with('(')).then_some((name, behind))
}

/// Whether arguments, or an index, are nothing but literals.
fn is_plain(inside: &str) -> bool {
    Literal::parse(&format!("({inside})")).is_some() || Literal::parse(&format!("({inside},)")).is_some()
}

/// Whether arguments only say what is asked. Operators and comparisons may work on the result of another call, which the
/// submission could then turn into anything; without a call among the arguments they are a matter of the question.
fn is_harmless(inside: &str) -> bool {
    let bytes = inside.as_bytes();
    let (mut calls, mut operators) = (false, false);
    let mut before = b',';
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => match string_end(inside, at) {
                Some(end) => at = end,
                None => return false,
            },
            b'(' => calls |= before.is_ascii_alphanumeric() || matches!(before, b'_' | b')' | b']'),
            // A sign, and the sign of an argument's name.
            b'-' if matches!(before, b',' | b'(' | b'[' | b'{' | b':' | b'=') => {}
            b'=' if bytes.get(at + 1) != Some(&b'=') && before != b'=' => {}
            b'+' | b'-' | b'*' | b'/' | b'%' | b'@' | b'&' | b'|' | b'^' | b'~' | b'<' | b'>' | b'=' | b'!' => {
                operators = true;
            }
            next if next.is_ascii_alphabetic() || next == b'_' => {
                let word = words(&inside[at..]).next().unwrap_or_default();
                operators |= KEYWORDS.contains(&word);
                at += word.len().max(1) - 1;
            }
            _ => {}
        }
        if !bytes[at].is_ascii_whitespace() {
            before = bytes[at];
        }
        at += 1;
    }
    !(calls && operators)
}

/// Words that make an expression more than operands.
const KEYWORDS: &[&str] = &["and", "or", "not", "in", "is", "if", "else", "lambda", "for", "await", "yield"];

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
                if KEYWORDS.contains(&word) {
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

/// Where the bracket that begins `text` closes.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => at = string_end(text, at)?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
        at += 1;
    }
    None
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
        check("assert f(-3, key=[1])[0][1] == 2", equal("f(-3, key=[1])[0][1]", "2"));
        check("assert sorted(list(f(3))) == [1]", equal("sorted(list(f(3)))", "[1]"));
        check("assert f(Pair(5, 24), g(3)) == 3", equal("f(Pair(5, 24), g(3))", "3"));
        check("assert f(lambda x: x > 3, [2 * 3]) == [6]", equal("f(lambda x: x > 3, [2 * 3])", "[6]"));
        check("assert (f(root)) == 3", equal("(f(root))", "3"));
        check("assert f(3).left.value == 6", equal("f(3).left.value", "6"));
        check("assert sum(10, 15) == 6", equal("sum(10, 15)", "6"));
        check("assert Solution().solve([1], 2) == 6", equal("Solution().solve([1], 2)", "6"));
    }

    #[test]
    fn names_of_the_setup_are_not_the_submissions() {
        for (assertion, setup) in [
            ("assert isfinite(f(3))", "from math import isfinite"),
            ("assert isfinite(f(3))", "from math import *"),
            ("assert eq(f(3), 9)", "import re\nfrom operator import  *"),
        ] {
            assert_eq!(form(assertion, setup), Form::Other, "{assertion} {setup}");
        }
        assert_eq!(form("assert f(3)", "x = 'import'\ny = 2 * 3"), truth("f(3)", true));
        assert!(mentions("f(root, 1)", "root = Node(1)") && !mentions("f(tree, 1)", "root = Node(1)"));
    }

    /// What computes or compares runs where the submission is not.
    #[test]
    fn nothing_is_worked_out_beside_the_submission() {
        for assertion in [
            "assert round(f(3) - 4.5, 5) == 0",
            "assert round(f(3), 5) == 4.5",
            "assert (f(3) in [1, 2, 3]) == True",
            "assert close(f(3), 2.5) == True",
            "assert g(f(3) == 2.5) == True",
            "assert g(f(3) - 2.5) == 0",
            "assert g(not f(3)) == 0",
            "assert max(f(3), 7) == 7",
            "assert set(f(3) - {1}) == set()",
            "assert sorted(f(3), key=lambda x: 1) == [1]",
            "assert len(f(3)) == 2",
            "assert f(3) + 1 == 3",
            "assert -f(3) == 3",
            "assert f(3).startswith('a') == True",
            "assert Solution().solve(3).startswith('a') == True",
            "assert Solution().solve(f(3) == 2) == True",
            "assert f(3)[g(3)] == 1",
            "assert all(map(f, [1])) == True",
            "assert any(f(3))",
            "assert eval('f(3) == 2.5')",
            "assert isinstance(f(3), int)",
            "assert Counter(f(3)) == {1: 2}",
        ] {
            assert_eq!(form(assertion, "def close(a, b): return abs(a - b) < 1e-6"), Form::Other, "{assertion}");
        }
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
        assert!(inside.len() <= 9, "{inside:#?}");
    }
}
