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
    let mut tested: Vec<Tested> = Vec::with_capacity(cases.len());
    for case in cases {
        if let Some(cause) = guest.spent(tested.iter().filter_map(Tested::endless)) {
            tested.push(Tested::not_run(cause));
            continue;
        }
        // Room for what is right, however long, and for some more of what is not.
        let outcome = guest.run(submission, &case.stdin, case.stdout.len().saturating_mul(2).min(1 << 30))?;
        let verdict = match outcome.cause {
            Cause::Ok | Cause::Exit => {
                let said = match checker {
                    Checker::Program(program) => guest.aside(|guest| check(guest, program, case, &outcome.stdout))?,
                    _ => Said::of(output::same(&outcome.stdout, &case.stdout, checker, tolerance)),
                };
                match said {
                    Said::Right => Verdict::Passed,
                    Said::Wrong => Verdict::Failed("wrong_output"),
                    Said::Nothing => Verdict::Unusable("checker_fails"),
                    Said::Unfinished => Verdict::Unusable("host_failure"),
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

/// What is said of an output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Right,
    Wrong,
    /// The task's own program failed.
    Nothing,
    /// It was ended by the clock: on a machine that is not busy it may say something.
    Unfinished,
}

impl Said {
    fn of(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

/// What the task's own program says of an output; nothing only where it cannot even say it of the expected one.
fn check(guest: &mut Guest<'_>, program: &str, case: &StdinCase, printed: &str) -> Result<Said, RewardError> {
    let mut says = |output: &str| -> Result<Said, RewardError> {
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
        let said = match outcome.cause {
            Cause::Ok | Cause::Exit => outcome.stdout,
            Cause::TimedOut => return Ok(Said::Unfinished),
            _ => return Ok(Said::Nothing),
        };
        // Nothing beside it: a message may end with a line that a submission printed.
        Ok(said.trim().parse::<f64>().map_or(Said::Nothing, |points| Said::of(points >= 1.0)))
    };
    match says(printed)? {
        // A checker may choke on what no program should print; on the expected output it must not.
        Said::Nothing => Ok(match says(&case.stdout)? {
            Said::Right | Said::Wrong => Said::Wrong,
            other => other,
        }),
        said => Ok(said),
    }
}
