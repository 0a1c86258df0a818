//! The router of a mixture of experts, as in DeepSeek-V3 (technical report, section 2.1.2).
//!
//! For a token with logits z over E experts: `s = sigmoid(z)`; experts are chosen by `s + bias`, inside the best groups if
//! there are groups (a group's score is the sum of its two best); the gates are `s` of the chosen, divided by their sum if
//! `normalise`, times `scale`. Neither the bias nor the choice has a gradient. The balance loss is `sum_i f_i P_i` with
//! `f_i = E / (K T) * load_i` and `P_i = 1/T sum_t s_it / sum_j s_jt` (equations 17 to 20, over a batch of T tokens).
//!
//! Scores are compared in f32; ties go to the expert with the lower number, and a NaN lies below every number. The logits are
//! f32, as the product of bf16 rows with f32 sums gives them.

use half::bf16;

use super::checks::Checks;
use super::grouping::Grouped;
use crate::{Device, Grid, Result, Slice};

/// The most experts that the kernels hold: eight for each lane of a warp.
pub const MAX_EXPERTS: usize = 256;
/// The most experts that a token may have.
pub const MAX_CHOSEN: usize = 16;
/// Tokens of a block, one for each warp.
const WARPS: usize = 4;

/// How experts are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Router {
    /// Routed experts in all; at most 256.
    pub experts: usize,
    /// Experts chosen for each token; at most 16.
    pub top_k: usize,
    /// Groups that the experts are cut into.
    pub groups: usize,
    /// Groups that a token may choose from.
    pub top_groups: usize,
    /// Whether the chosen gates are divided by their sum.
    pub normalise: bool,
    /// What the gates are multiplied with at the end.
    pub scale: f32,
}

impl Router {
    /// Chooses each token's experts: `chosen` and `gates` `[n, top_k]` from `logits` `[n, experts]` and `bias` `[experts]`.
    /// A token's experts are in ascending order.
    ///
    /// # Errors
    /// Sizes that do not fit together or are beyond the limits, or the device's.
    pub fn choose(
        &self,
        device: &Device,
        (chosen, gates): (Slice<'_, u16>, Slice<'_, f32>),
        logits: Slice<'_, f32>,
        bias: Slice<'_, f32>,
    ) -> Result<()> {
        let check = Checks("router, choice");
        let rows = self.check(check, logits, chosen)?;
        check.holds("the gates", gates.len(), chosen.len())?;
        check.holds("the bias", bias.len(), self.experts)?;
        let kernel = device.kernel("router", &[], "router_choose")?;
        let arguments = [
            chosen.into(),
            gates.into(),
            logits.into(),
            bias.into(),
            check.int("the tokens", rows)?.into(),
            (self.experts as i32).into(),
            (self.top_k as i32).into(),
            (self.groups as i32).into(),
            (self.top_groups as i32).into(),
            i32::from(self.normalise).into(),
            self.scale.into(),
        ];
        device.submit(&kernel, Grid::blocks(rows.div_ceil(WARPS), 32 * WARPS as u32), &arguments)
    }

    /// The `gates` `[n, top_k]` of experts that were chosen before.
    ///
    /// # Errors
    /// As [`Router::choose`]. That `chosen` names experts that exist is the caller's to know.
    pub fn gates(
        &self,
        device: &Device,
        gates: Slice<'_, f32>,
        logits: Slice<'_, f32>,
        chosen: Slice<'_, u16>,
    ) -> Result<()> {
        let check = Checks("router, gates");
        let rows = self.check(check, logits, chosen)?;
        check.holds("the gates", gates.len(), chosen.len())?;
        let kernel = device.kernel("router", &[], "router_gates")?;
        let arguments = [
            gates.into(),
            logits.into(),
            chosen.into(),
            check.int("the tokens", rows)?.into(),
            (self.experts as i32).into(),
            (self.top_k as i32).into(),
            i32::from(self.normalise).into(),
            self.scale.into(),
        ];
        device.submit(&kernel, Grid::covering(rows, 128), &arguments)
    }

    /// The gradient of the logits, `d_logits` `[n, experts]`, set: through the gates, and `balance` times that of the balance
    /// loss over these tokens, whose load `grouped` tells.
    ///
    /// # Errors
    /// As [`Router::choose`].
    pub fn backward(
        &self,
        device: &Device,
        d_logits: Slice<'_, bf16>,
        (logits, chosen): (Slice<'_, f32>, Slice<'_, u16>),
        d_gates: Slice<'_, f32>,
        grouped: &Grouped<'_>,
        balance: f64,
    ) -> Result<()> {
        let check = Checks("router, backward");
        let rows = self.check(check, logits, chosen)?;
        check.holds("the gates' gradient", d_gates.len(), chosen.len())?;
        check.holds("the logits' gradient", d_logits.len(), logits.len())?;
        check.holds("the experts' offsets", grouped.offsets.len(), self.experts + 1)?;
        // What the gradient of an expert's mean share is, for each token that it had.
        let factor = balance * self.experts as f64 / (chosen.len().max(1) as f64 * rows.max(1) as f64);
        let kernel = device.kernel("router", &[], "router_backward")?;
        let arguments = [
            d_logits.into(),
            logits.into(),
            chosen.into(),
            d_gates.into(),
            grouped.offsets.into(),
            check.int("the tokens", rows)?.into(),
            (self.experts as i32).into(),
            (self.top_k as i32).into(),
            i32::from(self.normalise).into(),
            self.scale.into(),
            (factor as f32).into(),
        ];
        device.submit(&kernel, Grid::blocks(rows.div_ceil(WARPS), 32 * WARPS as u32), &arguments)
    }

    /// Checks the router itself and the arrays that all its operations have; returns the number of tokens.
    fn check(&self, check: Checks, logits: Slice<'_, f32>, chosen: Slice<'_, u16>) -> Result<usize> {
        let Router { experts, top_k, groups, top_groups, .. } = *self;
        check.that((1..=MAX_EXPERTS).contains(&experts), || format!("{experts} experts: at most {MAX_EXPERTS}"))?;
        check.that(groups > 0 && experts.is_multiple_of(groups) && (1..=groups).contains(&top_groups), || {
            format!("{experts} experts in {groups} groups, of which {top_groups} are chosen")
        })?;
        let open = experts / groups * top_groups;
        check.that((1..=open.min(MAX_CHOSEN)).contains(&top_k), || {
            format!("{top_k} experts for each token: at most {MAX_CHOSEN}, and of the {open} that are open to it")
        })?;
        let rows = logits.len() / experts;
        check.holds("the logits", logits.len(), rows * experts)?;
        check.holds("the chosen experts", chosen.len(), rows * top_k)?;
        Ok(rows)
    }
}
