//! What bf16 costs by itself: the host's forward pass once more in its plainest form, with activations rounded where the card's
//! kernels round them, or not at all.
//!
//! What the two differ by is what no kernel can be expected to do without: a card's log-probabilities should be about as far from
//! the host's, and not much further. They cannot be the same as the rounded ones: a sum in another order is rounded to the other
//! neighbour now and then, and attention's weights are rounded relative to the largest score so far.
//!
//! Rounded are the results of norms, projections, biases and rotary embedding, attention's weights and its results, gate and up,
//! activations, and the results of experts. The residual stream, the logits of routers and of tokens, gates and all sums are not.

use device::bf16;
use rayon::prelude::*;

use crate::config::ModelConfig;
use crate::model::batch::PackedBatch;
use crate::model::latent::LATENT_EPS;
use crate::model::parts::{
    AttentionParts, FeedForwardParts, GroupedParts, LatentParts, ModelParts, Projection, QueryParts,
};
use crate::model::{Attention, with_numbers};
use crate::ops::bias::add_bias;
use crate::ops::embedding::gather_rows;
use crate::ops::experts::activate;
use crate::ops::grouped_attention::GroupedConfig;
use crate::ops::latent_attention::LatentConfig;
use crate::ops::layouts::Layouts;
use crate::ops::linear::{add_linear, linear};
use crate::ops::logprob::Logprob;
use crate::ops::rms_norm::rms_norm;
use crate::ops::rope::RopeTable;
use crate::ops::router::{RouterConfig, Routing, route, router_gates};
use crate::ops::sigmoid;
use crate::ops::sum::{add_scaled, dot};
use crate::{Policy, Result};

/// How activations are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Not at all: the same pass as [`Policy::forward`] makes, up to the order of sums.
    None,
    /// To bf16, where the card's kernels do.
    Bf16,
}

/// What a pass computes.
#[derive(Debug, Clone)]
pub struct PlainForward {
    /// Log-probability of each of the batch's targets.
    pub logprobs: Vec<f32>,
    /// For each layer of experts, what its router did.
    pub routers: Vec<Routed>,
}

/// What a layer's router computes.
#[derive(Debug, Clone)]
pub struct Routed {
    /// What experts are chosen by: `[rows, experts]`.
    pub scores: Vec<f32>,
    /// For each row, by how much the score of what was chosen last is above that of what was not chosen, of experts or of groups:
    /// an error of half of it can change the choice.
    pub gaps: Vec<f32>,
    /// The chosen experts, or the batch's.
    pub routing: Routing,
}

/// A forward pass over a policy that is in the host's memory, or is copied there.
///
/// # Errors
/// If a card fails.
///
/// # Panics
/// If the batch does not fit the policy; [`Policy::forward`] refuses such a batch.
pub fn forward(policy: &Policy, batch: &PackedBatch, temperature: f64, rounding: Rounding) -> Result<PlainForward> {
    with_numbers(policy.parameters()?, |numbers| {
        let pass = Pass {
            config: policy.config(),
            router: policy.router(),
            positions: batch.positions(),
            seen: seen_rows(&batch.layouts),
            rounding,
        };
        let parts = ModelParts::new(policy.config(), numbers.into_iter());
        pass.forward((policy.attention(), policy.router_bias()), &parts, batch, temperature)
    })
}

struct Pass<'a> {
    config: &'a ModelConfig,
    router: Option<RouterConfig>,
    /// Of each row.
    positions: Vec<u32>,
    /// The rows that each row attends to, itself among them.
    seen: Vec<Vec<usize>>,
    rounding: Rounding,
}

/// Sizes of attention over whole keys and values.
struct Sizes {
    heads: usize,
    key_heads: usize,
    width: usize,
    value_width: usize,
    scale: f64,
}

fn seen_rows(layouts: &Layouts) -> Vec<Vec<usize>> {
    let mut through: Vec<Vec<usize>> = Vec::new();
    let mut rows = Vec::new();
    for segment in layouts.segments() {
        let mut seen = segment.parent.map_or_else(Vec::new, |parent| through[parent].clone());
        for row in segment.rows.clone() {
            seen.push(row);
            rows.push(seen.clone());
        }
        through.push(seen);
    }
    rows
}

