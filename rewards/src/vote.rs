//! Majority votes: which completions of one prompt give the same answer.

use crate::{Reference, Sample, extract, math};

/// The key under which equal answers vote together; `None` where the completion gives no answer.
///
/// - `math`: the exact value, so that 0.5 and 1/2 are one vote;
/// - `integer`: the number where one is written out, else the text;
/// - `countdown`: the value of the expression where it uses the right numbers, else its text;
/// - `tests`, `stdin`, `calls`: the program's text, without blank lines and white space at the ends of lines.
///
/// Nothing of the reference's answer enters the key: a vote must not see what it is judged by.
#[must_use]
pub fn vote_key(sample: &Sample<'_>) -> Option<String> {
    match sample.reference {
        Reference::Math { .. } => math::math_key(sample.completion),
        Reference::Integer { .. } => math::integer_key(sample.completion),
        Reference::Countdown { numbers, .. } => math::countdown_key(sample.completion, numbers),
        Reference::Tests { .. } | Reference::Stdin { .. } | Reference::Calls { .. } => {
            extract::program(sample.completion).map(|program| {
                let lines = program.lines().map(str::trim_end).filter(|line| !line.is_empty());
                lines.collect::<Vec<_>>().join("\n")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_vote_by_their_text() {
        let reference = Reference::Tests { setup: String::new(), assertions: vec![] };
        let key = |completion| vote_key(&Sample::new("", completion, &reference));
        assert_eq!(
            key("<answer>\ndef f():  \n\n    return 1\n</answer>"),
            key("<answer>\n```python\ndef f():\n    return 1\n```\n</answer>"),
        );
        assert_eq!(key("nothing"), None);
    }
}
