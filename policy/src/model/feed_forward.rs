//! The feed-forward of a layer: one SwiGLU, or DeepSeek-V3's mixture of experts.
//!
//! DeepSeek-V3 technical report, section 2.1.2. Balance is kept by the router's bias, or by a loss (see `ops/router`), as the
//! one who trains wants. Several shared experts are one of several times the width, as transformers stores them.

use super::parameters::{Spec, Specs};
use super::parts::FeedForwardParts;
use crate::config::Mixture;
use crate::ops::experts::{ExpertResults, Experts, add_swiglu, add_swiglu_backward};
use crate::ops::linear::{linear, linear_backward};
use crate::ops::router::{RouterConfig, Routing, add_balance_backward, route, router_gates, router_gates_backward};

/// A layer's parameters, after its second norm.
pub(super) fn specs(specs: &mut Specs<'_>, mixture: Option<&Mixture>) {
    let width = specs.config.hidden_size;
    let Some(mixture) = mixture else {
        let inner = specs.config.intermediate_size;
        return specs.matrix("mlp", &[1, 3 * inner, width]);
    };
    let (count, inner) = (mixture.n_routed_experts, mixture.moe_intermediate_size);
    specs.matrix("mlp.gate.weight", &[count, width]);
    specs.matrix("mlp.experts", &[count, 3 * inner, width]);
    if mixture.n_shared_experts > 0 {
        specs.matrix("mlp.shared_experts", &[1, 3 * inner * mixture.n_shared_experts, width]);
    }
}

/// Whether a parameter holds gate, up and down of one or more SwiGLU layers.
pub(super) fn is_fused(spec: &Spec) -> bool {
    spec.shape.len() == 3
}

/// How a router chooses and weighs.
pub(super) fn router(mixture: &Mixture) -> RouterConfig {
    RouterConfig {
        experts: mixture.n_routed_experts,
        top_k: mixture.num_experts_per_tok,
        groups: mixture.n_group,
        top_groups: mixture.topk_group,
        normalise: mixture.norm_topk_prob,
        scale: mixture.routed_scaling_factor,
    }
}

/// Who says which experts a layer's tokens go to.
pub(super) enum Choice<'a> {
    /// The router, with this bias.
    Anew(&'a [f32]),
    /// Sampling has said it already: `[n, top_k]`.
    Repeat(&'a [u16]),
    /// An earlier pass over the same batch has.
    As(&'a Routing),
}

/// What the backward pass needs of a layer's feed-forward, besides its normalised input.
pub(super) enum Kept {
    /// Gate and up of a dense layer.
    Dense(Vec<f32>),
    Mixed(Box<KeptMixture>),
}

pub(super) struct KeptMixture {
    logits: Vec<f32>,
    routing: Routing,
    gates: Vec<f32>,
    experts: Experts,
    results: ExpertResults<f32>,
    /// Gate and up of the shared expert.
    shared: Option<Vec<f32>>,
}

impl Kept {
    /// Where the tokens went, in a layer of experts.
    pub(super) fn routing(&self) -> Option<&Routing> {
        match self {
            Kept::Dense(_) => None,
            Kept::Mixed(kept) => Some(&kept.routing),
        }
    }
}

/// Adds a dense feed-forward to the residual stream `x` `[n, d]`; `normed` `[n, d]`.
pub(super) fn add_dense(x: &mut [f32], normed: &[f32], weight: &[f32], width: usize) -> Kept {
    Kept::Dense(add_swiglu(x, normed, weight, width))
}

/// Adds the experts to the residual stream `x` `[n, d]`, routed first, then shared.
pub(super) fn add_mixed(
    x: &mut [f32],
    normed: &[f32],
    (router_weight, weight, shared): (&[f32], &[f32], Option<&[f32]>),
    mixture: &Mixture,
    choice: Choice<'_>,
    width: usize,
) -> Kept {
    let router = router(mixture);
    let logits = linear(normed, router_weight, width); // [n, experts]
    let routing = match choice {
        Choice::Repeat(chosen) => Routing::repeat(chosen, &router),
        Choice::Anew(bias) => route(&logits, bias, &router),
        Choice::As(routing) => routing.clone(),
    };
    let gates = router_gates(&logits, &routing, &router);
    let experts = Experts::new(&routing);
    let results = experts.add(x, normed, &gates, weight, width);
    let shared = shared.map(|shared| add_swiglu(x, normed, shared, width));
    Kept::Mixed(Box::new(KeptMixture { logits, routing, gates, experts, results, shared }))
}

/// The backward pass for the gradient `d_y` of the sum: `d_normed +=`, and the parameters' gradients; those of the router
/// with the balance loss, times `balance` (0 for none).
pub(super) fn backward(
    d_normed: &mut [f32],
    gradients: &mut FeedForwardParts<&mut [f32]>,
    (normed, kept): (&[f32], &Kept),
    parts: &FeedForwardParts<&[f32]>,
    mixture: Option<(&Mixture, f64)>,
    d_y: &[f32],
    width: usize,
) {
    match (parts, gradients, kept, mixture) {
        (FeedForwardParts::Dense(weight), FeedForwardParts::Dense(d_weight), Kept::Dense(gate_up), _) => {
            add_swiglu_backward((d_normed, d_weight), (normed, weight), gate_up, d_y, width);
        }
        (
            FeedForwardParts::Mixed { router: router_weight, experts: weight, shared },
            FeedForwardParts::Mixed { router: d_router, experts: d_weight, shared: d_shared },
            Kept::Mixed(kept),
            Some((mixture, balance)),
        ) => {
            let KeptMixture { logits, routing, gates, experts, results, shared: gate_up } = &**kept;
            let config = router(mixture);
            if let (Some(weight), Some(d_weight), Some(gate_up)) = (shared, d_shared, gate_up) {
                add_swiglu_backward((d_normed, d_weight), (normed, weight), gate_up, d_y, width);
            }
            let arguments = (normed, &gates[..], *weight);
            let d_gates = experts.backward((d_normed, d_weight), arguments, results, d_y, width);
            let mut d_logits = router_gates_backward(logits, routing, &config, &d_gates);
            if balance != 0.0 {
                add_balance_backward(&mut d_logits, logits, routing, &config, balance);
            }
            linear_backward(d_normed, d_router, normed, router_weight, &d_logits, width);
        }
        _ => unreachable!("weights, gradients and what was kept are of one model"),
    }
}
