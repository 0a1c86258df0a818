//! The feed-forward of a layer, one SwiGLU or a mixture of experts, with memory that all layers share. The experts of each token
//! are noted in the cache.

use device::ops::slots::NotedChoices;
use device::ops::{ExpertScratch, Grouping, GroupingScratch, Router, Tile, add_experts};
use device::{Buffer, Device, Result, Slice, bf16};

use super::decoder::Run;
use super::products::Residual;
use crate::config::ModelConfig;
use crate::cuda::Parameter;
use crate::cuda::feed_forward::{expert_weights, router_of};
use crate::model::parts::FeedForwardParts;
use crate::ops::router::RouterConfig;

/// The layers' feed-forwards' memory.
pub(super) struct FeedForward {
    /// Gate and up, `[rows, 2 inner]`, and the activation, `[rows, inner]`, of a dense layer or a shared expert.
    gate_up: Buffer<bf16>,
    hidden: Buffer<bf16>,
    mixture: Option<Mixture>,
}

struct Mixture {
    router: Router,
    /// `[rows, experts]`
    logits: Buffer<f32>,
    /// `[rows, top_k]`
    gates: Buffer<f32>,
    chosen: Buffer<u16>,
    grouping_scratch: GroupingScratch,
    grouping: Grouping,
    experts: ExpertScratch,
}

impl FeedForward {
    pub(super) fn new(
        device: &Device,
        config: &ModelConfig,
        router: Option<&RouterConfig>,
        rows: usize,
    ) -> Result<Self> {
        let inner_of = |layer| match config.mixture_of(layer) {
            Some(mixture) => mixture.n_shared_experts * mixture.moe_intermediate_size,
            None => config.intermediate_size,
        };
        let inner = (0..config.num_hidden_layers).map(inner_of).max().unwrap_or(0);
        let mixture = match router.zip(config.mixture.as_ref()) {
            None => None,
            Some((router, mixture)) => {
                let (inner, pairs) = (mixture.moe_intermediate_size, rows * router.top_k);
                let grouping_scratch = GroupingScratch::new(device, rows, router.experts, router.top_k)?;
                Some(Mixture {
                    router: router_of(router),
                    logits: device.alloc(rows * router.experts, "logits of routers")?,
                    gates: device.alloc(pairs, "gates of experts")?,
                    chosen: device.alloc(pairs, "choices of experts")?,
                    grouping: Grouping::new(device, &grouping_scratch)?,
                    grouping_scratch,
                    experts: ExpertScratch::new(device, pairs, inner, config.hidden_size, false)?,
                })
            }
        };
        Ok(FeedForward {
            gate_up: device.alloc(rows * 2 * inner, "activations")?,
            hidden: device.alloc(rows * inner, "activations")?,
            mixture,
        })
    }

    /// Adds the feed-forward to the residual stream `x`; `normed` `[rows, d]`. For a layer of experts `bias` gives
    /// its router's bias and `noted` says where its choices go; returns whether it was one.
    pub(super) fn add<'b, 'r>(
        &self,
        run: &Run<'r>,
        x: &Residual<'r>,
        normed: Slice<'_, bf16>,
        parts: &FeedForwardParts<Parameter<'_>>,
        bias: impl FnOnce(usize) -> Slice<'b, f32>,
        noted: Option<(NotedChoices<'_>, usize)>,
    ) -> Result<bool> {
        match (parts, &self.mixture, noted) {
            (FeedForwardParts::Dense(weight), _, _) => {
                self.add_swiglu(run, x, normed, weight.copy)?;
                Ok(false)
            }
            (FeedForwardParts::Mixed { router, experts, shared }, Some(mixture), Some(noted)) => {
                // Routed first, then shared: the order in which the training pass adds them.
                mixture.add(run, x.rows(), normed, (router, experts), bias(mixture.router.experts), noted)?;
                if let Some(shared) = shared {
                    self.add_swiglu(run, x, normed, shared.copy)?;
                }
                Ok(true)
            }
            _ => unreachable!("a model with layers of experts has memory for them"),
        }
    }

    fn add_swiglu<'r>(
        &self,
        run: &Run<'r>,
        x: &Residual<'r>,
        normed: Slice<'_, bf16>,
        weight: Slice<'_, bf16>,
    ) -> Result<()> {
        run.products.add_swiglu(x, normed, (weight, run.width), (&self.gate_up, &self.hidden))
    }
}

impl Mixture {
    fn add(
        &self,
        run: &Run<'_>,
        x: Slice<'_, f32>,
        normed: Slice<'_, bf16>,
        (weight, experts): (&Parameter<'_>, &Parameter<'_>),
        bias: Slice<'_, f32>,
        (noted, layer): (NotedChoices<'_>, usize),
    ) -> Result<()> {
        let (device, router, rows) = (run.device, &self.router, run.count());
        let pairs = rows * router.top_k;
        let logits = self.logits.slice(..rows * router.experts);
        let (gates, chosen) = (self.gates.slice(..pairs), self.chosen.slice(..pairs));
        run.products.linear(logits, normed, (weight.copy, run.width))?;
        router.choose(device, (chosen, gates), logits, bias)?;
        noted.note(device, layer, chosen, run.rows.table, (run.sequences, run.rows.places))?;
        let grouped = self.grouping.sort(device, &self.grouping_scratch, chosen, None)?;
        let weights = expert_weights(experts.copy, router, run.width);
        let tile = Tile::for_rows(pairs, router.experts);
        add_experts(device, x, (normed, gates), weights, &grouped, (None, &self.experts), tile)
    }
}
