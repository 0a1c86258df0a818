//! Gradients on the card, and AdamW with its moments there or, where the card has no room for them, on the host.
//!
//! Both are arrays of the weights' layout, so a step is a handful of launches: the sum of squares, the judgement, and the update
//! of each run of parameters that decay alike. The arithmetic is that of `optim/adamw.rs`, to the bit, but for the norm, whose
//! squares are added in another order.

use std::ops::Range;
use std::sync::Arc;

use device::ops::{self, Judge, Verdict};
use device::{Buffer, Result, Slice};

use super::Resident;

/// Moments that pass through the card at once, if the host keeps them.
const STAGED: usize = 16 << 20;

/// Sums of the gradients of all parameters.
pub(crate) struct Sums {
    resident: Arc<Resident>,
    values: Buffer<f32>,
    /// Whether anything was added: if not, there is no gradient, which is not the same as one of zeros.
    is_touched: bool,
}

impl Sums {
    /// Zeros.
    pub(crate) fn new(resident: &Arc<Resident>) -> Result<Sums> {
        let values = resident.device().zeros(resident.layout().len, "gradients of the policy's weights")?;
        Ok(Sums { resident: Arc::clone(resident), values, is_touched: false })
    }

    /// Whether they are of these weights.
    pub(crate) fn are_of(&self, resident: &Arc<Resident>) -> bool {
        Arc::ptr_eq(&self.resident, resident)
    }

    /// The array, to be added to.
    pub(crate) fn touch(&mut self) -> Slice<'_, f32> {
        self.is_touched = true;
        self.values.view()
    }

    /// The gradients' joint norm.
    pub(crate) fn norm(&self) -> Result<f64> {
        let device = self.resident.device();
        let judge = Judge::new(device, [self.values.len()])?;
        judge.judge(device, &[self.values.view()], None)?;
        Ok(judge.verdict()?.norm)
    }

    /// A parameter's gradient, by its place in the specs; None if there is none.
    pub(crate) fn read(&self, parameter: usize) -> Result<Option<Vec<f32>>> {
        if !self.is_touched {
            return Ok(None);
        }
        self.values.slice(self.resident.layout().ranges[parameter].clone()).download().map(Some)
    }
}

impl std::fmt::Debug for Sums {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Sums({:?}, touched: {})", self.resident, self.is_touched)
    }
}

/// Where the moments are.
#[derive(Debug)]
enum Moments {
    Card([Buffer<f32>; 2]),
    /// And the buffers that they pass through.
    Host([Vec<f32>; 2], [Buffer<f32>; 2]),
}

/// AdamW of a policy on a card.
#[derive(Debug)]
pub(crate) struct CardAdamW {
    resident: Arc<Resident>,
    moments: Moments,
    judge: Judge,
}

impl CardAdamW {
    /// With moments of zeros, on the host if `on_host`.
    pub(crate) fn new(resident: &Arc<Resident>, on_host: bool) -> Result<CardAdamW> {
        let (device, len) = (resident.device(), resident.layout().len);
        let moments = if on_host {
            let staging = || device.alloc(len.min(STAGED), "moments on their way");
            Moments::Host([vec![0.0; len], vec![0.0; len]], [staging()?, staging()?])
        } else {
            let moment = || device.zeros(len, "the optimizer's moments");
            Moments::Card([moment()?, moment()?])
        };
        Ok(CardAdamW { resident: Arc::clone(resident), moments, judge: Judge::new(device, [len])? })
    }

    /// Moves the weights. `rate` gives the constants for parameters that decay, and for those that do not.
    pub(crate) fn step(
        &mut self,
        sums: &Sums,
        rate: impl Fn(bool) -> ops::AdamW,
        max_norm: Option<f64>,
    ) -> Result<Verdict> {
        if !sums.is_touched {
            return Ok(Verdict { norm: 0.0, scale: 1.0, applied: true });
        }
        let device = self.resident.device();
        let (weights, gradients) = (self.resident.weights(), sums.values.view());
        self.judge.judge(device, &[gradients], max_norm)?;
        for (range, decays) in self.runs(&rate) {
            let (rate, gradient) = (rate(decays), gradients.slice(range.clone()));
            let weights = weights.slice(range.clone());
            match &mut self.moments {
                Moments::Card(moments) => {
                    let moments = [moments[0].slice(range.clone()), moments[1].slice(range)];
                    rate.step(device, weights, gradient, moments, &self.judge)?;
                }
                Moments::Host([first, second], staging) => {
                    let moments = [&mut first[range.clone()], &mut second[range]];
                    let staging = [staging[0].view(), staging[1].view()];
                    rate.step_with_host_moments(device, weights, gradient, moments, (staging, &self.judge))?;
                }
            }
        }
        self.resident.has_moved();
        self.judge.verdict()
    }

    /// Ranges of parameters of one rate: all of them where nothing decays.
    fn runs(&self, rate: &impl Fn(bool) -> ops::AdamW) -> Vec<(Range<usize>, bool)> {
        let layout = self.resident.layout();
        if rate(true) == rate(false) {
            return vec![(0..layout.len, false)];
        }
        layout.ranges.iter().cloned().zip(layout.is_matrix.iter().copied()).collect()
    }

    /// A parameter's first and second moment, by its place in the specs.
    pub(crate) fn read(&self, parameter: usize) -> Result<[Vec<f32>; 2]> {
        let range = self.resident.layout().ranges[parameter].clone();
        match &self.moments {
            Moments::Card([first, second]) => {
                Ok([first.slice(range.clone()).download()?, second.slice(range).download()?])
            }
            Moments::Host([first, second], _) => Ok([first[range.clone()].to_vec(), second[range].to_vec()]),
        }
    }

    /// Sets a parameter's moments.
    pub(crate) fn write(&mut self, parameter: usize, [first, second]: [&[f32]; 2]) -> Result<()> {
        let range = self.resident.layout().ranges[parameter].clone();
        match &mut self.moments {
            Moments::Card(moments) => {
                moments[0].slice(range.clone()).write(first)?;
                moments[1].slice(range).write(second)
            }
            Moments::Host(moments, _) => {
                moments[0][range.clone()].copy_from_slice(first);
                moments[1][range].copy_from_slice(second);
                Ok(())
            }
        }
    }

    /// Whether it moves these weights.
    pub(crate) fn is_of(&self, sums: &Sums) -> bool {
        sums.are_of(&self.resident)
    }
}
