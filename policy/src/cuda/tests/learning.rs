//! The optimizer and adapters.

use super::*;
use crate::lora::{Lora, LoraConfig};

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
