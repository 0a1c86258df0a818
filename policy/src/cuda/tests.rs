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
use crate::lora::{Lora, LoraConfig};
use crate::model::batch::PackedBatch;
use crate::model::parameters::{specs, values};
use crate::ops::router::{Balance, ExpertChoices};
use crate::optim::{AdamW, AdamWConfig, Gradients};
use crate::random::Normal;
use crate::{Forward, ModelConfig, Place, Policy, Slopes, Track};

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

#[test]
fn passes_agree_with_the_host() {
    each(|name, config| {
        let (host, card) = both(config);
        let forward = host.forward(&batch(), TEMPERATURE, Track::Nothing).unwrap();
        let batch = with_choices(&batch(), &forward);
        let (logprobs, entropy, gradients) = run(&host, &batch, Track::Gradients);
        let (card_logprobs, card_entropy, card_gradients) = run(&card, &batch, Track::Gradients);
        for (what, found, expected) in
            [("log-probabilities", &card_logprobs, &logprobs), ("entropies", &card_entropy, &entropy)]
        {
            let (largest, mean) = (largest_difference(found, expected), root_mean_square(found, expected));
            println!("{name}: {what} off by {mean:.4}, at most by {largest:.4}");
            assert!(mean < 0.015 && largest < 0.06, "{name}: {what} off by {mean}, at most by {largest}");
        }
        let expected = by_name(&gradients);
        let found = by_name(&card_gradients);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        let mut worst = (0.0, "");
        for (parameter, expected) in &expected {
            let off = relative(&found[parameter], expected);
            println!("  {off:.4} {parameter}");
            if off > worst.0 {
                worst = (off, parameter);
            }
        }
        assert!(worst.0 < 0.04, "{name}: gradient of {} off by {}", worst.1, worst.0);
        let norms = (card_gradients.norm().unwrap(), gradients.norm().unwrap());
        assert!((norms.0 / norms.1 - 1.0).abs() < 0.01, "{name}: {norms:?}");
    });
}

#[test]
fn layers_computed_again_and_passes_made_again_give_the_same_bits() {
    each(|name, config| {
        let (_, card) = both(config);
        let batch = batch();
        let (logprobs, entropy, gradients) = run(&card, &batch, Track::Gradients);
        for track in [Track::LayerInputs, Track::Gradients] {
            let (again, entropy_again, gradients_again) = run(&card, &batch, track);
            assert_eq!((&again, &entropy_again), (&logprobs, &entropy), "{name} {track:?}");
            assert!(bits(&gradients_again) == bits(&gradients), "{name} {track:?}");
        }
        let untracked = card.forward(&batch, TEMPERATURE, Track::Nothing).unwrap();
        assert_eq!(untracked.logprobs, logprobs, "{name}");
    });
}

#[test]
fn routers_choose_as_on_the_host() {
    let (host, card) = both(&deepseek());
    let of = |policy: &Policy| policy.forward(&batch(), TEMPERATURE, Track::Nothing).unwrap().routing;
    let (expected, found) = (of(&host), of(&card));
    assert_eq!(found.len(), 2);
    for (found, expected) in found.iter().zip(&expected) {
        let same = found.chosen.iter().zip(&expected.chosen).filter(|(a, b)| a == b).count();
        let share = same as f64 / expected.chosen.len() as f64;
        assert!(share > 0.9, "{share} of the choices are the same");
        assert_eq!(found.load.iter().sum::<u32>(), expected.load.iter().sum::<u32>());
    }
    // Choices that are given are kept.
    let forward = host.forward(&batch(), TEMPERATURE, Track::Nothing).unwrap();
    let repeated = card.forward(&with_choices(&batch(), &forward), TEMPERATURE, Track::Nothing).unwrap();
    assert_eq!(repeated.routing, forward.routing);
}

/// Loss over a few steps of raising the batch's log-probabilities.
fn train(policy: &Policy, batch: &PackedBatch, optimizer: &mut AdamW, steps: usize) -> Vec<f64> {
    let mut losses = Vec::new();
    for _ in 0..steps {
        let forward = policy.forward(batch, 1.0, Track::LayerInputs).unwrap();
        let targets = forward.logprobs.len();
        losses.push(-forward.logprobs.iter().map(|p| f64::from(*p)).sum::<f64>() / targets as f64);
        let mut gradients = policy.gradients().unwrap();
        policy.backward(forward, &vec![-1.0 / targets as f32; targets].into(), 0.0, &mut gradients).unwrap();
        assert!(optimizer.step(&gradients, 3e-3, Some(1.0)).unwrap().applied);
    }
    losses
}

