//! The mixture of experts, and its sizes.

use super::{ModelConfig, ensure};
use crate::error::Result;

/// Sizes of DeepSeek-V3's mixture of experts. Field names are the keys of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Inner width of one expert.
    pub moe_intermediate_size: usize,
    /// Experts that see every token; computed as one expert of this many times the width.
    pub n_shared_experts: usize,
    /// Experts that the router chooses from.
    pub n_routed_experts: usize,
    /// How many routed experts a token goes to.
    pub num_experts_per_tok: usize,
    /// Groups that the routed experts are divided into.
    pub n_group: usize,
    /// Groups that a token may use.
    pub topk_group: usize,
    /// Whether the gates of the chosen experts are normalised to sum to one.
    pub norm_topk_prob: bool,
    /// Factor on the routed experts' gates.
    pub routed_scaling_factor: f64,
    /// Layers, from the first, that have a dense feed-forward instead of experts.
    pub first_k_dense_replace: usize,
}

impl Mixture {
    pub(super) fn validate(&self, config: &ModelConfig) -> Result<()> {
        let positive = [
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
        ];
        for (key, value) in positive {
            ensure(value > 0, key, || "expected a positive number, found 0".to_owned())?;
        }
        let factor = self.routed_scaling_factor;
        ensure(factor.is_finite() && factor > 0.0, "routed_scaling_factor", || {
            format!("expected a positive number, found {factor}")
        })?;
        let (dense, layers) = (self.first_k_dense_replace, config.num_hidden_layers);
        ensure(dense <= layers, "first_k_dense_replace", || format!("{dense} dense layers of {layers} in all"))?;
        let (experts, groups) = (self.n_routed_experts, self.n_group);
        ensure(experts <= usize::from(u16::MAX), "n_routed_experts", || {
            format!("expected at most {}, found {experts}", u16::MAX)
        })?;
        ensure(experts.is_multiple_of(groups), "n_group", || {
            format!("{groups} groups do not divide the {experts} routed experts")
        })?;
        ensure(self.topk_group <= groups, "topk_group", || {
            format!("cannot use {} of {groups} groups", self.topk_group)
        })?;
        // A group's score is the sum of its two best experts, so it needs two.
        ensure(groups == 1 || experts / groups >= 2, "n_group", || {
            format!("{groups} groups leave fewer than two of the {experts} routed experts in each")
        })?;
        let reachable = experts / groups * self.topk_group;
        ensure(self.num_experts_per_tok <= reachable, "num_experts_per_tok", || {
            format!("cannot choose {} experts: a token reaches {reachable} of the {experts}", self.num_experts_per_tok)
        })
    }
}
