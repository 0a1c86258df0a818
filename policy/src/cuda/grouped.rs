//! Attention with grouped queries in a layer on the card: the twin of `model/grouped.rs`.
//!
//! One product makes queries, keys and values, which lie side by side in a token's row; so do their gradients.

use std::ops::Range;

use device::ops::attention::{Attended, Attention, Gradients};
use device::ops::heads::Heads;
use device::ops::{self, Direction, RmsNorm, Sides, WeightGradient};
use device::{Buffer, Result, Slice, bf16};

use super::Parameter;
use super::batch::Batch;
use super::linear::{add_projection, add_projection_gradients, linear_back, project, project_backward};
use crate::model::parts::{GroupedParts, Projection};
use crate::ops::grouped_attention::GroupedConfig;

/// What the backward pass needs of a layer's attention, besides its normalised input.
pub(super) struct Kept {
    /// Queries, keys and values, `[n, heads + 2 key heads, width]`: queries and keys turned to their positions, or in a model
    /// with norms on them as they were before.
    all: Buffer<bf16>,
    /// In such a model queries and keys after their norms, turned: `[n, heads + key heads, width]`.
    normed: Option<Buffer<bf16>>,
    /// `[n, heads, width]`
    out: Buffer<bf16>,
    /// `[heads, n]`
    totals: Buffer<f32>,
}

/// Tokens' heads side by side: `[n, heads, width]`.
#[derive(Clone, Copy)]
struct Row<'a> {
    data: Slice<'a, bf16>,
    heads: usize,
    width: usize,
}

impl<'a> Row<'a> {
    /// For the queries, keys and values of a layer.
    fn of_all(data: Slice<'a, bf16>, config: &GroupedConfig) -> Self {
        Row { data, heads: config.heads + 2 * config.key_heads, width: config.width }
    }

    /// For its queries and keys.
    fn of_turned(data: Slice<'a, bf16>, config: &GroupedConfig) -> Self {
        Row { data, heads: config.heads + config.key_heads, width: config.width }
    }

    fn stride(self) -> usize {
        self.heads * self.width
    }

    /// Some heads of each token.
    fn part(self, heads: Range<usize>) -> Heads<'a> {
        let Row { width, .. } = self;
        let data = self.data.slice(heads.start * width..);
        Heads { data, heads: heads.len(), width, row_stride: self.stride(), head_stride: width }
    }
}

/// The heads of a row that are queries, and those that are keys.
fn queries_and_keys(config: &GroupedConfig) -> [Range<usize>; 2] {
    [0..config.heads, config.heads..config.heads + config.key_heads]
}

/// The heads of a row that are values.
fn values(config: &GroupedConfig) -> Range<usize> {
    let first = config.heads + config.key_heads;
    first..first + config.key_heads
}

/// The projections to queries, keys and values as one: the layout of weights puts them side by side.
pub(super) fn joint<S: Copy>(parts: &GroupedParts<S>, joined: impl Fn(S, S) -> Result<S>) -> Result<Projection<S>> {
    let all = |query, key, value| joined(joined(query, key)?, value);
    let GroupedParts { query, key, value, .. } = parts;
    let bias = match (query.bias, key.bias, value.bias) {
        (Some(query), Some(key), Some(value)) => Some(all(query, key, value)?),
        _ => None,
    };
    Ok(Projection { weight: all(query.weight, key.weight, value.weight)?, bias })
}

