//! A reward in Python: a function with TRL's signature, called on whole groups in the sandbox.
//!
//! Each call has a fresh interpreter, in which the file is run and the function called once (`driver.py`): so a score
//! depends on nothing but the group, whatever the file keeps in globals. The function is given `prompts`, `completions`,
//! `completion_ids` and the task's columns as lists with one element per completion, all by name, as far as it takes them.
//! Deviations from TRL: a column that is not asked for by name is left out where there is no `**kwargs`; there is no
//! `trainer_state`, `log_extra` or `log_metric`; an `async def` may wait for nothing; NaN is an error, not `None`, and so is an
//! iterator in place of a list.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::{Cause, Limits, Outcome, Python};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{CustomReward, DEFAULT_FUNCTION, Grader, problem};
use crate::parameter::Given;
use crate::{Reference, RewardError, Sample, Score};

const DRIVER: &str = include_str!("driver.py");
/// Before the driver's answer on standard output, where the reward could only write around its own `print`.
const MARK: &str = "-- the answer of the reward driver: ";
/// Characters of a line of the file that are shown.
const SHOWN_LINE: usize = 160;

/// A function of a Python file.
pub(super) struct PythonReward {
    name: String,
    path: PathBuf,
    source: String,
    function: String,
    parameters: Given,
    conversational: Option<bool>,
    python: Arc<Python>,
    limits: Limits,
}

/// What the driver answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    scores: Option<Vec<Option<f64>>>,
    problem: Option<String>,
    line: Option<u64>,
    hint: Option<String>,
    printed: String,
}

impl PythonReward {
    /// Reads the file, runs it, and looks for the function and its parameters.
    pub(super) fn new(
        name: &str,
        custom: &CustomReward,
        parameters: &Given,
        python: Arc<Python>,
        limits: Limits,
    ) -> Result<Self, RewardError> {
        let source = std::fs::read(&custom.path)
            .map_err(|error| problem(name, &custom.path, format!("has a file that cannot be read: {error}"), None))?;
        let source = String::from_utf8(source).map_err(|error| {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            problem(name, &custom.path, "has a file that is not UTF-8", Some(line as u64 + 1))
        })?;
        let reward = Self {
            name: name.to_owned(),
            path: custom.path.clone(),
            source,
            function: custom.function.clone().unwrap_or_else(|| DEFAULT_FUNCTION.to_owned()),
            parameters: parameters.clone(),
            conversational: custom.conversational,
            python,
            limits,
        };
        let answer = reward.call(None)?;
        reward.scores(answer)?;
        // What is printed while the file is run would be printed with every group.
        Ok(reward)
    }

