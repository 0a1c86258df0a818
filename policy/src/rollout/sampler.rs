//! From logits to a token: temperature, top-k and top-p, and a random number that is a pure function of its place.

use crate::ops::logprob::log_sum_exp;
use crate::ops::vectorised;
use crate::{PolicyError, Result};

/// The lowest temperature but 0.
pub const LEAST_TEMPERATURE: f64 = 1e-4;

/// How tokens are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Logits are divided by this, at least [`LEAST_TEMPERATURE`]; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only the likeliest tokens that together reach this probability are drawn from; 1 for all.
    pub top_p: f64,
    /// Only this many of the likeliest tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// A completion's largest number of tokens, the end-of-text token included.
    pub max_tokens: usize,
}

impl SamplingParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// If a value makes no sense; the message names it.
    pub fn validate(&self) -> Result<()> {
        let bad = |message| Err(PolicyError::Argument { operation: "sample", message });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return bad(format!("temperature {} is not a number from 0 up", self.temperature));
        }
        // Logits are divided in f32. What is that cold takes the likeliest token anyway.
        if self.temperature > 0.0 && self.temperature < LEAST_TEMPERATURE {
            return bad(format!("temperature {} is nearly 0; 0 takes the likeliest token", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad(format!("top_p {} is not in (0, 1]", self.top_p));
        }
        if self.max_tokens == 0 {
            return bad("max_tokens is 0".into());
        }
        Ok(())
    }

    /// The temperature at which log-probabilities are stated: 1 where the likeliest token is taken.
    pub fn logprob_temperature(&self) -> f64 {
        if self.temperature == 0.0 { 1.0 } else { self.temperature }
    }
}

/// Draws a token by the uniform number `draw` in `[0, 1)`. `logits` are scaled in place.
///
/// Returns the token and its log-probability at the temperature, before top-k and top-p cut the tail: what the training
/// pass computes for it.
pub(crate) fn sample(logits: &mut [f32], params: &SamplingParams, draw: f32) -> (u32, f32) {
    vectorised(
        #[inline(always)]
        || {
            let scale = (1.0 / params.logprob_temperature()) as f32;
            logits.iter_mut().for_each(|z| *z *= scale);
            let total = log_sum_exp(logits);
            let token = if params.temperature == 0.0 {
                likeliest(logits)
            } else if params.top_k == 0 && params.top_p >= 1.0 {
                let drawn = draw_from(logits.iter().enumerate().map(|(i, z)| (i, *z)), total, draw);
                drawn.unwrap_or_else(|| likeliest(logits))
            } else {
                draw_from_head(logits, total, params, draw)
            };
            (token as u32, logits[token] - total)
        },
    )
}

fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, z) in logits.iter().enumerate() {
        if *z > logits[best] {
            best = i;
        }
    }
    best
}

/// The first candidate at which the running probability passes `draw`; none where rounding leaves their sum below it.
///
/// The sum is in f64: in f32 a vocabulary's long tail would not count once the sum is near 1.
#[inline(always)]
fn draw_from(candidates: impl Iterator<Item = (usize, f32)>, total: f32, draw: f32) -> Option<usize> {
    let mut running = 0.0;
    for (i, z) in candidates {
        running += f64::from(crate::ops::Real::exp(z - total));
        if running > f64::from(draw) {
            return Some(i);
        }
    }
    None
}

