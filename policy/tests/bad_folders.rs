//! Model folders that cannot be loaded: the message names the file, the tensor or key, what was expected and what is there.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use policy::{ModelConfig, Policy, PolicyError};
use tempfile::TempDir;

/// A copy of a golden checkpoint.
fn copy(case: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(case);
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// Copies a golden checkpoint, damages the copy, and returns what loading it says.
fn message(case: &str, damage: impl FnOnce(&Path)) -> String {
    let folder = copy(case);
    assert!(Policy::load(folder.path()).is_ok(), "{case} loads before it is damaged");
    damage(folder.path());
    match Policy::load(folder.path()) {
        Ok(_) => panic!("{case} loads though it is damaged"),
        Err(error) => {
            let expected = matches!(
                error,
                PolicyError::Config { .. }
                    | PolicyError::UnsupportedArchitecture { .. }
                    | PolicyError::TensorMismatch { .. }
                    | PolicyError::Checkpoint { .. }
                    | PolicyError::Io { .. }
                    | PolicyError::Json { .. }
            );
            assert!(expected, "{error:?}");
            error.to_string()
        }
    }
}

fn check(case: &str, damage: impl FnOnce(&Path), expected: &[&str]) {
    let message = message(case, damage);
    for part in expected {
        assert!(message.contains(part), "{case}: {message:?} does not say {part:?}");
    }
}

/// Changes one key of `config.json`.
fn configure(key: &str, value: &str) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[key] = serde_json::from_str(value).unwrap();
        fs::write(path, config.to_string()).unwrap();
    }
}

/// Rewrites `model.safetensors` after a change.
fn rewrite(change: impl FnOnce(&mut std::collections::HashMap<String, Tensor>)) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        change(&mut tensors);
        candle_core::safetensors::save(&tensors, &path).unwrap();
    }
}

#[test]
fn files_that_are_missing_or_cut() {
    let shard = "model-00002-of-00002.safetensors";
    check("qwen2", |folder| fs::remove_file(folder.join(shard)).unwrap(), &["read", shard]);
    check("qwen3", |folder| fs::remove_file(folder.join("model.safetensors")).unwrap(), &["read", "model.safetensors"]);
    check("qwen3", |folder| fs::remove_file(folder.join("config.json")).unwrap(), &["read", "config.json"]);
    let cut = |folder: &Path| {
        let bytes = fs::read(folder.join(shard)).unwrap();
        fs::write(folder.join(shard), &bytes[..bytes.len() - 4]).unwrap();
    };
    check("qwen2", cut, &[shard, "truncated"]);
    let garbage = |folder: &Path| fs::write(folder.join("model.safetensors"), "not tensors at all").unwrap();
    check("qwen3", garbage, &["model.safetensors", "no safetensors file"]);
    let index = |folder: &Path| fs::write(folder.join("model.safetensors.index.json"), "{}").unwrap();
    check("qwen2", index, &["model.safetensors.index.json", "weight_map"]);
}

#[test]
fn tensors_of_the_wrong_name_shape_or_type() {
    let name = "model.layers.1.self_attn.k_proj.weight";
    let rename = rewrite(|tensors| {
        let tensor = tensors.remove(name).unwrap();
        tensors.insert("model.layers.1.self_attn.key.weight".into(), tensor);
    });
    check("qwen3", rename, &[name, "missing", "`model.layers.1.self_attn.key.weight` is there", "Qwen3ForCausalLM"]);
    let reshape = rewrite(|tensors| {
        let tensor = tensors[name].t().unwrap().contiguous().unwrap();
        tensors.insert(name.into(), tensor);
    });
    check("qwen3", reshape, &["model.safetensors", name, "[16, 12]", "[12, 16]"]);
    let retype = rewrite(|tensors| {
        let tensor = tensors[name].to_dtype(DType::U32).unwrap();
        tensors.insert(name.into(), tensor);
    });
    check("qwen3", retype, &["model.safetensors", name, "U32"]);
    // A bias that the configuration does not know of would silently be left out.
    check("llama", configure("attention_bias", "false"), &["model.layers.0.self_attn.k_proj.bias", "no such tensor"]);
    check("qwen3", configure("intermediate_size", "25"), &["mlp.down_proj.weight", "[16, 24]", "[16, 25]"]);
    check("deepseek", configure("n_routed_experts", "12"), &["mlp.gate.e_score_correction_bias", "[8]", "[12]"]);
    check("deepseek", configure("n_shared_experts", "1"), &["mlp.shared_experts.", "[16, 12]", "[16, 6]"]);
}

