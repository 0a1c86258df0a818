//! The rollout engine: samples groups of completions from the policy, many sequences at a time.
//!
//! Continuous batching: sequences join as places come free and leave as they finish. What all prompts begin with is
//! computed once, and each group's prompt once for all of its samples. Every random number is a function of (seed, step,
//! task, sample, position), and a row's arithmetic does not depend on its neighbours, so a completion is the same whatever
//! the batch size, the order of requests and the number of threads.

mod cache;
mod decoder;
mod grouped;
pub(crate) mod listener;
mod matrix;
mod sampler;

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

pub use listener::{Listener, Partial};
pub use sampler::{LEAST_TEMPERATURE, SamplingParams};

use cache::{CacheRows, Prefix};
use decoder::{Decoder, Span};
use listener::{Audience, Each};
use sampler::sample;

use crate::config::ModelConfig;
#[cfg(feature = "cuda")]
use crate::cuda::CardRollout;
use crate::grpo::common_prefix;
use crate::model::Policy;
use crate::ops::router::ExpertChoices;
use crate::random::{RandomKey, uniform};
use crate::{PolicyError, Result};

/// Sequences that one thread decodes in one call: more make better matrix products, fewer balance better.
const ROWS_PER_CALL: usize = 64;

/// A prompt to be completed several times.
#[derive(Debug, Clone)]
pub struct Request {
    /// The task's number in the step or evaluation; part of the random numbers' key, and that by which its prompt is found
    /// again. No two requests of a call may have the same.
    pub task: u32,
    /// The prompt's token ids.
    pub prompt: Vec<u32>,
    /// The number of completions.
    pub samples: u32,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The end-of-text token.
    Stop,
    /// The limit of tokens.
    Length,
}

/// What the policy wrote to a prompt.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The request's task.
    pub task: u32,
    /// Which of the task's samples this is.
    pub sample: u32,
    /// The tokens, the end-of-text token included where it was drawn.
    pub token_ids: Vec<u32>,
    /// Each token's log-probability when it was drawn, at the sampling temperature.
    pub logprobs: Vec<f32>,
    /// The experts that the prompt's tokens went to, shared by the group.
    pub prompt_choices: Arc<ExpertChoices>,
    /// The experts that the completion's tokens went to; its last token was never fed, so it has none.
    pub choices: ExpertChoices,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// Where the random numbers of a call come from, and how much is decoded at once.
#[derive(Debug, Clone)]
pub struct RolloutOptions {
    /// The run's seed.
    pub seed: u64,
    /// The step, or another number that sets this call apart from all others under the seed: two calls alike in both draw the
    /// same for the same task, sample and position.
    pub step: u32,
    /// The tokens that end a completion.
    pub end_of_text: Vec<u32>,
    /// Most sequences decoded at once.
    pub batch: usize,
}

/// A policy's weights, laid out for sampling where the policy lives.
///
/// A small model's are copied, as they are when the engine is made. A large one's, and those on a card, are shared with the policy
/// and must stay as they are while the engine is used.
pub struct RolloutEngine(Engine);

enum Engine {
    Host(Box<HostEngine>),
    #[cfg(feature = "cuda")]
    Card(Box<CardRollout>),
}

struct HostEngine {
    decoder: Decoder,
}

/// A prompt that has been computed: its cache, where its tokens went, and the logits after it.
struct Group {
    task: u32,
    prefix: Arc<Prefix>,
    choices: Arc<ExpertChoices>,
    logits: Vec<f32>,
}

struct Sequence {
    task: u32,
    sample: u32,
    prefix: Arc<Prefix>,
    prompt_choices: Arc<ExpertChoices>,
    own: CacheRows,
    /// Most tokens that are drawn.
    limit: usize,
    token_ids: Vec<u32>,
    logprobs: Vec<f32>,
    finished: Option<FinishReason>,
}

