//! `decontaminate`: rows that share a run of words with an evaluation set.
//!
//! Open R1 and others before it call a prompt contaminated where any of its n-grams of words occurs in the prompt of an
//! evaluation task (n = 8 there). Here words are runs of letters and digits, as in [`super::text`], of a question and of what
//! was said before it. A prompt of fewer than n words is one run by itself, so short evaluation questions are found too where
//! they stand alone; they are not searched within longer rows. The sentences that our adapters write beside a question
//! ([`REQUESTS`]) count as if they were not there: every row of a layout has them. The code that they show behind one is left
//! out of evaluation sets, where it is known what an adapter showed. In a row that is judged it can share nothing with them then,
//! and stays: somebody else may have written such a sentence, with a question behind it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::path::Path;

use super::frame::said;
use super::job::{Decontaminate, EvaluationSet};
use super::text::{Reading, composed, each_word, runs, words, words_into};
use super::work::{Verdict, Work};
use crate::error::DatasetError;
use crate::source::hub::HubName;
use crate::source::{OnBadLine, REQUESTS, TaskStream, before_shown_code};
use crate::task::conversation;

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
    /// The words of each of [`REQUESTS`].
    requests: Vec<Vec<u64>>,
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
        let requests = REQUESTS.iter().map(|request| words(request, Reading::Plain));
        Self {
            runs: HashMap::default(),
            known: vec![0; 1 << (BITS - 6)],
            names: Vec::new(),
            size,
            requests: requests.collect(),
        }
    }

    fn build(step: &Decontaminate, notes: &mut Vec<String>) -> Result<Self, DatasetError> {
        let mut index = Self::new(step.ngram);
        for set in &step.against {
            if set.optional && !set.path.exists() {
                notes.push(format!("{} is not there, so nothing was compared with it", set.path.display()));
                continue;
            }
            let number = u16::try_from(index.names.len()).unwrap_or(u16::MAX);
            index.names.push(name_of(&set.path));
            index.read(set, number, notes)?;
        }
        Ok(index)
    }

    /// Takes in the questions of a set. One whose row is otherwise of no use to us is a question all the same.
    fn read(&mut self, set: &EvaluationSet, number: u16, notes: &mut Vec<String>) -> Result<(), DatasetError> {
        let mut stream = TaskStream::open(&set.path, set.layout.as_deref(), OnBadLine::Skip)?;
        let (mut without, mut first) = (0, None);
        while let Some(questions) = stream.next_questions()? {
            questions.said.iter().for_each(|question| self.add(question, number));
            without += questions.without.len();
            first = first.or_else(|| questions.without.into_iter().next());
        }
        if let Some(first) = first {
            let rows = if without == 1 { "row has" } else { "rows have" };
            let place = format!("the first at {} {}: {}", stream.place(), first.line, first.what);
            notes.push(format!("{}: {without} {rows} no question to compare with, {place}", set.path.display()));
        }
        Ok(())
    }

    fn add(&mut self, text: &str, set: u16) {
        let mut words = words(text, Reading::Plain);
        self.leave_out_requests(&mut words);
        for run in runs(&words, self.size) {
            let (word, bit) = bit_of(run);
            self.known[word] |= bit;
            self.runs.entry(run).or_insert(set);
        }
    }

    /// Takes out the words of [`REQUESTS`], and says where they were.
    fn leave_out_requests(&self, words: &mut Vec<u64>) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let here = |request: &&Vec<u64>| request[0] == words[at] && words[at..].starts_with(request);
            match self.requests.iter().find(here) {
                Some(request) => {
                    found.push(at..at + request.len());
                    at += request.len();
                }
                None => at += 1,
            }
        }
        found.iter().rev().for_each(|range| drop(words.drain(range.clone())));
        found
    }

    /// The set that shares a run with the text, and the first such run as it stands there. `words` is memory to work in.
    ///
    /// A question of few words is one run by itself: it is looked for without the code that may be shown behind it too.
    fn find(&self, text: &str, words: &mut Vec<u64>) -> Option<(&str, String)> {
        self.find_in(text, words).or_else(|| self.find_in(before_shown_code(text)?, words))
    }

    fn find_in(&self, text: &str, words: &mut Vec<u64>) -> Option<(&str, String)> {
        let text = &*composed(text);
        words_into(text, Reading::Plain, words);
        let requests = self.leave_out_requests(words);
        let (at, set) = runs(words, self.size)
            .enumerate()
            .filter(|&(_, run)| {
                let (word, bit) = bit_of(run);
                self.known[word] & bit != 0
            })
            .find_map(|(at, run)| self.runs.get(&run).map(|&set| (at, set)))?;
        let mut ranges = Vec::with_capacity(words.len());
        each_word(text, Reading::Plain, |_, range| ranges.push(range));
        requests.into_iter().rev().for_each(|range| drop(ranges.drain(range)));
        let last = (at + self.size).min(ranges.len()).saturating_sub(1);
        let shared = text.get(ranges.get(at)?.start..ranges.get(last)?.end).unwrap_or_default();
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
        return work.judge(&["prompt", "turns"], |_, frame| {
            let mut words = Vec::new();
            let judged = said(frame)?.into_iter().map(|said| match index.find(&said, &mut words) {
                None => Verdict::Keep,
                Some((set, shared)) => Verdict::drop(&format!("in {set}"), shared),
            });
            Ok(judged.collect())
        });
    }
    work.change(|task| {
        let said = conversation(&task.turns, &task.prompt);
        let Some((set, shared)) = index.find(&said, &mut Vec::new()) else { return Ok(None) };
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
        index.add("Name a prime.", 0);
        for (prompt, shared) in [
            ("Say: how  many of the FIRST ten numbers are odd", Some("how  many of the FIRST")),
            ("How many of these first ten primes are even?", None),
            ("the first ten primes, are", Some("the first ten primes, are")),
            ("compute: 3+4", Some("compute: 3+4")),
            ("Compute 3 + 4 and more than that", None),
            ("Compute 3 + 4\nAnswer with the letter of the right choice.", Some("Compute 3 + 4")),
            ("Name a prime. Write it in Python and begin so: def prime(limit):", Some("Name a prime")),
            ("Name a prime number", None),
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
