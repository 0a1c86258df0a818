//! Attention with grouped queries in a layer: the cache holds each token's turned keys and its values.

use device::ops::decode_attention::{CachedHeads, DecodeAttention};
use device::ops::heads::Heads;
use device::ops::paged_cache::{Appended, append};
use device::ops::{self, Direction, RmsNorm};
use device::{Buffer, Device, Result, Slice, bf16};

use super::cache::LayerCache;
use super::decoder::{Room, Run};
use crate::cuda::Parameter;
use crate::cuda::linear::{add_projection, project_into};
use crate::model::parts::GroupedParts;
use crate::ops::grouped_attention::GroupedConfig;

/// Parts into which a sequence's tokens are split in decoding: fewer than in the latent space, since each head of keys has
/// blocks of its own. The same for every batch, since a result depends on it.
const SPLITS: usize = 2;

/// The layers' attention with memory for its activations.
pub(super) struct Grouped<'a> {
    config: &'a GroupedConfig,
    /// `[rows, heads, width]`
    query: Buffer<bf16>,
    /// `[rows, key heads, width]`
    key: Buffer<bf16>,
    value: Buffer<bf16>,
    /// Queries and keys before their norms, in a model that has those.
    raw: Option<[Buffer<bf16>; 2]>,
    /// `[rows, heads, width]`
    out: Buffer<bf16>,
    workspace: Buffer<f32>,
}

impl<'a> Grouped<'a> {
    pub(super) fn new(device: &Device, config: &'a GroupedConfig, norms: bool, room: Room) -> Result<Self> {
        let (heads, key_heads) = (config.heads * config.width, config.key_heads * config.width);
        let activations = |width: usize| device.alloc(room.rows() * width, "activations of attention");
        let raw = if norms { Some([activations(heads)?, activations(key_heads)?]) } else { None };
        let needed = [(room.prompts, false), (room.slots, true)]
            .map(|(rows, decoding)| operation(config, decoding).workspace(rows));
        Ok(Grouped {
            config,
            query: activations(heads)?,
            key: activations(key_heads)?,
            value: activations(key_heads)?,
            raw,
            out: activations(heads)?,
            workspace: device.alloc(needed[0].max(needed[1]), "workspace of attention")?,
        })
    }

    /// Adds attention to the residual stream `x` `[rows, d]`; `normed` `[rows, d]`.
    pub(super) fn add(
        &self,
        run: &Run<'_>,
        x: Slice<'_, f32>,
        normed: Slice<'_, bf16>,
        parts: &GroupedParts<Parameter<'_>>,
        cache: &LayerCache,
    ) -> Result<()> {
        let (device, rows, count) = (run.device, run.rows, run.count());
        let &GroupedConfig { heads, key_heads, width, .. } = self.config;
        let (shared, queries) = (key_heads * width, heads * width);
        let query = self.query.slice(..count * queries);
        let (key, value) = (self.key.slice(..count * shared), self.value.slice(..count * shared));
        match (&parts.norms, &self.raw) {
            (Some([query_norm, key_norm]), Some([raw_query, raw_key])) => {
                let raws = (raw_query.slice(..query.len()), raw_key.slice(..key.len()));
                project_into(device, raws.0, normed, &parts.query, run.width)?;
                project_into(device, raws.1, normed, &parts.key, run.width)?;
                for (out, raw, weight) in [(query, raws.0, query_norm), (key, raws.1, key_norm)] {
                    // Rows of one head each.
                    RmsNorm { weight: weight.master, eps: run.eps as f32 }.forward(device, out, raw, width)?;
                }
            }
            _ => {
                project_into(device, query, normed, &parts.query, run.width)?;
                project_into(device, key, normed, &parts.key, run.width)?;
            }
        }
        project_into(device, value, normed, &parts.value, run.width)?;
        for (turned, count) in [(query, heads), (key, key_heads)] {
            let turned_heads = ops::Heads { stride: count * width, count, width, offset: 0 };
            run.rope.turn(device, turned, rows.positions, turned_heads, Direction::Forward)?;
        }

        let all = |data| Heads::packed(data, 1, shared);
        let values = cache.values.as_ref().unwrap_or(&cache.keys);
        let new = [
            Appended { cache: all(cache.keys.view()), rows: all(key) },
            Appended { cache: all(values.view()), rows: all(value) },
        ];
        append(device, new, rows.table, run.sequences, rows.places)?;
        let out = self.out.slice(..count * queries);
        let cached = CachedHeads {
            keys: Heads::packed(cache.keys.view(), key_heads, width),
            values: Some(Heads::packed(values.view(), key_heads, width)),
            table: rows.table,
            lengths: rows.lengths,
        };
        operation(self.config, rows.decoding).run(device, out, query, cached, self.workspace.view())?;
        add_projection(device, x, out, &parts.output, queries)
    }
}

fn operation(config: &GroupedConfig, decoding: bool) -> DecodeAttention {
    DecodeAttention {
        heads: config.heads,
        key_heads: config.key_heads,
        query_width: config.width,
        value_width: config.width,
        scale: config.scale as f32,
        splits: if decoding { SPLITS } else { 1 },
    }
}
