//! Which characters tell one task from another, beside letters and digits.
//!
//! Whatever is not known to be prose is a sign: of the marks of mathematics there are too many to list them, and two tasks
//! that are taken for one cost a task, where two that are not taken for one cost a repetition.

/// What parts words and sentences and says nothing else, quotes among them; and the two characters with which LaTeX begins
/// formulas and commands.
const PROSE: &str = ".,;:?¿¡…\"'`“”„‟‘’‚‛«»‹›—。，、；：？「」『』،؛؟।$\\";

/// The signs of a text, met one after the other.
#[derive(Default)]
pub(super) struct Signs {
    /// Whether the character before was a prime.
    primed: bool,
    /// For each brace that is open whether it is a sign.
    braces: Vec<bool>,
}

impl Signs {
    /// Whether a character that is in no word is a sign. `word` is what stands directly before it, `before` its last
    /// character or another one, `rest` the text behind it.
    pub(super) fn is_sign(&mut self, letter: char, word: &str, before: Option<char>, rest: &str) -> bool {
        let after = rest.chars().next();
        let primed = std::mem::take(&mut self.primed);
        match letter {
            '\'' | '’' => {
                // Behind a longer word it is a possessive's ("the boys' mother") or a quote.
                let behind = primed || before == Some(')') || is_one_letter(word);
                let ahead = after.is_none_or(|after| !after.is_alphanumeric());
                let called = after == Some('(') && before.is_some_and(char::is_alphabetic);
                self.primed = (behind && ahead) || called;
                self.primed
            }
            '{' => {
                let sign = !holds_one_word(rest);
                self.braces.push(sign);
                sign
            }
            '}' => self.braces.pop().unwrap_or(true),
            // A hyphen within a word.
            '-' | '\u{2010}'..='\u{2013}' => {
                !(before.is_some_and(char::is_alphabetic) && after.is_some_and(char::is_alphabetic))
            }
            // Characters that are not seen: zero-width spaces, marks of direction and of byte order, soft hyphens.
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => false,
            _ => !(letter.is_whitespace() || letter.is_control() || PROSE.contains(letter)),
        }
    }
}

fn is_one_letter(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none()
}

/// Whether an open brace groups nothing: it holds one word, and no other follows directly, so that it could as well not be
/// there. (`\frac{1}{x+1}` and `\frac{1}{x}+1`, `2^{10}3` and `2^10 3` are told apart by their braces alone.)
fn holds_one_word(rest: &str) -> bool {
    let behind = rest.trim_start_matches(char::is_alphanumeric);
    behind.len() < rest.len()
        && behind.strip_prefix('}').is_some_and(|behind| !behind.starts_with(char::is_alphanumeric))
}
