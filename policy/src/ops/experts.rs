//! SwiGLU feed-forward layers, many at once: `y = sum over the chosen experts e of gate_e * down_e(silu(gate_e x) * up_e x)`.
//!
//! One operation serves the routed experts (with gates) and the dense layer and the shared expert (one expert, no gates).
//! Tokens are sorted by expert, so that each expert is three plain matrix products (grouped matmul); the results are added
//! up per token in a fixed order. The weights of E experts of inner width I over rows of width D are one tensor
//! `[E, 3 I, D]`: gate, up, and down transposed. Shazeer, "GLU Variants Improve Transformer", 2020; DeepSeek-V3, 2.1.2.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::matmul::{View, add_weight_gradient, matmul};
use super::router::Routing;
use super::sum::{add_scaled, dot};
use super::{Real, Stash, dispatch, read, sigmoid, slice, vectorised};

const NAME: &str = "experts";
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
    fn single(tokens: usize) -> Self {
        let identity: Vec<u32> = (0..tokens as u32).collect();
        Grouping { token: identity.clone(), place: identity, ranges: vec![0..tokens; 1], top_k: 1 }
    }

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

struct Experts {
    grouping: Grouping,
    stash: Stash,
}

/// What the backward pass needs, in expert order.
struct Kept<T> {
    /// gate and up before the activation, `[pairs, 2 I]`.
    gate_up: Vec<T>,
    /// Each pair's result before its gate, `[pairs, D]`; empty without gates.
    results: Vec<T>,
}

/// One SwiGLU layer for every token: `x` `[tokens, D]`, `weight` `[1, 3 I, D]`, result `[tokens, D]`.
///
/// # Errors
/// If the shapes do not fit or the number type is neither f32 nor f64.
pub fn swiglu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    check(x, weight, 1)?;
    let op = Experts { grouping: Grouping::single(x.dims2()?.0), stash: Stash::default() };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// The chosen experts' SwiGLU layers, weighted by `gates` `[tokens, top_k]`: `x` `[tokens, D]`, `weight` `[E, 3 I, D]`.
///
/// # Errors
/// If the shapes do not fit or the number type is neither f32 nor f64.
pub fn experts(x: &Tensor, gates: &Tensor, weight: &Tensor, routing: &Routing) -> Result<Tensor> {
    check(x, weight, routing.load.len())?;
    if gates.dims2()? != (x.dims2()?.0, routing.top_k) {
        candle_core::bail!("{NAME}: gates {:?} for tokens {:?}", gates.shape(), x.shape());
    }
    let op = Experts { grouping: Grouping::of(routing), stash: Stash::default() };
    x.contiguous()?.apply_op3(&gates.contiguous()?, &weight.contiguous()?, op)
}

