//! GRPO through the policy's own interface: what is rewarded becomes likelier, and what is not told apart stays.

use candle_core::Tensor;
use policy::config::{Architecture, AttentionKind, GroupedAttention};
use policy::grpo::{AdvantageSettings, Counts, GrpoLoss, LossInput, LossKind, Sampled, advantages, loss, pack};
use policy::ops::router::Balance;
use policy::optim::{AdamW, AdamWConfig, Gradients};
use policy::{Completion, ModelConfig, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};

const VOCABULARY: usize = 48;

fn tiny_policy() -> Policy {
    let mut config = ModelConfig::tiny(VOCABULARY);
    (config.hidden_size, config.num_hidden_layers) = (64, 2);
    config.initializer_range = 0.08;
    config.max_position_embeddings = 64;
    Policy::new(config, 3).unwrap()
}

/// The same, with the attention and the dense layers of Qwen3, and biases besides.
fn tiny_dense_policy() -> Policy {
    let mut config = tiny_policy().config().clone();
    (config.architecture, config.mixture) = (Architecture::Qwen3, None);
    config.attention = AttentionKind::Grouped(GroupedAttention {
        num_key_value_heads: 2,
        head_dim: 16,
        input_bias: true,
        output_bias: true,
        query_key_norm: true,
    });
    config.intermediate_size = 128;
    config.tie_word_embeddings = true;
    Policy::new(config, 3).unwrap()
}

fn requests() -> Vec<Request> {
    let prompt = |task: u32| (0..6).map(|i| (task * 13 + i * 7) % 40 + 3).collect();
    (0..4).map(|task| Request { task, prompt: prompt(task), samples: 12 }).collect()
}

fn completions(policy: &Policy, step: u32) -> Vec<Completion> {
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 8 };
    let options = RolloutOptions { seed: 1, step, end_of_text: vec![1], batch: 64 };
    let mut completions = Vec::new();
    RolloutEngine::new(policy).unwrap().generate(&requests(), &params, &options, |c| completions.push(c)).unwrap();
    completions.sort_by_key(|completion| (completion.task, completion.sample));
    completions
}

/// The gradient of the GRPO loss of a step's completions under their rewards.
fn gradients(policy: &Policy, completions: &[Completion], rewards: &[f64]) -> Gradients {
    let requests = requests();
    let mut at = 0;
    let groups: Vec<Vec<Option<f64>>> = completions
        .chunk_by(|a, b| a.task == b.task)
        .map(|group| {
            at += group.len();
            rewards[at - group.len()..at].iter().copied().map(Some).collect()
        })
        .collect();
    let advantages = advantages(&groups, AdvantageSettings::default()).concat();
    let sampled: Vec<Sampled<'_>> =
        completions.iter().map(|c| Sampled::of(&requests[c.task as usize].prompt, c)).collect();
    let settings = GrpoLoss {
        kind: LossKind::Grpo,
        clip_low: 0.2,
        clip_high: 0.2,
        dual_clip: None,
        kl: None,
        entropy_coefficient: 0.0,
    };
    let tokens = completions.iter().map(|c| c.token_ids.len()).sum();
    let counts = Counts { completions: completions.len(), tokens, kept_tokens: tokens, tokens_per_part: tokens as f64 };
    let mut gradients = Gradients::zeros(policy.parameters().unwrap());
    for micro in pack(&sampled, 128).unwrap() {
        let forward = policy.forward(&micro.batch, 1.0, Track::Gradients).unwrap();
        let (new, entropy) = (&forward.logprobs, &forward.entropy);
        let mut start = 0;
        let inputs: Vec<LossInput<'_>> = micro
            .completions
            .iter()
            .map(|&index| {
                let old = &completions[index].logprobs;
                start += old.len();
                let range = start - old.len()..start;
                let (new, entropy) = (&new[range.clone()], &entropy[range]);
                LossInput { new, old, reference: None, entropy, kept: None, advantage: advantages[index] }
            })
            .collect();
        let slopes: Vec<f32> =
            loss(&inputs, &settings, &counts).gradient.into_iter().map(|slope| slope as f32).collect();
        policy.backward(forward, &slopes.into(), 0.0, &mut gradients).unwrap();
    }
    gradients
}