/// A configuration of a few bytes asks for billions of tensors, whose names would fill the memory.
#[test]
fn more_tensors_than_there_is_memory_for_are_missing() {
    let ask = |folder: &Path| {
        configure("n_routed_experts", "60000")(folder);
        configure("num_hidden_layers", "20000")(folder);
    };
    check("deepseek", ask, &["mlp.gate.e_score_correction_bias", "[8]", "[60000]"]);
    let ask_beside_a_dense_layer = |folder: &Path| {
        ask(folder);
        rewrite(|tensors| tensors.retain(|name, _| !name.contains("layers.1.")))(folder);
    };
    check("deepseek", ask_beside_a_dense_layer, &["model.layers.1.input_layernorm.weight", "missing", "[16]"]);
}

#[test]
fn layers_after_the_last_are_refused_unless_they_are_for_multi_token_prediction() {
    // Half a model would load otherwise.
    check(
        "llama",
        configure("num_hidden_layers", "1"),
        &["model.layers.1.", "LlamaForCausalLM", "`num_hidden_layers` is 1"],
    );
    check("deepseek", configure("num_hidden_layers", "1"), &["model.layers.1.", "no such tensor"]);

    let layers = ModelConfig::from_file(copy("deepseek").path().join("config.json")).unwrap().num_hidden_layers;
    let with_module = |after: usize| {
        rewrite(move |tensors| {
            let module = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
            tensors.insert(format!("model.layers.{}.enorm.weight", layers + after), module);
        })
    };
    check("deepseek", with_module(0), &["enorm.weight", "no such tensor"]);
    for said in ["1", "null"] {
        let folder = copy("deepseek");
        configure("num_nextn_predict_layers", said)(folder.path());
        with_module(0)(folder.path());
        let policy = Policy::load(folder.path()).unwrap();
        // It is not kept, and that is what is written.
        policy.save(folder.path()).unwrap();
        assert_eq!(Policy::load(folder.path()).unwrap().config().num_nextn_predict_layers, 0);

        configure("num_nextn_predict_layers", said)(folder.path());
        with_module(1)(folder.path());
        let message = Policy::load(folder.path()).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("enorm.weight") && message.contains("no such tensor"), "{message}");
    }
}

#[test]
fn a_model_saved_over_one_of_several_files_is_what_is_loaded() {
    let numbers = |policy: &Policy| -> Vec<f32> {
        let each = policy.parameters().unwrap().iter();
        each.flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
    };
    let folder = copy("qwen2");
    let index = folder.path().join("model.safetensors.index.json");
    let stale = fs::read(&index).unwrap();
    let other = Policy::new(Policy::load(folder.path()).unwrap().config().clone(), 77).unwrap();
    other.save(folder.path()).unwrap();
    assert!(numbers(&Policy::load(folder.path()).unwrap()) == numbers(&other));
    let left: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("model"))
        .collect();
    assert_eq!(left, ["model.safetensors"]);
    // As transformers does, an index beside the whole is not asked.
    fs::write(index, stale).unwrap();
    assert!(numbers(&Policy::load(folder.path()).unwrap()) == numbers(&other));
}

#[test]
fn eight_bit_weights_without_their_scales() {
    let scale = "model.layers.0.self_attn.o_proj.weight_scale_inv";
    let drop = |folder: &Path| {
        // candle cannot write eight-bit floats of this kind, so the header is edited: one letter of the name.
        let path = folder.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(scale.len()).position(|window| window == scale.as_bytes()).unwrap();
        bytes[at + scale.len() - 1] = b'x';
        fs::write(path, bytes).unwrap();
    };
    check("deepseek_fp8", drop, &[scale, "missing", "eight-bit"]);
    let key = "quantization_config";
    check("deepseek_fp8", configure(key, "null"), &["of eight-bit floats", key]);
    let blocks = r#"{"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [4, 12]}"#;
    check("deepseek_fp8", configure(key, blocks), &["weight_scale_inv", "of shape", "blocks of [4, 12]"]);
    check("deepseek_fp8", configure(key, r#"{"quant_method": "gptq"}"#), &["config.json", key, "gptq"]);
}

#[test]
fn configurations_that_are_not_computed() {
    let path = "config.json";
    check("qwen3", configure("model_type", r#""qwen3_moe""#), &[path, "qwen3_moe", "supported", "`qwen3`"]);
    check(
        "llama",
        configure("rope_parameters", r#"{"rope_type": "longrope"}"#),
        &[path, "rope_parameters", "longrope"],
    );
    check("llama", configure("num_key_value_heads", "3"), &[path, "num_key_value_heads", "do not divide the 4"]);
    check("deepseek", configure("n_group", "3"), &[path, "n_group", "do not divide the 8"]);
    check("qwen2", configure("use_sliding_window", "true"), &[path, "use_sliding_window"]);
    check("qwen2", |folder| fs::write(folder.join(path), "{").unwrap(), &[path, "EOF"]);
}
