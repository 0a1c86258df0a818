//! Through the layers on the card, forward and backward: the twin of `model/pass.rs`, which says what a layer is.
//!
//! The host gives all work at once and waits only for what the loss looks at: log-probabilities, entropies, choices of experts.
//! Memory is taken as it is needed and given back as soon as the work that uses it has been given.

use std::sync::Arc;

use device::ops::{self, Logprob, LogprobWorkspace, Logprobs, Sources, gather, gather_backward, narrow};
use device::{Buffer, Device, Result, Slice, bf16};

use super::batch::{Batch, Inputs};
use super::feed_forward::{self, Choice, Mixture};
use super::norm::{Rows, norm, norm_backward};
use super::{Parameter, Resident, grouped, latent};
use crate::config::ModelConfig;
use crate::model::batch::PackedBatch;
use crate::model::parts::{AttentionParts, LayerParts, ModelParts};
use crate::model::{Attention, Slopes, Track};
use crate::ops::router::{RouterConfig, Routing};

/// A model and the card that it is on.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) attention: &'a Attention,
    pub(crate) router: Option<RouterConfig>,
    pub(crate) resident: &'a Resident,
}

/// What a pass computes.
pub(crate) struct Passed {
    pub(crate) logprobs: Vec<f32>,
    pub(crate) entropy: Vec<f32>,
    pub(crate) routing: Vec<Routing>,
    pub(crate) activations: Option<Activations>,
}

/// What a tracked pass keeps for its backward pass.
pub(crate) struct Activations {
    inputs: Inputs,
    /// The rows that each target's row is of, and each token of the vocabulary.
    sources: [Sources; 2],
    temperature: f64,
    layers: Vec<Layer>,
    /// The rows from which something is predicted, before the last norm and after.
    rows: Buffer<f32>,
    hidden: Buffer<bf16>,
    /// Log-probabilities, entropies and totals, `[targets]` each.
    out: [Buffer<f32>; 3],
}

/// A layer's input, where its tokens went, and what it keeps if it is not to be computed again.
struct Layer {
    x: Buffer<f32>,
    kept: Option<LayerKept>,
    chosen: Option<Arc<Buffer<u16>>>,
}

/// What a layer keeps for its backward pass, besides its input.
struct LayerKept {
    normed: Buffer<bf16>,
    attention: AttentionKept,
    middle: Buffer<f32>,
    normed_middle: Buffer<bf16>,
    feed_forward: feed_forward::Kept,
}

/// What a layer makes.
struct LayerPassed {
    x: Buffer<f32>,
    /// The experts of its tokens.
    went: Option<Arc<Buffer<u16>>>,
    kept: Option<LayerKept>,
}

enum AttentionKept {
    Latent(latent::Kept),
    Grouped(grouped::Kept),
}

