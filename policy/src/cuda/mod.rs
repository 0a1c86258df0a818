//! The policy on a card: the same computations as [`crate::model`] and [`crate::optim`] make on the host.
//!
//! - [`Resident`]: the weights in the card's memory;
//! - [`Pass`]: forward and backward through the layers, with [`latent`], [`grouped`] and [`feed_forward`] for a layer's kinds;
//!   a [`batch`], products in [`linear`], norms in [`norm`];
//! - [`Sums`] of gradients and [`CardAdamW`];
//! - sampling: [`CardRollout`];
//! - [`rounding`]: what bf16 costs by itself, to hold a card against.
//!
//! Numbers: the weights are kept in f32 and computed with in bf16; the residual stream, logits, and the gradients of weights
//! are f32; other activations and their gradients bf16; all sums f32. What differs from the host is rounding.

mod batch;
mod feed_forward;
mod grouped;
mod latent;
mod linear;
mod norm;
mod optimizer;
mod pass;
mod resident;
mod rollout;
pub mod rounding;

pub(crate) use optimizer::{CardAdamW, Sums};
pub(crate) use pass::{Activations, Pass, Passed};
pub(crate) use resident::{Parameter, Resident, unsupported};
pub(crate) use rollout::CardRollout;

#[cfg(test)]
mod tests;
