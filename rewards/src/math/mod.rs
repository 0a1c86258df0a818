//! `accuracy`: the answer of a completion against a mathematical reference.
//!
//! [`crate::extract`] finds the answer; [`lexer`] and [`parser`] make a tree of it ([`node`]); [`compare`] says whether two
//! trees mean the same, with [`exact`] normal forms first and [`numeric`] enclosures where those do not decide;
//! [`mod@countdown`] says whether an expression keeps to its numbers. The written grading policy is the law, one [`budget`] of
//! steps the bound.

mod answer;
mod budget;
mod choice;
mod clean;
mod compare;
mod countdown;
mod domain;
mod equal;
mod equation;
mod evaluate;
mod exact;
mod expression;
mod key;
mod layout;
mod lexer;
mod matrix;
mod meaning;
mod names;
mod naming;
mod node;
mod numeric;
mod pair;
mod parser;
mod place;
mod points;
mod region;
mod roots;
mod text;
mod unit;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod property_tests;

pub(crate) use choice::Choice;

use crate::extract::{self, Place};
use crate::{Reference, Reward, RewardError, Sample, Score};
use parser::NoParse;

/// The reward `accuracy`.
pub(crate) struct Accuracy;

impl Reward for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn applies(&self, reference: &Reference) -> bool {
        matches!(reference, Reference::Math { .. } | Reference::Integer { .. } | Reference::Countdown { .. })
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        match sample.reference {
            Reference::Math { answer } => Ok(math(sample.completion, answer)),
            Reference::Integer { value } => Ok(integer(sample.completion, *value)),
            Reference::Countdown { numbers, target } => Ok(countdown(sample.completion, numbers, *target)),
            other => Err(RewardError::NotApplicable { reward: self.name().to_owned(), kind: other.kind() }),
        }
    }
}

pub(crate) fn math(completion: &str, reference: &str) -> Score {
    // The reference is looked at first: a task that cannot be scored is so whatever was answered.
    let reference = match place::reference(reference) {
        Ok(reference) => reference,
        Err(no_parse) => return Score::unscorable(format!("reference_{}", cause(no_parse))),
    };
    if reference.unusable().is_some() {
        return Score::unscorable("reference_division_by_zero");
    }
    match place::candidate(completion) {
        None => Score::zero("no_answer"),
        Some(Err(no_parse)) => Score::zero(cause(no_parse)),
        Some(Ok(candidate)) => match reference.compare(&candidate) {
            Ok(()) => Score::full(),
            Err(cause) => Score::zero(cause),
        },
    }
}

fn cause(no_parse: NoParse) -> &'static str {
    match no_parse {
        NoParse::Unparsable => "unparsable",
        NoParse::Budget => "budget",
    }
}

fn integer(completion: &str, value: i64) -> Score {
    let Some(found) = extract::answer(completion) else { return Score::zero("no_answer") };
    match written_integer(found.text) {
        Some(answer) if answer == value => Score::full(),
        Some(_) => Score::zero("wrong_value"),
        None => Score::zero("not_a_written_number"),
    }
}

/// A whole number and nothing else: digits with an optional sign, thousands separators and a full stop.
fn written_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text).replace('\u{2212}', "-");
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    // 1,234,567: at most three digits, then groups of three. 4,8 is no number.
    let mut groups = digits.split(',');
    let first = groups.next()?.len();
    if digits.contains(',') && !((1..=3).contains(&first) && groups.all(|group| group.len() == 3)) {
        return None;
    }
    text.replace(',', "").parse().ok()
}

/// The key of an answer that is to be a written number: the number, else the text.
pub(crate) fn integer_key(completion: &str) -> Option<String> {
    let found = extract::answer(completion)?;
    Some(written_integer(found.text).map_or_else(|| found.text.trim().to_owned(), |number| number.to_string()))
}

fn countdown(completion: &str, numbers: &[i64], target: i64) -> Score {
    if numbers.is_empty() {
        return Score::unscorable("reference_empty");
    }
    let Some(expression) = countdown_text(completion) else { return Score::zero("no_answer") };
    match countdown::check(expression, numbers, target) {
        Ok(()) => Score::full(),
        Err(cause) => Score::zero(cause),
    }
}

/// The expression of a Countdown answer. The last number of a text is no expression, so that place is not one.
fn countdown_text(completion: &str) -> Option<&str> {
    extract::answer(completion).filter(|found| found.place != Place::LastNumber).map(|found| found.text)
}

/// The key under which equal answers to a mathematical question vote together.
pub(crate) fn math_key(completion: &str) -> Option<String> {
    let answer = place::candidate(completion)?.ok()?;
    answer.readings.first().map(key::key)
}