fn check(x: &Tensor, weight: &Tensor, experts: usize) -> Result<()> {
    let ((_, width), (count, rows, columns)) = (x.dims2()?, weight.dims3()?);
    if count != experts || rows % 3 != 0 || columns != width {
        candle_core::bail!("{NAME}: {experts} experts over {:?} with weights {:?}", x.shape(), weight.shape());
    }
    Ok(())
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

impl Experts {
    fn forward<T: Real>(&self, x: &[T], gates: Option<&[T]>, weight: &[T], width: usize) -> Result<Vec<T>> {
        let grouping = &self.grouping;
        let (pairs, inner) = (grouping.token.len(), weight.len() / grouping.ranges.len() / width / 3);
        let mut gate_up = vec![T::zero(); pairs * 2 * inner];
        let mut results = vec![T::zero(); pairs * width];
        let blocks = grouping.blocks();
        let parts = split(&mut gate_up, &blocks, 2 * inner).into_iter().zip(split(&mut results, &blocks, width));
        blocks.par_iter().zip(parts.collect::<Vec<_>>()).for_each(|((expert, range), (gate_up, result))| {
            let weight = &weight[expert * 3 * inner * width..(expert + 1) * 3 * inner * width];
            let (up, down) = weight.split_at(2 * inner * width);
            let rows = range.len();
            let x = gather(x, &grouping.token[range.clone()], width);
            matmul(
                gate_up,
                2 * inner,
                (rows, 2 * inner, width),
                View::rows(&x, width),
                View::rows(up, width).t(),
                T::one(),
                false,
            );
            let mut hidden = vec![T::zero(); rows * inner];
            vectorised(
                #[inline(always)]
                || activate(&mut hidden, gate_up, inner),
            );
            matmul(
                result,
                width,
                (rows, width, inner),
                View::rows(&hidden, inner),
                View::rows(down, width),
                T::one(),
                false,
            );
        });
        let Some(gates) = gates else {
            self.stash.keep(NAME, Kept { gate_up, results: Vec::<T>::new() })?;
            return Ok(results);
        };
        let mut out = vec![T::zero(); x.len()];
        out.par_chunks_mut(TOKEN_BLOCK * width).enumerate().for_each(|(block, out)| {
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let first = (block * TOKEN_BLOCK + i) * grouping.top_k;
                let pairs = first..first + grouping.top_k;
                for (place, gate) in grouping.place[pairs.clone()].iter().zip(&gates[pairs]) {
                    let row = *place as usize * width;
                    add_scaled(out, &results[row..row + width], *gate);
                }
            }
        });
        self.stash.keep(NAME, Kept { gate_up, results })?;
        Ok(out)
    }

    /// The gradients of x, of the gates (empty without gates) and of the weights.
    fn backward<T: Real>(
        &self,
        x: &[T],
        gates: Option<&[T]>,
        weight: &[T],
        dy: &[T],
        width: usize,
    ) -> Result<[Vec<T>; 3]> {
        let grouping = &self.grouping;
        let Kept::<T> { gate_up, results } = self.stash.get(NAME)?;
        let (pairs, inner) = (grouping.token.len(), weight.len() / grouping.ranges.len() / width / 3);

        // Each pair's share of the gradient, in expert order, and the gates' gradients.
        let mut d_gates = vec![T::zero(); gates.map_or(0, <[T]>::len)];
        let mut gate_of_place = vec![T::one(); pairs];
        if let Some(gates) = gates {
            for (pair, place) in grouping.place.iter().enumerate() {
                gate_of_place[*place as usize] = gates[pair];
            }
            d_gates.par_chunks_mut(TOKEN_BLOCK).enumerate().for_each(|(block, d_gates)| {
                for (i, d) in d_gates.iter_mut().enumerate() {
                    let pair = block * TOKEN_BLOCK + i;
                    let (row, token) = (grouping.place[pair] as usize * width, pair / grouping.top_k * width);
                    *d = dot(&results[row..row + width], &dy[token..token + width]);
                }
            });
        }

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
            let weight = &weight[expert * 3 * inner * width..(expert + 1) * 3 * inner * width];
            let (up, down) = weight.split_at(2 * inner * width);
            let rows = range.len();
            let places = range.clone().zip(d_result.chunks_exact_mut(width));
            for (place, d) in places {
                let token = grouping.token[place] as usize * width;
                for (d, g) in d.iter_mut().zip(&dy[token..token + width]) {
                    *d = *g * gate_of_place[place];
                }
            }
            let mut d_hidden = vec![T::zero(); rows * inner];
            matmul(
                &mut d_hidden,
                inner,
                (rows, inner, width),
                View::rows(d_result, width),
                View::rows(down, width).t(),
                T::one(),
                false,
            );
            let gate_up = &gate_up[range.start * 2 * inner..range.end * 2 * inner];
            vectorised(
                #[inline(always)]
                || activation_gradient(hidden, d_gate_up, gate_up, &d_hidden, inner),
            );
            matmul(
                d_row,
                width,
                (rows, width, 2 * inner),
                View::rows(d_gate_up, 2 * inner),
                View::rows(up, width),
                T::one(),
                false,
            );
        });

        // Per expert: the weights' gradients.
        let mut d_weight = vec![T::zero(); weight.len()];
        d_weight.par_chunks_mut(3 * inner * width).zip(&grouping.ranges).for_each(|(d_weight, range)| {
            let (d_up, d_down) = d_weight.split_at_mut(2 * inner * width);
            let x = gather(x, &grouping.token[range.clone()], width);
            add_weight_gradient(d_up, &d_gate_up[range.start * 2 * inner..range.end * 2 * inner], &x, 2 * inner, width);
            let hidden = &hidden[range.start * inner..range.end * inner];
            add_weight_gradient(d_down, hidden, &d_results[range.start * width..range.end * width], inner, width);
        });

        let dx = if gates.is_none() {
            d_rows
        } else {
            let mut dx = vec![T::zero(); x.len()];
            dx.par_chunks_mut(TOKEN_BLOCK * width).enumerate().for_each(|(block, dx)| {
                for (i, dx) in dx.chunks_exact_mut(width).enumerate() {
                    let first = (block * TOKEN_BLOCK + i) * grouping.top_k;
                    for place in &grouping.place[first..first + grouping.top_k] {
                        let row = *place as usize * width;
                        add_scaled(dx, &d_rows[row..row + width], T::one());
                    }
                }
            });
            dx
        };
        Ok([dx, d_gates, d_weight])
    }
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

impl CustomOp2 for Experts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let width = lx.shape().dims2()?.1;
        dispatch!(NAME, x, T => {
            let y = self.forward::<T>(slice(NAME, x, lx)?, None, slice(NAME, w, lw)?, width)?;
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(y), lx.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x_read, w_read, dy) = (read(x), read(w), read(&grad));
        dispatch!(NAME, x, T => {
            let [dx, _, dw] = self.backward::<T>(x_read.slice(NAME)?, None, w_read.slice(NAME)?, dy.slice(NAME)?, x.dims2()?.1)?;
            Ok((Some(Tensor::from_vec(dx, x.shape(), x.device())?), Some(Tensor::from_vec(dw, w.shape(), x.device())?)))
        })
    }
}

impl CustomOp3 for Experts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gates: &CpuStorage,
        lg: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let width = lx.shape().dims2()?.1;
        dispatch!(NAME, x, T => {
            let y = self.forward::<T>(slice(NAME, x, lx)?, Some(slice(NAME, gates, lg)?), slice(NAME, w, lw)?, width)?;
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(y), lx.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        gates: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x_read, g_read, w_read, dy) = (read(x), read(gates), read(w), read(&grad));
        dispatch!(NAME, x, T => {
            let arguments = (x_read.slice(NAME)?, Some(g_read.slice(NAME)?), w_read.slice(NAME)?, dy.slice(NAME)?);
            let [dx, dg, dw] = self.backward::<T>(arguments.0, arguments.1, arguments.2, arguments.3, x.dims2()?.1)?;
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(dg, gates.shape(), x.device())?),
                Some(Tensor::from_vec(dw, w.shape(), x.device())?),
            ))
        })
    }
}
