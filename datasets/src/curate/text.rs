//! Prompts as words: what exact repetition, shingles and n-grams are made of.
//!
//! A word is a run of letters and digits in lower case; everything else only parts words. So `x^2 + 3` and `X^2+3.` are the
//! same words, and typesetting does not hide a repetition.

use crate::random::mix;

/// A 64-bit hash of a word: FNV-1a, mixed.
fn hash_word(word: &str) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in word.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    mix(hash)
}

/// What stands for every number where numbers do not matter.
const SOME_NUMBER: u64 = 0x0123_4567_89AB_CDEF;

/// The hash of each word of a text, in order.
pub(super) fn words(text: &str, numbers_matter: bool) -> Vec<u64> {
    let mut hashes = Vec::with_capacity(text.len() / 5 + 1);
    each_word(text, |word, _| {
        let number = !numbers_matter && word.bytes().all(|byte| byte.is_ascii_digit());
        hashes.push(if number { SOME_NUMBER } else { hash_word(word) });
    });
    hashes
}

/// Calls `found` for each word in lower case, with its byte range in the text.
pub(super) fn each_word(text: &str, mut found: impl FnMut(&str, std::ops::Range<usize>)) {
    if text.is_ascii() {
        let bytes = text.as_bytes();
        let mut lower = String::with_capacity(32);
        let mut at = 0;
        while at < bytes.len() {
            if !bytes[at].is_ascii_alphanumeric() {
                at += 1;
                continue;
            }
            let start = at;
            lower.clear();
            while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
                lower.push(char::from(bytes[at].to_ascii_lowercase()));
                at += 1;
            }
            found(&lower, start..at);
        }
        return;
    }
    let mut lower = String::new();
    let mut start = 0;
    for (place, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        if letter.is_alphanumeric() {
            if lower.is_empty() {
                start = place;
            }
            lower.extend(letter.to_lowercase());
        } else if !lower.is_empty() {
            found(&lower, start..place);
            lower.clear();
        }
    }
}

/// The hash of each run of `size` words, in order; of all words where there are fewer. Nothing for no words.
pub(super) fn runs(words: &[u64], size: usize) -> Vec<u64> {
    /// Odd and without structure: the base of the rolling hash.
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
    if words.is_empty() {
        return Vec::new();
    }
    let size = size.min(words.len()).max(1);
    let leading = (1..size).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut rolling = words[..size].iter().fold(0_u64, |hash, &word| hash.wrapping_mul(BASE).wrapping_add(word));
    let mut hashes = Vec::with_capacity(words.len() - size + 1);
    hashes.push(mix(rolling));
    for at in size..words.len() {
        let without = rolling.wrapping_sub(words[at - size].wrapping_mul(leading));
        rolling = without.wrapping_mul(BASE).wrapping_add(words[at]);
        hashes.push(mix(rolling));
    }
    hashes
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
        for (one, other, same) in [
            ("What is x^2 + 3?", "what is  X^2+3", true),
            ("What is 2 + 3?", "What is 2 + 4?", false),
            ("Café ÉTÉ", "café été!", true),
            ("ab c", "a bc", false),
        ] {
            assert_eq!(words(one, true) == words(other, true), same, "{one} / {other}");
        }
        assert_eq!(words("He has 12 apples", false), words("He has 7 apples", false));
    }

    #[test]
    fn a_run_has_the_same_hash_wherever_it_stands() {
        let text = words("a b c d e a b c", true);
        let hashes = runs(&text, 3);
        assert_eq!(hashes.len(), 6);
        assert_eq!(hashes[0], hashes[5]);
        assert_eq!(hashes.iter().collect::<std::collections::HashSet<_>>().len(), 5);
        assert_eq!(runs(&text[..2], 3), runs(&text[..2], 2));
        assert!(runs(&[], 3).is_empty());
    }

    #[test]
    fn similarity_is_shared_over_all() {
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4]), 0.5);
        assert_eq!((jaccard(&[], &[]), jaccard(&[1], &[])), (1.0, 0.0));
    }
}
