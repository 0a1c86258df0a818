//! Prompts as words: what exact repetition, shingles and n-grams are made of.
//!
//! A word is a run of letters and digits in lower case; white space, punctuation and typesetting only part words. Chinese and
//! Japanese write no spaces: each character of theirs is a word by itself. How a letter is encoded, as one character or with its
//! accent apart, in full width or not, makes no difference ([`composed`]). Where
//! repetitions are looked for, signs that calculate are words too ([`Reading::Signs`]): `x + 3` and `x - 3` are different
//! tasks. Where evaluation sets are looked for, they are not ([`Reading::Plain`]): there, too much is better than too
//! little.

mod signs;

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::random::mix;
use signs::Signs;

/// A 64-bit hash of a word, made eight bytes at a time: nearly all words are one such piece.
#[derive(Clone, Copy)]
struct WordHash {
    state: u64,
    piece: u64,
    /// Bits of the piece that are filled.
    filled: u32,
}

impl WordHash {
    /// No structure; a word's bytes are never 0, so pieces of different lengths differ.
    const START: Self = Self { state: 0xCBF2_9CE4_8422_2325, piece: 0, filled: 0 };

    fn push(&mut self, byte: u8) {
        self.piece |= u64::from(byte) << self.filled;
        self.filled += 8;
        if self.filled == 64 {
            *self = Self { state: mix(self.state ^ self.piece), piece: 0, filled: 0 };
        }
    }

    fn finish(self) -> u64 {
        mix(self.state ^ self.piece)
    }
}

fn hash_word(word: &str) -> u64 {
    let mut hash = WordHash::START;
    word.bytes().for_each(|byte| hash.push(byte));
    hash.finish()
}

/// What stands for every number where numbers do not matter.
const SOME_NUMBER: u64 = 0x0123_4567_89AB_CDEF;

/// What counts as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Runs of letters and digits.
    Plain,
    /// These, signs that calculate, and numbers with their decimals as one word.
    Signs,
    /// As `Signs`, with every number read as the same one.
    AnyNumber,
}

/// The hash of each word of a text, in order.
pub(super) fn words(text: &str, reading: Reading) -> Vec<u64> {
    let mut hashes = Vec::with_capacity(text.len() / 5 + 1);
    words_into(text, reading, &mut hashes);
    hashes
}

/// The same in place of what `hashes` held before: who goes through many texts needs no memory for each.
pub(super) fn words_into(text: &str, reading: Reading, hashes: &mut Vec<u64>) {
    hashes.clear();
    if reading == Reading::Plain && text.is_ascii() {
        return plain_ascii_words(text.as_bytes(), hashes);
    }
    each_word(&composed(text), reading, |word, _| {
        let any = reading == Reading::AnyNumber && word.as_bytes()[0].is_ascii_digit();
        hashes.push(if any { SOME_NUMBER } else { hash_word(word) });
    });
}

/// The same for most texts of evaluation sets: eight letters at a time, without a branch for each.
fn plain_ascii_words(bytes: &[u8], hashes: &mut Vec<u64>) {
    let mut at = 0;
    loop {
        while bytes.get(at).is_some_and(|byte| !byte.is_ascii_alphanumeric()) {
            at += 1;
        }
        if at >= bytes.len() {
            return;
        }
        let mut state = WordHash::START.state;
        loop {
            let (letters, count) = leading_letters(eight(bytes, at));
            state = mix(state ^ letters);
            at += count;
            if count < 8 {
                break;
            }
        }
        hashes.push(state);
    }
}

/// The eight bytes from `at` on, the first lowest; zeros behind the end.
fn eight(bytes: &[u8], at: usize) -> u64 {
    let rest = &bytes[at.min(bytes.len())..];
    match rest.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The letters and digits with which eight bytes of ASCII begin, in lower case, and how many they are.
///
/// A byte below 128 lies between `low` and `high` where adding `128 - low` sets its highest bit and adding `127 - high`
/// does not; neither carries into the next byte.
fn leading_letters(bytes: u64) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let within = |bytes: u64, low: u8, high: u8| {
        (bytes + EACH * u64::from(128 - low)) & !(bytes + EACH * u64::from(127 - high)) & (EACH * 128)
    };
    // Lower case: no letter becomes a digit by it, nor a digit anything else.
    let lower = bytes | (EACH * 0x20);
    let other = (within(lower, b'a', b'z') | within(bytes, b'0', b'9')) ^ (EACH * 128);
    if other == 0 {
        return (lower, 8);
    }
    let count = other.trailing_zeros() / 8;
    (lower & ((1 << (8 * count)) - 1), count as usize)
}

