//! What every step works with: rows in, rows out, what was dropped and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use polars::prelude::{BooleanChunked, Column, DataFrame, NamedFrom, NewChunkedArray, Series};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Host;
use super::frame::{to_frame, to_tasks};
use super::parts::{Parts, PartsWriter};
use super::stats::Stats;
use crate::error::DatasetError;
use crate::task::Task;

/// What became of the rows of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows that came in; for `load`, rows that were read.
    pub rows_in: u64,
    /// Rows that went on.
    pub rows_out: u64,
    /// How many were dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// How many were kept but changed or labelled, by what was done.
    pub marked: BTreeMap<String, u64>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Whether a row goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Drop {
        /// A few words that many rows share.
        reason: String,
        /// What is particular to the row.
        detail: String,
    },
}

impl Verdict {
    pub(super) fn drop(reason: &str, detail: impl Into<String>) -> Self {
        Self::Drop { reason: reason.to_owned(), detail: detail.into() }
    }
}

/// One step at work.
pub(super) struct Work<'a> {
    pub(super) input: &'a Parts,
    /// Rows that the step writes anew.
    pub(super) kept: PartsWriter,
    /// Which rows of each part of the input go on, where the step writes none.
    picked: Option<Vec<Vec<u32>>>,
    /// Which rows of the input do not, and why: part, row, reason, detail.
    dropped: PartsWriter,
    /// Further columns that exist, though no row need have a value there.
    pub(super) named: BTreeSet<String>,
    pub(super) tally: Tally,
    pub(super) host: &'a dyn Host,
    pub(super) seed: u64,
}

impl<'a> Work<'a> {
    /// Begins a step whose files lie in `place`.
    pub(super) fn begin(input: &'a Parts, place: &Path, host: &'a dyn Host, seed: u64) -> Result<Self, DatasetError> {
        Ok(Self {
            input,
            kept: PartsWriter::create(place.join("kept"))?,
            picked: None,
            dropped: PartsWriter::create(place.join("dropped"))?,
            named: input.named().clone(),
            tally: Tally::default(),
            host,
            seed,
        })
    }

    /// The rows that go on, the list of those that do not, and the tally.
    pub(super) fn end(self) -> Result<(Parts, Parts, Tally), DatasetError> {
        let kept = self.kept.finish()?;
        let kept = self.picked.map_or(kept, |picked| self.input.pick(&picked));
        Ok((kept.with_named(self.named), self.dropped.finish()?, self.tally))
    }

