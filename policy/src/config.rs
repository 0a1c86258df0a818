//! The sizes of a model, read from and written to a Hugging Face `config.json`.
//!
//! The keys and their meaning are those of transformers, so a folder written here opens there. Two deviations:
//! - a missing *size* is an error naming the key, where transformers falls back to some published model's;
//! - what this crate does not compute (sliding windows, biases in the feed-forward, another router) is refused by name
//!   rather than ignored, because a model that loads but computes something else is worse than one that does not load.

mod architecture;
mod attention;
mod json;
mod mixture;
mod rope;
mod size;

use std::path::Path;

use crate::error::{PolicyError, Result};

pub use architecture::Architecture;
pub use attention::{AttentionKind, GroupedAttention, LatentAttention};
pub use mixture::Mixture;
pub use rope::{Rope, RopeScaling, Yarn};
pub use size::{CardMemory, Memory};

/// The most positions that a model may have: more than any published one has, and few enough for a card to hold their angles.
pub const MOST_POSITIONS: usize = 1 << 24;

/// The largest of a model's sizes: their products then fit into numbers of 128 bits.
const LARGEST_SIZE: usize = 1 << 30;
/// The most layers of a model.
const MOST_LAYERS: usize = 1 << 16;
/// The most parameters of a model: far beyond any that is, and few enough that sizes in bytes are numbers of 64 bits.
const MOST_PARAMETERS: usize = 1 << 50;

/// The sizes and constants of a model. Field names are the keys of `config.json`, but for what is grouped by kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which of transformers' models this is.
    pub architecture: Architecture,
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the dense feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers, the dense ones included.
    pub num_hidden_layers: usize,
    /// DeepSeek-V3's modules for multi-token prediction, which lie as layers after the last in a checkpoint. They are left
    /// out as it is read, so none is written again.
    pub num_nextn_predict_layers: usize,
    /// Attention heads, of queries.
    pub num_attention_heads: usize,
    /// Which attention, and its sizes.
    pub attention: AttentionKind,
    /// The mixture of experts, in a model that has one.
    pub mixture: Option<Mixture>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// How positions are encoded.
    pub rope: Rope,
    /// Longest sequence the model is meant for, in tokens; at most [`MOST_POSITIONS`].
    pub max_position_embeddings: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text, as `config.json` has them. They are checked and written again; which tokens end a completion
    /// is said by the tokenizer ([`Tokenizer::end_ids`](crate::tokenizer::Tokenizer::end_ids)).
    pub eos_token_ids: Vec<u32>,
    /// Token that fills a batch.
    pub pad_token_id: Option<u32>,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// Rows and columns of the blocks that share a scale in a checkpoint of eight-bit weights. Such weights are widened
    /// as they are read, so this is not written again.
    pub weight_block_size: Option<[usize; 2]>,
}

impl ModelConfig {
    /// A model that two cores train in minutes: about 1.5 M parameters, 40% of them active per token.
    #[must_use]
    pub fn tiny(vocab_size: usize) -> Self {
        Self {
            architecture: Architecture::DeepseekV3,
            vocab_size,
            hidden_size: 128,
            intermediate_size: 384,
            num_hidden_layers: 4,
            num_nextn_predict_layers: 0,
            num_attention_heads: 4,
            attention: AttentionKind::Latent(LatentAttention {
                kv_lora_rank: 32,
                q_lora_rank: None,
                qk_rope_head_dim: 16,
                qk_nope_head_dim: 32,
                v_head_dim: 32,
                attention_bias: false,
            }),
            mixture: Some(Mixture {
                moe_intermediate_size: 96,
                n_shared_experts: 1,
                n_routed_experts: 8,
                num_experts_per_tok: 2,
                n_group: 1,
                topk_group: 1,
                norm_topk_prob: true,
                routed_scaling_factor: 1.0,
                first_k_dense_replace: 1,
            }),
            rms_norm_eps: 1e-6,
            rope: Rope { theta: 10_000.0, interleave: true, scaling: RopeScaling::None },
            max_position_embeddings: 2048,
            tie_word_embeddings: false,
            bos_token_id: Some(crate::tokenizer::BOS_ID),
            eos_token_ids: vec![crate::tokenizer::EOS_ID],
            pad_token_id: Some(crate::tokenizer::PAD_ID),
            initializer_range: 0.02,
            weight_block_size: None,
        }
    }