fn draw_from_head(logits: &[f32], total: f32, params: &SamplingParams, draw: f32) -> usize {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    // As in transformers: top-p counts over what top-k left.
    let probability = |i: &usize| f64::from(crate::ops::Real::exp(logits[*i] - total));
    let mass: f64 = order.iter().map(probability).sum();
    let mut kept = 0.0;
    let mut count = 0;
    for i in &order {
        kept += probability(i);
        count += 1;
        if kept >= params.top_p * mass {
            break;
        }
    }
    order.truncate(count);
    let drawn = draw_from(order.iter().map(|i| (*i, logits[*i])), total + kept.ln() as f32, draw);
    drawn.unwrap_or(order[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{RandomKey, uniform};

    fn params(temperature: f64, top_p: f64, top_k: usize) -> SamplingParams {
        SamplingParams { temperature, top_p, top_k, max_tokens: 8 }
    }

    /// How often each token of a distribution is drawn over a grid of uniform numbers.
    fn shares(probabilities: &[f32], params: &SamplingParams) -> Vec<f32> {
        let mut counts = vec![0f32; probabilities.len()];
        for i in 0..10_000 {
            let mut logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
            let (token, logprob) = sample(&mut logits, params, (i as f32 + 0.5) / 10_000.0);
            counts[token as usize] += 1e-4;
            if params.temperature == 1.0 {
                assert!((logprob - probabilities[token as usize].ln()).abs() < 1e-5);
            }
        }
        counts
    }

    fn check(probabilities: &[f32], sampling: (f64, f64, usize), expected: &[f32]) {
        let found = shares(probabilities, &params(sampling.0, sampling.1, sampling.2));
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 2e-3, "{found:?} where {expected:?} was expected");
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        check(&[0.1, 0.6, 0.3], (1.0, 1.0, 0), &[0.1, 0.6, 0.3]);
        check(&[0.1, 0.6, 0.3], (0.0, 1.0, 0), &[0.0, 1.0, 0.0]);
        check(&[0.1, 0.6, 0.3], (1.0, 1.0, 2), &[0.0, 2.0 / 3.0, 1.0 / 3.0]);
        check(&[0.1, 0.6, 0.3], (1.0, 0.5, 0), &[0.0, 1.0, 0.0]);
        check(&[0.1, 0.6, 0.3], (1.0, 0.8, 0), &[0.0, 2.0 / 3.0, 1.0 / 3.0]);
        // Temperature 1/2 squares the odds.
        check(&[0.2, 0.4, 0.4], (0.5, 1.0, 0), &[1.0 / 9.0, 4.0 / 9.0, 4.0 / 9.0]);
    }

    /// Hundred thousands of unlikely tokens weigh what they weigh: where a draw falls is where it falls in exact sums.
    #[test]
    fn a_long_tail_is_drawn_from() {
        let tokens = 151_936;
        let noise = |position| 12.0 * uniform(RandomKey { seed: 5, step: 0, task: 0, sample: 0, position });
        let logits: Vec<f32> = (0..tokens).map(|i| noise(i) + if i % 8_000 == 5 { 16.0 } else { 0.0 }).collect();
        let largest = logits.iter().copied().fold(f32::MIN, f32::max);
        let mut running = 0.0;
        let sums: Vec<f64> = logits
            .iter()
            .map(|z| {
                running += f64::from(z - largest).exp();
                running
            })
            .collect();
        for draw in [0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.999_9, 0.999_99, 1.0 - f32::EPSILON / 2.0] {
            let (token, _) = sample(&mut logits.clone(), &params(1.0, 1.0, 0), draw);
            let token = token as usize;
            let (before, through) = (if token == 0 { 0.0 } else { sums[token - 1] }, sums[token]);
            let place = f64::from(draw) * running;
            // What rounding the logarithm of the total does; sums in f32 are off by 2e-4 here.
            let near = 1e-5 * running;
            let (low, high) = ((place - before) / running, (place - through) / running);
            assert!(
                before - near <= place && place <= through + near,
                "{draw}: {low:e} to {high:e} past token {token}"
            );
        }
    }

    #[test]
    fn ranges_are_checked() {
        for (temperature, top_p) in [(-1.0, 1.0), (f64::NAN, 1.0), (1e-38, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            assert!(params(temperature, top_p, 0).validate().is_err());
        }
        assert!(params(LEAST_TEMPERATURE, 1.0, 0).validate().is_ok() && params(0.0, 1.0, 0).validate().is_ok());
    }
}
