//! Procedural task families: an endless, seeded supply of tasks with exact verifiers, and the
//! worked text that a base is pretrained on.
//!
//! A task is a pure function of (family, split, seed, index): nothing is kept between calls, so
//! any index can be made on any thread. Which split a problem belongs to follows from the problem
//! itself ([`split`]), never from the seed or the index, so the two cannot overlap. Which problems are the same follows from
//! the same content: those that differ in wording or order alone are one, and a set holds it once.
//!
//! There are two kinds. A base is pretrained on *worked* families ([`Family::WORKED`]): their problems come with attempts of
//! every quality, in words of a small vocabulary; each is a type that is a [`problem::Problem`]. Families with *levels*
//! ([`leveled`]) range wider and come with one right and one wrong answer. Each says what it draws from, its range and its
//! verifier.

mod arithmetic;
mod countdown;
mod leveled;
mod problem;
mod python;
mod split;
mod survey;
mod voice;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use rewards::Reference;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::error::DatasetError;
use crate::random::{Counter, hash_text};
use crate::task::{Domain, Split, Task};
use arithmetic::Chain;
use countdown::Puzzle;
use leveled::{Drawn, LEVELED, Leveled};
use problem::Problem;
use python::Function;

pub use survey::QualityShare;
pub use voice::Voice;

/// How many of 100 answers that a base reads for a family with levels are right.
const GUESS_RIGHT_PERCENT: u32 = 30;

/// The families of generated tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Family {
    /// Chains of three or four small numbers with `+`, `-` and `*`.
    Arithmetic,
    /// Make a target from two or three numbers, each used once.
    Countdown,
    /// Write a one-line Python function.
    PythonFunctions,
    /// A family with levels.
    Leveled(LeveledFamily),
}

/// One of the families with levels: its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeveledFamily(u8);

