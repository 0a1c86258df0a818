//! Gradients through heads of queries that read one key.
//!
//! The probabilities of a block of queries exist only while the block is computed; the forward pass keeps the log-sum-exp of
//! each row, and the backward pass makes them again (Dao et al., "FlashAttention", 2022). In the backward pass the queries of
//! all heads of a token are rows of one product, so the gradients of what the heads share are summed up in it.

use super::layouts::{Layouts, Reach, Run};
use super::packed::{PackedWeight, Rows, Store};
use super::sum::dot;
use super::{Real, vectorised};

/// Tokens whose queries, of `heads` heads each, are held at once in the backward pass. (More would make larger products, and
/// more of them for nothing: of tokens that come after the query.)
pub(super) fn block_rows(heads: usize) -> usize {
    (128 / heads).clamp(16, 64)
}

/// Queries of heads that read one key, over a tree.
pub(super) struct Heads<'a, T> {
    /// `[rows, heads, width]` of some rows, scaled and turned.
    pub(super) query: Vec<T>,
    pub(super) heads: usize,
    /// `[rows, width]` of the tree's rows, or of those that a run reaches, turned.
    pub(super) key: Vec<T>,
    /// Begins at the tree's first row and the first number of the value.
    pub(super) values: &'a [T],
    pub(super) value_stride: usize,
    /// Width of a query or key.
    pub(super) width: usize,
    /// Width of a value.
    pub(super) value: usize,
}

/// Gradients with respect to the scaled and turned rows.
pub(super) struct HeadGradients<T> {
    /// As the queries.
    pub(super) query: Vec<T>,
    /// `[rows, width]` of the rows that the run reaches.
    pub(super) key: Vec<T>,
    /// `[rows, value]` of the same.
    pub(super) value: Vec<T>,
}

/// The results of all heads and their gradients, `[tokens, all heads, value]`, and which of them are meant.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a, T> {
    pub(super) out: &'a [T],
    pub(super) d_out: &'a [T],
    /// The log-sum-exp of each row, `[tokens, all heads]`.
    pub(super) totals: &'a [T],
    pub(super) all_heads: usize,
    /// The first that is meant.
    pub(super) head: usize,
}

/// What a segment's tokens are multiplied with.
struct Context<T> {
    /// Where the tokens stand among those that the run reaches.
    at: usize,
    /// Queries to scores.
    keys: PackedWeight<T>,
    /// Gradients of results to those of probabilities.
    values: PackedWeight<T>,
    /// Gradients of scores to those of queries.
    key_columns: PackedWeight<T>,
}

