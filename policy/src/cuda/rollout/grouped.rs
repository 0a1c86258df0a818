//! Attention with grouped queries in a layer: the cache holds each token's turned keys and its values.

use device::ops::RmsNorm;
use device::ops::decode_attention::{CachedHeads, DecodeAttention, DecodeWorkspace};
use device::ops::decode_heads::{DecodeHeads, HeadCache};
use device::ops::heads::Heads;
use device::{Buffer, Device, Result, Slice, bf16};

use super::cache::LayerCache;
use super::decoder::{Room, Run};
use super::products::Residual;
use crate::cuda::Parameter;
use crate::cuda::grouped::joint;
use crate::model::parts::GroupedParts;
use crate::ops::grouped_attention::GroupedConfig;

/// The layers' attention with memory for its activations.
pub(super) struct Grouped<'a> {
    config: &'a GroupedConfig,
    room: Room,
    /// Queries, keys and values as the product leaves them: `[rows, heads + 2 key heads, width]`.
    all: Buffer<bf16>,
    /// `[rows, heads, width]`
    query: Buffer<bf16>,
    /// `[rows, heads, width]`
    out: Buffer<bf16>,
    workspace: DecodeWorkspace,
}

impl<'a> Grouped<'a> {
    pub(super) fn new(device: &Device, config: &'a GroupedConfig, room: Room) -> Result<Self> {
        let activations = |heads: usize| device.alloc(room.rows() * heads * config.width, "activations of attention");
        Ok(Grouped {
            config,
            room,
            all: activations(config.heads + 2 * config.key_heads)?,
            query: activations(config.heads)?,
            out: activations(config.heads)?,
            workspace: room.attention_workspace(device, |decoding| operation(config, room, decoding))?,
        })
    }

    /// Adds attention to the residual stream `x`; `normed` `[rows, d]`.
    pub(super) fn add<'r>(
        &self,
        run: &Run<'r>,
        x: &Residual<'r>,
        normed: Slice<'_, bf16>,
        parts: &GroupedParts<Parameter<'_>>,
        cache: &LayerCache,
    ) -> Result<()> {
        let (device, rows, count) = (run.device, run.rows, run.count());
        let &GroupedConfig { heads, key_heads, width, .. } = self.config;
        let queries = heads * width;
        let all = self.all.slice(..count * (heads + 2 * key_heads) * width);
        let (query, out) = (self.query.slice(..count * queries), self.out.slice(..count * queries));
        let values = cache.values.as_ref().unwrap_or(&cache.keys);
        let projection = joint(parts, Parameter::joined)?;
        run.products.linear(all, normed, (projection.weight.copy, run.width))?;
        let new = DecodeHeads {
            heads,
            key_heads,
            width,
            bias: projection.bias.map(|bias| bias.master),
            norms: parts.norms.map(|[query, key]| [query, key].map(|weight| norm(weight, run.eps))),
            rope: run.rope,
        };
        let (keys, values) = (cache.keys.view(), values.view());
        let new_cache = HeadCache { keys, values, table: rows.table, places: rows.places };
        new.run(device, query, all, rows.positions, new_cache)?;
        let cached = CachedHeads {
            keys: Heads::packed(keys, key_heads, width),
            values: Some(Heads::packed(values, key_heads, width)),
            table: rows.table,
            lengths: rows.lengths,
        };
        operation(self.config, self.room, rows.decoding).run(device, out, query, cached, &self.workspace)?;
        run.products.add_projection(x, out, (&parts.output, queries))
    }
}

fn norm<'a>(weight: Parameter<'a>, eps: f64) -> RmsNorm<'a> {
    RmsNorm { weight: weight.master, eps: eps as f32 }
}

fn operation(config: &GroupedConfig, room: Room, decoding: bool) -> DecodeAttention {
    DecodeAttention {
        heads: config.heads,
        key_heads: config.key_heads,
        query_width: config.width,
        value_width: config.width,
        scale: config.scale as f32,
        splits: room.splits(decoding),
    }
}
