//! Through the layers, forward and backward.
//!
//! A layer is `middle = x + attention(norm(x))`, `out = middle + feed_forward(norm(middle))`. The backward pass takes the
//! gradient of `out` and turns it, in place, into that of `x`; the parameters' gradients are added where they are summed up.
//! What a layer keeps is freed as soon as its backward pass is through. With [`Track::LayerInputs`] a layer keeps its input
//! alone, and its forward pass is made again, to the same bits, when its turn comes (Chen et al., "Training Deep Nets with
//! Sublinear Memory Cost", 2016).

use std::sync::Arc;

use candle_core::{CpuStorage, Storage, Var};

use super::batch::PackedBatch;
use super::feed_forward::{self, Choice};
use super::parts::{AttentionParts, FeedForwardParts, LayerParts, ModelParts};
use super::{Attention, Slopes, Track, grouped, latent};
use crate::Result;
use crate::config::ModelConfig;
use crate::error::PolicyError;
use crate::ops::embedding::{gather_rows, gather_rows_backward};
use crate::ops::grouped_attention::GroupedAttention;
use crate::ops::layouts::Layouts;
use crate::ops::logprob::{Logprob, Logprobs};
use crate::ops::rms_norm::{rms_norm, rms_norm_backward};
use crate::ops::router::Routing;

/// Calls `work` with the numbers of every parameter, in order.
pub(crate) fn with_numbers<R>(parameters: &[(String, Var)], work: impl FnOnce(Vec<&[f32]>) -> R) -> Result<R> {
    let guards: Vec<_> = parameters.iter().map(|(_, var)| var.storage_and_layout()).collect();
    let each = guards.iter().zip(parameters).map(|((storage, layout), (name, _))| {
        match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(numbers)), Some((start, end))) => Ok(&numbers[start..end]),
            _ => Err(PolicyError::TensorMismatch {
                operation: "read a parameter".into(),
                tensor: name.clone(),
                message: "is not contiguous f32 on the CPU".to_owned(),
            }),
        }
    });
    Ok(work(each.collect::<Result<_>>()?))
}

/// A model and the batch that goes through it.
pub(super) struct Pass<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) attention: &'a Attention,
    pub(super) parts: ModelParts<&'a [f32]>,
    pub(super) layouts: &'a Layouts,
}

/// What a layer keeps for its backward pass, besides its input.
struct LayerKept {
    normed: Vec<f32>,
    attention: AttentionKept,
    middle: Vec<f32>,
    normed_middle: Vec<f32>,
    feed_forward: feed_forward::Kept,
}

enum AttentionKept {
    Latent(latent::Kept),
    Grouped(grouped::Kept),
}

/// A layer's input, and either what it keeps or where its tokens went.
struct Layer {
    x: Vec<f32>,
    kept: Option<LayerKept>,
    routing: Option<Routing>,
}

/// What a tracked pass keeps for its backward pass.
pub(super) struct Activations {
    token_ids: Vec<u32>,
    target_rows: Vec<u32>,
    target_ids: Vec<u32>,
    temperature: f64,
    pub(super) layouts: Arc<Layouts>,
    layers: Vec<Layer>,
    /// The rows from which something is predicted, before the last norm and after.
    last: [Vec<f32>; 2],
    out: Logprobs<f32>,
}

/// What a pass computes.
pub(super) struct Passed {
    pub(super) logprobs: Vec<f32>,
    pub(super) entropy: Vec<f32>,
    pub(super) routing: Vec<Routing>,
    pub(super) activations: Option<Activations>,
}