/// The key of a Countdown answer: its value where it keeps to the numbers, else its text.
pub(crate) fn countdown_key(completion: &str, numbers: &[i64]) -> Option<String> {
    let text = countdown_text(completion)?;
    Some(match countdown::value(text, numbers) {
        Ok(value) => value.to_string(),
        Err(_) => format!("'{}'", text.split_whitespace().collect::<String>()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, reference: &str, expected: Option<f64>, cause: Option<&str>) {
        let score = math(completion, reference);
        assert_eq!((score.value, score.cause.as_deref()), (expected, cause), "{completion:?} for {reference:?}");
    }

    #[test]
    fn an_integer_is_written_out() {
        #[track_caller]
        fn check(answer: &str, value: Option<f64>, cause: Option<&str>) {
            let score = integer(&format!("<think> </think> <answer> {answer} </answer>"), 48);
            assert_eq!((score.value, score.cause.as_deref()), (value, cause), "{answer:?}");
        }
        check("48", Some(1.0), None);
        check("+48.", Some(1.0), None);
        check("-48", Some(0.0), Some("wrong_value"));
        check("4,8", Some(0.0), Some("not_a_written_number"));
        check("48,", Some(0.0), Some("not_a_written_number"));
        check("48...", Some(0.0), Some("not_a_written_number"));
        for (text, value) in [
            ("1,234", Some(1234)),
            ("-12,345,678.", Some(-12_345_678)),
            ("\u{2212}5", Some(-5)),
            ("1,,2", None),
            (",123", None),
            ("1234,567", None),
            ("1,23", None),
        ] {
            assert_eq!(written_integer(text), value, "{text:?}");
        }
        // The question repeated, as a policy found out that it may if expressions are worked out for it.
        check("( 20 + 10 ) + 18", Some(0.0), Some("not_a_written_number"));
        check("96 / 2", Some(0.0), Some("not_a_written_number"));
        check("", Some(0.0), Some("no_answer"));
    }

    #[test]
    fn the_template() {
        check(" <think> 8 + 9 = 17 </think> <answer> 17 </answer>", "17", Some(1.0), None);
        check(" <think> 8 + 9 = 17 </think> <answer> 16 </answer>", "17", Some(0.0), Some("wrong_value"));
        check(" <think> 8 + 9 = 17 </think> <answer> 5 or 17 </answer>", "17", Some(0.0), Some("several_answers"));
        check(" <think> 8 + 9 = 17 </think> <answer> 17", "17", Some(0.0), Some("no_answer"));
        check(" <think> 8 + 9", "17", Some(0.0), Some("wrong_value"));
        check("", "17", Some(0.0), Some("no_answer"));
    }

    #[test]
    fn a_reference_without_a_value_is_unscorable() {
        check("<answer> 17 </answer>", "", None, Some("reference_unparsable"));
        check("<answer> 17 </answer>", r"\frac{1}{", None, Some("reference_unparsable"));
        check("<answer> 17 </answer>", "1/0", None, Some("reference_division_by_zero"));
        check("<answer> 17 </answer>", &"(".repeat(100), None, Some("reference_budget"));
        assert_eq!(countdown("<answer> 1 </answer>", &[], 1), Score::unscorable("reference_empty"));
    }

    #[test]
    fn a_sentence_around_the_answer() {
        check("The answer is that she has 5 apples left.", "5", Some(1.0), None);
        check("The answer is between 5 and 7.", "5", Some(0.0), Some("several_answers"));
        check("#### 70,000", "70000", Some(1.0), None);
        check(r"So $n=\boxed{-2}$ and $n = \boxed{1}$.", "-2, 1", Some(1.0), None);
        check("The correct option is (D).", "D", Some(1.0), None);
        check("The only option is A bird", "A", Some(0.0), Some("not_a_number"));
    }

    #[test]
    fn words_beside_a_number_may_change_it() {
        for text in [
            "5 squared",
            "#### 5 squared",
            "5 factorial",
            "negative 5",
            "minus 5",
            "5 or more",
            "The answer is 5 hundredths.",
            "The answer is half of $5$.",
            "The answer is at least 5.",
            "The answer is not **5**.",
            "The answer isn't 5.",
            "No, it isn’t 5.",
            "The answer is $5$ squared.",
            "**negative 5**",
        ] {
            assert_eq!(math(text, "5").value, Some(0.0), "{text:?}");
        }
        for text in [
            "The answer is 5 apples, which is half of what he had.",
            "The answer is 5 hours and she is done",
            "She has 5 left over.",
            "It has 5 negative roots.",
            "There is a knot 5 feet up.",
            "#### 5 apples",
        ] {
            check(text, "5", Some(1.0), None);
        }
        for text in [
            "it is minus 5",
            "it was negative 5°",
            "it is minus 5…",
            "那么答案 is minus 5。",
            "It was negative 5 degrees.",
        ] {
            check(text, "-5", Some(1.0), None);
        }
        for text in ["It is negative 5 squared.", "It is minus 5 or more."] {
            assert_eq!(math(text, "-5").value, Some(0.0), "{text:?}");
        }
        check("It was negative 5 thousand dollars.", "-5000", Some(1.0), None);
        check("The total is 5 thousand dollars.", "5000", Some(1.0), None);
        check("The answer is $2$ dozen", "24", Some(1.0), None);
    }

    #[test]
    fn words_that_lead_to_a_number() {
        for text in [
            "The two numbers add up to 42.",
            "The total adds up to 42.",
            "16.7 rounds up to 42.",
            "That brings the total up to **42**.",
            "He saved up to 42 dollars.",
            "Net profit: $42",
            "**Tom: 42**",
            "The answer is 84 students / 2 in a couple = 42 couples.",
        ] {
            check(text, "42", Some(1.0), None);
        }
        for text in ["The answer is up to 42.", "The total is up to 42", "It can add up to 42 people."] {
            assert_eq!(math(text, "42").value, Some(0.0), "{text:?}");
        }
        for text in ["The answer is negative 42.", "It is **negative 42**.", "#### negative 42", "It is minus $42$."] {
            check(text, "-42", Some(1.0), None);
            assert_eq!(math(text, "42").value, Some(0.0), "{text:?}");
        }
        for text in ["So he has 7 apples minus 42.", "The root of negative 42.", "It is non-negative 42"] {
            assert_eq!(math(text, "-42").value, Some(0.0), "{text:?}");
        }
        for (text, scaled) in [("The total is 5 thousand", "5000"), ("It earned $405 million.", "405000000")] {
            check(text, scaled, Some(1.0), None);
            let bare = scaled.trim_end_matches('0');
            check(text, bare, Some(1.0), None);
            // What votes is what is said.
            assert_eq!(math_key(text).as_deref(), Some(scaled));
        }
    }

    #[test]
    fn the_last_number_is_part_of_its_term() {
        for (text, term) in [
            ("Therefore, the minimum is −4.", "-4"),
            ("Thus the area is 4π square units.", r"4\pi"),
            ("So the probability is 3 / 4.", r"\frac34"),
            ("The total number is 2^4.", "16"),
            ("So the length is 3√4.", "6"),
            ("The product is 4i", "4i"),
            ("The answer could be 3 or 4.", "3, 4"),
            ("So we get \\frac{3}{4}.", r"\frac34"),
            ("It has 4! ways in all", "24"),
        ] {
            check(text, term, Some(1.0), None);
            assert_eq!(math(text, "4").value, Some(0.0), "{text:?}");
        }
        check("The number of ways is 10 choose 4.", "4", Some(0.0), Some("not_a_number"));
        for text in ["She has 4!", "They won 7-4", "On the 4th day", "It takes 4s", "It is (4)"] {
            check(text, "4", Some(1.0), None);
        }
    }

    #[test]
    fn bars_open_and_close_where_they_can() {
        check(r"\boxed{2|x|+1}", "|2|x|+1|", Some(1.0), None);
        check(r"\boxed{|x|\cdot|y|}", "||x||y||", Some(1.0), None);
        check(r"\boxed{|a|b|c|}", "b|ac|", Some(1.0), None);
        check(r"\boxed{|x|y}", "|xy|", Some(0.0), Some("wrong_value"));
        check(r"\boxed{||x|-|y||}", "|x|-|y|", Some(0.0), Some("wrong_value"));
    }

    #[test]
    fn countdown_reads_the_answer() {
        let verdict = |completion: &str| countdown(completion, &[3, 4, 25], 87).cause;
        assert_eq!(verdict("<think> 25 + 4 = 29 </think> <answer> (25 + 4) * 3 </answer>"), None);
        assert_eq!(verdict(r"\boxed{(25 + 4) \times 3 = 87}"), None);
        assert_eq!(verdict("<think> 87 </think>").as_deref(), Some("no_answer"));
        assert_eq!(verdict("<answer> 87 </answer>").as_deref(), Some("wrong_numbers"));
    }

    #[test]
    fn keys_join_equal_answers() {
        assert_eq!(math_key("<answer> 0.5 </answer>"), math_key(r"\boxed{\frac{2}{4}}"));
        assert_ne!(math_key("<answer> 0.5 </answer>"), math_key("<answer> 0.51 </answer>"));
        // The value votes, whatever it is called.
        assert_eq!(math_key(r"\boxed{x = 4}"), math_key(r"\boxed{4}"));
        assert_ne!(math_key(r"\boxed{x = 4}"), math_key(r"\boxed{x = 5}"));
        // What is which, is said by the names, or by the order.
        let pair = math_key(r"\boxed{x = 1, y = 2}");
        for same in ["y = 2, x = 1", "(1, 2)", "(x, y) = (1, 2)", "(y, x) = (2, 1)"] {
            assert_eq!(math_key(&format!(r"\boxed{{{same}}}")), pair, "{same}");
        }
        for other in ["x = 2, y = 1", "(2, 1)", "(y, x) = (1, 2)"] {
            assert_ne!(math_key(&format!(r"\boxed{{{other}}}")), pair, "{other}");
        }
        assert_eq!(math_key(""), None);
        let key = |text| countdown_key(text, &[3, 4]);
        assert_eq!(key("<answer> 3 + 4 </answer>"), key("<answer> 4+3 = 7 </answer>"));
        assert_ne!(key("<answer> 3 + 4 </answer>"), key("<answer> 7 </answer>"));
    }
}