/// What a family is, for lists and data cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyDescription {
    /// What a problem is made of.
    pub draws: &'static str,
    /// Between which bounds.
    pub range: Cow<'static, str>,
    /// How an answer is judged.
    pub verifier: &'static str,
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
    /// The families that a base is pretrained on, in the order of tables.
    pub const WORKED: [Self; 3] = [Self::Arithmetic, Self::Countdown, Self::PythonFunctions];

    /// Every family: the worked ones, then those with levels.
    pub const ALL: [Self; 3 + LEVELED.len()] = {
        let mut all = [Self::Arithmetic; 3 + LEVELED.len()];
        (all[1], all[2]) = (Self::Countdown, Self::PythonFunctions);
        let mut place = 0;
        while place < LEVELED.len() {
            // There are far fewer than 256.
            all[3 + place] = Self::Leveled(LeveledFamily(place as u8));
            place += 1;
        }
        all
    };

    /// The name by which recipes call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic",
            Self::Countdown => "countdown",
            Self::PythonFunctions => "python",
            Self::Leveled(family) => family.entry().name,
        }
    }

    /// What kind of answer it asks for.
    #[must_use]
    pub fn domain(self) -> Domain {
        match self {
            Self::Arithmetic | Self::Countdown => Domain::Math,
            Self::PythonFunctions => Domain::Code,
            Self::Leveled(family) => family.entry().domain,
        }
    }

    /// How many levels of difficulty it has; the worked families have one.
    #[must_use]
    pub fn levels(self) -> u8 {
        match self {
            Self::Leveled(family) => family.entry().levels,
            _ => 1,
        }
    }

    /// What it draws from, its range and its verifier.
    #[must_use]
    pub fn description(self) -> FamilyDescription {
        let (draws, range, verifier) = match self {
            Self::Arithmetic => (
                "three or four numbers joined by +, - and *, in the words of a base's small vocabulary",
                arithmetic::range().into(),
                "the whole number, written out",
            ),
            Self::Countdown => (
                "two or three numbers and a target to make of them by +, - and *, each used once",
                countdown::range().into(),
                "the expression's value, and that it uses the numbers",
            ),
            Self::PythonFunctions => (
                "one-line Python functions of a list, a number or a word",
                python::range().into(),
                "three assertions in the sandbox",
            ),
            Self::Leveled(family) => {
                let entry = family.entry();
                (entry.draws, entry.range.into(), entry.verifier)
            }
        };
        FamilyDescription { draws, range, verifier }
    }

    /// The `index`-th task of a split under a seed. Tasks of different indices may be equal (the
    /// families are finite); [`Family::distinct`] gives tasks that are not.
    #[must_use]
    pub fn task(self, split: Split, seed: u64, index: u64) -> Task {
        self.task_at(None, split, seed, index)
    }

    /// The same at one level, of `1..=levels()`; `None` takes all of them in turn, as chance has it. The level stands among
    /// the task's further columns. A family without levels has no other than its one.
    #[must_use]
    pub fn task_at(self, level: Option<u8>, split: Split, seed: u64, index: u64) -> Task {
        self.problem_at(level, split, seed, index).1
    }

    /// The same with a hash of its content, which is equal for problems that are the same but for wording or order.
    pub(crate) fn problem_at(self, level: Option<u8>, split: Split, seed: u64, index: u64) -> (u64, Task) {
        match self {
            Self::Arithmetic => self.problem_of::<Chain>(split, seed, index),
            Self::Countdown => self.problem_of::<Puzzle>(split, seed, index),
            Self::PythonFunctions => self.problem_of::<Function>(split, seed, index),
            Self::Leveled(family) => {
                let (level, drawn) = self.drawn(family, level, split, seed, index);
                let mut extra = Map::new();
                extra.insert("level".to_owned(), level.into());
                let mut task = Task::new(self.name(), drawn.prompt, drawn.reference, split, extra);
                task.domain = family.entry().domain;
                (hash_text(&drawn.content), task)
            }
        }
    }

    /// A right answer and a wrong one to `self.task_at(level, split, seed, index)`; none for the worked families, whose
    /// attempts [`Family::worked`] gives.
    #[must_use]
    pub fn answers(self, level: Option<u8>, split: Split, seed: u64, index: u64) -> Option<(String, String)> {
        let Self::Leveled(family) = self else { return None };
        let (_, drawn) = self.drawn(family, level, split, seed, index);
        Some((drawn.right, drawn.wrong))
    }

    fn drawn(self, family: LeveledFamily, level: Option<u8>, split: Split, seed: u64, index: u64) -> (u8, Drawn) {
        let entry = family.entry();
        let mut counter = self.counter(split.label(), seed, index);
        // Asked for or not, the level takes one draw; so a level's tasks are those that it has among all levels' seeds.
        let any = 1 + counter.below(usize::from(entry.levels)) as u8;
        let level = level.map_or(any, |level| level.clamp(1, entry.levels));
        // Ends: each draw is on this side of the fence with at least one chance in eight.
        loop {
            let drawn = (entry.draw)(level, &mut counter);
            if split::of(&drawn.content) == split {
                return (level, drawn);
            }
        }
    }

    /// The first tasks of `count` different problems of a split under a seed: an evaluation set. Tasks that ask the same in
    /// other words or another order are one problem.
    ///
    /// # Errors
    /// If the split does not hold that many tasks: when a long run of draws brings nothing new.
    pub fn distinct(self, split: Split, seed: u64, count: usize) -> Result<Vec<Task>, DatasetError> {
        self.distinct_at(None, split, seed, count)
    }

    /// The same at one level.
    ///
    /// # Errors
    /// As [`Family::distinct`].
    pub fn distinct_at(
        self,
        level: Option<u8>,
        split: Split,
        seed: u64,
        count: usize,
    ) -> Result<Vec<Task>, DatasetError> {
        // Not with room for `count`: a level may have far fewer.
        let (mut seen, mut tasks) = (HashSet::new(), Vec::new());
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
            let (content, task) = self.problem_at(level, split, seed, index);
            index += 1;
            in_vain += 1;
            if seen.insert(content) {
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
            Self::Leveled(family) => {
                let (_, drawn) = self.drawn(family, None, split, seed, index);
                format!(" <think> {} </think> <answer> {} </answer>", problem::GUESS_THINK, drawn.right)
            }
        }
    }

    /// The `index`-th text of the pretraining corpus under a seed, on a task of the training
    /// split. The shares of the qualities are in the constants at the top of each family's file.
    #[must_use]
    pub fn worked(self, seed: u64, index: u64) -> WorkedText {
        self.worked_in(Voice::Terse, seed, index)
    }

    /// The same, its thought put into words in some voice. Families with levels have no work to put into words.
    #[must_use]
    pub fn worked_in(self, voice: Voice, seed: u64, index: u64) -> WorkedText {
        match self {
            Self::Arithmetic => self.worked_of::<Chain>(voice, seed, index),
            Self::Countdown => self.worked_of::<Puzzle>(voice, seed, index),
            Self::PythonFunctions => self.worked_of::<Function>(voice, seed, index),
            Self::Leveled(family) => self.guess_of(family, seed, index),
        }
    }

    /// The stream of random numbers for one purpose.
    fn counter(self, purpose: &str, seed: u64, index: u64) -> Counter {
        Counter::new(&[hash_text(self.name()), hash_text(purpose), seed, index])
    }

    fn problem<P: Problem>(self, split: Split, seed: u64, index: u64) -> P {
        split::draw(split, &mut self.counter(split.label(), seed, index))
    }

    fn problem_of<P: Problem>(self, split: Split, seed: u64, index: u64) -> (u64, Task) {
        let problem: P = self.problem(split, seed, index);
        let task = Task::new(self.name(), problem.prompt(), problem.reference(), split, Map::new());
        (hash_text(&problem.content()), task)
    }

    fn solution_of<P: Problem>(self, split: Split, seed: u64, index: u64) -> String {
        let problem: P = self.problem(split, seed, index);
        let mut counter = self.counter("solution", seed, index);
        problem::respond(&problem, Quality::Worked, Voice::Terse, &mut counter).0
    }

    /// There are no worked steps to show: a base reads the form of an answer, right in some cases.
    fn guess_of(self, family: LeveledFamily, seed: u64, index: u64) -> WorkedText {
        let (_, drawn) = self.drawn(family, None, Split::Train, seed, index);
        let mut counter = self.counter("guess", seed, index);
        let right = counter.percent(GUESS_RIGHT_PERCENT);
        let answer = if right { drawn.right } else { drawn.wrong };
        let response = format!(" <think> {} </think> <answer> {answer} </answer>", problem::GUESS_THINK);
        WorkedText { prompt: drawn.prompt, response, quality: Quality::Guess, reference: drawn.reference, right }
    }

    fn worked_of<P: Problem>(self, voice: Voice, seed: u64, index: u64) -> WorkedText {
        let mut counter = self.counter("worked", seed, index);
        let problem: P = split::draw(Split::Train, &mut counter);
        let quality = counter.weighted(P::QUALITIES);
        let (response, right) = problem::respond(&problem, quality, voice, &mut counter);
        WorkedText { prompt: problem.prompt(), response, quality, reference: problem.reference(), right }
    }
}

impl LeveledFamily {
    fn entry(self) -> &'static Leveled {
        // Made by `Family::ALL` only, from the places of this very list.
        &LEVELED[usize::from(self.0)]
    }
}

impl From<Family> for &'static str {
    fn from(family: Family) -> Self {
        family.name()
    }
}

impl TryFrom<String> for Family {
    type Error = DatasetError;

    fn try_from(name: String) -> Result<Self, DatasetError> {
        name.parse()
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
