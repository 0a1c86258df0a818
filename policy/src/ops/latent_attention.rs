//! Multi-head latent attention in the latent space: forward and backward, in the order in which decoding computes it.
//!
//! The keys are never expanded: `q . (W_k c) = (W_k^T q) . c`, so a query is taken into the latent space once, its scores
//! and its weighted sum run over the latents themselves, and the sum is expanded by `W_v` at the end (DeepSeek-V2,
//! section 2.1.3). Decoding must do so, since its cache holds latents; training does too, so that the two agree to the bit.
//! The price is `kv_lora_rank` multiplications for each pair of tokens and head, in place of `qk_nope_head_dim` and
//! `v_head_dim` ones: none in a small model, where these are equal, three times as much at DeepSeek-V3's sizes, where that
//! is a small part of a token's work until a sequence has thousands of them.

use std::sync::Arc;

use rayon::prelude::*;

use super::Real;
use super::attend::{Attention, Place, Scratch, TokenBlocks};
use super::heads::{HeadGradients, Heads, Outputs, block_rows};
use super::layouts::{Layouts, Places};
use super::matmul::{View, matmul};
use super::packed::{PackedWeight, Rows, Store};
use super::rope::RopeTable;
use super::sum::add_scaled;

/// Rows that one task computes.
const ROW_BLOCK: usize = 64;

/// Sizes of multi-head latent attention; widths are per head.
#[derive(Debug, Clone)]
pub struct LatentConfig {
    /// Heads.
    pub heads: usize,
    /// Width of the part of queries and keys without position.
    pub nope: usize,
    /// Width of the rotary part.
    pub rope: usize,
    /// Width of the values.
    pub value: usize,
    /// What the scores are multiplied with before the softmax.
    pub scale: f64,
    /// The rotary angles.
    pub table: Arc<RopeTable>,
}

/// The weight `[heads * (nope + value), latent]` between latents and the heads, laid out for both directions.
#[derive(Debug, Clone)]
pub struct HeadWeights<T> {
    /// For each head, from the part of its query without position into the latent space: `W_k^T`.
    absorb: Vec<PackedWeight<T>>,
    /// For each head, from a sum of latents to its value: `W_v`.
    expand: Vec<PackedWeight<T>>,
    latent: usize,
}

impl<T: Real> HeadWeights<T> {
    /// Lays out `expand`.
    pub fn new(expand: &[T], config: &LatentConfig) -> Self {
        let LatentConfig { heads, nope, value, .. } = *config;
        let latent = expand.len() / (heads * (nope + value));
        let each = || expand.chunks_exact((nope + value) * latent).map(|rows| rows.split_at(nope * latent));
        HeadWeights {
            absorb: each().map(|(key, _)| PackedWeight::from_columns(key, latent)).collect(),
            expand: each().map(|(_, value)| PackedWeight::from_rows(value, latent)).collect(),
            latent,
        }
    }

    /// One head's queries in the latent space, scaled, with the turned rotary part behind: rows `[latent + rope]` of `out`.
    ///
    /// `query` begins at the head's part of the first of `count` rows `[heads * (nope + rope)]`, of which `position` knows
    /// where they stand in their sequences.
    pub(crate) fn absorb(
        &self,
        head: usize,
        (out, out_stride): (&mut [T], usize),
        query: &[T],
        config: &LatentConfig,
        (count, position): (usize, impl Fn(usize) -> usize),
    ) {
        let LatentConfig { heads, nope, rope, scale, ref table, .. } = *config;
        let (stride, latent) = (heads * (nope + rope), self.latent);
        let scale = T::from_f64(scale);
        let mut scaled = Vec::with_capacity(count * nope);
        for row in 0..count {
            scaled.extend(query[row * stride..][..nope].iter().map(|q| *q * scale));
        }
        let rows = Rows { out: &mut *out, out_stride, x: &scaled, x_stride: nope, transposed: false, count };
        self.absorb[head].multiply_rows(rows, Store::Set);
        for row in 0..count {
            let part = &mut out[row * out_stride + latent..][..rope];
            part.iter_mut().zip(&query[row * stride + nope..]).for_each(|(out, q)| *out = *q * scale);
            table.turn(part, position(row), 1.0);
        }
    }

