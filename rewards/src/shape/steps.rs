//! `reasoning_steps`: whether the text is laid out in steps.
//!
//! ```text
//! reasoning_steps = min(1, markers / steps)
//! ```
//!
//! Markers are `Step 3:` anywhere, a number with a full stop (`3.`), `-` or `*` at the beginning of a line, and the words
//! `First,`, `Second,`, `Next,`, `Finally,`. Range: 0 to 1. Source: Open R1's `reasoning_steps_reward`, with 3 steps.
//! Deviation: there `3.` counts at the beginning of the text only, and `-` and `*` not there, since its pattern lacks the flag
//! for lines. A policy can learn the words without the steps: give it a small weight.

use crate::parameter::at_least;
use crate::{Reference, Reward, RewardError, Sample, Score};

crate::parameters! {
    /// What `reasoning_steps` can be told.
    pub(crate) Steps {
        /// Markers from which the marks are full.
        steps: u64 = 3, at_least(1.0);
    }
}

/// The reward `reasoning_steps`.
pub(crate) struct ReasoningSteps(pub(crate) Steps);

impl Reward for ReasoningSteps {
    fn name(&self) -> &str {
        "reasoning_steps"
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let share = markers(sample.completion) as f64 / self.0.steps as f64;
        Ok(if share >= 1.0 { Score::full() } else { Score { value: Some(share), cause: Some("few_steps".to_owned()) } })
    }
}

fn markers(text: &str) -> usize {
    let words = ["First,", "Second,", "Next,", "Finally,"].iter().map(|word| text.matches(word).count()).sum::<usize>();
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let steps = text.match_indices("Step ").filter(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let length = digits(rest);
        length > 0 && rest[length..].starts_with(':')
    });
    let lines = text.lines().filter(|line| {
        let length = digits(line);
        line.starts_with(['-', '*']) || length > 0 && line[length..].starts_with('.')
    });
    words + steps.count() + lines.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_counted() {
        for (text, expected) in [
            ("", 0),
            ("Step 1: a\nStep 2: b. Step 13: c", 3),
            ("Step one: a", 0),
            ("1. a\n2. b\n3.5 c", 3),
            ("a 1. b", 0),
            ("- a\n* b\n-", 3),
            ("First, a. Next, b. Finally, c.", 3),
            ("first, a", 0),
        ] {
            assert_eq!(markers(text), expected, "{text:?}");
        }
    }

    #[test]
    fn marks_rise_to_one() {
        let reference = Reference::Integer { value: 1 };
        let score = |text: &str, steps| {
            ReasoningSteps(Steps { steps }).score(&Sample::new("", text, &reference)).unwrap().value.unwrap()
        };
        assert_eq!(score("", 3), 0.0);
        assert_eq!(score("First, a", 3), 1.0 / 3.0);
        assert_eq!(score("First, a\n- b", 4), 0.5);
        assert_eq!(score(&"- a\n".repeat(50_000), 3), 1.0);
    }
}
