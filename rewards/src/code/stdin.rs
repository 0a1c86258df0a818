//! Programs that read standard input and print (APPS, Codeforces, LiveCodeBench). The program runs once for each case, in an
//! instance of its own, and nothing of what it is to print is ever there.

use std::fmt::Write as _;

use sandbox::Cause;

use super::cases::{Checker, StdinCase, Tolerance};
use super::grader::{Marking, Tested, Verdict};
use super::guest::Guest;
use super::output;
use super::source::quoted;
use crate::RewardError;

const CHECKER: &str = include_str!("checker.py");

/// The verdict on each case; with [`Marking::All`] up to the first that fails.
///
/// A program may end itself (`sys.exit`), as such programs do: what it printed decides.
pub(super) fn run(
    guest: &mut Guest<'_>,
    submission: &str,
    cases: &[StdinCase],
    checker: &Checker,
    tolerance: Option<Tolerance>,
    marking: Marking,
) -> Result<Vec<Tested>, RewardError> {
    let mut tested = Vec::with_capacity(cases.len());
    for case in cases {
        // Room for what is right, however long, and for some more of what is not.
        let outcome = guest.run(submission, &case.stdin, case.stdout.len().saturating_mul(2).min(1 << 30))?;
        let verdict = match outcome.cause {
            Cause::Ok | Cause::Exit => {
                let right = match checker {
                    Checker::Program(program) => check(guest, program, case, &outcome.stdout)?,
                    _ => Some(output::same(&outcome.stdout, &case.stdout, checker, tolerance)),
                };
                match right {
                    Some(true) => Verdict::Passed,
                    Some(false) => Verdict::Failed("wrong_output"),
                    None => Verdict::Unusable("checker_fails"),
                }
            }
            cause => Verdict::Failed(cause.name()),
        };
        tested.push(Tested { verdict, detail: outcome.detail });
        if marking == Marking::All && !tested.iter().all(Tested::passed) {
            break;
        }
    }
    Ok(tested)
}

/// What the task's own program says of an output; `None` where it cannot even say it of the expected one.
fn check(guest: &mut Guest<'_>, program: &str, case: &StdinCase, printed: &str) -> Result<Option<bool>, RewardError> {
    let mut says = |output: &str| -> Result<Option<bool>, RewardError> {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{CHECKER}\n_check({}, {}, {}, {})\n",
            quoted(program),
            quoted(&case.stdin),
            quoted(&case.stdout),
            quoted(output)
        );
        let outcome = guest.run(&text, "", 0)?;
        let said = matches!(outcome.cause, Cause::Ok | Cause::Exit).then_some(outcome.stdout);
        let points = said.and_then(|said| said.split_whitespace().last().and_then(|word| word.parse::<f64>().ok()));
        Ok(points.map(|points| points >= 1.0))
    };
    match says(printed)? {
        Some(right) => Ok(Some(right)),
        // A checker may choke on what no program should print; on the expected output it must not.
        None => Ok(says(&case.stdout)?.map(|_| false)),
    }
}
