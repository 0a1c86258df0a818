//! Multi-head latent attention in a layer: DeepSeek-V2 report, section 2.1, with DeepSeek-V3's names.
//!
//! The query may pass through a latent of its own (`q_lora_rank`). The latents are normalised with an epsilon of 1e-6
//! whatever `rms_norm_eps` says, as in DeepSeek's and transformers' code.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::parameters::{Specs, Weights};
use super::projection::{project, project_biased};
use crate::config::{LatentAttention, ModelConfig};
use crate::ops::attention::{AttentionConfig, Layouts, latent_attention};
use crate::ops::rms_norm::rms_norm;
use crate::ops::rope::RopeTable;

/// What is added to the mean square of a latent.
pub(crate) const LATENT_EPS: f64 = 1e-6;

/// A layer's parameters, after its first norm.
pub(super) fn specs(specs: &mut Specs<'_>, latent: &LatentAttention) {
    let (width, heads, bias) = (specs.config.hidden_size, specs.config.num_attention_heads, latent.attention_bias);
    let queries = heads * latent.qk_head_dim();
    match latent.q_lora_rank {
        None => specs.matrix("self_attn.q_proj.weight", &[queries, width]),
        Some(rank) => {
            specs.matrix("self_attn.q_a_proj.weight", &[rank, width]);
            specs.bias("self_attn.q_a_proj.bias", rank, bias);
            specs.norm("self_attn.q_a_layernorm.weight", rank);
            specs.matrix("self_attn.q_b_proj.weight", &[queries, rank]);
        }
    }
    let compressed = latent.kv_lora_rank + latent.qk_rope_head_dim;
    specs.matrix("self_attn.kv_a_proj_with_mqa.weight", &[compressed, width]);
    specs.bias("self_attn.kv_a_proj_with_mqa.bias", compressed, bias);
    specs.norm("self_attn.kv_a_layernorm.weight", latent.kv_lora_rank);
    let expanded = heads * (latent.qk_nope_head_dim + latent.v_head_dim);
    specs.matrix("self_attn.kv_b_proj.weight", &[expanded, latent.kv_lora_rank]);
    specs.residual("self_attn.o_proj.weight", &[width, heads * latent.v_head_dim]);
    specs.bias("self_attn.o_proj.bias", width, bias);
}

/// The fused operation's sizes and angles.
pub(super) fn operation(config: &ModelConfig, latent: &LatentAttention) -> AttentionConfig {
    let rope = &config.rope;
    let frequencies = rope.frequencies(latent.qk_rope_head_dim);
    let table = RopeTable::scaled(config.max_position_embeddings, &frequencies, rope.amplitude(), rope.interleave);
    AttentionConfig {
        heads: config.num_attention_heads,
        nope: latent.qk_nope_head_dim,
        rope: latent.qk_rope_head_dim,
        value: latent.v_head_dim,
        scale: rope.score_factor() / (latent.qk_head_dim() as f64).sqrt(),
        table: Arc::new(table),
    }
}

/// What attention adds to the residual stream; `normed` `[n, d]`.
pub(super) fn forward(
    normed: &Tensor,
    weights: &mut Weights<'_>,
    latent: &LatentAttention,
    operation: &AttentionConfig,
    layouts: &Arc<Layouts>,
) -> Result<Tensor> {
    let bias = latent.attention_bias;
    let query = if latent.q_lora_rank.is_some() {
        let compressed = project_biased(normed, weights, bias)?;
        project(&rms_norm(&compressed, &weights.next(), LATENT_EPS)?, weights)?
    } else {
        project(normed, weights)?
    }; // [n, h * (nope + rope)]
    let compressed = project_biased(normed, weights, bias)?; // [n, latent + rope]
    let compressed_key_value = compressed.narrow(1, 0, latent.kv_lora_rank)?.contiguous()?;
    let key_rope = compressed.narrow(1, latent.kv_lora_rank, latent.qk_rope_head_dim)?.contiguous()?;
    let normed_latent = rms_norm(&compressed_key_value, &weights.next(), LATENT_EPS)?;
    let key_value = project(&normed_latent, weights)?; // [n, h * (nope + value)]
    let attended = latent_attention(&query, &key_value, &key_rope, layouts, operation)?;
    project_biased(&attended, weights, bias)
}
