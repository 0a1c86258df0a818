//! Runs in the sandbox, each once more where the host failed, and what they use together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use sandbox::{Cause, Limits, Outcome, Python, SandboxError, Sharing};

use crate::RewardError;

pub(super) const LITERAL: &str = include_str!("literal.py");
const CANDIDATE: &str = include_str!("candidate.py");

/// Programs of one grading, and what they have used.
pub(super) struct Guest<'a> {
    python: &'a Arc<Python>,
    limits: Limits,
    /// Of all runs so far.
    pub(super) fuel: u64,
    pub(super) seconds: f64,
}

impl<'a> Guest<'a> {
    pub(super) fn new(python: &'a Arc<Python>, limits: Limits) -> Self {
        Self { python, limits, fuel: 0, seconds: 0.0 }
    }

    /// A program with room for at least `output` bytes of what it prints.
    pub(super) fn run(&mut self, program: &str, stdin: &str, output: usize) -> Result<Outcome, RewardError> {
        let limits = self.with_output(output);
        let outcome = twice(|| self.python.run(program, stdin, &limits))?;
        self.count(&outcome);
        Ok(outcome)
    }

    /// Texts after a program, each as [`Python::run_tests`] says.
    pub(super) fn run_tests(&mut self, program: &str, tests: &[&str]) -> Result<Vec<Outcome>, RewardError> {
        let limits = self.with_output(ANSWERS);
        let outcomes = twice(|| self.python.run_tests(program, tests, Sharing::Instance, &limits))?;
        // Where the program failed, its one outcome stands for all.
        let alone = outcomes.first().is_some_and(|first| outcomes.iter().all(|outcome| outcome == first));
        let ran = if alone { 1 } else { outcomes.len() };
        outcomes.iter().take(ran).for_each(|outcome| self.count(outcome));
        Ok(outcomes)
    }

    /// Whether all runs together have used several times what one may.
    pub(super) fn is_exhausted(&self) -> bool {
        self.fuel > self.limits.fuel.saturating_mul(8)
    }

    fn with_output(&self, bytes: usize) -> Limits {
        Limits { output_bytes: self.limits.output_bytes.max(bytes), ..self.limits }
    }

    fn count(&mut self, outcome: &Outcome) {
        self.fuel = self.fuel.saturating_add(outcome.fuel);
        self.seconds += outcome.seconds;
    }
}

/// What a submission may say in answer to its tests, and what it prints meanwhile.
pub(super) const ANSWERS: usize = 16 << 20;

/// Once more if the host failed: a second failure is the caller's to report.
fn twice<T>(run: impl Fn() -> Result<T, SandboxError>) -> Result<T, RewardError> {
    run().or_else(|_| run()).map_err(|source| RewardError::Sandbox { reward: "code".to_owned(), source })
}

/// The program that takes in a submission, and then answers what the texts after it ask.
pub(super) fn candidate(marker: &str, setup: &str, submission: &str) -> String {
    use super::source::quoted;
    format!("{LITERAL}\n{CANDIDATE}\n_load({}, {}, {})\n", quoted(marker), quoted(setup), quoted(submission))
}

/// What each line of an answer begins with. The same for the same parts, so that a run repeats to the unit of fuel; it depends
/// on all of them, so that no submission's text can contain its own.
pub(super) fn marker(parts: &impl Hash) -> String {
    let hash = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, parts).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", hash(1), hash(2))
}

/// The lines of an answer, without the marker.
pub(super) fn said<'a>(outcome: &'a Outcome, marker: &str) -> Vec<&'a str> {
    outcome.stdout.lines().filter_map(|line| line.strip_prefix(marker)?.strip_prefix(' ')).collect()
}

/// How a submission that did not come to the end of its tests failed, or what it says instead of an answer. `None` where the
/// outcome is to be read.
pub(super) fn failure(outcome: &Outcome, said: &[&str]) -> Option<Failure> {
    match (outcome.cause, said.last()) {
        (Cause::Exit, Some(&"syntax")) => Some(Failure::Cause("syntax_error")),
        (Cause::Exit, Some(&"reference")) => Some(Failure::BlamesTests),
        (Cause::Ok, _) => None,
        (cause, _) => Some(Failure::Cause(cause.name())),
    }
}

/// See [`failure`].
pub(super) enum Failure {
    /// By what name its cause is counted.
    Cause(&'static str),
    /// The guest says that the tests are no Python. To be believed only after a look at them alone.
    BlamesTests,
}
