//! Attention in which several heads of queries share a head of keys and values, over packed trees of sequences.
//!
//! Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models", 2023. Query head h reads key head
//! `h / (heads / key_heads)`. The arithmetic of a head, forward and backward, is in [`super::heads`]; here the whole
//! of a query and key is rotary.
//! The forward pass sums up as decoding does, to the same bits.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::Real;
use super::attend::{Attention, Place, Scratch, TokenBlocks};
use super::heads::{HeadGradients, Heads, Outputs, block_rows};
use super::layouts::{Layouts, Places, Run};
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

/// What attention computes, and what its backward pass needs besides its arguments.
pub struct Attended<T> {
    /// The heads' results side by side.
    pub out: Vec<T>,
    /// The log-sum-exp of each row's scores, `[tokens, heads]`.
    totals: Vec<T>,
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

impl GroupedAttention<'_> {
    /// Some heads of rows of `heads`, turned to their positions and scaled: `[rows, chosen heads, width]`.
    fn turned<T: Real>(
        &self,
        x: &[T],
        heads: usize,
        chosen: Range<usize>,
        rows: impl Iterator<Item = usize>,
        scale: f64,
    ) -> Vec<T> {
        let width = self.config.width;
        let scale = T::from_f64(scale);
        let mut out = Vec::new();
        for row in rows {
            let position = self.layouts.position(row);
            for head in chosen.clone() {
                let (start, from) = (out.len(), (row * heads + head) * width);
                out.extend(x[from..from + width].iter().map(|x| *x * scale));
                self.config.table.turn(&mut out[start..], position, 1.0);
            }
        }
        out
    }

