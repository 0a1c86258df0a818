//! Answers that are not numbers: words, choices and formulas as normalised text.

use std::borrow::Cow;

use super::layout::{Layout, is_power, layout, spelling};

/// Signs that say something within words too. A text with one of them, or with a digit, has something to work out in it.
const SIGNS: &str = "+*/^=<>%|_";

/// Whether a character says something within words: one of [`SIGNS`], or any beyond ASCII that is no letter, space, quote or
/// dash of a sentence (`≥`, `∪`, `√`, `±`).
fn is_sign(next: char) -> bool {
    if next.is_ascii() {
        return SIGNS.contains(next);
    }
    let punctuation = matches!(next, '«' | '»' | '¿' | '¡' | '\u{ad}' | '\u{feff}')
        || matches!(next, '\u{2000}'..='\u{206f}' if !matches!(next, '‰' | '‱' | '′' | '″' | '‴' | '⁄' | '‖'))
        // East Asian punctuation, and how the character before is drawn.
        || matches!(next, '\u{3000}'..='\u{303f}' | '・' | '\u{fe00}'..='\u{fe0f}');
    !punctuation && !next.is_alphanumeric() && !next.is_whitespace()
}

/// The plain dollar signs of `text`. One alone is money; a pair delimits a formula.
pub(crate) fn count_plain_dollars(text: &str) -> usize {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter(|&at| bytes[at] == b'$' && (at == 0 || bytes[at - 1] != b'\\')).count()
}

/// In ASCII: the letters, digits and signs that East Asian texts write as wide as their own characters, and digits that are
/// raised or lowered (`10⁻³`, `x₁`).
pub(crate) fn to_ascii(text: &str) -> Cow<'_, str> {
    let is_wide = |letter: char| ('\u{ff01}'..='\u{ff5e}').contains(&letter);
    if text.is_ascii() || !text.contains(|next| is_wide(next) || raised(next).is_some() || lowered(next).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 8);
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let (mark, digit): (char, fn(char) -> Option<char>) = match next {
            wide if is_wide(wide) => {
                plain.push(char::from_u32(u32::from(wide) - 0xfee0).unwrap_or(wide));
                continue;
            }
            _ if raised(next).is_some() => ('^', raised),
            _ if lowered(next).is_some() => ('_', lowered),
            _ => {
                plain.push(next);
                continue;
            }
        };
        // The whole run is one exponent or index: 10¹² is 10^{12}.
        let mut run = String::from(digit(next).unwrap_or(next));
        while let Some(digit) = rest.peek().and_then(|next| digit(*next)) {
            run.push(digit);
            rest.next();
        }
        // Braces only where something else would be taken for its end.
        let joined = rest.peek().is_some_and(|next| next.is_alphanumeric() || matches!(next, '.' | ',' | '{' | '\\'));
        plain.push(mark);
        if run.len() == 1 && !joined { plain.push_str(&run) } else { plain.push_str(&format!("{{{run}}}")) }
    }
    Cow::Owned(plain)
}

/// The digit or minus that is raised here.
fn raised(next: char) -> Option<char> {
    Some(match next {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴'..='⁹' => char::from_digit(u32::from(next) - 0x2070, 10)?,
        '⁻' => '-',
        _ => return None,
    })
}

/// The digit that is lowered here.
fn lowered(next: char) -> Option<char> {
    char::from_digit(u32::from(next).checked_sub(0x2080)?, 10)
}

/// The form in which two texts are compared. Words lose letter case, punctuation and what sets them as text; formulas
/// lose white space and layout alone, because there letter case says something.
pub(crate) fn normal_form(text: &str) -> String {
    form(text).0
}

/// The normal form, and whether it is that of words.
pub(crate) fn form(text: &str) -> (String, bool) {
    let bare = without_layout(text);
    if bare.contains(':')
        && let Some(time) = time_form(&bare)
    {
        return (time, false);
    }
    let formula = is_formula(&bare) && !is_wordy(&bare);
    (if formula { formula_form(&bare) } else { words_form(&bare) }, !formula)
}

