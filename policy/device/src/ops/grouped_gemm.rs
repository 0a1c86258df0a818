//! Products of rows, sorted by expert, with the weights of their experts; and those weights' gradients.
//!
//! bf16 with f32 sums, on the tensor cores. How many rows an expert has stays on the device: the grid is as large as any load
//! could need. See `kernels/grouped_gemm.cu`.

use half::bf16;

use super::checks::Checks;
use super::grouping::Grouped;
use crate::{Argument, Device, Element, Grid, Kernel, Result, Slice};

const THREADS: u32 = 128;
/// How deep a stage in shared memory is.
const DEPTH: usize = 64;

/// How many rows and columns of a result one block computes. The result does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 16 x 64, for a few rows of each expert: decoding.
    Small,
    /// 64 x 128.
    Medium,
    /// 128 x 128, for training.
    Large,
}

impl Tile {
    /// The tile that suits the mean number of an expert's rows.
    pub fn for_rows(pairs: usize, experts: usize) -> Self {
        match pairs / experts.max(1) {
            0..=12 => Tile::Small,
            13..=96 => Tile::Medium,
            _ => Tile::Large,
        }
    }

    fn rows(self) -> usize {
        match self {
            Tile::Small => 16,
            Tile::Medium => 64,
            Tile::Large => 128,
        }
    }

    fn columns(self) -> usize {
        match self {
            Tile::Small => 64,
            Tile::Medium | Tile::Large => 128,
        }
    }

    /// Shared memory of a block, in bytes.
    fn shared_bytes(self) -> usize {
        let stages = if self == Tile::Small { 4 } else { 3 };
        stages * (self.rows() + self.columns()) * DEPTH * size_of::<bf16>()
    }

    fn kernel(self, device: &Device, name: &str) -> Result<Kernel> {
        device.kernel("grouped_gemm", &[("TILE_ROWS", self.rows() as i64)], name)
    }

    /// Blocks that suffice for any load: every expert may leave its last tile of rows unfilled.
    fn grid(self, grouped: &Grouped<'_>, column_tiles: usize) -> Grid {
        let row_tiles = grouped.pairs() / self.rows() + grouped.experts().min(grouped.pairs());
        Grid::blocks(row_tiles * column_tiles, THREADS).with_shared(self.shared_bytes())
    }
}

/// A matrix `[height, width]` of each expert.
#[derive(Debug, Clone, Copy)]
pub struct ExpertMatrices<'a, T: Element> {
    /// The first expert's matrix begins where this does.
    pub values: Slice<'a, T>,
    /// PairRows of a matrix.
    pub height: usize,
    /// Columns of a matrix.
    pub width: usize,
    /// Numbers from the beginning of a matrix to that of the next.
    pub stride: usize,
}

impl<T: Element> ExpertMatrices<'_, T> {
    fn check(&self, check: Checks, experts: usize) -> Result<()> {
        let ExpertMatrices { values, height, width, stride } = *self;
        check.in_eights("the height of an expert's matrix", height)?;
        check.in_eights("the width of an expert's matrix", width)?;
        check.in_eights("the stride of the experts' matrices", stride)?;
        check.that(stride >= height * width, || format!("matrices of {height} x {width}, {stride} apart"))?;
        check.has_room("the experts' matrices", values.len(), (experts - 1) * stride + height * width)?;
        check.that(values.is_aligned(16), || "the matrices do not begin at a multiple of 16 bytes".into())?;
        check.int("the height of an expert's matrix", height)?;
        check.int("the width of an expert's matrix", width)?;
        Ok(())
    }
}

/// PairRows for each pair of a token and an expert.
#[derive(Debug, Clone, Copy)]
pub enum PairRows<'a> {
    /// A row for each pair, in expert order: `[pairs, width]`.
    Sorted(Slice<'a, bf16>),
    /// A row for each token, `[n, width]`, which all pairs of the token use.
    OfTokens(Slice<'a, bf16>),
}

impl PairRows<'_> {
    fn check(&self, check: Checks, what: &str, width: usize, grouped: &Grouped<'_>) -> Result<()> {
        let (values, rows) = match self {
            PairRows::Sorted(values) => (values, grouped.pairs()),
            PairRows::OfTokens(values) => (values, grouped.rows()),
        };
        check.holds(what, values.len(), rows * width)?;
        check.aligned(what, *values)
    }

    fn values(&self) -> Argument<'_> {
        match self {
            PairRows::Sorted(values) | PairRows::OfTokens(values) => (*values).into(),
        }
    }

    fn gather<'a>(&self, grouped: &Grouped<'a>) -> Argument<'a> {
        match self {
            PairRows::Sorted(_) => Argument::null(),
            PairRows::OfTokens(_) => grouped.token.into(),
        }
    }
}

