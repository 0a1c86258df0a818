//! What a model of these sizes consists of and needs: parameters, cache, memory.

use super::{AttentionKind, ModelConfig};

/// Bytes that this crate needs to use a model, all numbers being f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The weights alone.
    pub weights: u64,
    /// To sample: the weights as they are loaded, the engine's copy of them, and the cache of the sequences.
    pub sample: u64,
    /// To train: the weights, their gradients as they are made and as they are summed, and AdamW's two moments; without
    /// activations, which grow with the micro-batch.
    pub train: u64,
}

impl ModelConfig {
    /// Trained parameters: `(all, those that one token's forward pass uses)`.
    ///
    /// The second leaves out the experts that the router did not choose. The router's balance bias
    /// is state, not a trained parameter, and is not counted; nor is multi-token prediction.
    #[must_use]
    pub fn parameters(&self) -> (usize, usize) {
        let (d, heads) = (self.hidden_size, self.num_attention_heads);
        let attention = match &self.attention {
            AttentionKind::Latent(latent) => {
                let (key, bias) = (latent.qk_head_dim(), usize::from(latent.attention_bias));
                let query = match latent.q_lora_rank {
                    None => heads * key * d,
                    Some(rank) => rank * d + rank + heads * key * rank + bias * rank,
                };
                let compressed = latent.kv_lora_rank + latent.qk_rope_head_dim;
                let expand = heads * (latent.qk_nope_head_dim + latent.v_head_dim) * latent.kv_lora_rank;
                let output = d * heads * latent.v_head_dim + bias * d;
                query + compressed * (d + bias) + latent.kv_lora_rank + expand + output
            }
            AttentionKind::Grouped(grouped) => {
                let (width, shared) = (heads * grouped.head_dim, grouped.num_key_value_heads * grouped.head_dim);
                let input = (width + 2 * shared) * (d + usize::from(grouped.input_bias));
                let norms = usize::from(grouped.query_key_norm) * 2 * grouped.head_dim;
                input + norms + d * (width + usize::from(grouped.output_bias))
            }
        };
        let swiglu = |width: usize| 3 * d * width;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        let common = tables * self.vocab_size * d + d + self.num_hidden_layers * (attention + 2 * d);
        let mut counts = (common, common);
        for layer in 0..self.num_hidden_layers {
            let (all, active) = self.mixture_of(layer).map_or_else(
                || (swiglu(self.intermediate_size), swiglu(self.intermediate_size)),
                |mixture| {
                    let expert = swiglu(mixture.moe_intermediate_size);
                    let always = expert * mixture.n_shared_experts + mixture.n_routed_experts * d;
                    (always + mixture.n_routed_experts * expert, always + mixture.num_experts_per_tok * expert)
                },
            );
            counts = (counts.0 + all, counts.1 + active);
        }
        counts
    }

    /// Bytes to sample `sequences` of `tokens` each, and to train.
    #[must_use]
    pub fn memory(&self, sequences: u64, tokens: u64) -> Memory {
        const BYTES: u64 = size_of::<f32>() as u64;
        let weights = self.parameters().0 as u64 * BYTES;
        let (key, value) = self.attention.cached_widths();
        let cache = (key + value) as u64 * self.num_hidden_layers as u64 * BYTES;
        Memory { weights, sample: 2 * weights + sequences * tokens * cache, train: 5 * weights }
    }
}