    /// The heads' values `[rows, heads * value]` of sums of latents `[rows, heads, latent]`.
    pub(crate) fn expand(&self, out: &mut [T], summed: &[T], value: usize) {
        let (heads, latent) = (self.expand.len(), self.latent);
        let count = summed.len() / (heads * latent);
        for (head, weight) in self.expand.iter().enumerate() {
            let (out, x) = (&mut out[head * value..], &summed[head * latent..]);
            let rows = Rows { out, out_stride: heads * value, x, x_stride: heads * latent, transposed: false, count };
            weight.multiply_rows(rows, Store::Set);
        }
    }
}

/// Attention over a packed batch: sizes and layout.
///
/// Queries are `[tokens, heads * (nope + rope)]` and rotary keys `[tokens, rope]` before the rotation, latents
/// `[tokens, latent]`; the result is `[tokens, heads * value]`.
#[derive(Clone, Copy)]
pub struct LatentAttention<'a> {
    /// Sizes.
    pub config: &'a LatentConfig,
    /// How the rows hang together.
    pub layouts: &'a Layouts,
}

/// What attention computes, and what its backward pass needs besides its arguments.
pub struct Absorbed<T> {
    /// The heads' results side by side.
    pub out: Vec<T>,
    weights: HeadWeights<T>,
    /// The weighted sums of latents, `[tokens, heads, latent]`.
    summed: Vec<T>,
    /// The log-sum-exp of each row's scores, `[tokens, heads]`.
    totals: Vec<T>,
}

