//! Procedural task families: an endless, seeded supply of tasks with exact verifiers, and the
//! worked text that a base is pretrained on.
//!
//! A task is a pure function of (family, split, seed, index): nothing is kept between calls, so
//! any index can be made on any thread. Which split a problem belongs to follows from the problem
//! itself ([`split`]), never from the seed or the index, so the two cannot overlap.
//!
//! Each family's file says what it draws from, its range, its size and its verifier. To add one:
//! a type that is a [`problem::Problem`], and its line in [`Family`].

mod arithmetic;
mod countdown;
mod problem;
mod python;
mod split;
mod survey;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use rewards::Reference;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::error::DatasetError;
use crate::random::{Counter, hash_text};
use crate::task::{Split, Task};
use arithmetic::Chain;
use countdown::Puzzle;
use problem::Problem;
use python::Function;

pub use survey::QualityShare;

/// The families of generated tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// Chains of three or four small numbers with `+`, `-` and `*`.
    #[serde(rename = "arithmetic")]
    Arithmetic,
    /// Make a target from two or three numbers, each used once.
    #[serde(rename = "countdown")]
    Countdown,
    /// Write a one-line Python function.
    #[serde(rename = "python")]
    PythonFunctions,
}

/// How a text of the pretraining corpus was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// An answer without any work, often wrong.
    Guess,
    /// Step by step, and right.
    Worked,
    /// Step by step with one wrong step, carried on to a wrong answer.
    Slip,
    /// Work that stops short and answers what it has.
    GivesUp,
    /// A guess without the template's tags.
    Bare,
}

impl Quality {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Guess, Self::Worked, Self::Slip, Self::GivesUp, Self::Bare];
}

/// One text of the pretraining corpus: a question and somebody's response to it, good or bad.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkedText {
    /// The question, of the training split.
    pub prompt: String,
    /// What follows `Assistant:`, starting with a space.
    pub response: String,
    /// How it was written.
    pub quality: Quality,
    /// What answers to the question are compared with.
    pub reference: Reference,
    /// Whether the answer it gives is right.
    pub right: bool,
}

impl Family {
    /// Every family, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Arithmetic, Self::Countdown, Self::PythonFunctions];

    /// The name by which recipes call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic",
            Self::Countdown => "countdown",
            Self::PythonFunctions => "python",
        }
    }

    /// The `index`-th task of a split under a seed. Tasks of different indices may be equal (the
    /// families are finite); [`Family::distinct`] gives tasks that are not.
    #[must_use]
    pub fn task(self, split: Split, seed: u64, index: u64) -> Task {
        match self {
            Self::Arithmetic => self.task_of::<Chain>(split, seed, index),
            Self::Countdown => self.task_of::<Puzzle>(split, seed, index),
            Self::PythonFunctions => self.task_of::<Function>(split, seed, index),
        }
    }

    /// The first `count` different tasks of a split under a seed: an evaluation set.
    ///
    /// # Errors
    /// If the split does not hold that many tasks: when a long run of draws brings nothing new.
    pub fn distinct(self, split: Split, seed: u64, count: usize) -> Result<Vec<Task>, DatasetError> {
        let mut seen = HashSet::with_capacity(count);
        let mut tasks = Vec::with_capacity(count);
        let (mut index, mut in_vain) = (0, 0);
        while tasks.len() < count {
            // With a single one of n tasks missing, n draws miss it once in e times.
            if in_vain > 1_000 + 5 * tasks.len() {
                let (found, split) = (tasks.len(), split.label());
                return Err(DatasetError::TooFewDistinct {
                    family: self.name(),
                    split,
                    found,
                    tried: index,
                    wanted: count,
                });
            }
            let task = self.task(split, seed, index);
            index += 1;
            in_vain += 1;
            if seen.insert(task.id.clone()) {
                tasks.push(task);
                in_vain = 0;
            }
        }
        Ok(tasks)
    }

    /// A right response, worked step by step, to `self.task(split, seed, index)`.
    #[must_use]
    pub fn solution(self, split: Split, seed: u64, index: u64) -> String {
        match self {
            Self::Arithmetic => self.solution_of::<Chain>(split, seed, index),
            Self::Countdown => self.solution_of::<Puzzle>(split, seed, index),
            Self::PythonFunctions => self.solution_of::<Function>(split, seed, index),
        }
    }

    /// The `index`-th text of the pretraining corpus under a seed, on a task of the training
    /// split. The shares of the qualities are in the constants at the top of each family's file.
    #[must_use]
    pub fn worked(self, seed: u64, index: u64) -> WorkedText {
        match self {
            Self::Arithmetic => self.worked_of::<Chain>(seed, index),
            Self::Countdown => self.worked_of::<Puzzle>(seed, index),
            Self::PythonFunctions => self.worked_of::<Function>(seed, index),
        }
    }

    /// The stream of random numbers for one purpose.
    fn counter(self, purpose: &str, seed: u64, index: u64) -> Counter {
        Counter::new(&[hash_text(self.name()), hash_text(purpose), seed, index])
    }

    fn problem<P: Problem>(self, split: Split, seed: u64, index: u64) -> P {
        split::draw(split, &mut self.counter(split.label(), seed, index))
    }

    fn task_of<P: Problem>(self, split: Split, seed: u64, index: u64) -> Task {
        let problem: P = self.problem(split, seed, index);
        Task::new(self.name(), problem.prompt(), problem.reference(), split, Map::new())
    }

    fn solution_of<P: Problem>(self, split: Split, seed: u64, index: u64) -> String {
        let problem: P = self.problem(split, seed, index);
        let mut counter = self.counter("solution", seed, index);
        problem::respond(&problem, Quality::Worked, &mut counter).0
    }

    fn worked_of<P: Problem>(self, seed: u64, index: u64) -> WorkedText {
        let mut counter = self.counter("worked", seed, index);
        let problem: P = split::draw(Split::Train, &mut counter);
        let quality = counter.weighted(P::QUALITIES);
        let (response, right) = problem::respond(&problem, quality, &mut counter);
        WorkedText { prompt: problem.prompt(), response, quality, reference: problem.reference(), right }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        Self::ALL.into_iter().find(|family| family.name() == name).ok_or_else(|| DatasetError::UnknownFamily {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests;
