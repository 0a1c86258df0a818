//! SwiGLU feed-forward layers, many at once: `y = sum over the chosen experts e of gate_e * down_e(silu(gate_e x) * up_e x)`.
//!
//! [`Experts`] are the routed experts: tokens are sorted by expert, so that each expert is three plain matrix products
//! (grouped matmul), and the results are added up per token in a fixed order. [`add_swiglu`] is one layer for every token:
//! a dense layer, or a shared expert. The weights of E experts of inner width I over rows of width D are one tensor
//! `[E, 3 I, D]`: gate, up, and down transposed. Shazeer, "GLU Variants Improve Transformer", 2020; DeepSeek-V3, 2.1.2.

use std::ops::Range;

use rayon::prelude::*;

use super::matmul::{View, add_weight_gradient, matmul};
use super::packed::{PackedWeight, Store};
use super::router::Routing;
use super::sum::{add_scaled, dot};
use super::{Real, sigmoid, vectorised};

/// Rows of one expert that one task computes.
const ROW_BLOCK: usize = 128;
/// Tokens whose contributions one task adds up.
const TOKEN_BLOCK: usize = 256;

/// Token-expert pairs in expert order.
#[derive(Debug, Clone)]
struct Grouping {
    /// For each pair in expert order, its token.
    token: Vec<u32>,
    /// For each pair in token order (`top_k` for each token), its place in expert order.
    place: Vec<u32>,
    /// For each expert, its pairs.
    ranges: Vec<Range<usize>>,
    top_k: usize,
}

impl Grouping {
    fn of(routing: &Routing) -> Self {
        let mut next = 0;
        let ranges: Vec<Range<usize>> = routing
            .load
            .iter()
            .map(|load| {
                let start = next;
                next += *load as usize;
                start..next
            })
            .collect();
        let mut cursor: Vec<usize> = ranges.iter().map(|range| range.start).collect();
        let mut token = vec![0; routing.chosen.len()];
        let place = routing
            .chosen
            .iter()
            .enumerate()
            .map(|(pair, expert)| {
                let at = cursor[*expert as usize];
                cursor[*expert as usize] += 1;
                token[at] = (pair / routing.top_k) as u32;
                at as u32
            })
            .collect();
        Grouping { token, place, ranges, top_k: routing.top_k }
    }

    /// Blocks of rows, none of which spans two experts.
    fn blocks(&self) -> Vec<(usize, Range<usize>)> {
        let cut = |(expert, range): (usize, &Range<usize>)| {
            let end = range.end;
            range
                .clone()
                .step_by(ROW_BLOCK)
                .map(move |start| (expert, start..(start + ROW_BLOCK).min(end)))
                .collect::<Vec<_>>()
        };
        self.ranges.iter().enumerate().flat_map(cut).collect()
    }
}

/// Cuts `data` into the mutable rows of each block.
fn split<'a, T>(mut data: &'a mut [T], blocks: &[(usize, Range<usize>)], width: usize) -> Vec<&'a mut [T]> {
    let mut parts = Vec::with_capacity(blocks.len());
    for (_, range) in blocks {
        let (part, rest) = data.split_at_mut(range.len() * width);
        parts.push(part);
        data = rest;
    }
    parts
}

/// The weights of one SwiGLU layer, `[3 I, D]`.
#[derive(Clone, Copy)]
struct Swiglu<'a, T> {
    /// gate and up, `[2 I, D]`.
    up: &'a [T],
    /// down transposed, `[I, D]`.
    down: &'a [T],
    inner: usize,
    width: usize,
}

/// The same, laid out as decoding multiplies with them.
struct PackedSwiglu<T> {
    up: PackedWeight<T>,
    down: PackedWeight<T>,
    inner: usize,
}

impl<T: Real> PackedSwiglu<T> {
    /// `out = layer(x)`, or `out +=` it, for a block of rows; `gate_up` `[rows, 2 I]` is kept for the backward pass.
    fn forward(&self, out: &mut [T], gate_up: &mut [T], x: &[T], store: Store<T>) {
        self.up.multiply(gate_up, x, Store::Set);
        let mut hidden = vec![T::zero(); gate_up.len() / 2];
        vectorised(
            #[inline(always)]
            || activate(&mut hidden, gate_up, self.inner),
        );
        self.down.multiply(out, &hidden, store);
    }
}

