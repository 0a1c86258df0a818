//! Verifiable rewards: from a completion and a reference to a score.
//!
//! A [`Reward`] looks at one [`Sample`] (prompt, completion, [`Reference`]) and says a [`Score`]: a value and,
//! where that is not full marks, a cause that a person can count in a log. A [`RewardSet`] is what a recipe
//! names: several rewards with weights, whose weighted sum is the sample's total.
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
mod error;
mod extract;
mod math;
mod registry;
mod reward;
mod shape;
mod vote;

pub use code::{CodeGrader, Graded, StdinCase};
pub use error::RewardError;
pub use registry::{RewardDescription, RewardSet, RewardSpec, descriptions};
pub use reward::{Component, Reference, Reward, Sample, Score, ScoreBreakdown};
pub use vote::vote_key;
