//! The two kinds of attention, and their sizes.

use super::{ModelConfig, ensure};
use crate::error::Result;

/// Which attention a model has.
#[derive(Clone, Debug, PartialEq)]
pub enum AttentionKind {
    /// Multi-head latent attention: DeepSeek-V2 and V3.
    Latent(LatentAttention),
    /// Grouped queries: Llama and Qwen.
    Grouped(GroupedAttention),
}

/// Sizes of multi-head latent attention. Field names are the keys of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentAttention {
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
    /// Whether the projections down to the latents, and the one back, have biases.
    pub attention_bias: bool,
}

/// Sizes of attention in which several queries share a key and a value (one each: plain multi-head attention).
///
/// Ainslie et al., "GQA", 2023.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedAttention {
    /// Heads of keys and values; they divide the heads of queries.
    pub num_key_value_heads: usize,
    /// Width of a head's query, key and value.
    pub head_dim: usize,
    /// Whether the projections to query, key and value have biases.
    pub input_bias: bool,
    /// Whether the projection back into the residual stream has a bias.
    pub output_bias: bool,
    /// Whether each head's query and key are normalised before they are turned.
    pub query_key_norm: bool,
}

impl LatentAttention {
    /// Width of one head's query or key.
    #[must_use]
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }
}

impl AttentionKind {
    /// Numbers that attention reads of each token and layer: the least that a cache holds.
    #[must_use]
    pub fn cache_width(&self) -> usize {
        match self {
            AttentionKind::Latent(latent) => latent.kv_lora_rank + latent.qk_rope_head_dim,
            AttentionKind::Grouped(grouped) => 2 * grouped.num_key_value_heads * grouped.head_dim,
        }
    }

    /// Numbers that the cache does hold as a token's key and as its value. Latents are both, each in its own order.
    pub(crate) fn cached_widths(&self) -> (usize, usize) {
        match self {
            AttentionKind::Latent(latent) => (self.cache_width(), latent.kv_lora_rank),
            AttentionKind::Grouped(_) => (self.cache_width() / 2, self.cache_width() / 2),
        }
    }

    /// Numbers that plain multi-head attention with these heads would cache for each token and layer.
    #[must_use]
    pub fn plain_cache_width(&self, heads: usize) -> usize {
        match self {
            // As the DeepSeek-V2 report compares (table 1): a key and a value of `qk_nope_head_dim` each.
            AttentionKind::Latent(latent) => heads * (latent.qk_nope_head_dim + latent.v_head_dim),
            AttentionKind::Grouped(grouped) => 2 * heads * grouped.head_dim,
        }
    }

    /// Numbers of a query and of a value in a head: what a pair of tokens is multiplied over.
    #[must_use]
    pub fn score_and_value_width(&self) -> usize {
        match self {
            AttentionKind::Latent(latent) => latent.qk_head_dim() + latent.v_head_dim,
            AttentionKind::Grouped(grouped) => 2 * grouped.head_dim,
        }
    }

    /// Width of the part of a query that is turned by its position.
    #[must_use]
    pub fn rope_width(&self) -> usize {
        match self {
            AttentionKind::Latent(latent) => latent.qk_rope_head_dim,
            AttentionKind::Grouped(grouped) => grouped.head_dim,
        }
    }

    pub(super) fn validate(&self, config: &ModelConfig) -> Result<()> {
        let (rope_key, sizes): (_, Vec<(&str, usize)>) = match self {
            AttentionKind::Latent(latent) => (
                "qk_rope_head_dim",
                vec![
                    ("kv_lora_rank", latent.kv_lora_rank),
                    ("q_lora_rank", latent.q_lora_rank.unwrap_or(1)),
                    ("qk_rope_head_dim", latent.qk_rope_head_dim),
                    ("qk_nope_head_dim", latent.qk_nope_head_dim),
                    ("v_head_dim", latent.v_head_dim),
                ],
            ),
            AttentionKind::Grouped(grouped) => {
                ("head_dim", vec![("num_key_value_heads", grouped.num_key_value_heads), ("head_dim", grouped.head_dim)])
            }
        };
        for (key, size) in sizes {
            ensure(size > 0, key, || "expected a positive number, found 0".to_owned())?;
        }
        let width = self.rope_width();
        ensure(width.is_multiple_of(2), rope_key, || {
            format!("rope turns pairs: expected an even number, found {width}")
        })?;
        if let AttentionKind::Grouped(grouped) = self {
            let (heads, shared) = (config.num_attention_heads, grouped.num_key_value_heads);
            ensure(heads.is_multiple_of(shared), "num_key_value_heads", || {
                format!("{shared} heads of keys and values do not divide the {heads} attention heads")
            })?;
        }
        Ok(())
    }
}
