//! What attends to what: packed trees of sequences.
//!
//! The batch holds no padding: it is a list of [`Segment`]s, and a token attends to all tokens of its segment's ancestors and,
//! causally, to its own segment. A group's completions are thus children of one prompt, which is computed once.

use std::ops::Range;

use candle_core::Result;

use super::Real;
use super::attend::{TokenBlocks, Tokens};

/// Rows of a tree whose gradients one task computes, at least, unless the tree ends.
const RUN_ROWS: usize = 256;

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
