//! `code` and `binary_code`: a Python submission against its tests, in the sandbox.
//!
//! ```text
//! code = passed / tests        binary_code = 1 if passed = tests, else 0
//! ```
//!
//! Tests are of three kinds ([`Reference::Tests`], [`Reference::Stdin`], [`Reference::Calls`]), and the verdict on each is
//! reached where the submission cannot reach: `assertions`, `judge`, `stdin` and `calls` say how.
//!
//! Source: Open R1's `code` and `binary_code` (the latter there is 1 from 0.99 on; here every test must pass). Deviations: a
//! test that times out or crashes counts for itself alone; output is compared whole; and where the sandbox itself fails, twice,
//! the sample is left unscored, while there it scores 0.

mod assertions;
mod calls;
mod cases;
mod grader;
mod guest;
mod judge;
mod literal;
mod memo;
mod output;
mod parse;
mod remembered;
mod source;
mod stdin;
mod visible;

use std::sync::Arc;

use sandbox::{Limits, Python, SandboxError};

use crate::parameter::OneOf;
use crate::{Reference, Reward, RewardError, Sample, Score, extract};
pub use cases::{CallCase, Checker, StdinCase, Tolerance};
pub use grader::{CodeGrader, Graded, Marking};
use memo::Memo;

crate::parameters! {
    /// What `code` can be told.
    pub(crate) CodeParameters {
        /// How tests add up: their share, the share of their weights, or all or nothing.
        score: String = "fraction".to_owned(), OneOf(&["fraction", "weighted", "all"]);
    }
}

/// The rewards `code` and `binary_code`.
pub(crate) struct Code {
    name: &'static str,
    marking: Marking,
    grader: CodeGrader,
    memo: Memo,
}

impl Code {
    /// `code`.
    pub(crate) fn new(python: Arc<Python>, limits: Limits, given: &CodeParameters) -> Self {
        let marking = match given.score.as_str() {
            "all" => Marking::All,
            "weighted" => Marking::Weighted,
            _ => Marking::Fraction,
        };
        Self { name: "code", marking, grader: CodeGrader::new(python, limits), memo: Memo::new() }
    }

    /// `binary_code`: whether all of them pass.
    pub(crate) fn binary(python: Arc<Python>, limits: Limits) -> Self {
        let all = CodeParameters { score: "all".to_owned() };
        Self { name: "binary_code", ..Self::new(python, limits, &all) }
    }
}

impl Reward for Code {
    fn name(&self) -> &str {
        self.name
    }

    fn applies(&self, reference: &Reference) -> bool {
        reference.is_code()
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        if !sample.reference.is_code() {
            return Err(RewardError::NotApplicable { reward: self.name().to_owned(), kind: sample.reference.kind() });
        }
        let Some(submission) = extract::program(sample.completion) else { return Ok(Score::zero("no_answer")) };
        let earlier: Vec<&str> = sample.turns.iter().map(|turn| turn.content.as_str()).collect();
        let question = format!("{}\n{}", earlier.join("\n"), sample.prompt);
        let key = memo::Key::asked(&question, submission, sample.reference);
        if let Some(score) = self.memo.get(&key) {
            return Ok(score);
        }
        match self.grader.grade_asked(&question, submission, sample.reference, self.marking) {
            Ok(graded) => {
                // The clock is the one cause that may differ between two runs.
                if !graded.tests.iter().any(|cause| matches!(cause, Some("timed_out" | "host_failure"))) {
                    self.memo.put(key, graded.score.clone());
                }
                Ok(graded.score)
            }
            // Limits that make no sense are whoever's who gave them.
            Err(error @ RewardError::Sandbox { source: SandboxError::Limit { .. }, .. }) => Err(error),
            Err(RewardError::Sandbox { .. }) => Ok(Score::unscorable("host_failure")),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
