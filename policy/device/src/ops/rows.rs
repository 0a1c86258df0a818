//! Rows by index and their gradients, sums over rows, and what is done number by number. See `kernels/rows.cu`.

use std::collections::BTreeMap;

use half::bf16;

use super::checks::{Checks, EIGHT};
use crate::Numbers;
use crate::{Buffer, Device, Grid, Result, Slice};

/// Rows whose columns one block sums up, as in the kernel.
const SUM_ROWS: usize = 128;
/// Columns that one block sums up.
const SUM_COLUMNS: usize = 32;
/// Blocks of what is done number by number: enough for any card, each going on a grid further.
const MOST_BLOCKS: usize = 4096;

/// `out` `[ids, width]` = the rows `ids` of `table` `[_, width]`. That the table has them is for the caller to see to.
///
/// # Errors
/// Lengths that do not fit, a width that is no multiple of 8, or the card's.
pub fn gather<'a>(
    device: &Device,
    out: impl Into<Numbers<'a>>,
    table: impl Into<Numbers<'a>>,
    ids: Slice<'_, u32>,
    width: usize,
) -> Result<()> {
    let (check, out, table) = (Checks("gather rows"), out.into(), table.into());
    check.rows("the rows", out, ids.len(), width, width)?;
    check.rows("the table", table, 1, width, width)?;
    let name = match (out.is_f32(), table.is_f32()) {
        (true, true) => "gather_f32_f32",
        (true, false) => "gather_f32_bf16",
        (false, true) => "gather_bf16_f32",
        (false, false) => "gather_bf16_bf16",
    };
    let kernel = device.kernel("rows", &[], name)?;
    let arguments = [out.argument(), table.argument(), ids.into(), check.int("width", width)?.into()];
    device.submit(&kernel, Grid::blocks(ids.len(), threads(width)), &arguments)
}

/// Which rows of a batch came from each row of a table, so that gradients are added up without atomics.
#[derive(Debug)]
pub struct Sources {
    /// The table's rows that occur.
    distinct: Buffer<u32>,
    /// Where each one's begin in `order`, and the end: one more.
    starts: Buffer<u32>,
    /// The batch's rows, by the table's row they came from, each in the batch's order.
    order: Buffer<u32>,
}

impl Sources {
    /// Sorts `ids`, one for each row of the batch.
    ///
    /// # Errors
    /// The card's, or an id outside of a table of `table_rows`.
    pub fn new(device: &Device, ids: &[u32], table_rows: usize) -> Result<Self> {
        let mut places: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (row, id) in ids.iter().enumerate() {
            Checks("sort rows").that((*id as usize) < table_rows, || {
                format!("row {row} is of row {id}, of a table of {table_rows}")
            })?;
            places.entry(*id).or_default().push(row as u32);
        }
        let distinct: Vec<u32> = places.keys().copied().collect();
        let mut starts = vec![0];
        let mut order = Vec::with_capacity(ids.len());
        for rows in places.values() {
            order.extend_from_slice(rows);
            starts.push(order.len() as u32);
        }
        Ok(Sources {
            distinct: device.upload(&distinct, "the table's rows of a batch")?,
            starts: device.upload(&starts, "the table's rows of a batch")?,
            order: device.upload(&order, "the table's rows of a batch")?,
        })
    }
}

/// The backward pass of [`gather`]: `d_table[id] +=` the rows of `d_y` `[ids, width]` that came from it, added up in their
/// order.
///
/// # Errors
/// As [`gather`].
pub fn gather_backward<'a>(
    device: &Device,
    d_table: Slice<'_, f32>,
    d_y: impl Into<Numbers<'a>>,
    sources: &Sources,
    width: usize,
) -> Result<()> {
    let (check, d_y) = (Checks("gather rows, backward"), d_y.into());
    check.rows("the gradient of the rows", d_y, sources.order.len(), width, width)?;
    check.rows("the gradient of the table", d_table.into(), 1, width, width)?;
    let kernel = device.kernel("rows", &[], if d_y.is_f32() { "scatter_f32" } else { "scatter_bf16" })?;
    // Narrow blocks: a frequent row's sums are a long loop, which its columns share.
    let columns = width.div_ceil(64 * EIGHT);
    let arguments = [
        d_table.into(),
        d_y.argument(),
        (&sources.distinct).into(),
        (&sources.starts).into(),
        (&sources.order).into(),
        check.int("width", width)?.into(),
    ];
    device.submit(&kernel, Grid::blocks_3d([sources.distinct.len(), columns, 1], 64), &arguments)
}

/// Adds `bias` `[width]` to `n` rows that begin `stride` apart.
///
/// # Errors
/// Lengths that do not fit, a width or stride that is no multiple of 8, or the card's.
pub fn add_bias<'a>(
    device: &Device,
    (rows, n, stride): (impl Into<Numbers<'a>>, usize, usize),
    bias: Slice<'_, f32>,
) -> Result<()> {
    let (check, rows, width) = (Checks("add a bias"), rows.into(), bias.len());
    check.in_eights("the width", width)?;
    check.rows("the rows", rows, n, width, stride)?;
    check.aligned("the bias", bias)?;
    let kernel = device.kernel("rows", &[], if rows.is_f32() { "add_bias_f32" } else { "add_bias_bf16" })?;
    let arguments =
        [rows.argument(), bias.into(), check.int("width", width)?.into(), check.int("stride", stride)?.into()];
    device.submit(&kernel, Grid::blocks(n, threads(width)), &arguments)
}

