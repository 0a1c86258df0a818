//! What decoding remembers: for every layer and token the compressed latent and the rotary key, and nothing else.
//!
//! Multi-head latent attention's point (DeepSeek-V2, section 2.1): `kv_lora_rank + qk_rope_head_dim` numbers for a token
//! and layer instead of keys and values of every head. Prompts are kept in nodes that sequences share: what all prompts
//! begin with, then each group's own prompt, then each completion's own tokens.
//!
//! Tokens lie in blocks of [`BLOCK`], side by side: `[blocks, width, BLOCK]`, so that a vector holds one number of each.

use std::sync::Arc;

use crate::ops::router::ExpertChoices;
use crate::ops::sum::LANES;

/// Tokens that lie side by side.
pub(super) const BLOCK: usize = LANES;

/// The cached rows of a run of tokens.
#[derive(Debug, Clone)]
pub(crate) struct CacheRows {
    /// For each layer the tokens it has, and `[blocks, width, BLOCK]`: the rotary keys already turned to their positions,
    /// zeros where the last block is not full.
    layers: Vec<(usize, Vec<[f32; BLOCK]>)>,
    width: usize,
    /// Where the tokens went, for the training pass to repeat.
    pub(crate) choices: ExpertChoices,
}

impl CacheRows {
    pub(crate) fn new(layers: usize, moe_layers: usize, width: usize, capacity: usize) -> Self {
        let layers = vec![(0, Vec::with_capacity(capacity.div_ceil(BLOCK) * width)); layers];
        CacheRows { layers, width, choices: ExpertChoices::new(moe_layers) }
    }

    /// Appends one token's row to a layer.
    pub(crate) fn push(&mut self, layer: usize, row: &[f32]) {
        debug_assert_eq!(row.len(), self.width);
        let (tokens, blocks) = &mut self.layers[layer];
        let (block, lane) = (*tokens / BLOCK, *tokens % BLOCK);
        if lane == 0 {
            blocks.resize((block + 1) * self.width, [0.0; BLOCK]);
        }
        blocks[block * self.width..].iter_mut().zip(row).for_each(|(lanes, value)| lanes[lane] = *value);
        *tokens += 1;
    }

    /// The first `tokens` rows of a layer.
    pub(crate) fn rows(&self, layer: usize, tokens: usize) -> Cached<'_> {
        let numbers = &self.layers[layer].1[..tokens.div_ceil(BLOCK) * self.width];
        Cached { numbers, width: self.width, tokens }
    }
}

/// Some tokens of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Cached<'a> {
    numbers: &'a [[f32; BLOCK]],
    width: usize,
    /// How many they are; the last block may hold more, which do not count.
    pub(crate) tokens: usize,
}

impl<'a> Cached<'a> {
    /// Each block's `[width, BLOCK]`.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> std::slice::ChunksExact<'a, [f32; BLOCK]> {
        self.numbers.chunks_exact(self.width)
    }
}

/// A finished run of prompt tokens that others continue.
#[derive(Debug)]
pub(crate) struct Prefix {
    parent: Option<Arc<Prefix>>,
    rows: CacheRows,
    tokens: usize,
    /// Tokens up to and including this run.
    end: usize,
}

impl Prefix {
    pub(crate) fn new(parent: Option<Arc<Prefix>>, rows: CacheRows, tokens: usize) -> Self {
        let end = parent.as_ref().map_or(0, |parent| parent.end) + tokens;
        Prefix { parent, rows, tokens, end }
    }

    /// The position of the next token.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// A layer's rows, from the root to this run.
    pub(crate) fn chain<'a>(&'a self, layer: usize, out: &mut Vec<Cached<'a>>) {
        if let Some(parent) = &self.parent {
            parent.chain(layer, out);
        }
        out.push(self.rows.rows(layer, self.tokens));
    }

    /// The experts of all tokens from the root to this run's last.
    pub(crate) fn choices(&self) -> ExpertChoices {
        let mut choices = self.parent.as_ref().map_or_else(ExpertChoices::default, |parent| parent.choices());
        choices.extend(&self.rows.choices);
        choices
    }
}
