//! Every loss by hand, against finite differences, and the laws that all of them keep.

use super::*;

fn settings(kind: LossKind) -> GrpoLoss {
    GrpoLoss { kind, clip_low: 0.2, clip_high: 0.2, dual_clip: None, kl: None, entropy_coefficient: 0.0 }
}

fn penalty(estimator: KlEstimator, importance: bool) -> Option<KlPenalty> {
    Some(KlPenalty { coefficient: 0.3, estimator, importance })
}

const KINDS: [LossKind; 7] = [
    LossKind::Grpo,
    LossKind::Bnpo,
    LossKind::DrGrpo { max_tokens: 6 },
    LossKind::Dapo,
    LossKind::Cispo,
    LossKind::Gspo,
    LossKind::Sapo { positive: 1.0, negative: 1.05 },
];

fn input<'a>(new: &'a [f64], old: &'a [f64], advantage: f64) -> LossInput<'a, f64> {
    LossInput { new, old, reference: None, entropy: &[0.5; 4][..new.len()], kept: None, advantage }
}

/// Two completions of two tokens and of one, in a step whose parts have 4 tokens each.
const COUNTS: Counts = Counts { completions: 2, tokens: 3, kept_tokens: 3, tokens_per_part: 4.0 };

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} where {expected} was expected");
}

#[test]
fn two_completions_by_hand() {
    // First: weights 1 and 1.5 with advantage 2: 2 and min(3, 2.4) = 2.4. Second: weight 0.5 with advantage -1:
    // min(-0.5, -0.8) = -0.8, clipped.
    let (new, old) = ([-1.0, 1.5f64.ln() - 2.0], [-1.0, -2.0]);
    let (new_2, old_2) = ([0.5f64.ln()], [0.0]);
    let inputs = [input(&new, &old, 2.0), input(&new_2, &old_2, -1.0)];
    let of = |kind| loss(&inputs, &settings(kind), &COUNTS);
    let out = of(LossKind::Grpo);
    close(out.loss, (-(2.0 + 2.4) / 2.0 + 0.8) / 2.0);
    assert_eq!((out.clipped_low, out.clipped_high, out.clipped_dual, out.tokens), (1, 1, 0, 3));
    close(out.gradient[0], -0.5);
    assert_eq!(out.gradient[1..], [0.0, 0.0]);
    close(out.ratio_max, 1.5);
    close(out.ratio_min, 0.5);
    close(of(LossKind::Bnpo).loss, (-2.0 - 2.4 + 0.8) / 3.0);
    close(of(LossKind::DrGrpo { max_tokens: 6 }).loss, (-2.0 - 2.4 + 0.8) / 12.0);
    close(of(LossKind::Dapo).loss, (-2.0 - 2.4 + 0.8) / 4.0);
    // The weight of the first is sqrt(1.5), clipped to 1.2.
    let out = of(LossKind::Gspo);
    close(out.loss, (-2.4 + 0.8) / 2.0);
    assert_eq!((out.clipped_low, out.clipped_high, &out.gradient[..]), (1, 2, &[0.0; 3][..]));
    // What is clipped still has a gradient: 1.2 * 2 / 4 and 0.5 * 1 / 4.
    let out = of(LossKind::Cispo);
    for (found, expected) in out.gradient.iter().zip([-0.5, -0.6, 0.125]) {
        close(*found, expected);
    }
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gates = [2.0, 4.0 * sigmoid(0.5), 4.0 / 1.05 * sigmoid(-0.525)];
    close(of(KINDS[6]).loss, (-(gates[0] + gates[1]) * 2.0 / 2.0 + gates[2]) / 2.0);
}

