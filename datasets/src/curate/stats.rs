//! What a set of tasks is like: counts by source, domain, split and kind of reference, lengths, difficulty.

use std::collections::BTreeMap;

use super::filter::language;
use super::frame::to_tasks;
use super::parts::Parts;
use crate::error::DatasetError;
use crate::task::Task;

/// To tell a language takes longer than all other counts.
const EVERY: u64 = 64;

/// Counts of values in steps of equal width.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// How many values lie in each step; the key is the step's number from 0.
    pub bins: BTreeMap<u64, u64>,
    /// How wide a step is.
    pub width: f64,
}

impl Histogram {
    fn of_width(width: f64) -> Self {
        Self { bins: BTreeMap::new(), width }
    }

    fn add(&mut self, value: f64) {
        // Negative and huge values saturate.
        *self.bins.entry((value / self.width) as u64).or_default() += 1;
    }
}

/// What a set of tasks is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// How many tasks.
    pub rows: u64,
    /// How many by source.
    pub sources: BTreeMap<String, u64>,
    /// How many by domain.
    pub domains: BTreeMap<&'static str, u64>,
    /// How many by split.
    pub splits: BTreeMap<&'static str, u64>,
    /// How many by kind of reference.
    pub references: BTreeMap<&'static str, u64>,
    /// Further columns and in how many rows they stand.
    pub columns: BTreeMap<String, u64>,
    /// The languages of some of the prompts: all of a small set, one in 64 of a large one.
    pub languages: BTreeMap<&'static str, u64>,
    /// Words of the prompts, in steps of 10.
    pub words: Histogram,
    /// All words of all prompts.
    pub total_words: u64,
    /// Difficulties, in steps of a tenth.
    pub difficulty: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            rows: 0,
            sources: BTreeMap::new(),
            domains: BTreeMap::new(),
            splits: BTreeMap::new(),
            references: BTreeMap::new(),
            columns: BTreeMap::new(),
            languages: BTreeMap::new(),
            words: Histogram::of_width(10.0),
            total_words: 0,
            difficulty: Histogram::of_width(0.1),
        }
    }
}

impl Stats {
    /// Counts one more task.
    pub fn add(&mut self, task: &Task) {
        if (self.rows < EVERY || self.rows.is_multiple_of(EVERY))
            && let Some(language) = language(&task.prompt)
        {
            *self.languages.entry(language).or_default() += 1;
        }
        self.rows += 1;
        *self.sources.entry(task.source.clone()).or_default() += 1;
        *self.domains.entry(task.domain.name()).or_default() += 1;
        *self.splits.entry(task.split.name()).or_default() += 1;
        *self.references.entry(task.reference.kind()).or_default() += 1;
        for name in task.extra.keys() {
            if let Some(count) = self.columns.get_mut(name) {
                *count += 1;
            } else {
                self.columns.insert(name.clone(), 1);
            }
        }
        let words = task.prompt.split_whitespace().count();
        self.words.add(words as f64);
        self.total_words += words as u64;
        if let Some(difficulty) = task.difficulty {
            self.difficulty.add(difficulty);
        }
    }

    /// The mean number of words of a prompt.
    #[must_use]
    pub fn mean_words(&self) -> f64 {
        self.total_words as f64 / self.rows.max(1) as f64
    }

    pub(super) fn of(parts: &Parts) -> Result<Self, DatasetError> {
        let mut stats = Self::default();
        for index in 0..parts.len() {
            to_tasks(&parts.read(index)?)?.iter().for_each(|task| stats.add(task));
        }
        Ok(stats)
    }
}
