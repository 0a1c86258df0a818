//! The feed-forward of a layer on the card, one SwiGLU or a mixture of experts: the twin of `model/feed_forward.rs`.

use std::sync::Arc;

use device::ops::{
    ExpertGradients, ExpertScratch, ExpertWeights, Grouping, GroupingScratch, Router, SwigluGradients, Tile,
    add_experts, experts_backward, swiglu, swiglu_backward,
};
use device::{Buffer, Device, Element, Gemm, Result, Slice, bf16};

use super::Parameter;
use super::linear::{add_weight_gradient, linear, linear_back_into, linear_into};
use crate::model::parts::FeedForwardParts;
use crate::ops::router::RouterConfig;

/// Who says which experts a layer's tokens go to.
pub(super) enum Choice<'a> {
    /// The router, with this bias.
    Anew(Slice<'a, f32>),
    /// Sampling has said it already, or an earlier pass over the same batch has: `[n, top_k]`.
    Repeat(Arc<Buffer<u16>>),
}

/// The mixture of a model's layers, with memory that they share.
pub(super) struct Mixture {
    pub(super) router: Router,
    grouping: GroupingScratch,
    experts: ExpertScratch,
    /// Whether gate and up of the experts are kept for a backward pass.
    keeps: bool,
}

/// What the backward pass needs of a layer's feed-forward, besides its normalised input.
pub(super) enum Kept {
    /// Gate and up of a dense layer.
    Dense(Buffer<bf16>),
    Mixed(Box<KeptMixture>),
}

pub(super) struct KeptMixture {
    /// `[n, experts]`
    logits: Buffer<f32>,
    /// `[n, top_k]`
    chosen: Arc<Buffer<u16>>,
    gates: Buffer<f32>,
    grouping: Grouping,
    /// Gate and up of the experts, `[pairs, 2 inner]`, and of the shared expert.
    gate_up: Option<Buffer<bf16>>,
    shared: Option<Buffer<bf16>>,
}

impl Kept {
    /// Where the tokens went, in a layer of experts.
    pub(super) fn chosen(&self) -> Option<&Arc<Buffer<u16>>> {
        match self {
            Kept::Dense(_) => None,
            Kept::Mixed(kept) => Some(&kept.chosen),
        }
    }
}

impl Mixture {
    /// For batches of so many rows and experts of so wide layers; with memory for the backward pass itself, or whether its
    /// forward pass keeps what one needs.
    pub(super) fn new(
        device: &Device,
        router: Router,
        (rows, inner, width): (usize, usize, usize),
        (backward, keeps): (bool, bool),
    ) -> Result<Self> {
        let grouping = GroupingScratch::new(device, rows, router.experts, router.top_k)?;
        let experts = ExpertScratch::new(device, rows * router.top_k, inner, width, backward)?;
        Ok(Mixture { router, grouping, experts, keeps })
    }
}

/// The parts of a SwiGLU layer's weight `[3 inner, width]`: gate and up `[2 inner, width]`, and down transposed `[inner, width]`.
pub(super) struct Swiglu<'a, T: Element> {
    pub(super) gate_up: Slice<'a, T>,
    pub(super) down: Slice<'a, T>,
    pub(super) inner: usize,
}

impl<'a, T: Element> Swiglu<'a, T> {
    pub(super) fn new(weight: Slice<'a, T>, width: usize) -> Self {
        let inner = weight.len() / (3 * width);
        let down = 2 * inner * width;
        Swiglu { gate_up: weight.slice(..down), down: weight.slice(down..), inner }
    }
}

