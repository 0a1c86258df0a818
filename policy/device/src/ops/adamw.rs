//! The optimizer's step: the gradient's norm, AdamW, and a moving average of weights. See `kernels/optimizer.cu`.
//!
//! All three work on flat ranges, so a model's parameters may lie in one array. The host need not wait in between: the
//! norm, the factor that clips it and whether the step is applied stay on the card, and [`Judge::verdict`] reads them when all
//! is done. AdamW's arithmetic is that of the policy's optimizer on the CPU, to the bit.

use half::bf16;

use super::checks::Checks;
use super::rows::each;
use crate::{Argument, Buffer, Device, Grid, Result, Slice};

/// Numbers whose squares one block adds up, as in the kernel.
const SUM_NUMBERS: usize = 65536;

/// The joint norm of a list of gradients, and what follows from it for the step.
#[derive(Debug)]
pub struct Judge {
    /// A sum of squares for each block of each range.
    partial: Buffer<f64>,
    /// Norm, factor, and 1 or 0.
    verdict: Buffer<f64>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The gradients' joint norm, before clipping.
    pub norm: f64,
    /// What they were multiplied with: less than 1 where they were clipped.
    pub scale: f64,
    /// Whether the weights moved: `false` where the gradient, or its square in f32, was not finite.
    pub applied: bool,
}

impl Judge {
    /// For ranges of these lengths.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(device: &Device, lengths: impl IntoIterator<Item = usize>) -> Result<Self> {
        let blocks = lengths.into_iter().map(|len| len.div_ceil(SUM_NUMBERS)).sum();
        Ok(Judge {
            partial: device.alloc(blocks, "the norm of the gradient")?,
            verdict: device.zeros(3, "the norm of the gradient")?,
        })
    }

    /// Adds up the squares of `gradients` and judges the step; `max_norm` is what they are clipped to. The squares are added
    /// in f64 and in a fixed order, in blocks of each range.
    ///
    /// # Errors
    /// More ranges, or longer ones, than it was made for; or the card's.
    pub fn judge(&self, device: &Device, gradients: &[Slice<'_, f32>], max_norm: Option<f64>) -> Result<()> {
        let check = Checks("judge the gradient");
        let blocks: usize = gradients.iter().map(|gradient| gradient.len().div_ceil(SUM_NUMBERS)).sum();
        check.has_room("the sums of squares", self.partial.len(), blocks)?;
        let kernel = device.kernel("optimizer", &[], "sum_of_squares")?;
        let mut first = 0;
        for gradient in gradients {
            let count = gradient.len().div_ceil(SUM_NUMBERS);
            let partial = self.partial.slice(first..first + count);
            let arguments = [partial.into(), (*gradient).into(), (gradient.len() as u64).into()];
            device.submit(&kernel, Grid::blocks(count, 256), &arguments)?;
            first += count;
        }
        let kernel = device.kernel("optimizer", &[], "judge_step")?;
        let arguments = [
            (&self.verdict).into(),
            (&self.partial).into(),
            (blocks as u64).into(),
            max_norm.unwrap_or(f64::INFINITY).into(),
            f64::from(f32::MAX).sqrt().into(),
        ];
        device.submit(&kernel, Grid::blocks(1, 256), &arguments)
    }

    /// What has been judged last. Waits for it.
    ///
    /// # Errors
    /// The card's.
    pub fn verdict(&self) -> Result<Verdict> {
        let values = self.verdict.download()?;
        Ok(Verdict { norm: values[0], scale: values[1], applied: values[2] != 0.0 })
    }
}

/// A step's constants, rounded to f32 once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// 1 - lr decay
    pub keep: f32,
    /// 1 - beta1
    pub one_minus_beta1: f32,
    /// beta2
    pub beta2: f32,
    /// 1 - beta2
    pub one_minus_beta2: f32,
    /// lr / (1 - beta1^t)
    pub step: f32,
    /// 1 / sqrt(1 - beta2^t)
    pub root_correction: f32,
    /// Added to the denominator.
    pub eps: f32,
}

/// Weights, and the copy that is computed with.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// In full precision.
    pub master: Slice<'a, f32>,
    /// The same, rounded, if there is one.
    pub copy: Option<Slice<'a, bf16>>,
}

