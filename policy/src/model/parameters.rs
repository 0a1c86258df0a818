//! The parameters of a policy: their names, shapes and first values.
//!
//! Names are those of Hugging Face checkpoints, but for the feed-forward layers: all of a layer's experts lie in one
//! tensor `[experts, 3 * inner, hidden]` (gate, up, down transposed), which is what the fused operation reads.
//! [`super::hugging_face`] takes them apart and puts them together.

use candle_core::{DType, Device, Tensor, Var};

use super::{feed_forward, grouped, latent};
use crate::config::{AttentionKind, ModelConfig};
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
    /// Zeros: biases.
    Zeros,
}

/// A parameter's name, shape and start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) start: Start,
}

/// The parameters of a model under construction, in the order in which the forward pass meets them.
pub(super) struct Specs<'a> {
    pub(super) config: &'a ModelConfig,
    prefix: String,
    list: Vec<Spec>,
}

impl Specs<'_> {
    fn push(&mut self, name: &str, shape: &[usize], start: Start) {
        self.list.push(Spec { name: format!("{}{name}", self.prefix), shape: shape.to_vec(), start });
    }

    /// The scale of a norm.
    pub(super) fn norm(&mut self, name: &str, width: usize) {
        self.push(name, &[width], Start::Ones);
    }

    /// A bias, in a model that has it.
    pub(super) fn bias(&mut self, name: &str, width: usize, present: bool) {
        if present {
            self.push(name, &[width], Start::Zeros);
        }
    }

    /// A matrix, or several of one shape.
    pub(super) fn matrix(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, Start::Normal(self.config.initializer_range));
    }

    /// A projection back into the residual stream. It starts smaller, by the number of times that such projections add to
    /// it (GPT-2).
    pub(super) fn residual(&mut self, name: &str, shape: &[usize]) {
        let times = 2.0 * self.config.num_hidden_layers as f64;
        self.push(name, shape, Start::Normal(self.config.initializer_range / times.sqrt()));
    }
}

/// Prefix of a layer's parameters.
pub(crate) fn layer_prefix(layer: usize) -> String {
    format!("model.layers.{layer}.")
}

/// Every parameter, in the order in which the forward pass meets them.
pub(crate) fn specs(config: &ModelConfig) -> Vec<Spec> {
    let width = config.hidden_size;
    let mut specs = Specs { config, prefix: String::new(), list: Vec::new() };
    specs.matrix("model.embed_tokens.weight", &[config.vocab_size, width]);
    for layer in 0..config.num_hidden_layers {
        specs.prefix = layer_prefix(layer);
        specs.norm("input_layernorm.weight", width);
        match &config.attention {
            AttentionKind::Latent(attention) => latent::specs(&mut specs, attention),
            AttentionKind::Grouped(attention) => grouped::specs(&mut specs, attention),
        }
        specs.norm("post_attention_layernorm.weight", width);
        feed_forward::specs(&mut specs, config.mixture_of(layer));
    }
    specs.prefix = String::new();
    specs.norm("model.norm.weight", width);
    if !config.tie_word_embeddings {
        specs.matrix("lm_head.weight", &[config.vocab_size, width]);
    }
    specs.list
}

/// The numbers of a parameter, copied out.
pub(crate) fn values((name, var): &(String, Var)) -> Result<Vec<f32>> {
    let flat = var.as_tensor().to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1());
    flat.during(format!("read `{name}`"))
}

/// Fresh parameters. Each depends on the seed and its name alone, not on the others.
pub(crate) fn initialise(config: &ModelConfig, seed: u64) -> Result<Parameters> {
    let first_value = |spec: &Spec| {
        let count = spec.shape.iter().product();
        let mut values: Vec<f32> = match spec.start {
            Start::Ones => vec![1.0; count],
            Start::Zeros => vec![0.0; count],
            Start::Normal(std) => Normal::new(seed, &spec.name).take(count, std as f32),
        };
        if feed_forward::is_fused(spec) {
            shrink_down(&mut values, &spec.shape, config);
        }
        Ok(values)
    };
    from_values(config, first_value)
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
pub(crate) fn from_values(config: &ModelConfig, mut take: impl FnMut(&Spec) -> Result<Vec<f32>>) -> Result<Parameters> {
    specs(config)
        .into_iter()
        .map(|spec| {
            let values = take(&spec)?;
            if values.len() != spec.shape.iter().product::<usize>() {
                return Err(PolicyError::TensorMismatch {
                    operation: "make a policy".into(),
                    tensor: spec.name,
                    message: format!("{} numbers where the configuration asks for {:?}", values.len(), spec.shape),
                });
            }
            let tensor = Tensor::from_vec(values, spec.shape, &Device::Cpu);
            let var = tensor.and_then(|t| Var::from_tensor(&t)).during(format!("make `{}`", spec.name))?;
            Ok((spec.name, var))
        })
        .collect()
}