/// Anything but words and the punctuation of sentences. A hyphen within a word and an exclamation mark behind one are
/// punctuation; a minus before a letter and a factorial are not.
fn is_formula(text: &str) -> bool {
    let (mut before, mut length) = (' ', 0);
    let mut characters = text.chars().peekable();
    while let Some(next) = characters.next() {
        let within = |behind: Option<&char>| length > 0 && behind.is_some_and(|next| next.is_alphabetic());
        let fine = match next {
            '.' | ',' | ';' | ':' | '?' | '"' => true,
            '-' => within(characters.peek()) && before != ' ',
            '!' => length > 1,
            '\'' => length > 1 || within(characters.peek()),
            _ => next.is_alphabetic() || next.is_whitespace(),
        };
        if !fine {
            return true;
        }
        length = if next.is_alphabetic() { length + 1 } else { 0 };
        before = next;
    }
    false
}

/// Mostly words, with a formula or a number within: "two lines at (0, 1)".
fn is_wordy(text: &str) -> bool {
    let letters = |word: &&str| word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    !text.contains('\\') && text.split_whitespace().filter(letters).count() >= 2
}

/// Without commands that set text, spaces, dollars and emphasis.
fn without_layout(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    // For each open brace, whether it is left out.
    let mut braces: Vec<bool> = Vec::new();
    let mut rest = text;
    let mut drop_next = false;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\\' => {
                let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
                let name = &rest[..length];
                if length == 0 {
                    let symbol = rest.chars().next();
                    rest = &rest[symbol.map_or(0, char::len_utf8)..];
                    match symbol {
                        Some('{') => bare.push_str("\\{"),
                        Some('}') => bare.push_str("\\}"),
                        Some(symbol @ ('%' | '$' | '&' | '#' | '_' | '|')) => bare.push(symbol),
                        Some('\\') => bare.push_str(" \\\\ "),
                        Some('!') | None => {}
                        Some(_) => bare.push(' '),
                    }
                    continue;
                }
                rest = &rest[length..];
                match layout(name) {
                    Some(Layout::Text) => {
                        drop_next = rest.trim_start().starts_with('{');
                        bare.push(' ');
                    }
                    Some(Layout::Space) => bare.push(' '),
                    None => {
                        bare.push('\\');
                        bare.push_str(spelling(name));
                    }
                }
            }
            '{' => {
                braces.push(drop_next);
                bare.push(if drop_next { ' ' } else { '{' });
                drop_next = false;
            }
            '}' => match braces.pop() {
                Some(true) => bare.push(' '),
                _ => bare.push('}'),
            },
            '$' | '~' => bare.push(' '),
            '*' if rest.starts_with('*') => {
                let before = &text[..text.len() - rest.len() - 1];
                rest = &rest[1..];
                if is_power(before, rest) {
                    bare.push('^');
                }
            }
            '−' | '–' => bare.push('-'),
            '“' | '”' | '"' | '`' => {}
            '’' => bare.push('\''),
            other => bare.push(other),
        }
    }
    let end = bare.trim_end_matches([' ', '.', ',', ';']).len();
    // Dots that go on are no full stop.
    if !bare[end..].contains("...") {
        bare.truncate(end);
    }
    bare
}

