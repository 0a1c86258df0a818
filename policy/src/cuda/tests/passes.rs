//! Log-probabilities, gradients and choices.

use super::*;

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
            assert!(mean < 0.015 && largest < 0.06, "{name}: {what} off by {mean}, at most by {largest}");
        }
        let expected = by_name(&gradients);
        let found = by_name(&card_gradients);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        let mut worst = (0.0, "");
        for (parameter, expected) in &expected {
            let off = relative(&found[parameter], expected);
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

#[test]
fn gradients_add_up() {
    let (_, card) = both(&qwen3());
    let (_, _, once) = run(&card, &batch(), Track::Gradients);
    let mut sums = card.gradients().unwrap();
    for _ in 0..2 {
        let forward = card.forward(&batch(), TEMPERATURE, Track::Gradients).unwrap();
        let slopes = slopes(&forward);
        card.backward(forward, &slopes, 0.5, &mut sums).unwrap();
    }
    for ((name, once), (_, sums)) in by_name(&once).into_iter().zip(by_name(&sums)) {
        let twice: Vec<f32> = once.iter().map(|gradient| gradient * 2.0).collect();
        assert!(relative(&sums, &twice) < 1e-5, "{name}");
    }
    assert!(sums.add_slice("model.norm.weight", &[0.0; 56], 1.0).unwrap_err().to_string().contains("on a card"));
}
