//! Function-call pairs: a function, arguments in JSON, and what it is to return (LiveCodeBench's functional tests, APPS with
//! `fn_name`). The function is a name of the submission's, or a method of its class `Solution`.

use super::cases::{CallCase, Tolerance};
use super::grader::{Marking, Tested, Verdict};
use super::guest::{self, Answer, Failure, Guest};
use super::literal::Literal;
use super::source::quoted;
use crate::RewardError;

/// The verdict on each case; with [`Marking::All`] up to the first that fails.
pub(super) fn run(
    guest: &mut Guest<'_>,
    submission: &str,
    setup: &str,
    function: &str,
    cases: &[CallCase],
    tolerance: Option<Tolerance>,
    marking: Marking,
) -> Result<Vec<Tested>, RewardError> {
    let Some(expected) = cases.iter().map(Expected::of).collect::<Option<Vec<_>>>() else {
        return Ok(vec![Tested::new(Verdict::Unusable("reference_is_no_json"))]);
    };
    let marker = guest::marker(&(submission, setup, function, cases));
    let program = guest::candidate(&marker, setup, submission);
    let questions: Vec<String> =
        cases.iter().map(|case| format!("call({}, {})\n", quoted(function), quoted(&case.arguments))).collect();
    let mut tested = Vec::with_capacity(cases.len());
    let texts: Vec<&str> = questions.iter().map(String::as_str).collect();
    let go_on = |at: usize, outcome: &Answer| {
        let said = guest::said(outcome, &marker);
        let passes = |said: &str| expected[at].verdict(said, tolerance).passed();
        marking != Marking::All || guest::failure(outcome, &said).is_none() && matches!(said[..], [one] if passes(one))
    };
    for (outcome, expected) in guest.run_tests(&program, &texts, go_on)?.into_iter().zip(&expected) {
        let said = guest::said(&outcome, &marker);
        tested.push(match (guest::failure(&outcome, &said), &said[..]) {
            (Some(failure), _) => failed(guest, setup, &failure, outcome.detail)?,
            (None, [said]) => expected.verdict(said, tolerance),
            (None, _) => Tested::new(Verdict::Failed("exit")),
        });
    }
    Ok(tested)
}

fn failed(guest: &mut Guest<'_>, setup: &str, failure: &Failure, detail: String) -> Result<Tested, RewardError> {
    let verdict = match failure {
        Failure::Cause(cause) => Verdict::Failed(cause),
        Failure::BlamesTests => {
            let alone = guest.run(&format!("compile({}, '', 'exec')\n", quoted(setup)), "", 0)?;
            if alone.cause == sandbox::Cause::Ok {
                Verdict::Failed("exit")
            } else {
                Verdict::Unusable("reference_syntax_error")
            }
        }
    };
    Ok(Tested { verdict, detail })
}

/// What a call is to return: one value, or either of two.
struct Expected(Vec<(Literal, Option<String>)>);

impl Expected {
    /// `None` where the case is no JSON.
    fn of(case: &CallCase) -> Option<Self> {
        let Some(Literal::List(_)) = Literal::parse_json(&case.arguments) else { return None };
        let value = Literal::parse_json(&case.expected)?;
        let mut values = Vec::new();
        if let (true, Literal::List(items)) = (case.wrapped, &value)
            && let [only] = &items[..]
        {
            values.push(only.clone());
        }
        values.push(value);
        Some(Self(values.into_iter().map(|value| (value.clone(), value.canonical())).collect()))
    }

    fn verdict(&self, said: &str, tolerance: Option<Tolerance>) -> Tested {
        let Some(found) = Literal::parse(said).map(Literal::into_json) else {
            return Tested::new(Verdict::Failed("wrong_value"));
        };
        let text = found.canonical();
        let same = self.0.iter().any(|(expected, canonical)| match tolerance {
            Some(tolerance) => found.near(expected, tolerance.value()),
            None => text.is_some() && text == *canonical,
        });
        Tested::new(if same { Verdict::Passed } else { Verdict::Failed("wrong_value") })
    }
}