    /// Keeps and drops rows by a verdict on each, which is reached by these columns (all for none).
    pub(super) fn judge(
        &mut self,
        columns: &[&str],
        verdicts: impl Fn(usize, &DataFrame) -> Result<Vec<Verdict>, DatasetError> + Sync,
    ) -> Result<(), DatasetError> {
        self.picked = Some(Vec::with_capacity(self.input.len()));
        each_part(
            self.input,
            self.host,
            columns,
            |index, frame| verdicts(index, &frame),
            |index, verdicts| {
                let kept = (0_u32..).zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Keep);
                let rows = kept.map(|(row, _)| row).collect();
                self.picked.get_or_insert_default().push(rows);
                self.count(index, &verdicts)
            },
        )
    }

    /// Changes every row; `change` says what it did, for the tally.
    pub(super) fn change(
        &mut self,
        change: impl Fn(&mut Task) -> Result<Option<String>, DatasetError> + Sync,
    ) -> Result<(), DatasetError> {
        each_part(
            self.input,
            self.host,
            &[],
            |_, frame| {
                let mut tasks = to_tasks(&frame)?;
                let marks: Vec<_> = tasks.iter_mut().map(&change).collect::<Result<_, _>>()?;
                Ok((to_frame(&tasks)?, marks))
            },
            |_, (frame, marks)| {
                self.tally.rows_in += frame.height() as u64;
                self.tally.rows_out += frame.height() as u64;
                for mark in marks.into_iter().flatten() {
                    *self.tally.marked.entry(mark).or_default() += 1;
                }
                self.kept.push(frame)
            },
        )
    }

    /// Writes the rows of a part that go on, changed as they are in `frame`, and notes the others.
    pub(super) fn put(&mut self, index: usize, frame: &DataFrame, verdicts: &[Verdict]) -> Result<(), DatasetError> {
        let keep: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Keep).collect();
        let kept = frame
            .filter(&BooleanChunked::from_slice("keep".into(), &keep))
            .map_err(|error| DatasetError::Frame { what: error.to_string() })?;
        self.kept.push(kept)?;
        self.count(index, verdicts)
    }

    fn count(&mut self, index: usize, verdicts: &[Verdict]) -> Result<(), DatasetError> {
        self.tally.rows_in += verdicts.len() as u64;
        let (mut rows, mut reasons, mut details) = (Vec::new(), Vec::new(), Vec::new());
        for (row, verdict) in (0_u32..).zip(verdicts) {
            match verdict {
                Verdict::Keep => self.tally.rows_out += 1,
                Verdict::Drop { reason, detail } => {
                    *self.tally.dropped.entry(reason.clone()).or_default() += 1;
                    rows.push(row);
                    reasons.push(reason.as_str());
                    details.push(detail.as_str());
                }
            }
        }
        let parts = vec![u32::try_from(index).unwrap_or(u32::MAX); rows.len()];
        let columns = vec![
            Column::from(Series::new("part".into(), parts)),
            Column::from(Series::new("row".into(), &rows)),
            Column::from(Series::new("reason".into(), reasons)),
            Column::from(Series::new("detail".into(), details)),
        ];
        let frame =
            DataFrame::new(rows.len(), columns).map_err(|error| DatasetError::Frame { what: error.to_string() })?;
        self.dropped.push(frame)
    }
}

/// Further columns that a step asks for, and whether any row has each. A name that is in none is misspelt.
pub(super) struct SeenColumns<'a>(Vec<(&'a str, AtomicBool)>);

impl<'a> SeenColumns<'a> {
    pub(super) fn of(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(|name| (name, AtomicBool::new(false))).collect())
    }

    /// Looks for those that were not seen before.
    pub(super) fn look(&self, tasks: &[Task]) {
        for (name, seen) in &self.0 {
            if !seen.load(Ordering::Relaxed) && tasks.iter().any(|task| task.extra.contains_key(*name)) {
                seen.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Those that were not seen.
    pub(super) fn missing(&self) -> Vec<&'a str> {
        self.0.iter().filter(|(_, seen)| !seen.load(Ordering::Relaxed)).map(|(name, _)| *name).collect()
    }

    /// That each was seen, if there were rows at all, or is known to be a column without values.
    pub(super) fn check(&self, work: &Work<'_>) -> Result<(), DatasetError> {
        match self.missing().iter().find(|name| !work.named.contains(**name)) {
            Some(missing) if work.input.rows() > 0 => Err(no_row_has(missing, work)?),
            _ => Ok(()),
        }
    }
}

/// The error that no row has a column, with those that there are.
pub(super) fn no_row_has(column: &str, work: &Work<'_>) -> Result<DatasetError, DatasetError> {
    let found: Vec<String> = Stats::of(work.input)?.columns.into_keys().collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Ok(DatasetError::NoRowHasColumn { column: column.to_owned(), found })
}

/// Goes through the parts with these columns (all for none), as many at once as there are threads, and takes the results in
/// their order.
pub(super) fn each_part<T: Send>(
    input: &Parts,
    host: &dyn Host,
    columns: &[&str],
    work: impl Fn(usize, DataFrame) -> Result<T, DatasetError> + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let indices: Vec<usize> = (0..input.len()).collect();
    let mut done = 0;
    for window in indices.chunks(rayon::current_num_threads().max(1)) {
        if host.stop_requested() {
            return Err(DatasetError::Stopped);
        }
        let results: Vec<Result<T, DatasetError>> =
            window.par_iter().map(|&index| work(index, input.read_columns(index, columns)?)).collect();
        for (&index, result) in window.iter().zip(results) {
            take(index, result?)?;
            done += input.heights()[index] as u64;
        }
        host.progress(done);
    }
    Ok(())
}