#[test]
fn learning_goes_as_on_the_host_and_can_be_continued_there() {
    let config = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
    each(|name, model| {
        let (host, card) = both(model);
        let batch = with_choices(&batch(), &host.forward(&batch(), TEMPERATURE, Track::Nothing).unwrap());
        let mut optimizers = [&host, &card].map(|policy| AdamW::for_policy(policy, config).unwrap());
        let expected = train(&host, &batch, &mut optimizers[0], 4);
        let found = train(&card, &batch, &mut optimizers[1], 4);
        println!("{name}: {found:.4?} on the card, {expected:.4?} on the host");
        assert!(found.windows(2).all(|pair| pair[1] < pair[0] - 0.01), "{name}: {found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.02 * expected, "{name}: {found} and {expected}");
        }

        // Saved on the card, read on the host: the same numbers, with which the host goes on.
        let folder = tempfile::tempdir().unwrap();
        card.save(folder.path()).unwrap();
        let read = Policy::load(folder.path()).unwrap();
        assert!(weights(&read) == weights(&card), "{name}");
        assert_eq!(read.router_bias(), card.router_bias(), "{name}");
        let path = folder.path().join("optimizer.safetensors");
        let state = optimizers[1].state().unwrap();
        crate::checkpoint::save_tensors(&path, &state.views(), &BTreeMap::new()).unwrap();
        let saved = crate::checkpoint::load_tensors(&path).unwrap();
        let mut continued = AdamW::for_policy(&read, config).unwrap();
        continued.restore(&saved).unwrap();
        assert_eq!(continued.steps(), 4);
        let on_host = continued.state().unwrap();
        assert!(on_host.views() == state.views(), "{name}");
        let next = train(&read, &batch, &mut continued, 1);

        // And back on a card: the next step is the same to the bit.
        let mut back = Policy::load(folder.path()).unwrap();
        back.to_place(&card.place()).unwrap();
        let mut restored = AdamW::for_policy(&back, config).unwrap();
        restored.restore(&saved).unwrap();
        drop(state);
        let losses = [train(&card, &batch, &mut optimizers[1], 1), train(&back, &batch, &mut restored, 1)];
        assert_eq!(losses[0], losses[1], "{name}");
        assert!((losses[0][0] - next[0]).abs() < 0.02 * next[0], "{name}: {losses:?} and on the host {next:?}");
        assert!(weights(&back) == weights(&card), "{name}");
    });
}

#[test]
fn an_optimizer_step_is_the_hosts_to_the_bit() {
    let config = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
    let (host, card) = both(&deepseek());
    let staged = card.duplicate().unwrap();
    let mut optimizers = [
        AdamW::for_policy(&host, config).unwrap(),
        AdamW::for_policy(&card, config).unwrap(),
        AdamW::for_policy_with_host_moments(&staged, config).unwrap(),
    ];
    for _ in 0..2 {
        let (_, _, gradients) = run(&card, &batch(), Track::Gradients);
        let (_, _, staged_gradients) = run(&staged, &batch(), Track::Gradients);
        let mut on_host = host.gradients().unwrap();
        for (name, values) in by_name(&gradients) {
            on_host.add_slice(&name, &values, 1.0).unwrap();
        }
        let each = [&on_host, &gradients, &staged_gradients];
        let reports: Vec<_> = optimizers
            .iter_mut()
            .zip(each)
            .map(|(optimizer, sums)| optimizer.step(sums, 1e-2, None).unwrap())
            .collect();
        assert!(reports.iter().all(|report| report.applied && !report.clipped));
        assert!((reports[1].grad_norm / reports[0].grad_norm - 1.0).abs() < 1e-9, "{reports:?}");
    }
    let expected = weights(&host);
    assert!(weights(&card) == expected && weights(&staged) == expected);
    let states = [0, 1, 2].map(|i| optimizers[i].state().unwrap());
    assert!(states[1].views() == states[0].views() && states[2].views() == states[0].views());
}

#[test]
fn what_is_not_finite_is_not_applied_and_nothing_is_no_gradient() {
    let (_, card) = both(&qwen3());
    let before = weights(&card);
    let mut optimizer = AdamW::for_policy(&card, AdamWConfig::default()).unwrap();
    let mut gradients = card.gradients().unwrap();
    assert!(gradients.values().unwrap().iter().all(|(_, values)| values.is_none()));
    let report = optimizer.step(&gradients, 1e-2, Some(1.0)).unwrap();
    assert!(report.applied && report.grad_norm == 0.0 && weights(&card) == before);
    let forward = card.forward(&batch(), 1.0, Track::Gradients).unwrap();
    let broken = vec![f32::NAN; forward.logprobs.len()];
    card.backward(forward, &broken.into(), 0.0, &mut gradients).unwrap();
    let report = optimizer.step(&gradients, 1e-2, Some(1.0)).unwrap();
    assert!(!report.applied && optimizer.steps() == 1 && weights(&card) == before);
}

