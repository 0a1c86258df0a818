//! `decontaminate`: rows that share a run of words with an evaluation set.
//!
//! Open R1 and others before it call a prompt contaminated where any of its n-grams of words occurs in the prompt of an
//! evaluation task (n = 8 there). Here words are runs of letters
//! and digits, as in [`super::text`]. A prompt of fewer than n words is one run by
//! itself, so short evaluation questions are found too where they stand alone; they are not searched within longer rows.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;

use super::frame::text;
use super::job::Decontaminate;
use super::text::{Reading, each_word, runs, words, words_into};
use super::work::{Verdict, Work};
use crate::error::DatasetError;
use crate::source::hub::HubName;
use crate::source::{OnBadLine, TaskStream};

/// Hashes are keys as they are.
#[derive(Default)]
pub(super) struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only words of 64 bits are hashed with this.
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// Every run of words of the evaluation sets, with the set that had it first.
struct Index {
    runs: HashMap<u64, u16, BuildHasherDefault<Already>>,
    /// A bit for each of the first [`BITS`] bits of a run's hash: nearly all runs of rows are told by it to be in none of
    /// the sets, without the map's cache misses.
    known: Vec<u64>,
    names: Vec<String>,
    size: usize,
}

/// With 2^22 bits (half a megabyte), a hundred thousand runs leave one in forty to the map.
const BITS: u32 = 22;

/// The word and the bit of a run.
fn bit_of(run: u64) -> (usize, u64) {
    let place = run >> (64 - BITS);
    ((place / 64) as usize, 1 << (place % 64))
}

impl Index {
    fn new(size: usize) -> Self {
        Self { runs: HashMap::default(), known: vec![0; 1 << (BITS - 6)], names: Vec::new(), size }
    }

    fn build(step: &Decontaminate, notes: &mut Vec<String>) -> Result<Self, DatasetError> {
        let mut index = Self::new(step.ngram);
        for set in &step.against {
            if set.optional && !set.path.exists() {
                notes.push(format!("{} is not there, so nothing was compared with it", set.path.display()));
                continue;
            }
            let mut stream = TaskStream::open(&set.path, set.layout.as_deref(), OnBadLine::Stop)?;
            let number = u16::try_from(index.names.len()).unwrap_or(u16::MAX);
            index.names.push(name_of(&set.path));
            while let Some(batch) = stream.next_batch()? {
                for task in &batch.tasks {
                    index.add(&task.prompt, number);
                }
            }
        }
        Ok(index)
    }

    fn add(&mut self, prompt: &str, set: u16) {
        for run in runs(&words(prompt, Reading::Plain), self.size) {
            let (word, bit) = bit_of(run);
            self.known[word] |= bit;
            self.runs.entry(run).or_insert(set);
        }
    }

    /// The set that shares a run with the prompt, and the first such run as it stands there. `words` is memory to work in.
    fn find(&self, prompt: &str, words: &mut Vec<u64>) -> Option<(&str, String)> {
        words_into(prompt, Reading::Plain, words);
        let (at, set) = runs(words, self.size)
            .enumerate()
            .filter(|&(_, run)| {
                let (word, bit) = bit_of(run);
                self.known[word] & bit != 0
            })
            .find_map(|(at, run)| self.runs.get(&run).map(|&set| (at, set)))?;
        let mut ranges = Vec::with_capacity(words.len());
        each_word(prompt, Reading::Plain, |_, range| ranges.push(range));
        let last = (at + self.size).min(ranges.len()).saturating_sub(1);
        let shared = prompt.get(ranges.get(at)?.start..ranges.get(last)?.end).unwrap_or_default();
        Some((self.names.get(usize::from(set)).map_or("", String::as_str), shared.to_owned()))
    }
}

/// What an evaluation set is called: by its file, or as the Hub calls it.
fn name_of(path: &Path) -> String {
    HubName::of_cached_file(path).map_or_else(
        || {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.split('.').next().unwrap_or(&stem).to_owned()
        },
        |(repo, _)| repo,
    )
}

pub(super) fn run(step: &Decontaminate, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let index = Index::build(step, &mut work.tally.notes)?;
    if !step.label {
        return work.judge(&["prompt"], |_, frame| {
            let prompts = text(frame, "prompt")?;
            let mut words = Vec::new();
            let judged = prompts.iter().map(|prompt| match index.find(prompt.unwrap_or_default(), &mut words) {
                None => Verdict::Keep,
                Some((set, shared)) => Verdict::drop(&format!("in {set}"), shared),
            });
            Ok(judged.collect())
        });
    }
    work.change(|task| {
        let Some((set, shared)) = index.find(&task.prompt, &mut Vec::new()) else { return Ok(None) };
        task.extra.insert("contaminated_by".to_owned(), set.into());
        task.extra.insert("contaminated_with".to_owned(), shared.into());
        Ok(Some(format!("in {set}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_run_is_found_and_shown_as_it_stands() {
        let mut index = Index { names: vec!["exam".to_owned()], ..Index::new(5) };
        index.add("How many of the first ten primes are odd?", 0);
        index.add("Compute 3 + 4", 0);
        for (prompt, shared) in [
            ("Say: how  many of the FIRST ten numbers are odd", Some("how  many of the FIRST")),
            ("How many of these first ten primes are even?", None),
            ("the first ten primes, are", Some("the first ten primes, are")),
            ("compute: 3+4", Some("compute: 3+4")),
            ("Compute 3 + 4 and more than that", None),
            ("", None),
        ] {
            assert_eq!(
                index.find(prompt, &mut Vec::new()),
                shared.map(|shared| ("exam", shared.to_owned())),
                "{prompt}"
            );
        }
    }
}