impl Pass<'_> {
    pub(super) fn forward(
        &self,
        batch: &PackedBatch,
        router_bias: &[Vec<f32>],
        temperature: f64,
        track: Track,
    ) -> Passed {
        let width = self.config.hidden_size;
        let mut x = gather_rows(self.parts.embedding, &batch.token_ids, width); // [n, d]
        let mut routing: Vec<Routing> = Vec::new();
        let mut layers = Vec::new();
        for index in 0..self.parts.layers.len() {
            let choice = match &batch.choices {
                Some(choices) => choices.layers().get(routing.len()).map(|chosen| Choice::Repeat(chosen)),
                None => router_bias.get(routing.len()).map(|bias| Choice::Anew(bias)),
            };
            let (out, kept) = self.layer(index, &x, choice);
            let input = std::mem::replace(&mut x, out);
            let chosen = kept.feed_forward.routing().cloned();
            routing.extend(chosen.clone());
            match track {
                Track::Nothing => {}
                Track::Gradients => layers.push(Layer { x: input, kept: Some(kept), routing: None }),
                Track::LayerInputs => layers.push(Layer { x: input, kept: None, routing: chosen }),
            }
        }
        let rows = gather_rows(&x, &batch.target_rows, width); // [targets, d]
        drop(x);
        let hidden = rms_norm(&rows, width, self.parts.norm, self.config.rms_norm_eps);
        let out = self.logprob(&batch.target_ids, temperature).forward(&hidden);
        let (logprobs, entropy) = (out.logprobs.clone(), out.entropy.clone());
        let activations = (track != Track::Nothing).then(|| Activations {
            token_ids: batch.token_ids.clone(),
            target_rows: batch.target_rows.clone(),
            target_ids: batch.target_ids.clone(),
            temperature,
            layouts: Arc::clone(&batch.layouts),
            layers,
            last: [rows, hidden],
            out,
        });
        Passed { logprobs, entropy, routing, activations }
    }

    /// Adds the gradients of the sums over `slopes`, and of the balance loss times `balance`, to `gradients`.
    pub(super) fn backward(
        &self,
        activations: Activations,
        slopes: &Slopes,
        balance: f64,
        gradients: &mut ModelParts<&mut [f32]>,
    ) {
        let (width, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let Activations {
            token_ids, target_rows, target_ids, temperature, mut layers, last: [rows, hidden], out, ..
        } = activations;
        let d_head = gradients.head.as_deref_mut().unwrap_or(&mut *gradients.embedding);
        let d_hidden =
            self.logprob(&target_ids, temperature).backward(d_head, &hidden, &out, (&slopes.logprobs, &slopes.entropy));
        let mut d_rows = vec![0.0; rows.len()];
        rms_norm_backward((&mut d_rows, gradients.norm), (&rows, width), self.parts.norm, &d_hidden, eps);
        drop((rows, hidden, out, d_hidden));
        let mut d_x = vec![0.0; token_ids.len() * width];
        gather_rows_backward(&mut d_x, &target_rows, &d_rows, width);
        drop(d_rows);
        for (index, gradients) in gradients.layers.iter_mut().enumerate().rev() {
            let Some(Layer { x, kept, routing }) = layers.pop() else { break };
            let kept = kept.unwrap_or_else(|| self.layer(index, &x, routing.as_ref().map(Choice::As)).1);
            self.layer_backward(index, &mut d_x, gradients, &x, kept, balance);
        }
        gather_rows_backward(gradients.embedding, &token_ids, &d_x, width);
    }

    fn logprob<'b>(&'b self, targets: &'b [u32], temperature: f64) -> Logprob<'b, f32> {
        let head = self.parts.head.unwrap_or(self.parts.embedding);
        Logprob { head, width: self.config.hidden_size, targets, temperature }
    }

    /// A layer's result, and what it keeps. `choice` is for a layer of experts.
    fn layer(&self, index: usize, x: &[f32], choice: Option<Choice<'_>>) -> (Vec<f32>, LayerKept) {
        let (width, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let parts = &self.parts.layers[index];
        let normed = rms_norm(x, width, parts.attention_norm, eps);
        let mut middle = x.to_vec();
        let attention = match (&parts.attention, self.attention) {
            (AttentionParts::Latent(parts), Attention::Latent(config)) => {
                AttentionKept::Latent(latent::add(&mut middle, &normed, parts, (config, self.layouts), width))
            }
            (AttentionParts::Grouped(parts), Attention::Grouped(_, config)) => {
                let operation = GroupedAttention { config, layouts: self.layouts };
                AttentionKept::Grouped(grouped::add(&mut middle, &normed, parts, operation, (width, eps)))
            }
            _ => unreachable!("all layers of a model have its kind of attention"),
        };
        let normed_middle = rms_norm(&middle, width, parts.feed_forward_norm, eps);
        let mut out = middle.clone();
        let feed_forward = match (&parts.feed_forward, self.config.mixture_of(index), choice) {
            (FeedForwardParts::Mixed { router, experts, shared }, Some(mixture), Some(choice)) => {
                let weights = (*router, *experts, *shared);
                feed_forward::add_mixed(&mut out, &normed_middle, weights, mixture, choice, width)
            }
            (FeedForwardParts::Dense(weight), ..) => feed_forward::add_dense(&mut out, &normed_middle, weight, width),
            _ => unreachable!("every layer of experts is told who chooses"),
        };
        (out, LayerKept { normed, attention, middle, normed_middle, feed_forward })
    }

    /// Turns the gradient of a layer's result into that of its input.
    fn layer_backward(
        &self,
        index: usize,
        d_x: &mut [f32],
        gradients: &mut LayerParts<&mut [f32]>,
        x: &[f32],
        kept: LayerKept,
        balance: f64,
    ) {
        let (width, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let parts = &self.parts.layers[index];
        let mut d_normed = vec![0.0; d_x.len()];
        let mixture = self.config.mixture_of(index).map(|mixture| (mixture, balance));
        let before = (&kept.normed_middle[..], &kept.feed_forward);
        feed_forward::backward(
            &mut d_normed,
            &mut gradients.feed_forward,
            before,
            &parts.feed_forward,
            mixture,
            d_x,
            width,
        );
        drop(kept.feed_forward);
        let middle = (&kept.middle[..], width);
        rms_norm_backward((d_x, gradients.feed_forward_norm), middle, parts.feed_forward_norm, &d_normed, eps);
        d_normed.fill(0.0);
        match (&parts.attention, &mut gradients.attention, &kept.attention, self.attention) {
            (
                AttentionParts::Latent(parts),
                AttentionParts::Latent(gradients),
                AttentionKept::Latent(before),
                Attention::Latent(config),
            ) => {
                let before = (&kept.normed[..], before);
                latent::backward(&mut d_normed, gradients, before, parts, (config, self.layouts), d_x, width);
            }
            (
                AttentionParts::Grouped(parts),
                AttentionParts::Grouped(gradients),
                AttentionKept::Grouped(before),
                Attention::Grouped(_, config),
            ) => {
                let operation = GroupedAttention { config, layouts: self.layouts };
                let before = (&kept.normed[..], before);
                grouped::backward(&mut d_normed, gradients, before, parts, operation, d_x, (width, eps));
            }
            _ => unreachable!("weights, gradients and what was kept are of one model"),
        }
        rms_norm_backward((d_x, gradients.attention_norm), (x, width), parts.attention_norm, &d_normed, eps);
    }
}
