//! `language_consistency`: whether the thought is in one language.
//!
//! ```text
//! language_consistency = words of the target language / words,   in the thought
//! ```
//!
//! Range: 0 to 1; not scored where the thought has no words. Source: DeepSeek-R1, section 2.3.2, which does not say how a word's
//! language is found. Here, with no model and the same on every machine:
//!
//! - The thought is what stands in `<think>`, or the whole completion where there is no such tag. Formulas between dollar signs
//!   or `\(`, `\[`, LaTeX commands, fenced code, words with a digit or underscore, and single Latin letters are no words.
//! - A word is a run of letters of one script; where a script is written without spaces (Chinese, Japanese, Thai), each letter.
//! - Scripts decide for `zh`, `ja`, `ko`, `ru`, `el`, `he`, `ar`, `hi`, `th`. In a sentence with kana, Chinese characters are
//!   Japanese.
//! - Latin words (`en`, `de`, `es`, `fr`) are decided by sentence: all of its Latin words belong to the language most of whose
//!   common words and particular letters are in it. Where none is ahead of the target language, they count as the target's: so
//!   names and terms do no harm.

use super::script::{Script, script};
use crate::parameter::OneOf;
use crate::{Reference, Reward, RewardError, Sample, Score};

const LANGUAGES: OneOf = OneOf(&["en", "de", "es", "fr", "zh", "ja", "ko", "ru", "el", "he", "ar", "hi", "th"]);

crate::parameters! {
    /// What `language_consistency` can be told.
    pub(crate) LanguageParameters {
        /// The language to think in.
        language: String = "en".to_owned(), LANGUAGES;
    }
}

/// The common words of the languages that share the Latin script, and letters that only some of them have.
const LATIN: [(&str, &[&str], &str); 4] = [
    (
        "en",
        &[
            "the", "of", "and", "to", "is", "in", "that", "it", "we", "for", "so", "this", "be", "with", "are", "as",
            "have", "has", "if", "then", "what", "which", "let", "can", "not", "but", "or", "from", "by", "there",
            "you", "how", "because", "since", "need", "first", "next", "now", "get", "find", "each", "all", "they",
            "at", "on", "was", "when", "where", "would", "should", "must", "also", "its", "our", "than", "my", "me",
            "will", "do",
        ],
        "",
    ),
    (
        "de",
        &[
            "der", "die", "das", "und", "ist", "nicht", "wir", "ein", "eine", "einen", "einer", "also", "zu", "den",
            "dem", "des", "mit", "auf", "für", "von", "sich", "es", "dass", "ich", "wenn", "auch", "dann", "werden",
            "wird", "aber", "oder", "wie", "sind", "hat", "haben", "man", "nun", "zuerst", "im", "als", "an", "aus",
            "bei", "nach", "kann", "muss", "so", "sie", "er", "uns", "daher", "jetzt", "gilt", "jede", "jeder", "alle",
            "was", "ob", "weil",
        ],
        "äöüß",
    ),
    (
        "es",
        &[
            "el", "la", "de", "que", "y", "los", "las", "un", "una", "es", "en", "por", "con", "para", "no", "se",
            "del", "como", "entonces", "pero", "su", "al", "lo", "más", "si", "son", "tenemos", "este", "esta", "esto",
            "cada", "hay", "ahora", "primero", "luego", "así", "porque", "cuando", "donde", "tiene", "debe", "puede",
            "nos", "sea", "ya", "o", "cuántos", "también", "muy", "ser", "todos", "entre", "sobre", "cual", "qué",
        ],
        "ñ¿¡áíóú",
    ),
    (
        "fr",
        &[
            "le",
            "la",
            "les",
            "de",
            "et",
            "est",
            "un",
            "une",
            "que",
            "nous",
            "des",
            "du",
            "dans",
            "pour",
            "pas",
            "qui",
            "donc",
            "ce",
            "il",
            "sur",
            "avec",
            "alors",
            "mais",
            "au",
            "aux",
            "en",
            "on",
            "ou",
            "où",
            "par",
            "plus",
            "sont",
            "cette",
            "ces",
            "se",
            "si",
            "elle",
            "ne",
            "son",
            "sa",
            "ses",
            "leur",
            "chaque",
            "doit",
            "peut",
            "comme",
            "car",
            "ainsi",
            "puis",
            "avons",
            "d'abord",
            "maintenant",
            "très",
            "même",
            "tout",
            "tous",
            "être",
            "fait",
            "je",
        ],
        "çèêàùœîôû",
    ),
];

