//! `filter`: rows by length, condition and language.
//!
//! The language is told by letters first (a script that only few languages use) and by frequent small words where it is
//! Latin: enough to part English from other languages in prompts of a sentence or more. Formulas are no language, so they are
//! left out. Text with too few words to tell, such as a bare formula, passes.

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

/// Small words by language. Words that several of these languages have are left out, or stand with each; so are single letters that
/// may be variables, and what English has too, if seldom (`per`, `as`).
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
            "el", "los", "las", "es", "un", "una", "que", "de", "cuántos", "cuántas", "para", "con", "por", "en", "si",
            "cada", "del", "tiene",
        ],
    ),
    (
        "ita",
        &[
            "il", "lo", "gli", "è", "un", "una", "che", "di", "quanti", "quante", "con", "della", "sono", "ha", "del",
            "se", "ogni",
        ],
    ),
    (
        "por",
        &[
            "os", "é", "um", "uma", "que", "de", "quantos", "quantas", "para", "com", "por", "em", "não", "cada", "da",
            "tem",
        ],
    ),
];

/// Fewer different small words than this say nothing.
const FEWEST: u32 = 3;

/// What is around formulas and drawings. `$$` comes before `$`.
const FORMULAS: [(&str, &str); 5] = [("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)"), ("[asy]", "[/asy]")];

/// A text without its formulas.
fn prose(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\', '[']) {
        kept.push_str(&rest[..at]);
        kept.push(' ');
        let here = &rest[at..];
        let behind = FORMULAS.iter().find_map(|(open, close)| {
            let inside = here.strip_prefix(open)?;
            let (formula, behind) = inside.split_once(close)?;
            // A price is none: the next `$` is behind a space or before a digit.
            let price =
                formula.is_empty() || formula != formula.trim() || behind.starts_with(|c: char| c.is_ascii_digit());
            (*open != "$" || !price).then_some(behind)
        });
        rest = behind.unwrap_or_else(|| {
            // `\$` is a sign too.
            let escaped = here.strip_prefix('\\').and_then(|behind| behind.strip_prefix('$'));
            escaped.unwrap_or(&here[1..])
        });
    }
    kept + rest
}

/// The language of a text, where it can be told.
pub(super) fn language(text: &str) -> Option<&'static str> {
    let text = &*prose(text);
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
    // A bit for each small word that the text has: one that it repeats says no more. (No list has more than 32.)
    let mut found = [0_u32; SMALL_WORDS.len()];
    super::text::each_word(text, super::text::Reading::Plain, |word, _| {
        for (found, (_, words)) in found.iter_mut().zip(SMALL_WORDS) {
            let place = words.iter().position(|small| *small == word);
            *found |= place.map_or(0, |place| 1 << place);
        }
    });
    // Of equals the first: another language must have more of them than English.
    let (best, count) = found.iter().map(|words| words.count_ones()).enumerate().rev().max_by_key(|entry| entry.1)?;
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
            ("Gli amici di Anna hanno 16 mele. Quante mele ha ogni amico, se una è di Anna?", Some("ita")),
            ("Os patos põem 16 ovos por dia. Ela come três no café da manhã.", Some("por")),
            ("Die Karten kosten $5 und die Bücher $7, wie viel ist das?", Some("deu")),
            // Variables, drawings and units are no words of another language.
            ("Evaluate $y(y-3x)$ for $x=3$ and $y=0$.", None),
            ("Let $o$ and $e$ be odd and even. \\[ o + e, \\quad e - o \\] Sum e, o, e and \\(e o\\).", None),
            ("[asy] draw(A--B); label(\"los\", el); label(\"es\", un); [/asy] Area?", None),
            ("Rudy types 64 words per minute, Joyce types 76 words per minute, Li types 80 words per minute.", None),
            ("She is twice as old as Ann and as tall as Bob: how old is she if Ann is 4?", Some("eng")),
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