/// Room that [`sum_rows`] needs for partial sums over `n` rows of `width` numbers.
#[must_use]
pub fn sum_rows_partial_len(n: usize, width: usize) -> usize {
    n.div_ceil(SUM_ROWS) * width
}

/// `sum` `[width] +=` the sum over `n` rows that begin `stride` apart: a bias's gradient. `partial` has room for
/// [`sum_rows_partial_len`] numbers, whose content is lost.
///
/// # Errors
/// Lengths that do not fit, or the card's.
pub fn sum_rows<'a>(
    device: &Device,
    sum: Slice<'_, f32>,
    (rows, n, stride): (impl Into<Numbers<'a>>, usize, usize),
    partial: Slice<'_, f32>,
) -> Result<()> {
    let (check, rows, width) = (Checks("sum rows"), rows.into(), sum.len());
    if n == 0 || width == 0 {
        return Ok(());
    }
    check.has_room("the rows", rows.len(), (n - 1) * stride + width)?;
    check.has_room("the partial sums", partial.len(), sum_rows_partial_len(n, width))?;
    let kernel = device.kernel("rows", &[], if rows.is_f32() { "sum_rows_f32" } else { "sum_rows_bf16" })?;
    let blocks = n.div_ceil(SUM_ROWS);
    let arguments = [
        partial.into(),
        rows.argument(),
        check.int("rows", n)?.into(),
        check.int("width", width)?.into(),
        check.int("stride", stride)?.into(),
    ];
    device.submit(&kernel, Grid::blocks_3d([width.div_ceil(SUM_COLUMNS), blocks, 1], 256), &arguments)?;
    add_partial(device, sum, partial.slice(..blocks * width))
}

/// `sum` `[width] +=` the rows of `partial` `[_, width]`, added up in a fixed order.
pub(super) fn add_partial(device: &Device, sum: Slice<'_, f32>, partial: Slice<'_, f32>) -> Result<()> {
    let (check, width) = (Checks("add partial sums"), sum.len());
    let kernel = device.kernel("rows", &[], "add_partial")?;
    let count = check.int("rows", partial.len() / width)?;
    let arguments = [sum.into(), partial.into(), count.into(), check.int("width", width)?.into()];
    device.submit(&kernel, Grid::blocks(width.div_ceil(SUM_COLUMNS), 256), &arguments)
}

/// `to += x`, number by number.
///
/// # Errors
/// Different lengths, or the card's.
pub fn add<'a>(device: &Device, to: Slice<'_, f32>, x: impl Into<Numbers<'a>>) -> Result<()> {
    let x = x.into();
    Checks("add").holds("what is added", x.len(), to.len())?;
    let kernel = device.kernel("rows", &[], if x.is_f32() { "add_f32" } else { "add_bf16" })?;
    let arguments = [to.into(), x.argument(), (to.len() as u64).into()];
    device.submit(&kernel, each(to.len()), &arguments)
}

/// `to = x`, rounded to the nearest.
///
/// # Errors
/// Different lengths, or the card's.
pub fn narrow(device: &Device, to: Slice<'_, bf16>, x: Slice<'_, f32>) -> Result<()> {
    Checks("narrow").holds("what is narrowed", x.len(), to.len())?;
    let kernel = device.kernel("rows", &[], "narrow")?;
    device.submit(&kernel, each(to.len()), &[to.into(), x.into(), (to.len() as u64).into()])
}

/// `to = x`.
///
/// # Errors
/// Different lengths, or the card's.
pub fn widen(device: &Device, to: Slice<'_, f32>, x: Slice<'_, bf16>) -> Result<()> {
    Checks("widen").holds("what is widened", x.len(), to.len())?;
    let kernel = device.kernel("rows", &[], "widen")?;
    device.submit(&kernel, each(to.len()), &[to.into(), x.into(), (to.len() as u64).into()])
}

/// `to = value`.
///
/// # Errors
/// The card's.
pub fn fill(device: &Device, to: Slice<'_, f32>, value: f32) -> Result<()> {
    let kernel = device.kernel("rows", &[], "fill")?;
    device.submit(&kernel, each(to.len()), &[to.into(), value.into(), (to.len() as u64).into()])
}

/// `to *= factor`.
///
/// # Errors
/// The card's.
pub fn scale(device: &Device, to: Slice<'_, f32>, factor: f32) -> Result<()> {
    let kernel = device.kernel("rows", &[], "scale")?;
    device.submit(&kernel, each(to.len()), &[to.into(), factor.into(), (to.len() as u64).into()])
}

/// The grid of what is done number by number.
pub(super) fn each(len: usize) -> Grid {
    Grid::blocks(len.div_ceil(256).min(MOST_BLOCKS), 256)
}

/// Threads of a block that works on one row, eight numbers each.
fn threads(width: usize) -> u32 {
    width.div_ceil(EIGHT).next_multiple_of(32).min(256) as u32
}