impl Kept {
    fn turned(&self, config: &GroupedConfig) -> Row<'_> {
        match &self.normed {
            Some(normed) => Row::of_turned(normed.view(), config),
            None => Row::of_all(self.all.view(), config),
        }
    }

    fn attention<'a>(&'a self, batch: &'a Batch<'_>, config: &GroupedConfig) -> Attention<'a> {
        let [query, key] = queries_and_keys(config).map(|heads| self.turned(config).part(heads));
        let value = Row::of_all(self.all.view(), config).part(values(config));
        Attention { tree: batch.tree, query, key, value, scale: config.scale as f32 }
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
    let all = project(device, normed, &joint(parts, Parameter::joined)?, inputs)?;
    let normed = match &parts.norms {
        None => None,
        Some(norms) => {
            let turned = (config.heads + config.key_heads) * config.width;
            let normed = device.alloc(batch.rows * turned, "normalised heads")?;
            let (before, after) = (Row::of_all(all.view(), config), Row::of_turned(normed.view(), config));
            for (heads, weight) in queries_and_keys(config).into_iter().zip(norms) {
                let norm = RmsNorm { weight: weight.master, eps: eps as f32 };
                let (rows, sides) = (batch.rows * heads.len(), sides(&heads, before, after));
                let [raw, out] = [before, after].map(|row| row.part(heads.clone()).data);
                norm.forward_heads(device, out, raw, rows, sides)?;
            }
            Some(normed)
        }
    };
    let out = device.alloc(batch.rows * heads, "results of attention")?;
    let totals = device.alloc(batch.rows * config.heads, "totals of attention")?;
    let kept = Kept { all, normed, out, totals };
    turn(batch, kept.turned(config), config, Direction::Forward)?;
    kept.attention(batch, config).forward(device, kept.attended())?;
    add_projection(device, x, kept.out.view(), &parts.output, heads)?;
    Ok(kept)
}

/// The backward pass of [`add`] for the gradient `d_y` of the sum: `d_normed =`, and the parameters' gradients.
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
    let d_all = device.alloc(kept.all.len(), "gradients of heads")?;
    let d_all_row = Row::of_all(d_all.view(), config);
    let d_normed_heads = match &kept.normed {
        Some(normed) => Some(device.alloc(normed.len(), "gradients of normalised heads")?),
        None => None,
    };
    let d_turned = d_normed_heads.as_ref().map_or(d_all_row, |d_heads| Row::of_turned(d_heads.view(), config));
    let attention = kept.attention(batch, config);
    {
        let workspace = device.alloc(attention.backward_workspace(), "attention's backward pass")?;
        let [query, key] = queries_and_keys(config).map(|heads| d_turned.part(heads));
        let gradients = Gradients { query, key, value: d_all_row.part(values(config)) };
        attention.backward(device, gradients, kept.attended(), d_out.view(), workspace.view())?;
    }
    turn(batch, d_turned, config, Direction::Back)?;
    if let (Some(norms), Some(d_norms)) = (&parts.norms, &gradients.norms) {
        let before = Row::of_all(kept.all.view(), config);
        for (heads, (weight, d_weight)) in queries_and_keys(config).into_iter().zip(norms.iter().zip(d_norms)) {
            let norm = RmsNorm { weight: weight.master, eps: eps as f32 };
            let (rows, sides) = (batch.rows * heads.len(), sides(&heads, before, d_turned));
            let [d_raw, raw, d_heads] = [d_all_row, before, d_turned].map(|row| row.part(heads.clone()).data);
            let partial = device.alloc(norm.partial_len(rows), "sums of a norm's gradient")?;
            let d_weight = WeightGradient { sum: *d_weight, partial: partial.view() };
            norm.backward_heads(device, (d_raw, Some(d_weight)), raw, d_heads, rows, sides)?;
        }
    }
    let (gradient, projection) = (joint(gradients, Slice::joined)?, joint(parts, Parameter::joined)?);
    project_backward(device, d_normed, &gradient, (normed, d_all.view()), &projection, inputs)
}

/// How heads lie before their norms and after.
fn sides(heads: &Range<usize>, before: Row<'_>, after: Row<'_>) -> Sides {
    Sides { heads: heads.len(), stride: before.stride(), close_stride: after.stride() }
}

/// Turns the queries and keys of rows to their positions, or gradients back.
fn turn(batch: &Batch<'_>, rows: Row<'_>, config: &GroupedConfig, direction: Direction) -> Result<()> {
    let count = config.heads + config.key_heads;
    let heads = ops::Heads { stride: rows.stride(), count, width: config.width, offset: 0 };
    batch.rope.turn(batch.device, rows.data, batch.positions, heads, direction)
}