    /// A key head of a tree with the queries of `chosen`: queries of `rows` of the batch, keys of `key_rows`.
    fn heads<'a, T: Real>(
        &self,
        [q, k, v]: [&'a [T]; 3],
        tree: &Range<usize>,
        (key_head, chosen): (usize, Range<usize>),
        rows: Range<usize>,
        key_rows: impl Iterator<Item = usize>,
    ) -> Heads<'a, T> {
        let GroupedConfig { heads, key_heads, width, scale, .. } = *self.config;
        let first = self.layouts.tree_rows(tree).start;
        Heads {
            heads: chosen.len(),
            query: self.turned(q, heads, chosen, rows, scale),
            key: self.turned(k, key_heads, key_head..key_head + 1, key_rows, 1.0),
            values: &v[(first * key_heads + key_head) * width..],
            value_stride: key_heads * width,
            width,
            value: width,
        }
    }

    /// Attends.
    pub fn forward<T: Real>(&self, [q, k, v]: [&[T]; 3]) -> Attended<T> {
        let GroupedConfig { heads, key_heads, width, scale, ref table } = *self.config;
        let (queries, shared, group) = (heads * width, key_heads * width, self.config.group());
        let runs: Vec<TokenBlocks<T>> = self
            .layouts
            .segments()
            .par_iter()
            .map(|segment| {
                let mut run = TokenBlocks::new((shared, shared), segment.position, segment.rows.len());
                let mut keys = vec![T::zero(); shared];
                for row in segment.rows.clone() {
                    keys.copy_from_slice(&k[row * shared..(row + 1) * shared]);
                    let position = self.layouts.position(row);
                    keys.chunks_exact_mut(width).for_each(|key| table.turn(key, position, 1.0));
                    run.push(&keys, &v[row * shared..(row + 1) * shared]);
                }
                run
            })
            .collect();
        let mut out = vec![T::zero(); q.len()];
        let mut totals = vec![T::zero(); q.len() / width];
        let scale = T::from_f64(scale);
        out.par_chunks_mut(ATTEND_BLOCK * queries)
            .zip(totals.par_chunks_mut(ATTEND_BLOCK * heads))
            .enumerate()
            .for_each(|(block, (out, totals))| {
                let mut scratch = Scratch::default();
                let mut query = vec![T::zero(); queries];
                for (i, (out, totals)) in out.chunks_exact_mut(queries).zip(totals.chunks_exact_mut(heads)).enumerate()
                {
                    let row = block * ATTEND_BLOCK + i;
                    query.iter_mut().zip(&q[row * queries..]).for_each(|(query, q)| *query = *q * scale);
                    let position = self.layouts.position(row);
                    query.chunks_exact_mut(width).for_each(|head| table.turn(head, position, 1.0));
                    let chain = self.layouts.chain(row, &runs);
                    let each = out.chunks_exact_mut(group * width).zip(totals.chunks_exact_mut(group));
                    for (key_head, (query, (out, totals))) in query.chunks_exact(group * width).zip(each).enumerate() {
                        let at = key_head * width;
                        let place = Place { key: at, key_width: width, value: at, value_width: width };
                        Attention { query, place, chain: &chain, out, totals: Some(totals) }.run(&mut scratch);
                    }
                }
            });
        Attended { out, totals }
    }

    /// The gradients of query, key and value: new rows, not added to anything.
    pub fn backward<T: Real>(&self, arguments: [&[T]; 3], attended: &Attended<T>, d_out: &[T]) -> [Vec<T>; 3] {
        let Attended { out, totals } = attended;
        let GroupedConfig { heads, key_heads, width, scale, ref table } = *self.config;
        let group = self.config.group();
        let runs = self.layouts.runs(block_rows(group));
        let tasks: Vec<(&Run, usize)> =
            runs.iter().flat_map(|run| (0..key_heads).map(move |key_head| (run, key_head))).collect();
        let gradients: Vec<HeadGradients<T>> = tasks
            .into_par_iter()
            .map(|(run, key_head)| {
                let chosen = (key_head, key_head * group..(key_head + 1) * group);
                let outputs = Outputs { out, d_out, totals, all_heads: heads, head: key_head * group };
                let (rows, key_rows) = (run.batch_rows(self.layouts), run.reached_rows(self.layouts));
                let heads = self.heads(arguments, &self.layouts.trees()[run.tree], chosen, rows, key_rows);
                heads.gradients(self.layouts, run, outputs)
            })
            .collect();

        // Undo the rotation and the scale, and put the heads side by side.
        let [mut dq, mut dk, mut dv] = arguments.map(|x| vec![T::zero(); x.len()]);
        let scale = T::from_f64(scale);
        let places = Places::new(&runs, self.layouts);
        dq.par_chunks_mut(ROW_BLOCK * heads * width)
            .zip(dk.par_chunks_mut(ROW_BLOCK * key_heads * width))
            .zip(dv.par_chunks_mut(ROW_BLOCK * key_heads * width))
            .enumerate()
            .for_each(|(block, ((dq, dk), dv))| {
                let rows = dq.chunks_exact_mut(heads * width).zip(dk.chunks_exact_mut(key_heads * width));
                for (i, ((dq, dk), dv)) in rows.zip(dv.chunks_exact_mut(key_heads * width)).enumerate() {
                    let row = block * ROW_BLOCK + i;
                    let (place, position) = (places.of(row), self.layouts.position(row));
                    let each = dk.chunks_exact_mut(width).zip(dv.chunks_exact_mut(width));
                    for (key_head, (dk, dv)) in each.enumerate() {
                        for (run, at) in place.reached_by() {
                            let HeadGradients { key, value, .. } = &gradients[run * key_heads + key_head];
                            add_scaled(dk, &key[at * width..][..width], T::one());
                            add_scaled(dv, &value[at * width..][..width], T::one());
                        }
                        table.turn(dk, position, -1.0);
                        let group = group * width;
                        let dq = &mut dq[key_head * group..][..group];
                        let query = &gradients[place.own * key_heads + key_head].query[place.in_own * group..];
                        dq.iter_mut().zip(query).for_each(|(d, g)| *d = *g * scale);
                        dq.chunks_exact_mut(width).for_each(|head| table.turn(head, position, -1.0));
                    }
                }
            });
        [dq, dk, dv]
    }
}
