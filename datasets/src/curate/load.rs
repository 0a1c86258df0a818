//! `load`: rows of files and of generated families.

use std::collections::HashSet;

use rayon::prelude::*;

use super::frame::to_frame;
use super::job::{FamilySource, FileSource, Load, Source};
use super::parts::ROWS;
use super::work::Work;
use crate::error::DatasetError;
use crate::source::TaskStream;
use crate::task::Task;

pub(super) fn run(load: &Load, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let mut read_any = false;
    for source in &load.sources {
        match source {
            Source::File(file) if file.optional && !file.path.exists() => {
                work.tally.notes.push(format!("{} is not there, and was left out", file.path.display()));
            }
            Source::File(file) => {
                read_file(file, work)?;
                read_any = true;
            }
            Source::Family(family) => {
                draw_family(family, work)?;
                read_any = true;
            }
        }
    }
    if !read_any {
        let paths = load.sources.iter().filter_map(|source| match source {
            Source::File(file) => Some(file.path.display().to_string()),
            Source::Family(_) => None,
        });
        return Err(DatasetError::NoSource { paths: paths.collect::<Vec<_>>().join(", ") });
    }
    Ok(())
}

fn read_file(file: &FileSource, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let mut stream = TaskStream::open(&file.path, file.layout.as_deref(), file.on_bad_line)?;
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
        if first.is_none() {
            first = batch.bad.first().map(|bad| format!("line {}: {}", bad.line, bad.what));
        }
        put(&batch.tasks, work)?;
    }
    if let Some(first) = first {
        work.tally.rows_in += bad;
        *work.tally.dropped.entry("unreadable row".to_owned()).or_default() += bad;
        let rows = if bad == 1 { "row" } else { "rows" };
        work.tally.notes.push(format!("{}: {bad} {rows} left out, the first at {first}", file.path.display()));
    }
    Ok(())
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
        let drawn: Vec<Task> = (index..end)
            .into_par_iter()
            .map(|index| source.family.task_at(source.level, source.split, work.seed, index))
            .collect();
        let mut new = Vec::with_capacity(drawn.len());
        for task in drawn {
            // An id is 16 hex digits: a number of 64 bits.
            let key = u64::from_str_radix(&task.id, 16).unwrap_or(0);
            if found + new.len() < wanted && seen.insert(key) {
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