    /// One call in a fresh interpreter; without a group, a look at the file alone.
    fn call(&self, samples: Option<&[Sample<'_>]>) -> Result<Answer, RewardError> {
        let conversational = samples.is_some_and(|samples| self.is_conversational(samples));
        let group = samples.map(|samples| {
            json!({
                "prompts": samples.iter().map(|sample| prompt(sample, conversational)).collect::<Vec<_>>(),
                "completions": samples.iter().map(|sample| completion(sample, conversational)).collect::<Vec<_>>(),
                "completion_ids": samples.iter().map(|sample| sample.completion_ids).collect::<Vec<_>>(),
            })
        });
        let input = json!({
            "mark": MARK,
            "path": self.path.display().to_string(),
            "source": self.source,
            "function": self.function,
            "parameters": self.parameters,
            "group": group,
            "columns": columns(samples.unwrap_or_default()),
        });
        let input = input.to_string();
        let run = || self.python.run(DRIVER, &input, &self.limits);
        // A failure of the host is tried once more, as for programs that are graded.
        let outcome =
            run().or_else(|_| run()).map_err(|source| RewardError::Sandbox { reward: self.name.clone(), source })?;
        self.answer(&outcome, samples.map_or(0, <[_]>::len))
    }

    fn answer(&self, outcome: &Outcome, completions: usize) -> Result<Answer, RewardError> {
        let doing = match completions {
            0 => "while its file was read".to_owned(),
            1 => "while it scored a completion".to_owned(),
            many => format!("while it scored a group of {many} completions"),
        };
        let ended = |what: &str| Err(problem(&self.name, &self.path, format!("{what} {doing}"), None));
        match outcome.cause {
            Cause::Ok => {}
            Cause::OutOfFuel => return ended(&format!("took more than {:e} units of work", self.limits.fuel as f64)),
            Cause::OutOfMemory => {
                return ended(&format!("took more than {} MiB of memory", self.limits.memory_bytes >> 20));
            }
            Cause::TooMuchOutput => return ended(&format!("wrote more than {} bytes", self.limits.output_bytes)),
            Cause::TimedOut => return ended(&format!("took more than {} seconds", self.limits.wall.as_secs())),
            Cause::Exit => return ended("ended the interpreter"),
            Cause::AssertionFailed | Cause::Exception | Cause::SyntaxError => {
                return ended(&format!("broke the interpreter ({})", outcome.detail));
            }
        }
        // On a line of its own: within the answer a completion that was printed may say the same, but JSON has no line breaks.
        let mark = format!("\n{MARK}");
        let answer = outcome.stdout.rsplit_once(&mark).and_then(|(_, answer)| serde_json::from_str(answer.trim()).ok());
        match answer {
            Some(answer) => Ok(answer),
            None => ended("hid the driver's answer"),
        }
    }

    /// The scores of an answer, or what is wrong with the reward.
    fn scores(&self, answer: Answer) -> Result<Vec<Option<f64>>, RewardError> {
        let Some(what) = answer.problem else { return Ok(answer.scores.unwrap_or_default()) };
        let mut error = problem(&self.name, &self.path, what, answer.line);
        let line = answer.line.and_then(|line| Some((line, self.source.lines().nth(usize::try_from(line).ok()? - 1)?)));
        if let Some((number, line)) = line {
            let line: String = line.trim_end().chars().take(SHOWN_LINE).collect();
            error = error.showing(format!("{number} | {line}"));
        }
        match answer.hint {
            Some(hint) => Err(error.hinted(hint)),
            None => Err(error),
        }
    }

    fn is_conversational(&self, samples: &[Sample<'_>]) -> bool {
        self.conversational.unwrap_or_else(|| samples.iter().any(|sample| !sample.turns.is_empty()))
    }
}

impl Grader for PythonReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn grade(&self, samples: &[Sample<'_>]) -> (String, Result<Vec<Score>, RewardError>) {
        match self.call(Some(samples)) {
            Err(error) => (String::new(), Err(error)),
            Ok(mut answer) => {
                let printed = std::mem::take(&mut answer.printed);
                let score = |value: Option<f64>| value.map_or_else(Score::not_scored, Score::of);
                (printed, self.scores(answer).map(|scores| scores.into_iter().map(score).collect()))
            }
        }
    }
}

fn prompt(sample: &Sample<'_>, conversational: bool) -> Value {
    if !conversational {
        return Value::from(sample.prompt);
    }
    let mut messages: Vec<Value> = sample.turns.iter().map(|turn| json!(turn)).collect();
    messages.push(json!({"role": "user", "content": sample.prompt}));
    Value::from(messages)
}

fn completion(sample: &Sample<'_>, conversational: bool) -> Value {
    if conversational {
        json!([{"role": "assistant", "content": sample.completion}])
    } else {
        Value::from(sample.completion)
    }
}

/// Every column that any of the samples has, as a list with one value for each; where a sample has none, null.
fn columns(samples: &[Sample<'_>]) -> Map<String, Value> {
    let rows: Vec<Map<String, Value>> = samples.iter().map(row).collect();
    let mut columns = Map::new();
    for name in rows.iter().flat_map(Map::keys) {
        if !columns.contains_key(name) {
            let values = rows.iter().map(|row| row.get(name).cloned().unwrap_or_default()).collect();
            columns.insert(name.clone(), Value::Array(values));
        }
    }
    columns
}

/// What a sample's task has beside its question: the reference by its parts, and the columns of its source, which have
/// the last word.
pub(super) fn row(sample: &Sample<'_>) -> Map<String, Value> {
    let mut row = Map::new();
    match serde_json::to_value(sample.reference) {
        Ok(Value::Object(reference)) => {
            row.extend(
                reference.iter().filter(|(key, _)| *key != "kind").map(|(key, value)| (key.clone(), value.clone())),
            );
            row.insert("reference".to_owned(), Value::Object(reference));
        }
        Ok(other) => drop(row.insert("reference".to_owned(), other)),
        // A reference is plain data.
        Err(_) => {}
    }
    if let Reference::Integer { value } = sample.reference {
        row.insert("answer".to_owned(), Value::from(value.to_string()));
    }
    row.insert("truncated".to_owned(), Value::from(sample.truncated));
    row.extend(sample.columns.clone());
    row
}
