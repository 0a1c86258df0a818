//! What attention's kernels must know of a packed batch: which rows each block computes, and which others it walks over.
//!
//! The batch is a list of segments that form trees; a row attends to all rows of its segment's ancestors and, causally, to its
//! own segment's. A block of queries lies in one segment, so all its rows see the same ancestors: a few runs of rows. For the
//! gradients of keys the same is needed the other way round: a block of keys, and the runs of rows that see it, which are the
//! later rows of its own segment and all rows of the segment's descendants.

use std::ops::Range;

use crate::{Buffer, Device, DeviceError, Result, Slice};

/// Query rows of a block in the forward pass, as in the kernel.
pub(super) const QUERY_BLOCK: usize = 128;
/// Rows that a block of the backward pass owns, as in the kernels.
pub(super) const BACKWARD_BLOCK: usize = 64;
/// Queries, over all heads of a group, whose gradients one block adds up for a block of keys. A prompt's keys are seen by all its
/// completions: without a limit a few blocks would work on long after all others.
const PART_QUERIES: usize = 4096;

/// A run of rows in a packed batch, after which others may branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its rows.
    pub rows: Range<usize>,
    /// The segment that it continues, which stands earlier in the list.
    pub parent: Option<usize>,
}

/// A packed batch as attention's kernels walk over it, in the device's memory.
#[derive(Debug)]
pub struct Tree {
    rows: usize,
    group: usize,
    slots: usize,
    counts: Counts,
    numbers: Buffer<i32>,
}

/// How many there are of each, in the order in which they lie in memory.
#[derive(Debug, Clone, Copy)]
struct Counts {
    query_blocks: usize,
    query_runs: usize,
    key_blocks: usize,
    key_runs: usize,
    sums: usize,
}

/// The lists that the kernels read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lists {
    /// First row, end of rows, part of `query_runs`.
    query_blocks: Vec<[i32; 4]>,
    /// Start and end.
    query_runs: Vec<[i32; 2]>,
    /// First row, end of rows, part of `key_runs`, slot or -1.
    key_blocks: Vec<[i32; 5]>,
    key_runs: Vec<[i32; 2]>,
    /// Blocks of keys in several parts: first row, end of rows, their slots.
    sums: Vec<[i32; 4]>,
    slots: usize,
}

impl Tree {
    /// Prepares a batch for heads of which `group` share a key.
    ///
    /// # Errors
    /// If the segments do not cover rows in order, a parent before its children; if there is no memory.
    pub fn new(device: &Device, segments: &[Segment], group: usize) -> Result<Self> {
        check(segments)?;
        let lists = Lists::new(segments, (PART_QUERIES / group.max(1)).max(1));
        let counts = Counts {
            query_blocks: lists.query_blocks.len(),
            query_runs: lists.query_runs.len(),
            key_blocks: lists.key_blocks.len(),
            key_runs: lists.key_runs.len(),
            sums: lists.sums.len(),
        };
        let numbers = [
            lists.query_blocks.as_flattened(),
            lists.query_runs.as_flattened(),
            lists.key_blocks.as_flattened(),
            lists.key_runs.as_flattened(),
            lists.sums.as_flattened(),
        ]
        .concat();
        let rows = segments.last().map_or(0, |segment| segment.rows.end);
        let numbers = device.upload(&numbers, "the batch's tree")?;
        Ok(Tree { rows, group, slots: lists.slots, counts, numbers })
    }

    /// The batch's rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Heads that share a key.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Places for the sums of parts, in the backward pass.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Blocks of queries and what they walk over.
    pub(super) fn queries(&self) -> (usize, Slice<'_, i32>, Slice<'_, i32>) {
        let [blocks, runs, ..] = self.parts();
        (self.counts.query_blocks, blocks, runs)
    }

    /// Blocks of keys, or parts of them, and what they walk over.
    pub(super) fn keys(&self) -> (usize, Slice<'_, i32>, Slice<'_, i32>) {
        let [_, _, blocks, runs, _] = self.parts();
        (self.counts.key_blocks, blocks, runs)
    }

    /// Blocks of keys that were computed in several parts.
    pub(super) fn sums(&self) -> (usize, Slice<'_, i32>) {
        (self.counts.sums, self.parts()[4])
    }

    fn parts(&self) -> [Slice<'_, i32>; 5] {
        let Counts { query_blocks, query_runs, key_blocks, key_runs, sums } = self.counts;
        let mut start = 0;
        [4 * query_blocks, 2 * query_runs, 5 * key_blocks, 2 * key_runs, 4 * sums].map(|len| {
            start += len;
            self.numbers.slice(start - len..start)
        })
    }
}