fn words_form(text: &str) -> String {
    // One letter may be a variable: x is not X. Choices are compared as such.
    let mut letters = text.chars().filter(|next| next.is_alphanumeric());
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        return letter.to_string();
    }
    let text = text.replace('≤', "<=").replace('≥', ">=");
    let formula = text.contains(|next: char| next.is_ascii_digit() || is_sign(next));
    let letters: Vec<char> = text.chars().collect();
    let mut words = String::with_capacity(text.len());
    for (at, &next) in letters.iter().enumerate() {
        let (before, behind) = (&letters[..at], &letters[at + 1..]);
        let digit_behind = behind.first().is_some_and(char::is_ascii_digit);
        let last = before.last().copied().unwrap_or(' ');
        let says = match next {
            '-' if formula => !is_hyphen(before, behind),
            '(' | ')' | '[' | ']' | '{' | '}' => formula,
            '!' => last.is_ascii_digit() || last == ')' && formula,
            // f'(2)
            '\'' => formula && letter_run(before.iter().rev()) == 1 && letter_run(behind.iter()) == 0,
            '-' | '.' => digit_behind && !last.is_alphabetic(),
            _ => is_sign(next),
        };
        if next.is_alphanumeric() {
            words.extend(next.to_lowercase());
        } else if says {
            // A sign is as close to its operands as it can be, but "2 .5" is not 2.5.
            if next != '.' {
                words.truncate(words.trim_end().len());
            }
            words.push(next);
        } else if next != '\'' && words.ends_with(|end: char| end.is_alphanumeric() || end == '.') {
            words.push(' ');
        }
    }
    words.truncate(words.trim_end().len());
    if words.is_empty() { text.trim().to_owned() } else { words }
}

/// How many letters these begin with.
fn letter_run<'a>(characters: impl Iterator<Item = &'a char>) -> usize {
    characters.take_while(|next| next.is_alphabetic()).count()
}

/// Whether a stroke between these joins or parts words, as in two-digit, 3-digit and "a line - the other": at least one real
/// word beside it, and as much space before it as behind. Else it is a minus: `-x`, `x-2`, `x - y`.
fn is_hyphen(before: &[char], behind: &[char]) -> bool {
    let spaces = |characters: &mut dyn Iterator<Item = &char>| characters.take_while(|next| **next == ' ').count();
    let (left, right) = (spaces(&mut before.iter().rev()), spaces(&mut behind.iter()));
    let words = [letter_run(before.iter().rev().skip(left)), letter_run(behind.iter().skip(right))];
    if left == 0 && right == 0 {
        let joined = |character: Option<&char>| character.is_some_and(|character| character.is_alphanumeric());
        return joined(before.last()) && joined(behind.first()) && words.iter().any(|length| *length > 1);
    }
    left > 0 && right > 0 && words.iter().all(|length| *length > 1)
}

/// A time of day, `11:30`, `11{:}30`, perhaps with a.m. or p.m., in one spelling.
fn time_form(text: &str) -> Option<String> {
    let plain: String = text.replace("{:}", ":").chars().filter(|next| !next.is_whitespace() && *next != '.').collect();
    let digits = plain.trim_end_matches(|next: char| next.is_ascii_alphabetic());
    let half = plain[digits.len()..].to_ascii_lowercase();
    let (hour, minutes) = digits.split_once(':')?;
    let is_number = |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = is_number(hour) && is_number(minutes) && minutes.len() == 2 && matches!(half.as_str(), "" | "am" | "pm");
    fits.then(|| format!("{hour}:{minutes}{half}"))
}

fn formula_form(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut tight: Vec<char> = Vec::with_capacity(letters.len());
    for (at, &next) in letters.iter().enumerate() {
        if next.is_whitespace() {
            continue;
        }
        // Space between two numbers is not layout: 3 1/2 is not 31/2, nor (1 2) the cycle (12).
        let number = next.is_ascii_digit() || next == '.' && letters.get(at + 1).is_some_and(char::is_ascii_digit);
        let apart = at > 0 && letters[at - 1].is_whitespace();
        if number && apart && tight.last().is_some_and(char::is_ascii_digit) {
            tight.push(' ');
        }
        tight.push(next);
    }
    let mut form = String::with_capacity(tight.len() + 8);
    let mut at = 0;
    while at < tight.len() {
        // x^{2} is x^2.
        if matches!(tight[at], '^' | '_') && tight.get(at + 1) == Some(&'{') && tight.get(at + 3) == Some(&'}') {
            form.extend([tight[at], tight[at + 2]]);
            at += 4;
            continue;
        }
        form.push(tight[at]);
        at += 1;
    }
    form
}

