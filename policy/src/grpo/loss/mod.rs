//! The losses and their gradient with respect to the log-probabilities.
//!
//! For token t of completion i, with the importance weight `w = exp(new - old)` of the token, or in [`gspo`] of the whole
//! completion, and the advantage A:
//!
//! `L = sum_it c_i (policy(w, new, A) + beta kl(new, reference)) - gamma mean_it(entropy)`
//!
//! Each file gives one loss's policy term, and what tokens are divided by (the weight c). The KL estimates are in
//! [`kl`](super::kl). The entropy's term is the mean over the tokens that count for it, whatever the loss divides by, as in
//! TRL; over those of the optimizer step, where TRL's is over each forward pass. Everything is computed in f64, from
//! log-probabilities of either width.

mod bnpo;
mod cispo;
mod dapo;
mod dr_grpo;
mod grpo;
mod gspo;
mod sapo;
#[cfg(test)]
mod tests;

use super::kl::{KlEstimator, KlPenalty};
use crate::{PolicyError, Result};

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossKind {
    /// DeepSeekMath and R1: the mean over each completion's tokens, then over completions.
    Grpo,
    /// The mean over the optimizer step's tokens.
    Bnpo,
    /// The sum over tokens, divided by what the longest completions would have: no completion's length counts.
    DrGrpo {
        /// Tokens at which a completion is cut off.
        max_tokens: usize,
    },
    /// The mean over all tokens that were sampled together.
    Dapo,
    /// REINFORCE with a clipped importance weight: no token is left out.
    Cispo,
    /// One importance weight for each completion.
    Gspo,
    /// A smooth gate in the place of the clip.
    Sapo {
        /// How soon the gate closes where the advantage is positive.
        positive: f64,
        /// How soon elsewhere.
        negative: f64,
    },
}

/// The loss's settings. [`GrpoLoss::validate`] says whether they can be computed with.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpoLoss {
    /// Which one.
    pub kind: LossKind,
    /// How far the importance weight may fall below 1: 0 or more.
    pub clip_low: f64,
    /// How far the importance weight may rise above 1: 0 or more.
    pub clip_high: f64,
    /// Above this importance weight a completion that did worse is not pushed down any more (Ye et al., "Mastering
    /// Complex Control in MOBA Games", 2020; TRL's `delta`); above `1 + clip_high`. None is no such bound.
    pub dual_clip: Option<f64>,
    /// The KL penalty in the loss.
    pub kl: Option<KlPenalty>,
    /// gamma: the weight of the mean entropy, which is taken off the loss.
    pub entropy_coefficient: f64,
}

/// One completion's share of the loss. All slices have one number for each of its tokens.
#[derive(Debug, Clone, Copy)]
pub struct LossInput<'a, T = f32> {
    /// Log-probabilities under the policy being trained.
    pub new: &'a [T],
    /// Log-probabilities when the completion was sampled.
    pub old: &'a [T],
    /// Log-probabilities under the reference; none where the distance to it is neither punished nor measured.
    pub reference: Option<&'a [T]>,
    /// Entropies of the policy being trained, in nats.
    pub entropy: &'a [T],
    /// Which tokens count for the policy's term and for the entropy's; none is all.
    pub kept: Option<&'a [bool]>,
    /// The completion's advantage.
    pub advantage: f64,
}

/// What the losses divide by, of the whole optimizer step, so that its parts add up to its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counts {
    /// Completions, those included whose tokens do not count.
    pub completions: usize,
    /// Tokens that count.
    pub tokens: usize,
    /// Those of them that are kept ([`LossInput::kept`]).
    pub kept_tokens: usize,
    /// Tokens that count of all completions that were sampled together, divided by the optimizer steps of a pass over them.
    pub tokens_per_part: f64,
}

/// Why a token's importance weight has no gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clip {
    /// It fell below `1 - clip_low`.
    Low,
    /// It rose above `1 + clip_high`.
    High,
    /// It rose above `dual_clip`.
    Dual,
}

