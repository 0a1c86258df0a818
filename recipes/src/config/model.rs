//! `[model]`: the shape of a new model, or the folder of one that is there.

use std::path::PathBuf;

use serde::Serialize;

use super::keys::{Any, Problem, between, positive, settings};
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
        // Of the vocabulary only that it is bounded matters here.
        let parameters = policy::ModelConfig::from_json(&self.hf_config(512).to_string())
            .map_err(|error| Problem::anywhere(error.to_string()))?
            .parameters()
            .0;
        if parameters > MOST_PARAMETERS {
            return problem(format!(
                "the model would have {parameters} parameters, expected at most {MOST_PARAMETERS}: its training would \
                 take {} GB of memory",
                parameters / 1_000_000_000 * 16
            ));
        }
        Ok(())
    }

    /// The Hugging Face `config.json` of this shape, for a vocabulary of our own tokenizer.
    #[must_use]
    pub fn hf_config(&self, vocab_size: usize) -> serde_json::Value {
        // Serializing plain numbers and flags into a map cannot fail.
        let mut config = serde_json::to_value(self).unwrap_or_default();
        let fixed = serde_json::json!({
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "vocab_size": vocab_size,
            "bos_token_id": policy::tokenizer::BOS_ID,
            "eos_token_id": policy::tokenizer::EOS_ID,
            "pad_token_id": policy::tokenizer::PAD_ID,
            "num_key_value_heads": self.num_attention_heads,
            "q_lora_rank": null,
            "hidden_act": "silu",
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "moe_layer_freq": 1,
            "attention_bias": false,
            "rope_interleave": true,
            "torch_dtype": "float32",
        });
        if let (Some(config), serde_json::Value::Object(fixed)) = (config.as_object_mut(), fixed) {
            config.extend(fixed);
        }
        config
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
}
