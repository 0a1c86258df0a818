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
        running += probability(z, total);
        if running > f64::from(draw) {
            return Some(i);
        }
    }
    None
}

/// Tokens are counted by how far they are below the likeliest, in steps of this part of a logit; the last of so many places is
/// that of all that are farther, which have no probability in f32.
const STEP: f32 = 0.25;
const PLACES: usize = 512;

/// Draws from what top-k and top-p leave. Of a large vocabulary that is little as a rule, so only tokens that can be among it
/// are put in order; what is drawn is what it would be with all of them in order.
#[inline(always)]
fn draw_from_head(logits: &[f32], total: f32, params: &SamplingParams, draw: f32) -> usize {
    let top_k = if params.top_k == 0 { logits.len() } else { params.top_k.min(logits.len()) };
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Logits that are no numbers have no order of likelihood.
    let counted = if total.is_finite() { count(logits, total, largest) } else { [(0, 0.0); PLACES] };
    // The sum is not that of the tokens in order, and differs from it by less than this.
    let rounding = 2.0 * logits.len() as f64 * f64::EPSILON;
    let target = params.top_p * counted.iter().map(|(_, mass)| mass).sum::<f64>();
    // As in transformers: top-p counts over what top-k left.
    let is_cut = top_k < logits.len();
    let mut sums = (0, 0.0);
    let last = counted[..PLACES - 1].iter().position(|(tokens, mass)| {
        sums = (sums.0 + tokens, sums.1 + mass);
        if is_cut { sums.0 >= top_k } else { sums.1 > target * (1.0 + rounding) }
    });
    let Some(last) = last else { return draw_from_all(ordered(logits, |_| true), logits, total, params, draw) };
    let mut head = ordered(logits, |z| place(largest, z) <= last as u32);
    if is_cut {
        return draw_from_all(head, logits, total, params, draw);
    }
    head.sort_unstable();
    match (cut(&head, logits, total, target * (1.0 - rounding)), cut(&head, logits, total, target * (1.0 + rounding))) {
        (Some(least), Some(most)) if least == most => draw_from_first(&head[..least.0], least.1, logits, total, draw),
        _ => draw_from_all(ordered(logits, |_| true), logits, total, params, draw),
    }
}

/// How many tokens there are at each place, and their probability.
#[inline(always)]
fn count(logits: &[f32], total: f32, largest: f32) -> [(usize, f64); PLACES] {
    const LANES: usize = 16;
    let mut counted = [(0, 0.0); PLACES];
    for part in logits.chunks(LANES) {
        // In vectors first, then one by one.
        let (mut places, mut masses) = ([0; LANES], [0.0; LANES]);
        places.iter_mut().zip(part).for_each(|(found, z)| *found = place(largest, *z));
        masses.iter_mut().zip(part).for_each(|(found, z)| *found = probability(*z, total));
        for (place, mass) in places.into_iter().zip(masses).take(part.len()) {
            let counted = &mut counted[place as usize];
            *counted = (counted.0 + 1, counted.1 + mass);
        }
    }
    counted
}

#[inline(always)]
fn place(largest: f32, logit: f32) -> u32 {
    ((largest - logit) / STEP).min((PLACES - 1) as f32) as u32
}

/// Draws from those tokens that top-k and top-p leave, of `head`, which are all that top-k leaves, or more.
fn draw_from_all(mut head: Vec<u64>, logits: &[f32], total: f32, params: &SamplingParams, draw: f32) -> usize {
    if params.top_k > 0 && head.len() > params.top_k {
        head.select_nth_unstable(params.top_k);
        head.truncate(params.top_k);
    }
    head.sort_unstable();
    let mass = head.iter().map(|key| probability(logits[id(*key)], total)).sum::<f64>();
    let (count, kept) = cut(&head, logits, total, params.top_p * mass).unwrap_or((head.len(), mass));
    draw_from_first(&head[..count], kept, logits, total, draw)
}

/// Draws from tokens which have the probability `kept` together.
fn draw_from_first(head: &[u64], kept: f64, logits: &[f32], total: f32, draw: f32) -> usize {
    let each = head.iter().map(|key| (id(*key), logits[id(*key)]));
    draw_from(each, total + kept.ln() as f32, draw).unwrap_or(id(head[0]))
}

/// How many of the first tokens reach a probability, and what theirs is.
fn cut(head: &[u64], logits: &[f32], total: f32, target: f64) -> Option<(usize, f64)> {
    let mut kept = 0.0;
    let last = head.iter().position(|key| {
        kept += probability(logits[id(*key)], total);
        kept >= target
    });
    last.map(|last| (last + 1, kept))
}

/// Keys of tokens by which the likelier is the smaller, and of equals that with the lower id.
#[inline(always)]
fn ordered(logits: &[f32], is_among: impl Fn(f32) -> bool) -> Vec<u64> {
    let key = |(id, z): (usize, f32)| {
        // As `total_cmp` compares.
        let bits = z.to_bits();
        let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        u64::from(!rising) << 32 | id as u64
    };
    logits.iter().copied().enumerate().filter(|(_, z)| is_among(*z)).map(key).collect()
}

/// The token of a key.
fn id(key: u64) -> usize {
    key as u32 as usize
}

#[inline(always)]
fn probability(logit: f32, total: f32) -> f64 {
    f64::from(crate::ops::Real::exp(logit - total))
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

    /// [`draw_from_head`] with all tokens in order.
    fn draw_from_ordered(logits: &[f32], total: f32, params: &SamplingParams, draw: f32) -> usize {
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

    #[test]
    fn few_are_put_in_order_and_what_is_drawn_is_the_same() {
        let noise = |seed, position| uniform(RandomKey { seed, step: 0, task: 0, sample: 0, position });
        for (tokens, spread, steps) in [
            (1, 1.0, 1.0),
            (9, 4.0, 1.0),
            (500, 30.0, 1e6),
            (500, 12.0, 2.0),
            (500, 0.0, 1.0),
            (5000, 1e5, 1e-3),
            (5000, 9.0, 1e6),
            (5000, 400.0, 1.0),
        ] {
            // Logits in steps have many equals.
            let logit = |position| (spread * noise(3, position) * noise(4, position) * steps).round() / steps;
            let logits: Vec<f32> = (0..tokens).map(logit).collect();
            let total = log_sum_exp(&logits);
            for top_k in [0, 1, 2, 40, 499, 500, 501, 3000, usize::MAX] {
                for top_p in [1e-9, 0.2, 0.5, 0.9, 0.95, 0.999, 1.0 - 1e-12, 1.0] {
                    let params = params(1.0, top_p, top_k);
                    for place in 0..12 {
                        let draw = if place == 0 { 0.0 } else { noise(place, tokens) };
                        let expected = draw_from_ordered(&logits, total, &params, draw);
                        let found = draw_from_head(&logits, total, &params, draw);
                        assert_eq!(found, expected, "{tokens} {spread} {steps} {params:?} {draw}");
                    }
                }
            }
        }
        // What is no number is drawn as before, and named by the engine.
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = [0.5, bad, -0.0, 0.0];
            for params in [params(1.0, 0.5, 0), params(1.0, 1.0, 2), params(1.0, 0.5, 3)] {
                let total = log_sum_exp(&logits);
                let expected = draw_from_ordered(&logits, total, &params, 0.7);
                assert_eq!(draw_from_head(&logits, total, &params, 0.7), expected, "{bad} {params:?}");
            }
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
