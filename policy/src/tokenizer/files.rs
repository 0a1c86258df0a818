//! A tokenizer from and to the files of a Hugging Face folder.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::{AddedToken, ModelWrapper};

use super::{Tokenizer, byte_alphabet, tokenizer_error};
use crate::error::{PolicyError, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

impl Tokenizer {
    /// Reads `tokenizer.json`. Which tokens begin, end and pad a text is said by
    /// `tokenizer_config.json` or, for what that leaves out, by `config.json` and then
    /// `generation_config.json` (the first, where they list several).
    ///
    /// # Errors
    /// A missing or malformed file, a tokenizer that is not byte-level BPE, or no end token; the
    /// message names the file.
    pub fn from_dir(folder: impl AsRef<Path>) -> Result<Tokenizer> {
        let folder = folder.as_ref();
        let path = folder.join(TOKENIZER);
        let file = std::fs::read(&path).map_err(PolicyError::io("read", &path))?;
        let inner = tokenizers::Tokenizer::from_bytes(file)
            .map_err(|error| tokenizer_error("read a tokenizer", path.display().to_string(), error))?;

        let config = read_object(&folder.join(CONFIG))?;
        let others = [read_object(&folder.join("config.json"))?, read_object(&folder.join("generation_config.json"))?];
        let find = |role: &str| -> Option<u32> {
            let spelled = config.get(&format!("{role}_token")).and_then(spelling);
            spelled
                .and_then(|token| inner.token_to_id(token))
                .or_else(|| others.iter().find_map(|other| first_id(other.get(&format!("{role}_token_id"))?)))
        };
        let (bos, eos, pad) = (find("bos"), find("eos"), find("pad"));
        let eos = eos.ok_or_else(|| {
            tokenizer_error(
                "read a tokenizer",
                folder.join(CONFIG).display().to_string(),
                "neither `eos_token` here nor `eos_token_id` in config.json or \
                 generation_config.json names a token that ends a text",
            )
        })?;
        Tokenizer::assemble(inner, config, bos, eos, pad).map_err(|error| match error {
            PolicyError::Tokenizer { operation, message, .. } => {
                tokenizer_error(operation, path.display().to_string(), message)
            }
            other => other,
        })
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into a folder, for transformers, vLLM and
    /// [`from_dir`](Self::from_dir) to read.
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
        write(CONFIG, &format!("{:#}\n", Value::Object(self.config.clone())))
    }

    /// Checks that a tokenizer keeps this module's promises and tabulates its tokens' bytes.
    pub(super) fn assemble(
        mut inner: tokenizers::Tokenizer,
        config: Map<String, Value>,
        bos: Option<u32>,
        eos: u32,
        pad: Option<u32>,
    ) -> Result<Tokenizer> {
        let refuse = |message: String| tokenizer_error("read a tokenizer", TOKENIZER, message);
        if !matches!(inner.get_model(), ModelWrapper::BPE(_)) {
            return Err(refuse("expected a model of type BPE".to_owned()));
        }
        let alphabet = byte_alphabet();
        let mut byte_tokens = Box::new([0; 256]);
        for (byte, character) in alphabet.iter().enumerate() {
            byte_tokens[byte] = inner
                .token_to_id(&character.to_string())
                .ok_or_else(|| refuse(format!("not byte-level: there is no token `{character}` for byte {byte}")))?;
        }
        // Whatever the file says of them, these must never come out of a text.
        for id in [bos, Some(eos), pad].into_iter().flatten() {
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

        let ids = inner.get_vocab(true);
        let size = ids.values().max().map_or(0, |&largest| largest as usize + 1);
        let mut bytes = vec![None; size];
        for (token, id) in ids {
            if !inner.get_added_vocabulary().is_special_token(&token) {
                bytes[id as usize] = Some(spelled_bytes(&token, &alphabet));
            }
        }
        Ok(Tokenizer { inner, config, bytes, byte_tokens, bos, eos, pad })
    }
}

/// A token of the byte-level alphabet as bytes; any other (an added one with a space) as it is.
fn spelled_bytes(token: &str, alphabet: &[char; 256]) -> Box<[u8]> {
    let byte = |character: char| alphabet.iter().position(|&letter| letter == character).map(|byte| byte as u8);
    let bytes: Option<Box<[u8]>> = token.chars().map(byte).collect();
    bytes.unwrap_or_else(|| token.as_bytes().into())
}

/// The JSON object in a file; empty where there is no such file.
fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(PolicyError::io("read", path)(error)),
    };
    serde_json::from_slice(&text).map_err(|source| PolicyError::Json { path: path.to_path_buf(), source })
}

/// A special token is given as a string or as an object with its `content`.
fn spelling(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn first_id(value: &Value) -> Option<u32> {
    let first = value.as_array().map_or(Some(value), |several| several.first())?;
    first.as_u64().and_then(|id| u32::try_from(id).ok())
}