/// A text with each letter in one character where there is such a one (Unicode's NFC; not NFKC, for which `x²` is `x2`), and without
/// the full width that Chinese and Japanese have for Latin letters, digits and punctuation.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    let is_wide = |letter: char| matches!(letter, '\u{ff01}'..='\u{ff5e}');
    if text.is_ascii() || (is_nfc_quick(text.chars()) == IsNormalized::Yes && !text.contains(is_wide)) {
        return Cow::Borrowed(text);
    }
    // The same characters in the same order as those of ASCII.
    let narrow =
        |letter: char| if is_wide(letter) { char::from_u32(letter as u32 - 0xfee0) } else { None }.unwrap_or(letter);
    Cow::Owned(text.nfc().map(narrow).collect())
}

/// Whether a letter is of a script without spaces: Han, Hiragana, Katakana.
fn is_word_alone(letter: char) -> bool {
    matches!(letter, '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

/// Calls `found` for each word in lower case, with its byte range in the text, which is [`composed`].
pub(super) fn each_word(text: &str, reading: Reading, mut found: impl FnMut(&str, std::ops::Range<usize>)) {
    let mut lower = String::with_capacity(32);
    let mut start = 0;
    let mut before: Option<char> = None;
    let mut signs = Signs::default();
    let mut letters = text.char_indices().peekable();
    while let Some((place, letter)) = letters.next() {
        let after = letters.peek().map(|next| next.1);
        let point = letter == '.' && reading != Reading::Plain && after.is_some_and(|after| after.is_ascii_digit());
        let decimal = point && before.is_some_and(|before| before.is_ascii_digit());
        // `.5` is 0.5; behind a letter or another point it ends something ("no.5").
        let begins = point && !before.is_some_and(|before| before.is_alphanumeric() || before == '.');
        if letter.is_alphanumeric() && is_word_alone(letter) {
            if !lower.is_empty() {
                found(&lower, start..place);
                lower.clear();
            }
            let behind = place + letter.len_utf8();
            found(&text[place..behind], place..behind);
        } else if letter.is_alphanumeric() || decimal || begins {
            if lower.is_empty() {
                start = place;
            }
            if begins {
                lower.push('0');
            }
            if letter.is_ascii() {
                lower.push(letter.to_ascii_lowercase());
            } else {
                lower.extend(letter.to_lowercase());
            }
        } else {
            let behind = place + letter.len_utf8();
            let sign = reading != Reading::Plain && signs.is_sign(letter, &lower, before, &text[behind..]);
            if !lower.is_empty() {
                found(&lower, start..place);
                lower.clear();
            }
            if sign {
                found(&text[place..behind], place..behind);
            }
        }
        before = Some(letter);
    }
    if !lower.is_empty() {
        found(&lower, start..text.len());
    }
}

/// The hash of each run of `size` words, in order; of all words where there are fewer. Nothing for no words.
pub(super) fn runs(words: &[u64], size: usize) -> impl Iterator<Item = u64> {
    /// Odd and without structure: the base of the rolling hash.
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
    let size = size.min(words.len()).max(1);
    let leading = (1..size).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let (first, others) = words.split_at(size.min(words.len()));
    let start = first.iter().fold(0_u64, |hash, &word| hash.wrapping_mul(BASE).wrapping_add(word));
    let further = words.iter().zip(others).scan(start, move |rolling, (&gone, &word)| {
        let without = rolling.wrapping_sub(gone.wrapping_mul(leading));
        *rolling = without.wrapping_mul(BASE).wrapping_add(word);
        Some(mix(*rolling))
    });
    (!words.is_empty()).then(|| mix(start)).into_iter().chain(further)
}

/// 128 bits that stand for all words of a text in order.
pub(super) fn fingerprint(words: &[u64]) -> (u64, u64) {
    words.iter().fold((mix(words.len() as u64), 0), |(one, two), &word| {
        (mix(one ^ word), mix(two.rotate_left(7).wrapping_add(word)))
    })
}

/// The Jaccard similarity of two sorted lists without repetitions: shared over all. Two empty ones are equal.
pub(super) fn jaccard(one: &[u64], other: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0_usize);
    while i < one.len() && j < other.len() {
        match one[i].cmp(&other[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let all = one.len() + other.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_spacing_and_punctuation_do_not_make_another_text() {
        for (one, other, signs, plain) in [
            ("What is x^2 + 3?", "what is  X^2+3", true, true),
            ("What is 2 + 3?", "What is 2 + 4?", false, false),
            ("What is 2 + 3?", "What is 2 - 3?", false, true),
            ("Add 3.5 and 4.", "Add 3 5 and 4", false, true),
            ("twenty-five", "twenty five", true, true),
            ("2(3 + 4)", "2 * 3 + 4", false, true),
            ("Café ÉTÉ", "café été!", false, true),
            ("Café, ÉTÉ", "café été.", true, true),
            ("$x$, y", "x y", true, true),
            ("ab c", "a bc", false, false),
            ("abcdefgh", "abcdefghi", false, false),
            ("abcdefgh ijklmnop", "abcdefghijklmnop", false, false),
            // Numbers that begin with their point.
            ("Compute .5 * 4.", "Compute 5 * 4.", false, true),
            ("Compute .5 * 4.", "Compute 0.5 * 4", true, false),
            ("See no.5 ...5", "see no. 5, 5", true, true),
            // Derivatives, and apostrophes that are none.
            ("f(2)", "f'(2)", false, true),
            ("f'(2)", "f''(2)", false, true),
            ("sin'(x)", "sin(x)", false, true),
            ("Is AB parallel to A'B'?", "Is AB parallel to A B?", false, true),
            ("the image A' of A", "the image A of A", false, true),
            ("(fg)' at 2", "(fg) at 2", false, true),
            ("the boys' mother's 'big' house", "the boys mother s big house", true, true),
            ("I don’t", "i don t", true, true),
            // Signs that no list has.
            ("⌊7/2⌋", "⌈7/2⌉", false, true),
            ("p ∧ q", "p ∨ q", false, true),
            ("A ⊂ B", "A ⊃ B", false, true),
            ("~p & q", "p & q", false, true),
            // Braces that group, and others.
            ("$2^{10}3$", "$2^10 3$", false, true),
            ("$2^{10}$", "2^10", true, true),
            (r"\frac{1}{x+1}", r"\frac{1}{x}+1", false, true),
            (r"2^{a+b}", r"2^a+b", false, true),
            (r"\frac{1}{2}\text{cm}", r"\frac 1 2 \text cm", true, true),
            // Prose, and what is not seen.
            ("“Well” — she said: yes…", "'Well', she said; yes.", true, true),
            ("zero\u{200b} width\u{ad}", "zero width", true, true),
            ("pages 3–5", "pages 3 5", false, true),
            ("twenty‑five", "twenty-five", true, true),
            // However a letter is encoded; but a square is no digit.
            ("Cafe\u{301} \u{e9}te\u{301}", "Café été", true, true),
            ("Ｘ＋１２（ａ）", "x+12(a)", true, true),
            ("x²", "x2", false, false),
            // Scripts without spaces.
            ("小明有3个苹果。", "小 明 有 3 个 苹 果", true, true),
            ("りんごは何個？", "り ん ご は 何 個", true, true),
            ("한국 사과", "한국사과", false, false),
        ] {
            assert_eq!(words(one, Reading::Signs) == words(other, Reading::Signs), signs, "{one} / {other}");
            assert_eq!(words(one, Reading::Plain) == words(other, Reading::Plain), plain, "{one} / {other}");
        }
        for one in ["He has 12.5 apples", "He has .5 apples"] {
            assert_eq!(words(one, Reading::AnyNumber), words("He has 7 apples", Reading::AnyNumber), "{one}");
        }
    }

    #[test]
    fn both_ways_to_read_plain_words_agree() {
        for text in [
            "Say: 3.5 x-rays, I said",
            "Eightlet and ninelette Twentyfourlettersinaword2 go",
            "",
            "...",
            "end",
            " A1 b2",
            "eightles sixteenlettersxx A-Z0-9 @[`{/:\u{1}\u{10}\u{19}x\u{7f}",
            "seven77 eight888 nine99999",
        ] {
            let mut hashes = Vec::new();
            each_word(text, Reading::Plain, |word, _| hashes.push(hash_word(word)));
            assert_eq!(words(text, Reading::Plain), hashes, "{text}");
        }
    }

    #[test]
    fn a_run_has_the_same_hash_wherever_it_stands() {
        let text = words("a b c d e a b c", Reading::Plain);
        let all = |words: &[u64]| runs(words, 3).collect::<Vec<_>>();
        let hashes = all(&text);
        assert_eq!(hashes.len(), 6);
        assert_eq!(hashes[0], hashes[5]);
        assert_eq!(hashes.iter().collect::<std::collections::HashSet<_>>().len(), 5);
        assert_eq!(all(&text[..2]), runs(&text[..2], 2).collect::<Vec<_>>());
        assert!(all(&[]).is_empty());
    }

    #[test]
    fn similarity_is_shared_over_all() {
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4]), 0.5);
        assert_eq!((jaccard(&[], &[]), jaccard(&[1], &[])), (1.0, 0.0));
    }
}
