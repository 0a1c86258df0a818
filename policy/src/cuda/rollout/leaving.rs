//! What the host reads while the card goes on: how far sequences are, and completions that have ended.

use std::sync::Arc;

use device::ops::FULL;
use device::{Buffer, Device, Readback, Result};

use super::cache::Cache;
use super::slots::Slots;
use crate::ops::router::ExpertChoices;
use crate::rollout::listener::Audience;
use crate::{Completion, FinishReason};

/// Completions on their way at once; each has memory for the longest.
const MOST_LEAVING: usize = 8;

/// How far sequences were after a step.
pub(super) struct Progress {
    state: Readback<u8>,
    length: Readback<u32>,
    /// What has been drawn in each slot, if somebody follows it: places for so many tokens of each.
    drawn: Option<(usize, Readback<u32>, Readback<f32>)>,
    /// Which sequence each slot had.
    sequences: Vec<u64>,
}

/// A sequence that has ended, as the card told it.
pub(super) struct Ended {
    pub(super) sequence: u64,
    /// Tokens drawn.
    pub(super) length: usize,
    pub(super) reason: FinishReason,
}

impl Progress {
    /// With `capacity`, the most tokens of a completion, if these are followed; else with 0.
    pub(super) fn new(device: &Device, slots: usize, capacity: usize) -> Result<Self> {
        const WHAT: &str = "the progress of sequences";
        let drawn = match capacity {
            0 => None,
            _ => {
                let numbers = slots * capacity;
                Some((capacity, device.readback(numbers, WHAT)?, device.readback(numbers, WHAT)?))
            }
        };
        let (state, length) = (device.readback(slots, WHAT)?, device.readback(slots, WHAT)?);
        Ok(Progress { state, length, drawn, sequences: Vec::new() })
    }

    /// Notes the sequences' progress once the work given so far is done; they are in the first slots in this order.
    pub(super) fn start(&mut self, slots: &Slots<'_>, sequences: impl Iterator<Item = u64>) -> Result<()> {
        self.sequences.clear();
        self.sequences.extend(sequences);
        let (state, length) = slots.progress(self.sequences.len());
        self.state.start(&state)?;
        self.length.start(&length)?;
        if let Some((_, tokens, logprobs)) = &mut self.drawn {
            let (drawn, drawn_logprobs) = slots.all_drawn(self.sequences.len());
            tokens.start(&drawn)?;
            logprobs.start(&drawn_logprobs)?;
        }
        Ok(())
    }

    /// Waits for it, and tells what sequences had drawn, if that is followed.
    pub(super) fn drawn(&mut self, mut tell: impl FnMut(u64, &[u32], &[f32])) -> Result<()> {
        if let Some((capacity, tokens, logprobs)) = self.drawn.as_mut().filter(|_| !self.sequences.is_empty()) {
            let each = tokens.wait()?.chunks_exact(*capacity).zip(logprobs.wait()?.chunks_exact(*capacity));
            for ((sequence, length), (tokens, logprobs)) in self.sequences.iter().zip(self.length.wait()?).zip(each) {
                let length = *length as usize;
                tell(*sequence, &tokens[..length], &logprobs[..length]);
            }
        }
        Ok(())
    }

    /// Waits for it, and returns the sequences that had ended.
    pub(super) fn ended(&mut self) -> Result<Vec<Ended>> {
        if self.sequences.is_empty() {
            return Ok(Vec::new());
        }
        let (state, length) = (self.state.wait()?, self.length.wait()?);
        let each = self.sequences.iter().zip(state).zip(length);
        Ok(each
            .filter_map(|((sequence, state), length)| {
                let reason = match *state {
                    device::ops::ENDED => FinishReason::Stop,
                    FULL => FinishReason::Length,
                    _ => return None,
                };
                Some(Ended { sequence: *sequence, length: *length as usize, reason })
            })
            .collect())
    }
}

/// Places that completions are copied to.
struct Places {
    tokens: Readback<u32>,
    logprobs: Readback<f32>,
    /// The experts, `[tokens, MoE layers, top_k]`, side by side on the card and then on the host.
    choices: Option<(Buffer<u16>, Readback<u16>)>,
}

/// A completion of which the host knows all but what is being copied.
pub(super) struct Known {
    pub(super) task: u32,
    pub(super) sample: u32,
    pub(super) slot: usize,
    /// Tokens of its prompt, and of itself.
    pub(super) prompt: usize,
    pub(super) length: usize,
    pub(super) prompt_choices: Arc<ExpertChoices>,
    pub(super) reason: FinishReason,
}

/// Completions that are being copied, and places for more.
pub(super) struct Leaving<'a> {
    device: &'a Device,
    capacity: usize,
    free: Vec<Places>,
    /// In the order in which they left.
    under_way: Vec<(Places, Known)>,
}

impl<'a> Leaving<'a> {
    pub(super) fn new(device: &'a Device, capacity: usize) -> Self {
        Leaving { device, capacity, free: Vec::new(), under_way: Vec::new() }
    }

    /// Starts to copy a completion, whose slot and pages may be used for others from then on.
    pub(super) fn start(
        &mut self,
        slots: &Slots<'_>,
        cache: &Cache,
        known: Known,
        audience: &mut Audience<'_>,
    ) -> Result<()> {
        if self.under_way.len() == MOST_LEAVING {
            self.finish(cache, audience)?;
        }
        let mut places = match self.free.pop() {
            Some(places) => places,
            None => self.place(cache)?,
        };
        let (tokens, logprobs) = slots.drawn(known.slot, known.length);
        places.tokens.start(&tokens)?;
        places.logprobs.start(&logprobs)?;
        if let (Some((taken, copied)), Some(choices)) = (&mut places.choices, cache.choices()) {
            let fed = known.length.saturating_sub(1);
            let taken = taken.slice(..fed * cache.shape().choices_of_token());
            if fed > 0 {
                choices.take(self.device, taken, slots.table(known.slot..known.slot + 1), known.prompt)?;
                copied.start(&taken)?;
            }
        }
        self.under_way.push((places, known));
        Ok(())
    }

    /// Hands out all completions that are under way.
    pub(super) fn finish(&mut self, cache: &Cache, audience: &mut Audience<'_>) -> Result<()> {
        let (layers, top_k) = cache.shape().mixture();
        for (mut places, known) in self.under_way.drain(..) {
            let choices = match &mut places.choices {
                Some((_, copied)) if known.length > 1 => ExpertChoices::of_tokens(copied.wait()?, layers, top_k),
                _ => ExpertChoices::new(layers),
            };
            audience.finish(Completion {
                task: known.task,
                sample: known.sample,
                token_ids: places.tokens.wait()?.to_vec(),
                logprobs: places.logprobs.wait()?.to_vec(),
                prompt_choices: known.prompt_choices,
                choices,
                finish_reason: known.reason,
            });
            self.free.push(places);
        }
        Ok(())
    }

    fn place(&self, cache: &Cache) -> Result<Places> {
        let numbers = self.capacity * cache.shape().choices_of_token();
        let choices = match numbers {
            0 => None,
            _ => {
                let what = "experts of a completion";
                Some((self.device.alloc(numbers, what)?, self.device.readback(numbers, what)?))
            }
        };
        let (tokens, logprobs) = (
            self.device.readback(self.capacity, "tokens of a completion")?,
            self.device.readback(self.capacity, "log-probabilities of a completion")?,
        );
        Ok(Places { tokens, logprobs, choices })
    }
}
