//! The policy on the tests' device (the emulator, or a card) against the policy on the host.
//!
//! bf16 has 8 bits: each activation is off by up to 1 in 256, at random. Over a few layers, log-probabilities differ by some
//! thousandths of their range, and a parameter's gradient by about a hundredth of its length. What is wrong in an index or a
//! factor is off by a large part of it. Where experts are chosen, the host's choices are repeated: a choice is a jump.

use std::borrow::Cow;
use std::collections::BTreeMap;

use device::{Device, bf16};

use crate::config::{Architecture, AttentionKind, GroupedAttention, LatentAttention, Mixture, Rope};
use crate::grpo::{Sampled, pack};
use crate::model::batch::PackedBatch;
use crate::model::parameters::{specs, values};
use crate::ops::router::{Balance, ExpertChoices};
use crate::optim::{AdamW, AdamWConfig, Gradients};
use crate::random::Normal;
use crate::{Forward, ModelConfig, Place, Policy, Slopes, Track};

mod learning;
mod passes;
mod places;
mod rounded;

pub(super) const VOCABULARY: usize = 50;
const TEMPERATURE: f64 = 0.8;

pub(super) fn deepseek() -> ModelConfig {
    let attention = LatentAttention {
        kv_lora_rank: 24,
        q_lora_rank: Some(40),
        qk_rope_head_dim: 8,
        qk_nope_head_dim: 16,
        v_head_dim: 16,
        attention_bias: true,
    };
    let mixture = Mixture {
        moe_intermediate_size: 24,
        n_shared_experts: 2,
        n_routed_experts: 12,
        num_experts_per_tok: 3,
        n_group: 4,
        topk_group: 2,
        norm_topk_prob: true,
        routed_scaling_factor: 1.5,
        first_k_dense_replace: 1,
    };
    ModelConfig {
        hidden_size: 56,
        intermediate_size: 72,
        num_hidden_layers: 3,
        num_attention_heads: 3,
        attention: AttentionKind::Latent(attention),
        mixture: Some(mixture),
        initializer_range: 0.12,
        ..ModelConfig::tiny(VOCABULARY)
    }
}

/// Without what the other has: no compressed query, no biases, no shared experts, no groups; the head is the embedding.
fn plain_deepseek() -> ModelConfig {
    let mut config = deepseek();
    if let AttentionKind::Latent(attention) = &mut config.attention {
        (attention.q_lora_rank, attention.attention_bias) = (None, false);
    }
    if let Some(mixture) = &mut config.mixture {
        (mixture.n_shared_experts, mixture.n_group, mixture.topk_group, mixture.norm_topk_prob) = (0, 1, 1, false);
    }
    ModelConfig { num_hidden_layers: 2, tie_word_embeddings: true, ..config }
}

pub(super) fn qwen2() -> ModelConfig {
    let attention = GroupedAttention {
        num_key_value_heads: 2,
        head_dim: 16,
        input_bias: true,
        output_bias: false,
        query_key_norm: false,
    };
    ModelConfig {
        architecture: Architecture::Qwen2,
        attention: AttentionKind::Grouped(attention),
        num_attention_heads: 6,
        num_hidden_layers: 2,
        mixture: None,
        rope: Rope { interleave: false, ..deepseek().rope },
        tie_word_embeddings: true,
        ..deepseek()
    }
}

pub(super) fn qwen3() -> ModelConfig {
    let attention = GroupedAttention {
        num_key_value_heads: 2,
        head_dim: 24,
        input_bias: false,
        output_bias: false,
        query_key_norm: true,
    };
    ModelConfig {
        architecture: Architecture::Qwen3,
        attention: AttentionKind::Grouped(attention),
        num_attention_heads: 4,
        num_hidden_layers: 2,
        mixture: None,
        rope: Rope { interleave: false, ..deepseek().rope },
        ..deepseek()
    }
}

pub(super) fn each(test: impl Fn(&str, &ModelConfig)) {
    for (name, config) in
        [("DeepSeek", deepseek()), ("plain DeepSeek", plain_deepseek()), ("Qwen2", qwen2()), ("Qwen3", qwen3())]
    {
        test(name, &config);
    }
}