impl RolloutEngine {
    /// Prepares the policy's weights.
    ///
    /// # Errors
    /// If the weights cannot be read.
    pub fn new(policy: &Policy) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = policy.resident() {
            return Ok(RolloutEngine(Engine::Card(Box::new(CardRollout::new(policy, resident)))));
        }
        Ok(RolloutEngine(Engine::Host(Box::new(HostEngine { decoder: Decoder::new(policy)? }))))
    }

    /// Completes every request; `on_finish` receives each completion as it ends.
    ///
    /// # Errors
    /// If two requests are of one task; if a prompt is empty, longer than the model's positions allow, or holds ids outside
    /// the vocabulary. On a card: if it fails, or if a request needs more memory than it has.
    pub fn generate(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        options: &RolloutOptions,
        on_finish: impl FnMut(Completion),
    ) -> Result<()> {
        self.run(requests, params, options, params.max_tokens, &mut Each(on_finish))
    }

    /// Completes every request as [`generate`](Self::generate) does, for a listener that hears of completions as they come
    /// and may end the call before all are there. One whose prompt leaves it fewer than `max_tokens` of the model's
    /// positions is cut off where these end.
    ///
    /// # Errors
    /// As for [`generate`](Self::generate), but that a prompt only has to leave one position.
    pub fn stream(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        options: &RolloutOptions,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        self.run(requests, params, options, 1, listener)
    }

    /// Every prompt has to leave so many positions.
    fn run(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        options: &RolloutOptions,
        positions: usize,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        params.validate()?;
        let mut audience = Audience::new(listener);
        match &self.0 {
            Engine::Host(engine) => {
                check(engine.decoder.config(), requests, positions)?;
                engine.generate(requests, params, options, &mut audience);
            }
            #[cfg(feature = "cuda")]
            Engine::Card(engine) => {
                check(engine.config(), requests, positions)?;
                engine.generate(requests, params, options, &mut audience)?;
            }
        }
        audience.result()
    }
}

/// Refuses requests that the model cannot complete by so many tokens.
fn check(config: &ModelConfig, requests: &[Request], tokens: usize) -> Result<()> {
    let mut tasks = HashSet::with_capacity(requests.len());
    for request in requests {
        let bad = |message| Err(PolicyError::Argument { operation: "sample", message });
        if !tasks.insert(request.task) {
            return bad(format!(
                "two requests are of task {}: give each prompt a task number of its own, and ask for several completions \
                 of one prompt by `samples`",
                request.task
            ));
        }
        let needed = request.prompt.len() + tokens;
        if request.prompt.is_empty() {
            return bad(format!("the prompt of task {} has no tokens", request.task));
        }
        if needed > config.max_position_embeddings {
            return bad(format!(
                "task {}: a prompt of {} tokens and a completion of up to {tokens} need {needed} positions; the model \
                 has {}",
                request.task,
                request.prompt.len(),
                config.max_position_embeddings
            ));
        }
        if let Some(id) = request.prompt.iter().find(|id| **id as usize >= config.vocab_size) {
            return bad(format!(
                "task {}: token id {id} outside the vocabulary of {}",
                request.task, config.vocab_size
            ));
        }
    }
    Ok(())
}

/// Most tokens of a completion: what is asked for, or where the model's positions end.
pub(crate) fn limit_of(config: &ModelConfig, request: &Request, params: &SamplingParams) -> usize {
    params.max_tokens.min(config.max_position_embeddings.saturating_sub(request.prompt.len()))
}