#[test]
fn settings_that_no_loss_can_be_computed_with_are_named() {
    fn check(settings: GrpoLoss, expected: &str) {
        let message = settings.validate().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let grpo = || settings(LossKind::Grpo);
    check(GrpoLoss { clip_low: -0.3, ..grpo() }, "compute the loss: `clip_low` is -0.3, expected 0 or more");
    check(GrpoLoss { clip_low: f64::NAN, ..grpo() }, "`clip_low` is NaN");
    check(GrpoLoss { clip_high: f64::NAN, ..grpo() }, "`clip_high` is NaN");
    check(GrpoLoss { dual_clip: Some(0.5), ..grpo() }, "`dual_clip` is 0.5, expected at least 1");
    check(GrpoLoss { entropy_coefficient: f64::INFINITY, ..grpo() }, "`entropy_coefficient` is inf");
    check(settings(LossKind::DrGrpo { max_tokens: 0 }), "`max_tokens` is 0");
    check(settings(LossKind::Sapo { positive: 0.0, negative: 1.0 }), "`positive` is 0");
    check(settings(LossKind::Sapo { positive: 1.0, negative: f64::NAN }), "`negative` is NaN");
    let kl = Some(KlPenalty { coefficient: f64::NAN, estimator: KlEstimator::K3, importance: false });
    check(GrpoLoss { kl, ..grpo() }, "`kl.coefficient` is NaN");
    KINDS.into_iter().for_each(|kind| settings(kind).validate().unwrap());
    GrpoLoss { clip_low: 0.0, clip_high: f64::INFINITY, ..grpo() }.validate().unwrap();
}

#[test]
#[should_panic(expected = "`clip_high` is NaN, expected 0 or more")]
fn such_settings_are_not_computed_with() {
    let strange = GrpoLoss { clip_high: f64::NAN, ..settings(LossKind::Grpo) };
    loss(&[input(&[-1.0], &[-1.0], 1.0)], &strange, &COUNTS);
}

#[test]
fn the_dual_clip_bounds_what_did_worse() {
    let (new, old) = ([4f64.ln()], [0.0]);
    let bounded = GrpoLoss { dual_clip: Some(3.0), ..settings(LossKind::Grpo) };
    let counts = Counts { completions: 1, tokens: 1, kept_tokens: 1, tokens_per_part: 1.0 };
    let out = loss(&[input(&new, &old, -1.0)], &bounded, &counts);
    assert_eq!((out.loss, out.gradient[0], out.clipped_dual), (3.0, 0.0, 1));
    let free = loss(&[input(&new, &old, -1.0)], &settings(LossKind::Grpo), &counts);
    close(free.gradient[0], 4.0);
    // What did better was bounded before.
    let out = loss(&[input(&new, &old, 1.0)], &bounded, &counts);
    assert_eq!((out.loss, out.gradient[0], out.clipped_high), (-1.2, 0.0, 1));
}

#[test]
fn the_gradient_is_the_finite_difference() {
    let old = [-0.5, -1.0, -2.0, -0.1];
    let reference = [-0.7, -0.4, -2.5, -0.3];
    let kept = [true, false, true, true];
    let counts = Counts { completions: 3, tokens: 11, kept_tokens: 9, tokens_per_part: 13.0 };
    // Not cispo: its weight is fixed, which a difference cannot know.
    for kind in KINDS.into_iter().filter(|kind| *kind != LossKind::Cispo) {
        for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
            for (importance, kept) in [(false, None), (true, Some(&kept[..]))] {
                let settings = GrpoLoss { kl: penalty(estimator, importance), dual_clip: Some(1.4), ..settings(kind) };
                for advantage in [1.3, -0.8] {
                    let at = |new: &[f64]| {
                        let input = LossInput { reference: Some(&reference), kept, ..input(new, &old, advantage) };
                        loss(&[input], &settings, &counts)
                    };
                    let new = [-0.55, -0.6, -2.4, -0.12];
                    let exact = at(&new).gradient;
                    for t in 0..4 {
                        let step = 1e-6;
                        let (mut up, mut down) = (new, new);
                        up[t] += step;
                        down[t] -= step;
                        let slope = (at(&up).loss - at(&down).loss) / (up[t] - down[t]);
                        assert!(
                            (slope - exact[t]).abs() < 1e-8,
                            "{kind:?} {estimator:?}, token {t}: {slope} against {}",
                            exact[t]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_did_better_becomes_likelier_and_what_did_worse_less_likely() {
    for kind in KINDS {
        for advantage in [0.7, -0.7] {
            let out = loss(&[input(&[-1.0, -0.2], &[-1.05, -0.15], advantage)], &settings(kind), &COUNTS);
            // The loss falls along -gradient.
            assert!(out.gradient.iter().all(|g| -g * advantage > 0.0), "{kind:?}: {:?}", out.gradient);
        }
    }
}

#[test]
fn equal_rewards_give_no_gradient() {
    for kind in KINDS {
        let out = loss(&[input(&[-1.0, -0.2], &[-1.1, -0.3], 0.0)], &settings(kind), &COUNTS);
        assert!(out.gradient.iter().all(|g| *g == 0.0) && out.loss == 0.0, "{kind:?}");
    }
}

#[test]
fn the_entropys_term_is_the_mean_over_the_tokens_that_are_kept() {
    let with = GrpoLoss { entropy_coefficient: 0.6, ..settings(LossKind::Grpo) };
    let input =
        LossInput { entropy: &[0.5, 0.1], kept: Some(&[true, false]), ..input(&[-1.0, -0.2], &[-1.0, -0.2], 0.0) };
    let counts = Counts { completions: 1, tokens: 2, kept_tokens: 1, tokens_per_part: 2.0 };
    let out = loss(&[input], &with, &counts);
    close(out.loss, -0.3);
    assert_eq!(out.entropy_gradient, [-0.6, 0.0]);
    assert!(loss(&[input], &settings(LossKind::Grpo), &counts).entropy_gradient.is_empty());
}

#[test]
fn parts_add_up() {
    let (a, b) = (input(&[-1.0, -0.2], &[-1.5, -0.3], 1.0), input(&[-0.4], &[-0.3], -0.5));
    let settings = settings(LossKind::Dapo);
    let mut parts = loss(&[a], &settings, &COUNTS);
    parts.merge(loss(&[b], &settings, &COUNTS));
    assert_eq!(parts, loss(&[a, b], &settings, &COUNTS));
}
