//! Copies, averages, and what is refused.

use super::*;

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
