//! Products of a few rows, as a step of decoding has them, and a weight: bf16 with f32 sums, on the tensor cores.
//!
//! Such a product takes as long as reading the weight does. So all of a card reads it together, in one launch with what comes
//! after the product: an addition or an activation. See `kernels/few_rows.cu`.

use half::bf16;

use super::checks::{Checks, EIGHT};
use crate::{Argument, Buffer, Device, Grid, Numbers, Result, Slice};

const CHECK: Checks = Checks("product of few rows and a weight");
const THREADS: u32 = 128;
/// More parts of a product than this take longer to add up than they save.
const MOST_PARTS: usize = 12;
/// How deep a stage in shared memory is, as in the kernel.
const DEPTH: usize = 64;
/// Columns of a wide tile and of a narrow one.
const WIDE: usize = 128;
const NARROW: usize = 64;
/// Shared memory of a block besides the dynamic one: what tells it whether it is the last of a tile; and what a card takes for
/// each block that it runs.
const STATIC_SHARED_BYTES: usize = 16;
const RESERVED_SHARED_BYTES: usize = 1024;
/// Steps of depth that a multiprocessor should have before it gets a second block.
const STEPS_OF_ONE_BLOCK: usize = 16;

/// Products of a few rows and a weight, with memory that they share: one is computed at a time.
///
/// A row's result depends on the card, and not, to the bit, on the other rows or how many there are.
#[derive(Debug)]
pub struct FewRows {
    /// Sums over parts of the depth.
    partial: Buffer<f32>,
    /// What [`FewRows::multiply_parts`] leaves to be added up.
    parts: Buffer<f32>,
    /// How many parts of the tile that each block leaves unfinished are done: 0 but while a kernel runs.
    done: Buffer<u32>,
}

/// A product that is still to be added up.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Its parts, one after the other: `[count, rows, outputs]`.
    pub values: Slice<'a, f32>,
    /// How many there are.
    pub count: usize,
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

/// How a product is computed. The number of blocks decides in which order it is summed: it depends on the weight and the card
/// alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    tile_columns: usize,
    blocks: usize,
    /// Stages in shared memory.
    ring: usize,
    /// Whether a block is to have a multiprocessor for itself.
    alone: bool,
}

impl Plan {
    /// For a card, and a result of so many columns, of which a tile of a width has `results_of(width)`.
    fn new(
        (multiprocessors, shared_memory): (usize, usize),
        columns: usize,
        depth: usize,
        results_of: impl Fn(usize) -> usize,
    ) -> Self {
        // Wide tiles read the rows less often, but of a small weight there are too few.
        let wide = columns.div_ceil(results_of(WIDE)) >= multiprocessors;
        let tile_columns = if wide { WIDE } else { NARROW };
        let steps = columns.div_ceil(results_of(tile_columns)) * depth.div_ceil(DEPTH);
        let stage_bytes = |rows: usize| (rows + tile_columns) * DEPTH * size_of::<bf16>();
        let fits = |blocks: usize, ring: usize| {
            let bytes = ring * stage_bytes(FewRows::MOST) + STATIC_SHARED_BYTES;
            blocks * (bytes + RESERVED_SHARED_BYTES) <= shared_memory + RESERVED_SHARED_BYTES
        };
        let largest = |blocks: usize, rings: [usize; 3]| rings.into_iter().find(|&ring| fits(blocks, ring));
        let for_two = if wide { [4, 3, 3] } else { [6, 5, 4] };
        let for_one = if wide { [8, 6, 3] } else { [8, 6, 4] };
        let of_two = largest(2, for_two).filter(|_| steps >= STEPS_OF_ONE_BLOCK * multiprocessors);
        let (blocks, ring) = match of_two {
            Some(ring) => (2 * multiprocessors, ring),
            None => (multiprocessors, largest(1, for_one).unwrap_or(2)),
        };
        Plan { tile_columns, blocks: blocks.min(steps), ring, alone: of_two.is_none() }
    }

    /// Shared memory of a block, in bytes: more than half of what there is where it is to be alone.
    fn shared_bytes(self, tile_rows: usize, shared_memory: usize) -> usize {
        let needed = self.ring * (tile_rows + self.tile_columns) * DEPTH * size_of::<bf16>();
        if self.alone { needed.max(shared_memory / 2 + RESERVED_SHARED_BYTES) } else { needed }
    }
}

impl FewRows {
    /// How many rows are few.
    pub const MOST: usize = 64;

