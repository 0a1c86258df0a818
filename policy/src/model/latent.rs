//! Multi-head latent attention in a layer: DeepSeek-V2 report, section 2.1, with DeepSeek-V3's names.
//!
//! The query may pass through a latent of its own (`q_lora_rank`). The latents are normalised with an epsilon of 1e-6
//! whatever `rms_norm_eps` says, as in DeepSeek's and transformers' code.

use std::sync::Arc;

use super::parameters::Specs;
use super::parts::{LatentParts, QueryParts};
use super::projection::{add_projection, project, project_backward};
use crate::config::{self, ModelConfig};
use crate::ops::latent_attention::{Absorbed, LatentAttention, LatentConfig};
use crate::ops::layouts::Layouts;
use crate::ops::linear::{linear, linear_backward};
use crate::ops::rms_norm::{rms_norm, rms_norm_backward};
use crate::ops::rope::RopeTable;

/// What is added to the mean square of a latent.
pub(crate) const LATENT_EPS: f64 = 1e-6;

/// A layer's parameters, after its first norm.
pub(super) fn specs(specs: &mut Specs<'_>, latent: &config::LatentAttention) {
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
pub(super) fn operation(config: &ModelConfig, latent: &config::LatentAttention) -> LatentConfig {
    let rope = &config.rope;
    let frequencies = rope.frequencies(latent.qk_rope_head_dim);
    let table = RopeTable::scaled(config.max_position_embeddings, &frequencies, rope.amplitude(), rope.interleave);
    LatentConfig {
        heads: config.num_attention_heads,
        nope: latent.qk_nope_head_dim,
        rope: latent.qk_rope_head_dim,
        value: latent.v_head_dim,
        scale: rope.score_factor() / (latent.qk_head_dim() as f64).sqrt(),
        table: Arc::new(table),
    }
}

/// What the backward pass needs of a layer's attention, besides its normalised input.
pub(super) struct Kept {
    /// The compressed query before its norm, and after.
    query_latent: Option<[Vec<f32>; 2]>,
    query: Vec<f32>,
    /// Latent and rotary key, side by side as they are projected.
    compressed: Vec<f32>,
    normed_latent: Vec<f32>,
    key_rope: Vec<f32>,
    attended: Absorbed<f32>,
}

/// Adds attention to the residual stream `x` `[n, d]`; `normed` `[n, d]`.
pub(super) fn add(
    x: &mut [f32],
    normed: &[f32],
    parts: &LatentParts<&[f32]>,
    (config, layouts): (&LatentConfig, &Layouts),
    width: usize,
) -> Kept {
    let LatentConfig { heads, rope, value, .. } = *config;
    let (query, query_latent) = match &parts.query {
        QueryParts::Full(weight) => (linear(normed, weight, width), None),
        QueryParts::Compressed { down, norm, up } => {
            let compressed = project(normed, down, width);
            let latent = rms_norm(&compressed, norm.len(), norm, LATENT_EPS);
            (linear(&latent, up, norm.len()), Some([compressed, latent]))
        }
    }; // [n, h * (nope + rope)]
    let compressed = project(normed, &parts.compress, width); // [n, latent + rope]
    let (latent, stride) = (parts.latent_norm.len(), parts.latent_norm.len() + rope);
    let normed_latent = rms_norm(&compressed, stride, parts.latent_norm, LATENT_EPS);
    let key_rope: Vec<f32> = compressed.chunks_exact(stride).flat_map(|row| &row[latent..]).copied().collect();
    let operation = LatentAttention { config, layouts };
    let attended = operation.forward(&query, &normed_latent, &key_rope, parts.expand);
    let kept = Kept { query_latent, query, compressed, normed_latent, key_rope, attended };
    add_projection(x, &kept.attended.out, &parts.output, heads * value);
    kept
}

/// The backward pass of [`add`] for the gradient `d_y` of the sum: `d_normed +=`, and the parameters' gradients.
pub(super) fn backward(
    d_normed: &mut [f32],
    gradients: &mut LatentParts<&mut [f32]>,
    (normed, kept): (&[f32], &Kept),
    parts: &LatentParts<&[f32]>,
    (config, layouts): (&LatentConfig, &Layouts),
    d_y: &[f32],
    width: usize,
) {
    let LatentConfig { heads, rope, value, .. } = *config;
    let out = &kept.attended.out;
    let mut d_out = vec![0.0; out.len()];
    project_backward(&mut d_out, &mut gradients.output, out, &parts.output, d_y, heads * value);
    let (latent, stride) = (parts.latent_norm.len(), parts.latent_norm.len() + rope);
    let (query, latents, key_rope) = (&kept.query[..], &kept.normed_latent[..], &kept.key_rope[..]);
    let arguments = [query, latents, key_rope, parts.expand];
    let operation = LatentAttention { config, layouts };
    let [d_query, d_latent, d_key_rope] = operation.backward(gradients.expand, arguments, &kept.attended, &d_out);
    let mut d_compressed = vec![0.0; kept.compressed.len()];
    rms_norm_backward(
        (&mut d_compressed, gradients.latent_norm),
        (&kept.compressed, stride),
        parts.latent_norm,
        &d_latent,
        LATENT_EPS,
    );
    for (row, d_rope) in d_compressed.chunks_exact_mut(stride).zip(d_key_rope.chunks_exact(rope)) {
        row[latent..].copy_from_slice(d_rope);
    }
    project_backward(d_normed, &mut gradients.compress, normed, &parts.compress, &d_compressed, width);

    match (&parts.query, &mut gradients.query, &kept.query_latent) {
        (QueryParts::Full(weight), QueryParts::Full(d_weight), _) => {
            linear_backward(d_normed, d_weight, normed, weight, &d_query, width);
        }
        (
            QueryParts::Compressed { down, norm, up },
            QueryParts::Compressed { down: d_down, norm: d_norm, up: d_up },
            Some([compressed, latent]),
        ) => {
            let rank = norm.len();
            let mut d_latent = vec![0.0; latent.len()];
            linear_backward(&mut d_latent, d_up, latent, up, &d_query, rank);
            let mut d_compressed = vec![0.0; compressed.len()];
            rms_norm_backward((&mut d_compressed, d_norm), (compressed, rank), norm, &d_latent, LATENT_EPS);
            project_backward(d_normed, d_down, normed, down, &d_compressed, width);
        }
        _ => unreachable!("weights, gradients and what was kept are of one model"),
    }
}
