//! `load`: rows of files and of generated families.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use rayon::prelude::*;

use serde_json::json;

use super::aside::UNREADABLE;
use super::frame::to_frame;
use super::job::{FamilySource, FileSource, Load, Source};
use super::parts::ROWS;
use super::work::Work;
use crate::error::DatasetError;
use crate::source::BadLine;
use crate::task::Task;

/// Reason of the rows that no task could be made of.
const NOT_READ: &str = "unreadable row";

/// `place` is the step's folder: the list of rows that cannot be read goes there.
pub(super) fn run(load: &Load, work: &mut Work<'_>, place: &Path) -> Result<(), DatasetError> {
    let mut read_any = false;
    for source in &load.sources {
        match source {
            Source::File(file) if file.optional && !file.path.exists() => {
                work.tally.notes.push(format!("{} is not there, and was left out", file.path.display()));
            }
            Source::File(file) => {
                read_file(file, work, place)?;
                read_any = true;
            }
            Source::Family(family) => {
                draw_family(family, work)?;
                read_any = true;
            }
        }
    }
    if read_any { Ok(()) } else { Err(load.no_source()) }
}

impl Load {
    /// The error that none of its sources is there.
    pub(super) fn no_source(&self) -> DatasetError {
        let paths = self.sources.iter().filter_map(|source| match source {
            Source::File(file) => Some(file.path.display().to_string()),
            Source::Family(_) => None,
        });
        DatasetError::NoSource { paths: paths.collect::<Vec<_>>().join(", ") }
    }
}

fn read_file(file: &FileSource, work: &mut Work<'_>, place: &Path) -> Result<(), DatasetError> {
    let mut stream = file.open()?;
    let mut bad = 0;
    let mut first = None;
    while let Some(mut batch) = stream.next_batch()? {
        if work.host.stop_requested() {
            return Err(DatasetError::Stopped);
        }
        if let Some(name) = &file.name {
            batch.tasks.iter_mut().for_each(|task| task.source.clone_from(name));
        }
        bad += batch.bad.len() as u64;
        list_unreadable(file, &batch.bad, place)?;
        if first.is_none() {
            first = batch.bad.first().map(|bad| format!("{} {}: {}", stream.place(), bad.line, bad.what));
        }
        put(&batch.tasks, work)?;
    }
    work.named.extend(stream.without_value().iter().cloned());
    if let Some(first) = first {
        work.tally.rows_in += bad;
        *work.tally.dropped.entry(NOT_READ.to_owned()).or_default() += bad;
        let rows = if bad == 1 { "row" } else { "rows" };
        work.tally.notes.push(format!("{}: {bad} {rows} left out, the first at {first}", file.path.display()));
    }
    Ok(())
}

/// Appends to the list of rows that cannot be read.
fn list_unreadable(file: &FileSource, bad: &[BadLine], place: &Path) -> Result<(), DatasetError> {
    if bad.is_empty() {
        return Ok(());
    }
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let row = |bad: &BadLine| {
        let dropped = json!({ "reason": NOT_READ, "detail": bad.what });
        json!({ "file": name, "line": bad.line, "dropped": dropped }).to_string() + "\n"
    };
    let text: String = bad.iter().map(row).collect();
    let path = place.join(UNREADABLE);
    let append = |path: &Path| -> std::io::Result<()> {
        let mut list: File = OpenOptions::new().create(true).append(true).open(path)?;
        list.write_all(text.as_bytes())
    };
    append(&path).map_err(|source| DatasetError::Write { path: path.clone(), source })
}

fn draw_family(source: &FamilySource, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let wanted = usize::try_from(source.count).unwrap_or(usize::MAX);
    let mut seen: HashSet<u64> = HashSet::new();
    let (mut found, mut index, mut in_vain) = (0, 0_u64, 0);
    while found < wanted {
        if work.host.stop_requested() {
            return Err(DatasetError::Stopped);
        }
        let end = index + (wanted - found).clamp(64, ROWS) as u64;
        let drawn: Vec<(u64, Task)> = (index..end)
            .into_par_iter()
            .map(|index| source.family.problem_at(source.level, source.split, work.seed, index))
            .collect();
        let mut new = Vec::with_capacity(drawn.len());
        for (content, task) in drawn {
            if found + new.len() < wanted && seen.insert(content) {
                in_vain = 0;
                new.push(task);
            } else {
                in_vain += 1;
            }
        }
        found += new.len();
        index = end;
        put(&new, work)?;
        // As in `Family::distinct`: with a single one missing, so many draws hardly ever miss it.
        if found < wanted && in_vain > 1_000 + 5 * found {
            return Err(DatasetError::TooFewDistinct {
                family: source.family.name(),
                split: source.split.label(),
                found,
                tried: index,
                wanted,
            });
        }
    }
    Ok(())
}

fn put(tasks: &[Task], work: &mut Work<'_>) -> Result<(), DatasetError> {
    work.tally.rows_in += tasks.len() as u64;
    work.tally.rows_out += tasks.len() as u64;
    let frames: Vec<_> = tasks.par_chunks(ROWS / 4).map(to_frame).collect();
    for frame in frames {
        work.kept.push(frame?)?;
    }
    work.host.progress(work.tally.rows_out);
    Ok(())
}
