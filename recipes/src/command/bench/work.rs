//! What is timed. `policy/bench/peer.py` does the same work with PyTorch, transformers and TRL.

use policy::grpo::{AdvantageSettings, Counts, LossInput, Sampled, advantages, loss, pack};
use policy::optim::{AdamW, AdamWConfig};
use policy::{Completion, Forward, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Tokenizer, Track};

use super::graded::Graded;
use super::{Phase, decoding_bytes, forward_flops};
use crate::config::GrpoSettings;
use crate::place;
use crate::stage::Spent;

/// How much is done at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Sequences that are prefilled or decoded.
    pub(super) batch: usize,
    /// Sequences that are trained on.
    pub(super) train_batch: usize,
    /// Tokens of a trained sequence.
    pub(super) length: usize,
    pub(super) prompt: usize,
    /// Tokens sampled after each prompt: exactly so many in `decode`, at most so many in `step`.
    pub(super) new_tokens: usize,
    /// Completions of a step.
    pub(super) step_batch: usize,
    /// Completions of one prompt in a step, where there are as many.
    pub(super) group: usize,
}

impl Sizes {
    /// Prompts of a step, and completions of each: whole groups, so that there may be more completions than `step_batch`.
    fn groups(&self) -> (usize, usize) {
        let group = self.group.min(self.step_batch);
        (self.step_batch.div_ceil(group), group)
    }

    /// Tokens of the longest sequence of a phase.
    pub(super) fn longest(&self, phase: Phase) -> usize {
        match phase {
            Phase::Prefill | Phase::Train => self.length + 1,
            Phase::Decode | Phase::Step => self.prompt + self.new_tokens,
        }
    }
}

/// Rows that go through the model at once while training.
const MICRO_BATCH_ROWS: usize = 8192;
const LEARNING_RATE: f64 = 1e-4;
/// The token that ends a completion in `step`.
const END: u32 = 2;

pub(super) struct Work {
    policy: Policy,
    sizes: Sizes,
    track: Track,
    graded: Graded,
    optimizer: Option<AdamW>,
    /// Counts runs, so that each samples anew.
    step: u32,
}

/// What a run did.
pub(super) struct Done {
    pub(super) tokens: u64,
    pub(super) flops: f64,
    /// Of a step: how long sampling and grading took.
    pub(super) spent: Option<Spent>,
}

impl Work {
    /// A `tokenizer` reads what the policy writes, if it has one.
    pub(super) fn new(
        (policy, tokenizer): (Policy, Option<Tokenizer>),
        sizes: Sizes,
        checkpoint_layers: bool,
    ) -> anyhow::Result<Self> {
        let track = if checkpoint_layers { Track::LayerInputs } else { Track::Gradients };
        Ok(Work { policy, sizes, track, graded: Graded::new(tokenizer)?, optimizer: None, step: 0 })
    }

    pub(super) fn describe(&self, phase: Phase) -> String {
        let Sizes { batch, train_batch, length, prompt, new_tokens, .. } = self.sizes;
        let (prompts, group) = self.sizes.groups();
        match phase {
            Phase::Prefill => format!("{batch} prompts of {length} tokens"),
            Phase::Decode => format!("{batch} sequences, {prompt} tokens of prompt, {new_tokens} sampled"),
            Phase::Train => format!("{train_batch} sequences of {length} tokens"),
            Phase::Step => format!(
                "{} completions in groups of {group}, {prompt} tokens of prompt, up to {new_tokens} sampled, graded meanwhile",
                prompts * group
            ),
        }
    }

    /// Bytes that the phase must read to decode; none of other phases.
    pub(super) fn decoding_bytes(&self, phase: Phase) -> Option<f64> {
        let Sizes { batch, prompt, new_tokens, .. } = self.sizes;
        let context = prompt as f64 + new_tokens as f64 / 2.0;
        let step = || decoding_bytes(self.policy.config(), batch as f64, context);
        (phase == Phase::Decode).then(|| new_tokens as f64 * step())
    }

    /// The card's memory that is in use, if the policy is on one.
    pub(super) fn card_memory(&self) -> anyhow::Result<Option<u64>> {
        let place = self.policy.place();
        let memory = place::card(&place).map(device::Device::memory).transpose()?;
        Ok(memory.map(|memory| (memory.total - memory.free) as u64))
    }

    /// Does a phase's work, all of it: on a card it waits for the last kernel.
    pub(super) fn run(&mut self, phase: Phase) -> anyhow::Result<Done> {
        let done = self.start(phase)?;
        place::card(&self.policy.place()).map_or(Ok(()), device::Device::synchronize)?;
        Ok(done)
    }

    fn start(&mut self, phase: Phase) -> anyhow::Result<Done> {
        self.step += 1;
        let Sizes { batch, train_batch, length, prompt, new_tokens, .. } = self.sizes;
        match phase {
            Phase::Prefill => {
                self.generate(length, (batch, 1), 1, &[], |_| ())?;
                // Of a prompt only the last token's logits are made.
                let flops =
                    forward_flops(self.policy.config(), (batch * length) as f64, batch as f64, length as f64 / 2.0);
                Ok(Done { tokens: (batch * length) as u64, flops, spent: None })
            }
            Phase::Decode => {
                self.generate(prompt, (batch, 1), new_tokens, &[], |_| ())?;
                Ok(self.done((batch * new_tokens) as u64, prompt as f64 + new_tokens as f64 / 2.0, 1.0))
            }
            Phase::Train => {
                let rows: Vec<Vec<u32>> = (0..train_batch).map(|row| self.tokens(row, length + 1)).collect();
                let sampled: Vec<Sampled<'_>> =
                    rows.iter().map(|row| Sampled { prompt: &row[..1], token_ids: &row[1..], choices: None }).collect();
                let slope = -1.0 / (train_batch * length) as f32;
                self.update(&sampled, |_, forward| vec![slope; forward.logprobs.len()])?;
                Ok(self.done((train_batch * length) as u64, length as f64 / 2.0, 3.0))
            }
            Phase::Step => self.grpo_step(),
        }
    }