impl<'a, T: Real> Swiglu<'a, T> {
    fn new(weight: &'a [T], width: usize) -> Self {
        let inner = weight.len() / width / 3;
        let (up, down) = weight.split_at(2 * inner * width);
        Swiglu { up, down, inner, width }
    }

    fn packed(self) -> PackedSwiglu<T> {
        let Swiglu { up, down, inner, width } = self;
        PackedSwiglu { up: PackedWeight::from_rows(up, width), down: PackedWeight::from_columns(down, width), inner }
    }

    /// `d_x +=`, or `=`, for a block of rows; `hidden` `[rows, I]` and `d_gate_up` `[rows, 2 I]` are for the weights' gradients.
    fn backward(self, d_x: &mut [T], (hidden, d_gate_up): (&mut [T], &mut [T]), gate_up: &[T], d_y: &[T], add: bool) {
        let Swiglu { up, down, inner, width } = self;
        let rows = d_y.len() / width;
        let mut d_hidden = vec![T::zero(); rows * inner];
        let (d_y, down) = (View::rows(d_y, width), View::rows(down, width).t());
        matmul(&mut d_hidden, inner, (rows, inner, width), d_y, down, T::one(), false);
        vectorised(
            #[inline(always)]
            || activation_gradient(hidden, d_gate_up, gate_up, &d_hidden, inner),
        );
        let (d_gate_up, up) = (View::rows(d_gate_up, 2 * inner), View::rows(up, width));
        matmul(d_x, width, (rows, width, 2 * inner), d_gate_up, up, T::one(), add);
    }

    /// `d_weight +=` the gradients, once the rows are through.
    fn add_weight_gradients(self, d_weight: &mut [T], x: &[T], hidden: &[T], d_gate_up: &[T], d_y: &[T]) {
        let Swiglu { inner, width, .. } = self;
        let (d_up, d_down) = d_weight.split_at_mut(2 * inner * width);
        add_weight_gradient(d_up, d_gate_up, x, 2 * inner, width);
        add_weight_gradient(d_down, hidden, d_y, inner, width);
    }
}

/// One SwiGLU layer for every token: `y += layer(x)`, x and y `[tokens, D]`, weight `[3 I, D]`.
///
/// Returns gate and up before the activation, `[tokens, 2 I]`, for the backward pass.
pub fn add_swiglu<T: Real>(y: &mut [T], x: &[T], weight: &[T], width: usize) -> Vec<T> {
    let layer = Swiglu::new(weight, width).packed();
    let mut gate_up = vec![T::zero(); x.len() / width * 2 * layer.inner];
    y.par_chunks_mut(ROW_BLOCK * width)
        .zip(gate_up.par_chunks_mut(ROW_BLOCK * 2 * layer.inner))
        .zip(x.par_chunks(ROW_BLOCK * width))
        .for_each(|((y, gate_up), x)| layer.forward(y, gate_up, x, Store::Add));
    gate_up
}

/// The backward pass of [`add_swiglu`]: `d_x +=`, `d_weight +=`.
pub fn add_swiglu_backward<T: Real>(
    (d_x, d_weight): (&mut [T], &mut [T]),
    (x, weight): (&[T], &[T]),
    gate_up: &[T],
    d_y: &[T],
    width: usize,
) {
    let layer = Swiglu::new(weight, width);
    let inner = layer.inner;
    let mut hidden = vec![T::zero(); gate_up.len() / 2];
    let mut d_gate_up = vec![T::zero(); gate_up.len()];
    d_x.par_chunks_mut(ROW_BLOCK * width)
        .zip(hidden.par_chunks_mut(ROW_BLOCK * inner))
        .zip(d_gate_up.par_chunks_mut(ROW_BLOCK * 2 * inner))
        .zip(gate_up.par_chunks(ROW_BLOCK * 2 * inner))
        .zip(d_y.par_chunks(ROW_BLOCK * width))
        .for_each(|((((d_x, hidden), d_gate_up), gate_up), d_y)| {
            layer.backward(d_x, (hidden, d_gate_up), gate_up, d_y, true);
        });
    layer.add_weight_gradients(d_weight, x, &hidden, &d_gate_up, d_y);
}

/// The routed experts of a batch.
pub struct Experts {
    grouping: Grouping,
}

