//! Root-mean-square normalisation: `y = x / sqrt(mean(x^2) + eps) * weight`, row by row. See `kernels/norm.cu`.
//!
//! The weight is the f32 one that the optimizer moves: it is small, and nothing is gained by a copy. Its gradient is summed
//! up in two stages: each block of rows leaves a row of partial sums, then those are added in order.

use half::bf16;

use super::checks::Checks;
use super::few_rows::Parts;
use super::rows::add_partial;
use crate::Numbers;
use crate::{Argument, Device, Grid, Result, Slice};

/// Rows of one warp in the backward pass, and of a block that works on one row at a time, as in the kernel.
const BACKWARD_ROWS: (usize, usize) = (32, 8);
/// Widths up to this are a warp's work.
const NARROW: usize = 512;
/// The widest row whose partial sums fit into the shared memory that every block may have.
const WIDEST: usize = 48 * 1024 / size_of::<f32>();

/// The norm of rows as wide as `weight`.
#[derive(Clone, Copy)]
pub struct RmsNorm<'a> {
    /// What columns are scaled by, `[width]`; the width is a multiple of 8.
    pub weight: Slice<'a, f32>,
    /// What is added to the mean square.
    pub eps: f32,
}

/// How rows lie: `heads` of them side by side, and the next ones a stride further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Rows side by side, such as the heads of a token; they divide the number of rows.
    pub heads: usize,
    /// From the first of them to the first of the next, of what is normalised and its gradient.
    pub stride: usize,
    /// The same of the result and its gradient.
    pub close_stride: usize,
}

/// Where the weight's gradient goes.
#[derive(Clone, Copy)]
pub struct WeightGradient<'a> {
    /// `[width]`, added to.
    pub sum: Slice<'a, f32>,
    /// Room for [`RmsNorm::partial_len`] numbers, whose content is lost.
    pub partial: Slice<'a, f32>,
}

