//! Tests in a guest of their own, which the submission never enters.
//!
//! The two guests run one after the other, and what passes between them are plain values as text, read here ([`Literal`]).
//! First the test alone, to find which calls it makes (once for each test, whatever the submission: a rehearsal, see
//! [`Rehearsals`]). Then the submission, which makes those calls. Then the test, which finds their results in a table. Where
//! a call depends on an earlier result, there is another round. So the submission sees arguments and never what is expected,
//! and the test sees values and never the submission's code: an object that is "equal to everything", a patched built-in, a
//! frame to climb stay where they were made. What remains is a test that itself runs a text the submission returned
//! (`eval(f(3))`): that test hands over its guest.

use std::sync::Arc;

use sandbox::Cause;

use super::grader::{Tested, Verdict};
use super::guest::{self, Guest, LITERAL};
use super::literal::Literal;
use super::remembered::Remembered;
use super::source::quoted;
use crate::RewardError;

const JUDGE: &str = concat!(include_str!("numpy.py"), include_str!("judge.py"));

/// Rounds until a test counts as failed: each takes a result on which a later call depends, and runs test and
/// submission from the beginning. Fewer where that is tested, since so many take long.
const ROUNDS: usize = if cfg!(test) { 16 } else { 256 };

/// What the calls of a test may be written in.
const CALLS: usize = 64 << 20;

/// What a submission may answer to the calls of one test, all together.
const ANSWERED: usize = 128 << 20;

