//! Runs in the sandbox, each once more where the host failed, and what they use together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{ControlFlow, Deref};
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
    /// Of those that are the submission's doing.
    charged: u64,
}

impl<'a> Guest<'a> {
    pub(super) fn new(python: &'a Arc<Python>, limits: Limits) -> Self {
        Self { python, limits, fuel: 0, seconds: 0.0, charged: 0 }
    }

    /// A program with room for at least `output` bytes of what it prints.
    pub(super) fn run(&mut self, program: &str, stdin: &str, output: usize) -> Result<Outcome, RewardError> {
        let limits = self.with_output(output);
        let outcome = twice(|| self.python.run(program, stdin, &limits))?;
        self.count(&outcome);
        Ok(outcome)
    }

    /// Texts after a program, each as [`Python::run_tests`] says. Where the program failed, its one outcome stands for all. So
    /// does what ended too many of the texts, for those behind them: see [`Self::spent`].
    ///
    /// `go_on` is given each answer, by the place of its text; behind the first of which it says no, no further text is run.
    pub(super) fn run_tests(
        &mut self,
        program: &str,
        tests: &[&str],
        go_on: impl Fn(usize, &Answer) -> bool,
    ) -> Result<Vec<Answer>, RewardError> {
        let (python, limits, charged) = (self.python, self.with_output(ANSWERS), self.charged);
        let mut spent = None;
        let mut answers = twice(|| {
            // Of a run in which the host failed, the submission is not charged with anything.
            self.charged = charged;
            let (mut room, mut at, mut endless) = (KEPT, 0, Vec::new());
            python.run_tests(program, tests, Sharing::Instance, &limits, |outcome| {
                self.count(&outcome);
                let answer = Answer::of(outcome, &mut room);
                at += 1;
                endless.extend(Some(answer.cause).filter(|cause| is_endless(*cause)));
                if !go_on(at - 1, &answer) {
                    return ControlFlow::Break(answer);
                }
                spent = self.spent(endless.iter().copied());
                if spent.is_none() { ControlFlow::Continue(answer) } else { ControlFlow::Break(answer) }
            })
        })?;
        if let Some(cause) = spent {
            answers.resize(tests.len(), Answer::not_run(cause));
        }
        Ok(answers)
    }

    /// The cause that stands for a submission's further tests, where those so far have ended with `causes`: after a few without
    /// an end, or so much work, they are not run. So a submission that hangs in each of a hundred tests is done with in a few.
    /// What is counted are causes and fuel, which are the same at every run.
    pub(super) fn spent(&self, causes: impl Iterator<Item = Cause>) -> Option<Cause> {
        let endless: Vec<Cause> = causes.filter(|cause| is_endless(*cause)).collect();
        if endless.len() >= ENDLESS {
            return endless.last().copied();
        }
        (self.charged > self.limits.fuel.saturating_mul(ALL_TESTS)).then_some(Cause::OutOfFuel)
    }

    /// Whether the runs of one test together have used several times what one may.
    pub(super) fn is_exhausted(&self, before: u64) -> bool {
        self.charged - before > self.limits.fuel.saturating_mul(ONE_TEST)
    }

    /// What the submission has used so far.
    pub(super) fn charged(&self) -> u64 {
        self.charged
    }

    /// Runs that are not the submission's doing: what is found out about tests once, whichever submission comes first.
    pub(super) fn aside<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let charged = self.charged;
        let result = run(self);
        self.charged = charged;
        result
    }

    fn with_output(&self, bytes: usize) -> Limits {
        Limits { output_bytes: self.limits.output_bytes.max(bytes), ..self.limits }
    }

    fn count(&mut self, outcome: &Outcome) {
        self.fuel = self.fuel.saturating_add(outcome.fuel);
        self.charged = self.charged.saturating_add(outcome.fuel);
        self.seconds += outcome.seconds;
    }
}

/// So many tests without an end, and a submission's further ones are not run.
const ENDLESS: usize = 4;
/// The fuel for all tests of a submission, in what one run may use.
const ALL_TESTS: u64 = 16;
/// The fuel for a test of several runs, in what one run may use.
const ONE_TEST: u64 = 8;

