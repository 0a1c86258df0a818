//! The sizes of a model, read from and written to a Hugging Face `config.json`.
//!
//! One architecture so far: `DeepseekV3ForCausalLM`. The keys and their meaning are those of
//! transformers' `DeepseekV3Config`, so a folder written here opens there. Two deviations:
//! - a missing *size* is an error naming the key, where transformers falls back to the 671B model's;
//! - what this crate does not compute (a low-rank query, stretched rope, biases, quantised weights,
//!   another router) is refused by name rather than ignored, because a model that loads but computes
//!   something else is worse than one that does not load.

mod json;

use std::path::Path;

use crate::error::{PolicyError, Result};

const ARCHITECTURE: &str = "DeepseekV3ForCausalLM";
const MODEL_TYPE: &str = "deepseek_v3";

/// The sizes and constants of a DeepSeek-V3 model. Field names are the keys of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Inner width of the dense feed-forward layers.
    pub intermediate_size: usize,
    /// Inner width of one expert.
    pub moe_intermediate_size: usize,
    /// Number of layers, the dense ones included.
    pub num_hidden_layers: usize,
    /// Attention heads (MLA has as many key and value heads).
    pub num_attention_heads: usize,
    /// Experts that see every token; computed as one expert of this many times the width.
    pub n_shared_experts: usize,
    /// Experts that the router chooses from.
    pub n_routed_experts: usize,
    /// How many routed experts a token goes to.
    pub num_experts_per_tok: usize,
    /// Groups that the routed experts are divided into.
    pub n_group: usize,
    /// Groups that a token may use.
    pub topk_group: usize,
    /// Whether the gates of the chosen experts are normalised to sum to one.
    pub norm_topk_prob: bool,
    /// Factor on the routed experts' gates.
    pub routed_scaling_factor: f64,
    /// Layers, from the first, that have a dense feed-forward instead of experts.
    pub first_k_dense_replace: usize,
    /// Width of the compressed keys and values, which is what the cache holds.
    pub kv_lora_rank: usize,
    /// Width of the compressed query; `None` for a full-rank query.
    pub q_lora_rank: Option<usize>,
    /// Width of the part of a query or key that carries the position.
    pub qk_rope_head_dim: usize,
    /// Width of the part of a query or key without position.
    pub qk_nope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether rotary pairs are neighbours (2i, 2i+1) in the stored weights, as DeepSeek's are.
    pub rope_interleave: bool,
    /// Longest sequence the model is meant for, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Token that ends a completion (the first, where the file lists several).
    pub eos_token_id: Option<u32>,
    /// Token that fills a batch.
    pub pad_token_id: Option<u32>,
    /// The feed-forward's activation: `silu`.
    pub hidden_act: String,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// Type of the stored weights: `float32`, `bfloat16` or `float16`.
    pub torch_dtype: String,
}