/// What a test does, whatever the submission.
pub(super) enum Judged {
    /// It makes these calls at first.
    Rehearsal { calls: Vec<String> },
    /// It must run beside the submission.
    Inside,
    /// It is no Python, or fails before it has asked anything.
    Unusable(&'static str),
    /// The clock ended it, on a busy machine: it may be any of the others.
    Unknown,
}

/// The first runs of tests, remembered.
#[derive(Default)]
pub(super) struct Rehearsals(Remembered<(String, String), Judged>);

impl Rehearsals {
    /// What `test` does after `setup`.
    pub(super) fn of(&self, guest: &mut Guest<'_>, setup: &str, test: &str) -> Result<Arc<Judged>, RewardError> {
        let find = || guest.aside(|guest| rehearse(guest, setup, test));
        self.0.of((setup.to_owned(), test.to_owned()), find, |judged| !matches!(judged, Judged::Unknown))
    }
}

fn rehearse(guest: &mut Guest<'_>, setup: &str, test: &str) -> Result<Judged, RewardError> {
    let run = Run::new(guest, setup, test, "")?;
    if matches!(run.end, End::Failed(Cause::TimedOut)) {
        return Ok(Judged::Unknown);
    }
    Ok(match run.end {
        End::Syntax => Judged::Unusable("reference_syntax_error"),
        End::Inside => Judged::Inside,
        // No comparison of theirs is believed: see `inside.py`.
        End::Objects => Judged::Unusable("compares_objects"),
        End::Failed(_) if run.calls.is_empty() => Judged::Unusable("reference_fails"),
        _ => Judged::Rehearsal { calls: run.calls },
    })
}

/// One run of the test's guest.
struct Run {
    /// The calls it made, known results or not.
    calls: Vec<String>,
    end: End,
    detail: String,
}

enum End {
    /// It is no Python.
    Syntax,
    Held,
    Failed(Cause),
    /// A result was missing, and it went on ahead.
    Ahead,
    /// It came to the call that the submission did not survive.
    Ended,
    Inside,
    /// It does something with an object which a class of the submission's made.
    Beside,
    /// It compares such objects.
    Objects,
}

impl Run {
    fn new(guest: &mut Guest<'_>, setup: &str, test: &str, table: &str) -> Result<Self, RewardError> {
        let marker = guest::marker(&(setup, test));
        let program = format!("{LITERAL}\n{JUDGE}\n_judge({}, {}, {})\n", quoted(&marker), quoted(setup), quoted(test));
        let outcome = guest.run(&program, table, CALLS)?;
        let said = guest::said(&outcome, &marker);
        let told = |word: &str| said.contains(&word);
        let calls: Vec<String> = said.iter().filter_map(|line| line.strip_prefix("call ")).map(str::to_owned).collect();
        let end = match outcome.cause {
            _ if told("syntax") => End::Syntax,
            _ if told("inside") => End::Inside,
            _ if told("beside") => End::Beside,
            _ if told("objects") => End::Objects,
            _ if told("ended") => End::Ended,
            Cause::Ok if told("held") => End::Held,
            Cause::Ok => End::Ahead,
            cause => End::Failed(cause),
        };
        Ok(Self { calls, end, detail: outcome.detail })
    }
}

impl Judged {
    /// The test's verdict on the submission that `program` takes in, as [`guest::candidate`] has it. `None` where it must run
    /// beside the submission: it does something with what `Point(1)` made and is no plain value. Whether that can be is in the
    /// test's own words. Of a function that merely has the name of a class the results are judged here as any other's.
    pub(super) fn judge(
        &self,
        guest: &mut Guest<'_>,
        marker: &str,
        program: &str,
        setup: &str,
        test: &str,
    ) -> Result<Option<Tested>, RewardError> {
        let mut calls = match self {
            Self::Rehearsal { calls } => calls.clone(),
            Self::Unusable(cause) => return Ok(Some(Tested::new(Verdict::Unusable(cause)))),
            Self::Unknown => return Ok(Some(Tested::new(Verdict::Unusable("host_failure")))),
            Self::Inside => return Ok(None),
        };
        let before = guest.charged();
        for _ in 0..ROUNDS {
            if guest.is_exhausted(before) {
                return Ok(Some(Tested {
                    verdict: Verdict::Failed("out_of_fuel"),
                    detail: "too much work in calls that depend on each other".to_owned(),
                }));
            }
            let answers = match Answers::to(&calls, guest, marker, program)? {
                Ok(answers) => answers,
                Err(failed) => return Ok(Some(failed)),
            };
            let run = Run::new(guest, setup, test, &answers.table)?;
            let verdict = |verdict| Ok(Some(Tested { verdict, detail: run.detail.clone() }));
            // Results count as far as the test asked for what was called. While it went on ahead it may have taken another
            // way, and made calls that it does not make.
            let agreed = run.calls.iter().zip(&calls).take_while(|(made, asked)| made == asked).count();
            if agreed < run.calls.len().min(answers.entries) {
                calls = run.calls[..=agreed].to_vec();
                continue;
            }
            match run.end {
                End::Held => return verdict(Verdict::Passed),
                End::Failed(cause) if run.calls.len() <= answers.count => {
                    return verdict(Verdict::Failed(cause.name()));
                }
                End::Ended => return Ok(Some(answers.ended)),
                End::Beside => return Ok(None),
                End::Inside | End::Objects | End::Syntax => return verdict(Verdict::Failed("exception")),
                End::Ahead | End::Failed(_) => calls = run.calls,
            }
        }
        // Not the test's fault alone: a submission may be what keeps a loop of the test going.
        Ok(Some(Tested {
            verdict: Verdict::Failed("too_many_dependent_calls"),
            detail: format!("more than {ROUNDS} calls that depend on each other"),
        }))
    }
}

/// What a submission's guest says to a list of calls.
struct Answers {
    /// Python text of the results, one a line, for `judge.py`.
    table: String,
    /// How many results there are.
    count: usize,
    /// The same, and one more where the submission did not survive a call.
    entries: usize,
    /// The verdict where the test asks for more than there is.
    ended: Tested,
}

impl Answers {
    /// Makes the calls. A submission that does not even load has failed.
    ///
    /// Where the answers are more than is taken from a guest at a time, another one is asked for the rest.
    fn to(
        calls: &[String],
        guest: &mut Guest<'_>,
        marker: &str,
        program: &str,
    ) -> Result<Result<Self, Tested>, RewardError> {
        let before = guest.charged();
        let (mut table, mut count) = (String::new(), 0);
        loop {
            let quoted_calls: Vec<String> = calls[count..].iter().map(|call| quoted(call)).collect();
            let question = format!("calls([{}])\n", quoted_calls.join(","));
            let Some(outcome) = guest.run_tests(program, &[&question], |_, _| true)?.pop() else {
                return Ok(Err(Tested::new(Verdict::Failed("exit"))));
            };
            let said = guest::said(&outcome, marker);
            let answered = entries(&said, calls.len() - count, &mut table);
            count += answered;
            let all = count == calls.len() && outcome.cause == Cause::Ok;
            let more = outcome.cause == Cause::TooMuchOutput && answered > 0 && count < calls.len();
            if more && table.len() < ANSWERED && !guest.is_exhausted(before) {
                continue;
            }
            let verdict = match guest::failure(&outcome, &said) {
                Some(guest::Failure::Cause(cause)) => Verdict::Failed(cause),
                // A syntax error of the setup was found before; or the submission took over the output.
                Some(guest::Failure::BlamesTests) | None => Verdict::Failed("exit"),
            };
            let ended = Tested { verdict, detail: outcome.detail };
            if !all && count == 0 {
                return Ok(Err(ended));
            }
            if !all {
                table.push_str("(\"ended\",None,[])\n");
            }
            return Ok(Ok(Self { table, count, entries: count + usize::from(!all), ended }));
        }
    }
}

/// Adds to the table what was `said` to at most so many calls, and tells to how many.
fn entries(said: &[&str], calls: usize, table: &mut String) -> usize {
    let mut lines = said.iter().copied();
    let mut count = 0;
    while count < calls {
        let Some(line) = lines.next() else { break };
        let (kind, value) = if let Some(value) = line.strip_prefix("returned ") {
            match Literal::parse(value) {
                Some(value) => ("returned", value.python()),
                None => ("foreign", quoted(&value.trim_start_matches('?').chars().take(80).collect::<String>())),
            }
        } else if let Some(error @ Literal::Tuple(_)) = line.strip_prefix("raised ").and_then(Literal::parse)
            && let Some([Literal::List(_), Literal::Tuple(_), Literal::Dictionary(_), Literal::Text(_)]) = error.items()
        {
            ("raised", error.python())
        } else {
            break;
        };
        // The answer was cut off where this is missing.
        let Some(changed) = lines.next() else { break };
        let changed = match changed.strip_prefix("changed ").and_then(Literal::parse) {
            Some(changed @ Literal::List(_)) => changed.python(),
            // An argument was changed into something that is no plain value.
            _ => "[]".to_owned(),
        };
        table.push_str(&format!("(\"{kind}\",{value},{changed})\n"));
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sandbox::{Limits, Python};

    use super::*;

    /// What a busy machine did not let come to its end says nothing about a test, and is not remembered.
    #[test]
    fn a_rehearsal_that_the_clock_ended_is_not_remembered() {
        let python = Arc::new(Python::prepare(&sandbox::default_cache_dir(), &mut |_| ()).unwrap());
        let rehearsals = Rehearsals::default();
        let test = "for _ in range(10**5): pass\nassert f(1) == 2";
        let marker = guest::marker(&"x");
        let program = guest::candidate(&marker, "", "def f(x): return 2");
        let judged = |wall| {
            let mut guest = Guest::new(&python, Limits { wall, ..Limits::brief() });
            let judged = rehearsals.of(&mut guest, "", test).unwrap();
            let tested = judged.judge(&mut guest, &marker, &program, "", test).unwrap().unwrap();
            (matches!(*judged, Judged::Rehearsal { .. }), tested.verdict)
        };
        assert_eq!(judged(Duration::from_nanos(1)), (false, Verdict::Unusable("host_failure")));
        assert_eq!(judged(Duration::from_secs(60)), (true, Verdict::Passed));
    }
}
