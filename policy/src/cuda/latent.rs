//! Multi-head latent attention in a layer on the card, expanded: the twin of `model/latent.rs`.
//!
//! Each head's key is put together from its own part and the rotary part that all share, so that one kernel serves both
//! kinds of attention.

use device::ops::attention::{Attended, Attention, Gradients};
use device::ops::heads::{Heads, assemble_keys, take_keys_apart};
use device::ops::{self, Direction};
use device::{Buffer, Result, Slice, bf16};

use super::Parameter;
use super::batch::Batch;
use super::linear::{
    add_projection, add_projection_gradients, add_weight_gradient, linear, linear_back, linear_back_into, project,
    project_backward,
};
use super::norm::{Rows, norm, norm_backward};
use crate::model::latent::LATENT_EPS;
use crate::model::parts::{LatentParts, QueryParts};
use crate::ops::latent_attention::LatentConfig;

/// What the backward pass needs of a layer's attention, besides its normalised input.
pub(super) struct Kept {
    /// The compressed query before its norm, and after.
    query_latent: Option<[Buffer<bf16>; 2]>,
    /// Turned to its position: `[n, heads, nope + rope]`.
    query: Buffer<bf16>,
    /// Latent and rotary key, which is turned, side by side: `[n, latent + rope]`.
    compressed: Buffer<bf16>,
    normed_latent: Buffer<bf16>,
    /// `[n, heads, nope + value]`
    key_value: Buffer<bf16>,
    /// `[n, heads, nope + rope]`
    keys: Buffer<bf16>,
    /// `[n, heads, value]`
    out: Buffer<bf16>,
    /// `[heads, n]`
    totals: Buffer<f32>,
}

impl Kept {
    fn attention<'a>(&'a self, batch: &'a Batch<'_>, config: &LatentConfig) -> Attention<'a> {
        let &LatentConfig { heads, nope, rope, value, scale, .. } = config;
        Attention {
            tree: batch.tree,
            query: Heads::packed(self.query.view(), heads, nope + rope),
            key: Heads::packed(self.keys.view(), heads, nope + rope),
            value: Heads::packed(self.key_value.view(), heads, nope + value).columns(nope..nope + value),
            scale: scale as f32,
        }
    }

    fn attended(&self) -> Attended<'_> {
        Attended { out: self.out.view(), totals: self.totals.view() }
    }
}

