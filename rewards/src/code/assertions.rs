//! Assertions (MBPP), and blocks of them such as a call of HumanEval's `check(candidate)`.
//!
//! The submission is hostile in principle: everything in its interpreter is within its reach. What it cannot reach is this side,
//! and another guest. So:
//!
//! - of `assert f(3) == [1, 2]` only `f(3)` goes into the submission's guest; its value comes back as text and is compared with
//!   `[1, 2]` here. The expected value is never there to be read, no object "equal to everything" is ever asked, and leaving
//!   early leaves the answer out. So it is where one side is a literal and the other a call of the submission's own, and nothing
//!   is computed or compared on that side: see [`source`]. Of MBPP's 2,922 assertions 2,913 are judged so;
//! - an assertion of another form is run in a guest of its own, which asks the submission's guest for results: see
//!   [`judge`](super::judge);
//! - only a test that handles what is no plain value (objects of the submission's own classes, a function that it returned, its
//!   constants) has to run beside it: see `inside.py`.
//!
//! A setup holds parts of the tests too. What of it the submission gets is found out apart: see [`visible`](super::visible).

use std::sync::Arc;

use sandbox::{Cause, Outcome};

use super::grader::{Marking, Tested, Verdict};
use super::guest::{self, Answer, Failure, Guest};
use super::judge::{Judged, Rehearsals};
use super::literal;
use super::source::{self, Form, quoted};
use super::visible::{Asked, Views, Visible};
use crate::RewardError;

const INSIDE: &str = include_str!("inside.py");

enum Check<'a> {
    /// The expression's value, to be compared here.
    Value { expression: &'a str, expected: String },
    /// The expression's truth, to be compared here.
    Truth { expression: &'a str, expected: bool },
    /// A block of Python that must run through.
    Block(&'a str),
}

impl Check<'_> {
    /// The question to the submission's guest; a block has none.
    fn question(&self) -> Option<String> {
        match self {
            Self::Value { expression, .. } => Some(format!("value({})\n", quoted(expression))),
            Self::Truth { expression, .. } => Some(format!("truth({})\n", quoted(expression))),
            Self::Block(_) => None,
        }
    }

    /// What is evaluated in the submission's guest.
    fn expression(&self) -> Option<&str> {
        match self {
            Self::Value { expression, .. } | Self::Truth { expression, .. } => Some(expression),
            Self::Block(_) => None,
        }
    }

    fn holds(&self, said: &str) -> bool {
        match self {
            Self::Value { expected, .. } => literal::canonical(said).as_ref() == Some(expected),
            Self::Truth { expected, .. } => said == if *expected { "True" } else { "False" },
            Self::Block(_) => false,
        }
    }
}

/// What came of a question.
enum Answered {
    Verdict(Verdict),
    /// There is no answer.
    Not(Failure),
}

/// A block, which of the tests it is, and what it does whatever the submission.
struct Rehearsed<'a> {
    at: usize,
    block: &'a str,
    judged: Arc<Judged>,
}

/// A submission and the tests that are put to it.
pub(super) struct Assertions<'a> {
    question: &'a str,
    submission: &'a str,
    setup: &'a str,
    texts: &'a [String],
    checks: Vec<Check<'a>>,
    marker: String,
}

impl<'a> Assertions<'a> {
    pub(super) fn new(question: &'a str, submission: &'a str, setup: &'a str, assertions: &'a [String]) -> Self {
        let checks = assertions
            .iter()
            .map(|assertion| match source::form(assertion, setup) {
                Form::Equal { expression, expected } => Check::Value { expression, expected },
                Form::Truth { expression, expected } => Check::Truth { expression, expected },
                Form::Other => Check::Block(assertion.trim()),
            })
            .collect();
        let marker = guest::marker(&(submission, setup, assertions));
        Self { question, submission, setup, texts: assertions, checks, marker }
    }

    /// The verdict on each test; with [`Marking::All`] perhaps up to the first that fails.
    pub(super) fn run(
        &mut self,
        guest: &mut Guest<'_>,
        rehearsals: &Rehearsals,
        views: &Views,
        marking: Marking,
    ) -> Result<Vec<Tested>, RewardError> {
        let stop = marking == Marking::All;
        let mut tested: Vec<Option<Tested>> = self.checks.iter().map(|_| None).collect();
        let rehearsed = self.rehearse(guest, rehearsals)?;
        let visible = views.of(guest, self.asked())?;
        let setup = match &*visible {
            Visible::Setup(setup) => setup,
            Visible::Unusable(cause) => return Ok(vec![Tested::new(Verdict::Unusable(cause))]),
            Visible::Unknown => return Ok(vec![Tested::new(Verdict::Unusable("host_failure"))]),
        };
        let questions: Vec<(usize, String)> =
            self.checks.iter().enumerate().filter_map(|(at, check)| Some((at, check.question()?))).collect();
        let program = guest::candidate(&self.marker, setup, self.submission);
        let texts: Vec<&str> = questions.iter().map(|(_, text)| text.as_str()).collect();
        let go_on = |at: usize, outcome: &Answer| {
            !stop || matches!(self.answered(questions[at].0, outcome), Answered::Verdict(Verdict::Passed))
        };
        for ((at, _), outcome) in questions.iter().zip(guest.run_tests(&program, &texts, go_on)?) {
            let verdict = match self.answered(*at, &outcome) {
                Answered::Verdict(verdict) => verdict,
                Answered::Not(failure) => self.failed(guest, &failure)?,
            };
            tested[*at] = Some(Tested { verdict, detail: outcome.detail });
        }
        for Rehearsed { at, block, judged } in rehearsed {
            if let Some(cause) = guest.spent(tested.iter().flatten().filter_map(Tested::endless)) {
                tested[at] = Some(Tested::not_run(cause));
                continue;
            }
            if stop && tested.iter().flatten().any(|tested| !tested.passed()) {
                break;
            }
            let judging = judged.judge(guest, &self.marker, &program, self.setup, block)?;
            tested[at] = Some(match judging {
                Some(tested) => tested,
                None => self.inside(guest, block)?,
            });
        }
        Ok(tested.into_iter().flatten().collect())
    }

