//! The parameters of a DeepSeek-V3 style policy: their names, shapes and first values.
//!
//! Names are those of Hugging Face checkpoints, but for the feed-forward layers: all of a layer's experts lie in one
//! tensor `[experts, 3 * inner, hidden]` (gate, up, down transposed), which is what the fused operation reads.
//! [`super::hugging_face`] takes them apart and puts them together.

use candle_core::{DType, Device, Tensor, Var};

use crate::config::ModelConfig;
use crate::error::During;
use crate::random::Normal;
use crate::{PolicyError, Result};

/// Parameters with their names, in the order of [`specs`].
pub(crate) type Parameters = Vec<(String, Var)>;

/// What a parameter starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// Normal, with this standard deviation.
    Normal(f64),
    /// Ones: the scales of norms.
    Ones,
}

/// A parameter's name, shape and start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) start: Start,
}

/// Prefix of a layer's parameters.
pub(crate) fn layer_prefix(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

/// Every parameter, in the order in which the forward pass meets them.
pub(crate) fn specs(config: &ModelConfig) -> Vec<Spec> {
    let (width, std) = (config.hidden_size, config.initializer_range);
    // Projections back into the residual stream start smaller, by the number of times that they add to it (GPT-2).
    let residual = std / (2.0 * config.num_hidden_layers as f64).sqrt();
    let spec = |name: String, shape: &[usize], start| Spec { name, shape: shape.to_vec(), start };
    let heads = config.num_attention_heads;
    let mut specs = vec![spec("model.embed_tokens.weight".into(), &[config.vocab_size, width], Start::Normal(std))];
    for layer in 0..config.num_hidden_layers {
        let name = |suffix: &str| layer_prefix(layer) + suffix;
        let key = config.qk_nope_head_dim + config.qk_rope_head_dim;
        let latent = config.kv_lora_rank;
        let expanded = heads * (config.qk_nope_head_dim + config.v_head_dim);
        specs.extend([
            spec(name("input_layernorm.weight"), &[width], Start::Ones),
            spec(name("self_attn.q_proj.weight"), &[heads * key, width], Start::Normal(std)),
            spec(
                name("self_attn.kv_a_proj_with_mqa.weight"),
                &[latent + config.qk_rope_head_dim, width],
                Start::Normal(std),
            ),
            spec(name("self_attn.kv_a_layernorm.weight"), &[latent], Start::Ones),
            spec(name("self_attn.kv_b_proj.weight"), &[expanded, latent], Start::Normal(std)),
            spec(name("self_attn.o_proj.weight"), &[width, heads * config.v_head_dim], Start::Normal(residual)),
            spec(name("post_attention_layernorm.weight"), &[width], Start::Ones),
        ]);
        if config.is_moe_layer(layer) {
            let (experts, inner) = (config.n_routed_experts, config.moe_intermediate_size);
            specs.push(spec(name("mlp.gate.weight"), &[experts, width], Start::Normal(std)));
            specs.push(spec(name("mlp.experts"), &[experts, 3 * inner, width], Start::Normal(std)));
            if config.n_shared_experts > 0 {
                let inner = inner * config.n_shared_experts;
                specs.push(spec(name("mlp.shared_experts"), &[1, 3 * inner, width], Start::Normal(std)));
            }
        } else {
            specs.push(spec(name("mlp"), &[1, 3 * config.intermediate_size, width], Start::Normal(std)));
        }
    }
    specs.push(spec("model.norm.weight".into(), &[width], Start::Ones));
    if !config.tie_word_embeddings {
        specs.push(spec("lm_head.weight".into(), &[config.vocab_size, width], Start::Normal(std)));
    }
    specs
}

/// Fresh parameters. Each depends on the seed and its name alone, not on the others.
pub(crate) fn initialise(config: &ModelConfig, seed: u64) -> Result<Parameters> {
    specs(config)
        .into_iter()
        .map(|spec| {
            let count = spec.shape.iter().product();
            let mut values: Vec<f32> = match spec.start {
                Start::Ones => vec![1.0; count],
                Start::Normal(std) => Normal::new(seed, &spec.name).take(count, std as f32),
            };
            if spec.name.contains(".mlp") && spec.shape.len() == 3 {
                shrink_down(&mut values, &spec.shape, config);
            }
            let tensor = Tensor::from_vec(values, spec.shape, &Device::Cpu);
            let var = tensor.and_then(|t| Var::from_tensor(&t)).during(format!("initialise `{}`", spec.name))?;
            Ok((spec.name, var))
        })
        .collect()
}

/// The last third of an expert's rows projects back into the residual stream.
fn shrink_down(values: &mut [f32], shape: &[usize], config: &ModelConfig) {
    let factor = 1.0 / (2.0 * config.num_hidden_layers as f32).sqrt();
    let third = shape[1] / 3 * shape[2];
    for expert in values.chunks_exact_mut(3 * third) {
        expert[2 * third..].iter_mut().for_each(|value| *value *= factor);
    }
}

/// Variables from named values, checked against what the configuration asks for.
pub(crate) fn from_values(
    config: &ModelConfig,
    mut take: impl FnMut(&Spec) -> Result<Vec<f32>>,
    dtype: DType,
) -> Result<Parameters> {
    specs(config)
        .into_iter()
        .map(|spec| {
            let values = take(&spec)?;
            if values.len() != spec.shape.iter().product::<usize>() {
                return Err(PolicyError::TensorMismatch {
                    operation: "load a policy".into(),
                    tensor: spec.name,
                    message: format!("{} numbers where the configuration asks for {:?}", values.len(), spec.shape),
                });
            }
            let tensor = Tensor::from_vec(values, spec.shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype));
            let var = tensor.and_then(|t| Var::from_tensor(&t)).during(format!("load `{}`", spec.name))?;
            Ok((spec.name, var))
        })
        .collect()
}
