//! What a model of these sizes consists of and needs: parameters, cache, memory on the host and on a card.

use super::{AttentionKind, ModelConfig};
use crate::ops::packed::LARGE;
use crate::ops::rope::RopeTable;

/// Bytes that this crate needs to use a model, all numbers being f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The weights alone.
    pub weights: u64,
    /// To sample: the weights, the engine's copy of them, the cache of the sequences, and the rotary angles of their
    /// positions. The copy is of the whole of a small model; of a large one, which is decoded where its weights lie, it is of
    /// the weights that are read in another order than they lie in.
    pub sample: u64,
    /// To train: the weights, their gradients (a micro-batch's are added where they are summed as they are made), AdamW's
    /// two moments, and the rotary angles; without activations, which grow with the micro-batch, and without the second
    /// layout of the weight that is being multiplied with.
    pub train: u64,
}

/// Bytes that a policy takes on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardMemory {
    /// The weights in f32, and their copy in bf16.
    pub weights: u64,
    /// Their gradients.
    pub gradients: u64,
    /// AdamW's two moments.
    pub moments: u64,
    /// The cache of one token of a sequence that is sampled, in all layers.
    pub cached_token: u64,
    /// What a row of a micro-batch leaves for the backward pass; about.
    pub row: u64,
    /// The same where only the layers' inputs are kept (`Track::LayerInputs`), without `layer_row`.
    pub checkpointed_row: u64,
    /// What a row of a micro-batch takes in one layer at a time, forward and backward; about.
    pub layer_row: u64,
    /// The rotary angles of all positions, logits, and other room that does not grow with the model; about.
    pub workspace: u64,
}

impl CardMemory {
    /// To sample `tokens` tokens in all, of all sequences that are under way at once.
    #[must_use]
    pub fn sample(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(self.cached_token).saturating_add(self.weights + self.workspace)
    }

    /// To train with micro-batches of `rows` rows.
    #[must_use]
    pub fn train(&self, rows: u64, checkpoint_layers: bool) -> u64 {
        let row = if checkpoint_layers { self.checkpointed_row } else { self.row };
        let kept = self.weights + self.gradients + self.moments + self.workspace;
        rows.saturating_mul(row + self.layer_row).saturating_add(kept)
    }
}

impl ModelConfig {
    /// Trained parameters: `(all, those that one token's forward pass uses)`.
    ///
    /// The second leaves out the experts that the router did not choose. The router's balance bias
    /// is state, not a trained parameter, and is not counted; nor is multi-token prediction.
    #[must_use]
    pub fn parameters(&self) -> (usize, usize) {
        let size = |count: u128| usize::try_from(count).unwrap_or(usize::MAX);
        let (all, active) = self.count();
        (size(all), size(active))
    }

    /// The same of any sizes, however absurd: by it [`validate`](Self::validate) refuses what is too large.
    fn count(&self) -> (u128, u128) {
        let [d, heads, layers] =
            [self.hidden_size, self.num_attention_heads, self.num_hidden_layers].map(|size| size as u128);
        let attention = match &self.attention {
            AttentionKind::Latent(latent) => {
                let bias = u128::from(latent.attention_bias);
                let [plain, turned, value, rank] =
                    [latent.qk_nope_head_dim, latent.qk_rope_head_dim, latent.v_head_dim, latent.kv_lora_rank]
                        .map(|size| size as u128);
                let key = plain + turned;
                let query = match latent.q_lora_rank.map(|rank| rank as u128) {
                    None => heads * key * d,
                    Some(rank) => rank * d + rank + heads * key * rank + bias * rank,
                };
                let expand = heads * (plain + value) * rank;
                let output = d * heads * value + bias * d;
                query + (rank + turned) * (d + bias) + rank + expand + output
            }
            AttentionKind::Grouped(grouped) => {
                let [head, shared] = [grouped.head_dim, grouped.num_key_value_heads].map(|size| size as u128);
                let input = (heads * head + 2 * shared * head) * (d + u128::from(grouped.input_bias));
                let norms = u128::from(grouped.query_key_norm) * 2 * head;
                input + norms + d * (heads * head + u128::from(grouped.output_bias))
            }
        };
        let swiglu = |width: usize| 3 * d * width as u128;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        let common = tables * self.vocab_size as u128 * d + d + layers * (attention + 2 * d);
        let mut counts = (common, common);
        for layer in 0..self.num_hidden_layers {
            let (all, active) = self.mixture_of(layer).map_or_else(
                || (swiglu(self.intermediate_size), swiglu(self.intermediate_size)),
                |mixture| {
                    let expert = swiglu(mixture.moe_intermediate_size);
                    let [shared, routed, chosen] =
                        [mixture.n_shared_experts, mixture.n_routed_experts, mixture.num_experts_per_tok]
                            .map(|size| size as u128);
                    let always = expert * shared + routed * d;
                    (always + routed * expert, always + chosen * expert)
                },
            );
            counts = (counts.0 + all, counts.1 + active);
        }
        counts
    }

