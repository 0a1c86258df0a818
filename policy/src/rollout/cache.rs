//! What decoding remembers: for every layer and token the compressed latent and the rotary key, or grouped keys and values.
//!
//! Multi-head latent attention's point (DeepSeek-V2, section 2.1): `kv_lora_rank + qk_rope_head_dim` numbers for a token
//! and layer instead of keys and values of every head. (The latents are kept twice here, as keys side by side and as values
//! one after the other: see [`crate::ops::attend`].) Prompts are kept in nodes that sequences share: what all prompts
//! begin with, then each group's own prompt, then each completion's own tokens.

use std::sync::Arc;

use crate::ops::attend::{TokenBlocks, Tokens, Widths};
use crate::ops::router::ExpertChoices;

/// The cached rows of a run of tokens.
#[derive(Debug, Clone)]
pub(crate) struct CacheRows {
    /// For each layer its tokens, the rotary keys already turned to their positions.
    layers: Vec<TokenBlocks<f32>>,
    /// Where the tokens went, for the training pass to repeat.
    pub(crate) choices: ExpertChoices,
}

impl CacheRows {
    /// Empty; the first token will stand at `position` of its sequence.
    pub(crate) fn new((layers, moe_layers): (usize, usize), widths: Widths, position: usize, capacity: usize) -> Self {
        let layers = (0..layers).map(|_| TokenBlocks::new(widths, position, capacity)).collect();
        CacheRows { layers, choices: ExpertChoices::new(moe_layers) }
    }

    /// Appends one token to a layer.
    pub(crate) fn push(&mut self, layer: usize, key: &[f32], value: &[f32]) {
        self.layers[layer].push(key, value);
    }

    /// The first `tokens` rows of a layer.
    pub(crate) fn rows(&self, layer: usize, tokens: usize) -> Tokens<'_, f32> {
        self.layers[layer].first(tokens)
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
    pub(crate) fn chain<'a>(&'a self, layer: usize, out: &mut Vec<Tokens<'a, f32>>) {
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
