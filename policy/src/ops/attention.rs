//! Multi-head latent attention over packed trees of sequences, expanded for training: forward and backward.
//!
//! DeepSeek-V2 report, section 2.1. Queries and keys have a part without position (`nope`) and a rotary part; the rotary key
//! is shared by all heads. The batch holds no padding: it is a list of [`Segment`]s, and a token attends to all tokens of
//! its segment's ancestors and, causally, to its own segment. A group's completions are thus children of one prompt, which
//! is computed once. The arithmetic of a head is in [`super::heads`].

use std::ops::Range;
use std::sync::Arc;

use candle_core::Result;
use rayon::prelude::*;

use super::Real;
use super::attend::{TokenBlocks, Tokens};
use super::heads::{HeadGradients, Heads, Outputs, block_rows};
use super::rope::RopeTable;
use super::sum::add_scaled;

/// Rows of a tree whose gradients one task computes, at least, unless the tree ends.
const RUN_ROWS: usize = 256;
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

/// Some rows of a tree, of which one task computes the gradients.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) tree: usize,
    /// The rows, counted from the tree's first.
    pub(super) rows: Range<usize>,
    /// What they attend to. A run holds keys, and gradients of keys, for these rows only, one after the other.
    pub(super) reached: Vec<Reach>,
}

/// The first rows of a segment, as a run reaches them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) segment: usize,
    pub(super) rows: usize,
    /// Where they stand among the rows that the run reaches.
    pub(super) at: usize,
}

impl Run {
    fn new(tree: usize, rows: Range<usize>) -> Self {
        Run { tree, rows, reached: Vec::new() }
    }

    /// Notes that a block of the run attends to the first `rows` rows of a segment.
    fn reach(&mut self, segment: usize, rows: usize) {
        let at = self.reached.last().map_or(0, |last| last.at + last.rows);
        match self.reached.iter_mut().find(|reach| reach.segment == segment) {
            // Only the last one grows: a segment is complete before others continue it.
            Some(reach) => reach.rows = reach.rows.max(rows),
            None => self.reached.push(Reach { segment, rows, at }),
        }
    }

    /// The run's rows in the batch.
    pub(super) fn batch_rows(&self, layouts: &Layouts) -> Range<usize> {
        let first = layouts.tree_rows(&layouts.trees[self.tree]).start;
        first + self.rows.start..first + self.rows.end
    }

