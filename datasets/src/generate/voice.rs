//! How a worked thought is put into words: tersely, or with connecting words, in one language or in two.
//!
//! R1-Zero's thoughts mix languages (DeepSeek-R1, section 2.2.4). A base whose thoughts hold nothing but numbers could not
//! show that, nor a later stage mend it. So a recipe may ask for thoughts with connecting words, some of which are those of
//! a second language, Chinese as in the report: `first 5 * 3 = 15 , 再 7 + 15 = 22 , so 22 - 4 = 18`.

use crate::random::Counter;

/// The connecting words, in English and in Chinese: of the first part, of those between, and of the last.
const FIRST: [&str; 2] = ["first", "先"];
const THEN: [&str; 2] = ["then", "再"];
const LAST: [&str; 2] = ["so", "故"];

/// What joins the parts of a thought.
const JOIN: &str = " , ";
/// What stands between a repeated question and the work.
const AFTER_QUESTION: &str = " : ";

/// How a worked thought is put into words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Voice {
    /// Without connecting words.
    Terse,
    /// With connecting words.
    Connected {
        /// The share of the thoughts, 0 to 1, in which each word is of the second language in one case of two.
        mixed: f64,
    },
}

impl Voice {
    /// The thought in this voice.
    pub(super) fn say(self, think: &str, counter: &mut Counter) -> String {
        let Voice::Connected { mixed } = self else { return think.to_owned() };
        let is_mixed = (counter.below(1_000_000) as f64) < mixed * 1e6;
        let mut word = |words: [&'static str; 2]| words[usize::from(is_mixed && counter.percent(50))];
        let (question, work) = match think.split_once(AFTER_QUESTION) {
            Some((question, work)) => (Some(question), work),
            None => (None, think),
        };
        let parts: Vec<&str> = work.split(JOIN).collect();
        let last = parts.len() - 1;
        let said = parts.iter().enumerate().map(|(place, part)| {
            let words = match place {
                0 => FIRST,
                _ if place == last => LAST,
                _ => THEN,
            };
            format!("{} {part}", word(words))
        });
        let said = said.collect::<Vec<_>>().join(JOIN);
        question.map_or(said.clone(), |question| format!("{question}{AFTER_QUESTION}{said}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_connect_the_parts() {
        let say = |voice: Voice, think: &str| voice.say(think, &mut Counter::new(&[1]));
        let english = Voice::Connected { mixed: 0.0 };
        for (think, expected) in [
            ("1 + 2 + 3 : 1 + 2 = 3 , 3 + 3 = 6", "1 + 2 + 3 : first 1 + 2 = 3 , so 3 + 3 = 6"),
            ("even , plus 3 , sum", "first even , then plus 3 , so sum"),
            ("squared", "first squared"),
        ] {
            assert_eq!(say(english, think), expected);
            assert_eq!(say(Voice::Terse, think), think);
        }
    }

    #[test]
    fn the_stated_share_of_thoughts_is_mixed() {
        let mut counter = Counter::new(&[2]);
        let voice = Voice::Connected { mixed: 0.4 };
        let thoughts: Vec<String> = (0..4000).map(|_| voice.say("a , b , c", &mut counter)).collect();
        let mixed = thoughts.iter().filter(|thought| !thought.is_ascii()).count();
        // Of those that are mixed, one in eight has all of its three words in English: 0.4 * 7/8 = 35%.
        assert!((1300..1500).contains(&mixed), "{mixed}");
        assert!(thoughts.iter().any(|thought| thought == "first a , 再 b , so c"));
    }
}
