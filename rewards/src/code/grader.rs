//! A submission against its tests, with the verdict on each: what the rewards of code use, and what validates tasks.

use std::sync::Arc;

use sandbox::{Cause, Limits, Python};

use super::assertions::Assertions;
use super::guest::{self, Guest};
use super::judge::Rehearsals;
use super::visible::Views;
use super::{calls, stdin};
use crate::{Reference, RewardError, Score};

/// How the verdicts on single tests add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marking {
    /// 1 where every test passes, else 0. Stops early.
    All,
    /// The share of tests that pass, all of them run.
    #[default]
    Fraction,
    /// The share of the tests' weights.
    Weighted,
}

/// The verdict on one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// And the cause.
    Failed(&'static str),
    /// The test cannot be used, whatever the submission.
    Unusable(&'static str),
}

/// One test that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tested {
    pub(super) verdict: Verdict,
    /// The last line of the traceback.
    pub(super) detail: String,
}

impl Tested {
    pub(super) fn new(verdict: Verdict) -> Self {
        Self { verdict, detail: String::new() }
    }

    /// A test that is not run any more: see [`Guest::spent`].
    pub(super) fn not_run(cause: Cause) -> Self {
        Self { verdict: Verdict::Failed(cause.name()), detail: guest::NOT_RUN.to_owned() }
    }

    pub(super) fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    /// How it was stopped, where it had no end.
    pub(super) fn endless(&self) -> Option<Cause> {
        [Cause::OutOfFuel, Cause::TimedOut].into_iter().find(|cause| self.verdict == Verdict::Failed(cause.name()))
    }
}

/// A verdict and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// The score, with the cause of the first test that failed; unscorable where the tests cannot be used.
    pub score: Score,
    /// The cause of each test that was run, in their order; `None` where it passed. With [`Marking::All`] fewer than there
    /// are, where one fails. After several that had no end the further ones are not run, and have their cause.
    pub tests: Vec<Option<&'static str>>,
    /// The last line of the traceback of the first test that failed: for people, since a program can influence it.
    pub detail: String,
    /// The work of all runs together.
    pub fuel: u64,
    /// The time of all runs together.
    pub seconds: f64,
}

/// Runs submissions against tests. Any number of threads may share one.
pub struct CodeGrader {
    python: Arc<Python>,
    limits: Limits,
    rehearsals: Rehearsals,
    views: Views,
}

impl CodeGrader {
    /// A grader whose programs may use `limits`, each run anew.
    #[must_use]
    pub fn new(python: Arc<Python>, limits: Limits) -> Self {
        Self { python, limits, rehearsals: Rehearsals::default(), views: Views::default() }
    }

    /// `submission` against the tests of `reference`, where nothing is known of the question.
    ///
    /// # Errors
    /// As [`Self::grade_asked`].
    pub fn grade(&self, submission: &str, reference: &Reference, marking: Marking) -> Result<Graded, RewardError> {
        self.grade_asked("", submission, reference, marking)
    }

    /// `submission` against the tests of `reference`. It may call what of their setup the `question` shows, whether or not the
    /// tests use it too.
    ///
    /// # Errors
    /// For the host's own failures, and for a reference that holds no tests of a program.
    pub fn grade_asked(
        &self,
        question: &str,
        submission: &str,
        reference: &Reference,
        marking: Marking,
    ) -> Result<Graded, RewardError> {
        let mut guest = Guest::new(&self.python, self.limits);
        let (tested, weights): (Vec<Tested>, Vec<u32>) = match reference {
            Reference::Tests { setup, assertions } => (
                Assertions::new(question, submission, setup, assertions).run(
                    &mut guest,
                    &self.rehearsals,
                    &self.views,
                    marking,
                )?,
                vec![1; assertions.len()],
            ),
            Reference::Stdin { cases, checker, tolerance } => (
                stdin::run(&mut guest, submission, cases, checker, *tolerance, marking)?,
                cases.iter().map(|case| case.weight).collect(),
            ),
            Reference::Calls { setup, function, cases, tolerance } => (
                calls::run(&mut guest, submission, setup, function, cases, *tolerance, marking)?,
                cases.iter().map(|case| case.weight).collect(),
            ),
            other => {
                return Err(RewardError::NotApplicable { reward: "code".to_owned(), kind: other.kind() });
            }
        };
        let first = tested.iter().find(|tested| !tested.passed());
        Ok(Graded {
            score: score(&tested, &weights, marking),
            detail: first.map(|tested| tested.detail.clone()).unwrap_or_default(),
            tests: tested
                .iter()
                .map(|tested| match tested.verdict {
                    Verdict::Passed => None,
                    Verdict::Failed(cause) | Verdict::Unusable(cause) => Some(cause),
                })
                .collect(),
            fuel: guest.fuel,
            seconds: guest.seconds,
        })
    }
}

/// Adds up. `tested` may be fewer than `weights` where grading stopped early.
fn score(tested: &[Tested], weights: &[u32], marking: Marking) -> Score {
    let unusable = tested.iter().find_map(|tested| match tested.verdict {
        Verdict::Unusable(cause) => Some(cause),
        _ => None,
    });
    if let Some(cause) = unusable {
        return Score::unscorable(cause);
    }
    let weight = |at: usize| if marking == Marking::Weighted { f64::from(weights[at]) } else { 1.0 };
    let whole: f64 = (0..weights.len()).map(weight).sum();
    if whole == 0.0 {
        return Score::unscorable("reference_without_tests");
    }
    let cause = tested.iter().find_map(|tested| match tested.verdict {
        Verdict::Failed(cause) => Some(cause),
        _ => None,
    });
    let Some(cause) = cause else {
        // A test without a verdict has not passed.
        return if tested.len() == weights.len() { Score::full() } else { Score::zero("exit") };
    };
    // From 0.0: the sum of nothing is -0.0, and would be printed so.
    let passed =
        tested.iter().enumerate().filter(|(_, tested)| tested.passed()).fold(0.0, |sum, (at, _)| sum + weight(at));
    let value = if marking == Marking::All { 0.0 } else { passed / whole };
    Score { value: Some(value), cause: Some(cause.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_add_up() {
        let tested: Vec<Tested> = [Verdict::Passed, Verdict::Failed("exception"), Verdict::Passed, Verdict::Passed]
            .into_iter()
            .map(Tested::new)
            .collect();
        let check = |marking, expected| assert_eq!(score(&tested, &[1, 3, 1, 1], marking).value, Some(expected));
        check(Marking::All, 0.0);
        check(Marking::Fraction, 0.75);
        check(Marking::Weighted, 0.5);
        assert_eq!(score(&tested, &[1; 4], Marking::Fraction).cause.as_deref(), Some("exception"));
        assert_eq!(score(&tested[2..], &[1; 2], Marking::Fraction), Score::full());
        assert_eq!(score(&tested[2..], &[1; 3], Marking::All), Score::zero("exit"));
        let nothing = score(&tested[1..2], &[1], Marking::Fraction).value.unwrap();
        assert!(nothing == 0.0 && nothing.is_sign_positive());
        assert_eq!(score(&[], &[], Marking::Fraction), Score::unscorable("reference_without_tests"));
        assert_eq!(score(&[], &[0, 0], Marking::Weighted), Score::unscorable("reference_without_tests"));
    }
}
