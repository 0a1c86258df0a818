//! Between [`ModelConfig`] and the text of a `config.json`, with errors that name the key.
//!
//! By hand rather than by serde's derive, whose errors for a wrong type give a line and a column but
//! not the key, and because transformers has renamed keys over time (`dtype`, `rope_parameters`).

use serde_json::{Map, Value, json};

use super::{Architecture, AttentionKind, GroupedAttention, LatentAttention, Mixture, ModelConfig, rope};
use crate::error::{PolicyError, Result};

const NEXTN: &str = "num_nextn_predict_layers";

pub(super) fn config_error(key: &str, message: String) -> PolicyError {
    PolicyError::Config { path: None, key: key.to_owned(), message }
}

pub(super) fn parse(text: &str) -> Result<ModelConfig> {
    let value: Value = serde_json::from_str(text)
        .map_err(|source| PolicyError::Json { path: "model configuration".into(), source })?;
    let Value::Object(map) = value else {
        return Err(config_error("(whole file)", format!("expected an object, found {value}")));
    };
    let architecture = architecture(&map)?;
    refuse_what_is_not_computed(&map)?;
    let keys = Keys(&map);
    let latent = architecture == Architecture::DeepseekV3;
    Ok(ModelConfig {
        architecture,
        vocab_size: keys.size("vocab_size")?,
        hidden_size: keys.size("hidden_size")?,
        intermediate_size: keys.size("intermediate_size")?,
        num_hidden_layers: keys.size("num_hidden_layers")?,
        // One where it is not said, as in DeepSeek's own code; other architectures have none.
        num_nextn_predict_layers: if latent { keys.optional(NEXTN, "an integer", as_size)?.unwrap_or(1) } else { 0 },
        num_attention_heads: keys.size("num_attention_heads")?,
        attention: if latent { keys.latent_attention()? } else { keys.grouped_attention(architecture)? },
        mixture: if latent { Some(keys.mixture()?) } else { None },
        rms_norm_eps: keys.number("rms_norm_eps", Some(1e-6))?,
        rope: rope::parse(&keys, latent && keys.flag("rope_interleave", true)?)?,
        max_position_embeddings: keys.size("max_position_embeddings")?,
        tie_word_embeddings: keys.flag("tie_word_embeddings", false)?,
        bos_token_id: keys.tokens("bos_token_id")?.first().copied(),
        eos_token_ids: keys.tokens("eos_token_id")?,
        pad_token_id: keys.tokens("pad_token_id")?.first().copied(),
        initializer_range: keys.number("initializer_range", Some(0.02))?,
        weight_block_size: keys.weight_block_size()?,
    })
}

