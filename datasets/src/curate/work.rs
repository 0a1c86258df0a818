//! What every step works with: rows in, rows out, what was dropped and why.

use std::collections::BTreeMap;

use polars::prelude::{BooleanChunked, Column, DataFrame, NamedFrom, NewChunkedArray, Series};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Host;
use super::frame::{to_frame, to_tasks};
use super::parts::{Parts, PartsWriter};
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
    pub(super) kept: PartsWriter,
    pub(super) dropped: PartsWriter,
    pub(super) tally: Tally,
    pub(super) host: &'a dyn Host,
    pub(super) seed: u64,
}

impl Work<'_> {
    /// Keeps and drops rows by a verdict on each.
    pub(super) fn judge(
        &mut self,
        verdicts: impl Fn(usize, &DataFrame) -> Result<Vec<Verdict>, DatasetError> + Sync,
    ) -> Result<(), DatasetError> {
        each_part(
            self.input,
            self.host,
            |index, frame| verdicts(index, &frame).map(|verdicts| (frame, verdicts)),
            |_, (frame, verdicts)| self.put(&frame, &verdicts),
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

    /// Writes rows of one part by their verdicts.
    pub(super) fn put(&mut self, frame: &DataFrame, verdicts: &[Verdict]) -> Result<(), DatasetError> {
        let (kept, dropped) = divide(frame, verdicts)?;
        self.count(verdicts);
        self.kept.push(kept)?;
        if let Some(dropped) = dropped {
            self.dropped.push(dropped)?;
        }
        Ok(())
    }

    fn count(&mut self, verdicts: &[Verdict]) {
        self.tally.rows_in += verdicts.len() as u64;
        for verdict in verdicts {
            match verdict {
                Verdict::Keep => self.tally.rows_out += 1,
                Verdict::Drop { reason, .. } => *self.tally.dropped.entry(reason.clone()).or_default() += 1,
            }
        }
    }
}

/// Goes through the parts, as many at once as there are threads, and takes the results in their order.
pub(super) fn each_part<T: Send>(
    input: &Parts,
    host: &dyn Host,
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
            window.par_iter().map(|&index| work(index, input.read(index)?)).collect();
        for (&index, result) in window.iter().zip(results) {
            take(index, result?)?;
            done += input.heights()[index] as u64;
        }
        host.progress(done);
    }
    Ok(())
}

/// The rows that go on, and those that do not with two more columns.
fn divide(frame: &DataFrame, verdicts: &[Verdict]) -> Result<(DataFrame, Option<DataFrame>), DatasetError> {
    let broken = |error: polars::prelude::PolarsError| DatasetError::Frame { what: error.to_string() };
    let keep: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Keep).collect();
    if keep.iter().all(|&keep| keep) {
        return Ok((frame.clone(), None));
    }
    let mask = BooleanChunked::from_slice("keep".into(), &keep);
    let kept = frame.filter(&mask).map_err(broken)?;
    let mut dropped = frame.filter(&!&mask).map_err(broken)?;
    let gone = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Keep => None,
        Verdict::Drop { reason, detail } => Some((reason.as_str(), detail.as_str())),
    });
    let (reasons, details): (Vec<&str>, Vec<&str>) = gone.unzip();
    dropped.with_column(Column::from(Series::new("reason".into(), reasons))).map_err(broken)?;
    dropped.with_column(Column::from(Series::new("detail".into(), details))).map_err(broken)?;
    Ok((kept, Some(dropped)))
}