    /// The batch's rows that are reached.
    pub(super) fn reached_rows(&self, layouts: &Layouts) -> impl Iterator<Item = usize> {
        self.reached.iter().flat_map(|reach| layouts.segments[reach.segment].rows.clone().take(reach.rows))
    }
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
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The tokens that `row` attends to, from its tree's root to itself; `runs` holds those of each segment.
    pub(super) fn chain<'a, T: Real>(&self, row: usize, runs: &'a [TokenBlocks<T>]) -> Vec<Tokens<'a, T>> {
        let own = self.segment(row);
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

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.rows.end)
    }

    /// The largest position, plus one.
    pub fn positions(&self) -> usize {
        self.segments.iter().map(|segment| segment.position + segment.rows.len()).max().unwrap_or(0)
    }

    /// A row's segment.
    fn segment(&self, row: usize) -> usize {
        self.segments.partition_point(|segment| segment.rows.end <= row)
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

    /// Calls `visit` for each block of at most `size` rows with those rows and the rows that it attends to: the ancestors'
    /// and, last, its own up to the block's end. Rows count from the tree's first, segments from the batch's.
    pub(super) fn blocks(
        &self,
        tree: &Range<usize>,
        size: usize,
        mut visit: impl FnMut(Range<usize>, &[(usize, Range<usize>)]),
    ) {
        let first = self.tree_rows(tree).start;
        let relative = |rows: &Range<usize>| rows.start - first..rows.end - first;
        for (segment, own) in self.segments[tree.clone()].iter().enumerate() {
            let mut context = Vec::new();
            let mut ancestor = own.parent;
            while let Some(index) = ancestor {
                context.push((index, relative(&self.segments[index].rows)));
                ancestor = self.segments[index].parent;
            }
            context.reverse();
            let own = relative(&own.rows);
            for start in own.clone().step_by(size) {
                let end = (start + size).min(own.end);
                context.push((tree.start + segment, own.start..end));
                visit(start..end, &context);
                context.pop();
            }
        }
    }

    /// The trees, cut into runs of whole blocks of `size` rows: the tasks of a backward pass.
    pub(super) fn runs(&self, size: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (number, tree) in self.trees.iter().enumerate() {
            let mut next = Run::new(number, 0..0);
            self.blocks(tree, size, |block, context| {
                next.rows.end = block.end;
                context.iter().for_each(|(segment, rows)| next.reach(*segment, rows.len()));
                if next.rows.len() >= RUN_ROWS {
                    runs.push(std::mem::replace(&mut next, Run::new(number, block.end..block.end)));
                }
            });
            if !next.rows.is_empty() {
                runs.push(next);
            }
        }
        runs
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
    /// The log-sum-exp of each row's scores, `[tokens, heads]`.
    pub(super) totals: Vec<T>,
}

impl LatentAttention<'_> {
    /// A head of a tree: its queries of `rows` of the batch, its keys of `key_rows`.
    fn head<'a, T: Real>(
        &self,
        [q, kv, k_rope]: [&'a [T]; 3],
        tree: &Range<usize>,
        head: usize,
        rows: Range<usize>,
        key_rows: impl Iterator<Item = usize>,
    ) -> Heads<'a, T> {
        let AttentionConfig { heads, nope, rope, value, scale, ref table } = *self.config;
        let (width, kv_width) = (nope + rope, nope + value);
        let (q_stride, value_stride) = (heads * width, heads * kv_width);
        let mut query = Vec::with_capacity(rows.len() * width);
        let scale = T::from_f64(scale);
        for row in rows {
            let (start, from) = (query.len(), row * q_stride + head * width);
            query.extend(q[from..from + width].iter().map(|x| *x * scale));
            table.turn(&mut query[start + nope..], self.layouts.position(row), 1.0);
        }
        let mut key = Vec::new();
        for row in key_rows {
            let (start, from) = (key.len(), row * value_stride + head * kv_width);
            key.extend_from_slice(&kv[from..from + nope]);
            key.extend_from_slice(&k_rope[row * rope..(row + 1) * rope]);
            table.turn(&mut key[start + nope..], self.layouts.position(row), 1.0);
        }
        let values = &kv[self.layouts.tree_rows(tree).start * value_stride + head * kv_width + nope..];
        Heads { query, heads: 1, key, values, value_stride, width, value }
    }

    /// Attends.
    pub fn forward<T: Real>(&self, q: &[T], kv: &[T], k_rope: &[T]) -> Attended<T> {
        let heads = self.config.heads;
        let tasks: Vec<_> =
            self.layouts.trees.iter().flat_map(|tree| (0..heads).map(move |head| (tree, head))).collect();
        let (outputs, totals): (Vec<Vec<T>>, Vec<Vec<T>>) = tasks
            .into_par_iter()
            .map(|(tree, head)| {
                let rows = self.layouts.tree_rows(tree);
                self.head([q, kv, k_rope], tree, head, rows.clone(), rows).attend(self.layouts, tree)
            })
            .unzip();
        Attended {
            out: side_by_side(&outputs, self.layouts, heads, self.config.value),
            totals: side_by_side(&totals, self.layouts, heads, 1),
        }
    }

    /// The gradients of query, key and value, and rotary key: new rows, not added to anything.
    pub fn backward<T: Real>(&self, arguments: [&[T]; 3], attended: &Attended<T>, d_out: &[T]) -> [Vec<T>; 3] {
        let Attended { out, totals } = attended;
        let [q, kv, k_rope] = arguments;
        let AttentionConfig { heads, nope, rope, value, scale, ref table } = *self.config;
        let (width, kv_width) = (nope + rope, nope + value);
        let runs = self.layouts.runs(block_rows(1));
        let tasks: Vec<(&Run, usize)> = runs.iter().flat_map(|run| (0..heads).map(move |head| (run, head))).collect();
        let gradients: Vec<HeadGradients<T>> = tasks
            .into_par_iter()
            .map(|(run, head)| {
                let tree = &self.layouts.trees[run.tree];
                let outputs = Outputs { out, d_out, totals, all_heads: heads, head };
                let (rows, key_rows) = (run.batch_rows(self.layouts), run.reached_rows(self.layouts));
                self.head(arguments, tree, head, rows, key_rows).gradients(self.layouts, run, outputs)
            })
            .collect();

        // Undo the rotation and the scale, and put the heads side by side; the rotary key's gradient is the sum over heads.
        let (mut dq, mut dkv) = (vec![T::zero(); q.len()], vec![T::zero(); kv.len()]);
        let mut dk_rope = vec![T::zero(); k_rope.len()];
        let scale = T::from_f64(scale);
        let places = Places::new(&runs, self.layouts);
        dq.par_chunks_mut(ROW_BLOCK * heads * width)
            .zip(dkv.par_chunks_mut(ROW_BLOCK * heads * kv_width))
            .zip(dk_rope.par_chunks_mut(ROW_BLOCK * rope))
            .enumerate()
            .for_each(|(block, ((dq, dkv), dk_rope))| {
                let rows = dq.chunks_exact_mut(heads * width).zip(dkv.chunks_exact_mut(heads * kv_width));
                for (i, ((dq, dkv), dk_rope)) in rows.zip(dk_rope.chunks_exact_mut(rope)).enumerate() {
                    let row = block * ROW_BLOCK + i;
                    let (position, place) = (self.layouts.position(row), places.of(row));
                    for head in 0..heads {
                        let query = &mut dq[head * width..(head + 1) * width];
                        let gradient = &gradients[place.own * heads + head].query[place.in_own * width..];
                        query.iter_mut().zip(gradient).for_each(|(d, g)| *d = *g * scale);
                        table.turn(&mut query[nope..], position, -1.0);
                        let key_value = &mut dkv[head * kv_width..(head + 1) * kv_width];
                        for (run, at) in place.reached_by() {
                            let HeadGradients { key, value: d_value, .. } = &gradients[run * heads + head];
                            let key = &key[at * width..(at + 1) * width];
                            add_scaled(&mut key_value[..nope], &key[..nope], T::one());
                            add_scaled(&mut key_value[nope..], &d_value[at * value..][..value], T::one());
                            add_scaled(dk_rope, &key[nope..], T::one());
                        }
                    }
                    // A rotation is linear, so the sum over heads is turned back once.
                    table.turn(dk_rope, position, -1.0);
                }
            });
        [dq, dkv, dk_rope]
    }
}

