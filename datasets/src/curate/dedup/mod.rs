//! `dedup`: repetitions, exact ones by fingerprint, those with the same value in a column, and near ones by [`near`]. The first
//! of equals stays; what repeats a row that goes, goes with it, since it is the same task. Of exact repetitions it is said where
//! the answer is another ([`conflict`]).

mod conflict;
mod minhash;
mod near;

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::frame::{text, to_tasks};
use super::job::{Dedup, OnConflict};
use super::text::{Reading, fingerprint, words};
use super::work::{SeenColumns, Verdict, Work, each_part};
use crate::error::DatasetError;
use crate::task::Task;
use conflict::Conflict;

/// The row of an earlier prompt that a row repeats.
type Repeats = Vec<Option<(u32, f32)>>;

impl Dedup {
    fn reading(&self) -> Reading {
        if self.numbers_matter { Reading::Signs } else { Reading::AnyNumber }
    }

    /// Whether exact repetitions are to have the same answer: with other numbers in the question, another one is right.
    fn compares_answers(&self) -> bool {
        self.exact && self.numbers_matter
    }
}

/// `scratch` is an empty folder for what does not fit into memory.
pub(super) fn run(dedup: &Dedup, work: &mut Work<'_>, scratch: &Path) -> Result<(), DatasetError> {
    if u32::try_from(work.input.rows()).is_err() {
        return Err(DatasetError::Frame { what: "more than 4,294,967,295 rows".to_owned() });
    }
    let (mut exact, answers) =
        if dedup.exact { exact(dedup, work)? } else { (vec![None; work.input.rows()], Vec::new()) };
    let mut conflicts = if dedup.compares_answers() { conflict::find(&exact, &answers, work)? } else { HashMap::new() };
    if dedup.on_conflict == OnConflict::Drop {
        conflict::drop_first(&mut exact, &mut conflicts);
    }
    let same = match &dedup.by {
        Some(column) => same_value(column, &exact, work)?,
        None => vec![None; exact.len()],
    };
    let near = match dedup.near {
        Some(threshold) => {
            let gone: Repeats = exact.iter().zip(&same).map(|(exact, same)| exact.or(*same)).collect();
            near::find(dedup, threshold, &gone, work, scratch)?
        }
        None => Vec::new(),
    };
    let starts = work.input.starts();
    let wanted = [&exact, &same, &near].into_iter().flatten().flatten().map(|repeat| repeat.0).collect();
    let ids = texts_of("id", wanted, work)?;
    let same_reason = format!("same {}", dedup.by.as_deref().unwrap_or_default());
    work.judge(&["id"], |part, frame| {
        let start = starts[part];
        Ok((0..frame.height())
            .map(|row| {
                let of = |first: u32| ids.get(&first).map_or("", String::as_str);
                let at = start + row;
                match (exact[at], same[at], near.get(at).copied().flatten()) {
                    (Some((first, _)), _, _) => match u32::try_from(at).ok().and_then(|at| conflicts.get(&at)) {
                        Some(Conflict { own, other }) => Verdict::drop(
                            "same question, other answer",
                            format!("`{own}`, and `{other}` in {}", of(first)),
                        ),
                        None => Verdict::drop("exact repetition", format!("of {}", of(first))),
                    },
                    (_, Some((first, _)), _) => Verdict::drop(&same_reason, format!("as {}", of(first))),
                    (_, _, Some((first, similarity))) => {
                        Verdict::drop("near repetition", format!("{similarity:.2} like {}", of(first)))
                    }
                    (None, None, None) => Verdict::Keep,
                }
            })
            .collect())
    })
}

