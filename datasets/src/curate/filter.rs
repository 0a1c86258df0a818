//! `filter`: rows by length, condition and language.
//!
//! The language is told by letters first (a script that only few languages use) and by frequent small words where it is
//! Latin: enough to part English from other languages in prompts of a sentence or more. Text with too few words to tell,
//! such as a bare formula, passes.

use super::frame::{text, to_tasks};
use super::job::Filter;
use super::work::{SeenColumns, Verdict, Work};
use crate::error::DatasetError;

/// Characters of a condition that stand in the reason of rows for which it does not hold.
const SHOWN: usize = 60;

pub(super) fn run(filter: &Filter, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let Some(condition) = &filter.condition else {
        return work.judge(&["prompt"], |_, frame| {
            let prompts = text(frame, "prompt")?;
            Ok(prompts.iter().map(|prompt| judge(filter, prompt.unwrap_or_default())).collect())
        });
    };
    let whole = condition.to_string();
    let cut: String = whole.chars().take(SHOWN).collect();
    let reason = format!("`where` does not hold ({cut}{})", if cut == whole { "" } else { "…" });
    let columns = SeenColumns::of(condition.columns());
    work.judge(&[], |_, frame| {
        let tasks = to_tasks(frame)?;
        columns.look(&tasks);
        let judged = tasks.iter().map(|task| match judge(filter, &task.prompt) {
            Verdict::Keep if !condition.holds(task) => Verdict::drop(&reason, whole.as_str()),
            verdict => verdict,
        });
        Ok(judged.collect())
    })?;
    columns.check(work)
}

fn judge(filter: &Filter, prompt: &str) -> Verdict {
    if filter.min_chars.is_some() || filter.max_chars.is_some() {
        let chars = prompt.chars().count();
        if filter.min_chars.is_some_and(|least| chars < least) {
            return Verdict::drop("too short", format!("{chars} characters"));
        }
        if filter.max_chars.is_some_and(|most| chars > most) {
            return Verdict::drop("too long", format!("{chars} characters"));
        }
    }
    if filter.min_words.is_some() || filter.max_words.is_some() {
        let words = prompt.split_whitespace().count();
        if filter.min_words.is_some_and(|least| words < least) {
            return Verdict::drop("too few words", format!("{words} words"));
        }
        if filter.max_words.is_some_and(|most| words > most) {
            return Verdict::drop("too many words", format!("{words} words"));
        }
    }
    if let (false, Some(found)) = (filter.languages.is_empty(), language(prompt))
        && !filter.languages.iter().any(|wanted| wanted == found)
    {
        return Verdict::drop("another language", found);
    }
    Verdict::Keep
}

/// The languages that are told apart.
pub const LANGUAGES: &[&str] = &["eng", "deu", "fra", "spa", "ita", "por", "rus", "zho", "jpn", "kor", "ara"];

/// Small words by language. Words that several of these languages have are left out, or stand with each.
const SMALL_WORDS: &[(&str, &[&str])] = &[
    (
        "eng",
        &[
            "the", "of", "and", "is", "to", "how", "what", "that", "for", "are", "with", "find", "many", "if", "has",
            "each", "his", "her", "it", "which", "by", "was", "from", "be", "than", "they", "does", "at", "write",
            "function",
        ],
    ),
    (
        "deu",
        &[
            "der", "die", "und", "das", "ist", "wie", "viele", "ein", "eine", "mit", "von", "hat", "den", "auf",
            "nicht", "sie", "für", "dem", "wenn", "sind", "einen", "zu",
        ],
    ),
    (
        "fra",
        &[
            "le", "la", "les", "et", "est", "un", "une", "des", "du", "que", "pour", "dans", "combien", "il", "elle",
            "sur", "avec", "par", "ont", "si",
        ],
    ),
    (
        "spa",
        &[
            "el", "los", "las", "y", "es", "un", "una", "que", "de", "cuántos", "cuántas", "para", "con", "por", "en",
            "si", "cada", "del", "tiene",
        ],
    ),
    (
        "ita",
        &[
            "il", "lo", "gli", "e", "è", "un", "una", "che", "di", "quanti", "quante", "per", "con", "della", "sono",
            "ha", "del", "se", "ogni",
        ],
    ),
    (
        "por",
        &[
            "o", "os", "as", "e", "é", "um", "uma", "que", "de", "quantos", "quantas", "para", "com", "por", "em",
            "não", "cada", "do", "da", "tem",
        ],
    ),
];

/// Fewer small words than this say nothing.
const FEWEST: usize = 3;

/// The language of a text, where it can be told.
pub(super) fn language(text: &str) -> Option<&'static str> {
    let (mut latin, mut han, mut kana, mut hangul, mut cyrillic, mut arabic) = (0, 0, 0, 0, 0, 0_usize);
    for letter in text.chars().filter(|letter| letter.is_alphabetic()) {
        match letter {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => latin += 1,
            '\u{4e00}'..='\u{9fff}' => han += 1,
            '\u{3040}'..='\u{30ff}' => kana += 1,
            '\u{ac00}'..='\u{d7af}' => hangul += 1,
            '\u{400}'..='\u{4ff}' => cyrillic += 1,
            '\u{600}'..='\u{6ff}' => arabic += 1,
            _ => {}
        }
    }
    // A character of these scripts stands for a word or a syllable, so fewer of them decide.
    let scripts = [("jpn", kana * 3), ("zho", han * 3), ("kor", hangul * 3), ("rus", cyrillic), ("ara", arabic)];
    if kana > 0 && han + kana > latin / 3 {
        return Some("jpn");
    }
    if let Some((code, _)) = scripts.iter().filter(|script| script.1 > latin).max_by_key(|script| script.1) {
        return Some(code);
    }
    let mut counts = vec![0_usize; SMALL_WORDS.len()];
    super::text::each_word(text, super::text::Reading::Plain, |word, _| {
        for (at, (_, words)) in SMALL_WORDS.iter().enumerate() {
            counts[at] += usize::from(words.contains(&word));
        }
    });
    let (best, &count) = counts.iter().enumerate().rev().max_by_key(|entry| entry.1)?;
    (count >= FEWEST).then_some(SMALL_WORDS[best].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_by_script_and_small_words() {
        for (text, expected) in [
            ("How many apples does she have if each of the boxes has 3?", Some("eng")),
            ("Wie viele Äpfel hat sie, wenn jede der Kisten mit 3 gefüllt ist und eine leer?", Some("deu")),
            ("Combien de pommes est-ce que la fille a dans les boîtes du marché ?", Some("fra")),
            ("¿Cuántos lápices tiene el niño si cada una de las cajas es para los otros?", Some("spa")),
            ("Сколько яблок у неё осталось?", Some("rus")),
            ("小明有三个苹果，又买了两个，一共有几个？", Some("zho")),
            ("りんごは全部で何個ありますか。", Some("jpn")),
            ("x^2 + 3x = 4", None),
            ("Compute 3 + 4.", None),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn lengths_are_bounds_that_are_included() {
        let filter = Filter { min_words: Some(2), max_chars: Some(10), ..Filter::default() };
        for (prompt, reason) in [("one two", None), ("one", Some("too few words")), ("one two three", Some("too long"))]
        {
            let found = match judge(&filter, prompt) {
                Verdict::Keep => None,
                Verdict::Drop { reason, .. } => Some(reason),
            };
            assert_eq!(found.as_deref(), reason, "{prompt}");
        }
    }
}
