//! Attention with grouped queries in a layer: Llama, Qwen2 (biases), Qwen3 (a norm on each head's query and key).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::parameters::{Specs, Weights};
use super::projection::project_biased;
use crate::config::{GroupedAttention, ModelConfig};
use crate::ops::attention::Layouts;
use crate::ops::grouped_attention::{GroupedConfig, grouped_attention};
use crate::ops::rms_norm::rms_norm;
use crate::ops::rope::RopeTable;

/// A layer's parameters, after its first norm.
pub(super) fn specs(specs: &mut Specs<'_>, grouped: &GroupedAttention) {
    let (width, heads) = (specs.config.hidden_size, specs.config.num_attention_heads);
    let (queries, shared) = (heads * grouped.head_dim, grouped.num_key_value_heads * grouped.head_dim);
    for (name, rows) in [("q_proj", queries), ("k_proj", shared), ("v_proj", shared)] {
        specs.matrix(&format!("self_attn.{name}.weight"), &[rows, width]);
        specs.bias(&format!("self_attn.{name}.bias"), rows, grouped.input_bias);
    }
    if grouped.query_key_norm {
        specs.norm("self_attn.q_norm.weight", grouped.head_dim);
        specs.norm("self_attn.k_norm.weight", grouped.head_dim);
    }
    specs.residual("self_attn.o_proj.weight", &[width, queries]);
    specs.bias("self_attn.o_proj.bias", width, grouped.output_bias);
}

/// The fused operation's sizes and angles.
pub(super) fn operation(config: &ModelConfig, grouped: &GroupedAttention) -> GroupedConfig {
    let rope = &config.rope;
    let frequencies = rope.frequencies(grouped.head_dim);
    let table = RopeTable::scaled(config.max_position_embeddings, &frequencies, rope.amplitude(), rope.interleave);
    GroupedConfig {
        heads: config.num_attention_heads,
        key_heads: grouped.num_key_value_heads,
        width: grouped.head_dim,
        scale: 1.0 / (grouped.head_dim as f64).sqrt(),
        table: Arc::new(table),
    }
}

/// What attention adds to the residual stream; `normed` `[n, d]`.
pub(super) fn forward(
    normed: &Tensor,
    weights: &mut Weights<'_>,
    grouped: &GroupedAttention,
    operation: &GroupedConfig,
    layouts: &Arc<Layouts>,
    eps: f64,
) -> Result<Tensor> {
    let mut query = project_biased(normed, weights, grouped.input_bias)?; // [n, h * width]
    let mut key = project_biased(normed, weights, grouped.input_bias)?; // [n, key heads * width]
    let value = project_biased(normed, weights, grouped.input_bias)?;
    if grouped.query_key_norm {
        for heads in [&mut query, &mut key] {
            let rows = heads.reshape(((), grouped.head_dim))?; // [n * heads, width]
            *heads = rms_norm(&rows, &weights.next(), eps)?.reshape(heads.shape())?;
        }
    }
    let attended = grouped_attention(&query, &key, &value, layouts, operation)?;
    project_biased(&attended, weights, grouped.output_bias)
}
