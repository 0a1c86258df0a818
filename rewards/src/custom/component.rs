//! A reward as a WebAssembly component that exports `grading` of `wit/reward.wit`.

use std::path::{Path, PathBuf};

use sandbox::wasmtime::component::{ComponentType, Lift, Lower};
use sandbox::{Called, Cause, Component, Limits, SandboxError};

use super::python::row;
use super::{CustomReward, Grader, problem};
use crate::parameter::Given;
use crate::{RewardError, Sample, Score};

const INTERFACE: &str = "recipe:reward/grading@0.1.0";
const FUNCTION: &str = "score-group";
/// Characters of what a component says that are shown.
const SHOWN: usize = 500;
/// Lines of what it wrote before it crashed that are shown.
const SHOWN_LINES: usize = 4;

/// `sample` of the interface.
#[derive(ComponentType, Lower)]
#[component(record)]
#[component(wasmtime_crate = sandbox::wasmtime)]
struct ComponentSample {
    prompt: String,
    completion: String,
    #[component(name = "completion-ids")]
    completion_ids: Vec<u32>,
    reference: String,
    columns: String,
    truncated: bool,
}

/// `score` of the interface.
#[derive(ComponentType, Lift)]
#[component(record)]
#[component(wasmtime_crate = sandbox::wasmtime)]
struct ComponentScore {
    value: Option<f64>,
    cause: Option<String>,
}

type Arguments = (Vec<ComponentSample>, String);
type Returned = (Result<Vec<ComponentScore>, String>,);

/// A component of a `.wasm` file.
pub(super) struct ComponentReward {
    name: String,
    path: PathBuf,
    component: Component,
    parameters: String,
    limits: Limits,
}

impl ComponentReward {
    /// Reads and compiles the file, and asks it whether it takes the parameters.
    pub(super) fn new(
        name: &str,
        custom: &CustomReward,
        parameters: &Given,
        limits: Limits,
    ) -> Result<Self, RewardError> {
        let fault = |what: String| problem(name, &custom.path, what, None);
        if custom.function.is_some() || custom.conversational.is_some() {
            return Err(fault("is a component, which has neither `function` nor `conversational`".to_owned()));
        }
        let bytes =
            std::fs::read(&custom.path).map_err(|error| fault(format!("has a file that cannot be read: {error}")))?;
        let component = Component::new(&bytes, INTERFACE, FUNCTION).map_err(|error| wrong(name, custom, error))?;
        let reward = Self {
            name: name.to_owned(),
            path: custom.path.clone(),
            component,
            parameters: serde_json::Value::Object(parameters.clone()).to_string(),
            limits,
        };
        reward.scores(reward.call(&[])?, 0)?;
        Ok(reward)
    }

    fn call(&self, samples: &[Sample<'_>]) -> Result<Called<Returned>, RewardError> {
        let given = samples.iter().map(|sample| ComponentSample {
            prompt: sample.prompt.to_owned(),
            completion: sample.completion.to_owned(),
            completion_ids: sample.completion_ids.to_vec(),
            reference: serde_json::to_string(sample.reference).unwrap_or_default(),
            columns: serde_json::to_string(&row(sample)).unwrap_or_default(),
            truncated: sample.truncated,
        });
        let arguments: Arguments = (given.collect(), self.parameters.clone());
        self.component.call::<Arguments, Returned>(arguments, &self.limits).map_err(|source| match source {
            SandboxError::Component { reason } => {
                problem(&self.name, &self.path, format!("cannot be called: {reason}"), None)
            }
            source => RewardError::Sandbox { reward: self.name.clone(), source },
        })
    }

    /// What it returned, one score for each completion, or what is wrong with it.
    fn scores(&self, called: Called<Returned>, completions: usize) -> Result<Vec<Score>, RewardError> {
        let fault = |what: String| problem(&self.name, &self.path, what, None);
        let outcome = called.outcome;
        if outcome.cause != Cause::Ok {
            let error = fault(format!("ended with `{}`: {}", outcome.cause.name(), outcome.detail));
            // Where a guest panics, it has said why.
            let said: Vec<&str> = outcome.stderr.trim().lines().take(SHOWN_LINES).collect();
            return Err(if said.is_empty() { error } else { error.showing(said.join("\n  ")) });
        }
        let scores = match called.value {
            Some((Ok(scores),)) => scores,
            Some((Err(text),)) => {
                return Err(fault(format!("says: {}", text.chars().take(SHOWN).collect::<String>())));
            }
            None => return Err(fault("returned nothing".to_owned())),
        };
        if scores.len() != completions {
            return Err(fault(format!("returned {} scores for {completions} completions", scores.len())));
        }
        let score = |(place, score): (usize, ComponentScore)| match score.value {
            Some(value) if !value.is_finite() => Err(fault(format!(
                "returned {value} for completion {} of {completions}, expected a finite number",
                place + 1
            ))),
            None if score.cause.is_none() => Ok(Score::not_scored()),
            value => Ok(Score { value, cause: score.cause }),
        };
        scores.into_iter().enumerate().map(score).collect()
    }
}

/// What is wrong with a file that is no such component.
fn wrong(name: &str, custom: &CustomReward, error: SandboxError) -> RewardError {
    match error {
        SandboxError::Component { reason } => {
            problem(name, &custom.path, format!("has a file that is no reward: {reason}"), None)
                .hinted("a reward exports `grading` of rewards/wit/reward.wit")
        }
        source => RewardError::Sandbox { reward: name.to_owned(), source },
    }
}

impl Grader for ComponentReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn grade(&self, samples: &[Sample<'_>]) -> (String, Result<Vec<Score>, RewardError>) {
        match self.call(samples) {
            Err(error) => (String::new(), Err(error)),
            Ok(called) => {
                let printed = called.outcome.stdout.clone() + &called.outcome.stderr;
                (printed, self.scores(called, samples.len()))
            }
        }
    }
}