pub(super) fn write(config: &ModelConfig) -> String {
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let mut value = json!({
        "architectures": [config.architecture.name()],
        "model_type": config.architecture.model_type(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope.theta,
        "rope_scaling": rope::write(&config.rope.scaling),
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_dropout": 0.0,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos,
        "pad_token_id": config.pad_token_id,
        "hidden_act": "silu",
        "initializer_range": config.initializer_range,
        // What is written, whatever was read.
        "torch_dtype": "float32",
        "use_cache": true,
    });
    let particular = match &config.attention {
        AttentionKind::Latent(latent) => json!({
            // transformers would take the 671B model's 128 otherwise.
            "num_key_value_heads": config.num_attention_heads,
            "kv_lora_rank": latent.kv_lora_rank,
            "q_lora_rank": latent.q_lora_rank,
            "qk_rope_head_dim": latent.qk_rope_head_dim,
            "qk_nope_head_dim": latent.qk_nope_head_dim,
            "v_head_dim": latent.v_head_dim,
            "attention_bias": latent.attention_bias,
            "rope_interleave": config.rope.interleave,
            // The modules for multi-token prediction are not kept.
            NEXTN: 0,
        }),
        AttentionKind::Grouped(grouped) => json!({
            "num_key_value_heads": grouped.num_key_value_heads,
            "head_dim": grouped.head_dim,
            "attention_bias": grouped.output_bias,
            "mlp_bias": false,
            "use_sliding_window": false,
        }),
    };
    let mixture = config.mixture.as_ref().map_or(Value::Null, |mixture| {
        json!({
            "moe_intermediate_size": mixture.moe_intermediate_size,
            "n_shared_experts": mixture.n_shared_experts,
            "n_routed_experts": mixture.n_routed_experts,
            "num_experts_per_tok": mixture.num_experts_per_tok,
            "n_group": mixture.n_group,
            "topk_group": mixture.topk_group,
            // These two are read by vLLM and SGLang, not by transformers.
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "norm_topk_prob": mixture.norm_topk_prob,
            "routed_scaling_factor": mixture.routed_scaling_factor,
            "first_k_dense_replace": mixture.first_k_dense_replace,
            "moe_layer_freq": 1,
        })
    });
    if let Value::Object(all) = &mut value {
        for part in [particular, mixture] {
            if let Value::Object(part) = part {
                all.extend(part);
            }
        }
    }
    let mut text = format!("{value:#}");
    text.push('\n');
    text
}

fn architecture(map: &Map<String, Value>) -> Result<Architecture> {
    let named: Vec<&str> = map
        .get("architectures")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let model_type = map.get("model_type").and_then(Value::as_str);
    // A base saved without a head lists `DeepseekV3Model`; its weights lack `lm_head`, so it fits none.
    let fits = |candidate: &Architecture| {
        (named.is_empty() || named.contains(&candidate.name()))
            && model_type.is_none_or(|found| found == candidate.model_type())
    };
    if !(named.is_empty() && model_type.is_none())
        && let Some(architecture) = Architecture::ALL.into_iter().find(fits)
    {
        return Ok(architecture);
    }
    let found = match (named.as_slice(), model_type) {
        ([], None) => "unnamed (neither `architectures` nor `model_type`)".to_owned(),
        ([], Some(kind)) => format!("of type `{kind}`"),
        (names, None) => format!("`{}`", names.join("`, `")),
        (names, Some(kind)) => format!("`{}` (model_type `{kind}`)", names.join("`, `")),
    };
    Err(PolicyError::UnsupportedArchitecture { path: None, found, supported: Architecture::SUPPORTED })
}

/// Keys that change what the model computes, with the one value each that this crate computes.
fn refuse_what_is_not_computed(map: &Map<String, Value>) -> Result<()> {
    let only = [
        ("hidden_act", json!("silu")),
        ("mlp_bias", json!(false)),
        ("use_sliding_window", json!(false)),
        ("scoring_func", json!("sigmoid")),
        ("topk_method", json!("noaux_tc")),
        ("moe_layer_freq", json!(1)),
    ];
    for (key, expected) in only {
        if let Some(found) = map.get(key).filter(|found| !found.is_null() && **found != expected) {
            return Err(config_error(key, format!("{found} is not implemented; only {expected} is")));
        }
    }
    let kinds = map.get("layer_types").and_then(Value::as_array).into_iter().flatten();
    if let Some(other) = kinds.into_iter().find(|kind| **kind != json!("full_attention")) {
        return Err(config_error("layer_types", format!("{other} is not implemented; only \"full_attention\" is")));
    }
    Ok(())
}

/// Reads typed values by key.
pub(super) struct Keys<'a>(pub(super) &'a Map<String, Value>);

