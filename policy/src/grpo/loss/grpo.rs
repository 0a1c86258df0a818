//! `grpo`: PPO's clipped objective, averaged over each completion's tokens and then over completions.
//!
//! `policy = -min(w A, clip(w, 1 - low, 1 + high) A)`, `c = 1 / (completions * tokens of the completion)`.
//! DeepSeekMath (Shao et al., 2024), equation 3; DeepSeek-R1 report, equation 1.
//!
//! With a dual clip, w in the first branch is at most `dual_clip`: so the loss of a completion that did worse does not grow
//! without bound where the policy has come to like it. As TRL's `loss_type="grpo"`, `delta`.

use super::{Clip, Counts, GrpoLoss, Term};

pub(super) fn term(weight: f64, advantage: f64, settings: &GrpoLoss) -> Term {
    let held = settings.dual_clip.map_or(weight, |bound| weight.min(bound));
    let clipped_weight = weight.clamp(1.0 - settings.clip_low, 1.0 + settings.clip_high);
    let (free, clipped) = (held * advantage, clipped_weight * advantage);
    // Where the minimum is a clipped branch, and only there, the weight has no gradient.
    let clip = if clipped < free {
        Some(if advantage > 0.0 { Clip::High } else { Clip::Low })
    } else if held < weight && advantage < 0.0 {
        Some(Clip::Dual)
    } else {
        None
    };
    let by_weight = if clip.is_some() { 0.0 } else { -free };
    Term { value: -free.min(clipped), by_weight, by_logprob: 0.0, clip }
}

pub(super) fn share(tokens: usize, counts: &Counts) -> f64 {
    1.0 / (tokens as f64 * counts.completions as f64)
}
