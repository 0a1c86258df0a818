//! Attention with grouped queries in a layer on the card: the twin of `model/grouped.rs`.

use device::ops::heads::Heads;
use device::ops::attention::{Attended, Attention, Gradients};
use device::ops::{self, Direction};
use device::{Buffer, Result, Slice, bf16};

use super::Parameter;
use super::batch::Batch;
use super::linear::{add_projection, add_projection_gradients, linear_back, project, project_backward};
use super::norm::{Rows, norm, norm_backward};
use crate::model::parts::GroupedParts;
use crate::ops::grouped_attention::GroupedConfig;

/// What the backward pass needs of a layer's attention, besides its normalised input.
pub(super) struct Kept {
    /// Turned to their positions: `[n, heads, width]` and `[n, key heads, width]`.
    query: Buffer<bf16>,
    key: Buffer<bf16>,
    value: Buffer<bf16>,
    /// Query and key before their norms, in a model that has those.
    raw: Option<[Buffer<bf16>; 2]>,
    /// `[n, heads, width]`
    out: Buffer<bf16>,
    /// `[heads, n]`
    totals: Buffer<f32>,
}

impl Kept {
    fn attention<'a>(&'a self, batch: &'a Batch<'_>, config: &GroupedConfig) -> Attention<'a> {
        let &GroupedConfig { heads, key_heads, width, scale, .. } = config;
        Attention {
            tree: batch.tree,
            query: Heads::packed(self.query.view(), heads, width),
            key: Heads::packed(self.key.view(), key_heads, width),
            value: Heads::packed(self.value.view(), key_heads, width),
            scale: scale as f32,
        }
    }

    fn attended(&self) -> Attended<'_> {
        Attended { out: self.out.view(), totals: self.totals.view() }
    }
}

/// Adds attention to the residual stream `x` `[n, d]`; `normed` `[n, d]`.
pub(super) fn add(
    batch: &Batch<'_>,
    x: Slice<'_, f32>,
    normed: Slice<'_, bf16>,
    parts: &GroupedParts<Parameter<'_>>,
    config: &GroupedConfig,
    (inputs, eps): (usize, f64),
) -> Result<Kept> {
    let (device, heads) = (batch.device, config.heads * config.width);
    let mut query = project(device, normed, &parts.query, inputs)?;
    let mut key = project(device, normed, &parts.key, inputs)?;
    let value = project(device, normed, &parts.value, inputs)?;
    let raw = match &parts.norms {
        None => None,
        Some([query_norm, key_norm]) => {
            // Rows of one head each: [n * heads, width].
            let normalise = |rows: &mut Buffer<bf16>, weight: &Parameter<'_>| {
                let normed = norm(device, Rows::packed(rows.view(), config.width), weight, eps)?;
                Ok(std::mem::replace(rows, normed))
            };
            Some([normalise(&mut query, query_norm)?, normalise(&mut key, key_norm)?])
        }
    };
    turn(batch, [query.view(), key.view()], config, Direction::Forward)?;
    let out = device.alloc(batch.rows * heads, "results of attention")?;
    let totals = device.alloc(batch.rows * config.heads, "totals of attention")?;
    let kept = Kept { query, key, value, raw, out, totals };
    kept.attention(batch, config).forward(device, kept.attended())?;
    add_projection(device, x, kept.out.view(), &parts.output, heads)?;
    Ok(kept)
}

/// The backward pass of [`add`] for the gradient `d_y` of the sum: `d_normed +=`, and the parameters' gradients.
pub(super) fn backward(
    batch: &Batch<'_>,
    (d_normed, gradients): (Slice<'_, f32>, &GroupedParts<Slice<'_, f32>>),
    (normed, kept): (Slice<'_, bf16>, &Kept),
    parts: &GroupedParts<Parameter<'_>>,
    config: &GroupedConfig,
    d_y: Slice<'_, bf16>,
    (inputs, eps): (usize, f64),
) -> Result<()> {
    let (device, heads) = (batch.device, config.heads * config.width);
    add_projection_gradients(device, &gradients.output, (kept.out.view(), d_y), heads)?;
    let d_out = linear_back(device, d_y, parts.output.weight.copy, heads)?;
    let attention = kept.attention(batch, config);
    let mut d_query = device.alloc(kept.query.len(), "gradients of queries")?;
    let mut d_key = device.alloc(kept.key.len(), "gradients of keys")?;
    let d_value = device.alloc(kept.value.len(), "gradients of values")?;
    {
        let workspace = device.alloc(attention.backward_workspace(), "attention's backward pass")?;
        let gradients = Gradients {
            query: d_query.view(),
            key: Heads { data: d_key.view(), ..attention.key },
            value: Heads { data: d_value.view(), ..attention.value },
        };
        attention.backward(device, gradients, kept.attended(), d_out.view(), workspace.view())?;
    }
    turn(batch, [d_query.view(), d_key.view()], config, Direction::Back)?;
    if let (Some(norms), Some(d_norms), Some(raw)) = (&parts.norms, &gradients.norms, &kept.raw) {
        let each = [&mut d_query, &mut d_key].into_iter().zip(raw).zip(norms.iter().zip(d_norms));
        for ((d_heads, raw), (weight, d_weight)) in each {
            let d_raw = device.alloc(raw.len(), "gradients of heads")?;
            let rows = Rows::packed(raw.view(), config.width);
            norm_backward(device, (d_raw.view(), *d_weight), rows, (weight, eps), d_heads.view())?;
            *d_heads = d_raw;
        }
    }
    for (gradient, projection, d_y) in [
        (&gradients.query, &parts.query, &d_query),
        (&gradients.key, &parts.key, &d_key),
        (&gradients.value, &parts.value, &d_value),
    ] {
        project_backward(device, d_normed, gradient, (normed, d_y.view()), projection, inputs)?;
    }
    Ok(())
}

/// Turns queries and keys to their positions, or gradients back.
fn turn(
    batch: &Batch<'_>,
    [query, key]: [Slice<'_, bf16>; 2],
    config: &GroupedConfig,
    direction: Direction,
) -> Result<()> {
    for (rows, count) in [(query, config.heads), (key, config.key_heads)] {
        let heads = ops::Heads { stride: count * config.width, count, width: config.width, offset: 0 };
        batch.rope.turn(batch.device, rows, batch.positions, heads, direction)?;
    }
    Ok(())
}