/// The reward `language_consistency`.
pub(crate) struct LanguageConsistency(pub(crate) LanguageParameters);

impl Reward for LanguageConsistency {
    fn name(&self) -> &str {
        "language_consistency"
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let (target, all) = count(thought(sample.completion), &self.0.language);
        if all == 0 {
            return Ok(Score::not_scored());
        }
        let share = target as f64 / all as f64;
        Ok(if target == all {
            Score::full()
        } else {
            Score { value: Some(share), cause: Some("other_language".to_owned()) }
        })
    }
}

/// What stands in the first `<think>`, to its end or the text's; the whole where there is none.
fn thought(completion: &str) -> &str {
    let Some((_, rest)) = completion.split_once("<think>") else {
        // Some templates open the tag themselves.
        return completion.split_once("</think>").map_or(completion, |(thought, _)| thought);
    };
    rest.split_once("</think>").map_or(rest, |(thought, _)| thought)
}

/// The words of the target language, and all words.
fn count(text: &str, language: &str) -> (usize, usize) {
    let text = without_formulas(text);
    let mut counts = (0, 0);
    for sentence in text.split(['.', '!', '?', ';', ':', '\n', '。', '！', '？', '；', '：']) {
        let words = words(sentence);
        let kana = words.iter().any(|(kind, _)| *kind == Script::Kana);
        let latin = latin_language(&words, language);
        for (kind, _) in &words {
            let found = match kind {
                Script::Latin => latin,
                Script::Han if kana => "ja",
                Script::Han => "zh",
                Script::Kana => "ja",
                Script::Hangul => "ko",
                Script::Cyrillic => "ru",
                Script::Greek => "el",
                Script::Hebrew => "he",
                Script::Arabic => "ar",
                Script::Devanagari => "hi",
                Script::Thai => "th",
                Script::Other => "",
            };
            counts.0 += usize::from(found == language);
            counts.1 += 1;
        }
    }
    counts
}

/// The language that the Latin words of a sentence are in; the target where none is ahead of it.
fn latin_language(words: &[(Script, String)], target: &str) -> &'static str {
    let mut best: Option<(usize, &'static str)> = None;
    for (language, common, letters) in LATIN {
        let points = words
            .iter()
            .filter(|(kind, word)| {
                *kind == Script::Latin && (common.contains(&word.as_str()) || word.contains(|l| letters.contains(l)))
            })
            .count();
        let ahead = match best {
            None => true,
            Some((most, _)) => points > most || points == most && language == target,
        };
        if ahead {
            best = Some((points, language));
        }
    }
    best.map_or("", |(_, language)| language)
}

/// Words of a sentence in lower case, with their scripts.
fn words(sentence: &str) -> Vec<(Script, String)> {
    let mut found = Vec::new();
    for run in sentence.split(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '\'' | '’'))) {
        if run.contains(|letter: char| letter == '_' || letter.is_numeric() && script(letter).is_none()) {
            continue;
        }
        let mut word: Option<(Script, String)> = None;
        for letter in run.chars() {
            let kind = script(letter);
            let alone = matches!(kind, Some(Script::Han | Script::Kana | Script::Thai));
            match (&mut word, kind) {
                (Some((of, word)), Some(kind)) if *of == kind && !alone => word.extend(letter.to_lowercase()),
                (Some((_, word)), None) => word.push('\''),
                (_, Some(kind)) => {
                    found.extend(word.take());
                    word = Some((kind, letter.to_lowercase().collect()));
                }
                (None, None) => {}
            }
        }
        found.extend(word);
    }
    found.retain(|(kind, word)| *kind != Script::Latin || word.chars().nth(1).is_some());
    found
}

