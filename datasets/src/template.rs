//! From a question to the prompt of a base that has seen no chat: R1-Zero's template.
//!
//! The wording is Table 1 of the DeepSeek-R1 report, to the letter.

/// The template up to and including `User: `; the question and [`R1_ZERO_SUFFIX`] follow.
pub const R1_ZERO_PREFIX: &str = "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: ";

/// What follows the question. The completion starts right after it, with a space.
pub const R1_ZERO_SUFFIX: &str = ". Assistant:";

/// The prompt that asks `question` in R1-Zero's template.
///
/// One full stop of the question's own is dropped, since the template brings one.
#[must_use]
pub fn r1_zero(question: &str) -> String {
    let question = question.trim_end();
    // An ellipsis is kept: only a stop that ends a sentence is doubled by the template's.
    let question = match question.strip_suffix('.') {
        Some(rest) if !rest.ends_with('.') => rest,
        _ => question,
    };
    [R1_ZERO_PREFIX, question, R1_ZERO_SUFFIX].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_the_reports() {
        assert_eq!(
            r1_zero("Compute 2 + 3"),
            "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. \
             The assistant first thinks about the reasoning process in the mind and then provides the user with \
             the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> \
             </answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here \
             </answer>. User: Compute 2 + 3. Assistant:"
        );
    }

    #[test]
    fn a_full_stop_is_not_doubled() {
        for (question, end) in [
            ("Say why.", "User: Say why. Assistant:"),
            ("Why?", "User: Why?. Assistant:"),
            ("Go on...", "User: Go on.... Assistant:"),
            ("Say why. \n", "User: Say why. Assistant:"),
        ] {
            assert!(r1_zero(question).ends_with(end), "{question}");
        }
    }
}
