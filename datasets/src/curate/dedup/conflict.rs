//! Rows that ask the same and have another answer: at most one of them is right, and which one the words do not say.
//!
//! Answers are those that are written out (a value, a number). They differ where the verifier takes neither for the other: 0.5
//! and 1/2 are one answer. Of programs there is no answer to compare: two lists of tests may both be right.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use rewards::{Reference, RewardSet, Sample};
use sha2::{Digest, Sha256};

use super::super::work::Work;
use super::super::write::answer_of;
use super::{Repeats, texts_of};
use crate::error::DatasetError;

/// What stands for a reference without an answer.
pub(super) const NO_ANSWER: u32 = 0;

/// How references with answers begin.
const ANSWERED: [&str; 2] = ["{\"kind\":\"math\"", "{\"kind\":\"integer\""];

/// What stands for a reference, as JSON: references with other answers have other prints. (One pair in four billion has not, and
/// then counts as a plain repetition.)
pub(super) fn print(reference: &str) -> u32 {
    if !ANSWERED.iter().any(|start| reference.starts_with(start)) {
        return NO_ANSWER;
    }
    let digest = Sha256::digest(reference.as_bytes());
    digest[..4].iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// An answer that is not that of the row which it is compared with.
pub(super) struct Conflict {
    pub(super) own: String,
    pub(super) other: String,
}

/// The rows whose answer is not that of the row which they repeat. `prints` has one for each row.
pub(super) fn find(repeats: &Repeats, prints: &[u32], work: &Work<'_>) -> Result<HashMap<u32, Conflict>, DatasetError> {
    let differ = |row: u32, first: u32| {
        let (own, other) = (prints[row as usize], prints[first as usize]);
        own != other && own != NO_ANSWER && other != NO_ANSWER
    };
    let pairs: Vec<(u32, u32)> = (0_u32..)
        .zip(repeats)
        .filter_map(|(row, repeat)| Some((row, (*repeat)?.0)))
        .filter(|&(row, first)| differ(row, first))
        .collect();
    if pairs.is_empty() {
        return Ok(HashMap::new());
    }
    let references = texts_of("reference", pairs.iter().flat_map(|&(row, first)| [row, first]).collect(), work)?;
    let rewards = work.host.rewards(false).map_err(DatasetError::host)?;
    let found = pairs.par_iter().map(|&(row, first)| {
        let conflict = conflict(&rewards, &read(&references, row)?, &read(&references, first)?)?;
        Ok(conflict.map(|conflict| (row, conflict)))
    });
    let found: Vec<Option<(u32, Conflict)>> = found.collect::<Result<_, DatasetError>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The same where no row of such a question is to stay: the first one goes as well.
pub(super) fn drop_first(repeats: &mut Repeats, conflicts: &mut HashMap<u32, Conflict>) {
    let mut rows: Vec<u32> = conflicts.keys().copied().collect();
    rows.sort_unstable();
    let mut done = HashSet::new();
    for row in rows {
        let Some((first, _)) = repeats[row as usize] else { continue };
        if done.insert(first)
            && let Some(Conflict { own, other }) = conflicts.get(&row)
        {
            let conflict = Conflict { own: other.clone(), other: own.clone() };
            repeats[first as usize] = Some((row, 1.0));
            conflicts.insert(first, conflict);
        }
    }
}

fn read(references: &HashMap<u32, String>, row: u32) -> Result<Reference, DatasetError> {
    let text = references.get(&row).map_or("", String::as_str);
    serde_json::from_str(text).map_err(|error| DatasetError::Frame { what: error.to_string() })
}

fn conflict(rewards: &RewardSet, own: &Reference, other: &Reference) -> Result<Option<Conflict>, DatasetError> {
    let (Some(answer), Some(others)) = (answer_of(own), answer_of(other)) else { return Ok(None) };
    let is_right = |answer: &str, reference: &Reference| {
        let completion = format!("<answer> {answer} </answer>");
        let breakdown = rewards.score(&Sample::new("", &completion, reference));
        let breakdown = breakdown.map_err(DatasetError::host)?;
        Ok(breakdown.total.is_some_and(|total| total >= 1.0))
    };
    let same = answer.trim() == others.trim() || is_right(&answer, other)? || is_right(&others, own)?;
    Ok((!same).then_some(Conflict { own: answer, other: others }))
}