impl Pass<'_> {
    /// Log-probabilities and entropies of a batch's targets, and where its tokens went.
    pub(crate) fn forward(&self, batch: &PackedBatch, temperature: f64, track: Track) -> Result<Passed> {
        let (device, width) = (self.resident.device(), self.config.hidden_size);
        let parts = self.resident.parts(self.config);
        let inputs = Inputs::new(device, batch, self.group())?;
        let layer_batch = inputs.batch(self.resident);
        let mixture = self.mixture(inputs.rows(), (false, track == Track::Gradients))?;
        let ids = device.upload(&inputs.token_ids, "tokens of a batch")?;
        let mut x = device.alloc(inputs.rows() * width, "the residual stream")?; // [n, d]
        gather(device, x.view(), parts.embedding.copy, ids.view(), width)?;
        let given = batch.choices.as_ref().map(|choices| choices.layers()).unwrap_or_default();
        let upload = |choices: &Vec<u16>| Ok(Arc::new(device.upload(choices, "choices of experts")?));
        let given: Vec<Arc<Buffer<u16>>> = given.iter().map(upload).collect::<Result<_>>()?;
        let mut layers = Vec::new();
        let mut chosen: Vec<Arc<Buffer<u16>>> = Vec::new();
        for (index, parts) in parts.layers.iter().enumerate() {
            let choice = match (self.config.mixture_of(index), given.get(chosen.len())) {
                (None, _) => None,
                (_, Some(given)) => Some(Choice::Repeat(Arc::clone(given))),
                (Some(mixture), None) => {
                    Some(Choice::Anew(self.resident.router_bias(chosen.len(), mixture.n_routed_experts)))
                }
            };
            let kept_x = if track == Track::Nothing { None } else { Some(copy_of(device, &x)?) };
            let mixture = mixture.as_ref().zip(choice);
            let LayerPassed { x: out, went, kept } =
                self.layer(parts, &layer_batch, x, mixture, track == Track::Gradients)?;
            x = out;
            chosen.extend(went.clone());
            layers.extend(kept_x.map(|x| Layer { x, kept, chosen: went }));
        }
        drop(mixture);
        let targets = inputs.target_rows.len();
        let rows = device.alloc(targets * width, "rows of targets")?; // [targets, d]
        let target_rows = device.upload(&inputs.target_rows, "rows of targets")?;
        gather(device, rows.view(), x.view(), target_rows.view(), width)?;
        drop(x);
        let hidden = norm(device, Rows::packed(rows.view(), width), &parts.norm, self.config.rms_norm_eps)?;
        let number = || device.alloc(targets, "log-probabilities");
        let out: [Buffer<f32>; 3] = [number()?, number()?, number()?];
        let workspace = LogprobWorkspace::new(device, targets, self.config.vocab_size, false)?;
        let logprob = logprob(&parts, hidden.view(), inputs.target_ids.view(), temperature);
        logprob.forward(device, &workspace, logprobs(&out))?;
        // The host sorts while the card computes: the backward pass would wait for it.
        let sources = match track {
            Track::Nothing => None,
            Track::Gradients | Track::LayerInputs => Some([
                Sources::new(device, &inputs.target_rows, inputs.rows())?,
                Sources::new(device, &inputs.token_ids, self.config.vocab_size)?,
            ]),
        };
        let (logprobs, entropy) = (out[0].download()?, out[1].download()?);
        let routing = |chosen: &Arc<Buffer<u16>>| {
            let (chosen, router) = (chosen.download()?, self.router.as_ref());
            Ok(router.map(|router| Routing::repeat(&chosen, router)).unwrap_or_else(|| unreachable!("it has chosen")))
        };
        let routing = chosen.iter().map(routing).collect::<Result<_>>()?;
        let activations =
            sources.map(|sources| Activations { inputs, sources, temperature, layers, rows, hidden, out });
        Ok(Passed { logprobs, entropy, routing, activations })
    }

    /// Adds the gradients of the sums over `slopes`, and of the balance loss times `balance`, to `gradients`, an array of all
    /// parameters' gradients.
    pub(crate) fn backward(
        &self,
        activations: Activations,
        slopes: &Slopes,
        balance: f64,
        gradients: Slice<'_, f32>,
    ) -> Result<()> {
        let (device, width, eps) = (self.resident.device(), self.config.hidden_size, self.config.rms_norm_eps);
        let parts = self.resident.parts(self.config);
        let gradients = self.resident.layout().parts(self.config, gradients);
        let Activations { inputs, sources, temperature, mut layers, rows, hidden, out } = activations;
        let [target_sources, token_sources] = sources;
        let d_x = device.zeros(inputs.rows() * width, "the residual stream's gradient")?;
        {
            let targets = inputs.target_rows.len();
            let workspace = LogprobWorkspace::new(device, targets, self.config.vocab_size, true)?;
            let by_logprob = device.upload(&slopes.logprobs, "slopes of the loss")?;
            let by_entropy = device.upload(&slopes.entropy, "slopes of the loss")?;
            let entropy = (!slopes.entropy.is_empty()).then(|| by_entropy.view());
            let slopes = ops::Slopes { logprobs: by_logprob.view(), entropy };
            let d_hidden = device.alloc(hidden.len(), "gradients of rows of targets")?;
            let d_head = gradients.head.unwrap_or(gradients.embedding);
            let logprob = logprob(&parts, hidden.view(), inputs.target_ids.view(), temperature);
            let sums = (d_hidden.view(), Some(d_head));
            logprob.backward(device, &workspace, sums, logprobs(&out), slopes)?;
            drop(workspace);
            let d_rows: Buffer<f32> = device.zeros(rows.len(), "gradients of rows of targets")?;
            let before = Rows::packed(rows.view(), width);
            norm_backward(device, (d_rows.view(), gradients.norm), before, (&parts.norm, eps), d_hidden.view())?;
            gather_backward(device, d_x.view(), d_rows.view(), &target_sources, width)?;
        }
        drop((rows, hidden, out));
        let batch = inputs.batch(self.resident);
        let mixture = self.mixture(inputs.rows(), (true, true))?;
        for (parts, gradients) in parts.layers.iter().zip(&gradients.layers).rev() {
            let Some(Layer { x, kept, chosen }) = layers.pop() else { break };
            let kept = match kept {
                Some(kept) => Some(kept),
                None => {
                    let mixture = mixture.as_ref().zip(chosen.map(Choice::Repeat));
                    self.layer(parts, &batch, copy_of(device, &x)?, mixture, true)?.kept
                }
            };
            let Some(kept) = kept else { unreachable!("a layer that is to keep something does") };
            self.layer_backward((parts, gradients), &batch, d_x.view(), (&x, kept), (mixture.as_ref(), balance))?;
        }
        gather_backward(device, gradients.embedding, d_x.view(), &token_sources, width)
    }

    /// Heads that share a key.
    fn group(&self) -> usize {
        match self.attention {
            Attention::Latent(_) => 1,
            Attention::Grouped(_, config) => config.heads / config.key_heads,
        }
    }

    /// The mixture, in a model that has one; see [`Mixture::new`].
    fn mixture(&self, rows: usize, uses: (bool, bool)) -> Result<Option<Mixture>> {
        let Some((config, mixture)) = self.router.as_ref().zip(self.config.mixture.as_ref()) else { return Ok(None) };
        let sizes = (rows, mixture.moe_intermediate_size, self.config.hidden_size);
        Mixture::new(self.resident.device(), feed_forward::router_of(config), sizes, uses).map(Some)
    }

    /// A layer's result, which takes the place of its input, and what it keeps, if it `keeps` anything. `mixture` is for a layer of
    /// experts.
    fn layer(
        &self,
        parts: &LayerParts<Parameter<'_>>,
        batch: &Batch<'_>,
        x: Buffer<f32>,
        mixture: Option<(&Mixture, Choice<'_>)>,
        keeps: bool,
    ) -> Result<LayerPassed> {
        let (device, width, eps) = (batch.device, self.config.hidden_size, self.config.rms_norm_eps);
        let normed = norm(device, Rows::packed(x.view(), width), &parts.attention_norm, eps)?;
        let attention = match (&parts.attention, self.attention) {
            (AttentionParts::Latent(parts), Attention::Latent(config)) => {
                AttentionKept::Latent(latent::add(batch, x.view(), normed.view(), parts, config, width)?)
            }
            (AttentionParts::Grouped(parts), Attention::Grouped(_, config)) => {
                let sizes = (width, eps);
                AttentionKept::Grouped(grouped::add(batch, x.view(), normed.view(), parts, config, sizes)?)
            }
            _ => unreachable!("all layers of a model have its kind of attention"),
        };
        let normed_middle = norm(device, Rows::packed(x.view(), width), &parts.feed_forward_norm, eps)?;
        let middle = if keeps { Some(copy_of(device, &x)?) } else { None };
        let feed_forward =
            feed_forward::add(device, x.view(), normed_middle.view(), &parts.feed_forward, mixture, width)?;
        let went = feed_forward.chosen().cloned();
        let kept = middle.map(|middle| LayerKept { normed, attention, middle, normed_middle, feed_forward });
        Ok(LayerPassed { x, went, kept })
    }

    /// Turns the gradient `d_x` of a layer's result into that of its input.
    fn layer_backward(
        &self,
        (parts, gradients): (&LayerParts<Parameter<'_>>, &LayerParts<Slice<'_, f32>>),
        batch: &Batch<'_>,
        d_x: Slice<'_, f32>,
        (x, kept): (&Buffer<f32>, LayerKept),
        (mixture, balance): (Option<&Mixture>, f64),
    ) -> Result<()> {
        let (device, width, eps) = (batch.device, self.config.hidden_size, self.config.rms_norm_eps);
        let LayerKept { normed, attention, middle, normed_middle, feed_forward } = kept;
        let d_normed = device.alloc(d_x.len(), "gradients of normalised rows")?;
        let d_y = device.alloc(d_x.len(), "gradients of activations")?;
        narrow(device, d_y.view(), d_x)?;
        feed_forward::backward(
            device,
            (d_normed.view(), &gradients.feed_forward),
            (normed_middle.view(), &feed_forward),
            &parts.feed_forward,
            mixture.map(|mixture| (mixture, balance)),
            d_y.view(),
            width,
        )?;
        drop((feed_forward, normed_middle));
        let (before, weight) = (Rows::packed(middle.view(), width), (&parts.feed_forward_norm, eps));
        norm_backward(device, (d_x, gradients.feed_forward_norm), before, weight, d_normed.view())?;
        narrow(device, d_y.view(), d_x)?;
        let (d_normed, d_y) = (d_normed.view(), d_y.view());
        match (&parts.attention, &gradients.attention, &attention, self.attention) {
            (
                AttentionParts::Latent(parts),
                AttentionParts::Latent(gradients),
                AttentionKept::Latent(kept),
                Attention::Latent(config),
            ) => latent::backward(batch, (d_normed, gradients), (normed.view(), kept), parts, config, d_y, width)?,
            (
                AttentionParts::Grouped(parts),
                AttentionParts::Grouped(gradients),
                AttentionKept::Grouped(kept),
                Attention::Grouped(_, config),
            ) => {
                let sizes = (width, eps);
                grouped::backward(batch, (d_normed, gradients), (normed.view(), kept), parts, config, d_y, sizes)?;
            }
            _ => unreachable!("weights, gradients and what was kept are of one model"),
        }
        let (before, weight) = (Rows::packed(x.view(), width), (&parts.attention_norm, eps));
        norm_backward(device, (d_x, gradients.attention_norm), before, weight, d_normed)
    }
}

fn copy_of(device: &Device, x: &Buffer<f32>) -> Result<Buffer<f32>> {
    let copy = device.alloc(x.len(), "the residual stream")?;
    copy.copy_from(&x.view())?;
    Ok(copy)
}

fn logprob<'a>(
    parts: &ModelParts<Parameter<'a>>,
    hidden: Slice<'a, bf16>,
    targets: Slice<'a, u32>,
    temperature: f64,
) -> Logprob<'a> {
    let head = parts.head.as_ref().unwrap_or(&parts.embedding).copy;
    Logprob { head, hidden, targets, temperature: temperature as f32 }
}

fn logprobs([logprobs, entropy, totals]: &[Buffer<f32>; 3]) -> Logprobs<'_> {
    Logprobs { logprobs: logprobs.view(), entropy: entropy.view(), totals: totals.view() }
}