    /// Bytes to sample `sequences` of `tokens` each, and to train; the largest number where there is none so large.
    #[must_use]
    pub fn memory(&self, sequences: u64, tokens: u64) -> Memory {
        const BYTES: u64 = size_of::<f32>() as u64;
        let weights = self.parameters().0 as u64 * BYTES;
        let (key, value) = self.attention.cached_widths();
        let cache = (key + value) as u64 * self.num_hidden_layers as u64 * BYTES;
        let copied = self.copied_to_sample() as u64 * BYTES;
        let longest = usize::try_from(tokens).unwrap_or(usize::MAX).min(self.max_position_embeddings);
        let angles = RopeTable::bytes(longest, self.attention.rope_width() / 2);
        let cached = sequences.saturating_mul(tokens).saturating_mul(cache);
        Memory { weights, sample: cached.saturating_add(weights + copied + angles), train: 4 * weights + angles }
    }

    /// Numbers that a `RolloutEngine` on the host has besides the policy's.
    fn copied_to_sample(&self) -> usize {
        let (d, all) = (self.hidden_size, self.parameters().0);
        if all < LARGE {
            // A tied embedding is copied as a table and as a head.
            return all + if self.tie_word_embeddings { self.vocab_size * d } else { 0 };
        }
        let expand = match &self.attention {
            AttentionKind::Latent(latent) => {
                self.num_attention_heads * (latent.qk_nope_head_dim + latent.v_head_dim) * latent.kv_lora_rank
            }
            AttentionKind::Grouped(_) => 0,
        };
        // The router, and the projections down, which lie the other way round.
        let feed_forward = |layer| {
            self.mixture_of(layer).map_or(d * self.intermediate_size, |mixture| {
                let (experts, shared) = (mixture.n_routed_experts, mixture.n_shared_experts);
                d * (experts + mixture.moe_intermediate_size * (experts + shared))
            })
        };
        (0..self.num_hidden_layers).map(|layer| expand + feed_forward(layer)).sum()
    }

    /// Bytes on a card. Weights, gradients, moments and cache are exact but for alignment; activations are counted from what
    /// the layers keep.
    #[must_use]
    pub fn memory_on_card(&self) -> CardMemory {
        const HALF: usize = 2;
        const FULL: usize = 4;
        let (parameters, layers) = (self.parameters().0 as u64, self.num_hidden_layers);
        let (d, heads) = (self.hidden_size, self.num_attention_heads);
        // The residual stream before and after attention in f32, and both after their norms.
        let stream = 2 * d * (FULL + HALF);
        let attention = match &self.attention {
            AttentionKind::Latent(latent) => {
                let compressed =
                    2 * latent.kv_lora_rank + latent.qk_rope_head_dim + 2 * latent.q_lora_rank.unwrap_or(0);
                let head = 2 * latent.qk_head_dim() + latent.qk_nope_head_dim + 2 * latent.v_head_dim;
                HALF * (compressed + heads * head) + FULL * heads
            }
            AttentionKind::Grouped(grouped) => {
                let raw = if grouped.query_key_norm { 2 } else { 1 };
                let (query, shared) = (heads * grouped.head_dim, grouped.num_key_value_heads * grouped.head_dim);
                HALF * ((1 + raw) * query + (1 + raw) * shared) + FULL * heads
            }
        };
        // Gate and up of each layer; the widest layer's decides what is needed one at a time.
        let feed_forward = |layer| {
            self.mixture_of(layer).map_or(2 * HALF * self.intermediate_size, |mixture| {
                let chosen = mixture.num_experts_per_tok + mixture.n_shared_experts;
                2 * HALF * mixture.moe_intermediate_size * chosen + FULL * mixture.n_routed_experts
            })
        };
        let inner: usize = (0..layers).map(feed_forward).sum();
        let widest = (0..layers).map(feed_forward).max().unwrap_or(0);
        // A mixture's backward pass also holds a row of the stream for each chosen expert.
        let pairs = self.mixture.as_ref().map_or(0, |mixture| mixture.num_experts_per_tok * d * HALF);
        let layer_row = stream + attention + 2 * widest + pairs;
        CardMemory {
            weights: 6 * parameters,
            gradients: 4 * parameters,
            moments: 8 * parameters,
            cached_token: (HALF * self.cache_width() * layers) as u64,
            row: ((stream + attention) * layers + inner) as u64,
            checkpointed_row: (FULL * d * layers) as u64,
            layer_row: layer_row as u64,
            workspace: (512 << 20) + (self.max_position_embeddings * self.attention.rope_width() * FULL) as u64,
        }
    }
}
