//! Attention in which several heads of queries share a head of keys and values, over packed trees of sequences.
//!
//! Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models", 2023. Query head h reads key head
//! `h / (heads / key_heads)`. The arithmetic of one head, forward and backward, is that of [`super::attention`]; here the
//! whole of a query and key is rotary, and the gradients of a shared key and value are summed over its queries in order.
//! There are two forward passes: [`GroupedAttention::forward`] by matrix products, and [`GroupedAttention::forward_in_order`],
//! which sums up as decoding does, to the same bits.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::Real;
use super::attend::{Attention, Place, Scratch, TokenBlocks};
use super::attention::{Attended, Head, HeadGradients, Layouts, Outputs, side_by_side};
use super::rope::RopeTable;
use super::sum::add_scaled;

/// Rows in which one task puts the heads' gradients side by side.
const ROW_BLOCK: usize = 256;
/// Rows that one task attends from.
const ATTEND_BLOCK: usize = 64;

/// Sizes of grouped attention.
#[derive(Debug, Clone)]
pub struct GroupedConfig {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; they divide the heads of queries.
    pub key_heads: usize,
    /// Width of a head's query, key and value.
    pub width: usize,
    /// What the scores are multiplied with before the softmax.
    pub scale: f64,
    /// The rotary angles.
    pub table: Arc<RopeTable>,
}

impl GroupedConfig {
    /// Heads of queries to a head of keys.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.key_heads
    }
}

/// Attention over a packed batch: sizes and layout.
///
/// Queries are `[tokens, heads * width]`, keys and values `[tokens, key_heads * width]`, before the rotation; the result is
/// `[tokens, heads * width]`.
#[derive(Clone, Copy)]
pub struct GroupedAttention<'a> {
    /// Sizes.
    pub config: &'a GroupedConfig,
    /// How the rows hang together.
    pub layouts: &'a Layouts,
}

/// One group's gradients for a tree: those of its queries, head by head, and the sums for its key and value.
struct GroupGradients<T> {
    queries: Vec<Vec<T>>,
    key: Vec<T>,
    value: Vec<T>,
}

