//! The policy's forward pass for decoding on the card: rows of tokens, each of which attends to its own part of the cache.
//!
//! A prompt's tokens and a step's new tokens are computed alike: each row has a table of pages and a number of tokens that it
//! reads. All memory is there before the first row is computed, so that a step can be recorded. Each activation is rounded
//! where the training pass rounds it; latent attention alone goes another way there and rounds other products.

use device::ops::decode_attention::{DecodeAttention, DecodeWorkspace};
use device::ops::paged_cache::PageTable;
use device::ops::{Rope, gather};
use device::{Buffer, Device, Result, Slice, bf16};

use super::cache::Cache;
use super::feed_forward::FeedForward;
use super::grouped::Grouped;
use super::latent::Latent;
use super::products::{Products, Residual};
use crate::config::{AttentionKind, ModelConfig};
use crate::cuda::{Parameter, Resident};
use crate::model::Attention;
use crate::model::parts::{AttentionParts, ModelParts};
use crate::ops::router::RouterConfig;

/// A model on the card.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub(super) resident: &'a Resident,
    pub(super) config: &'a ModelConfig,
    pub(super) attention: &'a Attention,
    pub(super) router: Option<&'a RouterConfig>,
}

/// How many rows are computed at once.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Of prompts.
    pub(super) prompts: usize,
    /// Of sequences that are decoded.
    pub(super) slots: usize,
    /// Most tokens of a context: what the tables of pages have room for.
    pub(super) context: usize,
}

/// Rows to be computed. All but `ids` say where a row stands.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Tokens: `[rows]`.
    pub(super) ids: Slice<'a, u32>,
    /// Each row's place in its context: `[rows]`.
    pub(super) positions: Slice<'a, u32>,
    /// The same, or -1 for a row that is not to be cached.
    pub(super) places: Slice<'a, i32>,
    /// How many cached tokens each row reads, its own among them; 0 for a row that nobody will look at.
    pub(super) lengths: Slice<'a, i32>,
    /// The pages of each row's context: `[rows, ..]`.
    pub(super) table: PageTable<'a>,
    /// Whether the rows are one new token of each sequence, not prompts.
    pub(super) decoding: bool,
}

/// What the layers are told of the rows.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) device: &'a Device,
    pub(super) products: &'a Products<'a>,
    pub(super) rows: Rows<'a>,
    /// Row r's context is row r of the table: `[rows]`.
    pub(super) sequences: Slice<'a, i32>,
    pub(super) rope: Rope<'a>,
    /// Width of the residual stream.
    pub(super) width: usize,
    pub(super) eps: f64,
}

/// The model with memory for its activations.
pub(super) struct Decoder<'a> {
    model: Model<'a>,
    device: &'a Device,
    parts: ModelParts<Parameter<'a>>,
    attention: LayerAttention<'a>,
    feed_forward: FeedForward,
    products: Products<'a>,
    /// The residual stream: `[rows, d]`.
    x: Buffer<f32>,
    normed: Buffer<bf16>,
    /// 0, 1, 2 ...: `[rows]`.
    identity: Buffer<i32>,
    /// `[slots, vocabulary]`
    logits: Buffer<f32>,
}

enum LayerAttention<'a> {
    Latent(Latent<'a>),
    Grouped(Grouped<'a>),
}

impl Room {
    pub(super) fn rows(self) -> usize {
        self.prompts.max(self.slots)
    }

    /// What attention needs as its workspace for prompts and for a step.
    pub(super) fn attention_workspace(
        self,
        device: &Device,
        operation: impl Fn(bool) -> DecodeAttention,
    ) -> Result<DecodeWorkspace> {
        DecodeWorkspace::new(device, &[(operation(false), self.prompts), (operation(true), self.slots)])
    }

    /// Into how many parts attention splits a row's context. A row of a prompt has many beside it and is not split.
    pub(super) fn splits(self, decoding: bool) -> usize {
        if decoding { DecodeAttention::splits_for(self.context) } else { 1 }
    }
}

impl Run<'_> {
    pub(super) fn count(&self) -> usize {
        self.rows.ids.len()
    }
}

