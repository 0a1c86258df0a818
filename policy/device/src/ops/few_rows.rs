//! Products of a few rows, as a step of decoding has them, and a weight: bf16 with f32 sums, on the tensor cores.
//!
//! Such a product takes as long as reading the weight does. So all of a card reads it together, in one launch with what comes
//! after the product: an addition or an activation. See `kernels/few_rows.cu`.

use half::bf16;

use super::checks::{Checks, EIGHT};
use crate::{Argument, Buffer, Device, Grid, Numbers, Result, Slice};

const CHECK: Checks = Checks("product of few rows and a weight");
const THREADS: u32 = 128;
/// How deep a stage in shared memory is, as in the kernel.
const DEPTH: usize = 64;
/// Columns of a wide tile and of a narrow one.
const WIDE: usize = 128;
const NARROW: usize = 64;
/// Steps of depth that a multiprocessor should have before it gets a second block.
const STEPS_OF_ONE_BLOCK: usize = 16;

/// Products of a few rows and a weight, with memory that they share: one is computed at a time.
///
/// A row's result depends on the card, and not, to the bit, on the other rows or how many there are.
#[derive(Debug)]
pub struct FewRows {
    /// Sums over parts of the depth.
    partial: Buffer<f32>,
    /// How many parts of the tile that each block leaves unfinished are done: 0 but while a kernel runs.
    done: Buffer<u32>,
}

/// A weight, as it lies in memory.
#[derive(Debug, Clone, Copy)]
pub enum FewRowsWeight<'a> {
    /// `[outputs, inputs]`.
    Outputs(Slice<'a, bf16>),
    /// `[inputs, outputs]`.
    Inputs(Slice<'a, bf16>),
}

impl<'a> FewRowsWeight<'a> {
    fn values(self) -> Slice<'a, bf16> {
        match self {
            FewRowsWeight::Outputs(values) | FewRowsWeight::Inputs(values) => values,
        }
    }
}

/// How a product is computed, which depends on its weight and the card alone.
#[derive(Debug, Clone, Copy)]
struct Plan {
    tile_columns: usize,
    blocks: usize,
}

impl Plan {
    /// For a result of so many columns, of which a tile of a width has `results_of(width)`.
    fn new(device: &Device, columns: usize, depth: usize, results_of: impl Fn(usize) -> usize) -> Self {
        let multiprocessors = device.multiprocessors();
        // Wide tiles read the rows less often, but of a small weight there are too few.
        let wide = columns.div_ceil(results_of(WIDE)) >= multiprocessors;
        let tile_columns = if wide { WIDE } else { NARROW };
        let steps = columns.div_ceil(results_of(tile_columns)) * depth.div_ceil(DEPTH);
        let blocks = if steps >= STEPS_OF_ONE_BLOCK * multiprocessors { 2 * multiprocessors } else { multiprocessors };
        Plan { tile_columns, blocks: blocks.min(steps) }
    }

    /// Shared memory of a block, in bytes.
    fn shared_bytes(self, tile_rows: usize) -> usize {
        let stages = if self.tile_columns == WIDE { 4 } else { 6 };
        stages * (tile_rows + self.tile_columns) * DEPTH * size_of::<bf16>()
    }
}

impl FewRows {
    /// How many rows are few.
    pub const MOST: usize = 64;

    /// # Errors
    /// The device's memory.
    pub fn new(device: &Device) -> Result<Self> {
        let (what, blocks) = ("sums of products of few rows", 2 * device.multiprocessors());
        let parts = 2 * blocks * Self::MOST * WIDE;
        Ok(FewRows { partial: device.alloc(parts, what)?, done: device.zeros(blocks, what)? })
    }

    /// Whether rows and a weight are such as the kernels take. Others are for [`Device::gemm`].
    #[must_use]
    pub fn take(x: Slice<'_, bf16>, weight: Slice<'_, bf16>, inputs: usize) -> bool {
        let in_eights = |width: usize| width > 0 && width.is_multiple_of(EIGHT);
        let few = in_eights(inputs) && (1..=Self::MOST).contains(&(x.len() / inputs));
        few && in_eights(weight.len() / inputs) && x.is_aligned(16) && weight.is_aligned(16)
    }

