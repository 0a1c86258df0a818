//! Between [`ModelConfig`] and the text of a `config.json`, with errors that name the key.
//!
//! By hand rather than by serde's derive, whose errors for a wrong type give a line and a column but
//! not the key, and because transformers has renamed keys over time (`dtype`, `rope_parameters`).

use serde_json::{Map, Value, json};

use super::{ARCHITECTURE, MODEL_TYPE, ModelConfig};
use crate::error::{PolicyError, Result};

pub(super) fn config_error(key: &str, message: String) -> PolicyError {
    PolicyError::Config { path: None, key: key.to_owned(), message }
}

pub(super) fn parse(text: &str) -> Result<ModelConfig> {
    let value: Value = serde_json::from_str(text)
        .map_err(|source| PolicyError::Json { path: "model configuration".into(), source })?;
    let Value::Object(map) = value else {
        return Err(config_error("(whole file)", format!("expected an object, found {value}")));
    };
    check_architecture(&map)?;
    refuse_what_is_not_computed(&map)?;
    let keys = Keys(&map);
    let num_attention_heads = keys.size("num_attention_heads")?;
    if let Some(found) = keys.optional("num_key_value_heads", "an integer", as_size)?
        && found != num_attention_heads
    {
        return Err(config_error(
            "num_key_value_heads",
            format!("latent attention has one per head: expected {num_attention_heads}, found {found}"),
        ));
    }
    Ok(ModelConfig {
        vocab_size: keys.size("vocab_size")?,
        hidden_size: keys.size("hidden_size")?,
        intermediate_size: keys.size("intermediate_size")?,
        moe_intermediate_size: keys.size("moe_intermediate_size")?,
        num_hidden_layers: keys.size("num_hidden_layers")?,
        num_attention_heads,
        n_shared_experts: keys.size("n_shared_experts")?,
        n_routed_experts: keys.size("n_routed_experts")?,
        num_experts_per_tok: keys.size("num_experts_per_tok")?,
        n_group: keys.size("n_group")?,
        topk_group: keys.size("topk_group")?,
        norm_topk_prob: keys.flag("norm_topk_prob", true)?,
        routed_scaling_factor: keys.number("routed_scaling_factor", None)?,
        first_k_dense_replace: keys.size("first_k_dense_replace")?,
        kv_lora_rank: keys.size("kv_lora_rank")?,
        q_lora_rank: keys.query_rank()?,
        qk_rope_head_dim: keys.size("qk_rope_head_dim")?,
        qk_nope_head_dim: keys.size("qk_nope_head_dim")?,
        v_head_dim: keys.size("v_head_dim")?,
        rms_norm_eps: keys.number("rms_norm_eps", Some(1e-6))?,
        rope_theta: keys.rope_theta()?,
        rope_interleave: keys.flag("rope_interleave", true)?,
        max_position_embeddings: keys.size("max_position_embeddings")?,
        tie_word_embeddings: keys.flag("tie_word_embeddings", false)?,
        bos_token_id: keys.token("bos_token_id")?,
        eos_token_id: keys.token("eos_token_id")?,
        pad_token_id: keys.token("pad_token_id")?,
        hidden_act: keys.text(&["hidden_act"], "silu")?,
        initializer_range: keys.number("initializer_range", Some(0.02))?,
        // Renamed `dtype` in transformers 5.
        torch_dtype: keys.text(&["dtype", "torch_dtype"], "float32")?,
    })
}

pub(super) fn write(config: &ModelConfig) -> String {
    let value = json!({
        "architectures": [ARCHITECTURE],
        "model_type": MODEL_TYPE,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "moe_intermediate_size": config.moe_intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        // transformers would take the 671B model's 128 otherwise.
        "num_key_value_heads": config.num_attention_heads,
        "n_shared_experts": config.n_shared_experts,
        "n_routed_experts": config.n_routed_experts,
        "num_experts_per_tok": config.num_experts_per_tok,
        "n_group": config.n_group,
        "topk_group": config.topk_group,
        // These two are read by vLLM and SGLang, not by transformers.
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": config.norm_topk_prob,
        "routed_scaling_factor": config.routed_scaling_factor,
        "first_k_dense_replace": config.first_k_dense_replace,
        "moe_layer_freq": 1,
        "kv_lora_rank": config.kv_lora_rank,
        "q_lora_rank": config.q_lora_rank,
        "qk_rope_head_dim": config.qk_rope_head_dim,
        "qk_nope_head_dim": config.qk_nope_head_dim,
        "v_head_dim": config.v_head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": null,
        "rope_interleave": config.rope_interleave,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "hidden_act": config.hidden_act,
        "initializer_range": config.initializer_range,
        "torch_dtype": config.torch_dtype,
        "use_cache": true,
    });
    let mut text = format!("{value:#}");
    text.push('\n');
    text
}