    fn done(&self, tokens: u64, context: f64, passes: f64) -> Done {
        let all = tokens as f64;
        Done { tokens, flops: passes * forward_flops(self.policy.config(), all, all, context), spent: None }
    }

    /// Some tokens that are no end.
    fn tokens(&self, row: usize, count: usize) -> Vec<u32> {
        let choices = self.policy.config().vocab_size.min(4096) - 3;
        (0..count).map(|i| ((row * 31 + i * 17) % choices + 3) as u32).collect()
    }

    /// So many samples of each of so many prompts, told as they finish.
    fn generate(
        &self,
        prompt: usize,
        (prompts, samples): (usize, usize),
        max_tokens: usize,
        end_of_text: &[u32],
        mut on_finish: impl FnMut(&Completion),
    ) -> policy::Result<(Vec<Request>, Vec<Completion>)> {
        let requests: Vec<Request> = (0..prompts)
            .map(|task| Request { task: task as u32, prompt: self.tokens(task, prompt), samples: samples as u32 })
            .collect();
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens };
        let batch = prompts * samples;
        let options = RolloutOptions { seed: 1, step: self.step, end_of_text: end_of_text.to_vec(), batch };
        let mut completions = Vec::new();
        RolloutEngine::new(&self.policy)?.generate(&requests, &params, &options, |completion| {
            on_finish(&completion);
            completions.push(completion);
        })?;
        completions.sort_by_key(|completion| (completion.task, completion.sample));
        Ok((requests, completions))
    }

    /// One optimizer step; `slope` is told each micro-batch's completions and its pass.
    fn update(
        &mut self,
        sampled: &[Sampled<'_>],
        mut slope: impl FnMut(&[usize], &Forward) -> Vec<f32>,
    ) -> anyhow::Result<()> {
        let policy = &self.policy;
        let mut gradients = policy.gradients()?;
        for micro in pack(sampled, MICRO_BATCH_ROWS)? {
            let forward = policy.forward(&micro.batch, 1.0, self.track)?;
            let slope = slope(&micro.completions, &forward);
            policy.backward(forward, &slope.into(), 0.0, &mut gradients)?;
        }
        if self.optimizer.is_none() {
            self.optimizer = Some(AdamW::for_policy(policy, AdamWConfig::default())?);
        }
        if let Some(optimizer) = &mut self.optimizer {
            optimizer.step(&gradients, LEARNING_RATE, Some(1.0))?;
        }
        Ok(())
    }

    /// A completion's reward is what a recipe's rewards say, which random weights hardly earn, and the share of its tokens that
    /// are even, so that every group has variance and none can be left out.
    fn grpo_step(&mut self) -> anyhow::Result<Done> {
        let Sizes { prompt, new_tokens, .. } = self.sizes;
        let groups = self.sizes.groups();
        let mut sampled = (Vec::new(), Vec::new());
        let (mut rewards, spent) = self.graded.while_sampling(groups, |finish| {
            sampled = self.generate(prompt, groups, new_tokens, &[END], finish)?;
            Ok(())
        })?;
        let (requests, completions) = sampled;
        let even = |completion: &Completion| {
            let even = completion.token_ids.iter().filter(|id| id.is_multiple_of(2)).count();
            even as f64 / completion.token_ids.len() as f64
        };
        for (reward, completion) in rewards.iter_mut().flatten().zip(&completions) {
            *reward = reward.map(|reward| reward + even(completion));
        }
        let each = advantages(&rewards, AdvantageSettings::default()).concat();
        let tokens: usize = completions.iter().map(|completion| completion.token_ids.len()).sum();
        let sampled: Vec<Sampled<'_>> =
            completions.iter().map(|c| Sampled::of(&requests[c.task as usize].prompt, c)).collect();
        let settings = GrpoSettings { kl_coefficient: 0.0, ..GrpoSettings::default() }.loss_settings();
        let counts =
            Counts { completions: completions.len(), tokens, kept_tokens: tokens, tokens_per_part: tokens as f64 };
        self.update(&sampled, |members, forward| {
            let mut end = 0;
            let inputs: Vec<LossInput<'_>> = members
                .iter()
                .map(|index| {
                    let old = &completions[*index].logprobs;
                    let range = end..end + old.len();
                    end = range.end;
                    let (new, entropy) = (&forward.logprobs[range.clone()], &forward.entropy[range]);
                    LossInput { new, old, reference: None, entropy, kept: None, advantage: each[*index] }
                })
                .collect();
            loss(&inputs, &settings, &counts).gradient.into_iter().map(|slope| slope as f32).collect()
        })?;
        let context = prompt as f64 + tokens as f64 / completions.len() as f64 / 2.0;
        Ok(Done { spent: Some(spent), ..self.done(tokens as u64, context, 4.0) })
    }
}
