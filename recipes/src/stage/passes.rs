//! How often rows (a token at its place) went through a model, for the estimate of floating-point operations.
//!
//! Counted where they run: the tokens of prompts and answers while sampling (a prompt once for its group), the training
//! passes, the layers that are computed again where only their inputs were kept, and the passes that only look: the
//! reference's, that for `top_entropy_share`, and losses in validation.

use std::ops::AddAssign;

use policy::Track;
use serde::{Deserialize, Serialize};

/// Rows that went through a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passes {
    /// Rows computed forward, each time that they were.
    pub(crate) forward: u64,
    /// Rows whose gradient was computed.
    pub(crate) backward: u64,
}

impl Passes {
    /// Rows that are only computed forward.
    pub(crate) fn forward(rows: u64) -> Passes {
        Passes { forward: rows, backward: 0 }
    }

    /// Rows that are trained on.
    pub(crate) fn training(rows: u64, track: Track) -> Passes {
        let again = if matches!(track, Track::LayerInputs) { rows } else { 0 };
        Passes { forward: rows.saturating_add(again), backward: rows }
    }

    /// Estimated floating-point operations: of each parameter that a row goes through, 2 forward and 4 backward (Kaplan
    /// et al., 2020). Attention's own products are left out: they are small at these lengths.
    pub(crate) fn flops(self, active_parameters: usize) -> f64 {
        active_parameters as f64 * (2.0 * self.forward as f64 + 4.0 * self.backward as f64)
    }
}

impl AddAssign for Passes {
    fn add_assign(&mut self, other: Passes) {
        // What a plan counts may be absurd.
        self.forward = self.forward.saturating_add(other.forward);
        self.backward = self.backward.saturating_add(other.backward);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_again_counts_again() {
        let mut passes = Passes::forward(10);
        assert_eq!(passes.flops(3), 60.0);
        passes += Passes::training(10, Track::Gradients);
        assert_eq!(passes.flops(3), 60.0 + 180.0);
        passes += Passes::training(10, Track::LayerInputs);
        assert_eq!(passes, Passes { forward: 40, backward: 20 });
    }
}