    /// `out` `[rows, outputs] =` the product of `x` `[rows, inputs]` and the weight, or `+=` it with `add`, which is for f32.
    ///
    /// # Errors
    /// Sizes that do not fit together, more rows than [`FewRows::MOST`], widths that are no multiples of 8; the device's.
    pub fn multiply<'a>(
        &self,
        device: &Device,
        out: impl Into<Numbers<'a>>,
        x: Slice<'_, bf16>,
        (weight, inputs): (FewRowsWeight<'_>, usize),
        add: bool,
    ) -> Result<()> {
        let out = out.into();
        let (rows, columns) = check(out, x, weight.values(), inputs, 1)?;
        let plan = Plan::new(device, columns, inputs, |width| width);
        let name = match (out, weight) {
            (Numbers::F32(_), FewRowsWeight::Outputs(_)) => "sums_by_transposed",
            (Numbers::F32(_), FewRowsWeight::Inputs(_)) => "sums_by",
            (Numbers::Bf16(_), FewRowsWeight::Outputs(_)) if !add => "rows_by_transposed",
            _ => return CHECK.that(false, || "bf16 can only be set, and by a weight [outputs, inputs]".into()),
        };
        let add = out.is_f32().then(|| i32::from(add).into());
        self.launch(device, (name, plan), out, (x, weight.values()), [rows, columns, inputs], add)
    }

    /// `out` `[rows, inner] = silu(gate) up`, where gate and up `[rows, 2 inner]` are the product of `x` `[rows, inputs]` and the
    /// weight `[2 inner, inputs]`, rounded to bf16 as [`FewRows::multiply`] does.
    ///
    /// # Errors
    /// As [`FewRows::multiply`]; the inner width too must be a multiple of 8.
    pub fn activate(
        &self,
        device: &Device,
        out: Slice<'_, bf16>,
        x: Slice<'_, bf16>,
        (weight, inputs): (Slice<'_, bf16>, usize),
    ) -> Result<()> {
        let (rows, inner) = check(out.into(), x, weight, inputs, 2)?;
        let plan = Plan::new(device, inner, inputs, |width| width / 2);
        self.launch(device, ("activated_rows", plan), out.into(), (x, weight), [rows, inner, inputs], None)
    }

    fn launch(
        &self,
        device: &Device,
        (name, plan): (&str, Plan),
        out: Numbers<'_>,
        (x, weight): (Slice<'_, bf16>, Slice<'_, bf16>),
        [rows, columns, depth]: [usize; 3],
        add: Option<Argument<'_>>,
    ) -> Result<()> {
        let tile_rows = rows.next_power_of_two().clamp(16, Self::MOST);
        let defines = [("TILE_ROWS", tile_rows as i64), ("TILE_COLUMNS", plan.tile_columns as i64)];
        let mut arguments = vec![
            out.argument(),
            (&self.partial).into(),
            (&self.done).into(),
            x.into(),
            weight.into(),
            CHECK.int("rows", rows)?.into(),
            CHECK.int("columns", columns)?.into(),
            CHECK.int("depth", depth)?.into(),
        ];
        arguments.extend(add);
        let grid = Grid::blocks(plan.blocks, THREADS).with_shared(plan.shared_bytes(tile_rows));
        device.submit(&device.kernel("few_rows", &defines, name)?, grid, &arguments)
    }
}

/// Rows and columns of a result, of which each column is made of `products` columns of a product.
fn check(
    out: Numbers<'_>,
    x: Slice<'_, bf16>,
    weight: Slice<'_, bf16>,
    inputs: usize,
    products: usize,
) -> Result<(usize, usize)> {
    CHECK.in_eights("inputs", inputs)?;
    let (rows, columns) = (x.len() / inputs, weight.len() / (products * inputs));
    CHECK.in_eights("outputs", columns)?;
    CHECK.that((1..=FewRows::MOST).contains(&rows), || format!("{rows} rows: from 1 to {}", FewRows::MOST))?;
    CHECK.holds("the rows", x.len(), rows * inputs)?;
    CHECK.holds("the weight", weight.len(), products * columns * inputs)?;
    CHECK.holds("the results", out.len(), rows * columns)?;
    CHECK.aligned("the rows", x)?;
    CHECK.aligned("the weight", weight)?;
    CHECK.that(out.is_aligned(), || "the results do not begin at a multiple of 16 bytes".into())?;
    Ok((rows, columns))
}