impl RmsNorm<'_> {
    fn width(&self) -> usize {
        self.weight.len()
    }

    /// Warps of a block, or 1 for a block that works on one row.
    fn groups(&self) -> usize {
        if self.width() <= NARROW { 8 } else { 1 }
    }

    /// Blocks of a backward pass.
    fn backward_blocks(&self, rows: usize) -> usize {
        let rows_of_group = if self.groups() > 1 { BACKWARD_ROWS.0 } else { BACKWARD_ROWS.1 };
        rows.div_ceil(self.groups() * rows_of_group)
    }

    /// Threads of a block: eight warps, or what a wide row keeps busy.
    fn threads(&self) -> u32 {
        if self.width() >= 2048 || self.width() <= NARROW { 256 } else { 128 }
    }

    /// The partial sums of a backward pass over `rows` rows.
    #[must_use]
    pub fn partial_len(&self, rows: usize) -> usize {
        self.backward_blocks(rows) * self.width()
    }

    /// `out` `[rows, width]` from rows of `x` that begin `stride` apart.
    ///
    /// # Errors
    /// Lengths that do not fit, a width or stride that is no multiple of 8, or the card's.
    pub fn forward<'a>(
        &self,
        device: &Device,
        out: Slice<'_, bf16>,
        x: impl Into<Numbers<'a>>,
        stride: usize,
    ) -> Result<()> {
        let (rows, close_stride) = (self.rows("normalise rows", out.len())?, self.width());
        self.forward_heads(device, out, x, rows, Sides { heads: 1, stride, close_stride })
    }

    /// The same for `rows` rows that lie side by side.
    ///
    /// # Errors
    /// As [`RmsNorm::forward`].
    pub fn forward_heads<'a>(
        &self,
        device: &Device,
        out: Slice<'_, bf16>,
        x: impl Into<Numbers<'a>>,
        rows: usize,
        sides: Sides,
    ) -> Result<()> {
        let (check, x, width) = (Checks("normalise rows"), x.into(), self.width());
        self.check(check, [x, out.into()], rows, sides)?;
        let name = match (self.groups() > 1, x.is_f32()) {
            (true, true) => "rms_norm_warp_f32",
            (true, false) => "rms_norm_warp_bf16",
            (false, true) => "rms_norm_block_f32",
            (false, false) => "rms_norm_block_bf16",
        };
        let kernel = device.kernel("norm", &[], name)?;
        let arguments = [
            out.into(),
            x.argument(),
            self.weight.into(),
            check.int("rows", rows)?.into(),
            check.int("width", width)?.into(),
            check.int("heads", sides.heads)?.into(),
            check.int("stride", sides.stride)?.into(),
            check.int("stride", sides.close_stride)?.into(),
            self.eps.into(),
        ];
        device.submit(&kernel, Grid::blocks(rows.div_ceil(self.groups()), self.threads()), &arguments)
    }

    /// `x` `[rows, width] +=` a product in parts, added up in their order; and `out` `[rows, width]` is the norm of that.
    ///
    /// # Errors
    /// As [`RmsNorm::forward`].
    pub fn add_forward(
        &self,
        device: &Device,
        out: Slice<'_, bf16>,
        x: Slice<'_, f32>,
        Parts { values, count }: Parts<'_>,
    ) -> Result<()> {
        let (check, width) = (Checks("add to rows and normalise them"), self.width());
        let rows = self.rows(check.0, out.len())?;
        let sides = Sides { heads: 1, stride: width, close_stride: width };
        self.check(check, [x.into(), out.into()], rows, sides)?;
        check.holds("the parts", values.len(), count * rows * width)?;
        check.aligned("the parts", values)?;
        let name = if self.groups() > 1 { "add_rms_norm_warp" } else { "add_rms_norm_block" };
        let arguments = [
            out.into(),
            x.into(),
            values.into(),
            check.int("parts", count)?.into(),
            self.weight.into(),
            check.int("rows", rows)?.into(),
            check.int("width", width)?.into(),
            self.eps.into(),
        ];
        let grid = Grid::blocks(rows.div_ceil(self.groups()), self.threads());
        device.submit(&device.kernel("norm", &[], name)?, grid, &arguments)
    }

    /// The gradients for `d_y` `[rows, width]`. `d_x` has the type and the rows of `x`: in f32 it is the residual stream's
    /// gradient and added to, in bf16 it is set. What lies between rows is left alone.
    ///
    /// # Errors
    /// As [`RmsNorm::forward`]; rows wider than 12288 numbers.
    pub fn backward<'a>(
        &self,
        device: &Device,
        d_x: impl Into<Numbers<'a>>,
        d_weight: Option<WeightGradient<'_>>,
        (x, stride): (impl Into<Numbers<'a>>, usize),
        d_y: impl Into<Numbers<'a>>,
    ) -> Result<()> {
        let d_y = d_y.into();
        let (rows, close_stride) = (self.rows("normalise rows, backward", d_y.len())?, self.width());
        self.backward_heads(device, (d_x, d_weight), x, d_y, rows, Sides { heads: 1, stride, close_stride })
    }

    /// The same for `rows` rows that lie side by side.
    ///
    /// # Errors
    /// As [`RmsNorm::backward`].
    pub fn backward_heads<'a>(
        &self,
        device: &Device,
        (d_x, d_weight): (impl Into<Numbers<'a>>, Option<WeightGradient<'_>>),
        x: impl Into<Numbers<'a>>,
        d_y: impl Into<Numbers<'a>>,
        rows: usize,
        sides: Sides,
    ) -> Result<()> {
        let (check, width) = (Checks("normalise rows, backward"), self.width());
        let (d_x, x, d_y) = (d_x.into(), x.into(), d_y.into());
        self.check(check, [x, d_y], rows, sides)?;
        check.rows("the gradient of the rows", d_x, rows / sides.heads, sides.heads * width, sides.stride)?;
        check.that(d_x.is_f32() == x.is_f32(), || "the rows and their gradient differ in precision".into())?;
        check.that(width <= WIDEST, || format!("rows of {width} numbers; at most {WIDEST} can be"))?;
        if let Some(WeightGradient { sum, partial }) = d_weight {
            check.holds("the gradient of the weight", sum.len(), width)?;
            check.has_room("the partial sums", partial.len(), self.partial_len(rows))?;
        }
        let name = match (self.groups() > 1, x.is_f32(), d_y.is_f32()) {
            (true, true, true) => "rms_norm_backward_warp_f32_f32",
            (true, true, false) => "rms_norm_backward_warp_f32_bf16",
            (true, false, true) => "rms_norm_backward_warp_bf16_f32",
            (true, false, false) => "rms_norm_backward_warp_bf16_bf16",
            (false, true, true) => "rms_norm_backward_block_f32_f32",
            (false, true, false) => "rms_norm_backward_block_f32_bf16",
            (false, false, true) => "rms_norm_backward_block_bf16_f32",
            (false, false, false) => "rms_norm_backward_block_bf16_bf16",
        };
        let kernel = device.kernel("norm", &[], name)?;
        let arguments = [
            d_x.argument(),
            d_weight.map_or(Argument::null(), |d_weight| d_weight.partial.into()),
            x.argument(),
            self.weight.into(),
            d_y.argument(),
            check.int("rows", rows)?.into(),
            check.int("width", width)?.into(),
            check.int("heads", sides.heads)?.into(),
            check.int("stride", sides.stride)?.into(),
            check.int("stride", sides.close_stride)?.into(),
            self.eps.into(),
        ];
        let blocks = self.backward_blocks(rows);
        let shared = d_weight.map_or(0, |_| self.groups() * width * size_of::<f32>());
        device.submit(&kernel, Grid::blocks(blocks, self.threads()).with_shared(shared), &arguments)?;
        match d_weight {
            Some(WeightGradient { sum, partial }) => add_partial(device, sum, partial.slice(0..blocks * width)),
            None => Ok(()),
        }
    }

    /// How many rows so many numbers are.
    fn rows(&self, operation: &'static str, len: usize) -> Result<usize> {
        let (check, width) = (Checks(operation), self.width());
        check.in_eights("the width", width)?;
        let rows = len / width;
        check.holds("the normalised rows or their gradient", len, rows * width)?;
        Ok(rows)
    }

    /// Checks all that both passes share: rows, and what is made of them or its gradient.
    fn check(&self, check: Checks, [x, close]: [Numbers<'_>; 2], rows: usize, sides: Sides) -> Result<()> {
        let (width, Sides { heads, stride, close_stride }) = (self.width(), sides);
        check.in_eights("the width", width)?;
        check.aligned("the weight", self.weight)?;
        check.that(heads > 0 && rows.is_multiple_of(heads), || format!("{rows} rows, {heads} side by side"))?;
        check.rows("the rows", x, rows / heads, heads * width, stride)?;
        check.rows("the normalised rows or their gradient", close, rows / heads, heads * width, close_stride)
    }
}