/// Rows in order, without gaps; parents before children. No more rows than kernels can count.
fn check(segments: &[Segment]) -> Result<()> {
    let mut next = 0;
    for (index, Segment { rows, parent }) in segments.iter().enumerate() {
        let in_order = rows.start == next && rows.end >= rows.start && rows.end <= i32::MAX as usize / 2;
        if !in_order || parent.is_some_and(|parent| parent >= index) {
            let message = format!("segment {index}: rows {rows:?} of parent {parent:?} after row {next}");
            return Err(DeviceError::operation("packed batch", message));
        }
        next = rows.end;
    }
    Ok(())
}

impl Lists {
    /// `part_rows`: how many query rows a part of a block of keys has, at most, in whole blocks.
    fn new(segments: &[Segment], part_rows: usize) -> Self {
        let part_rows = part_rows.next_multiple_of(BACKWARD_BLOCK);
        let mut lists = Lists::default();
        // With how much work each block is, so that the longest come first and no long one is left over in the end.
        let mut queries: Vec<(usize, [i32; 4])> = Vec::new();
        let mut keys: Vec<(usize, [i32; 5])> = Vec::new();
        let mut seen_by: Vec<Vec<Range<usize>>> = vec![Vec::new(); segments.len()];
        for segment in segments.iter().filter(|segment| !segment.rows.is_empty()) {
            let mut chain = vec![&segment.rows];
            let mut next = segment.parent;
            while let Some(ancestor) = next {
                join(&mut seen_by[ancestor], segment.rows.clone());
                chain.push(&segments[ancestor].rows);
                next = segments[ancestor].parent;
            }
            let mut runs = Vec::new();
            chain.into_iter().rev().filter(|run| !run.is_empty()).for_each(|run| join(&mut runs, run.clone()));
            let first = lists.query_runs.len();
            let seen: usize = runs.iter().map(Range::len).sum();
            lists.query_runs.extend(runs.iter().map(pair));
            for block in blocks(&segment.rows, QUERY_BLOCK) {
                let [start, end] = pair(&block);
                let work = block.len() * (seen - (segment.rows.end - block.end));
                queries.push((work, [start, end, first as i32, lists.query_runs.len() as i32]));
            }
        }
        for (segment, seen_by) in segments.iter().zip(&seen_by) {
            for block in blocks(&segment.rows, BACKWARD_BLOCK) {
                let [start, end] = pair(&block);
                let mut runs = Vec::new();
                join(&mut runs, block.start..segment.rows.end);
                seen_by.iter().for_each(|run| join(&mut runs, run.clone()));
                let parts = cut(runs, part_rows);
                let slots = lists.slots;
                if parts.len() > 1 {
                    lists.slots += parts.len();
                    lists.sums.push([start, end, slots as i32, lists.slots as i32]);
                }
                for (number, part) in parts.iter().enumerate() {
                    let slot = if parts.len() > 1 { (slots + number) as i32 } else { -1 };
                    let first = lists.key_runs.len() as i32;
                    lists.key_runs.extend(part.iter().map(pair));
                    let work = part.iter().map(Range::len).sum();
                    keys.push((work, [start, end, first, lists.key_runs.len() as i32, slot]));
                }
            }
        }
        // Stable: the same batch gives the same lists.
        queries.sort_by_key(|(work, _)| std::cmp::Reverse(*work));
        keys.sort_by_key(|(work, _)| std::cmp::Reverse(*work));
        lists.query_blocks = queries.into_iter().map(|(_, block)| block).collect();
        lists.key_blocks = keys.into_iter().map(|(_, block)| block).collect();
        lists
    }
}

/// A range as kernels take it. `check` has seen that its numbers fit.
fn pair(rows: &Range<usize>) -> [i32; 2] {
    [rows.start as i32, rows.end as i32]
}

/// Appends rows to runs of rows, to the last run if they follow it.
fn join(runs: &mut Vec<Range<usize>>, rows: Range<usize>) {
    match runs.last_mut() {
        Some(last) if last.end == rows.start => last.end = rows.end,
        _ => runs.push(rows),
    }
}

/// Rows in blocks of at most `size`.
fn blocks(rows: &Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.clone().step_by(size).map(move |start| start..(start + size).min(end))
}

