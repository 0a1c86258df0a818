//! The models that can be measured by name, and what is measured with them unless it is said.

use std::path::Path;

use anyhow::Context;
use policy::{ModelConfig, Policy};

/// The sizes of the work.
pub(super) struct Defaults {
    pub(super) batch: usize,
    pub(super) train_batch: usize,
    pub(super) length: usize,
    pub(super) new_tokens: usize,
    /// Completions of a group in a step.
    pub(super) group: usize,
}

const TINY: Defaults = Defaults { batch: 64, train_batch: 64, length: 96, new_tokens: 64, group: 8 };
const LARGE: Defaults = Defaults { batch: 16, train_batch: 4, length: 128, new_tokens: 32, group: 8 };
/// From this many parameters on, the work is that for a large model.
const LARGE_FROM: usize = 50_000_000;
/// Of the first values.
const SEED: u64 = 1;

/// Characters, and a beginning and an end: what a policy of no use but to be measured writes with.
pub(super) const TINY_VOCABULARY: usize = 98;

/// `config.json` of Qwen2.5-0.5B.
const QWEN: &str = r#"{
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896,
    "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "hidden_act": "silu", "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "max_position_embeddings": 32768,
    "tie_word_embeddings": true, "initializer_range": 0.02, "bos_token_id": 151643, "eos_token_id": 151643
}"#;

/// A shape's model, with random weights or a folder's, and the work for it.
pub(super) fn find(shape: &str) -> anyhow::Result<(Policy, Defaults)> {
    match shape {
        "tiny" => Ok((Policy::new(ModelConfig::tiny(TINY_VOCABULARY), SEED)?, TINY)),
        "qwen2.5-0.5b" => Ok((Policy::new(ModelConfig::from_json(QWEN)?, SEED)?, LARGE)),
        _ => {
            let folder = Path::new(shape);
            if !folder.is_dir() {
                let message = format!("--shape {shape}: expected `tiny`, `qwen2.5-0.5b` or a Hugging Face folder");
                return Err(super::super::Wrong(message).into());
            }
            let policy = Policy::load(folder).with_context(|| format!("cannot use the model in {shape}"))?;
            let large = policy.config().parameters().0 >= LARGE_FROM;
            Ok((policy, if large { LARGE } else { TINY }))
        }
    }
}