impl Pass<'_> {
    fn rounded(&self, mut values: Vec<f32>) -> Vec<f32> {
        if self.rounding == Rounding::Bf16 {
            values.par_iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32());
        }
        values
    }

    fn forward(
        &self,
        (attention, router_bias): (&Attention, &[Vec<f32>]),
        parts: &ModelParts<&[f32]>,
        batch: &PackedBatch,
        temperature: f64,
    ) -> PlainForward {
        let (width, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let mut x = gather_rows(parts.embedding, &batch.token_ids, width);
        let mut routers: Vec<Routed> = Vec::new();
        for layer in &parts.layers {
            let normed = self.rounded(rms_norm(&x, width, layer.attention_norm, eps));
            match (&layer.attention, attention) {
                (AttentionParts::Latent(parts), Attention::Latent(config)) => {
                    self.add_latent(&mut x, &normed, parts, config);
                }
                (AttentionParts::Grouped(parts), Attention::Grouped(_, config)) => {
                    self.add_grouped(&mut x, &normed, parts, config);
                }
                _ => unreachable!("all layers of a model have its kind of attention"),
            }
            let normed = self.rounded(rms_norm(&x, width, layer.feed_forward_norm, eps));
            match (&layer.feed_forward, &self.router) {
                (FeedForwardParts::Dense(weight), _) => add_scaled(&mut x, &self.swiglu(&normed, weight), 1.0),
                (FeedForwardParts::Mixed { router: weight, experts, shared }, Some(router)) => {
                    let given = batch.choices.as_ref().map(|choices| &choices.layers()[routers.len()][..]);
                    let logits = linear(&normed, weight, width);
                    let routed = Routed::new(&logits, &router_bias[routers.len()], router, given);
                    let gates = router_gates(&logits, &routed.routing, router);
                    self.add_experts(&mut x, &normed, experts, (&routed.routing, &gates));
                    if let Some(shared) = shared {
                        add_scaled(&mut x, &self.swiglu(&normed, shared), 1.0);
                    }
                    routers.push(routed);
                }
                _ => unreachable!("a model with layers of experts has a router"),
            }
        }
        let rows = gather_rows(&x, &batch.target_rows, width);
        let hidden = self.rounded(rms_norm(&rows, width, parts.norm, eps));
        let head = parts.head.unwrap_or(parts.embedding);
        let logprob = Logprob { head, width, targets: &batch.target_ids, temperature };
        PlainForward { logprobs: logprob.forward(&hidden).logprobs, routers }
    }

    fn project(&self, x: &[f32], projection: &Projection<&[f32]>, inputs: usize) -> Vec<f32> {
        let mut y = self.rounded(linear(x, projection.weight, inputs));
        if let Some(bias) = projection.bias {
            add_bias(&mut y, bias);
            y = self.rounded(y);
        }
        y
    }

    fn add_projection(x: &mut [f32], attended: &[f32], projection: &Projection<&[f32]>, inputs: usize) {
        add_linear(x, attended, projection.weight, inputs);
        if let Some(bias) = projection.bias {
            add_bias(x, bias);
        }
    }

    /// Turns the rotary part of rows that begin `stride` apart, several to a token: what stands from `offset` on.
    fn turn(&self, mut rows: Vec<f32>, (stride, offset, rope): (usize, usize, usize), table: &RopeTable) -> Vec<f32> {
        let of_token = rows.len() / self.positions.len().max(1) / stride;
        for (index, row) in rows.chunks_exact_mut(stride).enumerate() {
            table.turn(&mut row[offset..offset + rope], self.positions[index / of_token] as usize, 1.0);
        }
        self.rounded(rows)
    }

    fn add_latent(&self, x: &mut [f32], normed: &[f32], parts: &LatentParts<&[f32]>, config: &LatentConfig) {
        let LatentConfig { heads, nope, rope, value, scale, .. } = *config;
        let inputs = self.config.hidden_size;
        let query = match &parts.query {
            QueryParts::Full(weight) => self.rounded(linear(normed, weight, inputs)),
            QueryParts::Compressed { down, norm, up } => {
                let compressed = self.project(normed, down, inputs);
                let latent = self.rounded(rms_norm(&compressed, norm.len(), norm, LATENT_EPS));
                self.rounded(linear(&latent, up, norm.len()))
            }
        };
        let query = self.turn(query, (nope + rope, nope, rope), &config.table);
        let latent = parts.latent_norm.len();
        let compressed = self.project(normed, &parts.compress, inputs);
        let normed_latent = self.rounded(rms_norm(&compressed, latent + rope, parts.latent_norm, LATENT_EPS));
        let expanded = self.rounded(linear(&normed_latent, parts.expand, latent)); // [n, heads, nope + value]
        let compressed = self.turn(compressed, (latent + rope, latent, rope), &config.table);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (index, head) in expanded.chunks_exact(nope + value).enumerate() {
            let shared = &compressed[index / heads * (latent + rope)..][latent..latent + rope];
            keys.extend_from_slice(&head[..nope]);
            keys.extend_from_slice(shared);
            values.extend_from_slice(&head[nope..]);
        }
        let sizes = Sizes { heads, key_heads: heads, width: nope + rope, value_width: value, scale };
        let attended = self.attend([&query, &keys, &values], &sizes);
        Self::add_projection(x, &attended, &parts.output, heads * value);
    }

    fn add_grouped(&self, x: &mut [f32], normed: &[f32], parts: &GroupedParts<&[f32]>, config: &GroupedConfig) {
        let GroupedConfig { heads, key_heads, width, scale, .. } = *config;
        let (inputs, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let turned = |projection, norm: Option<&[f32]>| {
            let mut rows = self.project(normed, projection, inputs);
            if let Some(norm) = norm {
                rows = self.rounded(rms_norm(&rows, width, norm, eps));
            }
            self.turn(rows, (width, 0, width), &config.table)
        };
        let query = turned(&parts.query, parts.norms.map(|[query, _]| query));
        let key = turned(&parts.key, parts.norms.map(|[_, key]| key));
        let value = self.project(normed, &parts.value, inputs);
        let attended =
            self.attend([&query, &key, &value], &Sizes { heads, key_heads, width, value_width: width, scale });
        Self::add_projection(x, &attended, &parts.output, heads * width);
    }

    /// `[n, heads, value width]` of queries `[n, heads, width]`, keys `[n, key heads, width]` and values.
    fn attend(&self, [query, key, value]: [&[f32]; 3], sizes: &Sizes) -> Vec<f32> {
        let &Sizes { heads, key_heads, width, value_width, scale } = sizes;
        let mut out = vec![0.0; self.seen.len() * heads * value_width];
        out.par_chunks_mut(heads * value_width).zip(&self.seen).enumerate().for_each(|(row, (out, seen))| {
            for (head, out) in out.chunks_exact_mut(value_width).enumerate() {
                let query = &query[(row * heads + head) * width..][..width];
                let place = |seen: &usize| seen * key_heads + head / (heads / key_heads);
                let score = |seen| scale as f32 * dot(query, &key[place(seen) * width..][..width]);
                let scores: Vec<f32> = seen.iter().map(score).collect();
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f32> = scores.into_iter().map(|score| (score - largest).exp()).collect();
                let total: f32 = weights.iter().sum();
                for (seen, weight) in seen.iter().zip(self.rounded(weights)) {
                    add_scaled(out, &value[place(seen) * value_width..][..value_width], weight);
                }
                out.iter_mut().for_each(|sum| *sum /= total);
            }
        });
        self.rounded(out)
    }

    /// A SwiGLU layer's result, `[n, width]`, with a weight `[3 inner, width]`: gate, up, and down transposed.
    fn swiglu(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let width = self.config.hidden_size;
        let inner = weight.len() / (3 * width);
        let (gate_up, down) = weight.split_at(2 * inner * width);
        let gate_up = self.rounded(linear(x, gate_up, width));
        let mut hidden = vec![0.0; gate_up.len() / 2];
        activate(&mut hidden, &gate_up, inner);
        let down: Vec<f32> = (0..width).flat_map(|column| down.iter().skip(column).step_by(width)).copied().collect();
        linear(&self.rounded(hidden), &down, inner)
    }

    /// Adds the chosen experts, weighted by `gates` `[n, top_k]`.
    fn add_experts(&self, x: &mut [f32], normed: &[f32], weights: &[f32], (routing, gates): (&Routing, &[f32])) {
        let (width, experts) = (self.config.hidden_size, routing.load.len());
        let of_expert = |(expert, weight): (usize, &[f32])| {
            let chose = |pair: &usize| routing.chosen[*pair] as usize == expert;
            let pairs: Vec<usize> = (0..routing.chosen.len()).filter(chose).collect();
            let tokens: Vec<u32> = pairs.iter().map(|pair| (pair / routing.top_k) as u32).collect();
            let results = self.rounded(self.swiglu(&gather_rows(normed, &tokens, width), weight));
            (pairs, results)
        };
        let each: Vec<(Vec<usize>, Vec<f32>)> =
            weights.par_chunks_exact(weights.len() / experts).enumerate().map(of_expert).collect();
        let mut results = vec![0.0; routing.chosen.len() * width];
        for (pairs, rows) in &each {
            for (pair, row) in pairs.iter().zip(rows.chunks_exact(width)) {
                results[pair * width..][..width].copy_from_slice(row);
            }
        }
        let rows = results.chunks_exact(routing.top_k * width).zip(gates.chunks_exact(routing.top_k));
        for (x, (results, gates)) in x.chunks_exact_mut(width).zip(rows) {
            let mut sum = vec![0.0; width];
            for (result, gate) in results.chunks_exact(width).zip(gates) {
                add_scaled(&mut sum, result, *gate);
            }
            add_scaled(x, &sum, 1.0);
        }
    }
}

impl Routed {
    fn new(logits: &[f32], bias: &[f32], config: &RouterConfig, given: Option<&[u16]>) -> Self {
        let biased = |(logit, bias): (&f32, &f32)| sigmoid(*logit) + bias;
        let scores: Vec<f32> = logits.iter().zip(bias.iter().cycle()).map(biased).collect();
        let gaps = scores.chunks_exact(config.experts).map(|scores| gap(scores, config)).collect();
        let routing = match given {
            Some(given) => Routing::repeat(given, config),
            None => route(logits, bias, config),
        };
        Routed { scores, gaps, routing }
    }
}

/// How far a token's scores are from those with which it would go to others; infinite if there is no choice.
fn gap(scores: &[f32], config: &RouterConfig) -> f32 {
    let best_first = |values: &[f32]| {
        let mut values = values.to_vec();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    };
    let after = |sorted: &[f32], chosen: usize| match sorted.get(chosen) {
        Some(next) => sorted[chosen - 1] - next,
        None => f32::INFINITY,
    };
    let mut groups: Vec<(f32, Vec<f32>)> = scores
        .chunks_exact(config.experts / config.groups)
        .map(|group| (best_first(group).iter().take(2).sum(), group.to_vec()))
        .collect();
    groups.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (totals, members): (Vec<f32>, Vec<Vec<f32>>) = groups.into_iter().unzip();
    let open = members[..config.top_groups].concat();
    after(&totals, config.top_groups).min(after(&best_first(&open), config.top_k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[f32], (groups, top_groups, top_k): (usize, usize, usize), expected: f32) {
        let config = RouterConfig { experts: scores.len(), top_k, groups, top_groups, normalise: true, scale: 1.0 };
        assert!((gap(scores, &config) - expected).abs() < 1e-6 || gap(scores, &config) == expected, "{scores:?}");
    }

    #[test]
    fn gaps_are_those_of_experts_or_of_groups() {
        check(&[0.1, 0.9, 0.5, 0.8], (1, 1, 2), 0.3);
        // Two groups of three are open. Of 1.4, 1.2 and 1.0 the last two are closer than 0.9 and 0.6, the best experts of the
        // first two.
        check(&[0.1, 0.9, 0.5, 0.9, 0.6, 0.6], (3, 2, 1), 0.2);
        check(&[0.1, 0.9, 0.9, 0.4, 0.8, 0.0], (3, 2, 1), 0.0);
        check(&[0.1, 0.9], (1, 1, 2), f32::INFINITY);
    }
}