    /// What each block does, whatever the submission. A question that mentions something of the setup becomes a block where that
    /// can be: what it mentions need not be where the submission is then.
    fn rehearse(&mut self, guest: &mut Guest<'_>, rehearsals: &Rehearsals) -> Result<Vec<Rehearsed<'a>>, RewardError> {
        let mut rehearsed = Vec::new();
        for (at, check) in self.checks.iter_mut().enumerate() {
            let block = self.texts[at].trim();
            let is_question = match check.expression() {
                Some(expression) if !source::mentions(expression, self.setup) => continue,
                expression => expression.is_some(),
            };
            let judged = rehearsals.of(guest, self.setup, block)?;
            if is_question && !matches!(*judged, Judged::Rehearsal { .. }) {
                continue;
            }
            *check = Check::Block(block);
            rehearsed.push(Rehearsed { at, block, judged });
        }
        Ok(rehearsed)
    }

    fn asked(&self) -> Asked {
        let texts = |expressions: bool| {
            let of = |check: &Check<'_>| match check {
                Check::Block(block) => (!expressions).then(|| (*block).to_owned()),
                _ => check.expression().filter(|_| expressions).map(str::to_owned),
            };
            self.checks.iter().filter_map(of).collect()
        };
        Asked {
            setup: self.setup.to_owned(),
            expressions: texts(true),
            blocks: texts(false),
            question: self.question.to_owned(),
        }
    }

    /// What the submission's guest has answered to the question of a test.
    fn answered(&self, at: usize, outcome: &Outcome) -> Answered {
        let said = guest::said(outcome, &self.marker);
        match guest::failure(outcome, &said) {
            Some(failure) => Answered::Not(failure),
            None => Answered::Verdict(match said[..] {
                [said] if self.checks[at].holds(said) => Verdict::Passed,
                [_] => Verdict::Failed("assertion_failed"),
                // It ran through without an answer: it took over the output, or the interpreter.
                _ => Verdict::Failed("exit"),
            }),
        }
    }

    /// A test that must run where the submission is.
    fn inside(&self, guest: &mut Guest<'_>, block: &str) -> Result<Tested, RewardError> {
        let program = format!("{INSIDE}\n_prepare({}, {})\n", quoted(&self.marker), quoted(self.setup));
        let test = format!("{}.encode(\"ascii\", {})\n", quoted(&format!("\u{e9}{block}")), quoted(&self.marker));
        // The test is run where the submission came to its end.
        let go_on = |_, answer: &Answer| answer.cause == Cause::Ok;
        let answers = guest.run_tests(&program, &[self.submission, &test], go_on)?;
        let Some(last) = answers.last() else { return Ok(Tested::new(Verdict::Failed("exit"))) };
        let verdict = match (last.cause, &guest::said(last, &self.marker)[..]) {
            (Cause::Ok, ["held"]) if answers.len() == 2 => Verdict::Passed,
            (Cause::Ok, _) => Verdict::Failed("exit"),
            (cause, _) => Verdict::Failed(cause.name()),
        };
        Ok(Tested { verdict, detail: last.detail.clone() })
    }

    fn failed(&self, guest: &mut Guest<'_>, failure: &Failure) -> Result<Verdict, RewardError> {
        Ok(match failure {
            Failure::Cause(cause) => Verdict::Failed(cause),
            Failure::BlamesTests => match self.compiled(guest)? {
                Cause::Ok => Verdict::Failed("exit"),
                // A busy machine says nothing about the tests.
                Cause::TimedOut => Verdict::Unusable("host_failure"),
                _ => Verdict::Unusable("reference_syntax_error"),
            },
        })
    }

    /// What becomes of compiling setup and assertions, found out where no submission is: well, if they are Python.
    fn compiled(&self, guest: &mut Guest<'_>) -> Result<Cause, RewardError> {
        let mut program = format!("compile({}, '', 'exec')\n", quoted(self.setup));
        for check in &self.checks {
            program.push_str(&match check {
                Check::Value { expression, .. } | Check::Truth { expression, .. } => {
                    format!("compile({}, '', 'eval')\n", quoted(expression))
                }
                Check::Block(block) => format!("compile({}, '', 'exec')\n", quoted(block)),
            });
        }
        Ok(guest.run(&program, "", 0)?.cause)
    }
}
