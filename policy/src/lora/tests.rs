use super::*;
use crate::Track;
use crate::model::batch::{BatchBuilder, PackedBatch};

const EVERYTHING: &[&str] = &[LoraConfig::ALL];

fn lora(rank: usize, targets: &[&str]) -> LoraConfig {
    LoraConfig { rank, alpha: 6.0, targets: targets.iter().map(|target| (*target).to_owned()).collect() }
}

fn small(architecture: &str) -> ModelConfig {
    if architecture == "deepseek_v3" {
        let mut config = ModelConfig::tiny(40);
        (config.hidden_size, config.num_hidden_layers, config.intermediate_size) = (32, 2, 48);
        return config;
    }
    let text = r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 40, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "bos_token_id": 1,
        "eos_token_id": 2, "initializer_range": 0.2}"#;
    ModelConfig::from_json(text).unwrap()
}

fn batch() -> PackedBatch {
    let mut builder = BatchBuilder::default();
    let prompt = builder.context(&[3, 7, 11, 5], None).unwrap();
    builder.completion(prompt, &[9, 30, 12, 2]).unwrap();
    builder.completion(prompt, &[21, 8, 2]).unwrap();
    builder.build().unwrap()
}

/// The sum of the log-probabilities, in f64.
fn objective(policy: &Policy, batch: &PackedBatch) -> f64 {
    policy.forward(batch, 1.0, Track::Nothing).unwrap().logprobs.iter().map(|logprob| f64::from(*logprob)).sum()
}

/// The gradient of [`objective`] by all of the model's parameters.
fn gradient(policy: &Policy, batch: &PackedBatch) -> Gradients {
    let mut gradients = Gradients::zeros(policy.parameters().unwrap());
    let forward = policy.forward(batch, 1.0, Track::Gradients).unwrap();
    let slopes = vec![1.0; forward.logprobs.len()].into();
    policy.backward(forward, &slopes, 0.0, &mut gradients).unwrap();
    gradients
}

fn set(var: &Var, values: Vec<f32>) {
    var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
}

/// Adapters that change something.
fn moved(policy: &Policy, config: &LoraConfig) -> Lora {
    let lora = Lora::new(policy, config, 4).unwrap();
    for (name, var) in lora.parameters().iter().filter(|(name, _)| name.contains("lora_B")) {
        set(var, Normal::new(9, name).take(var.elem_count(), 0.1));
    }
    lora.merge(policy).unwrap();
    lora
}

fn weights(policy: &Policy) -> Vec<Vec<f32>> {
    policy.parameters().unwrap().iter().map(|parameter| values(parameter).unwrap()).collect()
}

#[test]
fn adapters_begin_by_changing_no_bit() {
    for architecture in ["deepseek_v3", "qwen2"] {
        let policy = Policy::new(small(architecture), 1).unwrap();
        let before = (weights(&policy), objective(&policy, &batch()).to_bits());
        let lora = Lora::new(&policy, &lora(4, EVERYTHING), 4).unwrap();
        lora.merge(&policy).unwrap();
        assert!(before == (weights(&policy), objective(&policy, &batch()).to_bits()), "{architecture}");
        let a = &lora.parameters()[0];
        assert!(a.0.ends_with("lora_A.weight") && values(a).unwrap().iter().any(|value| *value != 0.0));
    }
}

/// Written out for the two ways in which matrices are stored.
#[test]
fn merged_weights_are_the_frozen_ones_and_the_scaled_product() {
    let policy = Policy::new(small("deepseek_v3"), 1).unwrap();
    let before = weights(&policy);
    let lora = moved(&policy, &lora(3, &["o_proj", "down_proj"]));
    let after = weights(&policy);
    let of = |name: &str| values(lora.parameters().iter().find(|(found, _)| found == name).unwrap()).unwrap();
    let place = |name: &str| policy.parameters().unwrap().iter().position(|(found, _)| found == name).unwrap();
    let check = |parameter: &str,
                 adapter: &str,
                 expert: usize,
                 (rows, columns): (usize, usize),
                 at: &dyn Fn(usize, usize) -> usize| {
        let (a, b) = (of(&format!("{adapter}.lora_A.weight")), of(&format!("{adapter}.lora_B.weight")));
        let (a, b) = (&a[expert * 3 * columns..], &b[expert * rows * 3..]);
        for (row, column) in [(0, 0), (1, 2), (rows - 1, columns - 1)] {
            let product: f32 = (0..3).map(|k| b[row * 3 + k] * a[k * columns + column]).sum();
            let index = at(row, column);
            let (found, expected) = (after[place(parameter)][index], before[place(parameter)][index] + 2.0 * product);
            assert!((found - expected).abs() < 1e-6, "{parameter} {row} {column}: {found}, expected {expected}");
            assert!(product != 0.0);
        }
    };
    let output = "model.layers.1.self_attn.o_proj";
    check(&format!("{output}.weight"), output, 0, (32, 128), &|row, column| row * 128 + column);
    // The fifth expert's down, after its gate and up, transposed: `[inner, hidden]`.
    let experts = "model.layers.1.mlp.experts";
    let start = (5 * 3 + 2) * 96 * 32;
    check(experts, &format!("{experts}.down_proj"), 5, (32, 96), &move |row, column| start + column * 32 + row);
    // What is no target stays.
    for (name, index) in [("model.embed_tokens.weight", 0), ("model.layers.1.mlp.gate.weight", 0), (experts, 0)] {
        assert_eq!(before[place(name)][index].to_bits(), after[place(name)][index].to_bits(), "{name}");
    }
}