/// The rotary part in rows of a latent and it: `[n, 1, rope]`.
fn rotary(compressed: Slice<'_, bf16>, rope: usize, stride: usize) -> Heads<'_> {
    Heads { data: compressed.slice(stride - rope..), heads: 1, width: rope, row_stride: stride, head_stride: 0 }
}

/// Turns queries and the shared key to their positions, or gradients back.
fn turn(
    batch: &Batch<'_>,
    [query, compressed]: [Slice<'_, bf16>; 2],
    config: &LatentConfig,
    stride: usize,
    direction: Direction,
) -> Result<()> {
    let (count, width) = (config.heads, config.nope + config.rope);
    let queries = ops::Heads { stride: count * width, count, width, offset: config.nope };
    let key = ops::Heads { stride, count: 1, width: stride, offset: stride - config.rope };
    batch.rope.turn(batch.device, query, batch.positions, queries, direction)?;
    batch.rope.turn(batch.device, compressed, batch.positions, key, direction)
}

/// Adds attention to the residual stream `x` `[n, d]`; `normed` `[n, d]`.
pub(super) fn add(
    batch: &Batch<'_>,
    x: Slice<'_, f32>,
    normed: Slice<'_, bf16>,
    parts: &LatentParts<Parameter<'_>>,
    config: &LatentConfig,
    inputs: usize,
) -> Result<Kept> {
    let LatentConfig { heads, nope, rope, value, .. } = *config;
    let (device, rows) = (batch.device, batch.rows);
    let (query, query_latent) = match &parts.query {
        QueryParts::Full(weight) => (linear(device, normed, weight.copy, inputs)?, None),
        QueryParts::Compressed { down, norm: weight, up } => {
            let compressed = project(device, normed, down, inputs)?;
            let rank = weight.master.len();
            let latent = norm(device, Rows::packed(compressed.view(), rank), weight, LATENT_EPS)?;
            (linear(device, latent.view(), up.copy, rank)?, Some([compressed, latent]))
        }
    };
    let compressed = project(device, normed, &parts.compress, inputs)?;
    let latent = parts.latent_norm.master.len();
    let stride = latent + rope;
    let compressed_rows = Rows { values: compressed.view().into(), count: rows, stride };
    let normed_latent = norm(device, compressed_rows, &parts.latent_norm, LATENT_EPS)?;
    turn(batch, [query.view(), compressed.view()], config, stride, Direction::Forward)?;
    let key_value = linear(device, normed_latent.view(), parts.expand.copy, latent)?;
    let keys = device.alloc(rows * heads * (nope + rope), "keys")?;
    assemble_keys(
        device,
        Heads::packed(keys.view(), heads, nope + rope),
        Heads::packed(key_value.view(), heads, nope + value),
        rotary(compressed.view(), rope, stride),
        rows,
    )?;
    let out = device.alloc(rows * heads * value, "results of attention")?;
    let totals = device.alloc(rows * heads, "totals of attention")?;
    let kept = Kept { query_latent, query, compressed, normed_latent, key_value, keys, out, totals };
    kept.attention(batch, config).forward(device, kept.attended())?;
    add_projection(device, x, kept.out.view(), &parts.output, heads * value)?;
    Ok(kept)
}

/// The backward pass of [`add`] for the gradient `d_y` of the sum: `d_normed =`, and the parameters' gradients.
pub(super) fn backward(
    batch: &Batch<'_>,
    (d_normed, gradients): (Slice<'_, f32>, &LatentParts<Slice<'_, f32>>),
    (normed, kept): (Slice<'_, bf16>, &Kept),
    parts: &LatentParts<Parameter<'_>>,
    config: &LatentConfig,
    d_y: Slice<'_, bf16>,
    inputs: usize,
) -> Result<()> {
    let LatentConfig { heads, nope, rope, value, .. } = *config;
    let (device, rows) = (batch.device, batch.rows);
    add_projection_gradients(device, &gradients.output, (kept.out.view(), d_y), heads * value)?;
    let latent = parts.latent_norm.master.len();
    let stride = latent + rope;
    let d_query = device.alloc(kept.query.len(), "gradients of queries")?;
    let d_key_value = device.alloc(kept.key_value.len(), "gradients of keys and values")?;
    let d_compressed = device.alloc(kept.compressed.len(), "gradients of latents")?;
    {
        let d_out = linear_back(device, d_y, parts.output.weight.copy, heads * value)?;
        let attention = kept.attention(batch, config);
        let d_keys = device.alloc(kept.keys.len(), "gradients of keys")?;
        let workspace = device.alloc(attention.backward_workspace(), "attention's backward pass")?;
        let d_key_value = Heads::packed(d_key_value.view(), heads, nope + value);
        let gradients = Gradients {
            query: Heads { data: d_query.view(), ..attention.query },
            key: Heads { data: d_keys.view(), ..attention.key },
            value: d_key_value.columns(nope..nope + value),
        };
        attention.backward(device, gradients, kept.attended(), d_out.view(), workspace.view())?;
        take_keys_apart(device, d_key_value, rotary(d_compressed.view(), rope, stride), gradients.key, rows)?;
    }
    turn(batch, [d_query.view(), d_compressed.view()], config, stride, Direction::Back)?;
    add_weight_gradient(device, gradients.expand, (kept.normed_latent.view(), d_key_value.view()), latent)?;
    let d_latent = linear_back(device, d_key_value.view(), parts.expand.copy, latent)?;
    norm_backward(
        device,
        (d_compressed.view(), gradients.latent_norm),
        Rows { values: kept.compressed.view().into(), count: rows, stride },
        (&parts.latent_norm, LATENT_EPS),
        d_latent.view(),
    )?;
    let (compress, rows) = (&parts.compress, (normed, d_compressed.view()));
    project_backward(device, d_normed, &gradients.compress, rows, compress, inputs)?;
    match (&parts.query, &gradients.query, &kept.query_latent) {
        (QueryParts::Full(weight), QueryParts::Full(d_weight), _) => {
            add_weight_gradient(device, *d_weight, (normed, d_query.view()), inputs)?;
            linear_back_into(device, d_normed, (d_query.view(), weight.copy), inputs, true)
        }
        (
            QueryParts::Compressed { down, norm: weight, up },
            QueryParts::Compressed { down: d_down, norm: d_norm, up: d_up },
            Some([compressed, latent]),
        ) => {
            let rank = weight.master.len();
            add_weight_gradient(device, *d_up, (latent.view(), d_query.view()), rank)?;
            let d_latent = linear_back(device, d_query.view(), up.copy, rank)?;
            let d_compressed = device.alloc(compressed.len(), "gradients of latents")?;
            let rows = Rows::packed(compressed.view(), rank);
            norm_backward(device, (d_compressed.view(), *d_norm), rows, (weight, LATENT_EPS), d_latent.view())?;
            add_projection_gradients(device, d_down, (normed, d_compressed.view()), inputs)?;
            linear_back_into(device, d_normed, (d_compressed.view(), down.weight.copy), inputs, true)
        }
        _ => unreachable!("weights, gradients and what was kept are of one model"),
    }
}