impl<'a> Decoder<'a> {
    pub(super) fn new(model: Model<'a>, room: Room) -> Result<Self> {
        let (device, config, rows) = (model.resident.device(), model.config, room.rows());
        let attention = match (model.attention, &config.attention) {
            (Attention::Latent(operation), AttentionKind::Latent(sizes)) => {
                LayerAttention::Latent(Latent::new(device, operation, sizes, room)?)
            }
            (Attention::Grouped(_, operation), _) => LayerAttention::Grouped(Grouped::new(device, operation, room)?),
            _ => unreachable!("a policy's attention is of its configuration's kind"),
        };
        let identity: Vec<i32> = (0..).take(rows).collect();
        Ok(Decoder {
            parts: model.resident.parts(config),
            attention,
            feed_forward: FeedForward::new(device, config, model.router, rows)?,
            products: Products::new(device, config.hidden_size)?,
            x: device.alloc(rows * config.hidden_size, "the residual stream")?,
            normed: device.alloc(rows * config.hidden_size, "normalised rows")?,
            identity: device.upload(&identity, "rows")?,
            logits: device.alloc(room.slots * config.vocab_size, "logits")?,
            device,
            model,
        })
    }

    /// Computes rows and caches what later ones read of them. Leaves their hidden rows to [`Decoder::hidden`].
    pub(super) fn forward(&self, rows: Rows<'_>, cache: &Cache) -> Result<()> {
        let (count, width, eps) = (rows.ids.len(), self.model.config.hidden_size, self.model.config.rms_norm_eps);
        let run = Run {
            device: self.device,
            products: &self.products,
            rows,
            sequences: self.identity.slice(..count),
            rope: self.model.resident.rope(),
            width,
            eps,
        };
        let (x, normed) = (Residual::new(self.hidden(count)), self.normed.slice(..count * width));
        gather(self.device, x.rows(), self.parts.embedding.copy, rows.ids, width)?;
        let mut moe_layer = 0;
        for (layer, cached) in self.parts.layers.iter().zip(cache.layers()) {
            x.normalise(self.device, normed, &layer.attention_norm, eps)?;
            match (&self.attention, &layer.attention) {
                (LayerAttention::Latent(attention), AttentionParts::Latent(parts)) => {
                    attention.add(&run, &x, normed, parts, cached)?;
                }
                (LayerAttention::Grouped(attention), AttentionParts::Grouped(parts)) => {
                    attention.add(&run, &x, normed, parts, cached)?;
                }
                _ => unreachable!("all layers of a model have its kind of attention"),
            }
            x.normalise(self.device, normed, &layer.feed_forward_norm, eps)?;
            let bias = |experts| self.model.resident.router_bias(moe_layer, experts);
            let noted = cache.choices().map(|choices| (choices, moe_layer));
            if self.feed_forward.add(&run, &x, normed, &layer.feed_forward, bias, noted)? {
                moe_layer += 1;
            }
        }
        if x.is_waiting() {
            // For who looks at the hidden rows. Their norm is not needed yet.
            x.normalise(self.device, normed, &self.parts.norm, eps)?;
        }
        Ok(())
    }

    /// The last hidden rows of the first `count` rows: `[count, d]`.
    pub(super) fn hidden(&self, count: usize) -> Slice<'_, f32> {
        self.x.slice(..count * self.model.config.hidden_size)
    }

    /// Logits `[count, vocabulary]` of [`Decoder::hidden`].
    pub(super) fn logits(&self, count: usize) -> Result<Slice<'_, f32>> {
        let width = self.model.config.hidden_size;
        let (normed, logits) = (self.normed.slice(..count * width), self.logits.slice(..count * self.vocabulary()));
        let hidden = Residual::new(self.hidden(count));
        hidden.normalise(self.device, normed, &self.parts.norm, self.model.config.rms_norm_eps)?;
        let head = self.parts.head.as_ref().unwrap_or(&self.parts.embedding).copy;
        self.products.linear(logits, normed, (head, width))?;
        Ok(logits)
    }

    fn vocabulary(&self) -> usize {
        self.model.config.vocab_size
    }
}
