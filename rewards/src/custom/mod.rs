//! Rewards that a recipe brings along as a file: a Python function, or a WebAssembly component.

mod component;
mod python;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::parameter::Given;
use crate::{Printed, Reference, Reward, RewardError, Sample, Score, Surroundings};
use component::ComponentReward;
use python::PythonReward;

/// Where a recipe's own reward lies, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomReward {
    /// The file: `.py`, or `.wasm`.
    pub path: PathBuf,
    /// The function in a Python file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Whether prompts and completions are lists of messages; where it is not said, those of tasks with earlier turns
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversational: Option<bool>,
    /// What to do when it fails.
    #[serde(default)]
    pub on_error: OnError,
}

/// The function of a Python file that names none.
pub const DEFAULT_FUNCTION: &str = "reward";

/// What to do when a recipe's own reward fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Stop, and say where and why: it is a fault of the reward, which only its author can mend.
    #[default]
    Stop,
    /// Leave the group unscored, with the cause `reward_failed`; what went wrong is among what it printed.
    Unscored,
}

/// What a file is, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomKind {
    /// A Python function.
    Python,
    /// A WebAssembly component.
    Component,
}

impl CustomReward {
    /// The file's own reward with all else left out.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), function: None, conversational: None, on_error: OnError::Stop }
    }

    /// What kind of reward it is; none where the name ends in neither `.py` nor `.wasm`.
    #[must_use]
    pub fn kind(&self) -> Option<CustomKind> {
        kind_of(&self.path)
    }

    /// Reads the file and tries whether there is a reward in it, but asks it nothing.
    ///
    /// # Errors
    /// [`RewardError::Custom`], with the place; the host's own failures.
    pub(crate) fn build(
        &self,
        name: &str,
        parameters: &Given,
        surroundings: &Surroundings,
    ) -> Result<Box<dyn Reward>, RewardError> {
        let limits = surroundings.limits;
        let grader: Box<dyn Grader> = match self.kind() {
            Some(CustomKind::Python) => {
                Box::new(PythonReward::new(name, self, parameters, surroundings.python(name)?, limits)?)
            }
            Some(CustomKind::Component) => Box::new(ComponentReward::new(name, self, parameters, limits)?),
            None => {
                return Err(problem(name, &self.path, "has a file of a kind that is not known", None)
                    .hinted("the name of a reward's file ends in .py or .wasm"));
            }
        };
        Ok(Box::new(FileReward { grader, on_error: self.on_error, prints: Prints::default() }))
    }
}

pub(crate) fn kind_of(path: &Path) -> Option<CustomKind> {
    match path.extension()?.to_str()? {
        "py" => Some(CustomKind::Python),
        "wasm" => Some(CustomKind::Component),
        _ => None,
    }
}

/// A fault of the reward called `name`: `what` goes on after its name.
fn problem(name: &str, path: &Path, what: impl Into<String>, line: Option<u64>) -> RewardError {
    let line = line.map_or(String::new(), |line| format!(", line {line}"));
    RewardError::Custom {
        place: format!("{}{line}", path.display()),
        reward: name.to_owned(),
        problem: what.into(),
        shown: None,
        hint: None,
    }
}

impl RewardError {
    /// Adds what to do about it.
    fn hinted(mut self, text: impl Into<String>) -> Self {
        if let RewardError::Custom { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Adds the line that it is about.
    fn showing(mut self, text: impl Into<String>) -> Self {
        if let RewardError::Custom { shown, .. } = &mut self {
            *shown = Some(text.into());
        }
        self
    }
}

/// What a file's reward does, whatever it is written in.
trait Grader: Send + Sync {
    fn name(&self) -> &str;

    fn path(&self) -> &Path;

    /// What it printed, and the scores of a group.
    fn grade(&self, samples: &[Sample<'_>]) -> (String, Result<Vec<Score>, RewardError>);
}

/// A reward in a file.
struct FileReward {
    grader: Box<dyn Grader>,
    on_error: OnError,
    prints: Prints,
}

impl Reward for FileReward {
    fn name(&self) -> &str {
        self.grader.name()
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let mut scores = self.score_group(slice::from_ref(sample))?;
        scores.pop().ok_or_else(|| problem(self.name(), self.grader.path(), "gave no score", None))
    }

    fn needs_group(&self) -> bool {
        true
    }

    /// The scores; or, where the reward failed and that is to be borne, a group without.
    fn score_group(&self, samples: &[Sample<'_>]) -> Result<Vec<Score>, RewardError> {
        let (printed, scored) = self.grader.grade(samples);
        self.prints.push(self.name(), samples, printed);
        match scored {
            Err(error @ RewardError::Custom { .. }) if self.on_error == OnError::Unscored => {
                self.prints.push(self.name(), samples, format!("{error}\n"));
                Ok(vec![Score::unscorable("reward_failed"); samples.len()])
            }
            Err(error @ RewardError::Custom { .. }) => Err(RewardError::Failed(Box::new(error))),
            other => other,
        }
    }

    fn take_printed(&self) -> Vec<Printed> {
        self.prints.take()
    }
}

/// What a recipe's own reward has printed and nobody has taken yet.
#[derive(Default)]
struct Prints(Mutex<Vec<Printed>>);

impl Prints {
    fn push(&self, reward: &str, samples: &[Sample<'_>], text: String) {
        if text.is_empty() {
            return;
        }
        let prompt = samples.first().map_or(String::new(), |sample| sample.prompt.to_owned());
        let printed = Printed { prompt, reward: reward.to_owned(), text };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(printed);
    }

    fn take(&self) -> Vec<Printed> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
