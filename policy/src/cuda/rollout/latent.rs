//! Multi-head latent attention in a layer, in the latent space: what is cached is never expanded.
//!
//! DeepSeek-V2, section 2.1.3. The training pass expands latents to keys and values, which is cheaper for many rows of one
//! sequence; the two differ in what is rounded to bf16.

use device::ops::absorbed::{LatentSizes, absorb_queries, expand_values};
use device::ops::decode_attention::{CachedHeads, DecodeAttention, DecodeWorkspace};
use device::ops::heads::Heads;
use device::ops::paged_cache::{Appended, append};
use device::ops::{self, Direction, RmsNorm};
use device::{Buffer, Device, Result, Slice, bf16};

use super::cache::LayerCache;
use super::decoder::{Room, Run};
use super::products::Residual;
use crate::config::LatentAttention;
use crate::cuda::Parameter;
use crate::model::latent::LATENT_EPS;
use crate::model::parts::{LatentParts, QueryParts};
use crate::ops::latent_attention::LatentConfig;

/// The layers' attention with memory for its activations.
pub(super) struct Latent<'a> {
    config: &'a LatentConfig,
    sizes: LatentSizes,
    room: Room,
    /// The compressed query before its norm, and after: `[rows, rank]`.
    query_latent: Option<[Buffer<bf16>; 2]>,
    /// `[rows, heads, nope + rope]`
    query: Buffer<bf16>,
    /// Latent and rotary key side by side: `[rows, latent + rope]`.
    compressed: Buffer<bf16>,
    normed_latent: Buffer<bf16>,
    /// `[rows, heads, latent + rope]`
    absorbed: Buffer<bf16>,
    /// `[rows, heads, latent]`
    summed: Buffer<bf16>,
    /// `[rows, heads, value]`
    out: Buffer<bf16>,
    workspace: DecodeWorkspace,
}

impl<'a> Latent<'a> {
    pub(super) fn new(device: &Device, config: &'a LatentConfig, widths: &LatentAttention, room: Room) -> Result<Self> {
        let LatentConfig { heads, nope, rope, value, .. } = *config;
        let (rows, latent) = (room.rows(), widths.kv_lora_rank);
        let activations = |width: usize| device.alloc(rows * width, "activations of attention");
        let query_latent = match widths.q_lora_rank {
            Some(rank) => Some([activations(rank)?, activations(rank)?]),
            None => None,
        };
        let sizes = LatentSizes { heads, nope, rope, value, latent };
        Ok(Latent {
            config,
            sizes,
            room,
            query_latent,
            query: activations(heads * (nope + rope))?,
            compressed: activations(latent + rope)?,
            normed_latent: activations(latent)?,
            absorbed: activations(heads * (latent + rope))?,
            summed: activations(heads * latent)?,
            out: activations(heads * value)?,
            workspace: room.attention_workspace(device, |decoding| operation(config, sizes, room, decoding))?,
        })
    }

    /// Adds attention to the residual stream `x`; `normed` `[rows, d]`.
    pub(super) fn add<'r>(
        &self,
        run: &Run<'r>,
        x: &Residual<'r>,
        normed: Slice<'_, bf16>,
        parts: &LatentParts<Parameter<'_>>,
        cache: &LayerCache,
    ) -> Result<()> {
        let (device, rows, count) = (run.device, run.rows, run.count());
        let LatentSizes { heads, nope, rope, value, latent } = self.sizes;
        let stride = latent + rope;
        let query = self.query.slice(..count * heads * (nope + rope));
        let compressed = self.compressed.slice(..count * stride);
        let normed_latent = self.normed_latent.slice(..count * latent);
        match (&parts.query, &self.query_latent) {
            (QueryParts::Full(weight), _) => run.products.linear(query, normed, (weight.copy, run.width))?,
            (QueryParts::Compressed { down, norm, up }, Some([raw, scaled])) => {
                let rank = norm.master.len();
                let (raw, scaled) = (raw.slice(..count * rank), scaled.slice(..count * rank));
                run.products.project(raw, normed, (down, run.width))?;
                latent_norm(norm).forward(device, scaled, raw, rank)?;
                run.products.linear(query, scaled, (up.copy, rank))?;
            }
            _ => unreachable!("weights and memory are of one model"),
        }
        run.products.project(compressed, normed, (&parts.compress, run.width))?;
        latent_norm(&parts.latent_norm).forward(device, normed_latent, compressed, stride)?;
        let turned = |stride, count, offset| ops::Heads { stride, count, width: stride / count, offset };
        let of_query = turned(heads * (nope + rope), heads, nope);
        run.rope.turn(device, query, rows.positions, of_query, Direction::Forward)?;
        run.rope.turn(device, compressed, rows.positions, turned(stride, 1, latent), Direction::Forward)?;

        let keys = Heads::packed(cache.keys.view(), 1, stride);
        let new = [
            Appended { cache: keys.columns(0..latent), rows: Heads::packed(normed_latent, 1, latent) },
            Appended {
                cache: keys.columns(latent..stride),
                rows: Heads::packed(compressed, 1, stride).columns(latent..stride),
            },
        ];
        append(device, new, rows.table, run.sequences, rows.places)?;
        let absorbed = self.absorbed.slice(..count * heads * stride);
        let summed = self.summed.slice(..count * heads * latent);
        let out = self.out.slice(..count * heads * value);
        absorb_queries(device, self.sizes, absorbed, query, parts.expand.copy, count)?;
        let cached = CachedHeads { keys, values: None, table: rows.table, lengths: rows.lengths };
        let attention = operation(self.config, self.sizes, self.room, rows.decoding);
        attention.run(device, summed, absorbed, cached, &self.workspace)?;
        expand_values(device, self.sizes, out, summed, parts.expand.copy, count)?;
        run.products.add_projection(x, out, (&parts.output, heads * value))
    }
}

fn operation(config: &LatentConfig, sizes: LatentSizes, room: Room, decoding: bool) -> DecodeAttention {
    let LatentSizes { heads, rope, latent, .. } = sizes;
    DecodeAttention {
        heads,
        key_heads: 1,
        query_width: latent + rope,
        value_width: latent,
        scale: config.scale as f32,
        splits: room.splits(decoding),
    }
}

fn latent_norm<'a>(weight: &Parameter<'a>) -> RmsNorm<'a> {
    RmsNorm { weight: weight.master, eps: LATENT_EPS as f32 }
}
