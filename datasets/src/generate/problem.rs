//! What a family has to say about one of its problems, and the response put together from it.

use rewards::Reference;

use super::{Quality, Voice};
use crate::random::Counter;

/// One problem of a procedural family.
pub(crate) trait Problem: Sized {
    /// How often each quality occurs in the pretraining corpus, as weights.
    const QUALITIES: &'static [(Quality, u32)];

    /// A problem, from whatever split.
    fn draw(counter: &mut Counter) -> Self;

    /// The problem in a form that is equal for problems that are the same but for their wording
    /// or order: it decides the split.
    fn content(&self) -> String;

    /// The question in plain text, without a full stop.
    fn prompt(&self) -> String;

    /// What answers are compared with.
    fn reference(&self) -> Reference;

    /// Somebody's attempt of that quality ([`Quality::Bare`] is a guess that loses its tags).
    fn attempt(&self, quality: Quality, counter: &mut Counter) -> Attempt;
}

/// What somebody thought, what he answered and whether it is right.
pub(crate) struct Attempt {
    pub(crate) think: String,
    pub(crate) answer: String,
    pub(crate) right: bool,
}

/// What a guess says instead of work.
pub(crate) const GUESS_THINK: &str = "quick guess";

/// The ways to answer without well-formed tags, as weights.
const BARE_FORMS: &[(Bare, u32)] =
    &[(Bare::Answer, 40), (Bare::Sentence, 30), (Bare::NoThink, 20), (Bare::Unclosed, 10)];

#[derive(Clone, Copy)]
enum Bare {
    /// The answer and nothing else.
    Answer,
    /// `The answer is` and the answer.
    Sentence,
    /// The answer's tags without the thought's.
    NoThink,
    /// All tags but the last.
    Unclosed,
}

/// A response of that quality and whether its answer is right. It starts with a space, as what
/// follows `Assistant:` does.
pub(crate) fn respond<P: Problem>(
    problem: &P,
    quality: Quality,
    voice: Voice,
    counter: &mut Counter,
) -> (String, bool) {
    let Attempt { think, answer, right } = problem.attempt(quality, counter);
    // A guess has no work to put into words.
    let think = if think == GUESS_THINK { think } else { voice.say(&think, counter) };
    let response = match quality {
        Quality::Bare => match counter.weighted(BARE_FORMS) {
            Bare::Answer => format!(" {answer}"),
            Bare::Sentence => format!(" The answer is {answer}"),
            Bare::NoThink => format!(" <answer> {answer} </answer>"),
            Bare::Unclosed => format!(" <think> {think} </think> <answer> {answer}"),
        },
        _ => format!(" <think> {think} </think> <answer> {answer} </answer>"),
    };
    (response, right)
}