/// `out` `[pairs, height] = rows W_e^T`, or with `transposed` false `[pairs, width] = rows W_e`, for each pair's expert e.
///
/// # Errors
/// Sizes that do not fit together or are no multiples of 8, or the device's.
pub fn multiply_rows(
    device: &Device,
    out: Slice<'_, bf16>,
    rows: PairRows<'_>,
    (matrices, transposed): (ExpertMatrices<'_, bf16>, bool),
    grouped: &Grouped<'_>,
    tile: Tile,
) -> Result<()> {
    let check = Checks("product of experts' rows and weights");
    let (experts, pairs) = (grouped.experts(), grouped.pairs());
    matrices.check(check, experts)?;
    let ExpertMatrices { height, width, .. } = matrices;
    let (columns, depth) = if transposed { (height, width) } else { (width, height) };
    rows.check(check, "the rows", depth, grouped)?;
    check.holds("the results", out.len(), pairs * columns)?;
    check.aligned("the results", out)?;
    let kernel = tile.kernel(device, if transposed { "rows_by_transposed" } else { "rows_by" })?;
    let arguments = [
        out.into(),
        rows.values(),
        matrices.values.into(),
        grouped.offsets.into(),
        rows.gather(grouped),
        (experts as i32).into(),
        (columns as i32).into(),
        (depth as i32).into(),
        (matrices.stride as u64).into(),
    ];
    device.submit(&kernel, tile.grid(grouped, columns.div_ceil(tile.columns())), &arguments)
}

/// `hidden` `[pairs, inner] = silu(gate) up` with `[gate, up] = rows W_e^T`, for each pair's expert e; the matrices
/// `[2 inner, width]` are gate and up. `gate_up` `[pairs, 2 inner]`, if given, is set to both before the activation.
///
/// The result is, to the bit, that of [`multiply_rows`] and [`super::swiglu()`].
///
/// # Errors
/// As [`multiply_rows`]; the inner width too must be a multiple of 8.
pub fn activate_rows(
    device: &Device,
    (hidden, gate_up): (Slice<'_, bf16>, Option<Slice<'_, bf16>>),
    rows: PairRows<'_>,
    matrices: ExpertMatrices<'_, bf16>,
    grouped: &Grouped<'_>,
    tile: Tile,
) -> Result<()> {
    let check = Checks("experts' gate, up and activation");
    let (experts, pairs) = (grouped.experts(), grouped.pairs());
    matrices.check(check, experts)?;
    let (inner, depth) = (matrices.height / 2, matrices.width);
    check.in_eights("the inner width", inner)?;
    rows.check(check, "the rows", depth, grouped)?;
    check.holds("the activations", hidden.len(), pairs * inner)?;
    check.aligned("the activations", hidden)?;
    if let Some(gate_up) = gate_up {
        check.holds("gate and up", gate_up.len(), pairs * 2 * inner)?;
        check.aligned("gate and up", gate_up)?;
    }
    let kernel = tile.kernel(device, "activated_rows")?;
    let arguments = [
        hidden.into(),
        gate_up.map_or(Argument::null(), Into::into),
        rows.values(),
        matrices.values.into(),
        grouped.offsets.into(),
        rows.gather(grouped),
        (experts as i32).into(),
        (inner as i32).into(),
        (depth as i32).into(),
        (matrices.stride as u64).into(),
    ];
    device.submit(&kernel, tile.grid(grouped, inner.div_ceil(tile.columns() / 2)), &arguments)
}

/// `d_W_e` `[height, width] += a^T b` over the pairs of each expert e, for rows `a` of height numbers and `b` of width.
///
/// # Errors
/// As [`multiply_rows`].
pub fn add_weight_gradient(
    device: &Device,
    gradients: ExpertMatrices<'_, f32>,
    a: PairRows<'_>,
    b: PairRows<'_>,
    grouped: &Grouped<'_>,
) -> Result<()> {
    let check = Checks("gradient of experts' weights");
    let experts = grouped.experts();
    gradients.check(check, experts)?;
    let ExpertMatrices { height, width, .. } = gradients;
    a.check(check, "the rows", height, grouped)?;
    b.check(check, "the other rows", width, grouped)?;
    let tile = Tile::Large;
    let kernel = tile.kernel(device, "add_weight_gradient")?;
    let arguments = [
        gradients.values.into(),
        a.values(),
        b.values(),
        grouped.offsets.into(),
        a.gather(grouped),
        b.gather(grouped),
        (height as i32).into(),
        (width as i32).into(),
        (gradients.stride as u64).into(),
    ];
    let blocks = experts * height.div_ceil(tile.rows()) * width.div_ceil(tile.columns());
    device.submit(&kernel, Grid::blocks(blocks, THREADS).with_shared(tile.shared_bytes()), &arguments)
}
