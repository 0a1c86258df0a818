//! Text to token ids and back, by Hugging Face's `tokenizer.json`; training one; chat templates.
//!
//! Invariants, for a tokenizer trained here:
//! - `decode(encode(text)) == text` for every text, because every byte is a token of its own and
//!   nothing is normalised;
//! - the same training texts give the same file, byte for byte, with any number of threads.
//!
//! For every tokenizer: `encode` never yields a special token (begin, end, pad), whatever the text spells: a prompt
//! cannot end a completion. Special tokens are put into a sequence by id, or by a chat template.
//!
//! Words are split before BPE as in GPT-4's and DeepSeek's tokenizers, with digits in groups of up to
//! three. R1's tags (`<think>` ...) are tokens of their own, with and without a space before them:
//! added, but not special, so they are text like any other and stay in what is decoded.

mod chat;
mod files;
mod training;

use std::sync::OnceLock;

use rayon::prelude::*;

pub use chat::{ChatOptions, Message};

use crate::error::{PolicyError, Result};

/// The begin-of-text token of a tokenizer trained here.
pub const BOS_ID: u32 = 0;
/// The end-of-text token of a tokenizer trained here.
pub const EOS_ID: u32 = 1;
/// The padding token of a tokenizer trained here.
pub const PAD_ID: u32 = 2;

/// The special tokens of a tokenizer trained here, by id.
pub const SPECIAL_TOKENS: [&str; 3] = ["<|bos|>", "<|eos|>", "<|pad|>"];

/// The tags that are one token each, in the ids that follow the special tokens.
pub const TAGS: [&str; 8] =
    ["<think>", "</think>", "<answer>", "</answer>", " <think>", " </think>", " <answer>", " </answer>"];

/// So many ids of a context are decoded with what goes on from it: more than the bytes of a character.
const SEAM: usize = 8;

/// A tokenizer with what its model's folder says of it.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Takes no special token out of a text.
    inner: tokenizers::Tokenizer,
    /// The same, but takes them; made when a conversation is first encoded.
    special: OnceLock<Box<tokenizers::Tokenizer>>,
    /// `tokenizer_config.json`, kept so that what it holds besides (a chat template) is saved again.
    config: serde_json::Map<String, serde_json::Value>,
    /// `generation_config.json`, kept in the same way.
    generation: serde_json::Map<String, serde_json::Value>,
    /// The bytes of a byte-level tokenizer's tokens; other tokenizers decode by their own pipeline.
    bytes: Option<Bytes>,
    /// One more than the largest id.
    size: usize,
    /// What the tokenizer itself puts before a text.
    begin: Vec<u32>,
    bos: Option<u32>,
    /// The tokens that end a completion; the first is the one to end a text with.
    ends: Vec<u32>,
    pad: Option<u32>,
}

/// How a byte-level tokenizer spells bytes.
#[derive(Clone, Debug, PartialEq)]
struct Bytes {
    /// Each id's bytes; `None` for a special token or an id that is no token.
    tokens: Vec<Option<Box<[u8]>>>,
    /// The token of each single byte.
    single: Box<[u32; 256]>,
}