/// `y += down(silu(gate x) * up x)`; x `[n, width]`. Returns gate and up.
fn add_swiglu(
    device: &Device,
    y: Slice<'_, f32>,
    x: Slice<'_, bf16>,
    weight: Slice<'_, bf16>,
    width: usize,
) -> Result<Buffer<bf16>> {
    let Swiglu { gate_up: weight, down, inner } = Swiglu::new(weight, width);
    let rows = x.len() / width;
    let gate_up = linear(device, x, weight, width)?;
    let hidden = device.alloc(rows * inner, "activations")?;
    swiglu(device, hidden.view(), gate_up.view(), inner)?;
    device.gemm(&Gemm::new([rows, width, inner], hidden.view(), down, y).added())?;
    Ok(gate_up)
}

/// The backward pass of [`add_swiglu`]: `d_x =`, `d_weight +=`. `gate_up` is overwritten.
fn add_swiglu_backward(
    device: &Device,
    (d_x, d_weight): (Slice<'_, f32>, Slice<'_, f32>),
    (x, weight): (Slice<'_, bf16>, Slice<'_, bf16>),
    gate_up: Slice<'_, bf16>,
    d_y: Slice<'_, bf16>,
    width: usize,
) -> Result<()> {
    let Swiglu { gate_up: weight, down, inner } = Swiglu::new(weight, width);
    let Swiglu { gate_up: d_weight, down: d_down, .. } = Swiglu::new(d_weight, width);
    let rows = x.len() / width;
    // Down lies transposed, so its gradient through is a forward product.
    let d_hidden = linear(device, d_y, down, width)?;
    let hidden = device.alloc(rows * inner, "activations")?;
    let written = SwigluGradients { d_gate_up: gate_up, hidden: Some(hidden.view()) };
    swiglu_backward(device, written, gate_up, d_hidden.view(), None, inner)?;
    add_weight_gradient(device, d_down, (d_y, hidden.view()), width)?;
    add_weight_gradient(device, d_weight, (x, gate_up), width)?;
    linear_back_into(device, d_x, (gate_up, weight), width, false)
}

