//! `code_format`: R1-Zero's tags, and in the answer a program in a fence.
//!
//! 1 where the completion has the shape that [`format`](super::format) asks for and its answer holds a whole fenced block of the
//! language; else 0. Source: Open R1's `get_code_format_reward`, which reads the language from the column `language` where there
//! is one. Deviation: white space around the tags is free, as in `format`.

use super::format::fault;
use crate::parameter::Any;
use crate::{Reference, Reward, RewardError, Sample, Score};

crate::parameters! {
    /// What `code_format` can be told.
    pub(crate) CodeFormatParameters {
        /// The word after the fence, for tasks without a column `language`.
        language: String = "python".to_owned(), Any;
    }
}

/// The reward `code_format`.
pub(crate) struct CodeFormat(pub(crate) CodeFormatParameters);

impl Reward for CodeFormat {
    fn name(&self) -> &str {
        "code_format"
    }

    fn applies(&self, reference: &Reference) -> bool {
        reference.is_code()
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        if let Some(cause) = fault(sample.completion) {
            return Ok(Score::zero(cause));
        }
        let column = sample.columns.get("language").and_then(|language| language.as_str());
        let language = column.unwrap_or(&self.0.language);
        let answer = sample.completion.split_once("<answer>").map_or("", |(_, answer)| answer);
        Ok(if has_fence(answer, language) { Score::full() } else { Score::zero("no_fenced_code") })
    }
}

/// Whether a fence of the language is opened and closed. `python3` is Python.
fn has_fence(answer: &str, language: &str) -> bool {
    let mut opened: Option<bool> = None;
    for line in answer.lines() {
        let Some(word) = line.trim_start().strip_prefix("```") else { continue };
        match opened.take() {
            Some(true) => return true,
            Some(false) => {}
            None => {
                let word = word.trim().as_bytes();
                let same =
                    word.get(..language.len()).is_some_and(|word| word.eq_ignore_ascii_case(language.as_bytes()));
                opened = Some(same);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, expected: Option<&str>) {
        let reference = Reference::Tests { setup: String::new(), assertions: vec![] };
        let reward = CodeFormat(CodeFormatParameters { language: "python".to_owned() });
        let score = reward.score(&Sample::new("", completion, &reference)).unwrap();
        assert_eq!(score.cause.as_deref(), expected, "{completion}");
        assert_eq!(score.value, Some(if expected.is_none() { 1.0 } else { 0.0 }));
    }

    #[test]
    fn tags_and_a_fence_of_the_language() {
        check("<think> a </think>\n<answer>\n```python\nx = 1\n```\n</answer>", None);
        check("<think> a </think> <answer> so:\n```Python3\nx = 1\n```\nyes </answer>", None);
        check("<think> a </think> <answer>\n```\nx\n```\n```python\nx\n```\n</answer>", None);
        check("<think> a </think> <answer>\n```cpp\nx\n```\n</answer>", Some("no_fenced_code"));
        check("<think> a </think> <answer>\n```python\nx\n</answer>", Some("no_fenced_code"));
        check("<think>\n```python\nx\n```\n</think> <answer> x </answer>", Some("no_fenced_code"));
        check("```python\nx\n```", Some("missing_tag"));
        check("<think> a </think> <answer>\n```é\n```\n</answer>", Some("no_fenced_code"));
    }

    #[test]
    fn the_task_may_name_the_language() {
        let reference = Reference::Tests { setup: String::new(), assertions: vec![] };
        let columns = serde_json::json!({"language": "rust"});
        let text = "<think> a </think> <answer>\n```rust\nx\n```\n</answer>";
        let sample = Sample { columns: columns.as_object().unwrap(), ..Sample::new("", text, &reference) };
        let reward = CodeFormat(CodeFormatParameters { language: "python".to_owned() });
        assert_eq!(reward.score(&sample).unwrap(), Score::full());
    }
}
