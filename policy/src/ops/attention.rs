//! Multi-head latent attention over packed trees of sequences, expanded for training: forward and backward.
//!
//! DeepSeek-V2 report, section 2.1. Queries and keys have a part without position (`nope`) and a rotary part; the rotary key
//! is shared by all heads. The batch holds no padding: it is a list of [`Segment`]s, and a token attends to all tokens of
//! its segment's ancestors and, causally, to its own segment. A group's completions are thus children of one prompt, which
//! is computed once. The probabilities of a block of queries exist only while the block is computed; the forward pass keeps
//! the log-sum-exp of each row, and the backward pass makes them again (Dao et al., "FlashAttention", 2022).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::Result;
use rayon::prelude::*;

use super::attend::{TokenBlocks, Tokens};
use super::logprob::log_sum_exp;
use super::matmul::{View, matmul};
use super::rope::RopeTable;
use super::sum::{add_scaled, dot};
use super::{Real, vectorised};

/// Queries whose probabilities are held at once.
const QUERY_BLOCK: usize = 64;
/// Rows in which one task puts the heads' results side by side.
const ROW_BLOCK: usize = 256;

/// A run of tokens in a packed batch, after which others may branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The segment's rows in the batch.
    pub rows: Range<usize>,
    /// The segment that this one continues; it stands earlier in the list.
    pub parent: Option<usize>,
    /// The position of the segment's first token in its sequence.
    pub position: usize,
}

/// How a batch's rows hang together. A tree's segments, and so its rows, are contiguous.
#[derive(Debug, Clone, Default)]
pub struct Layouts {
    segments: Vec<Segment>,
    /// The segments of each tree.
    trees: Vec<Range<usize>>,
    /// Each row's tree, its place in the tree, and its position in its sequence.
    rows: Vec<(u32, u32, u32)>,
}

impl Layouts {
    /// The layout of `segments`, which must cover the rows in order, a parent before its children in the same tree.
    ///
    /// # Errors
    /// If they do not.
    pub fn new(segments: Vec<Segment>) -> Result<Self> {
        let mut trees: Vec<Range<usize>> = Vec::new();
        let mut next_row = 0;
        for (index, segment) in segments.iter().enumerate() {
            let in_order = segment.rows.start == next_row && segment.rows.end >= segment.rows.start;
            let position = match (segment.parent, trees.last_mut()) {
                (None, _) => {
                    trees.push(index..index + 1);
                    0
                }
                (Some(parent), Some(tree)) if tree.contains(&parent) => {
                    tree.end = index + 1;
                    segments[parent].position + segments[parent].rows.len()
                }
                _ => candle_core::bail!("packed batch: segment {index} continues one outside its tree"),
            };
            if !in_order || position != segment.position {
                candle_core::bail!("packed batch: segment {index} is out of order: {segment:?} after row {next_row}");
            }
            next_row = segment.rows.end;
        }
        let mut layouts = Layouts { segments, trees, rows: Vec::with_capacity(next_row) };
        for (number, tree) in layouts.trees.iter().enumerate() {
            let first = layouts.tree_rows(tree).start;
            for segment in &layouts.segments[tree.clone()] {
                let place = |row: usize| (row - first, segment.position + row - segment.rows.start);
                let located = segment.rows.clone().map(place);
                layouts.rows.extend(located.map(|(local, position)| (number as u32, local as u32, position as u32)));
            }
        }
        Ok(layouts)
    }

    /// All segments.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The tokens that `row` attends to, from its tree's root to itself; `runs` holds those of each segment.
    pub(super) fn chain<'a, T: Real>(&self, row: usize, runs: &'a [TokenBlocks<T>]) -> Vec<Tokens<'a, T>> {
        let own = self.segments.partition_point(|segment| segment.rows.end <= row);
        let mut chain = vec![runs[own].first(row - self.segments[own].rows.start + 1)];
        let mut ancestor = self.segments[own].parent;
        while let Some(index) = ancestor {
            chain.push(runs[index].first(self.segments[index].rows.len()));
            ancestor = self.segments[index].parent;
        }
        chain.reverse();
        chain
    }

    /// The ranges of segments that are trees.
    pub(super) fn trees(&self) -> &[Range<usize>] {
        &self.trees
    }

    /// A tree's segments.
    pub(super) fn tree_segments(&self, tree: &Range<usize>) -> &[Segment] {
        &self.segments[tree.clone()]
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.rows.end)
    }

    /// The largest position, plus one.
    pub fn positions(&self) -> usize {
        self.segments.iter().map(|segment| segment.position + segment.rows.len()).max().unwrap_or(0)
    }

    /// A row's tree, and its place among the tree's rows.
    pub(super) fn place(&self, row: usize) -> (usize, usize) {
        let (tree, local, _) = self.rows[row];
        (tree as usize, local as usize)
    }

    /// A row's position in its sequence.
    pub(super) fn position(&self, row: usize) -> usize {
        self.rows[row].2 as usize
    }

    pub(super) fn tree_rows(&self, tree: &Range<usize>) -> Range<usize> {
        self.segments[tree.start].rows.start..self.segments[tree.end - 1].rows.end
    }

    /// Calls `visit` for each block of queries with its rows and the rows that it attends to: the ancestors' and, last, its
    /// own up to the block's end. Rows count from the tree's first.
    fn blocks(&self, tree: &Range<usize>, mut visit: impl FnMut(Range<usize>, &[Range<usize>])) {
        let first = self.tree_rows(tree).start;
        let relative = |rows: &Range<usize>| rows.start - first..rows.end - first;
        for segment in &self.segments[tree.clone()] {
            let mut context = Vec::new();
            let mut ancestor = segment.parent;
            while let Some(index) = ancestor {
                context.push(relative(&self.segments[index].rows));
                ancestor = self.segments[index].parent;
            }
            context.reverse();
            let own = relative(&segment.rows);
            for start in own.clone().step_by(QUERY_BLOCK) {
                let end = (start + QUERY_BLOCK).min(own.end);
                context.push(own.start..end);
                visit(start..end, &context);
                context.pop();
            }
        }
    }
}