impl HostEngine {
    fn generate(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        options: &RolloutOptions,
        audience: &mut Audience<'_>,
    ) {
        let shared = common_prefix(requests.iter().map(|request| request.prompt.as_slice()));
        let root = (shared > 0).then(|| self.prefill(None, &requests[0].prompt[..shared]).0);
        let batch = options.batch.max(1);
        let mut waiting =
            requests.iter().flat_map(|request| (0..request.samples).map(move |sample| (request, sample))).peekable();
        let mut active: Vec<Sequence> = Vec::new();
        // The group of which some samples are still waiting.
        let mut current: Option<Group> = None;
        loop {
            let mut admitted: Vec<(&Request, u32)> = Vec::new();
            while active.len() + admitted.len() < batch
                && let Some(next) = waiting.next()
            {
                admitted.push(next);
            }
            let known = current.as_ref().map(|group| group.task);
            let mut fresh: Vec<&Request> =
                admitted.iter().map(|(request, _)| *request).filter(|r| Some(r.task) != known).collect();
            fresh.dedup_by_key(|request| request.task);
            let mut groups: Vec<Group> = fresh
                .par_iter()
                .map(|request| {
                    let (prefix, hidden) = self.prefill(root.clone(), &request.prompt[shared..]);
                    let (choices, logits) = (Arc::new(prefix.choices()), self.decoder.logits(&hidden));
                    Group { task: request.task, prefix, choices, logits }
                })
                .collect();
            groups.extend(current.take());
            for (request, sample_index) in &admitted {
                if let Some(group) = groups.iter().find(|group| group.task == request.task) {
                    let limit = limit_of(self.decoder.config(), request, params);
                    let mut sequence = Sequence {
                        task: request.task,
                        sample: *sample_index,
                        prefix: Arc::clone(&group.prefix),
                        prompt_choices: Arc::clone(&group.choices),
                        own: self.decoder.empty_cache(group.prefix.end(), limit.min(64)),
                        limit,
                        token_ids: Vec::new(),
                        logprobs: Vec::new(),
                        finished: None,
                    };
                    sequence.draw(&mut group.logits.clone(), params, options);
                    active.push(sequence);
                }
            }
            current = waiting.peek().and_then(|(next, _)| groups.into_iter().find(|group| group.task == next.task));

            let (finished, running): (Vec<_>, Vec<_>) =
                active.into_iter().partition(|sequence| sequence.finished.is_some());
            active = running;
            finished.into_iter().for_each(|sequence| audience.finish(sequence.complete()));
            if audience.follows() {
                active.iter().for_each(|sequence| audience.tokens(sequence.partial()));
            }
            if audience.is_gone() || active.is_empty() && waiting.peek().is_none() {
                return;
            }
            let rows = if self.decoder.is_large() {
                active.len().max(1)
            } else {
                active.len().div_ceil(rayon::current_num_threads()).clamp(8, ROWS_PER_CALL)
            };
            active.par_chunks_mut(rows).for_each(|sequences| self.decode(sequences, params, options));
        }
    }

    /// Computes prompt tokens; returns their cache and the last one's hidden row.
    fn prefill(&self, parent: Option<Arc<Prefix>>, token_ids: &[u32]) -> (Arc<Prefix>, Vec<f32>) {
        let position = parent.as_ref().map_or(0, |parent| parent.end());
        let mut rows = self.decoder.empty_cache(position, token_ids.len());
        let hidden =
            self.decoder.forward(&mut [Span { token_ids, cached: 0, prefix: parent.as_ref(), own: &mut rows }]);
        (Arc::new(Prefix::new(parent, rows, token_ids.len())), hidden)
    }

    /// One more token for each sequence.
    fn decode(&self, sequences: &mut [Sequence], params: &SamplingParams, options: &RolloutOptions) {
        let mut spans: Vec<Span<'_>> = sequences
            .iter_mut()
            .map(|sequence| Span {
                token_ids: &sequence.token_ids[sequence.token_ids.len() - 1..],
                cached: sequence.token_ids.len() - 1,
                prefix: Some(&sequence.prefix),
                own: &mut sequence.own,
            })
            .collect();
        let hidden = self.decoder.forward(&mut spans);
        let mut logits = self.decoder.logits(&hidden);
        let vocabulary = self.decoder.config().vocab_size;
        if self.decoder.is_large() {
            let rows = sequences.par_iter_mut().zip(logits.par_chunks_exact_mut(vocabulary));
            rows.for_each(|(sequence, logits)| sequence.draw(logits, params, options));
        } else {
            let rows = sequences.iter_mut().zip(logits.chunks_exact_mut(vocabulary));
            rows.for_each(|(sequence, logits)| sequence.draw(logits, params, options));
        }
    }
}

