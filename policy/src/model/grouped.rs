//! Attention with grouped queries in a layer: Llama, Qwen2 (biases), Qwen3 (a norm on each head's query and key).

use std::sync::Arc;

use super::parameters::Specs;
use super::parts::GroupedParts;
use super::projection::{add_projection, project, project_backward};
use crate::config::{self, ModelConfig};
use crate::ops::grouped_attention::{Attended, GroupedAttention, GroupedConfig};
use crate::ops::rms_norm::{rms_norm, rms_norm_backward};
use crate::ops::rope::RopeTable;

/// A layer's parameters, after its first norm.
pub(super) fn specs(specs: &mut Specs<'_>, grouped: &config::GroupedAttention) {
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
pub(super) fn operation(config: &ModelConfig, grouped: &config::GroupedAttention) -> GroupedConfig {
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

/// What the backward pass needs of a layer's attention, besides its normalised input.
pub(super) struct Kept {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    /// Query and key before their norms, in a model that has those.
    raw: Option<[Vec<f32>; 2]>,
    attended: Attended<f32>,
}

/// Adds attention to the residual stream `x` `[n, d]`; `normed` `[n, d]`.
pub(super) fn add(
    x: &mut [f32],
    normed: &[f32],
    parts: &GroupedParts<&[f32]>,
    operation: GroupedAttention<'_>,
    (width, eps): (usize, f64),
) -> Kept {
    let mut query = project(normed, &parts.query, width); // [n, h * width]
    let mut key = project(normed, &parts.key, width); // [n, key heads * width]
    let value = project(normed, &parts.value, width);
    let raw = parts.norms.map(|[query_norm, key_norm]| {
        // Rows of one head each: [n * heads, width].
        let normalise = |rows: &mut Vec<f32>, norm: &[f32]| {
            let normed = rms_norm(rows, norm.len(), norm, eps);
            std::mem::replace(rows, normed)
        };
        [normalise(&mut query, query_norm), normalise(&mut key, key_norm)]
    });
    let attended = operation.forward([&query[..], &key, &value]);
    add_projection(x, &attended.out, &parts.output, operation.config.heads * operation.config.width);
    Kept { query, key, value, raw, attended }
}

/// The backward pass of [`add`] for the gradient `d_y` of the sum: `d_normed +=`, and the parameters' gradients.
pub(super) fn backward(
    d_normed: &mut [f32],
    gradients: &mut GroupedParts<&mut [f32]>,
    (normed, kept): (&[f32], &Kept),
    parts: &GroupedParts<&[f32]>,
    operation: GroupedAttention<'_>,
    d_y: &[f32],
    (width, eps): (usize, f64),
) {
    let out = &kept.attended.out;
    let mut d_out = vec![0.0; out.len()];
    let heads = operation.config.heads * operation.config.width;
    project_backward(&mut d_out, &mut gradients.output, out, &parts.output, d_y, heads);
    let arguments = [&kept.query[..], &kept.key, &kept.value];
    let [mut d_query, mut d_key, d_value] = operation.backward(arguments, &kept.attended, &d_out);
    if let (Some(norms), Some(d_norms), Some(raw)) = (&parts.norms, &mut gradients.norms, &kept.raw) {
        let each = [&mut d_query, &mut d_key].into_iter().zip(raw).zip(norms.iter().zip(d_norms));
        for ((d_heads, raw), (norm, d_norm)) in each {
            let mut d_raw = vec![0.0; raw.len()];
            rms_norm_backward((&mut d_raw, d_norm), (raw, norm.len()), norm, d_heads, eps);
            *d_heads = d_raw;
        }
    }
    for (gradient, projection, d_y) in [
        (&mut gradients.query, &parts.query, &d_query),
        (&mut gradients.key, &parts.key, &d_key),
        (&mut gradients.value, &parts.value, &d_value),
    ] {
        project_backward(d_normed, gradient, normed, projection, d_y, width);
    }
}
