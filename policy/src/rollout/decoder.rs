//! The policy's forward pass for decoding: a few rows at a time, with absorbed multi-head latent attention.
//!
//! Keys are never expanded (see [`crate::ops::latent_attention`], whose order this is). One call runs on one thread; the engine calls
//! it for several blocks of rows at once. A row's result does not depend on which other rows are computed with it.

use std::sync::Arc;

use super::cache::{CacheRows, Prefix};
use super::grouped::GroupedLayer;
use super::matrix::{Matrix, Source};
use crate::Result;
use crate::config::ModelConfig;
use crate::model::latent::LATENT_EPS;
use crate::model::parts::{self, AttentionParts, FeedForwardParts, LatentParts, LayerParts, ModelParts, QueryParts};
use crate::model::{Attention, Policy, with_numbers};
use crate::ops::attend::{self, Place, Scratch};
use crate::ops::bias::add_to_rows;
use crate::ops::experts::activate;
use crate::ops::latent_attention::HeadWeights;
use crate::ops::latent_attention::LatentConfig;
use crate::ops::packed::{PackedWeight, Store};
use crate::ops::rms_norm::normalise_rows;
use crate::ops::router::{RouterConfig, choose, gates};
use crate::ops::sum::add_scaled;
use crate::ops::{sigmoid, vectorised};

/// Tokens to be computed for one sequence, and where their cached rows go.
pub(crate) struct Span<'a> {
    pub(crate) token_ids: &'a [u32],
    /// Tokens of `own` before these.
    pub(crate) cached: usize,
    pub(crate) prefix: Option<&'a Arc<Prefix>>,
    pub(crate) own: &'a mut CacheRows,
}

struct Layer {
    attention_norm: Vec<f32>,
    attention: LayerAttention,
    mlp_norm: Vec<f32>,
    mlp: Mlp,
}

enum LayerAttention {
    Latent(LatentLayer),
    Grouped(GroupedLayer),
}

struct LatentLayer {
    query: LatentQuery,
    compress: Projection,
    latent_norm: Vec<f32>,
    heads: HeadWeights<f32>,
    output: Projection,
}

enum LatentQuery {
    Full(Projection),
    Compressed { down: Projection, norm: Vec<f32>, up: Projection },
}

enum Mlp {
    Dense(FeedForward),
    Moe(Moe),
}

struct Moe {
    config: RouterConfig,
    router: PackedWeight<f32>,
    bias: Vec<f32>,
    experts: Vec<FeedForward>,
    shared: Option<FeedForward>,
}

/// A SwiGLU layer.
struct FeedForward {
    gate_up: Matrix,
    down: Matrix,
    inner: usize,
}

impl FeedForward {
    /// Layer `index` of those that a parameter holds, each of gate and up `[2 inner, width]`, then down `[inner, width]`.
    fn new(weight: &Source<'_>, index: usize, inner: usize, width: usize) -> Self {
        let start = index * 3 * inner * width;
        let middle = start + 2 * inner * width;
        FeedForward {
            gate_up: weight.matrix(start..middle, width),
            down: weight.transposed(middle..middle + inner * width, width),
            inner,
        }
    }

    /// The only layer that a parameter holds.
    fn only(weight: &Source<'_>, width: usize) -> Self {
        Self::new(weight, 0, weight.numbers.len() / width / 3, width)
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let gate_up = self.gate_up.apply(x);
        let mut hidden = vec![0.0; gate_up.len() / 2];
        vectorised(
            #[inline(always)]
            || activate(&mut hidden, &gate_up, self.inner),
        );
        self.down.apply(&hidden)
    }
}

/// A weight `[outputs, inputs]`, with a bias or without.
pub(super) struct Projection {
    weight: Matrix,
    bias: Option<Vec<f32>>,
}

impl Projection {
    /// `x W^T + b` of rows `[rows, inputs]`.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut y = self.weight.apply(x);
        if let Some(bias) = &self.bias {
            vectorised(
                #[inline(always)]
                || add_to_rows(&mut y, bias),
            );
        }
        y
    }
}

impl Projection {
    pub(super) fn new(parts: &parts::Projection<Source<'_>>, inputs: usize) -> Self {
        let bias = parts.bias.as_ref().map(|bias| bias.numbers.to_vec());
        Projection { weight: parts.weight.whole(inputs), bias }
    }
}

