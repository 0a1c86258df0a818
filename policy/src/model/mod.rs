//! The policy: DeepSeek-V3's architecture, from token ids to log-probabilities.
//!
//! DeepSeek-V3 technical report, section 2.1: pre-norm blocks of multi-head latent attention and a SwiGLU feed-forward
//! layer, dense in the first layers and a mixture of experts after them. Balance is kept by the router's bias alone; the
//! tiny sequence-wise balance loss and the multi-token prediction module are left out.
//!
//! Shapes in comments: n rows of the packed batch, d hidden width, h heads.

pub mod batch;
pub mod hugging_face;
pub(crate) mod parameters;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::config::ModelConfig;
use crate::error::During;
use crate::ops::attention::{AttentionConfig, latent_attention};
use crate::ops::experts::{experts, swiglu};
use crate::ops::linear::linear;
use crate::ops::logprob::logprob;
use crate::ops::rms_norm::rms_norm;
use crate::ops::rope::RopeTable;
use crate::ops::router::{Balance, RouterConfig, Routing, route, router_gates};
use crate::{PolicyError, Result};

use batch::PackedBatch;

/// A policy: its configuration and its weights.
pub struct Policy {
    config: ModelConfig,
    /// Trainable parameters, in the order of [`parameters::specs`].
    parameters: Vec<(String, Var)>,
    /// For each MoE layer, in order, the bias by which its router chooses.
    router_bias: Vec<Vec<f32>>,
    attention: AttentionConfig,
}

/// A forward pass over a packed batch.
pub struct Forward {
    /// Log-probability of each of the batch's targets `[targets]`; differentiable if the pass was tracked.
    pub logprobs: Tensor,
    /// Entropy of each target's distribution in nats.
    pub entropy: Vec<f32>,
    /// For each MoE layer, where the tokens went.
    pub routing: Vec<Routing>,
}

/// Whether a forward pass is to be differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// Keep what the backward pass needs.
    Gradients,
    /// Log-probabilities only.
    Nothing,
}

impl Policy {
    /// A policy with fresh weights.
    ///
    /// # Errors
    /// If the configuration does not hold together.
    pub fn new(config: ModelConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        let parameters = parameters::initialise(&config, seed)?;
        let moe_layers = (0..config.num_hidden_layers).filter(|layer| config.is_moe_layer(*layer)).count();
        let router_bias = vec![vec![0.0; config.n_routed_experts]; moe_layers];
        Ok(Self::assemble(config, parameters, router_bias))
    }

