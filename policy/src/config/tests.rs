//! What a configuration accepts, refuses and counts.

use serde_json::{Value, json};

use super::*;

fn with(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut value: Value = serde_json::from_str(&ModelConfig::tiny(1000).to_json()).unwrap();
    change(value.as_object_mut().unwrap());
    value.to_string()
}

#[test]
fn written_and_read_again_is_the_same() {
    let config = ModelConfig { rope_theta: 12_345.5, n_group: 2, ..ModelConfig::tiny(777) };
    assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
}

#[test]
fn the_published_model_counts_as_published() {
    // DeepSeek-V3's config.json. The report says 671B parameters, 37B activated per token
    // (the embedding's rows that a token does not look up are in our second figure: +0.9B).
    let config = ModelConfig {
        vocab_size: 129_280,
        hidden_size: 7168,
        intermediate_size: 18_432,
        moe_intermediate_size: 2048,
        num_hidden_layers: 61,
        num_attention_heads: 128,
        n_routed_experts: 256,
        num_experts_per_tok: 8,
        n_group: 8,
        topk_group: 4,
        first_k_dense_replace: 3,
        kv_lora_rank: 512,
        q_lora_rank: Some(1536),
        qk_rope_head_dim: 64,
        qk_nope_head_dim: 128,
        v_head_dim: 128,
        ..ModelConfig::tiny(129_280)
    };
    let (total, active) = config.parameters();
    assert_eq!(total / 1_000_000_000, 671);
    assert_eq!(active / 1_000_000_000, 37);
}

#[test]
fn a_small_model_counted_by_hand() {
    let config = ModelConfig {
        hidden_size: 4,
        intermediate_size: 5,
        moe_intermediate_size: 3,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        n_routed_experts: 4,
        num_experts_per_tok: 1,
        kv_lora_rank: 3,
        qk_rope_head_dim: 2,
        qk_nope_head_dim: 1,
        v_head_dim: 2,
        ..ModelConfig::tiny(10)
    };
    // Attention: q 2*3*4, kv_a (3+2)*4, its norm 3, kv_b 2*(1+2)*3, o 4*4, two norms 8.
    let block = 24 + 20 + 3 + 18 + 16 + 8;
    // Two tables, the final norm, a dense feed-forward, the router and the shared expert.
    let common = 80 + 4 + 2 * block + 60 + 16 + 36;
    assert_eq!(config.parameters(), (common + 4 * 36, common + 36));
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
    assert_eq!(config.rope_theta, 5e5);
    assert_eq!(config.torch_dtype, "bfloat16");
    assert_eq!(config.eos_token_id, Some(7));
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
    check("q_lora_rank", json!(1536), "1536");
    check("qk_rope_head_dim", json!(15), "even");
    check("n_group", json!(3), "do not divide");
    check("n_group", json!(8), "fewer than two");
    check("topk_group", json!(2), "2 of 1");
    check("num_experts_per_tok", json!(9), "reaches 8");
    check("rms_norm_eps", json!(0.0), "positive");
    check("hidden_act", json!("gelu"), "silu");
    check("torch_dtype", json!("float8"), "float8");
    check("eos_token_id", json!(1000), "outside the vocabulary of 1000");
    check("num_key_value_heads", json!(1), "expected 4, found 1");
    check("attention_bias", json!(true), "not implemented");
    check("scoring_func", json!("softmax"), "sigmoid");
    check("quantization_config", json!({"quant_method": "fp8"}), "fp8");
    check("rope_scaling", json!({"type": "yarn", "factor": 40}), "yarn");
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
        r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}"#,
        "`Qwen2ForCausalLM` (model_type `qwen2`)",
    );
    check(r#"{"model_type": "llama"}"#, "of type `llama`");
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
