//! `[model]`: the shape of a new model, or the folder of one that is there.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::keys::{Any, Problem, between, positive, settings, words};
use super::stages::MOST_TOKENS;

/// The widest that any part of a new model may be.
const WIDEST: u32 = 1 << 16;
/// The most layers, heads or experts of a new model.
const MOST: u32 = 1 << 12;
/// The most parameters of a new model: its weights, gradients and moments take 16 bytes for each.
const MOST_PARAMETERS: usize = 10_000_000_000;

settings! {
    /// The sizes of a DeepSeek-V3 model, under the names of a Hugging Face `config.json`.
    ModelShape typed ModelTable {
        /// Width of the residual stream.
        hidden_size: usize = 128, between(1, WIDEST);
        /// Layers, the dense first ones included.
        num_hidden_layers: usize = 4, between(1, MOST);
        /// Attention heads.
        num_attention_heads: usize = 4, between(1, MOST);
        /// Rank of the compressed keys and values: what the cache holds.
        kv_lora_rank: usize = 32, between(1, WIDEST);
        /// Width of each head's keys without position.
        qk_nope_head_dim: usize = 32, between(1, WIDEST);
        /// Width of the rotary part of the keys, shared by all heads.
        qk_rope_head_dim: usize = 16, between(2, WIDEST);
        /// Width of each head's values.
        v_head_dim: usize = 32, between(1, WIDEST);
        /// Inner width of the dense layers.
        intermediate_size: usize = 384, between(1, WIDEST);
        /// Inner width of each expert.
        moe_intermediate_size: usize = 96, between(1, WIDEST);
        /// Layers at the bottom that are dense.
        first_k_dense_replace: usize = 1, between(0, MOST);
        /// Experts that the router chooses from.
        n_routed_experts: usize = 8, between(1, MOST);
        /// Experts that every token goes through.
        n_shared_experts: usize = 1, between(0, MOST);
        /// Routed experts that a token goes through.
        num_experts_per_tok: usize = 2, between(1, MOST);
        /// Groups the routed experts are divided into.
        n_group: usize = 1, between(1, MOST);
        /// Groups that a token may choose its experts from.
        topk_group: usize = 1, between(1, MOST);
        /// The router's weights are multiplied by this.
        routed_scaling_factor: f64 = 1.0, positive();
        /// Whether the weights of the chosen experts are made to sum to 1.
        norm_topk_prob: bool = true, Any;
        /// Longest sequence.
        max_position_embeddings: usize = 8192, between(2, MOST_TOKENS);
        /// Base of the rotary frequencies.
        rope_theta: f64 = 10_000.0, positive();
        /// What `RMSNorm` adds to the mean square.
        rms_norm_eps: f64 = 1e-6, positive();
        /// Standard deviation of the initial weights.
        initializer_range: f64 = 0.02, positive();
        /// Whether the output layer is the embedding itself.
        tie_word_embeddings: bool = false, Any;
    }
}

impl ModelShape {
    /// What must hold between the keys.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let problem = |message: String| Err(Problem::anywhere(message));
        if !self.qk_rope_head_dim.is_multiple_of(2) {
            return problem(format!(
                "`qk_rope_head_dim` is {}, expected an even number: rotary embeddings turn pairs",
                self.qk_rope_head_dim
            ));
        }
        if self.num_experts_per_tok > self.n_routed_experts {
            return problem(format!(
                "`num_experts_per_tok` is {}, but there are only {} routed experts",
                self.num_experts_per_tok, self.n_routed_experts
            ));
        }
        if !self.n_routed_experts.is_multiple_of(self.n_group) || self.topk_group > self.n_group {
            return problem(format!(
                "{} experts in {} groups of which {} are chosen: expected groups of equal size, \
                 and no more chosen than there are",
                self.n_routed_experts, self.n_group, self.topk_group
            ));
        }
        if self.first_k_dense_replace > self.num_hidden_layers {
            return problem(format!(
                "`first_k_dense_replace` is {}, but there are only {} layers",
                self.first_k_dense_replace, self.num_hidden_layers
            ));
        }
        check_size(&self.hf_config(512))
    }

    /// The Hugging Face `config.json` of this shape, for a vocabulary of our own tokenizer.
    #[must_use]
    pub fn hf_config(&self, vocab_size: usize) -> serde_json::Value {
        let fixed = serde_json::json!({
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "num_key_value_heads": self.num_attention_heads,
            "q_lora_rank": null,
            "hidden_act": "silu",
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "moe_layer_freq": 1,
            "rope_interleave": true,
        });
        with_common_keys(serde_json::to_value(self), fixed, vocab_size)
    }
}

words! {
    /// Which dense model a [`DenseShape`] is of.
    DenseKind {
        /// Biases on query, key and value.
        Qwen2 = "qwen2",
        /// No biases.
        Llama = "llama",
        /// A norm on each head's query and key.
        Qwen3 = "qwen3",
    }
}