impl LatentLayer {
    fn new(parts: &LatentParts<Source<'_>>, operation: &LatentConfig, width: usize) -> Self {
        let query = match &parts.query {
            QueryParts::Full(weight) => LatentQuery::Full(Projection { weight: weight.whole(width), bias: None }),
            QueryParts::Compressed { down, norm, up } => LatentQuery::Compressed {
                down: Projection::new(down, width),
                norm: norm.numbers.to_vec(),
                up: Projection { weight: up.whole(norm.numbers.len()), bias: None },
            },
        };
        LatentLayer {
            query,
            compress: Projection::new(&parts.compress, width),
            heads: HeadWeights::new(parts.expand.numbers, operation),
            latent_norm: parts.latent_norm.numbers.to_vec(),
            output: Projection::new(&parts.output, operation.heads * operation.value),
        }
    }
}

/// A policy's weights, laid out for decoding.
pub(crate) struct Decoder {
    config: ModelConfig,
    attention: Attention,
    embedding: Matrix,
    layers: Vec<Layer>,
    moe_layers: usize,
    norm: Vec<f32>,
    head: Matrix,
    large: bool,
}

/// Normalises rows, in the widest vectors there are.
pub(super) fn normalise(out: &mut [f32], x: &[f32], weight: &[f32], eps: f64) {
    vectorised(
        #[inline(always)]
        || normalise_rows(out, x, weight, eps),
    );
}

impl Decoder {
    pub(crate) fn new(policy: &Policy) -> Result<Self> {
        Self::laid_out(policy, policy.is_large())
    }

    /// As for a large model, or as for a small one.
    pub(super) fn laid_out(policy: &Policy, large: bool) -> Result<Self> {
        let parameters = policy.parameters()?;
        with_numbers(parameters, |numbers| {
            let sources = numbers.into_iter().zip(parameters).map(|(numbers, (_, var))| {
                let shared = large.then(|| var.as_detached_tensor());
                Source { numbers, shared }
            });
            Self::from_parts(policy, large, &ModelParts::new(policy.config(), sources))
        })
    }