impl LatentAttention<'_> {
    /// Attends; `expand` is the weight `[heads * (nope + value), latent]`.
    pub fn forward<T: Real>(&self, q: &[T], latents: &[T], k_rope: &[T], expand: &[T]) -> Absorbed<T> {
        let LatentConfig { heads, nope, rope, value, ref table, .. } = *self.config;
        let weights = HeadWeights::new(expand, self.config);
        let (latent, rows) = (weights.latent, self.layouts.rows());
        let (stride, width) = (heads * (nope + rope), latent + rope);
        let runs: Vec<TokenBlocks<T>> = self
            .layouts
            .segments()
            .par_iter()
            .map(|segment| {
                let mut run = TokenBlocks::new((width, latent), segment.position, segment.rows.len());
                let mut both = vec![T::zero(); width];
                for row in segment.rows.clone() {
                    both[..latent].copy_from_slice(&latents[row * latent..(row + 1) * latent]);
                    both[latent..].copy_from_slice(&k_rope[row * rope..(row + 1) * rope]);
                    table.turn(&mut both[latent..], self.layouts.position(row), 1.0);
                    run.push(&both, &latents[row * latent..(row + 1) * latent]);
                }
                run
            })
            .collect();
        let mut out = vec![T::zero(); rows * heads * value];
        let mut summed = vec![T::zero(); rows * heads * latent];
        let mut totals = vec![T::zero(); rows * heads];
        let place = Place { key: 0, key_width: width, value: 0, value_width: latent };
        out.par_chunks_mut(ROW_BLOCK * heads * value)
            .zip(summed.par_chunks_mut(ROW_BLOCK * heads * latent))
            .zip(totals.par_chunks_mut(ROW_BLOCK * heads))
            .enumerate()
            .for_each(|(block, ((out, summed), totals))| {
                let (first, count) = (block * ROW_BLOCK, totals.len() / heads);
                let mut queries = vec![T::zero(); count * heads * width];
                for head in 0..heads {
                    let query = &q[first * stride + head * (nope + rope)..];
                    let positions = (count, |row| self.layouts.position(first + row));
                    weights.absorb(head, (&mut queries[head * width..], heads * width), query, self.config, positions);
                }
                let mut scratch = Scratch::default();
                let each = queries.chunks_exact(heads * width).zip(summed.chunks_exact_mut(heads * latent));
                for (i, ((query, summed), totals)) in each.zip(totals.chunks_exact_mut(heads)).enumerate() {
                    let chain = self.layouts.chain(first + i, &runs);
                    Attention { query, place, chain: &chain, out: summed, totals: Some(totals) }.run(&mut scratch);
                }
                weights.expand(out, summed, value);
            });
        Absorbed { out, weights, summed, totals }
    }

    /// The gradients of query, latents and rotary key, in new rows; `d_expand +=` the weight's.
    pub fn backward<T: Real>(
        &self,
        d_expand: &mut [T],
        [q, latents, k_rope, expand]: [&[T]; 4],
        attended: &Absorbed<T>,
        d_out: &[T],
    ) -> [Vec<T>; 3] {
        let LatentConfig { heads, nope, rope, value, scale, ref table } = *self.config;
        let Absorbed { weights, summed, totals, .. } = attended;
        let latent = weights.latent;
        let (stride, width) = (heads * (nope + rope), latent + rope);
        // Back through W_k, and through W_v.
        let weights_back: Vec<(PackedWeight<T>, PackedWeight<T>)> = expand
            .chunks_exact((nope + value) * latent)
            .map(|rows| rows.split_at(nope * latent))
            .map(|(key, value)| (PackedWeight::from_rows(key, latent), PackedWeight::from_columns(value, latent)))
            .collect();

        // Through W_v: the gradients of the sums of latents.
        let mut d_summed = vec![T::zero(); summed.len()];
        d_summed.par_chunks_mut(ROW_BLOCK * heads * latent).zip(d_out.par_chunks(ROW_BLOCK * heads * value)).for_each(
            |(d_summed, d_out)| {
                let count = d_out.len() / (heads * value);
                for (head, (_, weight)) in weights_back.iter().enumerate() {
                    let (out, x) = (&mut d_summed[head * latent..], &d_out[head * value..]);
                    let (out_stride, x_stride) = (heads * latent, heads * value);
                    weight.multiply_rows(Rows { out, out_stride, x, x_stride, transposed: false, count }, Store::Set);
                }
            },
        );

        // Through attention: all heads of a tree read the same keys.
        let runs = self.layouts.runs(block_rows(heads));
        let gradients: Vec<HeadGradients<T>> = runs
            .par_iter()
            .map(|run| {
                let rows = run.batch_rows(self.layouts);
                let mut query = vec![T::zero(); rows.len() * heads * width];
                for head in 0..heads {
                    let positions = (rows.len(), |row| self.layouts.position(rows.start + row));
                    let from = &q[rows.start * stride + head * (nope + rope)..];
                    weights.absorb(head, (&mut query[head * width..], heads * width), from, self.config, positions);
                }
                let data = Heads {
                    query,
                    heads,
                    key: self.keys(run.reached_rows(self.layouts), latents, k_rope),
                    values: &latents[(rows.start - run.rows.start) * latent..],
                    value_stride: latent,
                    width,
                    value: latent,
                };
                let outputs = Outputs { out: summed, d_out: &d_summed, totals, all_heads: heads, head: 0 };
                data.gradients(self.layouts, run, outputs)
            })
            .collect();
        drop(d_summed);

        // Through W_k, the rotation and the scale; the queries' gradients in the latent space are kept for the weight's.
        let [mut d_q, mut d_latents, mut d_k_rope] = [q, latents, k_rope].map(|x| vec![T::zero(); x.len()]);
        let mut d_absorbed = vec![T::zero(); summed.len()];
        let scale = T::from_f64(scale);
        let places = Places::new(&runs, self.layouts);
        d_q.par_chunks_mut(ROW_BLOCK * stride)
            .zip(d_latents.par_chunks_mut(ROW_BLOCK * latent))
            .zip(d_k_rope.par_chunks_mut(ROW_BLOCK * rope))
            .zip(d_absorbed.par_chunks_mut(ROW_BLOCK * heads * latent))
            .enumerate()
            .for_each(|(block, (((d_q, d_latents), d_k_rope), d_absorbed))| {
                let count = d_latents.len() / latent;
                for i in 0..count {
                    let row = block * ROW_BLOCK + i;
                    let (place, position) = (places.of(row), self.layouts.position(row));
                    let d_latent = &mut d_latents[i * latent..(i + 1) * latent];
                    let d_k_rope = &mut d_k_rope[i * rope..(i + 1) * rope];
                    for (run, at) in place.reached_by() {
                        let HeadGradients { key, value, .. } = &gradients[run];
                        let key = &key[at * width..][..width];
                        add_scaled(d_latent, &key[..latent], T::one());
                        add_scaled(d_latent, &value[at * latent..][..latent], T::one());
                        add_scaled(d_k_rope, &key[latent..], T::one());
                    }
                    // A rotation is linear, so the sum is turned back once.
                    table.turn(d_k_rope, position, -1.0);
                    let queries = &gradients[place.own].query[place.in_own * heads * width..][..heads * width];
                    for (head, query) in queries.chunks_exact(width).enumerate() {
                        let absorbed = &mut d_absorbed[(i * heads + head) * latent..][..latent];
                        absorbed.iter_mut().zip(query).for_each(|(d, g)| *d = *g * scale);
                        let turned = &mut d_q[i * stride + head * (nope + rope) + nope..][..rope];
                        turned.iter_mut().zip(&query[latent..]).for_each(|(d, g)| *d = *g * scale);
                        table.turn(turned, position, -1.0);
                    }
                }
                for (head, (weight, _)) in weights_back.iter().enumerate() {
                    let (out, x) = (&mut d_q[head * (nope + rope)..], &d_absorbed[head * latent..]);
                    let x_stride = heads * latent;
                    let rows = Rows { out, out_stride: stride, x, x_stride, transposed: false, count };
                    weight.multiply_rows(rows, Store::Set);
                }
            });

        if q.is_empty() {
            return [d_q, d_latents, d_k_rope];
        }
        let rows = self.layouts.rows();
        d_expand.par_chunks_exact_mut((nope + value) * latent).enumerate().for_each(|(head, d_weight)| {
            let (d_key, d_value) = d_weight.split_at_mut(nope * latent);
            let query = View::rows(&q[head * (nope + rope)..], stride).t();
            let d_absorbed = View::rows(&d_absorbed[head * latent..], heads * latent);
            matmul(d_key, latent, (nope, latent, rows), query, d_absorbed, T::one(), true);
            let d_out = View::rows(&d_out[head * value..], heads * value).t();
            let summed = View::rows(&summed[head * latent..], heads * latent);
            matmul(d_value, latent, (value, latent, rows), d_out, summed, T::one(), true);
        });
        [d_q, d_latents, d_k_rope]
    }

    /// The keys `[rows, latent + rope]` of some rows, turned.
    fn keys<T: Real>(&self, rows: impl Iterator<Item = usize>, latents: &[T], k_rope: &[T]) -> Vec<T> {
        let rope = self.config.rope;
        let latent = latents.len() / self.layouts.rows();
        let mut keys = Vec::new();
        for row in rows {
            keys.extend_from_slice(&latents[row * latent..(row + 1) * latent]);
            let start = keys.len();
            keys.extend_from_slice(&k_rope[row * rope..(row + 1) * rope]);
            self.config.table.turn(&mut keys[start..], self.layouts.position(row), 1.0);
        }
        keys
    }
}
