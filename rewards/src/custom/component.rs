//! A reward as a WebAssembly component that exports `grading` of `wit/reward.wit`.

use std::path::PathBuf;
use std::slice;

use sandbox::{Cause, Component, Limits, SandboxError};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::python::row;
use super::{CustomReward, OnError, Prints, problem};
use crate::parameter::Given;
use crate::{Printed, Reference, Reward, RewardError, Sample, Score};

const INTERFACE: &str = "recipe:reward/grading@0.1.0";
const FUNCTION: &str = "score-group";
/// Characters of what a component says that are shown.
const SHOWN: usize = 500;
/// Lines of what it wrote before it crashed that are shown.
const SHOWN_LINES: usize = 4;

/// `sample` of the interface.
#[derive(ComponentType, Lower)]
#[component(record)]
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
    on_error: OnError,
    limits: Limits,
    prints: Prints,
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
            on_error: custom.on_error,
            limits,
            prints: Prints::default(),
        };
        reward.try_group(&[])?;
        reward.prints.take();
        Ok(reward)
    }

    fn try_group(&self, samples: &[Sample<'_>]) -> Result<Vec<Score>, RewardError> {
        let fault = |what: String| problem(&self.name, &self.path, what, None);
        let given = samples.iter().map(|sample| ComponentSample {
            prompt: sample.prompt.to_owned(),
            completion: sample.completion.to_owned(),
            completion_ids: sample.completion_ids.to_vec(),
            reference: serde_json::to_string(sample.reference).unwrap_or_default(),
            columns: serde_json::to_string(&row(sample)).unwrap_or_default(),
            truncated: sample.truncated,
        });
        let arguments: Arguments = (given.collect(), self.parameters.clone());
        let called =
            self.component.call::<Arguments, Returned>(arguments, &self.limits).map_err(|source| match source {
                SandboxError::Component { reason } => fault(format!("cannot be called: {reason}")),
                source => RewardError::Sandbox { reward: self.name.clone(), source },
            })?;
        let outcome = called.outcome;
        self.prints.push(&self.name, samples, outcome.stdout + &outcome.stderr);
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
        if scores.len() != samples.len() {
            return Err(fault(format!("returned {} scores for {} completions", scores.len(), samples.len())));
        }
        let score = |(place, score): (usize, ComponentScore)| match score.value {
            Some(value) if !value.is_finite() => Err(fault(format!(
                "returned {value} for completion {} of {}, expected a finite number",
                place + 1,
                samples.len()
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

impl Reward for ComponentReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let mut scores = self.score_group(slice::from_ref(sample))?;
        scores.pop().ok_or_else(|| problem(&self.name, &self.path, "gave no score", None))
    }

    fn needs_group(&self) -> bool {
        true
    }

    fn score_group(&self, samples: &[Sample<'_>]) -> Result<Vec<Score>, RewardError> {
        self.prints.bear(self.on_error, &self.name, samples, self.try_group(samples))
    }

    fn take_printed(&self) -> Vec<Printed> {
        self.prints.take()
    }
}