/// Sums over the completions given; add the parts of a step up with [`LossOutput::merge`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LossOutput {
    /// The loss: this part's share of the step's.
    pub loss: f64,
    /// `dL/dnew` for each token, completions one after the other.
    pub gradient: Vec<f64>,
    /// `dL/dentropy` for each token; empty without an entropy coefficient.
    pub entropy_gradient: Vec<f64>,
    /// Tokens counted.
    pub tokens: usize,
    /// Tokens clipped below.
    pub clipped_low: usize,
    /// Tokens clipped above.
    pub clipped_high: usize,
    /// Tokens clipped by the dual clip.
    pub clipped_dual: usize,
    /// Sum over tokens of the k3 estimate of the KL divergence to the reference, in nats.
    pub kl: f64,
    /// The smallest importance weight.
    pub ratio_min: f64,
    /// The largest importance weight.
    pub ratio_max: f64,
}

impl LossOutput {
    /// Adds another part of the same step.
    pub fn merge(&mut self, other: LossOutput) {
        let first = self.tokens == 0;
        self.loss += other.loss;
        self.gradient.extend(other.gradient);
        self.entropy_gradient.extend(other.entropy_gradient);
        self.tokens += other.tokens;
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.clipped_dual += other.clipped_dual;
        self.kl += other.kl;
        self.ratio_min = if first { other.ratio_min } else { self.ratio_min.min(other.ratio_min) };
        self.ratio_max = if first { other.ratio_max } else { self.ratio_max.max(other.ratio_max) };
    }

    /// Tokens clipped in any way.
    #[must_use]
    pub fn clipped(&self) -> usize {
        self.clipped_low + self.clipped_high + self.clipped_dual
    }
}

/// One token's term before it is weighed, and its derivatives.
#[derive(Debug, Clone, Copy)]
struct Term {
    value: f64,
    /// By the logarithm of the importance weight.
    by_weight: f64,
    /// By the token's log-probability, the importance weight being fixed.
    by_logprob: f64,
    clip: Option<Clip>,
}

impl GrpoLoss {
    /// Checks that every number is one that a loss can be computed with.
    ///
    /// # Errors
    /// The first that is not, by its name, and what is expected.
    pub fn validate(&self) -> Result<()> {
        let (positive, negative) = match self.kind {
            LossKind::Sapo { positive, negative } => (positive, negative),
            _ => (1.0, 1.0),
        };
        let penalty = self.kl.as_ref().map_or(0.0, |kl| kl.coefficient);
        let longest = if let LossKind::DrGrpo { max_tokens } = self.kind { max_tokens } else { 1 };
        let numbers = [
            ("clip_low", self.clip_low, self.clip_low >= 0.0, "0 or more"),
            ("clip_high", self.clip_high, self.clip_high >= 0.0, "0 or more"),
            ("dual_clip", self.dual_clip.unwrap_or(1.0), self.dual_clip.is_none_or(|b| b >= 1.0), "at least 1"),
            ("positive", positive, positive.is_finite() && positive > 0.0, "a positive number"),
            ("negative", negative, negative.is_finite() && negative > 0.0, "a positive number"),
            ("kl.coefficient", penalty, penalty.is_finite(), "a number"),
            ("entropy_coefficient", self.entropy_coefficient, self.entropy_coefficient.is_finite(), "a number"),
            ("max_tokens", longest as f64, longest > 0, "at least 1"),
        ];
        match numbers.into_iter().find(|(_, _, holds, _)| !holds) {
            None => Ok(()),
            Some((name, found, _, expected)) => Err(PolicyError::Argument {
                operation: "compute the loss",
                message: format!("`{name}` is {found}, expected {expected}"),
            }),
        }
    }

    fn term(&self, weight: f64, new: f64, advantage: f64) -> Term {
        match self.kind {
            LossKind::Grpo | LossKind::Bnpo | LossKind::DrGrpo { .. } | LossKind::Dapo | LossKind::Gspo => {
                grpo::term(weight, advantage, self)
            }
            LossKind::Cispo => cispo::term(weight, new, advantage, self.clip_high),
            LossKind::Sapo { positive, negative } => {
                sapo::term(weight, advantage, if advantage > 0.0 { positive } else { negative })
            }
        }
    }