/// Cuts runs into parts of about `size` rows: a run is cut after whole blocks only.
fn cut(runs: Vec<Range<usize>>, size: usize) -> Vec<Vec<Range<usize>>> {
    let mut parts = vec![Vec::new()];
    let mut left = size;
    for mut run in runs {
        while !run.is_empty() {
            if left == 0 {
                parts.push(Vec::new());
                left = size;
            }
            let taken = run.len().min(left.next_multiple_of(BACKWARD_BLOCK));
            let last = parts.len() - 1;
            parts[last].push(run.start..run.start + taken);
            run.start += taken;
            left = left.saturating_sub(taken);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of these lengths and parents.
    fn segments(of: &[(usize, Option<usize>)]) -> Vec<Segment> {
        let mut end = 0;
        let segment = |&(len, parent): &(usize, Option<usize>)| {
            end += len;
            Segment { rows: end - len..end, parent }
        };
        of.iter().map(segment).collect()
    }

    /// Whether a row sees another, by the definition.
    fn sees(segments: &[Segment], row: usize, other: usize) -> bool {
        let own = segments.iter().position(|segment| segment.rows.contains(&row)).unwrap();
        let mut next = segments[own].parent;
        while let Some(ancestor) = next {
            if segments[ancestor].rows.contains(&other) {
                return true;
            }
            next = segments[ancestor].parent;
        }
        segments[own].rows.contains(&other) && other <= row
    }

    #[test]
    fn each_pair_of_rows_is_met_once() {
        let trees = [
            segments(&[(300, None)]),
            segments(&[
                (1, None),
                (63, Some(0)),
                (64, Some(0)),
                (0, Some(2)),
                (65, Some(3)),
                (130, None),
                (3, Some(5)),
            ]),
            segments(&[(70, None), (129, Some(0)), (5, Some(0)), (200, Some(1)), (9, Some(2)), (1, Some(1))]),
            segments(&[]),
        ];
        for segments in &trees {
            let rows = segments.last().map_or(0, |segment| segment.rows.end);
            for part in [1, 64, 100, 4096] {
                let lists = Lists::new(segments, part);
                let mut met = vec![0; rows * rows];
                for &[first, end, runs, runs_end] in &lists.query_blocks {
                    assert!(end - first <= QUERY_BLOCK as i32);
                    for &[start, run_end] in &lists.query_runs[runs as usize..runs_end as usize] {
                        for (row, other) in (first..end).flat_map(|row| (start..run_end).map(move |other| (row, other)))
                        {
                            met[row as usize * rows + other as usize] += i32::from(other <= row);
                        }
                    }
                }
                let mut seen = vec![0; rows * rows];
                for &[first, end, runs, runs_end, _] in &lists.key_blocks {
                    assert!(end - first <= BACKWARD_BLOCK as i32);
                    for &[start, run_end] in &lists.key_runs[runs as usize..runs_end as usize] {
                        for (row, other) in (start..run_end).flat_map(|row| (first..end).map(move |other| (row, other)))
                        {
                            seen[row as usize * rows + other as usize] += i32::from(other <= row);
                        }
                    }
                }
                for (row, other) in (0..rows).flat_map(|row| (0..rows).map(move |other| (row, other))) {
                    let expected = i32::from(sees(segments, row, other));
                    let at = row * rows + other;
                    assert_eq!((met[at], seen[at]), (expected, expected), "row {row} and row {other} of {segments:?}");
                }
            }
        }
    }

    #[test]
    fn parts_have_slots_of_their_own() {
        let segments = segments(&[(70, None), (300, Some(0)), (300, Some(0))]);
        let lists = Lists::new(&segments, 128);
        let mut slots: Vec<i32> = lists.key_blocks.iter().map(|block| block[4]).filter(|slot| *slot >= 0).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..lists.slots as i32).collect::<Vec<_>>());
        for &[first, end, slot, slots_end] in &lists.sums {
            let parts = lists.key_blocks.iter().filter(|block| (slot..slots_end).contains(&block[4]));
            assert!(parts.map(|block| (block[0], block[1])).all(|rows| rows == (first, end)));
        }
        // The first block of the prompt sees 670 rows: 5 whole parts and a rest.
        assert_eq!(lists.sums[0], [0, 64, 0, 6]);
    }

    #[test]
    fn segments_out_of_order_are_refused() {
        check(&segments(&[(2, None), (0, Some(0)), (3, Some(1))])).unwrap();
        check(&segments(&[(2, Some(0))])).unwrap_err();
        check(&[Segment { rows: 1..3, parent: None }]).unwrap_err();
    }
}
