//! What decoding remembers, in pages of tokens: for every layer latents and rotary keys, or keys and values; and, once for all
//! layers, the experts that tokens went to.
//!
//! Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", 2023.

use device::ops::paged_cache::copy_pages;
use device::ops::slots::NotedChoices;
use device::{Buffer, Device, Result, Slice, bf16};

use crate::config::{AttentionKind, ModelConfig};

/// What a token takes in the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    layers: usize,
    key_width: usize,
    /// None where values are part of the keys.
    value_width: Option<usize>,
    moe_layers: usize,
    top_k: usize,
    /// Tokens of a page.
    pub(super) page_tokens: usize,
}

/// The cached tokens of all sequences.
pub(super) struct Cache {
    shape: Shape,
    layers: Vec<LayerCache>,
    /// `[pages * tokens, MoE layers, top_k]`
    choices: Option<Buffer<u16>>,
}

/// One layer's.
pub(super) struct LayerCache {
    /// Latents and turned rotary keys side by side, or turned keys of all heads: `[pages * tokens, width]`.
    pub(super) keys: Buffer<bf16>,
    /// Values of all heads. None where they are part of the keys, as in the latent space.
    pub(super) values: Option<Buffer<bf16>>,
}

impl Shape {
    pub(super) fn new(config: &ModelConfig, page_tokens: usize) -> Self {
        let (key_width, value_width) = match &config.attention {
            AttentionKind::Latent(_) => (config.cache_width(), None),
            AttentionKind::Grouped(_) => (config.cache_width() / 2, Some(config.cache_width() / 2)),
        };
        let moe_layers = config.moe_layers().count();
        let top_k = config.mixture.as_ref().map_or(0, |mixture| mixture.num_experts_per_tok);
        Shape { layers: config.num_hidden_layers, key_width, value_width, moe_layers, top_k, page_tokens }
    }

    /// Pages that so many tokens need.
    pub(super) fn pages_of(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.page_tokens)
    }

    /// Bytes of a page.
    pub(super) fn page_bytes(&self) -> usize {
        let widths = self.layers * (self.key_width + self.value_width.unwrap_or(0));
        self.page_tokens * (widths * size_of::<bf16>() + self.choices_of_token() * size_of::<u16>())
    }

    /// Layers of experts, and the experts of a token in each.
    pub(super) fn mixture(&self) -> (usize, usize) {
        (self.moe_layers, self.top_k)
    }

    /// Experts of a token in all layers.
    pub(super) fn choices_of_token(&self) -> usize {
        self.moe_layers * self.top_k
    }
}

impl Cache {
    pub(super) fn new(device: &Device, shape: Shape, pages: usize) -> Result<Self> {
        let tokens = pages * shape.page_tokens;
        let layer = |_| {
            Ok(LayerCache {
                keys: device.alloc(tokens * shape.key_width, "the cache of decoding")?,
                values: match shape.value_width {
                    Some(width) => Some(device.alloc(tokens * width, "the cache of decoding")?),
                    None => None,
                },
            })
        };
        let choices = match shape.choices_of_token() {
            0 => None,
            width => Some(device.alloc(tokens * width, "the cache of decoding")?),
        };
        Ok(Cache { shape, layers: (0..shape.layers).map(layer).collect::<Result<_>>()?, choices })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn layers(&self) -> &[LayerCache] {
        &self.layers
    }

    /// Where tokens went, in a model with layers of experts.
    pub(super) fn choices(&self) -> Option<NotedChoices<'_>> {
        let (layers, top_k) = self.shape.mixture();
        self.choices.as_ref().map(|choices| NotedChoices { choices: choices.view(), layers, top_k })
    }

    /// Copies what pages hold of keys and values: `pairs` `[.., 2]` of a page and the one that it is copied to. Choices of
    /// experts are not copied: they are read where they were noted.
    pub(super) fn copy_pages(&self, device: &Device, pairs: Slice<'_, i32>) -> Result<()> {
        let Shape { key_width, value_width, page_tokens, .. } = self.shape;
        for layer in &self.layers {
            copy_pages(device, layer.keys.view(), page_tokens * key_width, pairs)?;
            if let (Some(values), Some(width)) = (&layer.values, value_width) {
                copy_pages(device, values.view(), page_tokens * width, pairs)?;
            }
        }
        Ok(())
    }
}
