//! `format`: R1-Zero's tags, exactly.
//!
//! 1 where the whole completion is `<think>...</think>`, then `<answer>...</answer>`, with nothing but white
//! space before, between and after, each of the four tags exactly once; else 0 (DeepSeek-R1, section 2.2.2).
//! What stands inside the tags is no matter of shape, and may be empty.

use crate::{Reference, Reward, RewardError, Sample, Score};

/// The reward `format`.
pub(crate) struct Format;

pub(super) const TAGS: [&str; 4] = ["<think>", "</think>", "<answer>", "</answer>"];

impl Reward for Format {
    fn name(&self) -> &str {
        "format"
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        Ok(match fault(sample.completion) {
            None => Score::full(),
            Some(cause) => Score::zero(cause),
        })
    }
}

/// What is wrong with the shape of `completion`, if anything is.
pub(super) fn fault(completion: &str) -> Option<&'static str> {
    let mut places = [0; 4];
    for (place, tag) in places.iter_mut().zip(TAGS) {
        let mut found = completion.match_indices(tag);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => *place = at,
            (None, _) => return Some("missing_tag"),
            (Some(_), Some(_)) => return Some("repeated_tag"),
        }
    }
    let [think, think_end, answer, answer_end] = places;
    if !(think < think_end && think_end < answer && answer < answer_end) {
        return Some("tags_out_of_order");
    }
    let outside = [
        &completion[..think],
        &completion[think_end + TAGS[1].len()..answer],
        &completion[answer_end + TAGS[3].len()..],
    ];
    outside.iter().any(|text| !text.trim().is_empty()).then_some("text_outside_tags")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, expected: Option<&str>) {
        assert_eq!(fault(completion), expected, "{completion:?}");
    }

    #[test]
    fn the_template_and_its_white_space() {
        check(" <think> 1 + 1 </think> <answer> 2 </answer>", None);
        check("<think>\n1 + 1\n</think>\n\n<answer>\n2\n</answer>\n", None);
        check("<think></think><answer></answer>", None);
    }

    #[test]
    fn anything_else_scores_nothing() {
        check("", Some("missing_tag"));
        check("<think> 1 + 1 </think> <answer> 2", Some("missing_tag"));
        check("<think> a </think> <answer> 2 </answer> <answer> 3 </answer>", Some("repeated_tag"));
        check("<think> <think> a </think> <answer> 2 </answer>", Some("repeated_tag"));
        check("<answer> 2 </answer> <think> a </think>", Some("tags_out_of_order"));
        check("<think> a <answer> 2 </answer> </think>", Some("tags_out_of_order"));
        check("Sure: <think> a </think> <answer> 2 </answer>", Some("text_outside_tags"));
        check("<think> a </think> so <answer> 2 </answer>", Some("text_outside_tags"));
        check("<think> a </think> <answer> 2 </answer>.", Some("text_outside_tags"));
        check("<THINK> a </THINK> <answer> 2 </answer>", Some("missing_tag"));
    }
}