/// Sizes of multi-head latent attention; widths are per head.
#[derive(Debug, Clone)]
pub struct AttentionConfig {
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

/// Attention over a packed batch: sizes and layout.
///
/// Queries are `[tokens, heads * (nope + rope)]` and rotary keys `[tokens, rope]` before the rotation, keys and values
/// `[tokens, heads * (nope + value)]` expanded from the latents; the result is `[tokens, heads * value]`.
#[derive(Clone, Copy)]
pub struct LatentAttention<'a> {
    /// Sizes.
    pub config: &'a AttentionConfig,
    /// How the rows hang together.
    pub layouts: &'a Layouts,
}

/// What attention computes, and what its backward pass needs besides its arguments.
pub struct Attended<T> {
    /// The heads' results side by side.
    pub out: Vec<T>,
    /// For each (tree, head): the log-sum-exp of each row.
    pub(super) totals: Vec<Vec<T>>,
}

/// One head's queries (scaled) and keys of a tree, rotated, and where its values lie.
pub(super) struct Head<'a, T: Clone> {
    pub(super) query: Vec<T>,
    pub(super) key: Cow<'a, [T]>,
    /// Begins at the tree's first row and this head's first value.
    pub(super) values: &'a [T],
    pub(super) value_stride: usize,
    /// Width of a query or key.
    pub(super) width: usize,
    /// Width of a value.
    pub(super) value: usize,
}

/// One head's gradients for a tree, with respect to the scaled and rotated rows.
pub(super) struct HeadGradients<T> {
    pub(super) query: Vec<T>,
    pub(super) key: Vec<T>,
    pub(super) value: Vec<T>,
}

/// One head's results and their gradients for a tree, inside rows of all heads.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a, T> {
    /// Begins at the tree's first row and this head's first output.
    pub(super) out: &'a [T],
    /// As `out`.
    pub(super) d_out: &'a [T],
    pub(super) stride: usize,
}

