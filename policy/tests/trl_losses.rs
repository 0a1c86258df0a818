//! Every loss and every kind of advantage against TRL, in f64: `goldens/trl_losses.py` made the expected numbers.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use policy::grpo::{
    AdvantageScale, AdvantageSettings, GrpoLoss, KlEstimator, KlPenalty, LossInput, LossKind, Member, MiniBatch,
    advantages, advantages_less, loss, sequence_kl,
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
        let parts = settings.get("steps_per_generation").map_or(1, |steps| steps.as_u64().unwrap() as usize);
        let of_step =
            new.iter().enumerate().map(|(index, row)| Member { tokens: row.len(), counts: Some(index) != masked });
        // What the other optimizer steps of the pass have.
        let others = (parts > 1).then(|| Member { tokens: whole("others"), counts: true });
        let all: Vec<Member> = of_step.chain(others).collect();
        let mut mini_batch = MiniBatch::of(&all, &(0..new.len()).collect::<Vec<_>>(), parts);
        let narrow = |row: &[f64]| row.iter().map(|entropy| *entropy as f32).collect::<Vec<f32>>();
        if let Some(share) = settings.get("top_entropy_quantile") {
            let of_counted: Vec<f32> = mini_batch.counted.iter().flat_map(|index| narrow(&entropy[*index])).collect();
            mini_batch.keep_top_entropies(&of_counted, share.as_f64().unwrap());
        }
        let kept: Vec<Vec<bool>> = entropy.iter().map(|row| mini_batch.kept(&narrow(row))).collect();
        let members = &mini_batch.counted;
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
        let out = loss(&inputs, &translated(settings, whole("longest")), &mini_batch.counts);

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
        let settings = AdvantageSettings { scale, leave_one_out };
        let found = if beta == 0.0 {
            advantages(&rewards, settings)
        } else {
            let penalty =
                |(old, reference): (&Vec<f32>, &Vec<f32>)| beta * sequence_kl(old, reference, KlEstimator::K1);
            let mut each = old.iter().zip(&reference).map(penalty);
            let penalties: Vec<Vec<f64>> =
                rewards.iter().map(|group| each.by_ref().take(group.len()).collect()).collect();
            advantages_less(&rewards, &penalties, settings)
        };
        for (found, expected) in found.iter().flatten().zip(rows(&case["advantages"]).iter().flatten()) {
            assert!((found - expected).abs() < TOLERANCE, "{name}: {found}, TRL's {expected}");
        }
    }
}
