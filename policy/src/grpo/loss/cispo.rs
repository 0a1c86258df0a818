//! `cispo`: the gradient of REINFORCE, with an importance weight that is clipped and then fixed.
//!
//! `policy = -min(w, 1 + high) A new`, w without a gradient; c as in `dapo`. Where the clipped objective silences a token
//! whose weight has gone too far, here it keeps a bounded share of its gradient: rare tokens that turn a thought around
//! are not lost. MiniMax, "MiniMax-M1", 2025, equations 4 and 5; like them, and like TRL, there is no bound below.
//!
//! Deviation from TRL: its `epsilon_high` is the bound itself; here, as in the paper, the bound is `1 + clip_high`.

use super::{Clip, Term};

pub(super) fn term(weight: f64, new: f64, advantage: f64, clip_high: f64) -> Term {
    let bound = 1.0 + clip_high;
    let slope = -weight.min(bound) * advantage;
    Term { value: slope * new, by_weight: 0.0, by_logprob: slope, clip: (weight > bound).then_some(Clip::High) }
}
