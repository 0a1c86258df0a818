//! The feed-forward of a layer: one SwiGLU, or DeepSeek-V3's mixture of experts.
//!
//! DeepSeek-V3 technical report, section 2.1.2. Balance is kept by the router's bias alone; the tiny sequence-wise balance
//! loss is left out. Several shared experts are one of several times the width, as transformers stores them.

use candle_core::{Result, Tensor};

use super::parameters::{Spec, Specs, Weights};
use crate::config::Mixture;
use crate::ops::experts::{experts, swiglu};
use crate::ops::linear::linear;
use crate::ops::router::{RouterConfig, Routing, route, router_gates};

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
}

/// `x` with what a dense feed-forward adds to it; `normed` `[n, d]`.
pub(super) fn dense(x: &Tensor, normed: &Tensor, weights: &mut Weights<'_>) -> Result<Tensor> {
    x + swiglu(normed, &weights.next())?
}

/// `x` with what the experts add to it, routed first, then shared; and where the tokens went.
pub(super) fn mixed(
    x: &Tensor,
    normed: &Tensor,
    weights: &mut Weights<'_>,
    mixture: &Mixture,
    choice: Choice<'_>,
) -> Result<(Tensor, Routing)> {
    let router = router(mixture);
    let logits = linear(normed, &weights.next())?; // [n, experts]
    let chosen = match choice {
        Choice::Repeat(chosen) => Routing::repeat(chosen, &router),
        Choice::Anew(bias) => route(&logits, bias, &router)?,
    };
    let gates = router_gates(&logits, &chosen, &router)?;
    let mut x = (x + experts(normed, &gates, &weights.next(), &chosen)?)?;
    if let Some(shared) = weights.next_if(mixture.n_shared_experts > 0) {
        x = (x + swiglu(normed, &shared)?)?;
    }
    Ok((x, chosen))
}