/// What [`Experts::backward`] needs, in expert order.
pub struct ExpertResults<T> {
    /// gate and up before the activation, `[pairs, 2 I]`.
    gate_up: Vec<T>,
    /// Each pair's result before its gate, `[pairs, D]`.
    results: Vec<T>,
}

impl Experts {
    /// Sorts a batch's tokens by expert.
    pub fn new(routing: &Routing) -> Self {
        Experts { grouping: Grouping::of(routing) }
    }

    /// The layers of all experts, one after the other.
    fn layers<'a, T: Real>(&self, weight: &'a [T], width: usize) -> Vec<Swiglu<'a, T>> {
        weight.chunks_exact(weight.len() / self.grouping.ranges.len()).map(|w| Swiglu::new(w, width)).collect()
    }

    /// `y += the chosen experts' layers`, weighted by `gates` `[tokens, top_k]`; x and y `[tokens, D]`, weight `[E, 3 I, D]`.
    pub fn add<T: Real>(&self, y: &mut [T], x: &[T], gates: &[T], weight: &[T], width: usize) -> ExpertResults<T> {
        let (grouping, layers) = (&self.grouping, self.layers(weight, width));
        let (pairs, inner) = (grouping.token.len(), layers[0].inner);
        let layers: Vec<PackedSwiglu<T>> = layers.into_iter().map(Swiglu::packed).collect();
        let mut gate_up = vec![T::zero(); pairs * 2 * inner];
        let mut results = vec![T::zero(); pairs * width];
        let blocks = grouping.blocks();
        let parts = split(&mut gate_up, &blocks, 2 * inner).into_iter().zip(split(&mut results, &blocks, width));
        blocks.par_iter().zip(parts.collect::<Vec<_>>()).for_each(|((expert, range), (gate_up, result))| {
            layers[*expert].forward(result, gate_up, &gather(x, &grouping.token[range.clone()], width), Store::Set);
        });
        y.par_chunks_mut(TOKEN_BLOCK * width).enumerate().for_each(|(block, y)| {
            vectorised(
                #[inline(always)]
                || {
                    let mut sum = vec![T::zero(); width];
                    for (i, y) in y.chunks_exact_mut(width).enumerate() {
                        let first = (block * TOKEN_BLOCK + i) * grouping.top_k;
                        let pairs = first..first + grouping.top_k;
                        sum.fill(T::zero());
                        for (place, gate) in grouping.place[pairs.clone()].iter().zip(&gates[pairs]) {
                            let row = *place as usize * width;
                            add_scaled(&mut sum, &results[row..row + width], *gate);
                        }
                        // As one number: the order in which decoding adds.
                        add_scaled(y, &sum, T::one());
                    }
                },
            );
        });
        ExpertResults { gate_up, results }
    }

    /// The backward pass of [`Experts::add`]: `d_x +=`, `d_weight +=`; returns the gates' gradients.
    pub fn backward<T: Real>(
        &self,
        (d_x, d_weight): (&mut [T], &mut [T]),
        (x, gates, weight): (&[T], &[T], &[T]),
        kept: &ExpertResults<T>,
        d_y: &[T],
        width: usize,
    ) -> Vec<T> {
        let (grouping, layers) = (&self.grouping, self.layers(weight, width));
        let ExpertResults { gate_up, results } = kept;
        let (pairs, inner) = (grouping.token.len(), layers[0].inner);

        // Each pair's gate in expert order, and the gates' gradients.
        let mut d_gates = vec![T::zero(); gates.len()];
        let mut gate_of_place = vec![T::one(); pairs];
        for (pair, place) in grouping.place.iter().enumerate() {
            gate_of_place[*place as usize] = gates[pair];
        }
        d_gates.par_chunks_mut(TOKEN_BLOCK).enumerate().for_each(|(block, d_gates)| {
            vectorised(
                #[inline(always)]
                || {
                    for (i, d) in d_gates.iter_mut().enumerate() {
                        let pair = block * TOKEN_BLOCK + i;
                        let (row, token) = (grouping.place[pair] as usize * width, pair / grouping.top_k * width);
                        *d = dot(&results[row..row + width], &d_y[token..token + width]);
                    }
                },
            );
        });

        // Per block of rows: the gradient through down, the activation, and gate and up.
        let blocks = grouping.blocks();
        let mut hidden = vec![T::zero(); pairs * inner];
        let mut d_gate_up = vec![T::zero(); pairs * 2 * inner];
        let mut d_results = vec![T::zero(); pairs * width];
        let mut d_rows = vec![T::zero(); pairs * width];
        let parts: Vec<_> = split(&mut hidden, &blocks, inner)
            .into_iter()
            .zip(split(&mut d_gate_up, &blocks, 2 * inner))
            .zip(split(&mut d_results, &blocks, width))
            .zip(split(&mut d_rows, &blocks, width))
            .collect();
        blocks.par_iter().zip(parts).for_each(|((expert, range), (((hidden, d_gate_up), d_result), d_row))| {
            vectorised(
                #[inline(always)]
                || {
                    for (place, d) in range.clone().zip(d_result.chunks_exact_mut(width)) {
                        let token = grouping.token[place] as usize * width;
                        for (d, g) in d.iter_mut().zip(&d_y[token..token + width]) {
                            *d = *g * gate_of_place[place];
                        }
                    }
                },
            );
            let gate_up = &gate_up[range.start * 2 * inner..range.end * 2 * inner];
            layers[*expert].backward(d_row, (hidden, d_gate_up), gate_up, d_result, false);
        });

        // Per expert: the weights' gradients.
        let each = d_weight.par_chunks_mut(3 * inner * width).zip(&grouping.ranges).zip(&layers);
        each.for_each(|((d_weight, range), layer)| {
            let x = gather(x, &grouping.token[range.clone()], width);
            layer.add_weight_gradients(
                d_weight,
                &x,
                &hidden[range.start * inner..range.end * inner],
                &d_gate_up[range.start * 2 * inner..range.end * 2 * inner],
                &d_results[range.start * width..range.end * width],
            );
        });

        d_x.par_chunks_mut(TOKEN_BLOCK * width).enumerate().for_each(|(block, d_x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (i, d_x) in d_x.chunks_exact_mut(width).enumerate() {
                        let first = (block * TOKEN_BLOCK + i) * grouping.top_k;
                        for place in &grouping.place[first..first + grouping.top_k] {
                            let row = *place as usize * width;
                            add_scaled(d_x, &d_rows[row..row + width], T::one());
                        }
                    }
                },
            );
        });
        d_gates
    }
}

