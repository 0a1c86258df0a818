//! What a configuration accepts, refuses and counts.

use serde_json::{Value, json};

use super::*;

fn with(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut value: Value = serde_json::from_str(&ModelConfig::tiny(1000).to_json()).unwrap();
    change(value.as_object_mut().unwrap());
    value.to_string()
}

/// A configuration as its publisher wrote it, cut down to what a test changes.
const LLAMA: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": false, "mlp_bias": false,
    "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 128256
}"#;

#[test]
fn written_and_read_again_is_the_same() {
    fn check(config: &ModelConfig) {
        assert_eq!(&ModelConfig::from_json(&config.to_json()).unwrap(), config);
    }
    let mut config = ModelConfig::tiny(777);
    config.rope.theta = 12_345.5;
    config.eos_token_ids = vec![3, 1];
    if let Some(mixture) = &mut config.mixture {
        mixture.n_group = 2;
    }
    check(&config);
    config.rope.scaling = RopeScaling::Yarn(Yarn {
        factor: 40.0,
        original_max_position_embeddings: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(1.0),
        mscale_all_dim: None,
        attention_factor: None,
        truncate: false,
    });
    check(&config);
    let llama = ModelConfig::from_json(LLAMA).unwrap();
    check(&llama);
    check(&ModelConfig { rope: Rope { scaling: RopeScaling::Linear { factor: 2.0 }, ..llama.rope.clone() }, ..llama });
}

#[test]
fn published_models_count_as_published() {
    fn check(json: &str, total: usize, active: usize) {
        let config = ModelConfig::from_json(json).unwrap();
        assert_eq!(config.parameters(), (total, active), "{}", config.architecture.name());
    }
    // The report says 671B and 37B; the second figure here includes the embedding's rows that a token does not look up.
    check(include_str!("deepseek_v3.json"), 671_026_404_352, 37_552_282_624);
    // Meta's count of Llama 3.1 8B.
    check(LLAMA, 8_030_261_248, 8_030_261_248);
    // Qwen2.5-0.5B: 0.49B, of which 0.36B are not embeddings.
    check(
        r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "bos_token_id": 151643, "eos_token_id": 151643,
            "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 32768,
            "max_window_layers": 24, "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
            "use_sliding_window": false, "vocab_size": 151936}"#,
        494_032_768,
        494_032_768,
    );
}

#[test]
fn the_published_model_caches_what_its_report_says() {
    let config = ModelConfig::from_json(include_str!("deepseek_v3.json")).unwrap();
    assert_eq!(config.cache_width(), 512 + 64);
    assert_eq!(config.attention.plain_cache_width(128), 2 * 128 * 128);
    assert_eq!(config.weight_block_size, Some([128, 128]));
    assert_eq!(config.rope.amplitude(), 1.0);
    // (0.1 ln 40 + 1)^2
    assert!((config.rope.score_factor() - 1.368_888_f64.powi(2)).abs() < 1e-6);
}

#[test]
fn a_small_model_counted_by_hand() {
    let mut config = ModelConfig {
        hidden_size: 4,
        intermediate_size: 5,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        ..ModelConfig::tiny(10)
    };
    config.attention = AttentionKind::Latent(LatentAttention {
        kv_lora_rank: 3,
        q_lora_rank: None,
        qk_rope_head_dim: 2,
        qk_nope_head_dim: 1,
        v_head_dim: 2,
        attention_bias: false,
    });
    if let Some(mixture) = &mut config.mixture {
        (mixture.moe_intermediate_size, mixture.n_routed_experts, mixture.num_experts_per_tok) = (3, 4, 1);
    }
    // Attention: q 2*3*4, kv_a (3+2)*4, its norm 3, kv_b 2*(1+2)*3, o 4*4, two norms 8.
    let block = 24 + 20 + 3 + 18 + 16 + 8;
    // Two tables, the final norm, a dense feed-forward, the router and the shared expert.
    let common = 80 + 4 + 2 * block + 60 + 16 + 36;
    assert_eq!(config.parameters(), (common + 4 * 36, common + 36));
}

