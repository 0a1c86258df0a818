//! The passes of a policy on a card, which [`crate::cuda`] makes.

use super::batch::PackedBatch;
use super::{Forward, Kept, Slopes, Track};
use crate::cuda::{Activations, Pass, Passed, Resident};
use crate::error::During;
use crate::optim::Gradients;
use crate::{Policy, PolicyError, Result};

impl Policy {
    fn pass_on_card<'a>(&'a self, resident: &'a Resident) -> Pass<'a> {
        Pass { config: &self.config, attention: &self.attention, router: self.router(), resident }
    }

    pub(super) fn forward_on_card(
        &self,
        resident: &Resident,
        batch: &PackedBatch,
        temperature: f64,
        track: Track,
    ) -> Result<Forward> {
        let passed = self.pass_on_card(resident).forward(batch, temperature, track);
        let Passed { logprobs, entropy, routing, activations } = passed.during("forward pass on the card")?;
        let activations = activations.map(|activations| Kept::Card(Box::new(activations)));
        Ok(Forward { logprobs, entropy, routing, activations })
    }

    pub(super) fn backward_on_card(
        &self,
        activations: Activations,
        slopes: &Slopes,
        balance: f64,
        gradients: &mut Gradients,
    ) -> Result<()> {
        const OPERATION: &str = "backward pass on the card";
        match (self.weights.resident(), gradients.sums_mut()) {
            (Some(resident), Some(sums)) if sums.are_of(resident) => {
                let pass = self.pass_on_card(resident);
                pass.backward(activations, slopes, balance, sums.touch()).during(OPERATION)
            }
            _ => {
                let message = "policy, forward pass and gradients are not all of one policy at one place".to_owned();
                Err(PolicyError::Argument { operation: OPERATION, message })
            }
        }
    }
}