impl Tokenizer {
    /// The ids of a text, without any special token.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let ids = self.encode_whole(text);
        if !ids.iter().any(|id| self.is_special(*id)) {
            return ids;
        }
        // A vocabulary of pieces may hold the spelling of a special token as a piece like any other: it is cut in two. One that
        // comes from elsewhere (a normaliser that makes other letters) is left out.
        let cut = self.special_ids().filter_map(|id| {
            let spelled = self.inner.id_to_token(id)?;
            let first = spelled.chars().next()?.len_utf8();
            Some(text.find(&spelled)? + first).filter(|_| first < spelled.len())
        });
        match cut.min() {
            Some(cut) => [self.encode(&text[..cut]), self.encode(&text[cut..])].concat(),
            None => ids.into_iter().filter(|id| !self.is_special(*id)).collect(),
        }
    }

    /// The ids of a text that goes on from `context`, without any special token.
    ///
    /// A byte-level tokenizer encodes it as any other text. SentencePiece's put a space before what begins a text, and here
    /// nothing begins: such a tokenizer encodes the text with its context, in which special tokens are taken for such. Where a
    /// token would stand across the seam, the text is encoded as on a new line, since the context's ids are given.
    #[must_use]
    pub fn encode_after(&self, context: &str, text: &str) -> Vec<u32> {
        if self.bytes.is_some() {
            return self.encode(text);
        }
        let after = |context: &str, encode: &dyn Fn(&str) -> Option<Vec<u32>>| {
            let (whole, before) = (encode(&format!("{context}{text}"))?, encode(context)?);
            whole.strip_prefix(before.as_slice()).map(<[u32]>::to_vec)
        };
        let plain = |text: &str| Some(self.encode(text));
        after(context, &|text| self.encode_rendered(text).ok())
            .filter(|ids| !ids.iter().any(|id| self.is_added_as_special(*id)))
            .or_else(|| after(context, &plain))
            .or_else(|| after("\n", &plain))
            .unwrap_or_else(|| self.encode(text))
    }

    /// Whether `tokenizer.json` or this crate calls the token special, whatever it means.
    fn is_added_as_special(&self, id: u32) -> bool {
        let token = self.inner.id_to_token(id);
        token.is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// Begin, ends and pad.
    fn special_ids(&self) -> impl Iterator<Item = u32> {
        self.bos.into_iter().chain(self.begin.iter().copied()).chain(self.ends.iter().copied()).chain(self.pad)
    }

    fn is_special(&self, id: u32) -> bool {
        self.special_ids().any(|special| special == id)
    }

    fn encode_whole(&self, text: &str) -> Vec<u32> {
        match (self.inner.encode_fast(text, false), &self.bytes) {
            (Ok(encoding), _) => encoding.get_ids().to_vec(),
            // Not seen to happen with a vocabulary that has every byte; if it does, a longer but right encoding is better
            // than a panic.
            (Err(_), Some(bytes)) => text.bytes().map(|byte| bytes.single[usize::from(byte)]).collect(),
            // A vocabulary that knows neither a character nor a token for the unknown: what it knows.
            (Err(_), None) => {
                let known = |part: &str| self.inner.encode_fast(part, false).ok().map(|e| e.get_ids().to_vec());
                text.chars().filter_map(|c| known(c.encode_utf8(&mut [0; 4]))).flatten().collect()
            }
        }
    }

    /// What the tokenizer itself puts before every text: a begin-of-text token, or nothing.
    #[must_use]
    pub fn begin_ids(&self) -> &[u32] {
        &self.begin
    }

    /// As [`encode`](Self::encode), for many texts on all threads, in their order.
    #[must_use]
    pub fn encode_batch<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Vec<Vec<u32>> {
        texts.par_iter().map(|text| self.encode(text.as_ref())).collect()
    }

    /// The text of the ids. Special tokens and ids outside the vocabulary are left out; bytes that
    /// are not UTF-8 (a character cut in two) become U+FFFD.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let Some(bytes) = &self.bytes else {
            let ids: Vec<u32> = ids.iter().copied().filter(|id| (*id as usize) < self.size).collect();
            return self.inner.decode(&ids, true).unwrap_or_default();
        };
        let spelled = ids.iter().filter_map(|id| bytes.tokens.get(*id as usize)?.as_deref());
        let text: Vec<u8> = spelled.flatten().copied().collect();
        String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The text of ids that go on from those of `context`: where a text begins SentencePiece's leave a space out, and here
    /// none begins.
    #[must_use]
    pub fn decode_after(&self, context: &[u32], ids: &[u32]) -> String {
        if self.bytes.is_some() {
            return self.decode(ids);
        }
        let context = &context[context.len().saturating_sub(SEAM)..];
        let whole = self.decode(&[context, ids].concat());
        whole.strip_prefix(&self.decode(context)).map_or_else(|| self.decode(ids), str::to_owned)
    }

    /// One more than the largest id: the rows that a model's embedding needs.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The token to end a text with.
    #[must_use]
    pub fn eos_id(&self) -> u32 {
        self.ends[0]
    }

    /// The tokens that end a completion: [`eos_id`](Self::eos_id) and what the model may end with besides.
    #[must_use]
    pub fn end_ids(&self) -> &[u32] {
        &self.ends
    }

    /// What `generation_config.json` says of sampling, or of another key.
    #[must_use]
    pub fn generation_setting(&self, key: &str) -> Option<&serde_json::Value> {
        self.generation.get(key)
    }

    /// The token that begins a text, if there is one.
    #[must_use]
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The token that fills a batch: the end token where there is none of its own.
    #[must_use]
    pub fn pad_id(&self) -> u32 {
        self.pad.unwrap_or(self.ends[0])
    }

    /// The id of a token by its spelling, special or not.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The same tokenizer, but one that takes special tokens out of a text.
    fn with_special(&self) -> &tokenizers::Tokenizer {
        self.special.get_or_init(|| {
            let mut special = Box::new(self.inner.clone());
            special.set_encode_special_tokens(false);
            special
        })
    }

    /// The content of `tokenizer.json`.
    ///
    /// # Errors
    /// `tokenizers` cannot write it.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|error| tokenizer_error("write", "tokenizer.json", error))
    }
}

fn tokenizer_error(operation: &'static str, subject: impl Into<String>, error: impl std::fmt::Display) -> PolicyError {
    PolicyError::Tokenizer { operation, subject: subject.into(), message: error.to_string() }
}

/// The character that GPT-2's byte-level alphabet writes for each byte: itself where it is visible,
/// else the next of those from U+0100.
fn byte_alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let visible = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if visible {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        // Below U+0200, where every number is a character.
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

#[cfg(test)]
mod tests;