/// For each row the first one with the same words; and what stands for its answer, where these are to be compared.
fn exact(dedup: &Dedup, work: &Work<'_>) -> Result<(Repeats, Vec<u32>), DatasetError> {
    // A fingerprint of 128 bits with its row: sorted, so that nothing but this list is kept in memory.
    let mut prints: Vec<(u64, u64, u32)> = Vec::with_capacity(work.input.rows());
    let mut answers = Vec::new();
    let columns = ["prompt", "turns", "reference"];
    each_part(
        work.input,
        work.host,
        if dedup.compares_answers() { &columns } else { &columns[..2] },
        |_, frame| {
            let prompts = text(&frame, "prompt")?;
            let turns = text(&frame, "turns")?;
            let prints = prompts.iter().zip(turns.iter()).map(|(prompt, turns)| {
                let mut words = words(prompt.unwrap_or_default(), dedup.reading());
                words.extend(self::words(turns.unwrap_or_default(), dedup.reading()));
                fingerprint(&words)
            });
            let answers = match dedup.compares_answers() {
                true => {
                    text(&frame, "reference")?.iter().map(|json| conflict::print(json.unwrap_or_default())).collect()
                }
                false => Vec::new(),
            };
            Ok((prints.collect::<Vec<_>>(), answers))
        },
        |_, (part, of_part)| {
            for (one, two) in part {
                prints.push((one, two, u32::try_from(prints.len()).unwrap_or(u32::MAX)));
            }
            answers.extend(of_part);
            Ok(())
        },
    )?;
    let rows = prints.len();
    Ok((first_of_equals(prints, rows), answers))
}

/// For each of so many rows the first one with the same print.
fn first_of_equals(mut prints: Vec<(u64, u64, u32)>, rows: usize) -> Repeats {
    let mut first_of = vec![None; rows];
    prints.sort_unstable();
    for equal in prints.chunk_by(|left, right| (left.0, left.1) == (right.0, right.1)) {
        for repeated in &equal[1..] {
            first_of[repeated.2 as usize] = Some((equal[0].2, 1.0));
        }
    }
    first_of
}

/// For each row the first one with the same value in the column. Rows without one repeat nothing, and those that repeat
/// another exactly are not looked at.
fn same_value(column: &str, exact: &Repeats, work: &Work<'_>) -> Result<Repeats, DatasetError> {
    let columns = SeenColumns::of([column]);
    let mut prints: Vec<(u64, u64, u32)> = Vec::with_capacity(exact.len());
    let mut row = 0_u32;
    each_part(
        work.input,
        work.host,
        &[],
        |_, frame| {
            let tasks = to_tasks(&frame)?;
            columns.look(&tasks);
            let print = |task: &Task| {
                let value = task.extra.get(column).filter(|value| !value.is_null())?;
                // The value as it is, not its words: `a-1` and `a 1` are two ids.
                let digest = Sha256::digest(value.to_string().as_bytes());
                let (one, two) = digest[..16].split_at(8);
                let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
                Some((number(one), number(two)))
            };
            Ok(tasks.iter().map(print).collect::<Vec<_>>())
        },
        |_, part| {
            for print in part {
                if let (Some((one, two)), None) = (print, exact[row as usize]) {
                    prints.push((one, two, row));
                }
                row += 1;
            }
            Ok(())
        },
    )?;
    columns.check(work)?;
    Ok(first_of_equals(prints, exact.len()))
}

/// What stands in a column of these rows.
fn texts_of(column: &str, mut wanted: Vec<u32>, work: &Work<'_>) -> Result<HashMap<u32, String>, DatasetError> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut texts = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return Ok(texts);
    }
    let starts = work.input.starts();
    each_part(
        work.input,
        work.host,
        &[column],
        |part, frame| {
            let start = starts[part];
            let column = text(&frame, column)?;
            let from = wanted.partition_point(|&row| (row as usize) < start);
            let here = wanted[from..].iter().take_while(|&&row| (row as usize) < start + frame.height());
            Ok(here
                .map(|&row| (row, column.get(row as usize - start).unwrap_or_default().to_owned()))
                .collect::<Vec<_>>())
        },
        |_, part| {
            texts.extend(part);
            Ok(())
        },
    )?;
    Ok(texts)
}