impl Sequence {
    fn draw(&mut self, logits: &mut [f32], params: &SamplingParams, options: &RolloutOptions) {
        let key = RandomKey {
            seed: options.seed,
            step: options.step,
            task: self.task,
            sample: self.sample,
            position: self.token_ids.len() as u32,
        };
        let (token, logprob) = sample(logits, params, uniform(key));
        self.token_ids.push(token);
        self.logprobs.push(logprob);
        if options.end_of_text.contains(&token) {
            self.finished = Some(FinishReason::Stop);
        } else if self.token_ids.len() >= self.limit {
            self.finished = Some(FinishReason::Length);
        }
    }

    fn partial(&self) -> Partial<'_> {
        let Sequence { task, sample, ref token_ids, ref logprobs, .. } = *self;
        Partial { task, sample, token_ids, logprobs }
    }

    fn complete(self) -> Completion {
        Completion {
            task: self.task,
            sample: self.sample,
            token_ids: self.token_ids,
            logprobs: self.logprobs,
            prompt_choices: self.prompt_choices,
            choices: self.own.choices,
            finish_reason: self.finished.unwrap_or(FinishReason::Length),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{Architecture, AttentionKind, GroupedAttention};

    fn latent() -> ModelConfig {
        ModelConfig { initializer_range: 0.1, max_position_embeddings: 64, ..ModelConfig::tiny(50) }
    }

    /// With everything that grouped attention can have.
    pub(crate) fn grouped_attention() -> AttentionKind {
        AttentionKind::Grouped(GroupedAttention {
            num_key_value_heads: 2,
            head_dim: 24,
            input_bias: true,
            output_bias: false,
            query_key_norm: true,
        })
    }

    fn grouped() -> ModelConfig {
        let (architecture, attention) = (Architecture::Qwen3, grouped_attention());
        ModelConfig { architecture, attention, mixture: None, tie_word_embeddings: true, ..latent() }
    }

    fn completions(policy: &Policy, large: bool, batch: usize, threads: usize) -> Vec<Completion> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let decoder = Decoder::laid_out(policy, large).unwrap();
            let engine = RolloutEngine(Engine::Host(Box::new(HostEngine { decoder })));
            let request = |task: u32| Request { task, prompt: vec![task + 3, 7, 20, 9 + task], samples: 5 };
            let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 20 };
            let options = RolloutOptions { seed: 2, step: 0, end_of_text: vec![1], batch };
            let mut out = Vec::new();
            engine.generate(&[request(0), request(1)], &params, &options, |c| out.push(c)).unwrap();
            out.sort_by_key(|completion| (completion.task, completion.sample));
            out
        })
    }

    #[test]
    fn two_prompts_of_one_task_are_refused() {
        let policy = Policy::new(latent(), 5).unwrap();
        let request = |task: u32, first: u32| Request { task, prompt: vec![first, 7], samples: 1 };
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 2 };
        let options = RolloutOptions { seed: 2, step: 0, end_of_text: vec![1], batch: 4 };
        let generate =
            |requests: &[Request]| RolloutEngine::new(&policy).unwrap().generate(requests, &params, &options, |_| ());
        let message = generate(&[request(6, 3), request(4, 3), request(6, 9)]).unwrap_err().to_string();
        assert!(message.contains("sample: two requests are of task 6"), "{message}");
        generate(&[request(6, 3), request(4, 3)]).unwrap();
    }

    #[test]
    fn a_large_models_layout_samples_the_same_bits() {
        for config in [latent(), grouped()] {
            let policy = Policy::new(config, 5).unwrap();
            let bits = |completions: Vec<Completion>| -> Vec<u32> {
                completions.iter().flat_map(|c| &c.logprobs).map(|logprob| logprob.to_bits()).collect()
            };
            let expected = bits(completions(&policy, false, 8, 1));
            assert!(bits(completions(&policy, true, 8, 1)) == expected);
            assert!(bits(completions(&policy, true, 3, 2)) == expected, "another batch, other threads");
        }
    }
}