    /// With room for products in parts of at most `most_columns` columns.
    ///
    /// # Errors
    /// The device's memory.
    pub fn new(device: &Device, most_columns: usize) -> Result<Self> {
        let (what, blocks) = ("sums of products of few rows", 2 * device.multiprocessors());
        let tile = Self::MOST * WIDE;
        Ok(FewRows {
            partial: device.alloc(2 * blocks * tile, what)?,
            parts: device.alloc((blocks * WIDE).max(most_columns) * Self::MOST, what)?,
            done: device.zeros(blocks, what)?,
        })
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
        let plan = Plan::new(room(device), columns, inputs, |width| width);
        let name = match (out, weight) {
            (Numbers::F32(_), FewRowsWeight::Outputs(_)) => "sums_by_transposed",
            (Numbers::F32(_), FewRowsWeight::Inputs(_)) => "sums_by",
            (Numbers::Bf16(_), FewRowsWeight::Outputs(_)) if !add => "rows_by_transposed",
            _ => return CHECK.that(false, || "bf16 can only be set, and by a weight [outputs, inputs]".into()),
        };
        let add = out.is_f32().then(|| i32::from(add).into());
        self.launch(device, (name, plan), out, (x, weight.values()), [rows, columns, inputs], add)
    }

    /// The product of `x` `[rows, inputs]` and the weight in parts, for [`super::RmsNorm::add_forward`] to add up, before the next
    /// product in parts is made.
    ///
    /// # Errors
    /// As [`FewRows::multiply`].
    pub fn multiply_parts(
        &self,
        device: &Device,
        x: Slice<'_, bf16>,
        (weight, inputs): (FewRowsWeight<'_>, usize),
    ) -> Result<Parts<'_>> {
        let rows = x.len() / inputs.max(1);
        let columns = weight.values().len() / inputs.max(1);
        let plan = Plan::new(room(device), columns, inputs, |width| width);
        let tiles = columns.div_ceil(plan.tile_columns);
        let count = (plan.blocks / tiles.max(1)).clamp(1, MOST_PARTS);
        let parts = Parts { values: self.parts.slice(..(count * rows * columns).min(self.parts.len())), count };
        CHECK.holds("the parts", parts.values.len(), count * rows * columns)?;
        check(parts.values.slice(..rows * columns).into(), x, weight.values(), inputs, 1)?;
        let name = match weight {
            FewRowsWeight::Outputs(_) => "parts_by_transposed",
            FewRowsWeight::Inputs(_) => "parts_by",
        };
        let arguments = [
            parts.values.into(),
            x.into(),
            weight.values().into(),
            CHECK.int("rows", rows)?.into(),
            CHECK.int("columns", columns)?.into(),
            CHECK.int("depth", inputs)?.into(),
            CHECK.int("parts", count)?.into(),
        ];
        self.submit(device, (name, Plan { blocks: tiles * count, ..plan }), rows, &arguments)?;
        Ok(parts)
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
        let plan = Plan::new(room(device), inner, inputs, |width| width / 2);
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
        self.submit(device, (name, plan), rows, &arguments)
    }

    fn submit(
        &self,
        device: &Device,
        (name, plan): (&str, Plan),
        rows: usize,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        let tile_rows = rows.next_power_of_two().clamp(16, Self::MOST);
        let defines =
            [("TILE_ROWS", tile_rows as i64), ("TILE_COLUMNS", plan.tile_columns as i64), ("RING", plan.ring as i64)];
        let shared = plan.shared_bytes(tile_rows, device.shared_memory());
        let grid = Grid::blocks(plan.blocks, THREADS).with_shared(shared);
        device.submit(&device.kernel("few_rows", &defines, name)?, grid, arguments)
    }
}

/// How many blocks a device can run at once, and the shared memory of each if it is alone.
fn room(device: &Device) -> (usize, usize) {
    (device.multiprocessors(), device.shared_memory())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shared_by_what_a_card_has_room_for() {
        // Multiprocessors and shared memory of a block: H100, A100, RTX 4090.
        let [h100, a100, small] = [(132, 232_448), (108, 166_912), (128, 101_376)];
        let plan = |card, columns, depth| Plan::new(card, columns, depth, |width| width);
        let of = |tile_columns, blocks, ring, alone| Plan { tile_columns, blocks, ring, alone };
        // Qwen2.5-1.5B's queries, keys and values; down; the output layer.
        assert_eq!(plan(h100, 2048, 1536), of(64, 132, 8, true));
        assert_eq!(plan(h100, 1536, 8960), of(64, 264, 6, false));
        assert_eq!(plan(h100, 151_936, 1536), of(128, 264, 4, false));
        assert_eq!(plan(a100, 1536, 8960), of(64, 216, 5, false));
        assert_eq!(plan(a100, 151_936, 1536), of(128, 216, 3, false));
        assert_eq!(plan(small, 1536, 8960), of(64, 128, 6, true));
        assert_eq!(plan(small, 151_936, 1536), of(128, 128, 3, true));
        // No more blocks than steps; of two that are alone, none fits beside the other.
        assert_eq!(plan(h100, 64, 128).blocks, 2);
        for rows in [16, 32, 64] {
            let bytes = plan(h100, 2048, 1536).shared_bytes(rows, h100.1);
            assert!(bytes <= h100.1 && 2 * bytes > h100.1, "{rows}");
        }
    }
}
