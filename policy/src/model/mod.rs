//! The policy, from token ids to log-probabilities.
//!
//! All architectures are pre-norm blocks of attention and a feed-forward. They differ in the kind of attention
//! ([`latent`] in DeepSeek-V3, [`grouped`] in Llama and Qwen) and of feed-forward ([`feed_forward`]: dense, or a mixture of
//! experts); a kind's parameters and forward pass stand in one file. Multi-token prediction is left out.
//!
//! Shapes in comments: n rows of the packed batch, d hidden width, h heads.

pub mod batch;
mod feed_forward;
mod grouped;
pub mod hugging_face;
pub(crate) mod latent;
#[cfg(feature = "cuda")]
mod on_card;
pub(crate) mod parameters;
pub(crate) mod parts;
mod pass;
mod place;
mod projection;
mod weights;

use std::path::Path;

use crate::checkpoint::Numbers;
use crate::config::{AttentionKind, GroupedAttention, ModelConfig};
use crate::ops::grouped_attention::GroupedConfig;
use crate::ops::latent_attention::LatentConfig;
use crate::ops::layouts::Layouts;
use crate::ops::packed::LARGE;
use crate::ops::router::{RouterConfig, Routing};
use crate::optim::Gradients;
use crate::{PolicyError, Result};

use batch::PackedBatch;
use parts::ModelParts;
pub(crate) use pass::with_numbers;
use pass::{Activations, Pass};
use weights::Weights;

/// A policy: its configuration and its weights.
pub struct Policy {
    config: ModelConfig,
    weights: Weights,
    /// For each MoE layer, in order, the bias by which its router chooses.
    router_bias: Vec<Vec<f32>>,
    attention: Attention,
}

/// A kind of attention: its sizes, and the fused operation's.
#[derive(Debug, Clone)]
pub(crate) enum Attention {
    Latent(LatentConfig),
    Grouped(GroupedAttention, GroupedConfig),
}

/// A forward pass over a packed batch.
pub struct Forward {
    /// Log-probability of each of the batch's targets.
    pub logprobs: Vec<f32>,
    /// Entropy of each target's distribution in nats.
    pub entropy: Vec<f32>,
    /// For each MoE layer, where the tokens went.
    pub routing: Vec<Routing>,
    /// What [`Policy::backward`] needs, if the pass was tracked.
    activations: Option<Kept>,
}

/// What a tracked pass keeps, where it was made.
enum Kept {
    Host(Box<Activations>),
    #[cfg(feature = "cuda")]
    Card(Box<crate::cuda::Activations>),
}

/// The loss's derivatives by what a pass computed for each target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slopes {
    /// By the targets' log-probabilities `[targets]`.
    pub logprobs: Vec<f32>,
    /// By the entropies `[targets]`; empty where the loss does not look at them.
    pub entropy: Vec<f32>,
}

impl From<Vec<f32>> for Slopes {
    fn from(logprobs: Vec<f32>) -> Slopes {
        Slopes { logprobs, entropy: Vec::new() }
    }
}

