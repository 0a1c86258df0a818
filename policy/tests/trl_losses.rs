//! Every loss and every kind of advantage against TRL, in f64: `goldens/trl_losses.py` made the expected numbers.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use policy::grpo::{
    AdvantageScale, AdvantageSettings, Counts, GrpoLoss, KlEstimator, KlPenalty, LossInput, LossKind, advantages, loss,
    sequence_kl, top_entropy_threshold,
};
use serde_json::Value;

const TOLERANCE: f64 = 1e-6;

fn goldens() -> Value {
    serde_json::from_str(include_str!("goldens/trl_losses.json")).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    let row = |row: &Value| row.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    value.as_array().unwrap().iter().map(row).collect()
}

fn number(settings: &Value, key: &str, default: f64) -> f64 {
    settings.get(key).map_or(default, |value| value.as_f64().unwrap())
}

fn flag(settings: &Value, key: &str) -> bool {
    settings.get(key).is_some_and(|value| value.as_bool().unwrap())
}

/// TRL's settings as ours.
fn translated(settings: &Value, longest: usize) -> GrpoLoss {
    let clip_low = number(settings, "epsilon", 0.2);
    let clip_high = number(settings, "epsilon_high", clip_low);
    let (kind, clip_high) = match settings["loss_type"].as_str().unwrap() {
        "grpo" if settings.get("importance_sampling_level").is_some() => (LossKind::Gspo, clip_high),
        "grpo" => (LossKind::Grpo, clip_high),
        "bnpo" => (LossKind::Bnpo, clip_high),
        "dr_grpo" => (LossKind::DrGrpo { max_tokens: longest }, clip_high),
        "dapo" => (LossKind::Dapo, clip_high),
        // TRL's is the bound itself.
        "cispo" => (LossKind::Cispo, clip_high - 1.0),
        "sapo" => {
            let positive = number(settings, "sapo_temperature_pos", 1.0);
            (LossKind::Sapo { positive, negative: number(settings, "sapo_temperature_neg", 1.05) }, clip_high)
        }
        other => panic!("{other}"),
    };
    let kl = settings.get("beta").map(|beta| KlPenalty {
        coefficient: beta.as_f64().unwrap(),
        estimator: KlEstimator::K3,
        importance: flag(settings, "use_bias_correction_kl"),
    });
    GrpoLoss {
        kind,
        clip_low,
        clip_high,
        dual_clip: settings.get("delta").map(|delta| delta.as_f64().unwrap()),
        kl,
        entropy_coefficient: number(settings, "entropy_coef", 0.0),
    }
}

#[test]
fn every_loss_is_trls() {
    let goldens = goldens();
    let batch = &goldens["batch"];
    let [new, old, reference, entropy] = ["new", "old", "reference", "entropy"].map(|name| rows(&batch[name]));
    let advantages = &rows(&Value::Array(vec![batch["advantages"].clone()]))[0];
    let whole = |key: &str| goldens[key].as_u64().unwrap() as usize;
    let cases = goldens["losses"].as_object().unwrap();
    assert!(cases.len() >= 24);
    for (name, case) in cases {
        let settings = &case["settings"];
        let masked = flag(settings, "mask_truncated_completions").then(|| whole("truncated"));
        let members: Vec<usize> = (0..new.len()).filter(|index| Some(*index) != masked).collect();
        let tokens: usize = members.iter().map(|index| new[*index].len()).sum();

        let all: Vec<f32> = members.iter().flat_map(|index| &entropy[*index]).map(|e| *e as f32).collect();
        let threshold = top_entropy_threshold(&all, number(settings, "top_entropy_quantile", 1.0));
        let kept: Vec<Vec<bool>> =
            entropy.iter().map(|row| row.iter().map(|e| *e as f32 >= threshold).collect()).collect();
        let counts = Counts {
            completions: new.len(),
            tokens,
            kept_tokens: members.iter().flat_map(|index| &kept[*index]).filter(|kept| **kept).count(),
            tokens_per_part: match settings.get("steps_per_generation") {
                Some(steps) => (tokens + whole("others")) as f64 / steps.as_f64().unwrap(),
                None => tokens as f64,
            },
        };
        let inputs: Vec<LossInput<'_, f64>> = members
            .iter()
            .map(|&index| LossInput {
                new: &new[index],
                old: &old[index],
                reference: Some(&reference[index]),
                entropy: &entropy[index],
                kept: Some(&kept[index]),
                advantage: advantages[index],
            })
            .collect();
        let out = loss(&inputs, &translated(settings, whole("longest")), &counts);

        let expected = case["loss"].as_f64().unwrap();
        assert!((out.loss - expected).abs() < TOLERANCE, "{name}: the loss is {}, TRL's {expected}", out.loss);
        let agree = |what: &str, found: &[f64], expected: &[Vec<f64>]| {
            let of_members = members.iter().flat_map(|index| expected[*index].iter().copied());
            let expected: Vec<f64> = of_members.collect();
            assert!(found.is_empty() && expected.iter().all(|g| *g == 0.0) || found.len() == expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < TOLERANCE, "{name}: {what}: {found}, TRL's {expected}");
            }
            if let Some(masked) = masked {
                assert!(rows(&case["by_new"])[masked].iter().all(|g| *g == 0.0), "{name}: TRL masks it as well");
            }
        };
        agree("by a log-probability", &out.gradient, &rows(&case["by_new"]));
        agree("by an entropy", &out.entropy_gradient, &rows(&case["by_entropy"]));
    }
}

#[test]
fn every_advantage_is_trls() {
    let goldens = goldens();
    let scored = |row: &Value| row.as_array().unwrap().iter().map(Value::as_f64).collect::<Vec<_>>();
    let rewards: Vec<Vec<Option<f64>>> = goldens["rewards"].as_array().unwrap().iter().map(scored).collect();
    let sampled = |name: &str| -> Vec<Vec<f32>> {
        rows(&goldens["sampled"][name]).into_iter().map(|row| row.into_iter().map(|x| x as f32).collect()).collect()
    };
    let (old, reference) = (sampled("old"), sampled("reference"));
    for (name, case) in goldens["advantages"].as_object().unwrap() {
        let settings = &case["settings"];
        let scale = match settings.get("scale_rewards").and_then(Value::as_str) {
            Some("group") => AdvantageScale::Group,
            Some("batch") => AdvantageScale::Batch,
            _ => AdvantageScale::None,
        };
        let leave_one_out = settings.get("normalize_advantages").is_some();
        let beta = number(settings, "beta", 0.0);
        let mut completion = 0;
        let punished: Vec<Vec<Option<f64>>> = rewards
            .iter()
            .map(|group| {
                let each = group.iter().map(|reward| {
                    let kl = sequence_kl(&old[completion], &reference[completion], KlEstimator::K1);
                    completion += 1;
                    reward.map(|reward| reward - beta * kl)
                });
                each.collect()
            })
            .collect();
        let found = advantages(&punished, AdvantageSettings { scale, leave_one_out });
        for (found, expected) in found.iter().flatten().zip(rows(&case["advantages"]).iter().flatten()) {
            assert!((found - expected).abs() < TOLERANCE, "{name}: {found}, TRL's {expected}");
        }
    }
}