    /// What each token of a completion of `tokens` tokens counts.
    fn share(&self, tokens: usize, counts: &Counts) -> f64 {
        match self.kind {
            LossKind::Grpo | LossKind::Gspo | LossKind::Sapo { .. } => grpo::share(tokens, counts),
            LossKind::Bnpo => bnpo::share(counts),
            LossKind::DrGrpo { max_tokens } => dr_grpo::share(max_tokens, counts),
            LossKind::Dapo | LossKind::Cispo => dapo::share(counts),
        }
    }
}

/// The loss of some of a step's completions, and its gradient.
///
/// # Panics
/// If a completion's slices differ in length, or [`GrpoLoss::validate`] refuses the settings.
pub fn loss<T: Copy + Into<f64>>(inputs: &[LossInput<'_, T>], settings: &GrpoLoss, counts: &Counts) -> LossOutput {
    if let Err(error) = settings.validate() {
        panic!("{error}");
    }
    let mut out = LossOutput::default();
    for input in inputs {
        let n = input.new.len();
        assert!(
            [input.old.len(), input.entropy.len()] == [n, n]
                && input.reference.is_none_or(|r| r.len() == n)
                && input.kept.is_none_or(|k| k.len() == n),
            "one number for each token"
        );
        if n > 0 {
            out.merge(of_completion(input, settings, counts));
        }
    }
    out
}

fn of_completion<T: Copy + Into<f64>>(input: &LossInput<'_, T>, settings: &GrpoLoss, counts: &Counts) -> LossOutput {
    let n = input.new.len();
    let share = settings.share(n, counts);
    let log_weights: Vec<f64> =
        input.new.iter().zip(input.old).map(|(new, old)| (*new).into() - (*old).into()).collect();
    let of_sequence = (settings.kind == LossKind::Gspo).then(|| gspo::log_weight(&log_weights));
    let mut out =
        LossOutput { tokens: n, ratio_min: f64::INFINITY, ratio_max: f64::NEG_INFINITY, ..LossOutput::default() };
    let mut by_sequence_weight = 0.0;
    for t in 0..n {
        let new: f64 = input.new[t].into();
        let weight = of_sequence.unwrap_or(log_weights[t]).exp();
        let kept = input.kept.is_none_or(|kept| kept[t]);
        let mut term = settings.term(weight, new, input.advantage);
        if !kept {
            term = Term { value: 0.0, by_weight: 0.0, by_logprob: 0.0, clip: None };
        }
        match term.clip {
            Some(Clip::Low) => out.clipped_low += 1,
            Some(Clip::High) => out.clipped_high += 1,
            Some(Clip::Dual) => out.clipped_dual += 1,
            None => {}
        }
        if let Some(reference) = input.reference {
            let reference = reference[t].into();
            out.kl += KlEstimator::K3.estimate(new, reference).0;
            if let Some(penalty) = &settings.kl {
                let (value, slope) = penalty.estimator.estimate(new, reference);
                let corrected = if penalty.importance { weight } else { 1.0 };
                term.value += penalty.coefficient * (value * corrected);
                term.by_logprob += penalty.coefficient * (slope * corrected);
                term.by_weight += if penalty.importance { penalty.coefficient * (value * weight) } else { 0.0 };
            }
        }
        out.loss += share * term.value;
        if of_sequence.is_some() {
            by_sequence_weight += share * term.by_weight;
            out.gradient.push(share * term.by_logprob);
        } else {
            out.gradient.push(share * (term.by_weight + term.by_logprob));
        }
        out.ratio_min = out.ratio_min.min(weight);
        out.ratio_max = out.ratio_max.max(weight);
        if settings.entropy_coefficient != 0.0 {
            let slope = if kept { -settings.entropy_coefficient / counts.kept_tokens as f64 } else { 0.0 };
            out.loss += slope * input.entropy[t].into();
            out.entropy_gradient.push(slope);
        }
    }
    if of_sequence.is_some() {
        gspo::spread(by_sequence_weight, &mut out.gradient);
    }
    out
}