/// `silu(gate) * up` for each row; `gate_up` holds `[gate, up]` side by side.
#[inline(always)]
pub(crate) fn activate<T: Real>(hidden: &mut [T], gate_up: &[T], inner: usize) {
    for (hidden, row) in hidden.chunks_exact_mut(inner).zip(gate_up.chunks_exact(2 * inner)) {
        let (gate, up) = row.split_at(inner);
        for ((h, g), u) in hidden.iter_mut().zip(gate).zip(up) {
            *h = *g * sigmoid(*g) * *u;
        }
    }
}

fn gather<T: Real>(x: &[T], tokens: &[u32], width: usize) -> Vec<T> {
    let mut rows = Vec::with_capacity(tokens.len() * width);
    for token in tokens {
        let start = *token as usize * width;
        rows.extend_from_slice(&x[start..start + width]);
    }
    rows
}

/// With `s = sigmoid(g)`: `h = g s u`, `dg = dh u s (1 + g (1 - s))`, `du = dh g s`.
#[inline(always)]
fn activation_gradient<T: Real>(hidden: &mut [T], d_gate_up: &mut [T], gate_up: &[T], d_hidden: &[T], inner: usize) {
    let rows = hidden.chunks_exact_mut(inner).zip(d_gate_up.chunks_exact_mut(2 * inner));
    let inputs = gate_up.chunks_exact(2 * inner).zip(d_hidden.chunks_exact(inner));
    for ((hidden, d_row), (row, d_hidden)) in rows.zip(inputs) {
        let (gate, up) = row.split_at(inner);
        let (d_gate, d_up) = d_row.split_at_mut(inner);
        for i in 0..inner {
            let (g, u, d) = (gate[i], up[i], d_hidden[i]);
            let s = sigmoid(g);
            hidden[i] = g * s * u;
            d_gate[i] = d * u * s * (T::one() + g * (T::one() - s));
            d_up[i] = d * g * s;
        }
    }
}
