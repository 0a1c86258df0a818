//! `sapo`: a smooth gate in the place of the clip.
//!
//! `policy = -f(w) A`, `f(w) = 4 / tau * sigmoid(tau (w - 1))`, whose slope is 1 at w = 1 and falls off on both sides; c as
//! in `grpo`. tau is `positive` where A > 0 and `negative` elsewhere: a steeper gate there keeps the many tokens that are
//! pushed up when a sampled one is pushed down from shaking the policy. Gao et al., "Soft Adaptive Policy Optimization",
//! 2025, equations 5 and 6. As TRL's `loss_type="sapo"`.

use super::Term;

pub(super) fn term(weight: f64, advantage: f64, temperature: f64) -> Term {
    let gate = 1.0 / (1.0 + (-temperature * (weight - 1.0)).exp());
    let slope = 4.0 * gate * (1.0 - gate);
    Term {
        value: -(gate * 4.0 / temperature) * advantage,
        by_weight: -slope * weight * advantage,
        by_logprob: 0.0,
        clip: None,
    }
}
