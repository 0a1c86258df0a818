//! `code`: a Python submission against assertions, in the sandbox.
//!
//! 1 only where every assertion passes; else 0, with the sandbox's cause. The tests are kept from the
//! submission as far as one interpreter allows: see [`plan`] for which values are judged out here, where no
//! guest can reach, and `harness.py` for the rest.

mod literal;
mod memo;
mod plan;
mod source;

use std::sync::Arc;

use sandbox::{Cause, Limits, Outcome, Python};

use crate::{Reference, Reward, RewardError, Sample, Score, extract};
use memo::Memo;
use plan::Plan;

/// The reward `code`.
pub(crate) struct Code {
    python: Arc<Python>,
    limits: Limits,
    memo: Memo,
}

impl Code {
    pub(crate) fn new(python: Arc<Python>) -> Self {
        Self { python, limits: Limits::default(), memo: Memo::new() }
    }

    /// Runs the program once, and once more if the host failed: a second failure is the caller's to report.
    fn run(&self, program: &str) -> Result<Outcome, RewardError> {
        self.python
            .run(program, "", &self.limits)
            .or_else(|_| self.python.run(program, "", &self.limits))
            .map_err(|source| RewardError::Sandbox { reward: "code".to_owned(), source })
    }

    fn judge(&self, submission: &str, setup: &str, assertions: &[String]) -> Result<Verdict, RewardError> {
        let plan = Plan::new(setup, assertions);
        let program = plan.program(submission);
        let outcome = self.run(&program.text)?;
        let score = match outcome.cause {
            Cause::Ok => match plan.verdict(&program.marker, &outcome.stdout) {
                Ok(()) => Score::full(),
                Err(plan::Fault::Submission(cause)) => Score::zero(cause),
                Err(plan::Fault::Reference) => Score::unscorable("reference_syntax_error"),
            },
            cause => Score::zero(cause.name()),
        };
        // The clock is the one cause that may differ between two runs.
        Ok(Verdict { score, repeatable: outcome.cause != Cause::TimedOut })
    }
}

/// A score, and whether the same program will always get it.
struct Verdict {
    score: Score,
    repeatable: bool,
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
        let verdict = self.judge(submission, setup, assertions)?;
        if verdict.repeatable {
            self.memo.put(key, verdict.score.clone());
        }
        Ok(verdict.score)
    }
}

#[cfg(test)]
mod tests;