/// Adds the feed-forward to the residual stream `x` `[n, width]`; `normed` `[n, width]`. `mixture` and `choice` are for a
/// layer of experts: routed first, then shared.
pub(super) fn add(
    device: &Device,
    x: Slice<'_, f32>,
    normed: Slice<'_, bf16>,
    parts: &FeedForwardParts<Parameter<'_>>,
    mixture: Option<(&Mixture, Choice<'_>)>,
    width: usize,
) -> Result<Kept> {
    match (parts, mixture) {
        (FeedForwardParts::Dense(weight), _) => Ok(Kept::Dense(add_swiglu(device, x, normed, weight.copy, width)?)),
        (FeedForwardParts::Mixed { router: weight, experts, shared }, Some((mixture, choice))) => {
            let Mixture { router, grouping: grouping_scratch, experts: scratch, keeps } = mixture;
            let rows = normed.len() / width;
            let pairs = rows * router.top_k;
            let logits = device.alloc(rows * router.experts, "logits of routers")?;
            linear_into(device, logits.view(), (normed, weight.copy), width, false)?;
            let gates = device.alloc(pairs, "gates of experts")?;
            let chosen = match choice {
                Choice::Repeat(chosen) => {
                    router.gates(device, gates.view(), logits.view(), chosen.view())?;
                    chosen
                }
                Choice::Anew(bias) => {
                    let chosen = device.alloc(pairs, "choices of experts")?;
                    router.choose(device, (chosen.view(), gates.view()), logits.view(), bias)?;
                    Arc::new(chosen)
                }
            };
            let grouping = Grouping::new(device, grouping_scratch)?;
            let grouped = grouping.sort(device, grouping_scratch, chosen.view(), None)?;
            let weights = expert_weights(experts.copy, router, width);
            let gate_up = match keeps {
                true => Some(device.alloc(pairs * 2 * weights.inner, "activations of experts")?),
                false => None,
            };
            let tile = Tile::for_rows(pairs, router.experts);
            let arguments = (normed, gates.view());
            add_experts(device, x, arguments, weights, &grouped, (gate_up.as_ref().map(Buffer::view), scratch), tile)?;
            let shared = match shared {
                Some(shared) => Some(add_swiglu(device, x, normed, shared.copy, width)?),
                None => None,
            };
            Ok(Kept::Mixed(Box::new(KeptMixture { logits, chosen, gates, grouping, gate_up, shared })))
        }
        _ => unreachable!("every layer of experts is told who chooses"),
    }
}

/// The backward pass for the gradient `d_y` of the sum: `d_normed =`, and the parameters' gradients; those of the router
/// with the balance loss, times `balance` (0 for none). What was kept is overwritten.
pub(super) fn backward(
    device: &Device,
    (d_normed, gradients): (Slice<'_, f32>, &FeedForwardParts<Slice<'_, f32>>),
    (normed, kept): (Slice<'_, bf16>, &Kept),
    parts: &FeedForwardParts<Parameter<'_>>,
    mixture: Option<(&Mixture, f64)>,
    d_y: Slice<'_, bf16>,
    width: usize,
) -> Result<()> {
    match (parts, gradients, kept, mixture) {
        (FeedForwardParts::Dense(weight), FeedForwardParts::Dense(d_weight), Kept::Dense(gate_up), _) => {
            let (sums, arguments) = ((d_normed, *d_weight), (normed, weight.copy));
            add_swiglu_backward(device, sums, arguments, gate_up.view(), d_y, width)
        }
        (
            FeedForwardParts::Mixed { router: router_weight, experts, shared },
            FeedForwardParts::Mixed { router: d_router, experts: d_experts, shared: d_shared },
            Kept::Mixed(kept),
            Some((Mixture { router, experts: scratch, .. }, balance)),
        ) => {
            let KeptMixture { logits, chosen, gates, grouping, gate_up, shared: shared_gate_up } = &**kept;
            // The shared expert sets `d_normed`, where there is one, else the others do.
            let mut add = false;
            if let (Some(weight), Some(d_weight), Some(gate_up)) = (shared, d_shared, shared_gate_up) {
                let (sums, arguments) = ((d_normed, *d_weight), (normed, weight.copy));
                add_swiglu_backward(device, sums, arguments, gate_up.view(), d_y, width)?;
                add = true;
            }
            let Some(gate_up) = gate_up else { unreachable!("a pass before a backward pass keeps them") };
            let grouped = grouping.grouped(normed.len() / width);
            let d_gates = device.alloc(gates.len(), "gradients of gates")?;
            let sums = ExpertGradients {
                d_x: d_normed.into(),
                add,
                d_gates: d_gates.view(),
                d_weights: expert_weights(*d_experts, router, width),
            };
            let weights = expert_weights(experts.copy, router, width);
            let arguments = (normed, gates.view());
            experts_backward(device, sums, arguments, weights, &grouped, (gate_up.view(), scratch), d_y)?;
            let d_logits = device.alloc(logits.len(), "gradients of routers' logits")?;
            let given = (logits.view(), chosen.view());
            router.backward(device, d_logits.view(), given, d_gates.view(), &grouped, balance)?;
            add_weight_gradient(device, *d_router, (normed, d_logits.view()), width)?;
            linear_back_into(device, d_normed, (d_logits.view(), router_weight.copy), width, true)
        }
        _ => unreachable!("weights, gradients and what was kept are of one model"),
    }
}

/// The router as kernels take it.
pub(super) fn router_of(config: &RouterConfig) -> Router {
    Router {
        experts: config.experts,
        top_k: config.top_k,
        groups: config.groups,
        top_groups: config.top_groups,
        normalise: config.normalise,
        scale: config.scale as f32,
    }
}

/// The experts' weights or their gradients, `[experts, 3 inner, width]`.
pub(super) fn expert_weights<'a, T: Element>(
    values: Slice<'a, T>,
    router: &Router,
    width: usize,
) -> ExpertWeights<'a, T> {
    ExpertWeights { values, inner: values.len() / (3 * width * router.experts), width }
}