impl GroupedAttention<'_> {
    /// (tree, key head) pairs, each a task of its own.
    fn tasks(&self) -> Vec<(&Range<usize>, usize)> {
        let heads = 0..self.config.key_heads;
        self.layouts.trees().iter().flat_map(|tree| heads.clone().map(move |head| (tree, head))).collect()
    }

    /// One head's rows of a tree out of rows of `heads`, turned to their positions and scaled.
    fn turned<T: Real>(&self, x: &[T], heads: usize, head: usize, tree: &Range<usize>, scale: f64) -> Vec<T> {
        let width = self.config.width;
        let scale = T::from_f64(scale);
        let mut out = Vec::with_capacity(self.layouts.tree_rows(tree).len() * width);
        for segment in self.layouts.tree_segments(tree) {
            for (offset, row) in segment.rows.clone().enumerate() {
                let (start, from) = (out.len(), (row * heads + head) * width);
                out.extend(x[from..from + width].iter().map(|x| *x * scale));
                self.config.table.turn(&mut out[start..], segment.position + offset, 1.0);
            }
        }
        out
    }

    /// A group's key and value of a tree, with a place for a query.
    fn head<'a, T: Real>(&self, k: &[T], v: &'a [T], tree: &Range<usize>, key_head: usize) -> Head<'a, T> {
        let GroupedConfig { key_heads, width, .. } = *self.config;
        let key = self.turned(k, key_heads, key_head, tree, 1.0);
        let values = &v[(self.layouts.tree_rows(tree).start * key_heads + key_head) * width..];
        Head { query: Vec::new(), key: Cow::Owned(key), values, value_stride: key_heads * width, width, value: width }
    }

    /// Attends.
    pub fn forward<T: Real>(&self, [q, k, v]: [&[T]; 3]) -> Attended<T> {
        let (heads, group) = (self.config.heads, self.config.group());
        let (outputs, totals): (Vec<Vec<T>>, Vec<Vec<T>>) = self
            .tasks()
            .into_par_iter()
            .flat_map_iter(|(tree, key_head)| {
                let mut data = self.head(k, v, tree, key_head);
                (key_head * group..(key_head + 1) * group)
                    .map(|head| {
                        data.query = self.turned(q, heads, head, tree, self.config.scale);
                        data.attend(self.layouts, tree)
                    })
                    .collect::<Vec<_>>()
            })
            .unzip();
        Attended { out: side_by_side(&outputs, self.layouts, heads, self.config.width), totals }
    }

    /// Attends in the order in which decoding does.
    pub fn forward_in_order<T: Real>(&self, [q, k, v]: [&[T]; 3]) -> Attended<T> {
        let GroupedConfig { heads, key_heads, width, scale, ref table } = *self.config;
        let (queries, shared, group) = (heads * width, key_heads * width, self.config.group());
        let runs: Vec<TokenBlocks<T>> = self
            .layouts
            .segments()
            .par_iter()
            .map(|segment| {
                let mut run = TokenBlocks::new(2 * shared, segment.position, segment.rows.len());
                let mut both = vec![T::zero(); 2 * shared];
                for row in segment.rows.clone() {
                    both[..shared].copy_from_slice(&k[row * shared..(row + 1) * shared]);
                    let position = self.layouts.position(row);
                    both[..shared].chunks_exact_mut(width).for_each(|key| table.turn(key, position, 1.0));
                    both[shared..].copy_from_slice(&v[row * shared..(row + 1) * shared]);
                    run.push(&both);
                }
                run
            })
            .collect();
        let mut out = vec![T::zero(); q.len()];
        let mut sums = vec![T::zero(); q.len() / width];
        let scale = T::from_f64(scale);
        out.par_chunks_mut(ATTEND_BLOCK * queries).zip(sums.par_chunks_mut(ATTEND_BLOCK * heads)).enumerate().for_each(
            |(block, (out, sums))| {
                let mut scratch = Scratch::default();
                let mut query = vec![T::zero(); queries];
                for (i, (out, sums)) in out.chunks_exact_mut(queries).zip(sums.chunks_exact_mut(heads)).enumerate() {
                    let row = block * ATTEND_BLOCK + i;
                    query.iter_mut().zip(&q[row * queries..]).for_each(|(query, q)| *query = *q * scale);
                    let position = self.layouts.position(row);
                    query.chunks_exact_mut(width).for_each(|head| table.turn(head, position, 1.0));
                    let chain = self.layouts.chain(row, &runs);
                    let each = out.chunks_exact_mut(group * width).zip(sums.chunks_exact_mut(group));
                    for (key_head, (query, (out, sums))) in query.chunks_exact(group * width).zip(each).enumerate() {
                        let (key, value) = (key_head * width, shared + key_head * width);
                        let place = Place { key, key_width: width, value, value_width: width };
                        Attention { query, place, chain: &chain, out, totals: Some(sums) }.run(&mut scratch);
                    }
                }
            },
        );
        let tasks = self.layouts.trees().iter().flat_map(|tree| (0..heads).map(move |head| (tree, head)));
        let totals = tasks.map(|(tree, head)| {
            let rows = self.layouts.tree_rows(tree);
            sums[rows.start * heads..rows.end * heads].iter().skip(head).step_by(heads).copied().collect()
        });
        Attended { out, totals: totals.collect() }
    }

    /// The gradients of query, key and value: new rows, not added to anything.
    pub fn backward<T: Real>(&self, [q, k, v]: [&[T]; 3], attended: &Attended<T>, d_out: &[T]) -> [Vec<T>; 3] {
        let Attended { out, totals } = attended;
        let GroupedConfig { heads, key_heads, width, scale, ref table } = *self.config;
        let group = self.config.group();
        let gradients: Vec<GroupGradients<T>> = self
            .tasks()
            .into_par_iter()
            .zip(totals.par_chunks(group))
            .map(|((tree, key_head), totals)| {
                let mut data = self.head(k, v, tree, key_head);
                let rows = data.key.len();
                let mut sums =
                    GroupGradients { queries: Vec::new(), key: vec![T::zero(); rows], value: vec![T::zero(); rows] };
                for (head, totals) in (key_head * group..).zip(totals) {
                    data.query = self.turned(q, heads, head, tree, scale);
                    let at = (self.layouts.tree_rows(tree).start * heads + head) * width;
                    let outputs = Outputs { out: &out[at..], d_out: &d_out[at..], stride: heads * width };
                    let HeadGradients { query, key, value } = data.gradients(self.layouts, tree, totals, outputs);
                    sums.queries.push(query);
                    add_scaled(&mut sums.key, &key, T::one());
                    add_scaled(&mut sums.value, &value, T::one());
                }
                sums
            })
            .collect();

        // Undo the rotation and the scale, and put the heads side by side.
        let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![T::zero(); x.len()]);
        let scale = T::from_f64(scale);
        dq.par_chunks_mut(ROW_BLOCK * heads * width)
            .zip(dk.par_chunks_mut(ROW_BLOCK * key_heads * width))
            .zip(dv.par_chunks_mut(ROW_BLOCK * key_heads * width))
            .enumerate()
            .for_each(|(block, ((dq, dk), dv))| {
                let rows = dq.chunks_exact_mut(heads * width).zip(dk.chunks_exact_mut(key_heads * width));
                for (i, ((dq, dk), dv)) in rows.zip(dv.chunks_exact_mut(key_heads * width)).enumerate() {
                    let row = block * ROW_BLOCK + i;
                    let ((tree, local), position) = (self.layouts.place(row), self.layouts.position(row));
                    let own = local * width..(local + 1) * width;
                    for (key_head, gradient) in gradients[tree * key_heads..(tree + 1) * key_heads].iter().enumerate() {
                        let at = key_head * width..(key_head + 1) * width;
                        dk[at.clone()].copy_from_slice(&gradient.key[own.clone()]);
                        table.turn(&mut dk[at.clone()], position, -1.0);
                        dv[at].copy_from_slice(&gradient.value[own.clone()]);
                        for (head, query) in (key_head * group..).zip(&gradient.queries) {
                            let dq = &mut dq[head * width..(head + 1) * width];
                            dq.iter_mut().zip(&query[own.clone()]).for_each(|(d, g)| *d = *g * scale);
                            table.turn(dq, position, -1.0);
                        }
                    }
                }
            });
        [dq, dk, dv]
    }
}