impl Keys<'_> {
    /// The value, `None` where the key is missing or null, an error where it is of another type.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                read(value).map(Some).ok_or_else(|| config_error(key, format!("expected {expected}, found {value}")))
            }
        }
    }

    pub(super) fn size(&self, key: &str) -> Result<usize> {
        self.optional(key, "an integer of 0 or more", as_size)?
            .ok_or_else(|| config_error(key, "missing; expected an integer of 0 or more".to_owned()))
    }

    pub(super) fn number(&self, key: &str, default: Option<f64>) -> Result<f64> {
        self.optional(key, "a number", Value::as_f64)?
            .or(default)
            .ok_or_else(|| config_error(key, "missing; expected a number".to_owned()))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.optional(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(super) fn text(&self, keys: &[&str], default: &str) -> Result<String> {
        for key in keys {
            if let Some(text) = self.optional(key, "a string", |v| v.as_str().map(str::to_owned))? {
                return Ok(text);
            }
        }
        Ok(default.to_owned())
    }

    /// One token's id or a list of them.
    fn tokens(&self, key: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let read = |value: &Value| match value {
            Value::Array(several) => several.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        };
        Ok(self.optional(key, "a token id or a list of them", read)?.unwrap_or_default())
    }

    fn latent_attention(&self) -> Result<AttentionKind> {
        let heads = self.size("num_attention_heads")?;
        if let Some(found) = self.optional("num_key_value_heads", "an integer", as_size)?
            && found != heads
        {
            return Err(config_error(
                "num_key_value_heads",
                format!("latent attention has one per head: expected {heads}, found {found}"),
            ));
        }
        // Null and missing differ here: transformers reads a missing rank as 1536.
        if !self.0.contains_key("q_lora_rank") {
            return Err(config_error("q_lora_rank", "missing; expected an integer or null".to_owned()));
        }
        Ok(AttentionKind::Latent(LatentAttention {
            kv_lora_rank: self.size("kv_lora_rank")?,
            q_lora_rank: self.optional("q_lora_rank", "an integer or null", as_size)?,
            qk_rope_head_dim: self.size("qk_rope_head_dim")?,
            qk_nope_head_dim: self.size("qk_nope_head_dim")?,
            v_head_dim: self.size("v_head_dim")?,
            attention_bias: self.flag("attention_bias", false)?,
        }))
    }

    fn grouped_attention(&self, architecture: Architecture) -> Result<AttentionKind> {
        let (hidden, heads) = (self.size("hidden_size")?, self.size("num_attention_heads")?);
        let head_dim = match self.optional("head_dim", "an integer", as_size)? {
            Some(width) => width,
            None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let message = format!("{heads} heads do not divide the width of {hidden}, and `head_dim` is missing");
                return Err(config_error("num_attention_heads", message));
            }
        };
        let qwen2 = architecture == Architecture::Qwen2;
        // Qwen2's are fixed in transformers' code; its configuration has no key for them.
        let bias = !qwen2 && self.flag("attention_bias", false)?;
        Ok(AttentionKind::Grouped(GroupedAttention {
            num_key_value_heads: self.optional("num_key_value_heads", "an integer", as_size)?.unwrap_or(heads),
            head_dim,
            input_bias: qwen2 || bias,
            output_bias: bias,
            query_key_norm: architecture == Architecture::Qwen3,
        }))
    }

    fn mixture(&self) -> Result<Mixture> {
        Ok(Mixture {
            moe_intermediate_size: self.size("moe_intermediate_size")?,
            n_shared_experts: self.size("n_shared_experts")?,
            n_routed_experts: self.size("n_routed_experts")?,
            num_experts_per_tok: self.size("num_experts_per_tok")?,
            n_group: self.size("n_group")?,
            topk_group: self.size("topk_group")?,
            norm_topk_prob: self.flag("norm_topk_prob", true)?,
            routed_scaling_factor: self.number("routed_scaling_factor", None)?,
            first_k_dense_replace: self.size("first_k_dense_replace")?,
        })
    }

    /// `quantization_config`, of which only DeepSeek's blocks of eight-bit floats are read.
    fn weight_block_size(&self) -> Result<Option<[usize; 2]>> {
        let Some(found) = self.0.get("quantization_config").filter(|found| !found.is_null()) else { return Ok(None) };
        let text = |key: &str| found.get(key).and_then(Value::as_str);
        let block = found.get("weight_block_size").and_then(Value::as_array).and_then(|block| {
            let sizes: Vec<usize> = block.iter().filter_map(as_size).filter(|size| *size > 0).collect();
            <[usize; 2]>::try_from(sizes).ok()
        });
        match (text("quant_method"), text("fmt").unwrap_or("e4m3"), block) {
            (Some("fp8"), "e4m3", Some(block)) => Ok(Some(block)),
            _ => Err(config_error(
                "quantization_config",
                format!(
                    "{found} is not implemented; only quant_method \"fp8\" with fmt \"e4m3\" and a weight_block_size \
                     of two sizes is"
                ),
            )),
        }
    }
}

pub(super) fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}
