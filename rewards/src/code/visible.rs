//! What the submission may see of a setup: see `visible.py`. Found out once for each reference and question, in a guest of
//! its own.

use std::sync::Arc;

use sandbox::Cause;

use super::guest::{self, Guest, LITERAL};
use super::literal::Literal;
use super::remembered::Remembered;
use super::source::quoted;
use crate::RewardError;

const VISIBLE: &str = include_str!("visible.py");

/// Room for the setup, written anew.
const SETUP: usize = 64 << 20;

/// What the submission may see.
pub(super) enum Visible {
    /// This much of the setup.
    Setup(String),
    /// It could not be found out, for this reason.
    Unusable(&'static str),
    /// The clock ended it, on a busy machine.
    Unknown,
}

/// What is asked of the submission, and what is run where it is not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) setup: String,
    /// Expressions that are evaluated in the submission's guest.
    pub(super) expressions: Vec<String>,
    pub(super) blocks: Vec<String>,
    /// The text of the question: what it shows is no secret.
    pub(super) question: String,
}

/// What was found out so far.
#[derive(Default)]
pub(super) struct Views(Remembered<Asked, Visible>);

impl Views {
    /// What the submission may see of `asked.setup`.
    pub(super) fn of(&self, guest: &mut Guest<'_>, asked: Asked) -> Result<Arc<Visible>, RewardError> {
        if asked.setup.trim().is_empty() {
            return Ok(Arc::new(Visible::Setup(String::new())));
        }
        let find = || guest.aside(|guest| look(guest, &asked));
        self.0.of(asked.clone(), find, |visible| !matches!(visible, Visible::Unknown))
    }
}

fn look(guest: &mut Guest<'_>, asked: &Asked) -> Result<Visible, RewardError> {
    let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(",");
    let marker = guest::marker(asked);
    let program = format!(
        "{LITERAL}\n{VISIBLE}\n_visible({}, {}, [{}], [{}], {})\n",
        quoted(&marker),
        quoted(&asked.setup),
        list(&asked.expressions),
        list(&asked.blocks),
        quoted(&asked.question),
    );
    let outcome = guest.run(&program, "", SETUP)?;
    if outcome.cause == Cause::TimedOut {
        return Ok(Visible::Unknown);
    }
    let said = guest::said(&outcome, &marker);
    Ok(match said[..] {
        ["syntax"] => Visible::Unusable("reference_syntax_error"),
        [line] => match line.strip_prefix("setup ").and_then(Literal::parse) {
            Some(Literal::Text(setup)) => Visible::Setup(setup),
            _ => Visible::Unusable("reference_fails"),
        },
        _ => Visible::Unusable("reference_fails"),
    })
}
