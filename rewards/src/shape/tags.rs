//! `tag_count`: part marks for R1-Zero's tags, on the way to the whole format.
//!
//! ```text
//! tag_count = 1/4 for each of <think>, </think>, <answer>, </answer> that stands exactly once
//! ```
//!
//! Range: 0, 0.25, 0.5, 0.75, 1. Source: Open R1's `tag_count_reward`. Deviation: there a tag counts only with line breaks
//! around it, so a completion on one line gets nothing that its format would deserve; here white space is free, as in
//! [`format`](super::format). Whether the tags are in their order is not asked, as there: that is what `format` is for.

use super::format::TAGS;
use crate::{Reference, Reward, RewardError, Sample, Score};

/// The reward `tag_count`.
pub(crate) struct TagCount;

impl Reward for TagCount {
    fn name(&self) -> &str {
        "tag_count"
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let (mut once, mut cause) = (0, None);
        for tag in TAGS {
            match sample.completion.matches(tag).take(2).count() {
                1 => once += 1,
                0 => cause = cause.or(Some("missing_tag")),
                _ => cause = cause.or(Some("repeated_tag")),
            }
        }
        Ok(Score { value: Some(f64::from(once) / 4.0), cause: cause.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, value: f64, cause: Option<&str>) {
        let reference = Reference::Integer { value: 1 };
        let score = TagCount.score(&Sample::new("", completion, &reference)).unwrap();
        assert_eq!((score.value, score.cause.as_deref()), (Some(value), cause), "{completion:?}");
    }

    #[test]
    fn a_quarter_for_each_tag_that_stands_once() {
        check("<think> 1 </think> <answer> 2 </answer>", 1.0, None);
        check("<think>\n1\n</think>\n<answer>\n2\n</answer>", 1.0, None);
        check("<think> 1 </think> <answer> 2", 0.75, Some("missing_tag"));
        check("<think> 1 </think> <answer> 2 </answer> </answer>", 0.75, Some("repeated_tag"));
        check("<think> <think> 1 </think> 2", 0.25, Some("repeated_tag"));
        check("</answer>", 0.25, Some("missing_tag"));
        check("", 0.0, Some("missing_tag"));
        check(&"<think>".repeat(100_000), 0.0, Some("repeated_tag"));
    }
}
