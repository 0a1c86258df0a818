//! Whether what a program printed is what it was to print.

use super::cases::{Checker, Tolerance};

/// Compares by lines or by words. With a tolerance, two words that are numbers and not both whole may differ by it.
///
/// [`Checker::Program`] is a guest's work and not done here.
pub(super) fn same(printed: &str, expected: &str, checker: &Checker, tolerance: Option<Tolerance>) -> bool {
    match (checker, tolerance) {
        (Checker::Lines, None) => lines(printed).eq(lines(expected)),
        (Checker::Lines, Some(tolerance)) => {
            let (mut printed, mut expected) = (lines(printed), lines(expected));
            loop {
                match (printed.next(), expected.next()) {
                    (None, None) => return true,
                    (Some(left), Some(right)) if left == right || same_words(left, right, Some(tolerance)) => {}
                    _ => return false,
                }
            }
        }
        (Checker::Tokens | Checker::Program(_), tolerance) => same_words(printed, expected, tolerance),
    }
}

/// The lines without the blanks at their ends, up to the last that is not empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_end().lines().map(str::trim_end)
}

fn same_words(printed: &str, expected: &str, tolerance: Option<Tolerance>) -> bool {
    let (mut printed, mut expected) = (printed.split_whitespace(), expected.split_whitespace());
    loop {
        match (printed.next(), expected.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) if tolerance.is_some_and(|tolerance| near(left, right, tolerance)) => {}
            _ => return false,
        }
    }
}

fn near(printed: &str, expected: &str, tolerance: Tolerance) -> bool {
    let whole = |word: &str| word.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit());
    if whole(printed) && whole(expected) {
        return false;
    }
    // Rust reads "inf", "nan" and 1e999 as numbers too; nothing is near to infinity, and everything within a share of it.
    match (printed.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(left), Ok(right)) if left.is_finite() && right.is_finite() => {
            (left - right).abs() <= tolerance.value() * right.abs().max(1.0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_whole_but_for_white_space_at_their_ends() {
        for (printed, expected, expected_verdict) in [
            ("1 2\n", "1 2", true),
            ("1 2 \r\n3\n\n", "1 2\n3", true),
            ("1 2", "1 2\n3", false),
            ("1 2\n3\n4", "1 2\n3", false),
            ("1  2", "1 2", false),
            ("1\n2", "1 2", false),
            (" 1", "1", false),
            ("\n1", "1", false),
            ("1\n\n2", "1\n2", false),
            ("12", "1 2", false),
            ("", "\n", true),
            ("1", "1.0", false),
            ("YES", "yes", false),
        ] {
            assert_eq!(same(printed, expected, &Checker::Lines, None), expected_verdict, "{printed:?} {expected:?}");
        }
    }

    #[test]
    fn words_count_however_they_are_spaced() {
        for (printed, expected, expected_verdict) in
            [("1 2\n", " 1\n2", true), ("1 2", "1 2 3", false), ("12", "1 2", false), ("0.1", "0.10", false)]
        {
            assert_eq!(same(printed, expected, &Checker::Tokens, None), expected_verdict, "{printed:?} {expected:?}");
        }
    }

    #[test]
    fn a_tolerance_is_for_numbers_that_are_not_whole() {
        let tolerance = Tolerance::new(1e-6);
        for (printed, expected, expected_verdict) in [
            ("0.3333333333", "0.333333333333", true),
            ("0.333", "0.333333333333", false),
            ("2000000.5", "2000001.0", true),
            ("5", "5.0000000", true),
            ("1000000", "1000001", false),
            ("nan", "nan ", true),
            ("nan", "0.5", false),
            ("0.5", "nan", false),
            ("inf", "inf ", true),
            ("0", "INF", false),
            ("1e308", "Infinity", false),
            ("-inf", "inf", false),
            ("inf", "Infinity", false),
            ("0.5", "1e999", false),
            ("YES 0.50000001", "YES 0.5", true),
            ("NO 0.5", "YES 0.5", false),
        ] {
            for checker in [Checker::Lines, Checker::Tokens] {
                assert_eq!(same(printed, expected, &checker, tolerance), expected_verdict, "{printed:?} {expected:?}");
            }
        }
        assert!(!same("0.5\n0.5", "0.5 0.5", &Checker::Lines, tolerance));
    }
}