/// A choice as an answer says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) letter: char,
    /// What is written behind the letter, in normal form.
    pub(crate) text: String,
    /// Whether another choice is named there: `A or B`, `A) B)`.
    pub(crate) goes_on: bool,
}

impl Choice {
    /// Whether `letter` is one that choices have. Beyond, x and X are two variables, and x: 3 is no choice of x.
    pub(crate) fn is_usual(&self) -> bool {
        LETTERS.contains(&self.letter)
    }
}

/// The letters of choices.
const LETTERS: std::ops::RangeInclusive<char> = 'A'..='J';

/// The letter of a choice, what is written behind it, if anything: `A`, `(A)`, `A.`, `A. some text`, `(A) some text`.
pub(crate) fn choice(text: &str) -> Option<Choice> {
    let bare = without_layout(text);
    let text = bare.trim();
    let word = text
        .split_at_checked("option ".len())
        .filter(|(word, _)| word.eq_ignore_ascii_case("option ") || word.eq_ignore_ascii_case("choice "));
    let text = word.map_or(text, |(_, rest)| rest.trim_start());
    let (letter, rest) = match text.strip_prefix('(') {
        Some(inside) => {
            let mut characters = inside.trim_start().chars();
            let letter = characters.next()?;
            (letter, characters.as_str().trim_start().strip_prefix(')')?)
        }
        None => {
            let mut characters = text.chars();
            let letter = characters.next()?;
            let rest = characters.as_str();
            if rest.is_empty() { (letter, rest) } else { (letter, rest.strip_prefix(['.', ')', ':'])?) }
        }
    };
    // 3.5 begins with no letter; e.g. and i.e. are not choices, nor is A.B.
    let fits = letter.is_ascii_alphabetic()
        && (rest.is_empty() || rest.starts_with(|next: char| !next.is_alphanumeric()) || text.starts_with('('));
    let letter = letter.to_ascii_uppercase();
    fits.then(|| Choice { letter, text: normal_form(rest), goes_on: names_another(letter, rest) })
}