impl LatentAttention<'_> {
    fn head<'a, T: Real>(&self, q: &[T], kv: &'a [T], k_rope: &[T], tree: &Range<usize>, head: usize) -> Head<'a, T> {
        let AttentionConfig { heads, nope, rope, value, scale, ref table } = *self.config;
        let (width, kv_width) = (nope + rope, nope + value);
        let rows = self.layouts.tree_rows(tree);
        let (q_stride, value_stride) = (heads * width, heads * kv_width);
        let mut query = Vec::with_capacity(rows.len() * width);
        let mut key = Vec::with_capacity(rows.len() * width);
        let scale = T::from_f64(scale);
        for segment in &self.layouts.segments[tree.clone()] {
            for (offset, row) in segment.rows.clone().enumerate() {
                let start = query.len();
                let from = row * q_stride + head * width;
                query.extend(q[from..from + width].iter().map(|x| *x * scale));
                table.turn(&mut query[start + nope..], segment.position + offset, 1.0);
                let from = row * value_stride + head * kv_width;
                key.extend_from_slice(&kv[from..from + nope]);
                key.extend_from_slice(&k_rope[row * rope..(row + 1) * rope]);
                table.turn(&mut key[start + nope..], segment.position + offset, 1.0);
            }
        }
        let values = &kv[rows.start * value_stride + head * kv_width + nope..];
        Head { query, key: Cow::Owned(key), values, value_stride, width, value }
    }

    /// (tree, head) pairs, each a task of its own.
    fn tasks(&self) -> Vec<(&Range<usize>, usize)> {
        self.layouts.trees.iter().flat_map(|tree| (0..self.config.heads).map(move |head| (tree, head))).collect()
    }

    /// Attends.
    pub fn forward<T: Real>(&self, q: &[T], kv: &[T], k_rope: &[T]) -> Attended<T> {
        let (outputs, totals): (Vec<Vec<T>>, Vec<Vec<T>>) = self
            .tasks()
            .into_par_iter()
            .map(|(tree, head)| self.head(q, kv, k_rope, tree, head).attend(self.layouts, tree))
            .unzip();
        Attended { out: side_by_side(&outputs, self.layouts, self.config.heads, self.config.value), totals }
    }

    /// The gradients of query, key and value, and rotary key: new rows, not added to anything.
    pub fn backward<T: Real>(&self, arguments: [&[T]; 3], attended: &Attended<T>, d_out: &[T]) -> [Vec<T>; 3] {
        let Attended { out, totals } = attended;
        let [q, kv, k_rope] = arguments;
        let AttentionConfig { heads, nope, rope, value, scale, ref table } = *self.config;
        let (width, kv_width) = (nope + rope, nope + value);
        let tasks = self.tasks();
        let gradients: Vec<HeadGradients<T>> = tasks
            .par_iter()
            .zip(totals)
            .map(|((tree, head), totals)| {
                let at = self.layouts.tree_rows(tree).start * heads * value + *head * value;
                let outputs = Outputs { out: &out[at..], d_out: &d_out[at..], stride: heads * value };
                self.head(q, kv, k_rope, tree, *head).gradients(self.layouts, tree, totals, outputs)
            })
            .collect();

        // Undo the rotation and the scale, and put the heads side by side; the rotary key's gradient is the sum over heads.
        let (mut dq, mut dkv) = (vec![T::zero(); q.len()], vec![T::zero(); kv.len()]);
        let mut dk_rope = vec![T::zero(); k_rope.len()];
        let scale = T::from_f64(scale);
        dq.par_chunks_mut(ROW_BLOCK * heads * width)
            .zip(dkv.par_chunks_mut(ROW_BLOCK * heads * kv_width))
            .zip(dk_rope.par_chunks_mut(ROW_BLOCK * rope))
            .enumerate()
            .for_each(|(block, ((dq, dkv), dk_rope))| {
                let rows = dq.chunks_exact_mut(heads * width).zip(dkv.chunks_exact_mut(heads * kv_width));
                for (i, ((dq, dkv), dk_rope)) in rows.zip(dk_rope.chunks_exact_mut(rope)).enumerate() {
                    let row = block * ROW_BLOCK + i;
                    let ((tree, local), position) = (self.layouts.place(row), self.layouts.position(row));
                    for head in 0..heads {
                        let gradient = &gradients[tree * heads + head];
                        let query = &mut dq[head * width..(head + 1) * width];
                        for (d, g) in query.iter_mut().zip(&gradient.query[local * width..]) {
                            *d = *g * scale;
                        }
                        table.turn(&mut query[nope..], position, -1.0);
                        let key = &gradient.key[local * width..(local + 1) * width];
                        let key_value = &mut dkv[head * kv_width..(head + 1) * kv_width];
                        key_value[..nope].copy_from_slice(&key[..nope]);
                        key_value[nope..].copy_from_slice(&gradient.value[local * value..(local + 1) * value]);
                        add_scaled(dk_rope, &key[nope..], T::one());
                    }
                    // A rotation is linear, so the sum over heads is turned back once.
                    table.turn(dk_rope, position, -1.0);
                }
            });
        [dq, dkv, dk_rope]
    }
}

/// The heads' results `[rows of the tree, value]`, one for each (tree, head), as rows `[rows, heads * value]` of the batch.
pub(super) fn side_by_side<T: Real>(outputs: &[Vec<T>], layouts: &Layouts, heads: usize, value: usize) -> Vec<T> {
    let mut out = vec![T::zero(); layouts.rows() * heads * value];
    out.par_chunks_mut(ROW_BLOCK * heads * value).enumerate().for_each(|(block, out)| {
        for (i, row) in out.chunks_exact_mut(heads * value).enumerate() {
            let (tree, local) = layouts.place(block * ROW_BLOCK + i);
            for (head, part) in row.chunks_exact_mut(value).enumerate() {
                part.copy_from_slice(&outputs[tree * heads + head][local * value..(local + 1) * value]);
            }
        }
    });
    out
}