impl<T: Real> Heads<'_, T> {
    /// What the rows of a segment are multiplied with, which begins at row `first` of the tree.
    fn context(&self, reach: Reach, first: usize) -> Context<T> {
        let (width, value, count) = (self.width, self.value, reach.rows);
        let keys = &self.key[reach.at * width..(reach.at + count) * width];
        let values = &self.values[first * self.value_stride..];
        Context {
            at: reach.at,
            keys: PackedWeight::of_rows(keys, (count, width), width),
            values: PackedWeight::of_rows(values, (count, value), self.value_stride),
            key_columns: PackedWeight::of_columns(keys, (width, count)),
        }
    }

    /// The gradients through the queries, which are those of `run`. With P the probabilities and D_i = dO_i . O_i:
    /// `dV = P^T dO`, `dS = P (dO V^T - D)`, `dQ = dS K`, `dK = dS^T Q`.
    pub(super) fn gradients(&self, layouts: &Layouts, run: &Run, outputs: Outputs<'_, T>) -> HeadGradients<T> {
        let (heads, width, value) = (self.heads, self.width, self.value);
        let tree = &layouts.trees()[run.tree];
        let first = layouts.tree_rows(tree).start;
        let mut gradients = HeadGradients {
            query: vec![T::zero(); self.query.len()],
            key: vec![T::zero(); self.key.len()],
            value: vec![T::zero(); self.key.len() / width * value],
        };
        let segments = layouts.segments();
        let contexts: Vec<(usize, Context<T>)> = run
            .reached
            .iter()
            .map(|reach| (reach.segment, self.context(*reach, segments[reach.segment].rows.start - first)))
            .collect();
        let of = |segment: usize| {
            let found = contexts.iter().find(|(index, _)| *index == segment);
            &found.expect("a run knows what its rows reach").1
        };
        let (mut p, mut d) = (Vec::new(), Vec::new());
        layouts.blocks(tree, block_rows(heads), |block, context| {
            if !run.rows.contains(&block.start) {
                return;
            }
            let rows = block.len() * heads;
            let columns: usize = context.iter().map(|(_, rows)| rows.len()).sum();
            p.resize(rows * columns, T::zero());
            d.resize(rows * columns, T::zero());
            let own = (block.start - run.rows.start) * heads * width..(block.end - run.rows.start) * heads * width;
            let queries = &self.query[own.clone()];
            let mut d_out = Vec::with_capacity(rows * value);
            for token in block.clone() {
                d_out.extend_from_slice(outputs.of(outputs.d_out, first + token, heads, value));
            }

            let mut column = 0;
            for (segment, range) in context {
                let packed = of(*segment);
                let to =
                    |out, x, x_stride| Rows { out, out_stride: columns, x, x_stride, transposed: false, count: rows };
                packed.keys.outputs(range.len()).multiply(to(&mut p[column..], queries, width), Store::Set);
                packed.values.outputs(range.len()).multiply(to(&mut d[column..], &d_out, value), Store::Set);
                column += range.len();
            }
            let visible = columns - block.len() + 1;
            vectorised(
                #[inline(always)]
                || {
                    let both = p.chunks_exact_mut(columns * heads).zip(d.chunks_exact_mut(columns * heads));
                    let both = both.zip(d_out.chunks_exact(heads * value));
                    for (i, ((p, d), d_out)) in both.enumerate() {
                        let (row, seen) = (first + block.start + i, visible + i);
                        let out = outputs.of(outputs.out, row, heads, value).chunks_exact(value);
                        let totals = outputs.of(outputs.totals, row, heads, 1);
                        let each = p.chunks_exact_mut(columns).zip(d.chunks_exact_mut(columns));
                        let known = out.zip(d_out.chunks_exact(value)).zip(totals);
                        for ((p, d), ((out, d_out), total)) in each.zip(known) {
                            let shared = dot(out, d_out);
                            for (p, d) in p[..seen].iter_mut().zip(&mut d[..seen]) {
                                *p = (*p - *total).exp();
                                *d = *p * (*d - shared);
                            }
                            p[seen..].fill(T::zero());
                            d[seen..].fill(T::zero());
                        }
                    }
                },
            );
            let query_columns = PackedWeight::of_columns(queries, (width, rows));
            let d_out_columns = PackedWeight::of_columns(&d_out, (value, rows));
            let mut column = 0;
            for (segment, range) in context {
                let packed = of(*segment);
                let reached = packed.at..packed.at + range.len();
                let out = &mut gradients.query[own.clone()];
                let to_query =
                    Rows { out, out_stride: width, x: &d[column..], x_stride: columns, transposed: false, count: rows };
                let store = if column > 0 { Store::Add } else { Store::Set };
                packed.key_columns.inputs(range.len()).multiply(to_query, store);
                let from = |out, out_stride, x| Rows {
                    out,
                    out_stride,
                    x,
                    x_stride: columns,
                    transposed: true,
                    count: range.len(),
                };
                let d_key = &mut gradients.key[reached.start * width..reached.end * width];
                query_columns.multiply_rows(from(d_key, width, &d[column..]), Store::Add);
                let d_value = &mut gradients.value[reached.start * value..reached.end * value];
                d_out_columns.multiply_rows(from(d_value, value, &p[column..]), Store::Add);
                column += range.len();
            }
        });
        gradients
    }
}

impl<'a, T> Outputs<'a, T> {
    /// A token's numbers of `heads` heads from the first that is meant, `width` each.
    #[inline(always)]
    fn of(&self, numbers: &'a [T], token: usize, heads: usize, width: usize) -> &'a [T] {
        &numbers[(token * self.all_heads + self.head) * width..][..heads * width]
    }
}