/// The text with formulas, LaTeX commands and fenced code taken out.
fn without_formulas(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    // Closing marks that do not come any more: looked for once, so that the scan stays linear.
    let mut missing: Vec<&str> = Vec::new();
    while let Some(at) = rest.find(['$', '\\', '`']) {
        plain.push_str(&rest[..at]);
        plain.push(' ');
        rest = &rest[at..];
        let marks = [("```", "```"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];
        let close = marks.iter().find(|(open, close)| rest.starts_with(open) && !missing.contains(close));
        if let Some((open, close)) = close {
            match rest[open.len()..].find(close) {
                Some(end) => rest = &rest[open.len() + end + close.len()..],
                None => {
                    missing.push(close);
                    rest = &rest[open.len()..];
                }
            }
            continue;
        }
        let command = rest.starts_with('\\');
        rest = &rest[1..];
        if command {
            rest = rest.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, language: &str, expected: Option<f64>) {
        let reference = Reference::Integer { value: 1 };
        let reward = LanguageConsistency(LanguageParameters { language: language.to_owned() });
        let score = reward.score(&Sample::new("", completion, &reference)).unwrap();
        assert_eq!(score.value, expected, "{completion} in {language}");
    }

    const THOUGHTS: [(&str, &str); 5] = [
        ("en", "First we find the number of apples. There are 3 boxes, and each of them holds 4, so we get 12."),
        ("de", "Zuerst bestimmen wir die Anzahl der Äpfel. Es sind 3 Kisten, und in jeder liegen 4, also sind es 12."),
        ("es", "Primero buscamos el número de manzanas. Hay 3 cajas y en cada una hay 4, entonces son 12."),
        (
            "fr",
            "D'abord nous cherchons le nombre de pommes. Il y a 3 boîtes et dans chaque boîte il y en a 4, donc 12.",
        ),
        ("zh", "首先求苹果的数量。有3个盒子，每个盒子里有4个，所以一共12个。"),
    ];

    #[test]
    fn each_language_is_known_from_the_others() {
        for (language, thought) in THOUGHTS {
            for (other, _) in THOUGHTS {
                let completion = format!("<think> {thought} </think> <answer> the answer </answer>");
                check(&completion, other, Some(if other == language { 1.0 } else { 0.0 }));
            }
        }
        check("<think>りんごの数を求める。</think>", "ja", Some(1.0));
        check("<think>사과의 수를 구한다</think>", "ko", Some(1.0));
        check("<think>Найдём число яблок</think>", "ru", Some(1.0));
    }

    #[test]
    fn a_mixture_has_its_share() {
        // Two English words, two Chinese characters.
        check("<think>the number 数量</think>", "en", Some(0.5));
        check("<think>the number 数量</think>", "zh", Some(0.5));
        // Five words of English, five of German.
        check("We have the two boxes.\nWir haben nun die Kisten.", "en", Some(0.5));
    }

    #[test]
    fn formulas_and_code_are_no_words() {
        check(r"<think>so we get $\text{数量} = x$ and \(y\), \frac{1}{2}, x_1, x2</think>", "en", Some(1.0));
        check("<think>so we get\n```\nfür die Anzahl\n```\nand that is it</think>", "en", Some(1.0));
        check("<think> 1 + 1 = 2, x = y </think>", "en", None);
        check("", "en", None);
        check("<think>$ 1 and the rest is text</think>", "en", Some(1.0));
    }

    #[test]
    fn hostile_text_takes_no_time() {
        for text in ["$", "\\(", "`", "<think>", "数", "\\", "ß", "a'"] {
            let reference = Reference::Integer { value: 1 };
            let reward = LanguageConsistency(LanguageParameters { language: "en".to_owned() });
            let value = reward.score(&Sample::new("", &text.repeat(200_000), &reference)).unwrap().value;
            assert!(value.is_none_or(|value| (0.0..=1.0).contains(&value)));
        }
    }
}
