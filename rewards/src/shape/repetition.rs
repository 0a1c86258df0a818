//! `repetition_penalty`: a punishment for saying the same again.
//!
//! ```text
//! repetition_penalty = max_penalty (1 - distinct n-grams / n-grams)        0 for fewer than n words
//! ```
//!
//! Range: `max_penalty` to 0, `max_penalty` itself excluded. Source: Yeo et al., "Demystifying Long Chain-of-Thought
//! Reasoning", appendix; Open R1's `get_repetition_penalty_reward`. Words are what white space separates, in lower case.
//! Deviation: there Chinese is cut into words by a dictionary, where the parameter `language` asks for it; here each character
//! of a script that is written without spaces is a word, in any text.

use std::collections::{HashMap, HashSet};

use super::script::{Script, script};
use crate::parameter::between;
use crate::{Reference, Reward, RewardError, Sample, Score};

crate::parameters! {
    /// What `repetition_penalty` can be told.
    pub(crate) RepetitionParameters {
        /// Words that are compared at a time.
        ngram_size: u64 = 3, between(1.0, 100.0);
        /// What nothing but repetition comes near to.
        max_penalty: f64 = -1.0, between(-1e6, 0.0);
    }
}

/// The reward `repetition_penalty`.
pub(crate) struct RepetitionPenalty(pub(crate) RepetitionParameters);

impl Reward for RepetitionPenalty {
    fn name(&self) -> &str {
        "repetition_penalty"
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let text = sample.completion.to_lowercase();
        // By numbers, so that comparing many words at a time costs little.
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let words: Vec<usize> = words(&text)
            .into_iter()
            .map(|word| {
                let next = numbers.len();
                *numbers.entry(word).or_insert(next)
            })
            .collect();
        let grams = words.windows(self.0.ngram_size as usize);
        let (count, distinct) = (grams.len(), grams.collect::<HashSet<_>>().len());
        if distinct == count {
            return Ok(Score::of(0.0));
        }
        let share = 1.0 - distinct as f64 / count as f64;
        Ok(Score { value: Some(self.0.max_penalty * share), cause: Some("repetition".to_owned()) })
    }
}

fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let mut start = 0;
        for (at, letter) in word.char_indices() {
            if matches!(script(letter), Some(Script::Han | Script::Kana | Script::Thai)) {
                words.extend(Some(&word[start..at]).filter(|before| !before.is_empty()));
                start = at + letter.len_utf8();
                words.push(&word[at..start]);
            }
        }
        words.extend(Some(&word[start..]).filter(|rest| !rest.is_empty()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalty(text: &str, ngram_size: u64, max_penalty: f64) -> f64 {
        let reference = Reference::Integer { value: 1 };
        let reward = RepetitionPenalty(RepetitionParameters { ngram_size, max_penalty });
        reward.score(&Sample::new("", text, &reference)).unwrap().value.unwrap()
    }

    #[test]
    fn by_hand() {
        // a b, b a, a b, b a, a b: 2 of 5 pairs are distinct.
        assert_eq!(penalty("a b a B\na b", 2, -1.0), -0.6);
        // 8 triples of one kind: 1 - 1/8.
        assert_eq!(penalty(&"so ".repeat(10), 3, -2.0), -1.75);
        assert_eq!(penalty("each word is new here", 3, -1.0), 0.0);
        assert_eq!(penalty("so so", 3, -1.0), 0.0);
        assert_eq!(penalty("", 3, -1.0), 0.0);
        assert_eq!(penalty("a a a a", 1, 0.0), 0.0);
    }

    #[test]
    fn characters_are_words_where_there_are_no_spaces() {
        assert_eq!(words("因为x=2所以"), ["因", "为", "x=2", "所", "以"]);
        assert_eq!(penalty("好好好好", 1, -1.0), -0.75);
    }

    #[test]
    fn in_range_and_steeper_the_more_is_repeated() {
        let text = |times: usize| "a b c d ".to_owned() + &"x y z ".repeat(times);
        let values: Vec<f64> = (1..60).map(|times| penalty(&text(times), 3, -1.0)).collect();
        assert!(values.windows(2).all(|pair| pair[1] <= pair[0]));
        assert!(values.iter().all(|value| (-1.0..=0.0).contains(value)));
        assert!(penalty(&"a".repeat(1_000_000), 3, -1.0) == 0.0);
        assert!(penalty(&"a ".repeat(50_000), 100, -1.0) > -1.0);
    }
}