/// Whether a run went on until it was stopped.
pub(super) fn is_endless(cause: Cause) -> bool {
    matches!(cause, Cause::OutOfFuel | Cause::TimedOut)
}

/// What a submission may say in answer to each of its tests, and what it prints meanwhile.
pub(super) const ANSWERS: usize = 16 << 20;
/// What is kept of the answers to all tests of a run.
const KEPT: usize = 64 << 20;

/// What came of a test, without what the submission printed meanwhile.
#[derive(Clone)]
pub(super) struct Answer {
    /// The last line of the traceback.
    pub(super) detail: String,
    /// The rest. Where a submission failed before its tests it stands for all of them, and is there once.
    outcome: Arc<Outcome>,
}

impl Answer {
    /// Takes what is kept from `room`; where that does not suffice, the submission has written too much.
    fn of(mut outcome: Outcome, room: &mut usize) -> Self {
        let mut stdout = String::new();
        for line in whole_lines(&outcome.stdout).filter(|line| may_be_said(line)) {
            stdout.push_str(line);
            stdout.push('\n');
        }
        if stdout.len() > *room {
            outcome.cause = Cause::TooMuchOutput;
            stdout = String::new();
        }
        *room -= stdout.len();
        let detail = std::mem::take(&mut outcome.detail);
        Self { detail, outcome: Arc::new(Outcome { stdout, stderr: String::new(), ..outcome }) }
    }

    /// Of a test that was not run.
    fn not_run(cause: Cause) -> Self {
        let (detail, stdout, stderr) = (NOT_RUN.to_owned(), String::new(), String::new());
        Self {
            detail,
            outcome: Arc::new(Outcome { cause, detail: String::new(), stdout, stderr, fuel: 0, seconds: 0.0 }),
        }
    }
}

/// The detail of a test that was not run any more.
pub(super) const NOT_RUN: &str = "not run, after too much work in the tests before";

impl Deref for Answer {
    type Target = Outcome;

    fn deref(&self) -> &Outcome {
        &self.outcome
    }
}

/// Once more if the host failed: a second failure is the caller's to report.
fn twice<T>(mut run: impl FnMut() -> Result<T, SandboxError>) -> Result<T, RewardError> {
    let result = match run() {
        Err(_) => run(),
        ran => ran,
    };
    result.map_err(|source| RewardError::Sandbox { reward: "code".to_owned(), source })
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

/// Whether a line begins as one with a marker does.
fn may_be_said(line: &str) -> bool {
    line.as_bytes().split_at_checked(MARKER_DIGITS).is_some_and(|(marker, rest)| {
        rest.first() == Some(&b' ') && marker.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

const MARKER_DIGITS: usize = 32;

/// The lines that came to their end: what is said is never left without, but where the output was cut off.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// The lines of an answer, without the marker.
pub(super) fn said<'a>(outcome: &'a Outcome, marker: &str) -> Vec<&'a str> {
    whole_lines(&outcome.stdout).filter_map(|line| line.strip_prefix(marker)?.strip_prefix(' ')).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stdout: String) -> Outcome {
        let detail = "ValueError".to_owned();
        Outcome { cause: Cause::Ok, detail, stdout, stderr: "x".repeat(9), fuel: 1, seconds: 0.0 }
    }

    #[test]
    fn of_what_a_submission_prints_only_answers_are_kept() {
        let marker = marker(&"a submission");
        let (printed, mut room) = (format!("noise\n\n{marker} 42\nmore noise {marker} 43\n{marker}\n"), 100);
        let answer = Answer::of(outcome(printed.clone()), &mut room);
        assert_eq!(said(&answer, &marker), said(&outcome(printed), &marker));
        assert_eq!((said(&answer, &marker), answer.detail.as_str()), (vec!["42"], "ValueError"));
        assert_eq!(answer.stdout.len() + answer.stderr.len(), 36);
        assert_eq!(room, 64);
        // What does not fit is not kept.
        let answer = Answer::of(outcome(format!("{marker} {}\n", "1".repeat(40))), &mut room);
        assert_eq!((answer.cause, answer.stdout.len(), room), (Cause::TooMuchOutput, 0, 64));
    }
}