impl ModelConfig {
    /// A model that two cores train in minutes: about 1.5 M parameters, 40% of them active per token.
    #[must_use]
    pub fn tiny(vocab_size: usize) -> Self {
        Self {
            vocab_size,
            hidden_size: 128,
            intermediate_size: 384,
            moe_intermediate_size: 96,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            n_shared_experts: 1,
            n_routed_experts: 8,
            num_experts_per_tok: 2,
            n_group: 1,
            topk_group: 1,
            norm_topk_prob: true,
            routed_scaling_factor: 1.0,
            first_k_dense_replace: 1,
            kv_lora_rank: 32,
            q_lora_rank: None,
            qk_rope_head_dim: 16,
            qk_nope_head_dim: 32,
            v_head_dim: 32,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_interleave: true,
            max_position_embeddings: 2048,
            tie_word_embeddings: false,
            bos_token_id: Some(crate::tokenizer::BOS_ID),
            eos_token_id: Some(crate::tokenizer::EOS_ID),
            pad_token_id: Some(crate::tokenizer::PAD_ID),
            hidden_act: "silu".to_owned(),
            initializer_range: 0.02,
            torch_dtype: "float32".to_owned(),
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
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("v_head_dim", self.v_head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, value) in positive {
            ensure(value > 0, key, || "expected a positive number, found 0".to_owned())?;
        }
        let finite = [
            ("routed_scaling_factor", self.routed_scaling_factor),
            ("rms_norm_eps", self.rms_norm_eps),
            ("rope_theta", self.rope_theta),
            ("initializer_range", self.initializer_range),
        ];
        for (key, value) in finite {
            ensure(value.is_finite() && value > 0.0, key, || format!("expected a positive number, found {value}"))?;
        }
        ensure(self.qk_rope_head_dim.is_multiple_of(2), "qk_rope_head_dim", || {
            format!("rope turns pairs: expected an even number, found {}", self.qk_rope_head_dim)
        })?;
        self.validate_router()?;
        ensure(self.q_lora_rank.is_none(), "q_lora_rank", || {
            format!(
                "a low-rank query (found {}) is not implemented; expected null",
                self.q_lora_rank.unwrap_or_default()
            )
        })?;
        ensure(self.hidden_act == "silu", "hidden_act", || {
            format!("only \"silu\" is implemented, found {:?}", self.hidden_act)
        })?;
        ensure(["float32", "bfloat16", "float16"].contains(&self.torch_dtype.as_str()), "torch_dtype", || {
            format!("expected \"float32\", \"bfloat16\" or \"float16\", found {:?}", self.torch_dtype)
        })?;
        let tokens = [
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", self.eos_token_id),
            ("pad_token_id", self.pad_token_id),
        ];
        for (key, token) in tokens {
            let inside = token.is_none_or(|token| (token as usize) < self.vocab_size);
            ensure(inside, key, || {
                format!("token {} lies outside the vocabulary of {}", token.unwrap_or_default(), self.vocab_size)
            })?;
        }
        Ok(())
    }

    fn validate_router(&self) -> Result<()> {
        let (experts, groups) = (self.n_routed_experts, self.n_group);
        ensure(experts <= usize::from(u16::MAX), "n_routed_experts", || {
            format!("expected at most {}, found {experts}", u16::MAX)
        })?;
        ensure(experts.is_multiple_of(groups), "n_group", || {
            format!("{groups} groups do not divide the {experts} routed experts")
        })?;
        ensure(self.topk_group <= groups, "topk_group", || {
            format!("cannot use {} of {groups} groups", self.topk_group)
        })?;
        // A group's score is the sum of its two best experts, so it needs two.
        ensure(groups == 1 || experts / groups >= 2, "n_group", || {
            format!("{groups} groups leave fewer than two of the {experts} routed experts in each")
        })?;
        let reachable = experts / groups * self.topk_group;
        ensure(self.num_experts_per_tok <= reachable, "num_experts_per_tok", || {
            format!("cannot choose {} experts: a token reaches {reachable} of the {experts}", self.num_experts_per_tok)
        })
    }

    /// Width of one head's query or key: `qk_nope_head_dim + qk_rope_head_dim`.
    #[must_use]
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Whether a layer (from 0) has experts rather than a dense feed-forward.
    #[must_use]
    pub fn is_moe_layer(&self, layer: usize) -> bool {
        layer >= self.first_k_dense_replace
    }

    /// Numbers cached per token and layer: the compressed latent and the shared rope key.
    #[must_use]
    pub fn cache_width(&self) -> usize {
        self.kv_lora_rank + self.qk_rope_head_dim
    }

    /// Trained parameters: `(all, those that one token's forward pass uses)`.
    ///
    /// The second leaves out the experts that the router did not choose. The router's balance bias
    /// is state, not a trained parameter, and is not counted; nor is multi-token prediction.
    #[must_use]
    pub fn parameters(&self) -> (usize, usize) {
        let (d, heads) = (self.hidden_size, self.num_attention_heads);
        let query = match self.q_lora_rank {
            None => heads * self.qk_head_dim() * d,
            Some(rank) => rank * d + rank + heads * self.qk_head_dim() * rank,
        };
        let latent = (self.kv_lora_rank + self.qk_rope_head_dim) * d + self.kv_lora_rank;
        let expand = heads * (self.qk_nope_head_dim + self.v_head_dim) * self.kv_lora_rank;
        let output = d * heads * self.v_head_dim;
        let block = query + latent + expand + output + 2 * d;

        let swiglu = |width: usize| 3 * d * width;
        let router = self.n_routed_experts * d;
        let always = swiglu(self.moe_intermediate_size * self.n_shared_experts) + router;
        let expert = swiglu(self.moe_intermediate_size);

        let dense_layers = self.first_k_dense_replace.min(self.num_hidden_layers);
        let moe_layers = self.num_hidden_layers - dense_layers;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        let common = tables * self.vocab_size * d
            + d
            + self.num_hidden_layers * block
            + dense_layers * swiglu(self.intermediate_size)
            + moe_layers * always;
        (common + moe_layers * self.n_routed_experts * expert, common + moe_layers * self.num_experts_per_tok * expert)
    }
}

fn ensure(holds: bool, key: &str, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(json::config_error(key, message())) }
}

#[cfg(test)]
mod tests;