/// Whether what is written behind the letter of a choice names another: letters alone (`A. B`, `A or B`), a list that goes on
/// (`A or B, the cat`), or a letter set like the first (`(A) cat (B) dog`). "B. Vitamin C" names one choice.
fn names_another(letter: char, rest: &str) -> bool {
    let other = |word: &str| {
        let mut letters = word.chars().map(|next| next.to_ascii_uppercase());
        matches!((letters.next(), letters.next()), (Some(next), None) if LETTERS.contains(&next) && next != letter)
    };
    let joins = |word: &&str| matches!(word.to_ascii_lowercase().as_str(), "or" | "and" | "option" | "choice");
    let words: Vec<&str> = rest.split(|next: char| !next.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let alone = words.iter().all(|word| word.len() == 1 || joins(word)) && words.iter().any(|word| other(word));
    let listed =
        words.iter().find(|word| !joins(word)).is_some_and(|word| other(word)) && words.first().is_some_and(joins);
    let set_alike = rest.split_whitespace().any(|word| {
        word.strip_prefix('(')
            .and_then(|word| word.get(..2))
            .is_some_and(|word| word.ends_with(')') && other(&word[..1]))
    });
    alone || listed || set_alike
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_same(left: &str, right: &str) {
        assert_eq!(normal_form(left), normal_form(right), "{left:?} and {right:?}");
    }

    #[test]
    fn spellings_that_agree() {
        check_same("North-West", "north west");
        check_same(r"\text{No solution}", "no solution.");
        check_same(r"\dfrac12 x^{2}", r"\frac12x^2");
        check_same("(x - 2)(x + 2)", "(x-2)(x+2)");
        check_same(r"$\text{Evelyn}$", "**Evelyn**");
        check_same("11:30 a.m.", "11:30AM");
    }

    #[test]
    fn raised_and_lowered_digits_are_runs() {
        for (text, expected) in [
            ("10¹²", "10^{12}"),
            ("10⁻³ m", "10^{-3} m"),
            ("x² + x₁₂", "x^2 + x_{12}"),
            ("2²3", "2^{2}3"),
            ("204₅", "204_5"),
            ("３．５", "3.5"),
            ("½ ≤ x", "½ ≤ x"),
        ] {
            assert_eq!(to_ascii(text), expected);
        }
    }

    #[test]
    fn signs_are_not_punctuation() {
        let pairs = [("-x", "x"), ("n!", "n"), ("f'", "f"), ("-5 red dogs", "5 red dogs"), ("x", "X")];
        for (left, right) in pairs.into_iter().chain([("2**3", "23"), ("x**2", "x2"), (r"\|-5\|", "-5")]) {
            assert_ne!(normal_form(left), normal_form(right));
        }
    }

    #[test]
    fn spaces_between_numbers_are_not_layout() {
        for (left, right) in [("3 1/2", "31/2"), ("2 3", "23"), ("(1 2)(3 4)", "(12)(34)"), ("2 .5", "2.5")] {
            assert_ne!(normal_form(left), normal_form(right));
        }
        check_same(r"(1\ 2)(3\,4)", "(1 2)( 3 4 )");
    }

    #[test]
    fn formulas_within_words_keep_brackets_and_signs() {
        for (left, right) in [
            ("the numbers in (0, 1)", "the numbers in [0, 1]"),
            ("the interval [0, 1)", "the interval (0, 1]"),
            ("the lines y = -x and y = 2", "the lines y = x and y = 2"),
            ("the set of x with -x < 2", "the set of x with x < 2"),
            ("the line with -cos x = 0", "the line with cos x = 0"),
            ("the line through x-2", "the line through x 2"),
            ("the function f(x) = 2! x", "the function f(x) = 2x"),
            ("the function f'(x) = 2", "the function f(x) = 2"),
            ("costs are 2 .5", "costs are 2.5"),
            ("all real numbers x ≤ 3", "all real numbers x ≥ 3"),
            ("all values with x ≥ 3", "all values with x 3"),
            ("the sets A ∪ B", "the sets A ∩ B"),
            ("the numbers √2", "the numbers 2"),
            ("the numbers ±2", "the numbers 2"),
        ] {
            assert_ne!(normal_form(left), normal_form(right), "{left:?} and {right:?}");
        }
        check_same("The lines y = -x, and y=2.", "the lines y=-x and y = 2");
        check_same("the numbers in (0,1)", "The numbers in ( 0, 1 )");
        check_same("all two-digit numbers over 10", "all two digit numbers over 10");
        check_same("the 3-digit numbers", "the 3 digit numbers");
        check_same("one line - the other is 2", "one line the other is 2");
        check_same("both (red and blue)", "both red and blue");
        check_same("all values with x ≥ 3", "All values, with x >= 3.");
        check_same("both “red” and ‘blue’", "both red and blue");
        check_same("the lines — both of them…", "the lines both of them");
    }

    #[test]
    fn choices() {
        let letter = |text| choice(text).map(|choice| (choice.letter, choice.text.is_empty()));
        assert_eq!(letter("A"), Some(('A', true)));
        assert_eq!(letter("(B)"), Some(('B', true)));
        assert_eq!(letter(r"\text{(B)}"), Some(('B', true)));
        assert_eq!(letter("c. the cat"), Some(('C', false)));
        assert_eq!(letter("(D) dogs"), Some(('D', false)));
        assert_eq!(letter("Option D"), Some(('D', true)));
        assert_eq!(letter(r"\text{choice (D)}"), Some(('D', true)));
        assert_eq!(letter("options D"), None);
        assert_eq!(letter("a cat"), None);
        assert_eq!(letter("Apple"), None);
        assert_eq!(letter("x"), Some(('X', true)));
    }
}