#[test]
fn gradients_add_up_and_are_scaled() {
    let (_, card) = both(&qwen3());
    let (_, _, once) = run(&card, &batch(), Track::Gradients);
    let mut sums = card.gradients().unwrap();
    for _ in 0..2 {
        let forward = card.forward(&batch(), TEMPERATURE, Track::Gradients).unwrap();
        let slopes = slopes(&forward);
        card.backward(forward, &slopes, 0.5, &mut sums).unwrap();
    }
    sums.scale(0.5).unwrap();
    for ((name, once), (_, sums)) in by_name(&once).into_iter().zip(by_name(&sums)) {
        assert!(relative(&sums, &once) < 1e-5, "{name}");
    }
    assert!(sums.add_slice("model.norm.weight", &[0.0; 56], 1.0).unwrap_err().to_string().contains("on a card"));
}

#[test]
fn copies_move_on_their_own_and_towards_each_other() {
    let (host, card) = both(&deepseek());
    let other = Policy::new(deepseek(), 9).unwrap();
    let mut moved = host.duplicate().unwrap();
    moved.move_towards(&other, 0.25).unwrap();
    let mut on_card = card.duplicate().unwrap();
    let mut other_on_card = other.duplicate().unwrap();
    let error = on_card.move_towards(&other_on_card, 0.25).unwrap_err().to_string();
    assert!(error.contains("different places"), "{error}");
    // Read once before, so that an old copy would show.
    assert!(weights(&on_card) == weights(&host));
    other_on_card.to_place(&card.place()).unwrap();
    on_card.move_towards(&other_on_card, 0.25).unwrap();
    let expected = weights(&moved);
    for (found, expected) in weights(&on_card).iter().zip(&expected) {
        assert!(largest_difference(found, expected) < 1e-6);
    }
    assert_eq!(on_card.router_bias(), moved.router_bias());
    assert!(weights(&card) == weights(&host));
    // What is computed with has moved too.
    moved.to_place(&card.place()).unwrap();
    let batch = with_choices(&batch(), &moved.forward(&batch(), 1.0, Track::Nothing).unwrap());
    let of = |policy: &Policy| policy.forward(&batch, 1.0, Track::Nothing).unwrap().logprobs;
    let expected = of(&on_card);
    assert!(root_mean_square(&of(&moved), &expected) < 0.002);
    on_card.to_place(&Place::Cpu).unwrap();
    assert!(matches!(on_card.place(), Place::Cpu));
    assert!(root_mean_square(&of(&on_card), &expected) < 0.02);
}

#[test]
fn adapters_are_trained_on_the_host_and_merged_into_the_card() {
    let (host, card) = both(&qwen3());
    let config = LoraConfig { rank: 4, alpha: 8.0, targets: vec!["q_proj".to_owned(), "down_proj".to_owned()] };
    let step = |policy: &Policy| {
        let lora = Lora::new(policy, &config, 1).unwrap();
        let mut optimizer = AdamW::new(lora.parameters(), AdamWConfig::default()).unwrap();
        let (_, _, gradients) = run(policy, &batch(), Track::Gradients);
        let gradients = lora.gradients(policy, &gradients).unwrap();
        optimizer.step(&gradients, 1e-2, None).unwrap();
        lora.merge(policy).unwrap();
        (run(policy, &batch(), Track::Gradients).0, weights(policy))
    };
    let before = weights(&host);
    let ((expected, host_weights), (found, card_weights)) = (step(&host), step(&card));
    let off = root_mean_square(&found, &expected);
    assert!(off < 0.02, "{off}");
    let changed = |weights: &[Vec<f32>]| {
        let changed = weights.iter().zip(&before).map(|(now, before)| now != before);
        changed.collect::<Vec<_>>()
    };
    assert_eq!(changed(&card_weights), changed(&host_weights));
    assert_eq!(changed(&card_weights).iter().filter(|changed| **changed).count(), 4);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let (host, card) = both(&qwen2());
    let refused = |policy: &Policy, gradients: &mut Gradients| {
        let forward = policy.forward(&batch(), 1.0, Track::Gradients).unwrap();
        let slopes = slopes(&forward);
        policy.backward(forward, &slopes, 0.0, gradients).unwrap_err().to_string()
    };
    let message = refused(&card, &mut host.gradients().unwrap());
    assert!(message.contains("one place"), "{message}");
    let message = refused(&host, &mut card.gradients().unwrap());
    assert!(message.contains("one place"), "{message}");
    let other = card.duplicate().unwrap();
    let message = refused(&card, &mut other.gradients().unwrap());
    assert!(message.contains("one policy"), "{message}");
    let mut optimizer = AdamW::for_policy(&card, AdamWConfig::default()).unwrap();
    let message = optimizer.step(&host.gradients().unwrap(), 0.1, None).unwrap_err().to_string();
    assert!(message.contains("another place"), "{message}");

    let mut odd = Policy::new(ModelConfig { hidden_size: 60, ..qwen2() }, 0).unwrap();
    let message = odd.to_place(&card.place()).unwrap_err().to_string();
    assert!(message.contains("`hidden_size` is 60") && matches!(odd.place(), Place::Cpu), "{message}");
}
