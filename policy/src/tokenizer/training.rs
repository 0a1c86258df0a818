//! Training a tokenizer: the special tokens, the split into words, and the crate's BPE trainer.
//!
//! That trainer keeps its counts in hash maps of random order, yet its result is a function of the
//! counts alone: pairs are queued by count and then by ids, a total order, and no two merges make the
//! same token. (What is merged inside a token's span, while nothing is merged across its border, is
//! what would be merged if the span stood alone; so a token has one derivation.) A test trains in
//! other orders and with other numbers of threads and compares the files.

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, OffsetReferential, OffsetType, PreTokenizer, SplitDelimiterBehavior, Trainer};

use super::{BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, TAGS, Tokenizer, byte_alphabet, tokenizer_error};
use crate::error::{PolicyError, Result};

/// How a text is split before BPE; merges never cross these borders. Numbers in groups of three
/// digits from the left, words, and punctuation, each with the space before it; then white space,
/// whose last character goes to a following word if it is a space.
const WORDS: &str = r" ?\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A pair seen once is no pattern.
const MIN_FREQUENCY: u64 = 2;

impl Tokenizer {
    /// Learns a tokenizer of at most `vocab_size` tokens (fewer where the texts do not hold that
    /// many repeated pairs: see [`vocab_size`](Self::vocab_size)). Neither the texts' order nor the
    /// number of threads matters to the result.
    ///
    /// # Errors
    /// A `vocab_size` without room for the special tokens, the tags, and the 256 bytes.
    pub fn train(texts: impl Iterator<Item = String> + Send, vocab_size: usize) -> Result<Tokenizer> {
        let needed = SPECIAL_TOKENS.len() + TAGS.len() + 256;
        if vocab_size < needed {
            return Err(PolicyError::Argument {
                operation: "train a tokenizer",
                message: format!(
                    "a vocabulary of {vocab_size} is too small: {needed} tokens are needed for the \
                     special tokens, the tags and the single bytes"
                ),
            });
        }
        let refuse = |error| tokenizer_error("train a tokenizer", "byte-level BPE", error);
        let mut inner = untrained().map_err(refuse)?;
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(MIN_FREQUENCY)
            .show_progress(false)
            .special_tokens(added_tokens())
            .initial_alphabet(byte_alphabet().into_iter().collect())
            .build();
        trainer.feed(texts, |text| split(&inner, text)).map_err(refuse)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(refuse)?;
        inner.with_model(model);
        Tokenizer::assemble(inner, config(), Map::new(), Some(BOS_ID), vec![EOS_ID], Some(PAD_ID))
    }
}

/// Special tokens, then tags: the order of their ids.
fn added_tokens() -> Vec<AddedToken> {
    let special = SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true));
    let tags = TAGS.iter().map(|tag| AddedToken::from(*tag, false).normalized(false));
    special.chain(tags).collect()
}

/// All but the vocabulary. The added tokens already have the ids that training gives them.
fn untrained() -> tokenizers::Result<tokenizers::Tokenizer> {
    let bytes = ByteLevel::new(false, true, false);
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    let words = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.add_tokens(added_tokens())?;
    Ok(tokenizer)
}

/// The content of `tokenizer_config.json`.
fn config() -> Map<String, Value> {
    let [bos, eos, pad] = SPECIAL_TOKENS;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "add_bos_token": false,
        "add_eos_token": false,
        // English typography would otherwise take spaces out of what was decoded.
        "clean_up_tokenization_spaces": false,
    });
    config.as_object().cloned().unwrap_or_default()
}

/// The words of a text in the byte-level alphabet, exactly as encoding will see them: what is a tag
/// is taken out first.
fn split(tokenizer: &tokenizers::Tokenizer, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut pieces = tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
    if let Some(words) = tokenizer.get_pre_tokenizer() {
        words.pre_tokenize(&mut pieces)?;
    }
    Ok(pieces
        .get_splits(OffsetReferential::Normalized, OffsetType::Byte)
        .into_iter()
        .filter(|(_, _, tokens)| tokens.is_none())
        .map(|(word, _, _)| word.to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_text() {
        fn check(text: &str, expected: &[&str]) {
            let words: Vec<String> = split(&untrained().unwrap(), text)
                .unwrap()
                .into_iter()
                .map(|word| word.replace('Ġ', "_").replace('Ċ', "|"))
                .collect();
            assert_eq!(words, expected, "{text:?}");
        }
        check("What is 12345 + 6?", &["What", "_is", "_123", "45", "_+", "_6", "?"]);
        check("x=12, y=-3.5", &["x", "=", "12", ",", "_y", "=-", "3", ".", "5"]);
        check("def f(a):\n    return a", &["def", "_f", "(", "a", "):", "|___", "_return", "_a"]);
        check(": <think> no </think><answer>", &[":", "_no"]);
        check("é9", &["Ã©", "9"]);
        check("", &[]);
    }

    #[test]
    fn a_vocabulary_without_room_is_refused() {
        let error = Tokenizer::train(std::iter::empty(), 266).unwrap_err().to_string();
        assert!(error.contains("266") && error.contains("267"), "{error}");
        assert_eq!(Tokenizer::train(std::iter::empty(), 267).unwrap().vocab_size(), 267);
    }
}
