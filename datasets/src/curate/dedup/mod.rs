//! `dedup`: repetitions, exact ones by fingerprint and near ones by [`near`]. The first of equals stays.

mod minhash;
mod near;

use std::collections::HashMap;
use std::path::Path;

use super::frame::text;
use super::job::Dedup;
use super::text::{Reading, fingerprint, words};
use super::work::{Verdict, Work, each_part};
use crate::error::DatasetError;

/// The row of an earlier prompt that a row repeats.
type Repeats = Vec<Option<(u32, f32)>>;

impl Dedup {
    fn reading(&self) -> Reading {
        if self.numbers_matter { Reading::Signs } else { Reading::AnyNumber }
    }
}

/// `scratch` is an empty folder for what does not fit into memory.
pub(super) fn run(dedup: &Dedup, work: &mut Work<'_>, scratch: &Path) -> Result<(), DatasetError> {
    if u32::try_from(work.input.rows()).is_err() {
        return Err(DatasetError::Frame { what: "more than 4,294,967,295 rows".to_owned() });
    }
    let exact = if dedup.exact { exact(dedup, work)? } else { vec![None; work.input.rows()] };
    let near = match dedup.near {
        Some(threshold) => near::find(dedup, threshold, &exact, work, scratch)?,
        None => Vec::new(),
    };
    let starts = work.input.starts();
    let ids = ids_of_first(&exact, &near, work)?;
    work.judge(&["id"], |part, frame| {
        let start = starts[part];
        Ok((0..frame.height())
            .map(|row| {
                let of = |first: u32| ids.get(&first).map_or("", String::as_str);
                match (exact[start + row], near.get(start + row).copied().flatten()) {
                    (Some((first, _)), _) => Verdict::drop("exact repetition", format!("of {}", of(first))),
                    (None, Some((first, similarity))) => {
                        Verdict::drop("near repetition", format!("{similarity:.2} like {}", of(first)))
                    }
                    (None, None) => Verdict::Keep,
                }
            })
            .collect())
    })
}

/// For each row the first one with the same words.
fn exact(dedup: &Dedup, work: &Work<'_>) -> Result<Repeats, DatasetError> {
    // A fingerprint of 128 bits with its row: sorted, so that nothing but this list is kept in memory.
    let mut prints: Vec<(u64, u64, u32)> = Vec::with_capacity(work.input.rows());
    each_part(
        work.input,
        work.host,
        &["prompt", "turns"],
        |_, frame| {
            let prompts = text(&frame, "prompt")?;
            let turns = text(&frame, "turns")?;
            Ok(prompts
                .iter()
                .zip(turns.iter())
                .map(|(prompt, turns)| {
                    let mut words = words(prompt.unwrap_or_default(), dedup.reading());
                    words.extend(self::words(turns.unwrap_or_default(), dedup.reading()));
                    fingerprint(&words)
                })
                .collect::<Vec<_>>())
        },
        |_, part| {
            for (one, two) in part {
                prints.push((one, two, u32::try_from(prints.len()).unwrap_or(u32::MAX)));
            }
            Ok(())
        },
    )?;
    let mut first_of = vec![None; prints.len()];
    prints.sort_unstable();
    for equal in prints.chunk_by(|left, right| (left.0, left.1) == (right.0, right.1)) {
        for repeated in &equal[1..] {
            first_of[repeated.2 as usize] = Some((equal[0].2, 1.0));
        }
    }
    Ok(first_of)
}

/// The ids of rows that others repeat, for the report.
fn ids_of_first(exact: &Repeats, near: &Repeats, work: &Work<'_>) -> Result<HashMap<u32, String>, DatasetError> {
    let mut wanted: Vec<u32> = exact.iter().chain(near).flatten().map(|repeat| repeat.0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut ids = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return Ok(ids);
    }
    let starts = work.input.starts();
    each_part(
        work.input,
        work.host,
        &["id"],
        |part, frame| {
            let start = starts[part];
            let column = text(&frame, "id")?;
            let from = wanted.partition_point(|&row| (row as usize) < start);
            let here = wanted[from..].iter().take_while(|&&row| (row as usize) < start + frame.height());
            Ok(here
                .map(|&row| (row, column.get(row as usize - start).unwrap_or_default().to_owned()))
                .collect::<Vec<_>>())
        },
        |_, part| {
            ids.extend(part);
            Ok(())
        },
    )?;
    Ok(ids)
}