/// One policy on the host and on the device; norms, biases and the routers' biases are not what they start from. Matrices
/// are rounded, so that both compute with the same.
pub(super) fn both(config: &ModelConfig) -> (Policy, Policy) {
    let mut host = Policy::new(config.clone(), 3).unwrap();
    for (index, spec) in specs(config).into_iter().enumerate() {
        let start = values(&host.parameters().unwrap()[index]).unwrap();
        let values = if spec.shape.len() == 1 {
            let noise = Normal::new(4, &spec.name).take(spec.shape[0], 0.2);
            start.iter().zip(noise).map(|(start, noise)| start + noise).collect()
        } else {
            start.into_iter().map(|value| bf16::from_f32(value).to_f32()).collect()
        };
        host.set_parameter(index, values).unwrap();
    }
    let experts = config.mixture.as_ref().map_or(0, |mixture| mixture.n_routed_experts);
    let load = Balance { load: (0..experts as u64).map(|expert| expert * 5 % 7).collect() };
    host.update_router_bias(&vec![load; host.router_bias().len()], 0.05).unwrap();
    let mut card = host.duplicate().unwrap();
    card.to_place(&Place::Card(Device::for_tests())).unwrap();
    (host, card)
}

/// Two prompts with two and three completions: a tree in which rows have ancestors, over more rows than a block has.
fn batch() -> PackedBatch {
    let token = |place: usize| (place * 13 % (VOCABULARY - 3) + 3) as u32;
    let prompts: [Vec<u32>; 2] = [(0..41).map(token).collect(), (7..16).map(token).collect()];
    let completions: Vec<Vec<u32>> = [30, 17, 1, 9, 25].map(|len| (len..2 * len).map(token).collect()).to_vec();
    let sampled: Vec<Sampled<'_>> = completions
        .iter()
        .zip([0, 0, 1, 1, 1])
        .map(|(completion, prompt)| Sampled { prompt: &prompts[prompt], token_ids: completion, choices: None })
        .collect();
    let mut packed = pack(&sampled, 1000).unwrap();
    assert_eq!(packed.len(), 1);
    packed.remove(0).batch
}

/// The same batch with the choices that a pass has made.
fn with_choices(batch: &PackedBatch, forward: &Forward) -> PackedBatch {
    let mut choices = ExpertChoices::new(forward.routing.len());
    for (layer, routing) in forward.routing.iter().enumerate() {
        choices.push(layer, &routing.chosen);
    }
    PackedBatch { choices: (!forward.routing.is_empty()).then_some(choices), ..batch.clone() }
}

fn slopes(forward: &Forward) -> Slopes {
    let numbers = |at: f32| (0..forward.logprobs.len()).map(|i| (i as f32 * at).sin()).collect();
    Slopes { logprobs: numbers(0.7), entropy: numbers(1.3) }
}

/// A pass's results, and the gradients of all parameters by name.
fn run(policy: &Policy, batch: &PackedBatch, track: Track) -> (Vec<f32>, Vec<f32>, Gradients) {
    let forward = policy.forward(batch, TEMPERATURE, track).unwrap();
    let (logprobs, entropy, slopes) = (forward.logprobs.clone(), forward.entropy.clone(), slopes(&forward));
    let mut gradients = policy.gradients().unwrap();
    policy.backward(forward, &slopes, 0.5, &mut gradients).unwrap();
    (logprobs, entropy, gradients)
}

fn by_name(gradients: &Gradients) -> BTreeMap<String, Vec<f32>> {
    let values = gradients.values().unwrap().into_iter();
    values.map(|(name, values)| (name.to_owned(), values.map(Cow::into_owned).unwrap())).collect()
}

fn bits(gradients: &Gradients) -> Vec<u32> {
    by_name(gradients).into_values().flatten().map(f32::to_bits).collect()
}

fn weights(policy: &Policy) -> Vec<Vec<f32>> {
    policy.parameters().unwrap().iter().map(|parameter| values(parameter).unwrap()).collect()
}

pub(super) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn root_mean_square(a: &[f32], b: &[f32]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

/// The length of the difference over that of the expected.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = found.iter().zip(expected).map(|(a, b)| f64::from(a - b));
    length(&mut { difference }) / length(&mut expected.iter().map(|x| f64::from(*x))).max(1e-30)
}
