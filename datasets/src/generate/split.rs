//! The fence between training and held-out problems.
//!
//! A hash of the problem's canonical content decides its side; a task of a split is redrawn until
//! it falls on that side. So no problem is ever on both, under any seeds, and no list of what has
//! been trained on is needed.

use super::problem::Problem;
use crate::random::{Counter, hash_text};
use crate::task::Split;

/// One in so many contents is held out.
const HELD_ONE_IN: u64 = 4;

/// The side on which a content lies.
pub(crate) fn of(content: &str) -> Split {
    if hash_text(content).is_multiple_of(HELD_ONE_IN) { Split::Held } else { Split::Train }
}

/// The first problem drawn that lies in the split.
pub(crate) fn draw<P: Problem>(split: Split, counter: &mut Counter) -> P {
    // Ends: each draw is held out with a probability of about 1/4, independently of the others.
    loop {
        let problem = P::draw(counter);
        if of(&problem.content()) == split {
            return problem;
        }
    }
}
