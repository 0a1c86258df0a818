//! From logits to tokens, and the sequences' state between two steps of decoding; nothing passes through the host.
//!
//! A token is the first, in the order of the vocabulary, at which the running probability passes a uniform number. That number
//! is a pure function of what the draw is for: Philox 4x32-10 (Salmon et al., SC 2011) under the seed, of the counter
//! (position in the completion, sample, task, step). Of `top_k` and `top_p` remain the likeliest tokens, ties going to the
//! lower number; top-p counts over what top-k left. The log-probability is at the temperature and before that cut.
//! See `kernels/sampler.cu` and `kernels/advance.cu`.

use super::checks::Checks;
use crate::{Device, Grid, Result, Slice};

const THREADS: u32 = 1024;
const ADVANCE_THREADS: u32 = 256;

/// The state of a sequence that is being drawn.
pub const DRAWING: u8 = 0;
/// The state of a sequence that an end token ended.
pub const ENDED: u8 = 1;
/// The state of a sequence that has as many tokens as it may.
pub const FULL: u8 = 2;

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the likeliest token, and log-probabilities are then at 1.
    pub temperature: f64,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability; 1 for all.
    pub top_p: f64,
}

/// What each row's draw is for.
#[derive(Debug, Clone, Copy)]
pub struct Draws<'a> {
    /// The seed's low and high word, and the step: `[3]`. On the device, so that a recorded step serves many.
    pub key: Slice<'a, u32>,
    /// The task: `[rows]`.
    pub task: Slice<'a, u32>,
    /// The sample of the task: `[rows]`.
    pub sample: Slice<'a, u32>,
    /// Tokens drawn before: `[rows]`, that is [`Sequences::length`].
    pub length: Slice<'a, u32>,
    /// Rows that are not [`DRAWING`] are left alone: `[rows]`.
    pub state: Slice<'a, u8>,
}

/// Draws a token for each row: `tokens` and `logprobs` `[rows]` from `logits` `[rows, vocabulary]`.
///
/// # Errors
/// Sizes that do not fit together, a temperature or top-p out of range, or the device's.
pub fn sample(
    device: &Device,
    (tokens, logprobs): (Slice<'_, u32>, Slice<'_, f32>),
    logits: Slice<'_, f32>,
    draws: Draws<'_>,
    sampling: Sampling,
) -> Result<()> {
    let check = Checks("sample");
    let rows = tokens.len();
    let Sampling { temperature, top_k, top_p } = sampling;
    check.that(temperature >= 0.0 && temperature.is_finite(), || format!("a temperature of {temperature}"))?;
    check.that(top_p > 0.0 && top_p <= 1.0, || format!("top-p {top_p} is not in (0, 1]"))?;
    let vocabulary = logits.len() / rows.max(1);
    check.that(rows == 0 || vocabulary > 0, || "an empty vocabulary".into())?;
    check.holds("the logits", logits.len(), rows * vocabulary)?;
    // Then the kernel reads four at a time.
    if vocabulary.is_multiple_of(4) {
        check.aligned("the memory of the logits", logits)?;
    }
    check.holds("the log-probabilities", logprobs.len(), rows)?;
    check.holds("the key", draws.key.len(), 3)?;
    for (what, len) in [
        ("the tasks", draws.task.len()),
        ("the samples", draws.sample.len()),
        ("the lengths", draws.length.len()),
        ("the states", draws.state.len()),
    ] {
        check.holds(what, len, rows)?;
    }
    let greedy = temperature == 0.0;
    let scale = if greedy { 1.0 } else { (1.0 / temperature) as f32 };
    let kernel = device.kernel("sampler", &[], "sample")?;
    let arguments = [
        tokens.into(),
        logprobs.into(),
        logits.into(),
        draws.state.into(),
        draws.key.into(),
        draws.task.into(),
        draws.sample.into(),
        draws.length.into(),
        check.int("the vocabulary", vocabulary)?.into(),
        scale.into(),
        i32::from(greedy).into(),
        // As many as there are is as good as all.
        (top_k.min(vocabulary) as i32).into(),
        top_p.into(),
    ];
    device.submit(&kernel, Grid::blocks(rows, THREADS), &arguments)
}

/// The sequences that are drawn side by side, one a slot.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// Drawn tokens: `[slots, capacity]`.
    pub tokens: Slice<'a, u32>,
    /// Their log-probabilities: `[slots, capacity]`.
    pub logprobs: Slice<'a, f32>,
    /// The next step's input: `[slots]`.
    pub next: Slice<'a, u32>,
    /// How many tokens were drawn: `[slots]`.
    pub length: Slice<'a, u32>,
    /// The next input's position in its context: `[slots]`.
    pub position: Slice<'a, u32>,
    /// [`DRAWING`], [`ENDED`], [`FULL`], or anything else for a slot that is not in use: `[slots]`.
    pub state: Slice<'a, u8>,
    /// The most tokens that may be drawn, at least 1 and at most the capacity: `[slots]`.
    pub limit: Slice<'a, u32>,
    /// How many slots go on, set by [`advance`]: `[1]`.
    pub running: Slice<'a, u32>,
}

/// Takes up the drawn tokens of the sequences that are [`DRAWING`]: into their outputs, as the next input, and into length
/// and position; changes the state of those that a token among `ends` ended or that are full. Others stay as they are.
///
/// # Errors
/// Sizes that do not fit together, or the device's.
pub fn advance(
    device: &Device,
    sequences: Sequences<'_>,
    (drawn, drawn_logprobs): (Slice<'_, u32>, Slice<'_, f32>),
    ends: Slice<'_, u32>,
) -> Result<()> {
    let check = Checks("advance");
    let slots = sequences.state.len();
    let capacity = sequences.tokens.len() / slots.max(1);
    check.that(slots == 0 || capacity > 0, || "no room for tokens".into())?;
    check.holds("the tokens", sequences.tokens.len(), slots * capacity)?;
    check.holds("their log-probabilities", sequences.logprobs.len(), slots * capacity)?;
    check.holds("the number of running sequences", sequences.running.len(), 1)?;
    for (what, len) in [
        ("the next inputs", sequences.next.len()),
        ("the lengths", sequences.length.len()),
        ("the positions", sequences.position.len()),
        ("the limits", sequences.limit.len()),
        ("the drawn tokens", drawn.len()),
        ("the drawn tokens' log-probabilities", drawn_logprobs.len()),
    ] {
        check.holds(what, len, slots)?;
    }
    let kernel = device.kernel("advance", &[], "advance")?;
    let arguments = [
        sequences.tokens.into(),
        sequences.logprobs.into(),
        sequences.next.into(),
        sequences.length.into(),
        sequences.position.into(),
        sequences.state.into(),
        sequences.running.into(),
        drawn.into(),
        drawn_logprobs.into(),
        sequences.limit.into(),
        ends.into(),
        check.int("the end tokens", ends.len())?.into(),
        check.int("the slots", slots)?.into(),
        check.int("a sequence's tokens", capacity)?.into(),
    ];
    device.submit(&kernel, Grid::blocks(1, ADVANCE_THREADS), &arguments)
}
