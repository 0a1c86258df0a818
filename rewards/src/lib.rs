//! Verifiable rewards: from a completion and a reference to a score.
//!
//! A [`Reward`] looks at one [`Sample`] (prompt, completion, [`Reference`]), or at all those of one prompt, and says a
//! [`Score`] for each: a value and, where that is not full marks, a cause that a person can count in a log. A [`Registry`]
//! holds the rewards that can be named, with their [`parameter`]s. A [`RewardSet`] is what a recipe names: several
//! rewards with weights, whose weighted sum is the sample's total.
//!
//! Three kinds of failure are kept apart, because a learner must not confuse them:
//! - the *completion's* failure (a wrong value, a program that loops) is a score of 0 with a cause;
//! - the *reference's* failure (it cannot be parsed) is [`Score::unscorable`]: reported, left out, never 0;
//! - the *host's* failure (the sandbox itself broke) is an [`RewardError`].
//!
//! Verdicts depend on nothing but the sample: no clock, no shared state, any number of threads; and every one
//! of them is bounded by steps, so that no text a model can write takes long or overflows the stack.

mod code;
#[cfg(test)]
mod corpus;
mod custom;
mod error;
mod extract;
mod math;
mod nearest;
pub mod parameter;
mod registry;
mod reward;
mod set;
mod shape;
mod vote;

pub use code::{CallCase, Checker, CodeGrader, Graded, Marking, StdinCase, Tolerance};
pub use custom::{CustomKind, CustomReward, DEFAULT_FUNCTION, OnError};
pub use error::RewardError;
pub use nearest::nearest;
pub use registry::{PythonUse, Registry, RewardDescription, Surroundings};
pub use reward::{Component, Message, Printed, Reference, Reward, Sample, Score, ScoreBreakdown};
pub use set::{Pending, RewardSet, RewardSpec};
pub use shape::{overlong_begins, within_limit};
pub use vote::vote_key;