/// Along its gradient an objective rises by the gradient's square. In f32 the difference of two sums of a few nats is good
/// to some 1e-6, so a rise of about 1e-2 is known to a thousandth; the curvature adds as much.
#[test]
fn the_gradient_is_the_slope_of_what_is_computed() {
    for (architecture, targets) in [
        ("deepseek_v3", EVERYTHING),
        ("deepseek_v3", &["down_proj"]),
        ("deepseek_v3", &["gate_proj", "kv_b_proj"]),
        ("qwen2", EVERYTHING),
        ("qwen2", &["k_proj", "down_proj"]),
    ] {
        let policy = Policy::new(small(architecture), 1).unwrap();
        let lora = moved(&policy, &lora(4, targets));
        let batch = batch();
        let gradients = lora.gradients(&policy, &gradient(&policy, &batch)).unwrap();
        for factor in ["lora_A", "lora_B"] {
            let each = gradients.values().unwrap().into_iter();
            let direction: Vec<(&str, Vec<f32>)> = each
                .filter(|(name, _)| name.contains(factor))
                .map(|(name, gradient)| (name, gradient.unwrap().into_owned()))
                .collect();
            let square: f64 = direction.iter().flat_map(|(_, g)| g).map(|g| f64::from(*g).powi(2)).sum();
            let at = |distance: f64| {
                let start: Vec<Vec<f32>> = lora.parameters().iter().map(|factor| values(factor).unwrap()).collect();
                for ((name, var), start) in lora.parameters().iter().zip(&start) {
                    let Some((_, g)) = direction.iter().find(|(found, _)| found == name) else { continue };
                    let moved = start.iter().zip(g).map(|(value, g)| value + (distance * f64::from(*g)) as f32);
                    set(var, moved.collect());
                }
                lora.merge(&policy).unwrap();
                let found = objective(&policy, &batch);
                lora.parameters().iter().zip(start).for_each(|((_, var), start)| set(var, start));
                found
            };
            let step = 0.01 / square;
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((slope / square - 1.0).abs() < 5e-3, "{architecture} {targets:?} {factor}: {slope}, {square}");
        }
    }
}

#[test]
fn a_saved_state_gives_the_same_weights() {
    let config = lora(4, EVERYTHING);
    let policy = Policy::new(small("deepseek_v3"), 1).unwrap();
    let saved = moved(&policy, &config).state().unwrap();
    let other = Policy::new(small("deepseek_v3"), 1).unwrap();
    let lora = Lora::new(&other, &config, 77).unwrap();
    lora.restore(&saved).unwrap();
    lora.merge(&other).unwrap();
    assert!(weights(&policy) == weights(&other));

    let mut short = saved.clone();
    short.remove("model.layers.0.self_attn.q_proj.lora_B.weight").unwrap();
    let message = lora.restore(&short).unwrap_err().to_string();
    assert!(message.contains("q_proj.lora_B.weight") && message.contains("missing"), "{message}");
}

#[test]
fn adapters_that_do_not_fit_are_told_why() {
    #[track_caller]
    fn check(architecture: &str, rank: usize, targets: &[&str], expected: &[&str]) {
        let message = lora(rank, targets).check(&small(architecture)).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{message}");
        }
    }
    check("qwen2", 0, EVERYTHING, &["the rank is 0"]);
    check("qwen2", 4, &[], &["no target is named", "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"]);
    check("qwen2", 4, &["kv_b_proj"], &["Qwen2ForCausalLM", "no `kv_b_proj`", "it has q_proj"]);
    check(
        "deepseek_v3",
        33,
        &["o_proj"],
        &["the rank 33", "model.layers.0.self_attn.o_proj", "32 x 128", "at most 32"],
    );
    check("qwen2", 17, EVERYTHING, &["k_proj`, which is 16 x 32", "at most 16"]);
    assert!(lora(16, EVERYTHING).check(&small("qwen2")).is_ok());
}

#[test]
fn what_is_trained_is_counted() {
    let policy = Policy::new(small("deepseek_v3"), 1).unwrap();
    let config = lora(4, EVERYTHING);
    let lora = Lora::new(&policy, &config, 1).unwrap();
    let count: usize = lora.parameters().iter().map(|(_, var)| var.elem_count()).sum();
    assert_eq!(config.parameters(policy.config()).unwrap(), count);
}

#[test]
fn what_training_takes_is_counted() {
    for targets in [EVERYTHING, &["gate_proj"], &["q_proj", "kv_b_proj"]] {
        let policy = Policy::new(small("deepseek_v3"), 1).unwrap();
        let config = lora(4, targets);
        let lora = Lora::new(&policy, &config, 1).unwrap();
        let (whole, adapted) = (policy.config().memory(1, 1), config.memory(policy.config(), 1, 1).unwrap());
        let angles = whole.train - 4 * whole.weights;
        let frozen: usize = lora.frozen.values().map(Vec::len).sum();
        let count: usize = lora.parameters().iter().map(|(_, var)| var.elem_count()).sum();
        // The model and its gradient, and in 4 bytes each what the adapters need.
        assert_eq!(adapted.train, 2 * whole.weights + angles + 4 * (frozen + 4 * count) as u64, "{targets:?}");
        assert_eq!(adapted.sample, whole.sample);
    }
}
