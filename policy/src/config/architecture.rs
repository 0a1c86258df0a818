//! The architectures by the names that a `config.json` gives them, and what sets them apart.

/// An architecture of transformers' that this crate computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Multi-head latent attention and a mixture of experts (DeepSeek-V3, DeepSeek-R1).
    DeepseekV3,
    /// Grouped queries, no biases unless asked for (Llama 2 and 3).
    Llama,
    /// Grouped queries with biases on query, key and value (Qwen2, Qwen2.5).
    Qwen2,
    /// Grouped queries with a norm on each head's query and key (Qwen3).
    Qwen3,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 4] =
        [Architecture::DeepseekV3, Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3];

    /// What all of them are called, for messages.
    pub(crate) const SUPPORTED: &str = "`DeepseekV3ForCausalLM` (model_type `deepseek_v3`), `LlamaForCausalLM` (`llama`), \
         `Qwen2ForCausalLM` (`qwen2`), `Qwen3ForCausalLM` (`qwen3`)";

    /// Its name in `architectures`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Architecture::DeepseekV3 => "DeepseekV3ForCausalLM",
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// Its `model_type`.
    #[must_use]
    pub fn model_type(self) -> &'static str {
        match self {
            Architecture::DeepseekV3 => "deepseek_v3",
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }
}
