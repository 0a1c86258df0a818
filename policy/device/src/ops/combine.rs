//! Sums over a token's experts, and gates in expert order. See `kernels/combine.cu`.

use half::bf16;

use super::checks::Checks;
use super::grouping::Grouped;
use crate::Numbers;
use crate::{Device, Grid, Result, Slice};

const THREADS: u32 = 256;
/// Numbers of a row that a thread holds.
const EIGHT: usize = 8;

/// `y` `[n, width] += sum over a token's slots of gates [n, top_k] * results [pairs, width]`, in the order of slots.
///
/// # Errors
/// Sizes that do not fit together, a width that is no multiple of 8, or the device's.
pub fn combine(
    device: &Device,
    y: Slice<'_, f32>,
    results: Slice<'_, bf16>,
    gates: Slice<'_, f32>,
    grouped: &Grouped<'_>,
    width: usize,
) -> Result<()> {
    let check = Checks("sum of the experts' results");
    check_widths(check, y.into(), results, grouped, width)?;
    check.holds("the gates", gates.len(), grouped.pairs())?;
    let kernel = device.kernel("combine", &[], "combine")?;
    let arguments = [
        y.into(),
        results.into(),
        gates.into(),
        grouped.place.into(),
        check.int("the width", width)?.into(),
        (grouped.top_k as i32).into(),
    ];
    device.submit(&kernel, grid(grouped.rows(), width), &arguments)
}

/// `out` `[n, width]` = sum over a token's slots of `values` `[pairs, width]`, added to what is there if `add`.
///
/// # Errors
/// As [`combine`].
pub fn sum_slots(
    device: &Device,
    out: Numbers<'_>,
    values: Slice<'_, bf16>,
    grouped: &Grouped<'_>,
    width: usize,
    add: bool,
) -> Result<()> {
    let check = Checks("sum over a token's experts");
    check_widths(check, out, values, grouped, width)?;
    let kernel = device.kernel("combine", &[], if out.is_f32() { "sum_slots_f32" } else { "sum_slots_bf16" })?;
    let arguments = [
        out.argument(),
        values.into(),
        grouped.place.into(),
        check.int("the width", width)?.into(),
        (grouped.top_k as i32).into(),
        i32::from(add).into(),
    ];
    device.submit(&kernel, grid(grouped.rows(), width), &arguments)
}

/// `sorted` `[pairs]` in expert order from `gates` `[n, top_k]`.
///
/// # Errors
/// Sizes that do not fit together, or the device's.
pub fn gates_to_places(
    device: &Device,
    sorted: Slice<'_, f32>,
    gates: Slice<'_, f32>,
    grouped: &Grouped<'_>,
) -> Result<()> {
    move_gates(device, "gates_to_places", sorted, gates, grouped)
}

/// `gates` `[n, top_k]` from `sorted` `[pairs]` in expert order.
///
/// # Errors
/// As [`gates_to_places`].
pub fn gates_from_places(
    device: &Device,
    gates: Slice<'_, f32>,
    sorted: Slice<'_, f32>,
    grouped: &Grouped<'_>,
) -> Result<()> {
    move_gates(device, "gates_from_places", gates, sorted, grouped)
}

fn move_gates(
    device: &Device,
    kernel: &'static str,
    to: Slice<'_, f32>,
    from: Slice<'_, f32>,
    grouped: &Grouped<'_>,
) -> Result<()> {
    let check = Checks("gates in expert order");
    let pairs = grouped.pairs();
    check.holds("the gates to write", to.len(), pairs)?;
    check.holds("the gates", from.len(), pairs)?;
    let kernel = device.kernel("combine", &[], kernel)?;
    let arguments = [to.into(), from.into(), grouped.place.into(), (pairs as u64).into()];
    device.submit(&kernel, Grid::covering(pairs, THREADS), &arguments)
}

fn grid(rows: usize, width: usize) -> Grid {
    Grid::blocks_3d([rows, width.div_ceil(EIGHT * THREADS as usize), 1], THREADS)
}

fn check_widths(
    check: Checks,
    tokens: Numbers<'_>,
    pairs: Slice<'_, bf16>,
    grouped: &Grouped<'_>,
    width: usize,
) -> Result<()> {
    check.in_eights("the width", width)?;
    check.holds("the tokens' rows", tokens.len(), grouped.rows() * width)?;
    check.holds("the pairs' rows", pairs.len(), grouped.pairs() * width)?;
    check.aligned("the tokens' rows", tokens)?;
    check.aligned("the pairs' rows", pairs)
}
