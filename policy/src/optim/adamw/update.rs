//! A step's constants, and the update of one parameter on the host.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout};
use rayon::prelude::*;

use super::AdamWConfig;
use crate::optim::CHUNK;

/// One parameter's update, as an operation on its storage.
pub(super) struct Update<'a> {
    pub(super) rate: Rate,
    pub(super) gradient_scale: f32,
    pub(super) gradient: &'a [f32],
    /// candle hands an operation `&self`; the cell lends the moments to its single call.
    pub(super) moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

/// The step's constants, rounded to f32 once.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    keep: f32,
    /// `keep` of what does not decay, and of what does.
    keeps: [f32; 2],
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step: f32,
    root_correction: f32,
    eps: f32,
}

impl Rate {
    /// Of step `step`, counted from 1.
    pub(super) fn of(config: &AdamWConfig, lr: f64, step: u64) -> Rate {
        let &AdamWConfig { beta1, beta2, eps, weight_decay } = config;
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        Rate {
            keep: 1.0,
            keeps: [1.0, (1.0 - lr * weight_decay) as f32],
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            step: (lr / (1.0 - beta1.powi(t))) as f32,
            root_correction: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
            eps: eps as f32,
        }
    }

    /// For a parameter that decays, or one that does not.
    pub(super) fn decaying(self, decays: bool) -> Rate {
        Rate { keep: self.keeps[usize::from(decays)], ..self }
    }

    #[cfg(feature = "cuda")]
    pub(super) fn on_card(self) -> device::ops::AdamW {
        let Rate { keep, one_minus_beta1, beta2, one_minus_beta2, step, root_correction, eps, .. } = self;
        device::ops::AdamW { keep, one_minus_beta1, beta2, one_minus_beta2, step, root_correction, eps }
    }

    fn apply(
        self,
        gradient_scale: f32,
        weights: &mut [f32],
        gradient: &[f32],
        (first, second): (&mut [f32], &mut [f32]),
    ) {
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * gradient_scale;
            *m += self.one_minus_beta1 * (g - *m);
            *v = self.beta2 * *v + self.one_minus_beta2 * g * g;
            let denominator = v.sqrt() * self.root_correction + self.eps;
            *w = *w * self.keep - self.step * *m / denominator;
        }
    }
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("adamw: the parameter is not f32");
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("adamw: the parameter is not contiguous");
        };
        let mut moments = self.moments.borrow_mut();
        let (first, second) = &mut *moments;
        let (rate, scale) = (self.rate, self.gradient_scale);
        values[start..end]
            .par_chunks_mut(CHUNK)
            .zip(self.gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((weights, gradient), first), second)| {
                rate.apply(scale, weights, gradient, (first, second));
            });
        Ok(())
    }
}