settings! {
    /// The sizes of a dense model with grouped queries, under the names of a Hugging Face `config.json`.
    DenseShape typed DenseTable {
        /// Which model it is of; `deepseek_v3`, which is meant where there is no such key, has other keys.
        model_type: DenseKind = DenseKind::Qwen2, Any;
        /// Width of the residual stream.
        hidden_size: usize = 128, between(1, WIDEST);
        /// Layers.
        num_hidden_layers: usize = 4, between(1, MOST);
        /// Attention heads of queries.
        num_attention_heads: usize = 4, between(1, MOST);
        /// Heads of keys and values, each shared by as many heads of queries.
        num_key_value_heads: usize = 2, between(1, MOST);
        /// Width of each head.
        head_dim: usize = 32, between(2, WIDEST);
        /// Inner width of the feed-forward layers.
        intermediate_size: usize = 384, between(1, WIDEST);
        /// Longest sequence.
        max_position_embeddings: usize = 8192, between(2, MOST_TOKENS);
        /// Base of the rotary frequencies.
        rope_theta: f64 = 10_000.0, positive();
        /// What `RMSNorm` adds to the mean square.
        rms_norm_eps: f64 = 1e-6, positive();
        /// Standard deviation of the initial weights.
        initializer_range: f64 = 0.02, positive();
        /// Whether the output layer is the embedding itself.
        tie_word_embeddings: bool = false, Any;
    }
}

impl DenseShape {
    /// What must hold between the keys.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        check_size(&self.hf_config(512))
    }

    /// The Hugging Face `config.json` of this shape, for a vocabulary of our own tokenizer.
    #[must_use]
    pub fn hf_config(&self, vocab_size: usize) -> serde_json::Value {
        let architecture = match self.model_type {
            DenseKind::Qwen2 => policy::config::Architecture::Qwen2,
            DenseKind::Llama => policy::config::Architecture::Llama,
            DenseKind::Qwen3 => policy::config::Architecture::Qwen3,
        };
        let fixed = serde_json::json!({ "architectures": [architecture.name()], "hidden_act": "silu" });
        with_common_keys(serde_json::to_value(self), fixed, vocab_size)
    }
}

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelSettings {
    /// A Hugging Face folder.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A new model of this shape, which the pretrain stage trains.
    Shape(ModelShape),
    /// The same, of a dense one.
    Dense(DenseShape),
}

impl ModelSettings {
    /// The folder, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            ModelSettings::Folder { path } => Some(path),
            ModelSettings::Shape(_) | ModelSettings::Dense(_) => None,
        }
    }

    /// The Hugging Face `config.json` of a new model; none where the model comes from a folder.
    #[must_use]
    pub fn hf_config(&self, vocab_size: usize) -> Option<serde_json::Value> {
        match self {
            ModelSettings::Folder { .. } => None,
            ModelSettings::Shape(shape) => Some(shape.hf_config(vocab_size)),
            ModelSettings::Dense(shape) => Some(shape.hf_config(vocab_size)),
        }
    }

    /// The longest sequence of a new model; none where the model comes from a folder.
    #[must_use]
    pub fn max_position_embeddings(&self) -> Option<usize> {
        match self {
            ModelSettings::Folder { .. } => None,
            ModelSettings::Shape(shape) => Some(shape.max_position_embeddings),
            ModelSettings::Dense(shape) => Some(shape.max_position_embeddings),
        }
    }

    /// The folder of a given model.
    pub(crate) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            ModelSettings::Folder { path } => Some(path),
            ModelSettings::Shape(_) | ModelSettings::Dense(_) => None,
        }
    }
}

/// The sizes with what else a `config.json` of ours says.
fn with_common_keys(
    sizes: serde_json::Result<serde_json::Value>,
    fixed: serde_json::Value,
    vocab_size: usize,
) -> serde_json::Value {
    // Serializing plain numbers and flags into a map cannot fail.
    let mut config = sizes.unwrap_or_default();
    let common = serde_json::json!({
        "vocab_size": vocab_size,
        "bos_token_id": policy::tokenizer::BOS_ID,
        "eos_token_id": policy::tokenizer::EOS_ID,
        "pad_token_id": policy::tokenizer::PAD_ID,
        "attention_bias": false,
        "torch_dtype": "float32",
    });
    for more in [common, fixed] {
        if let (Some(config), serde_json::Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
    }
    config
}

/// That the policy takes the configuration, and that a machine could hold it.
fn check_size(config: &serde_json::Value) -> Result<(), Problem> {
    // Of the vocabulary only that it is bounded matters here.
    let parameters = policy::ModelConfig::from_json(&config.to_string())
        .map_err(|error| Problem::anywhere(error.to_string()))?
        .parameters()
        .0;
    if parameters > MOST_PARAMETERS {
        return Err(Problem::anywhere(format!(
            "the model would have {parameters} parameters, expected at most {MOST_PARAMETERS}: its training would \
             take {} GB of memory",
            parameters / 1_000_000_000 * 16
        )));
    }
    Ok(())
}
