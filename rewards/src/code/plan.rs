//! How a set of assertions is put to a submission.
//!
//! The submission is hostile in principle: everything in its interpreter is within its reach. What it cannot
//! reach is this side. So of `assert f(3) == [1, 2]` only `f(3)` goes into the guest; its value comes back as
//! text and is compared with `[1, 2]` here. The expected value is never there to be read, no object "equal to
//! everything" is ever asked, and leaving early leaves the answer out. Only an assertion of another form is run
//! in the guest, guarded as `harness.py` says; that guard stops the direct ways around it, not a submission that
//! climbs into the harness's frame. Of MBPP's 2,922 assertions 2,916 are judged here.
//!
//! Every line of a verdict carries a marker that depends on the submission and the tests together, so that no
//! submission's text can contain its own.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::literal;
use super::source::{self, Form, quoted};

const HARNESS: &str = include_str!("harness.py");

/// What is asked of a submission.
pub(crate) struct Plan<'a> {
    setup: &'a str,
    checks: Vec<Check<'a>>,
}

enum Check<'a> {
    /// The expression's value, to be compared here.
    Value { expression: &'a str, expected: String },
    /// The expression's truth, to be compared here.
    Truth { expression: &'a str, expected: bool },
    /// A statement that must run through.
    Statement(&'a str),
}

/// A program for the sandbox.
pub(crate) struct Program {
    pub(crate) text: String,
    /// What each line of the verdict begins with.
    pub(crate) marker: String,
}

/// Why the assertions did not all pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Submission(&'static str),
    /// The setup or an assertion is no Python.
    Reference,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(setup: &'a str, assertions: &'a [String]) -> Self {
        let checks = assertions
            .iter()
            .map(|assertion| match source::form(assertion, setup) {
                Form::Equal { expression, expected } => Check::Value { expression, expected },
                Form::Truth { expression, expected } => Check::Truth { expression, expected },
                Form::Other => Check::Statement(assertion),
            })
            .collect();
        Self { setup, checks }
    }

    /// The harness, and the call that hands it the submission.
    pub(crate) fn program(&self, submission: &str) -> Program {
        let marker = self.marker(submission);
        let checks: Vec<String> = self
            .checks
            .iter()
            .map(|check| match check {
                Check::Value { expression, .. } => format!("(\"value\", {})", quoted(expression)),
                Check::Truth { expression, .. } => format!("(\"truth\", {})", quoted(expression)),
                Check::Statement(text) => format!("(\"statement\", {})", quoted(text.trim())),
            })
            .collect();
        let text = format!(
            "{HARNESS}\n_grade({}, {}, {}, [{}])\n",
            quoted(&marker),
            quoted(self.setup),
            quoted(submission),
            checks.join(", "),
        );
        Program { text, marker }
    }

    /// Reads what the guest wrote, after it ran to its end.
    pub(crate) fn verdict(&self, marker: &str, stdout: &str) -> Result<(), Fault> {
        let said: Vec<&str> = stdout.lines().filter_map(|line| line.strip_prefix(marker)?.strip_prefix(' ')).collect();
        match said[..] {
            ["reference"] => return Err(Fault::Reference),
            ["syntax"] => return Err(Fault::Submission("syntax_error")),
            _ => {}
        }
        if said.len() != self.checks.len() {
            // It ran through without the harness having done so: it took over the output, or the interpreter.
            return Err(Fault::Submission("exit"));
        }
        for (check, said) in self.checks.iter().zip(said) {
            let holds = match check {
                Check::Value { expected, .. } => literal::canonical(said).as_ref() == Some(expected),
                Check::Truth { expected, .. } => said == if *expected { "True" } else { "False" },
                Check::Statement(_) => said == "held",
            };
            if !holds {
                return Err(Fault::Submission("assertion_failed"));
            }
        }
        Ok(())
    }

    /// The same for the same program and tests, so that a run repeats to the unit of fuel.
    fn marker(&self, submission: &str) -> String {
        let hash = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, submission, self.setup).hash(&mut hasher);
            for check in &self.checks {
                match check {
                    Check::Value { expression, expected } => (expression, expected).hash(&mut hasher),
                    Check::Truth { expression, expected } => (expression, expected).hash(&mut hasher),
                    Check::Statement(text) => text.hash(&mut hasher),
                }
            }
            hasher.finish()
        };
        format!("{:016x}{:016x}", hash(1), hash(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assertions(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn expected_values_stay_out_of_the_guest() {
        let tests = assertions(&["assert f(3) == 'secret'", "assert not f(4)"]);
        let program = Plan::new("", &tests).program("def f(x): return 1");
        assert!(program.text.contains("f(3)") && !program.text.contains("secret"));
    }

    #[test]
    fn every_check_must_answer() {
        let tests = assertions(&["assert f(3) == 9", "assert f(4)", "assert f(1) < 2"]);
        let plan = Plan::new("", &tests);
        let check = |said: &str, expected: Result<(), Fault>| assert_eq!(plan.verdict("M", said), expected, "{said:?}");
        check("noise\n\nM 9.0\n\nM True\n\nM held\n", Ok(()));
        check("M 8\nM True\nM held\n", Err(Fault::Submission("assertion_failed")));
        check("M 9\nM False\nM held\n", Err(Fault::Submission("assertion_failed")));
        check("M 9\nM True\n", Err(Fault::Submission("exit")));
        check("M 9\nM 9\nM True\nM held\n", Err(Fault::Submission("exit")));
        check("", Err(Fault::Submission("exit")));
        check("M syntax\n", Err(Fault::Submission("syntax_error")));
        check("M reference\n", Err(Fault::Reference));
    }

    #[test]
    fn markers_depend_on_program_and_tests() {
        let (one, two) = (assertions(&["assert f() == 1"]), assertions(&["assert f() == 2"]));
        let marker = |submission, tests| Plan::new("", tests).program(submission).marker;
        assert_eq!(marker("a", &one), marker("a", &one));
        assert_ne!(marker("a", &one), marker("b", &one));
        assert_ne!(marker("a", &one), marker("a", &two));
    }
}