impl<T: Real> Head<'_, T> {
    /// The results `[rows, value]` of a tree, and the log-sum-exp of each row.
    pub(super) fn attend(&self, layouts: &Layouts, tree: &Range<usize>) -> (Vec<T>, Vec<T>) {
        let value = self.value;
        let rows = layouts.tree_rows(tree).len();
        let mut output = vec![T::zero(); rows * value];
        let mut totals = vec![T::zero(); rows];
        let mut scores = Vec::new();
        layouts.blocks(tree, |block, context| {
            let columns = self.scores(&mut scores, &block, context);
            let visible = columns - block.len() + 1;
            vectorised(
                #[inline(always)]
                || {
                    for (i, row) in scores.chunks_exact_mut(columns).enumerate() {
                        let (seen, hidden) = row.split_at_mut(visible + i);
                        let total = log_sum_exp(seen);
                        seen.iter_mut().for_each(|s| *s = (*s - total).exp());
                        hidden.fill(T::zero());
                        totals[block.start + i] = total;
                    }
                },
            );
            let mut column = 0;
            for range in context {
                let shape = (block.len(), value, range.len());
                let values = View::rows(&self.values[range.start * self.value_stride..], self.value_stride);
                let out = &mut output[block.start * value..block.end * value];
                matmul(out, value, shape, View::rows(&scores[column..], columns), values, T::one(), column > 0);
                column += range.len();
            }
        });
        (output, totals)
    }

    /// With P the probabilities and D_i = dO_i . O_i: `dV = P^T dO`, `dS = P (dO V^T - D)`, `dQ = dS K`, `dK = dS^T Q`.
    pub(super) fn gradients(
        &self,
        layouts: &Layouts,
        tree: &Range<usize>,
        totals: &[T],
        Outputs { out, d_out, stride }: Outputs<'_, T>,
    ) -> HeadGradients<T> {
        let (width, value) = (self.width, self.value);
        let rows = layouts.tree_rows(tree);
        let mut gradients = HeadGradients {
            query: vec![T::zero(); rows.len() * width],
            key: vec![T::zero(); rows.len() * width],
            value: vec![T::zero(); rows.len() * value],
        };
        let (mut scores, mut d_scores) = (Vec::new(), Vec::new());
        layouts.blocks(tree, |block, context| {
            let columns = self.scores(&mut scores, &block, context);
            let visible = columns - block.len() + 1;
            d_scores.resize(block.len() * columns, T::zero());
            let d_block = View::rows(&d_out[block.start * stride..], stride);
            let mut column = 0;
            for range in context {
                let shape = (block.len(), range.len(), value);
                let values = View::rows(&self.values[range.start * self.value_stride..], self.value_stride);
                matmul(&mut d_scores[column..], columns, shape, d_block, values.t(), T::one(), false);
                column += range.len();
            }
            vectorised(
                #[inline(always)]
                || {
                    let both = scores.chunks_exact_mut(columns).zip(d_scores.chunks_exact_mut(columns));
                    for (i, (p, d)) in both.enumerate() {
                        let at = (block.start + i) * stride;
                        let shared = dot(&out[at..at + value], &d_out[at..at + value]);
                        let total = totals[block.start + i];
                        let seen = visible + i;
                        for (p, d) in p[..seen].iter_mut().zip(&mut d[..seen]) {
                            *p = (*p - total).exp();
                            *d = *p * (*d - shared);
                        }
                        p[seen..].fill(T::zero());
                        d[seen..].fill(T::zero());
                    }
                },
            );
            let mut column = 0;
            for range in context {
                let (n, m) = (range.len(), block.len());
                let probabilities = View::rows(&scores[column..], columns);
                let d_s = View::rows(&d_scores[column..], columns);
                let keys = View::rows(&self.key[range.start * width..], width);
                let queries = View::rows(&self.query[block.start * width..], width);
                let d_value = &mut gradients.value[range.start * value..range.end * value];
                matmul(d_value, value, (n, value, m), probabilities.t(), d_block, T::one(), true);
                let d_query = &mut gradients.query[block.start * width..block.end * width];
                matmul(d_query, width, (m, width, n), d_s, keys, T::one(), column > 0);
                let d_key = &mut gradients.key[range.start * width..range.end * width];
                matmul(d_key, width, (n, width, m), d_s.t(), queries, T::one(), true);
                column += range.len();
            }
        });
        gradients
    }

    /// Fills `scores` with the block's scores against its context and returns the number of columns.
    fn scores(&self, scores: &mut Vec<T>, block: &Range<usize>, context: &[Range<usize>]) -> usize {
        let width = self.width;
        let columns: usize = context.iter().map(ExactSizeIterator::len).sum();
        scores.resize(block.len() * columns, T::zero());
        let queries = View::rows(&self.query[block.start * width..], width);
        let mut column = 0;
        for range in context {
            let keys = View::rows(&self.key[range.start * width..range.end * width], width);
            matmul(
                &mut scores[column..],
                columns,
                (block.len(), range.len(), width),
                queries,
                keys.t(),
                T::one(),
                false,
            );
            column += range.len();
        }
        columns
    }
}