/// Where a row's gradients stand among those of runs.
pub(super) struct Place<'a> {
    /// The run that the row belongs to, and its place in the run: for the gradients of queries.
    pub(super) own: usize,
    pub(super) in_own: usize,
    /// The row in its segment.
    offset: usize,
    /// The runs that reach the segment.
    reaching: &'a [(usize, Reach)],
}

impl Place<'_> {
    /// The runs that reach the row, with its place among the rows that they reach: for the gradients of keys and values.
    pub(super) fn reached_by(&self) -> impl Iterator<Item = (usize, usize)> {
        let offset = self.offset;
        let reaching = self.reaching.iter().filter(move |(_, reach)| offset < reach.rows);
        reaching.map(move |(run, reach)| (*run, reach.at + offset))
    }
}

/// The [`Place`]s of a batch's rows.
pub(super) struct Places<'a> {
    layouts: &'a Layouts,
    runs: &'a [Run],
    /// For each segment the runs that reach it, in order.
    reaching: Vec<Vec<(usize, Reach)>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(runs: &'a [Run], layouts: &'a Layouts) -> Self {
        let mut reaching = vec![Vec::new(); layouts.segments.len()];
        for (index, run) in runs.iter().enumerate() {
            run.reached.iter().for_each(|reach| reaching[reach.segment].push((index, *reach)));
        }
        Places { layouts, runs, reaching }
    }

    pub(super) fn of(&self, row: usize) -> Place<'_> {
        let (tree, local) = self.layouts.place(row);
        let own = self.runs.partition_point(|run| (run.tree, run.rows.end) <= (tree, local));
        let segment = self.layouts.segment(row);
        Place {
            own,
            in_own: local - self.runs[own].rows.start,
            offset: row - self.layouts.segments[segment].rows.start,
            reaching: &self.reaching[segment],
        }
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