    /// Reads and validates a `config.json`.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, describes another architecture, lacks a key, or has a
    /// value that [`validate`](Self::validate) refuses; the message names the file and the key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(PolicyError::io("read", path))?;
        Self::from_json(&text).map_err(|error| match error {
            PolicyError::Config { key, message, .. } => {
                PolicyError::Config { path: Some(path.to_path_buf()), key, message }
            }
            PolicyError::UnsupportedArchitecture { found, supported, .. } => {
                PolicyError::UnsupportedArchitecture { path: Some(path.to_path_buf()), found, supported }
            }
            PolicyError::Json { source, .. } => PolicyError::Json { path: path.to_path_buf(), source },
            other => other,
        })
    }

    /// Reads and validates the text of a `config.json`.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), without the file's name.
    pub fn from_json(text: &str) -> Result<Self> {
        let config = json::parse(text)?;
        config.validate()?;
        Ok(config)
    }

    /// The text of a `config.json` that transformers reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Checks that the sizes fit each other and that this crate computes such a model.
    ///
    /// # Errors
    /// [`PolicyError::Config`] with the first key at fault.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, value) in positive {
            ensure(value > 0, key, || "expected a positive number, found 0".to_owned())?;
        }
        let positions = self.max_position_embeddings;
        ensure(positions <= MOST_POSITIONS, "max_position_embeddings", || {
            format!("expected at most {MOST_POSITIONS}, found {positions}")
        })?;
        for (key, size) in self.sizes() {
            ensure(size <= LARGEST_SIZE, key, || format!("expected at most {LARGEST_SIZE}, found {size}"))?;
        }
        let layers = self.num_hidden_layers;
        ensure(layers <= MOST_LAYERS, "num_hidden_layers", || {
            format!("expected at most {MOST_LAYERS}, found {layers}")
        })?;
        for (key, value) in [("rms_norm_eps", self.rms_norm_eps), ("initializer_range", self.initializer_range)] {
            ensure(value.is_finite() && value > 0.0, key, || format!("expected a positive number, found {value}"))?;
        }
        self.attention.validate(self)?;
        self.rope.validate(self)?;
        if let Some(mixture) = &self.mixture {
            mixture.validate(self)?;
        }
        ensure(self.parameters().0 <= MOST_PARAMETERS, "hidden_size", || {
            format!("the sizes together make a model of more than {MOST_PARAMETERS} parameters")
        })?;
        let tokens = [("bos_token_id", self.bos_token_id), ("pad_token_id", self.pad_token_id)];
        let ends = self.eos_token_ids.iter().map(|id| ("eos_token_id", *id));
        for (key, token) in tokens.into_iter().filter_map(|(key, id)| Some((key, id?))).chain(ends) {
            ensure((token as usize) < self.vocab_size, key, || {
                format!("token {token} lies outside the vocabulary of {}", self.vocab_size)
            })?;
        }
        Ok(())
    }

    /// All that the number of parameters is a product of.
    fn sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = vec![
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
        ];
        match &self.attention {
            AttentionKind::Latent(latent) => sizes.extend([
                ("q_lora_rank", latent.q_lora_rank.unwrap_or(0)),
                ("kv_lora_rank", latent.kv_lora_rank),
                ("qk_nope_head_dim", latent.qk_nope_head_dim),
                ("qk_rope_head_dim", latent.qk_rope_head_dim),
                ("v_head_dim", latent.v_head_dim),
            ]),
            AttentionKind::Grouped(grouped) => {
                sizes.extend([("num_key_value_heads", grouped.num_key_value_heads), ("head_dim", grouped.head_dim)]);
            }
        }
        if let Some(mixture) = &self.mixture {
            sizes.extend([
                ("moe_intermediate_size", mixture.moe_intermediate_size),
                ("n_routed_experts", mixture.n_routed_experts),
                ("n_shared_experts", mixture.n_shared_experts),
                ("num_experts_per_tok", mixture.num_experts_per_tok),
            ]);
        }
        sizes
    }

    /// The mixture of experts of a layer (from 0); `None` where its feed-forward is dense.
    #[must_use]
    pub fn mixture_of(&self, layer: usize) -> Option<&Mixture> {
        self.mixture.as_ref().filter(|mixture| layer >= mixture.first_k_dense_replace)
    }

    /// The layers that have a mixture of experts.
    pub(crate) fn moe_layers(&self) -> impl Iterator<Item = (usize, &Mixture)> {
        (0..self.num_hidden_layers).filter_map(|layer| Some((layer, self.mixture_of(layer)?)))
    }

    /// Numbers that attention reads of each token and layer: the least that a cache holds.
    #[must_use]
    pub fn cache_width(&self) -> usize {
        self.attention.cache_width()
    }
}

fn ensure(holds: bool, key: &str, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(json::config_error(key, message())) }
}

#[cfg(test)]
mod tests;