fn check_architecture(map: &Map<String, Value>) -> Result<()> {
    let named: Vec<&str> = map
        .get("architectures")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let model_type = map.get("model_type").and_then(Value::as_str);
    // A base saved without a head lists `DeepseekV3Model`; its weights lack `lm_head`, so refuse it.
    let architecture_fits = named.is_empty() || named.contains(&ARCHITECTURE);
    let type_fits = model_type.is_none_or(|found| found == MODEL_TYPE);
    if architecture_fits && type_fits && !(named.is_empty() && model_type.is_none()) {
        return Ok(());
    }
    let found = match (named.as_slice(), model_type) {
        ([], None) => "unnamed (neither `architectures` nor `model_type`)".to_owned(),
        ([], Some(kind)) => format!("of type `{kind}`"),
        (names, None) => format!("`{}`", names.join("`, `")),
        (names, Some(kind)) => format!("`{}` (model_type `{kind}`)", names.join("`, `")),
    };
    Err(PolicyError::UnsupportedArchitecture {
        path: None,
        found,
        supported: "`DeepseekV3ForCausalLM` (model_type `deepseek_v3`)",
    })
}

/// Keys that change what the model computes, with the one value each that this crate computes.
fn refuse_what_is_not_computed(map: &Map<String, Value>) -> Result<()> {
    let only = [
        ("attention_bias", json!(false)),
        ("scoring_func", json!("sigmoid")),
        ("topk_method", json!("noaux_tc")),
        ("moe_layer_freq", json!(1)),
        ("quantization_config", Value::Null),
    ];
    for (key, expected) in only {
        if let Some(found) = map.get(key).filter(|found| !found.is_null() && **found != expected) {
            return Err(config_error(key, format!("{found} is not implemented; only {expected} is")));
        }
    }
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = map.get(key).filter(|rope| !rope.is_null()) else { continue };
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != "default") || !rope.is_object() {
            return Err(config_error(
                key,
                format!("stretched positions are not implemented; expected null or type \"default\", found {rope}"),
            ));
        }
    }
    Ok(())
}

/// Reads typed values by key.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    /// The value, `None` where the key is missing or null, an error where it is of another type.
    fn optional<T>(&self, key: &str, expected: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                read(value).map(Some).ok_or_else(|| config_error(key, format!("expected {expected}, found {value}")))
            }
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional(key, "an integer of 0 or more", as_size)?
            .ok_or_else(|| config_error(key, "missing; expected an integer of 0 or more".to_owned()))
    }

    fn number(&self, key: &str, default: Option<f64>) -> Result<f64> {
        self.optional(key, "a number", Value::as_f64)?
            .or(default)
            .ok_or_else(|| config_error(key, "missing; expected a number".to_owned()))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.optional(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    fn text(&self, keys: &[&str], default: &str) -> Result<String> {
        for key in keys {
            if let Some(text) = self.optional(key, "a string", |v| v.as_str().map(str::to_owned))? {
                return Ok(text);
            }
        }
        Ok(default.to_owned())
    }

    /// A token's id; the first, where the file lists several.
    fn token(&self, key: &str) -> Result<Option<u32>> {
        self.optional(key, "a token id", |value| {
            let first = value.as_array().map_or(Some(value), |several| several.first())?;
            first.as_u64().and_then(|id| u32::try_from(id).ok())
        })
    }

    /// Null and missing differ here: transformers reads a missing rank as 1536.
    fn query_rank(&self) -> Result<Option<usize>> {
        if !self.0.contains_key("q_lora_rank") {
            return Err(config_error("q_lora_rank", "missing; expected null".to_owned()));
        }
        self.optional("q_lora_rank", "an integer or null", as_size)
    }

    /// At the top, or inside `rope_parameters` as transformers 5 writes it.
    fn rope_theta(&self) -> Result<f64> {
        if let Some(theta) = self.optional("rope_theta", "a number", Value::as_f64)? {
            return Ok(theta);
        }
        let inside = |rope: &Value| rope.get("rope_theta").map_or(Some(10_000.0), Value::as_f64);
        let inner = self.optional("rope_parameters", "an object with `rope_theta`", inside)?;
        Ok(inner.unwrap_or(10_000.0))
    }
}

fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}
