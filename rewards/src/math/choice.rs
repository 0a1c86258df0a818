//! `choice`: whether the right one of several given answers was picked.
//!
//! 1 where the completion's answer is the reference's letter, or the text that stands behind that letter and behind no other;
//! else 0. It scores tasks whose reference is one letter. The choices' texts are those of the column `choices`, or else the lines
//! `A. ...` of the prompt. Source: the multiple-choice accuracy of common evaluations (MMLU, GPQA), which look for a letter alone;
//! `accuracy` does so too. Deviation: there a letter is searched anywhere in the text, so that "A bird" answers A; here it must
//! be the answer, alone or before a full stop, colon or bracket.

use crate::{Reference, Reward, RewardError, Sample, Score, extract};

/// The reward `choice`.
pub(crate) struct Choice;

impl Reward for Choice {
    fn name(&self) -> &str {
        "choice"
    }

    fn applies(&self, reference: &Reference) -> bool {
        right(reference).is_some()
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let Some(right) = right(sample.reference) else {
            return Err(RewardError::NotApplicable { reward: self.name().to_owned(), kind: sample.reference.kind() });
        };
        let Some(answer) = answer(sample.completion) else { return Ok(Score::zero("no_answer")) };
        Ok(match picked(answer, &choices(sample)) {
            Some(letter) if letter == right => Score::full(),
            Some(_) => Score::zero("wrong_choice"),
            None => Score::zero("no_choice"),
        })
    }
}

/// The reference's letter, if it is one.
fn right(reference: &Reference) -> Option<char> {
    let Reference::Math { answer } = reference else { return None };
    match answer.trim().trim_start_matches('(').trim_end_matches([')', '.']).as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(char::from(letter.to_ascii_uppercase())),
        _ => None,
    }
}

/// Where the completion marks its answer; or all of it, where that is no more than a line.
fn answer(completion: &str) -> Option<&str> {
    let found = extract::answer(completion).filter(|found| found.place != extract::Place::LastNumber);
    let whole = || Some(completion.trim()).filter(|text| !text.is_empty() && !text.contains(['\n', '<', '\\']));
    found.map(|found| found.text).or_else(whole)
}

/// The texts of the choices, in the order of their letters.
fn choices<'a>(sample: &Sample<'a>) -> Vec<&'a str> {
    if let Some(list) = sample.columns.get("choices").and_then(|choices| choices.as_array()) {
        return list.iter().map(|choice| choice.as_str().unwrap_or_default()).collect();
    }
    let mut found = Vec::new();
    for line in sample.prompt.lines() {
        let letter = char::from(b'A' + u8::try_from(found.len().min(25)).unwrap_or(0));
        let line = line.trim().trim_start_matches('(');
        if let Some(rest) = line.strip_prefix(letter).and_then(|rest| rest.strip_prefix(['.', ')', ':'])) {
            found.push(rest);
        }
    }
    found
}

fn picked(answer: &str, choices: &[&str]) -> Option<char> {
    let plain = plain(answer);
    // The text comes first: a choice may itself be a letter.
    let mut same = choices.iter().enumerate().filter(|(_, choice)| !plain.is_empty() && self::plain(choice) == plain);
    if let (Some((at, _)), None) = (same.next(), same.next()) {
        return u8::try_from(at).ok().filter(|at| *at < 26).map(|at| char::from(b'A' + at));
    }
    let words = ["the ", "answer ", "is ", "option ", "choice ", "(", ":"];
    let mut rest = plain.as_str();
    while let Some(shorter) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter.trim_start();
    }
    let mut letters = rest.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    let after = letters.as_str().trim_start();
    (after.is_empty() || after.starts_with(['.', ')', ':'])).then(|| letter.to_ascii_uppercase())
}

/// In lower case, without what only sets the text.
fn plain(text: &str) -> String {
    let mut text = text.to_lowercase();
    for layout in ["\\textbf", "\\text", "\\mathrm", "\\mathbf", "\\(", "\\)", "{", "}", "$", "*"] {
        text = text.replace(layout, " ");
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches(['.', ',', ';']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str =
        "Which is a bird?\nA. a cat\nB. a sparrow\nC. 12\nD. a cat\nAnswer with the letter of the right choice.";

    #[track_caller]
    fn check(completion: &str, right: &str, expected: Option<&str>) {
        let reference = Reference::Math { answer: right.to_owned() };
        assert!(Choice.applies(&reference));
        let score = Choice.score(&Sample::new(PROMPT, completion, &reference)).unwrap();
        assert_eq!(score.cause.as_deref(), expected, "{completion}");
        assert_eq!(score.value, Some(if expected.is_none() { 1.0 } else { 0.0 }));
    }

    #[test]
    fn a_letter_or_its_text() {
        for completion in [
            "B",
            "(B)",
            "b.",
            "<answer> B </answer>",
            "so \\boxed{B}",
            "\\boxed{\\text{B}}",
            "\\boxed{\\textbf{(B) } a sparrow}",
            "The answer is B.",
            "The answer is (B): a sparrow",
            "<answer> B. a sparrow </answer>",
            "<answer> a sparrow </answer>",
            "<answer> Option B </answer>",
            "<think> A or C? </think> <answer> B </answer>",
        ] {
            check(completion, "B", None);
        }
        check("<answer> 12 </answer>", "C", None);
        check("<answer>B</answer>", "(b)", None);
    }

    #[test]
    fn anything_else_is_not_picked() {
        check("<answer> A </answer>", "B", Some("wrong_choice"));
        check("<answer> A bird </answer>", "B", Some("no_choice"));
        check("<answer> a cat </answer>", "A", Some("no_choice"));
        check("<answer> A, B, C and D </answer>", "A", Some("no_choice"));
        check("<answer> </answer>", "B", Some("no_answer"));
        check("", "B", Some("no_answer"));
        check("<think> B </think>\nnothing", "B", Some("no_answer"));
        check(&"(".repeat(100_000), "B", Some("no_choice"));
    }

    #[test]
    fn only_letters_are_choices() {
        for answer in ["12", "AB", "", "a sparrow"] {
            assert!(!Choice.applies(&Reference::Math { answer: answer.to_owned() }), "{answer}");
        }
        assert!(!Choice.applies(&Reference::Integer { value: 1 }));
    }

    #[test]
    fn a_column_may_hold_the_choices() {
        let reference = Reference::Math { answer: "B".to_owned() };
        let columns = serde_json::json!({"choices": ["one", "two"]});
        let sample = |text| Sample { columns: columns.as_object().unwrap(), ..Sample::new("?", text, &reference) };
        assert_eq!(Choice.score(&sample("<answer> two </answer>")).unwrap(), Score::full());
        assert_eq!(Choice.score(&sample("<answer> one </answer>")).unwrap().value, Some(0.0));
    }
}