/// Whether a forward pass is to be differentiated, and at what cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// Keep what the backward pass needs.
    Gradients,
    /// Keep each layer's input; the backward pass makes the layer's forward pass again. A third more work, and the
    /// memory of one layer's activations instead of all layers'. The gradients are the same to the bit.
    LayerInputs,
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
        let router_bias = config.moe_layers().map(|(_, mixture)| vec![0.0; mixture.n_routed_experts]).collect();
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

    /// Writes `config.json` and `model.safetensors` into an existing folder. A model that lay there in several files, with a
    /// `model.safetensors.index.json`, is removed.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.save_as(folder, Numbers::F32)
    }

    /// The same, with weights of another type.
    ///
    /// # Errors
    /// As [`Policy::save`].
    pub fn save_as(&self, folder: &Path, numbers: Numbers) -> Result<()> {
        let path = folder.join("config.json");
        let mut config = self.config.to_json();
        if numbers == Numbers::Bf16 {
            config = config.replace("\"torch_dtype\": \"float32\"", "\"torch_dtype\": \"bfloat16\"");
        }
        std::fs::write(&path, config).map_err(PolicyError::io("write", &path))?;
        hugging_face::save(folder, self, numbers)
    }

    fn assemble(config: ModelConfig, parameters: parameters::Parameters, router_bias: Vec<Vec<f32>>) -> Self {
        let attention = match &config.attention {
            AttentionKind::Latent(kind) => Attention::Latent(latent::operation(&config, kind)),
            AttentionKind::Grouped(kind) => Attention::Grouped(kind.clone(), grouped::operation(&config, kind)),
        };
        Policy { config, weights: Weights::on_host(parameters), router_bias, attention }
    }

    /// The same model with other weights, which are at the same place.
    fn with_weights(&self, weights: Weights) -> Self {
        Policy {
            config: self.config.clone(),
            weights,
            router_bias: self.router_bias.clone(),
            // With the rotary angles, which all copies share.
            attention: self.attention.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether the weights are more than caches hold, so that decoding reads them where they lie.
    pub fn is_large(&self) -> bool {
        self.config.parameters().0 >= LARGE
    }

    /// For each MoE layer, the bias by which its router chooses experts.
    pub fn router_bias(&self) -> &[Vec<f32>] {
        &self.router_bias
    }

    /// The attention's sizes and rotary angles.
    pub(crate) fn attention(&self) -> &Attention {
        &self.attention
    }

    /// How this policy's routers choose and weigh, if it has any.
    pub(crate) fn router(&self) -> Option<RouterConfig> {
        self.config.mixture.as_ref().map(feed_forward::router)
    }

    /// Log-probabilities of a batch's targets at a sampling temperature, which is positive.
    ///
    /// # Errors
    /// If the temperature is not, if the batch's parts do not fit each other, if a token id lies outside the vocabulary, or if
    /// a sequence is longer than the model's positions.
    pub fn forward(&self, batch: &PackedBatch, temperature: f64, track: Track) -> Result<Forward> {
        self.check(batch, temperature)?;
        #[cfg(feature = "cuda")]
        if let Some(resident) = self.weights.resident() {
            return self.forward_on_card(resident, batch, temperature, track);
        }
        let passed = with_numbers(self.weights.get(), |numbers| {
            self.pass(numbers, &batch.layouts).forward(batch, &self.router_bias, temperature, track)
        })?;
        let pass::Passed { logprobs, entropy, routing, activations } = passed;
        Ok(Forward { logprobs, entropy, routing, activations: activations.map(|kept| Kept::Host(Box::new(kept))) })
    }

    fn pass<'a>(&'a self, numbers: Vec<&'a [f32]>, layouts: &'a Layouts) -> Pass<'a> {
        let parts = ModelParts::new(&self.config, numbers.into_iter());
        Pass { config: &self.config, attention: &self.attention, parts, layouts }
    }

    fn check(&self, batch: &PackedBatch, temperature: f64) -> Result<()> {
        let bad = |message| Err(PolicyError::Argument { operation: "forward pass of the policy", message });
        if !(temperature.is_finite() && temperature > 0.0) {
            return bad(format!("the temperature is {temperature}, expected a positive number"));
        }
        if let Some(message) = batch.fault() {
            return bad(message);
        }
        if let Some(id) =
            batch.token_ids.iter().chain(&batch.target_ids).find(|id| **id as usize >= self.config.vocab_size)
        {
            return bad(format!("token id {id} outside the vocabulary of {}", self.config.vocab_size));
        }
        if let Some(choices) = batch.choices.as_ref().map(|choices| choices.layers()) {
            let mixture = self.config.mixture.as_ref();
            let (experts, top_k) =
                mixture.map_or((0, 0), |mixture| (mixture.n_routed_experts, mixture.num_experts_per_tok));
            let (layers, entries) = (self.router_bias.len(), batch.token_ids.len() * top_k);
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

    /// Adds the gradients of `sum(slopes.logprobs * logprobs) + sum(slopes.entropy * entropy)` to `gradients`, and those of the balance loss (the sum over MoE layers,
    /// see `ops::router`) times `balance`; 0 for none.
    ///
    /// # Errors
    /// If the pass was not tracked, the slopes are not one for each target, or `gradients` are of another model.
    pub fn backward(&self, forward: Forward, slopes: &Slopes, balance: f64, gradients: &mut Gradients) -> Result<()> {
        let bad = |message| Err(PolicyError::Argument { operation: "backward pass of the policy", message });
        let Some(activations) = forward.activations else {
            return bad("the forward pass kept nothing; it was not tracked".to_owned());
        };
        let targets = forward.logprobs.len();
        if slopes.logprobs.len() != targets {
            return bad(format!("{} slopes for {targets} log-probabilities", slopes.logprobs.len()));
        }
        if !slopes.entropy.is_empty() && slopes.entropy.len() != targets {
            return bad(format!("{} slopes for {targets} entropies", slopes.entropy.len()));
        }
        let activations = match activations {
            Kept::Host(activations) => *activations,
            #[cfg(feature = "cuda")]
            Kept::Card(activations) => return self.backward_on_card(*activations, slopes, balance, gradients),
        };
        #[cfg(feature = "cuda")]
        if self.weights.resident().is_some() || gradients.sums().is_some() {
            return bad("policy, forward pass and gradients are not all at one place".to_owned());
        }
        let layouts = std::sync::Arc::clone(&activations.layouts);
        let mut sums = ModelParts::new(&self.config, gradients.in_order_of(self.weights.get())?.into_iter());
        with_numbers(self.weights.get(), |numbers| {
            self.pass(numbers, &layouts).backward(activations, slopes, balance, &mut sums);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::batch::BatchBuilder;
    use super::*;

    fn batch() -> PackedBatch {
        let mut builder = BatchBuilder::default();
        let prompt = builder.context(&[3, 7, 11], None).unwrap();
        builder.completion(prompt, &[9, 30, 12]).unwrap();
        builder.completion(prompt, &[21]).unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        let policy = Policy::new(ModelConfig { max_position_embeddings: 5, ..ModelConfig::tiny(40) }, 1).unwrap();
        let check = |change: &dyn Fn(&mut PackedBatch), temperature: f64, expected: &str| {
            let mut batch = batch();
            change(&mut batch);
            let message = policy.forward(&batch, temperature, Track::Nothing).map(|_| ()).unwrap_err().to_string();
            assert!(message.starts_with("forward pass of the policy: ") && message.contains(expected), "{message}");
        };
        assert!(policy.forward(&batch(), 1.0, Track::Nothing).is_ok());
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            check(&|_| (), temperature, &format!("the temperature is {temperature}, expected a positive number"));
        }
        check(&|batch| batch.token_ids.push(3), 1.0, "6 token ids for a layout of 5 rows");
        check(&|batch| batch.target_rows[0] = 5, 1.0, "a token to predict from row 5 of 5");
        check(&|batch| batch.target_rows.truncate(3), 1.0, "3 rows to predict from for 4 tokens to predict");
        check(&|batch| batch.target_ids[1] = 40, 1.0, "token id 40 outside the vocabulary of 40");
        check(
            &|batch| {
                let mut builder = BatchBuilder::default();
                builder.context(&[3; 6], None).unwrap();
                *batch = builder.build().unwrap();
            },
            1.0,
            "6 positions; the model has 5",
        );
    }

    #[test]
    fn an_empty_batch_has_an_empty_result() {
        let policy = Policy::new(ModelConfig::tiny(40), 1).unwrap();
        let empty = BatchBuilder::default().build().unwrap();
        let forward = policy.forward(&empty, 1.0, Track::Nothing).unwrap();
        assert!(forward.logprobs.is_empty() && forward.entropy.is_empty());
    }

    #[test]
    fn copies_share_their_rotary_angles() {
        let policy = Policy::new(ModelConfig::tiny(40), 1).unwrap();
        let (Attention::Latent(mine), Attention::Latent(copied)) =
            (policy.attention(), policy.duplicate().unwrap().attention().clone())
        else {
            panic!("tiny models have latent attention");
        };
        assert!(std::sync::Arc::ptr_eq(&mine.table, &copied.table));
    }
}
