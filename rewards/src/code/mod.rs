//! `code`: a Python submission against assertions, in the sandbox.
//!
//! 1 only where every assertion passes; else 0, with the sandbox's cause. The tests are kept from the
//! submission as far as one interpreter allows: see [`plan`] for which values are judged out here, where no
//! guest can reach, and `harness.py` for the rest.

mod grader;
mod literal;
mod memo;
mod plan;
mod source;

use std::sync::Arc;

use sandbox::{Cause, Limits, Python};

use crate::{Reference, Reward, RewardError, Sample, Score, extract};
pub use grader::{CodeGrader, Graded, StdinCase};
use memo::Memo;

/// The reward `code`.
pub(crate) struct Code {
    grader: CodeGrader,
    memo: Memo,
}

impl Code {
    pub(crate) fn new(python: Arc<Python>, limits: Limits) -> Self {
        Self { grader: CodeGrader::new(python, limits), memo: Memo::new() }
    }
}

impl Reward for Code {
    fn name(&self) -> &str {
        "code"
    }

    fn applies(&self, reference: &Reference) -> bool {
        matches!(reference, Reference::Tests { .. })
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let Reference::Tests { setup, assertions } = sample.reference else {
            return Err(RewardError::NotApplicable { reward: self.name().to_owned(), kind: sample.reference.kind() });
        };
        if assertions.is_empty() {
            return Ok(Score::unscorable("reference_without_tests"));
        }
        let Some(submission) = extract::program(sample.completion) else { return Ok(Score::zero("no_answer")) };
        let key = memo::Key::new(submission, setup, assertions);
        if let Some(score) = self.memo.get(&key) {
            return Ok(score);
        }
        let graded = self.grader.grade(submission, setup, assertions)?;
        // The clock is the one cause that may differ between two runs.
        if graded.outcome.cause != Cause::TimedOut {
            self.memo.put(key, graded.score.clone());
        }
        Ok(graded.score)
    }
}

#[cfg(test)]
mod tests;