#[test]
fn the_parameters_counted_are_those_that_are_made() {
    fn check(json: &str) {
        let config = ModelConfig::from_json(json).unwrap();
        let specs = crate::model::parameters::specs(&config);
        let made: usize = specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
        assert_eq!(config.parameters().0, made, "{json}");
    }
    check(LLAMA);
    check(include_str!("deepseek_v3.json"));
    check(&with(|map| {
        map.insert("q_lora_rank".into(), json!(12));
        map.insert("attention_bias".into(), json!(true));
    }));
    let qwen3 = LLAMA.replace("LlamaForCausalLM", "Qwen3ForCausalLM").replace(r#""llama""#, r#""qwen3""#);
    check(&qwen3.replace(r#""attention_bias": false"#, r#""attention_bias": true"#));
}

#[test]
fn tiny_is_valid_and_tiny() {
    let config = ModelConfig::tiny(1024);
    config.validate().unwrap();
    let (total, active) = config.parameters();
    assert!((1_000_000..3_000_000).contains(&total), "{total}");
    assert!(active < total);
}

#[test]
fn keys_of_newer_transformers_are_read() {
    let text = with(|map| {
        map.remove("rope_theta");
        map.remove("torch_dtype");
        map.insert("dtype".into(), json!("bfloat16"));
        map.insert("rope_parameters".into(), json!({"rope_type": "default", "rope_theta": 5e5}));
        map.insert("eos_token_id".into(), json!([7, 8]));
    });
    let config = ModelConfig::from_json(&text).unwrap();
    assert_eq!(config.rope.theta, 5e5);
    assert_eq!(config.eos_token_ids, [7, 8]);
}

#[test]
fn bad_values_are_refused_by_name() {
    fn check(key: &str, value: Value, expected: &str) {
        let text = with(|map| {
            map.insert(key.into(), value);
        });
        let message = ModelConfig::from_json(&text).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}`")), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    check("hidden_size", json!("big"), "expected an integer of 0 or more, found \"big\"");
    check("hidden_size", json!(-3), "found -3");
    check("hidden_size", json!(0), "found 0");
    check("hidden_size", Value::Null, "missing");
    check("q_lora_rank", json!(0), "found 0");
    check("qk_rope_head_dim", json!(15), "even");
    check("n_group", json!(3), "do not divide");
    check("n_group", json!(8), "fewer than two");
    check("topk_group", json!(2), "2 of 1");
    check("num_experts_per_tok", json!(9), "reaches 8");
    check("num_experts_per_tok", json!(0), "found 0");
    check("num_nextn_predict_layers", json!("one"), "expected an integer");
    check("max_position_embeddings", json!(1u64 << 62), "expected at most 16777216, found 4611686018427387904");
    check("max_position_embeddings", json!(MOST_POSITIONS + 1), "found 16777217");
    check("num_hidden_layers", json!(1u64 << 32), "expected at most 65536");
    check("vocab_size", json!(1u64 << 62), "expected at most 1073741824");
    check("moe_intermediate_size", json!(1u64 << 40), "expected at most 1073741824");
    check("first_k_dense_replace", json!(5), "5 dense layers of 4");
    check("rms_norm_eps", json!(0.0), "positive");
    check("hidden_act", json!("gelu"), "silu");
    check("eos_token_id", json!(1000), "outside the vocabulary of 1000");
    check("eos_token_id", json!([1, "two"]), "a list of them");
    check("num_key_value_heads", json!(1), "expected 4, found 1");
    check("scoring_func", json!("softmax"), "sigmoid");
    check("quantization_config", json!({"quant_method": "awq"}), "awq");
    check("quantization_config", json!({"quant_method": "fp8", "weight_block_size": [128]}), "two sizes");
}

#[test]
fn what_no_memory_holds_is_more_than_any() {
    let config = ModelConfig::tiny(64);
    assert_eq!(config.memory(u64::MAX, 3).sample, u64::MAX);
    let card = config.memory_on_card();
    assert_eq!((card.sample(u64::MAX), card.train(u64::MAX, false)), (u64::MAX, u64::MAX));
}

#[test]
fn sizes_that_no_memory_holds_are_refused_together() {
    let huge = with(|map| {
        for key in ["hidden_size", "vocab_size"] {
            map.insert(key.into(), json!(1u64 << 29));
        }
    });
    let message = ModelConfig::from_json(&huge).unwrap_err().to_string();
    assert!(message.contains("a model of more than 1125899906842624 parameters"), "{message}");
}

#[test]
fn bad_values_of_yarn_are_refused_by_name() {
    fn yarn(key: &str, value: f64) -> Result<ModelConfig> {
        let mut scaling = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512});
        scaling[key] = json!(value);
        ModelConfig::from_json(&with(|map| {
            map.insert("rope_scaling".into(), scaling);
        }))
    }
    for (key, value) in
        [("attention_factor", 0.0), ("attention_factor", -1.0), ("mscale", -1.5), ("mscale_all_dim", -0.1)]
    {
        let message = yarn(key, value).unwrap_err().to_string();
        assert!(message.contains(&format!("`rope_scaling.{key}`: expected a")), "{message}");
        assert!(message.contains(&format!("found {value}")), "{message}");
    }
    // Not from a file, which cannot say it.
    let mut config = yarn("mscale", 0.0).unwrap();
    for strange in [f64::NAN, f64::INFINITY] {
        let RopeScaling::Yarn(yarn) = &mut config.rope.scaling else { panic!("it is YaRN") };
        yarn.attention_factor = Some(strange);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains("`rope_scaling.attention_factor`"), "{message}");
    }
}

#[test]
fn bad_values_of_other_models_are_refused_by_name() {
    fn check(key: &str, value: Value, named: &str, expected: &str) {
        let mut map: Value = serde_json::from_str(LLAMA).unwrap();
        map[key] = value;
        let message = ModelConfig::from_json(&map.to_string()).unwrap_err().to_string();
        assert!(message.contains(&format!("`{named}`")), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    check("num_key_value_heads", json!(5), "num_key_value_heads", "5 heads of keys and values do not divide the 32");
    check("head_dim", json!(7), "head_dim", "even");
    check("mlp_bias", json!(true), "mlp_bias", "not implemented");
    check("use_sliding_window", json!(true), "use_sliding_window", "not implemented");
    check("layer_types", json!(["sliding_attention"]), "layer_types", "full_attention");
    check("partial_rotary_factor", json!(0.5), "partial_rotary_factor", "found 0.5");
    let kinds = "expected \"default\", \"linear\", \"llama3\" or \"yarn\"";
    check("rope_scaling", json!({"type": "longrope"}), "rope_scaling.type", kinds);
    check("rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0}), "rope_scaling.rope_type", kinds);
    check("rope_scaling", json!("yarn"), "rope_scaling", "expected an object or null, found \"yarn\"");
    check("rope_scaling", json!({"rope_type": "linear"}), "rope_scaling.factor", "missing");
    check("rope_scaling", json!({"rope_type": "llama3", "factor": 8}), "rope_scaling.low_freq_factor", "missing");
    let yarn = json!({"rope_type": "yarn", "factor": -4, "original_max_position_embeddings": 4096});
    check("rope_scaling", yarn, "rope_scaling.factor", "found -4");
    // A type of null says nothing, so the older name holds.
    let older = json!({"rope_type": null, "type": "linear", "factor": -2.0});
    check("rope_scaling", older, "rope_scaling.factor", "found -2");
    let nested = json!({"full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}});
    check("rope_scaling", nested, "rope_scaling.full_attention", "one kind of layer");
    for kind in ["linear", "llama3"] {
        let weighed = json!({"rope_type": kind, "factor": 2.0, "mscale_all_dim": 1.0});
        check("rope_scaling", weighed, "rope_scaling.mscale_all_dim", "only with \"yarn\"");
    }
}

#[test]
fn heads_that_do_not_divide_the_width_are_refused() {
    let mut map: Value = serde_json::from_str(LLAMA).unwrap();
    map.as_object_mut().unwrap().remove("head_dim");
    map["num_attention_heads"] = json!(40);
    let message = ModelConfig::from_json(&map.to_string()).unwrap_err().to_string();
    assert!(message.contains("`num_attention_heads`: 40 heads do not divide the width of 4096"), "{message}");
}

#[test]
fn missing_sizes_are_named() {
    for key in ["kv_lora_rank", "q_lora_rank", "vocab_size", "num_experts_per_tok"] {
        let text = with(|map| {
            map.remove(key);
        });
        let message = ModelConfig::from_json(&text).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}`: missing")), "{message}");
    }
}

#[test]
fn another_architecture_is_named() {
    fn check(text: &str, expected: &str) {
        let message = ModelConfig::from_json(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("supported: `DeepseekV3ForCausalLM`"), "{message}");
    }
    check(
        r#"{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}"#,
        "`MixtralForCausalLM` (model_type `mixtral`)",
    );
    check(r#"{"architectures": ["Qwen2Model"], "model_type": "qwen2"}"#, "`Qwen2Model`");
    check(r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "llama"}"#, "model_type `llama`");
    check(r#"{"model_type": "gpt2"}"#, "of type `gpt2`");
    check("{}", "unnamed");
}

#[test]
fn files_are_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let message = ModelConfig::from_file(&path).unwrap_err().to_string();
    assert!(message.contains("config.json"), "{message}");
    std::fs::write(&path, "{\"model_type\": ").unwrap();
    let message = ModelConfig::from_file(&path).unwrap_err().to_string();
    assert!(message.contains("config.json") && message.contains("EOF"), "{message}");
}