    fn from_parts(policy: &Policy, large: bool, parts: &ModelParts<Source<'_>>) -> Self {
        let (config, attention) = (policy.config().clone(), policy.attention().clone());
        let (width, heads) = (config.hidden_size, config.num_attention_heads);
        let mut biases = policy.router_bias().iter();
        let mut mlp = |parts: &FeedForwardParts<Source<'_>>| match parts {
            FeedForwardParts::Dense(weight) => Mlp::Dense(FeedForward::only(weight, width)),
            FeedForwardParts::Mixed { router, experts, shared } => {
                let config = policy.router().expect("a model with experts has a router");
                let inner = experts.numbers.len() / config.experts / width / 3;
                Mlp::Moe(Moe {
                    experts: (0..config.experts).map(|e| FeedForward::new(experts, e, inner, width)).collect(),
                    config,
                    router: PackedWeight::from_rows(router.numbers, width),
                    bias: biases.next().cloned().expect("a policy holds a bias for each of its MoE layers"),
                    shared: shared.as_ref().map(|weight| FeedForward::only(weight, width)),
                })
            }
        };
        let layer = |parts: &LayerParts<Source<'_>>| Layer {
            attention_norm: parts.attention_norm.numbers.to_vec(),
            attention: match (&parts.attention, &attention) {
                (AttentionParts::Latent(parts), Attention::Latent(operation)) => {
                    LayerAttention::Latent(LatentLayer::new(parts, operation, width))
                }
                (AttentionParts::Grouped(parts), Attention::Grouped(sizes, _)) => {
                    LayerAttention::Grouped(GroupedLayer::new(parts, heads * sizes.head_dim, width))
                }
                _ => unreachable!("all layers of a model have its kind of attention"),
            },
            mlp_norm: parts.feed_forward_norm.numbers.to_vec(),
            mlp: mlp(&parts.feed_forward),
        };
        Decoder {
            layers: parts.layers.iter().map(layer).collect(),
            embedding: parts.embedding.table(width),
            norm: parts.norm.numbers.to_vec(),
            head: parts.head.as_ref().unwrap_or(&parts.embedding).whole(width),
            moe_layers: policy.router_bias().len(),
            large,
            config,
            attention,
        }
    }

    /// Whether all threads work on one call, so that more calls at a time would only read the weights more often.
    pub(crate) fn is_large(&self) -> bool {
        self.large
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// A cache for tokens of a sequence from `position` on.
    pub(crate) fn empty_cache(&self, position: usize, capacity: usize) -> CacheRows {
        let layers = (self.config.num_hidden_layers, self.moe_layers);
        CacheRows::new(layers, self.config.attention.cached_widths(), position, capacity)
    }

    /// Computes the spans' tokens, appends their cache rows, and returns each span's last hidden row, `[spans, hidden]`.
    pub(crate) fn forward(&self, spans: &mut [Span<'_>]) -> Vec<f32> {
        let width = self.config.hidden_size;
        let rows: usize = spans.iter().map(|span| span.token_ids.len()).sum();
        let mut x = vec![0.0; rows * width];
        let ids = spans.iter().flat_map(|span| span.token_ids);
        self.embedding.copy_rows(&mut x, ids.copied());
        let mut normed = vec![0.0; rows * width];
        let mut moe_layer = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            self.normalise(&mut normed, &x, &layer.attention_norm);
            let y = match (&layer.attention, &self.attention) {
                (LayerAttention::Latent(layer), Attention::Latent(operation)) => {
                    let attended = self.attend(index, layer, operation, &normed, spans);
                    layer.output.apply(&attended)
                }
                (LayerAttention::Grouped(layer), Attention::Grouped(_, operation)) => {
                    layer.attend(index, operation, self.config.rms_norm_eps, &normed, spans)
                }
                _ => unreachable!("all layers of a model have its kind of attention"),
            };
            self.add(&mut x, &y);
            self.normalise(&mut normed, &x, &layer.mlp_norm);
            match &layer.mlp {
                Mlp::Dense(feed_forward) => self.add(&mut x, &feed_forward.apply(&normed)),
                Mlp::Moe(moe) => {
                    // Routed first, then shared: the order in which the training pass adds them.
                    let (y, chosen) = self.mixture(&normed, moe);
                    self.add(&mut x, &y);
                    let mut chosen = chosen.as_slice();
                    for span in spans.iter_mut() {
                        let (own, rest) = chosen.split_at(span.token_ids.len() * moe.config.top_k);
                        span.own.choices.push(moe_layer, own);
                        chosen = rest;
                    }
                    moe_layer += 1;
                    if let Some(shared) = &moe.shared {
                        self.add(&mut x, &shared.apply(&normed));
                    }
                }
            }
        }
        let mut last = Vec::with_capacity(spans.len() * width);
        let mut end = 0;
        for span in spans.iter() {
            end += span.token_ids.len();
            last.extend_from_slice(&x[(end - 1) * width..end * width]);
        }
        last
    }

    /// Logits `[rows, vocabulary]` of hidden rows `[rows, hidden]`.
    pub(crate) fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; hidden.len()];
        self.normalise(&mut normed, hidden, &self.norm);
        self.head.apply(&normed)
    }

    fn normalise(&self, out: &mut [f32], x: &[f32], weight: &[f32]) {
        normalise(out, x, weight, self.config.rms_norm_eps);
    }

    #[expect(clippy::unused_self, reason = "reads as a step of the forward pass")]
    fn add(&self, x: &mut [f32], y: &[f32]) {
        vectorised(
            #[inline(always)]
            || add_scaled(x, y, 1.0),
        );
    }

    /// Attention of the spans' rows, appended to their caches; returns `[rows, heads * value]`.
    fn attend(
        &self,
        index: usize,
        layer: &LatentLayer,
        operation: &LatentConfig,
        normed: &[f32],
        spans: &mut [Span<'_>],
    ) -> Vec<f32> {
        let LatentConfig { heads, nope, rope, value, ref table, .. } = *operation;
        let (rows, latent) = (normed.len() / self.config.hidden_size, layer.latent_norm.len());
        let cached_width = latent + rope;
        let query = match &layer.query {
            LatentQuery::Full(projection) => projection.apply(normed),
            LatentQuery::Compressed { down, norm, up } => {
                let compressed = down.apply(normed);
                let mut normed = vec![0.0; compressed.len()];
                normalise(&mut normed, &compressed, norm, LATENT_EPS);
                up.apply(&normed)
            }
        };
        let mut compressed = layer.compress.apply(normed);

        let positions: Vec<usize> = spans
            .iter()
            .flat_map(|span| {
                let start = span.prefix.map_or(0, |prefix| prefix.end()) + span.cached;
                start..start + span.token_ids.len()
            })
            .collect();
        let mut absorbed = vec![0.0f32; rows * heads * cached_width]; // [rows, heads, latent + rope]
        for head in 0..heads {
            let out = (&mut absorbed[head * cached_width..], heads * cached_width);
            layer.heads.absorb(head, out, &query[head * (nope + rope)..], operation, (rows, |row| positions[row]));
        }
        let mut summed = vec![0.0f32; rows * heads * latent];
        let mut row = 0;
        let place = Place { key: 0, key_width: cached_width, value: 0, value_width: latent };
        let mut scratch = Scratch::default();
        let mut normed_latent = vec![0.0f32; latent];
        for span in spans.iter_mut() {
            let first = row;
            for offset in 0..span.token_ids.len() {
                let cached = &mut compressed[(first + offset) * cached_width..(first + offset + 1) * cached_width];
                normalise(&mut normed_latent, &cached[..latent], &layer.latent_norm, LATENT_EPS);
                cached[..latent].copy_from_slice(&normed_latent);
                table.turn(&mut cached[latent..], positions[first + offset], 1.0);
                span.own.push(index, cached, &normed_latent);
            }
            let mut chain = Vec::new();
            if let Some(prefix) = span.prefix {
                prefix.chain(index, &mut chain);
            }
            let shared_chain = chain.len();
            for offset in 0..span.token_ids.len() {
                let queries = &absorbed[row * heads * cached_width..(row + 1) * heads * cached_width];
                chain.truncate(shared_chain);
                chain.push(span.own.rows(index, span.cached + offset + 1));
                let out = &mut summed[row * heads * latent..(row + 1) * heads * latent];
                let chain = &chain;
                attend::Attention { query: queries, place, chain, out, totals: None }.run(&mut scratch);
                row += 1;
            }
        }
        debug_assert_eq!(row, rows);
        let mut attended = vec![0.0; rows * heads * value];
        layer.heads.expand(&mut attended, &summed, value);
        attended
    }

    /// The routed experts' sum, and the experts chosen `[rows, top_k]`.
    fn mixture(&self, x: &[f32], moe: &Moe) -> (Vec<f32>, Vec<u32>) {
        let Moe { config, router, bias, .. } = moe;
        let (width, experts, top_k) = (self.config.hidden_size, config.experts, config.top_k);
        let rows = x.len() / width;
        let mut affinities = vec![0.0f32; rows * experts];
        router.multiply(&mut affinities, x, Store::Set);
        vectorised(
            #[inline(always)]
            || affinities.iter_mut().for_each(|z| *z = sigmoid(*z)),
        );
        let mut chosen = vec![0u32; rows * top_k];
        let mut weight_of = vec![0.0f32; rows * top_k];
        let each =
            affinities.chunks_exact(experts).zip(chosen.chunks_exact_mut(top_k)).zip(weight_of.chunks_exact_mut(top_k));
        for ((affinities, chosen), out) in each {
            choose(affinities, bias, config, chosen);
            gates(affinities, chosen, config, out);
        }
        let mut results = vec![0.0; rows * top_k * width];
        for (index, expert) in moe.experts.iter().enumerate() {
            let pairs: Vec<usize> = (0..chosen.len()).filter(|pair| chosen[*pair] as usize == index).collect();
            let mut gathered = Vec::with_capacity(pairs.len() * width);
            for pair in &pairs {
                gathered.extend_from_slice(&x[pair / top_k * width..(pair / top_k + 1) * width]);
            }
            let y = expert.apply(&gathered);
            for (row, pair) in y.chunks_exact(width).zip(&pairs) {
                results[pair * width..(pair + 1) * width].copy_from_slice(row);
            }
        }
        let mut out = vec![0.0; x.len()];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for pair in row * top_k..(row + 1) * top_k {
                let result = &results[pair * width..(pair + 1) * width];
                vectorised(
                    #[inline(always)]
                    || add_scaled(out, result, weight_of[pair]),
                );
            }
        }
        (out, chosen)
    }
}
