//! The models that can be measured by name, and what is measured with them unless it is said.

use std::path::Path;

use anyhow::Context;
use policy::{ModelConfig, Place, Policy, Tokenizer};

/// The sizes of the work.
pub(super) struct Defaults {
    pub(super) batch: usize,
    pub(super) train_batch: usize,
    pub(super) length: usize,
    pub(super) prompt: usize,
    pub(super) new_tokens: usize,
    /// Completions of a step, and of a group of them.
    pub(super) step_batch: usize,
    pub(super) group: usize,
}

const TINY: Defaults =
    Defaults { batch: 64, train_batch: 64, length: 96, prompt: 16, new_tokens: 64, step_batch: 64, group: 8 };
const LARGE: Defaults =
    Defaults { batch: 16, train_batch: 4, length: 128, prompt: 16, new_tokens: 32, step_batch: 16, group: 8 };
/// A large model on a card.
const ON_CARD: Defaults =
    Defaults { batch: 64, train_batch: 16, length: 2048, prompt: 512, new_tokens: 1024, step_batch: 128, group: 16 };
/// From this many parameters on, the work is that for a large model.
const LARGE_FROM: usize = 50_000_000;
/// Of the first values.
const SEED: u64 = 1;

/// Characters, and a beginning and an end: what a policy of no use but to be measured writes with.
pub(super) const TINY_VOCABULARY: usize = 98;

/// `config.json` of Qwen2.5-0.5B.
const QWEN_SMALL: &str = r#"{
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896,
    "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "hidden_act": "silu", "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "max_position_embeddings": 32768,
    "tie_word_embeddings": true, "initializer_range": 0.02, "bos_token_id": 151643, "eos_token_id": 151643
}"#;

/// `config.json` of Qwen2.5-1.5B.
const QWEN: &str = r#"{
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536,
    "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
    "hidden_act": "silu", "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "max_position_embeddings": 32768,
    "tie_word_embeddings": true, "initializer_range": 0.02, "bos_token_id": 151643, "eos_token_id": 151643
}"#;

/// A mixture as DeepSeek-V3's, of 2.1 billion parameters, 0.5 of them activated.
const MIXTURE: &str = r#"{
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 32768, "hidden_size": 1536,
    "intermediate_size": 6144, "moe_intermediate_size": 512, "num_hidden_layers": 13, "num_attention_heads": 16,
    "num_key_value_heads": 16, "n_routed_experts": 64, "n_shared_experts": 1, "num_experts_per_tok": 6, "n_group": 8,
    "topk_group": 4, "norm_topk_prob": true, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
    "topk_method": "noaux_tc", "moe_layer_freq": 1, "first_k_dense_replace": 1, "q_lora_rank": null,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "rope_interleave": true,
    "hidden_act": "silu", "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "max_position_embeddings": 32768,
    "tie_word_embeddings": false, "attention_bias": false, "initializer_range": 0.02, "bos_token_id": 0,
    "eos_token_id": 1
}"#;

/// The configuration of a shape that has a name.
pub(super) fn named(shape: &str) -> Option<policy::Result<ModelConfig>> {
    match shape {
        "tiny" => Some(Ok(ModelConfig::tiny(TINY_VOCABULARY))),
        "qwen2.5-0.5b" => Some(ModelConfig::from_json(QWEN_SMALL)),
        "qwen2.5-1.5b" => Some(ModelConfig::from_json(QWEN)),
        "moe-2b" => Some(ModelConfig::from_json(MIXTURE)),
        _ => None,
    }
}

/// A shape's model at `place`, with random weights, or a folder's with its tokenizer if it has one; and the work for it.
pub(super) fn find(shape: &str, place: &Place) -> anyhow::Result<(Policy, Option<Tokenizer>, Defaults)> {
    let (mut policy, tokenizer) = match named(shape) {
        Some(config) => (Policy::new(config?, SEED)?, None),
        None => {
            let folder = Path::new(shape);
            if !folder.is_dir() {
                let message = format!(
                    "--shape {shape}: expected `tiny`, `qwen2.5-0.5b`, `qwen2.5-1.5b`, `moe-2b` or a Hugging Face folder"
                );
                return Err(super::super::Wrong(message).into());
            }
            let policy = Policy::load(folder).with_context(|| format!("cannot use the model in {shape}"))?;
            (policy, Tokenizer::from_dir(folder).ok())
        }
    };
    policy.to_place(place)?;
    let large = policy.config().parameters().0 >= LARGE_FROM;
    let defaults = match (large, place) {
        (false, _) => TINY,
        (true, Place::Cpu) => LARGE,
        (true, Place::Card(_)) => ON_CARD,
    };
    Ok((policy, tokenizer, defaults))
}
