//! The rollout engine against the training pass: the same tokens, the same log-probabilities, whatever the batch.

use policy::grpo::{Sampled, pack};
use policy::ops::router::Balance;
use policy::{Completion, ModelConfig, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};

/// A tiny policy whose weights are large enough that its choices differ from token to token.
pub(crate) fn tiny_policy(vocabulary: usize) -> Policy {
    let mut config = ModelConfig::tiny(vocabulary);
    config.initializer_range = 0.2;
    config.max_position_embeddings = 256;
    Policy::new(config, 11).unwrap()
}

fn requests() -> Vec<Request> {
    let prompt = |task: u32| (0..9).map(|i| if i < 5 { 40 + i } else { (task * 17 + i * 5) % 50 + 3 }).collect();
    (0..6).map(|task| Request { task, prompt: prompt(task), samples: 5 }).collect()
}

fn params() -> SamplingParams {
    SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 40 }
}

fn generate(policy: &Policy, requests: &[Request], batch: usize) -> Vec<Completion> {
    let options = RolloutOptions { seed: 5, step: 3, end_of_text: vec![1], batch };
    let mut out = Vec::new();
    RolloutEngine::new(policy).unwrap().generate(requests, &params(), &options, |c| out.push(c)).unwrap();
    out.sort_by_key(|c| (c.task, c.sample));
    out
}

/// To the bit, for every token of every completion.
#[test]
fn compressed_decoding_agrees_with_the_full_forward_pass() {
    let policy = tiny_policy(64);
    let requests = requests();
    let completions = generate(&policy, &requests, 16);
    assert_eq!(completions.len(), 30);
    assert!(completions.iter().any(|c| c.token_ids.len() > 10));
    let sampled: Vec<Sampled<'_>> =
        completions.iter().map(|c| Sampled::of(&requests[c.task as usize].prompt, c)).collect();
    assert_eq!(largest_difference(&policy, &completions, &sampled), 0.0);
}

/// The largest difference between the log-probabilities of sampling and of the training pass.
fn largest_difference(policy: &Policy, completions: &[Completion], sampled: &[Sampled<'_>]) -> f32 {
    let mut largest = 0f32;
    for batch in pack(sampled, 300).unwrap() {
        let trained = policy.forward(&batch.batch, 1.0, Track::Nothing).unwrap().logprobs;
        let drawn = batch.completions.iter().flat_map(|i| &completions[*i].logprobs);
        largest = drawn.zip(&trained).map(|(a, b)| (a - b).abs()).fold(largest, f32::max);
    }
    largest
}

#[test]
fn training_repeats_the_experts_of_sampling() {
    let mut policy = tiny_policy(64);
    let requests = requests();
    let completions = generate(&policy, &requests, 16);
    let sampled: Vec<Sampled<'_>> =
        completions.iter().map(|c| Sampled::of(&requests[c.task as usize].prompt, c)).collect();
    let rerouted: Vec<Sampled<'_>> = sampled.iter().map(|s| Sampled { choices: None, ..*s }).collect();
    // The routers agree by themselves.
    for (repeated, chosen) in pack(&sampled, 300).unwrap().iter().zip(pack(&rerouted, 300).unwrap()) {
        let routing = |batch| policy.forward(batch, 1.0, Track::Nothing).unwrap().routing;
        assert_eq!(routing(&repeated.batch), routing(&chosen.batch));
    }
    // A bias that moved since then chooses other experts, and is no part of the gates.
    let experts = policy.config().mixture.as_ref().map_or(0, |mixture| mixture.n_routed_experts);
    let load = Balance { load: (0..experts as u64).collect() };
    policy.update_router_bias(&vec![load; policy.router_bias().len()], 0.3).unwrap();
    assert_eq!(largest_difference(&policy, &completions, &sampled), 0.0);
    assert!(largest_difference(&policy, &completions, &rerouted) > 1e-2);
}

#[test]
fn a_completion_does_not_depend_on_batch_or_threads_or_order() {
    let policy = tiny_policy(64);
    let expected = generate(&policy, &requests(), 64);
    let same = |found: &[Completion], what: &str| {
        for (a, b) in expected.iter().zip(found) {
            assert_eq!(a.token_ids, b.token_ids, "{what}: task {} sample {}", a.task, a.sample);
            let bits = |c: &Completion| c.logprobs.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(a), bits(b), "{what}: log-probabilities of task {} sample {}", a.task, a.sample);
        }
        assert_eq!(expected.len(), found.len());
    };
    same(&generate(&policy, &requests(), 7), "batch of 7");
    same(&generate(&policy, &requests(), 1), "batch of 1");
    let mut reversed = requests();
    reversed.reverse();
    same(&generate(&policy, &reversed, 13), "requests in reverse");
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        same(&pool.install(|| generate(&policy, &requests(), 64)), "another number of threads");
    }
}

#[test]
fn greedy_takes_the_likeliest_and_limits_hold() {
    let policy = tiny_policy(64);
    let options = RolloutOptions { seed: 5, step: 0, end_of_text: vec![1], batch: 8 };
    let greedy = SamplingParams { temperature: 0.0, top_p: 1.0, top_k: 0, max_tokens: 6 };
    let mut out = Vec::new();
    let engine = RolloutEngine::new(&policy).unwrap();
    engine.generate(&requests(), &greedy, &options, |c| out.push(c)).unwrap();
    for c in &out {
        assert_eq!(c.token_ids, out.iter().find(|o| o.task == c.task).unwrap().token_ids);
        assert!(c.token_ids.len() <= 6);
    }
    let long = SamplingParams { max_tokens: 250, ..greedy };
    let message = engine.generate(&requests(), &long, &options, |_| ()).unwrap_err().to_string();
    assert!(message.contains("259 positions; the model has 256"), "{message}");
}
