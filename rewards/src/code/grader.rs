//! A submission against its tests, with the whole outcome: what the reward `code` uses, and what validates tasks.
//!
//! Two kinds of tests: assertions (see [`plan`](super::plan)), and programs that read standard input and print.

use std::sync::Arc;

use sandbox::{Cause, Limits, Outcome, Python};

use super::plan::{Fault, Plan};
use crate::{RewardError, Score};

/// One test of a program that reads standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinCase {
    /// What the program reads.
    pub stdin: String,
    /// What it is to print; see [`same_output`] for what may differ.
    pub stdout: String,
}

/// A verdict and the run that led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// 1 where every test passed; else 0 with a cause, or unscorable.
    pub score: Score,
    /// How the program ended. Of several runs, the last one; fuel and seconds are those of all.
    pub outcome: Outcome,
}

/// Runs submissions against tests. Any number of threads may share one.
pub struct CodeGrader {
    python: Arc<Python>,
    limits: Limits,
}

impl CodeGrader {
    /// A grader whose programs may use `limits`, each run anew.
    #[must_use]
    pub fn new(python: Arc<Python>, limits: Limits) -> Self {
        Self { python, limits }
    }

    /// `submission` against assertions. `setup` is Python that the assertions need: imports, helpers, objects; it may
    /// use what the submission defines.
    ///
    /// # Errors
    /// Only for the host's own failures.
    pub fn grade(&self, submission: &str, setup: &str, assertions: &[String]) -> Result<Graded, RewardError> {
        let plan = Plan::new(setup, assertions);
        let program = plan.program(submission);
        let outcome = self.run(&program.text, "")?;
        let score = match outcome.cause {
            Cause::Ok => match plan.verdict(&program.marker, &outcome.stdout) {
                Ok(()) => Score::full(),
                Err(Fault::Submission(cause)) => Score::zero(cause),
                Err(Fault::Reference) => Score::unscorable("reference_syntax_error"),
            },
            cause => Score::zero(cause.name()),
        };
        Ok(Graded { score, outcome })
    }

    /// `submission` as a program that is run once for each case, up to the first that fails. It may end itself
    /// (`sys.exit`), as such programs do: what it printed decides.
    ///
    /// # Errors
    /// Only for the host's own failures.
    pub fn grade_stdin(&self, submission: &str, cases: &[StdinCase]) -> Result<Graded, RewardError> {
        let mut graded: Option<Graded> = None;
        for case in cases {
            let mut outcome = self.run(submission, &case.stdin)?;
            let score = match outcome.cause {
                Cause::Ok | Cause::Exit if same_output(&outcome.stdout, &case.stdout) => Score::full(),
                Cause::Ok | Cause::Exit => Score::zero("wrong_output"),
                cause => Score::zero(cause.name()),
            };
            if let Some(before) = &graded {
                outcome.fuel = outcome.fuel.saturating_add(before.outcome.fuel);
                outcome.seconds += before.outcome.seconds;
            }
            let passed = score == Score::full();
            graded = Some(Graded { score, outcome });
            if !passed {
                break;
            }
        }
        match graded {
            Some(graded) => Ok(graded),
            None => Ok(Graded { score: Score::unscorable("reference_without_tests"), outcome: self.run("", "")? }),
        }
    }

    /// Runs the program once, and once more if the host failed: a second failure is the caller's to report.
    fn run(&self, program: &str, stdin: &str) -> Result<Outcome, RewardError> {
        self.python
            .run(program, stdin, &self.limits)
            .or_else(|_| self.python.run(program, stdin, &self.limits))
            .map_err(|source| RewardError::Sandbox { reward: "code".to_owned(), source })
    }
}

/// Whether a judge of programming contests takes `printed` for `expected`: the same words in the same order, however
/// they are spaced.
fn same_output(printed: &str, expected: &str) -> bool {
    printed.split_whitespace().eq(expected.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_is_not_judged() {
        for (printed, expected, same) in [
            ("1 2\n", "1 2", true),
            ("1 2 \r\n3\n\n", "1 2\n3", true),
            ("12", "1 2", false),
            ("", "\n", true),
            ("1", "1.0", false),
            ("YES", "yes", false),
        ] {
            assert_eq!(same_output(printed, expected), same, "{printed:?} {expected:?}");
        }
    }
}
