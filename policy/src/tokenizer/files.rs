//! A tokenizer from and to the files of a Hugging Face folder.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use tokenizers::normalizers::Precompiled;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper};

use super::{Bytes, Tokenizer, byte_alphabet, tokenizer_error};
use crate::error::{PolicyError, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";
const TEMPLATE: &str = "chat_template.jinja";

impl Tokenizer {
    /// Reads `tokenizer.json`, whatever its pipeline. Which tokens begin, end and pad a text is said by
    /// `tokenizer_config.json` or, for what that leaves out, by `generation_config.json`, or by `config.json` where that one
    /// does not have the key either. A completion ends with the token that ends a text, and with any other in the
    /// `eos_token_id` of `generation_config.json`, or of `config.json` where that one has none: the lists are not joined.
    /// (transformers, too, generates by `generation_config.json` where there is one.) A chat template may lie in a file of
    /// its own.
    ///
    /// # Errors
    /// A missing or malformed file, a tokenizer that cannot encode, or no end token; the message names the file.
    pub fn from_dir(folder: impl AsRef<Path>) -> Result<Tokenizer> {
        let folder = folder.as_ref();
        let path = folder.join(TOKENIZER);
        let file = std::fs::read(&path).map_err(PolicyError::io("read", &path))?;
        check_json(&file).map_err(|source| PolicyError::Json { path: path.clone(), source })?;
        let inner = tokenizers::Tokenizer::from_bytes(file)
            .map_err(|error| tokenizer_error("read a tokenizer", path.display().to_string(), error))?;

        let mut config = read_object(&folder.join(CONFIG))?;
        if let Some(template) = read_optional(&folder.join(TEMPLATE))? {
            config.insert("chat_template".to_owned(), template.into());
        }
        let others = [read_object(&folder.join(GENERATION))?, read_object(&folder.join("config.json"))?];
        let listed = |role: &str| -> Vec<u32> {
            others.iter().find_map(|other| ids(other.get(&format!("{role}_token_id"))?)).unwrap_or_default()
        };
        let find = |role: &str| -> Option<u32> {
            let spelled = config.get(&format!("{role}_token")).and_then(spelling);
            spelled.and_then(|token| inner.token_to_id(token)).or_else(|| listed(role).first().copied())
        };
        let (bos, pad) = (find("bos"), find("pad"));
        let first = find("eos");
        let ends: Vec<u32> =
            first.into_iter().chain(listed("eos").into_iter().filter(|id| Some(*id) != first)).collect();
        if ends.is_empty() {
            return Err(tokenizer_error(
                "read a tokenizer",
                folder.join(CONFIG).display().to_string(),
                "no end token: expected `eos_token` here, or `eos_token_id` in generation_config.json or config.json",
            ));
        }
        let [generation, _] = others;
        Tokenizer::assemble(inner, config, generation, bos, ends, pad).map_err(|error| match error {
            PolicyError::Tokenizer { operation, message, .. } => {
                tokenizer_error(operation, path.display().to_string(), message)
            }
            other => other,
        })
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` into a folder, for transformers,
    /// vLLM and [`from_dir`](Self::from_dir) to read.
    ///
    /// # Errors
    /// The file system's refusal, naming the path.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(PolicyError::io("write", &path))
        };
        write(TOKENIZER, &self.to_json()?)?;
        write(CONFIG, &format!("{:#}\n", Value::Object(self.config.clone())))?;
        let mut generation = self.generation.clone();
        let ends = if let [one] = self.ends.as_slice() { json!(one) } else { json!(self.ends) };
        generation.insert("eos_token_id".to_owned(), ends);
        for (key, id) in [("bos_token_id", self.bos), ("pad_token_id", self.pad)] {
            if let Some(id) = id {
                generation.insert(key.to_owned(), id.into());
            }
        }
        write(GENERATION, &format!("{:#}\n", Value::Object(generation)))
    }

    /// Checks that a tokenizer keeps this module's promises and tabulates its tokens' bytes.
    pub(super) fn assemble(
        mut inner: tokenizers::Tokenizer,
        config: Map<String, Value>,
        generation: Map<String, Value>,
        bos: Option<u32>,
        ends: Vec<u32>,
        pad: Option<u32>,
    ) -> Result<Tokenizer> {
        let refuse = |message: String| tokenizer_error("read a tokenizer", TOKENIZER, message);
        // Whatever the file says of them, these must never come out of a text.
        for id in bos.into_iter().chain(ends.iter().copied()).chain(pad) {
            let token =
                inner.id_to_token(id).ok_or_else(|| refuse(format!("there is no token with the special id {id}")))?;
            if !inner.get_added_vocabulary().is_special_token(&token) {
                inner.add_special_tokens([AddedToken::from(token, true)]).map_err(|error| refuse(error.to_string()))?;
            }
        }
        inner.set_encode_special_tokens(true);
        // Texts are cut to length by whoever feeds the model, and never padded.
        inner.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        inner.with_padding(None);

        let encode = |special: bool| {
            inner.encode_fast("a", special).map_err(|error| refuse(format!("cannot encode \"a\": {error}")))
        };
        let (plain, whole) = (encode(false)?.get_ids().to_vec(), encode(true)?.get_ids().to_vec());
        let at = whole.windows(plain.len().max(1)).position(|window| window == plain);
        let begin = whole[..at.unwrap_or(0)].to_vec();
        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |largest| *largest as usize + 1);
        // Tables have a place for each id. Models leave some free, but not most.
        if size > MOST_FREE_IDS + 4 * vocabulary.len() {
            let (last, count) = (size - 1, vocabulary.len());
            return Err(refuse(format!("a token has the id {last}, and there are {count} tokens")));
        }
        let bytes = byte_level(&inner, size);
        Ok(Tokenizer { inner, special: OnceLock::new(), config, generation, bytes, size, begin, bos, ends, pad })
    }
}

/// Ids that may be free, however few tokens there are.
const MOST_FREE_IDS: usize = 1 << 16;

/// The tokens as bytes, where the vocabulary is byte-level BPE's: each of the 256 bytes is a token, by the letters of
/// GPT-2's alphabet, and decoding is nothing but putting bytes together.
fn byte_level(inner: &tokenizers::Tokenizer, size: usize) -> Option<Bytes> {
    if !matches!(inner.get_model(), ModelWrapper::BPE(_))
        || !matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
    {
        return None;
    }
    let alphabet = byte_alphabet();
    let mut single = Box::new([0; 256]);
    for (byte, character) in alphabet.iter().enumerate() {
        single[byte] = inner.token_to_id(&character.to_string())?;
    }
    let added = inner.get_added_vocabulary();
    let mut tokens = vec![None; size];
    for (token, id) in inner.get_vocab(true) {
        if !added.is_special_token(&token) {
            // An added token is text as it is written.
            let text = added.get_vocab().contains_key(&token);
            let bytes = if text { token.as_bytes().into() } else { spelled_bytes(&token, &alphabet) };
            tokens[id as usize] = Some(bytes);
        }
    }
    Some(Bytes { tokens, single })
}

/// A token of the byte-level alphabet as bytes; any other as it is.
fn spelled_bytes(token: &str, alphabet: &[char; 256]) -> Box<[u8]> {
    let byte = |character: char| alphabet.iter().position(|&letter| letter == character).map(|byte| byte as u8);
    let bytes: Option<Box<[u8]>> = token.chars().map(byte).collect();
    bytes.unwrap_or_else(|| token.as_bytes().into())
}

/// What `tokenizers` panics on instead of refusing it: a decoder that is no JSON (of a file that was cut), and a table of
/// SentencePiece's normaliser that is none.
fn check_json(file: &[u8]) -> serde_json::Result<()> {
    fn check(normalizer: &Value) -> serde_json::Result<()> {
        if normalizer["type"] == "Precompiled" {
            // Its own reading borrows from the text.
            serde_json::from_str::<Precompiled>(&normalizer.to_string())?;
        }
        normalizer["normalizers"].as_array().into_iter().flatten().try_for_each(check)
    }
    let whole: Value = serde_json::from_slice(file)?;
    check(&whole["normalizer"])
}

/// The text of a file; `None` where there is no such file.
fn read_optional(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PolicyError::io("read", path)(error)),
    }
}

/// The JSON object in a file; empty where there is no such file.
fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let Some(text) = read_optional(path)? else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|source| PolicyError::Json { path: path.to_path_buf(), source })
}

/// A special token is given as a string or as an object with its `content`.
pub(super) fn spelling(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// One id or a list of them; `None` where it is neither, or empty.
fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Vec<u32> = match value {
        Value::Array(several) => several.iter().map(id).collect::<Option<_>>()?,
        one => vec![id(one)?],
    };
    (!ids.is_empty()).then_some(ids)
}