    /// Reads a Hugging Face folder: `config.json` and its safetensors.
    ///
    /// # Errors
    /// If the architecture is another, or a file or tensor is missing, damaged or of another shape.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = ModelConfig::from_file(folder.join("config.json"))?;
        let (parameters, router_bias) = hugging_face::load(folder, &config)?;
        Ok(Self::assemble(config, parameters, router_bias))
    }

    /// Writes `config.json` and `model.safetensors` into an existing folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join("config.json");
        std::fs::write(&path, self.config.to_json()).map_err(PolicyError::io("write", &path))?;
        hugging_face::save(folder, self)
    }

    fn assemble(config: ModelConfig, parameters: Vec<(String, Var)>, router_bias: Vec<Vec<f32>>) -> Self {
        let key = config.qk_head_dim();
        let table = RopeTable::new(
            config.max_position_embeddings,
            config.qk_rope_head_dim,
            config.rope_theta,
            config.rope_interleave,
        );
        let attention = AttentionConfig {
            heads: config.num_attention_heads,
            nope: config.qk_nope_head_dim,
            rope: config.qk_rope_head_dim,
            value: config.v_head_dim,
            scale: 1.0 / (key as f64).sqrt(),
            table: Arc::new(table),
        };
        Policy { config, parameters, router_bias, attention }
    }

    /// A copy with weights of its own, such as a reference that stays while this one learns.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = |(name, var): &(String, Var)| {
            let tensor = var.copy().and_then(|tensor| Var::from_tensor(&tensor)).during("duplicate a policy")?;
            Ok((name.clone(), tensor))
        };
        let parameters = self.parameters.iter().map(copy).collect::<Result<_>>()?;
        Ok(Self::assemble(self.config.clone(), parameters, self.router_bias.clone()))
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The trainable parameters with their names, in a fixed order.
    pub fn parameters(&self) -> &[(String, Var)] {
        &self.parameters
    }

    /// For each MoE layer, the bias by which its router chooses experts.
    pub fn router_bias(&self) -> &[Vec<f32>] {
        &self.router_bias
    }

    /// Moves the routers' biases against the load of a step. DeepSeek-V3 report, section 2.1.2.
    pub fn update_router_bias(&mut self, balance: &[Balance], rate: f32) {
        for (bias, balance) in self.router_bias.iter_mut().zip(balance) {
            balance.update_bias(bias, rate);
        }
    }

    /// The attention's sizes and rotary angles.
    pub(crate) fn attention(&self) -> &AttentionConfig {
        &self.attention
    }

    /// How this policy's routers choose and weigh.
    pub(crate) fn router(&self) -> RouterConfig {
        RouterConfig {
            experts: self.config.n_routed_experts,
            top_k: self.config.num_experts_per_tok,
            groups: self.config.n_group,
            top_groups: self.config.topk_group,
            normalise: self.config.norm_topk_prob,
            scale: self.config.routed_scaling_factor,
        }
    }

    /// Log-probabilities of a batch's targets at a sampling temperature.
    ///
    /// # Errors
    /// If a token id lies outside the vocabulary or a sequence is longer than the model's positions.
    pub fn forward(&self, batch: &PackedBatch, temperature: f64, track: Track) -> Result<Forward> {
        self.check(batch)?;
        self.try_forward(batch, temperature, track).during("forward pass of the policy")
    }

    fn check(&self, batch: &PackedBatch) -> Result<()> {
        let bad = |message| Err(PolicyError::Argument { operation: "forward pass of the policy", message });
        if let Some(id) =
            batch.token_ids.iter().chain(&batch.target_ids).find(|id| **id as usize >= self.config.vocab_size)
        {
            return bad(format!("token id {id} outside the vocabulary of {}", self.config.vocab_size));
        }
        if let Some(choices) = batch.choices.as_ref().map(|choices| choices.layers()) {
            let (layers, entries) = (self.router_bias.len(), batch.token_ids.len() * self.config.num_experts_per_tok);
            let experts = self.config.n_routed_experts;
            let fits = |layer: &Vec<u16>| layer.len() == entries && layer.iter().all(|e| usize::from(*e) < experts);
            if choices.len() != layers || !choices.iter().all(fits) {
                return bad(format!("expert choices that do not fit {layers} MoE layers of {experts} experts"));
            }
        }
        let longest = batch.layouts.positions();
        if longest > self.config.max_position_embeddings {
            return bad(format!("{longest} positions; the model has {}", self.config.max_position_embeddings));
        }
        Ok(())
    }

    fn try_forward(&self, batch: &PackedBatch, temperature: f64, track: Track) -> candle_core::Result<Forward> {
        let mut weights = Weights { parameters: self.parameters.iter(), track };
        let config = &self.config;
        let (eps, router) = (config.rms_norm_eps, self.router());
        let device = self.parameters[0].1.device();
        let ids = Tensor::new(batch.token_ids.as_slice(), device)?;
        let embedding = weights.next();
        let mut x = embedding.index_select(&ids, 0)?; // [n, d]
        let mut routing = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let normed = rms_norm(&x, &weights.next(), eps)?;
            let query = linear(&normed, &weights.next())?; // [n, h * (nope + rope)]
            let compressed = linear(&normed, &weights.next())?; // [n, latent + rope]
            let latent = compressed.narrow(1, 0, config.kv_lora_rank)?.contiguous()?;
            let key_rope = compressed.narrow(1, config.kv_lora_rank, config.qk_rope_head_dim)?.contiguous()?;
            let latent = rms_norm(&latent, &weights.next(), eps)?;
            let key_value = linear(&latent, &weights.next())?; // [n, h * (nope + value)]
            let attended = latent_attention(&query, &key_value, &key_rope, &batch.layouts, &self.attention)?;
            x = (x + linear(&attended, &weights.next())?)?;

            let normed = rms_norm(&x, &weights.next(), eps)?;
            if config.is_moe_layer(layer) {
                let logits = linear(&normed, &weights.next())?; // [n, experts]
                let chosen = match &batch.choices {
                    Some(choices) => Routing::repeat(&choices.layers()[routing.len()], &router),
                    None => route(&logits, &self.router_bias[routing.len()], &router)?,
                };
                let gates = router_gates(&logits, &chosen, &router)?;
                x = (x + experts(&normed, &gates, &weights.next(), &chosen)?)?;
                if config.n_shared_experts > 0 {
                    x = (x + swiglu(&normed, &weights.next())?)?;
                }
                routing.push(chosen);
            } else {
                x = (x + swiglu(&normed, &weights.next())?)?;
            }
        }
        let rows = Tensor::new(batch.target_rows.as_slice(), device)?;
        let hidden = rms_norm(&x.index_select(&rows, 0)?, &weights.next(), eps)?; // [targets, d]
        let head = if config.tie_word_embeddings { embedding } else { weights.next() };
        let out = logprob(&hidden, &head, batch.target_ids.clone(), temperature)?;
        Ok(Forward { logprobs: out.logprobs, entropy: out.entropy, routing })
    }

    /// The numbers of every parameter, copied out.
    ///
    /// # Errors
    /// If a parameter is not f32 on the CPU.
    pub(crate) fn values(&self) -> Result<Vec<Vec<f32>>> {
        let copy = |(name, var): &(String, Var)| {
            let flat = var.as_tensor().to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1());
            flat.during(format!("read `{name}`"))
        };
        self.parameters.iter().map(copy).collect()
    }
}

/// Hands out the parameters in the order of [`parameters::specs`].
struct Weights<'a> {
    parameters: std::slice::Iter<'a, (String, Var)>,
    track: Track,
}

impl Weights<'_> {
    fn next(&mut self) -> Tensor {
        let (_, var) = self.parameters.next().expect("the forward pass reads parameters in the order of their specs");
        match self.track {
            Track::Gradients => var.as_tensor().clone(),
            Track::Nothing => var.as_detached_tensor(),
        }
    }
}