fn weights(policy: &Policy) -> Vec<u32> {
    let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
    policy.parameters().unwrap().iter().flat_map(|(_, var)| bits(var.as_tensor())).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn what_is_rewarded_becomes_likelier() {
    const REWARDED: u32 = 17;
    for policy in [tiny_policy(), tiny_dense_policy()] {
        let mut optimizer = AdamW::new(policy.parameters().unwrap(), AdamWConfig::default()).unwrap();
        let mut means = Vec::new();
        for step in 0..20 {
            let completions = completions(&policy, step);
            let rewards: Vec<f64> =
                completions.iter().map(|c| f64::from(u8::from(c.token_ids.contains(&REWARDED)))).collect();
            means.push(mean(&rewards));
            let gradients = gradients(&policy, &completions, &rewards);
            assert!(optimizer.step(&gradients, 4e-3, Some(1.0)).unwrap().applied);
        }
        let name = policy.config().architecture.name();
        let (early, late) = (mean(&means[..2]), mean(&means[17..]));
        assert!(early < 0.5, "{name}: it was likely from the start: {means:?}");
        assert!(late > early + 0.4, "{name}: {means:?}");
    }
}

#[test]
fn equal_rewards_give_no_gradient_at_all() {
    for policy in [tiny_policy(), tiny_dense_policy()] {
        equal_rewards_leave(&policy);
    }
}

fn equal_rewards_leave(policy: &Policy) {
    let completions = completions(policy, 0);
    let none = gradients(policy, &completions, &vec![0.7; completions.len()]);
    assert_eq!(none.norm().unwrap(), 0.0);
    let mut reached = 0;
    for (name, gradient) in none.values().unwrap() {
        let Some(gradient) = gradient else { continue };
        reached += 1;
        assert!(gradient.iter().all(|g| *g == 0.0), "{name}");
    }
    // Every parameter was part of the pass; nothing of it came through.
    assert_eq!(reached, policy.parameters().unwrap().len());
    let before = weights(policy);
    let mut optimizer = AdamW::new(policy.parameters().unwrap(), AdamWConfig::default()).unwrap();
    assert!(optimizer.step(&none, 1e-2, None).unwrap().applied);
    assert!(weights(policy) == before);

    // One completion that did better is enough.
    let mut rewards = vec![0.7; completions.len()];
    rewards[5] = 0.8;
    let some = gradients(policy, &completions, &rewards);
    assert!(some.norm().unwrap() > 0.0);
    optimizer.step(&some, 1e-2, None).unwrap();
    assert!(weights(policy) != before);
}

#[test]
fn the_routers_bias_evens_out_the_load() {
    let mut policy = tiny_policy();
    let completions = completions(&policy, 0);
    let requests = requests();
    let sampled: Vec<Sampled<'_>> = completions
        .iter()
        .map(|c| Sampled { choices: None, ..Sampled::of(&requests[c.task as usize].prompt, c) })
        .collect();
    let batch = pack(&sampled, usize::MAX).unwrap().remove(0).batch;
    let load = |policy: &Policy| -> Vec<Balance> {
        let routing = policy.forward(&batch, 1.0, Track::Nothing).unwrap().routing;
        let count = |routing| {
            let mut balance = Balance::default();
            balance.count(routing);
            balance
        };
        routing.iter().map(count).collect()
    };
    let worst = |balance: &[Balance]| balance.iter().map(Balance::max_violation).fold(0.0, f64::max);

    let first = load(&policy);
    assert_eq!(first.len(), 1, "one layer of experts");
    let mean = first[0].load.iter().sum::<u64>() as f64 / first[0].load.len() as f64;
    policy.update_router_bias(&first, 0.01).unwrap();
    for (bias, load) in policy.router_bias()[0].iter().zip(&first[0].load) {
        let expected = 0.01 * f64::from(i8::from((*load as f64) < mean) - i8::from((*load as f64) > mean));
        assert!((f64::from(*bias) - expected).abs() < 1e-9, "load {load} of mean {mean}: bias {bias}");
    }
    for _ in 0..60 {
        let now = load(&policy);
        policy.update_router_bias(&now, 0.005).unwrap();
    }
    let last = load(&policy);
    assert!(worst(&first) > 0.3, "nothing to even out: {first:?}");
    assert!(worst(&last) < 0.5 * worst(&first), "{} became {}", worst(&first), worst(&last));
}