impl Weights<'_> {
    fn check(&self, check: Checks) -> Result<()> {
        match self.copy {
            Some(copy) => check.holds("the copy of the weights", copy.len(), self.master.len()),
            None => Ok(()),
        }
    }

    /// Some of them.
    ///
    /// # Panics
    /// If there are no such, as indexing a slice does.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Weights { master: self.master.slice(range.clone()), copy: self.copy.map(|copy| copy.slice(range)) }
    }
}

impl AdamW {
    /// Moves a range of weights against its gradient, as `judge` says. `moments` are the first and the second.
    ///
    /// # Errors
    /// Ranges of different lengths, or the card's.
    pub fn step(
        &self,
        device: &Device,
        weights: Weights<'_>,
        gradient: Slice<'_, f32>,
        moments: [Slice<'_, f32>; 2],
        judge: &Judge,
    ) -> Result<()> {
        let (check, len) = (Checks("step the optimizer"), weights.master.len());
        weights.check(check)?;
        check.holds("the gradient", gradient.len(), len)?;
        check.holds("the first moment", moments[0].len(), len)?;
        check.holds("the second moment", moments[1].len(), len)?;
        let kernel = device.kernel("optimizer", &[], "adamw")?;
        let arguments = [
            weights.master.into(),
            weights.copy.map_or(Argument::null(), Into::into),
            gradient.into(),
            moments[0].into(),
            moments[1].into(),
            (&judge.verdict).into(),
            self.keep.into(),
            self.one_minus_beta1.into(),
            self.beta2.into(),
            self.one_minus_beta2.into(),
            self.step.into(),
            self.root_correction.into(),
            self.eps.into(),
            (len as u64).into(),
        ];
        device.submit(&kernel, each(len), &arguments)
    }

    /// The same with moments that the host keeps, for a card without room for them. They pass through `staging`, two
    /// buffers of one length, a piece at a time; the host waits for each.
    ///
    /// # Errors
    /// As [`AdamW::step`]; empty or unequal buffers.
    pub fn step_with_host_moments(
        &self,
        device: &Device,
        weights: Weights<'_>,
        gradient: Slice<'_, f32>,
        moments: [&mut [f32]; 2],
        (staging, judge): ([Slice<'_, f32>; 2], &Judge),
    ) -> Result<()> {
        let (check, len) = (Checks("step the optimizer, moments on the host"), weights.master.len());
        let [first, second] = moments;
        weights.check(check)?;
        check.holds("the gradient", gradient.len(), len)?;
        check.holds("the first moment", first.len(), len)?;
        check.holds("the second moment", second.len(), len)?;
        let piece = staging[0].len();
        check.holds("the second staging buffer", staging[1].len(), piece)?;
        check.has_room("the staging buffers", piece, len.min(1))?;
        if !judge.verdict()?.applied {
            return Ok(());
        }
        for start in (0..len).step_by(piece.max(1)) {
            let range = start..len.min(start + piece);
            let staged = staging.map(|staging| staging.slice(..range.len()));
            staged[0].write(&first[range.clone()])?;
            staged[1].write(&second[range.clone()])?;
            self.step(device, weights.slice(range.clone()), gradient.slice(range.clone()), staged, judge)?;
            first[range.clone()].copy_from_slice(&staged[0].download()?);
            second[range].copy_from_slice(&staged[1].download()?);
        }
        Ok(())
    }
}

/// Moves weights a share `rate` (0 to 1) of the way to `other`: what a reference does that is a moving average.
///
/// # Errors
/// Ranges of different lengths, or the card's.
pub fn move_towards(device: &Device, weights: Weights<'_>, other: Slice<'_, f32>, rate: f64) -> Result<()> {
    let (check, len) = (Checks("average weights"), weights.master.len());
    weights.check(check)?;
    check.holds("the other weights", other.len(), len)?;
    let kernel = device.kernel("optimizer", &[], "move_towards")?;
    let arguments = [
        weights.master.into(),
        weights.copy.map_or(Argument::null(), Into::into),
        other.into(),
        ((1.0 - rate) as f32).into(),
        (rate as f32).into(),
        (len as u64).into(),
    ];
    device.submit(&kernel, each(len), &arguments)
}
