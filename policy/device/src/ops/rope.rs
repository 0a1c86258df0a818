//! Rotary position embedding of rows in place. See `kernels/rope.cu`.

use super::checks::{Checks, EIGHT};
use crate::Numbers;
use crate::{Device, Grid, Result, Slice};

/// The angles of a model.
#[derive(Clone, Copy)]
pub struct Rope<'a> {
    /// cos and sin side by side, times the amplitude: `[positions, pairs, 2]`.
    pub table: Slice<'a, f32>,
    /// Pairs of numbers that are turned in each head.
    pub pairs: usize,
    /// Whether neighbours are a pair, (2i, 2i+1); else i and i + pairs are.
    pub interleaved: bool,
}

/// Where in a row the parts lie that are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// From one row to the next.
    pub stride: usize,
    /// Heads side by side.
    pub count: usize,
    /// From one head to the next.
    pub width: usize,
    /// Where in a head its `2 pairs` numbers begin.
    pub offset: usize,
}

/// Which way rows are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By their position.
    Forward,
    /// Back, as gradients need: the transpose. An amplitude is multiplied with once more, not divided by.
    Back,
}

impl Rope<'_> {
    /// Positions that the table covers.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.table.len() / (2 * self.pairs.max(1))
    }

    /// Turns each row's heads to its position. `positions` has one for each row, inside of the table: that is for the
    /// caller to see to.
    ///
    /// # Errors
    /// Heads that do not lie in their rows, rows that are not there, or the card's.
    pub fn turn<'a>(
        &self,
        device: &Device,
        rows: impl Into<Numbers<'a>>,
        positions: Slice<'_, u32>,
        heads: Heads,
        direction: Direction,
    ) -> Result<()> {
        let (check, rows, n, turned) = (Checks("turn rows"), rows.into(), positions.len(), 2 * self.pairs);
        let Heads { stride, count, width, offset } = heads;
        check.that(self.pairs > 0 && self.table.len().is_multiple_of(turned), || {
            format!("a table of {} numbers for {} pairs", self.table.len(), self.pairs)
        })?;
        check.that(count > 0 && offset + turned <= width && count * width <= stride, || {
            format!("{heads:?} have no room for {turned} numbers from the offset on")
        })?;
        if n == 0 {
            return Ok(());
        }
        check.has_room("the rows", rows.len(), (n - 1) * stride + count * width)?;
        let taken = if self.interleaved { EIGHT / 2 } else { EIGHT };
        let eights = self.pairs.is_multiple_of(taken)
            && [stride, width, offset].iter().all(|size| size.is_multiple_of(EIGHT))
            && rows.is_aligned()
            && self.table.is_aligned(16);
        let name = match (self.interleaved, rows.is_f32(), eights) {
            (true, true, true) => "rope_neighbours_f32_eights",
            (true, true, false) => "rope_neighbours_f32",
            (true, false, true) => "rope_neighbours_bf16_eights",
            (true, false, false) => "rope_neighbours_bf16",
            (false, true, true) => "rope_halves_f32_eights",
            (false, true, false) => "rope_halves_f32",
            (false, false, true) => "rope_halves_bf16_eights",
            (false, false, false) => "rope_halves_bf16",
        };
        let kernel = device.kernel("rope", &[], name)?;
        let tasks = count * self.pairs / if eights { taken } else { 1 };
        let threads = tasks.next_multiple_of(32).min(256) as u32;
        let direction: f32 = if direction == Direction::Forward { 1.0 } else { -1.0 };
        let arguments = [
            rows.argument(),
            self.table.into(),
            positions.into(),
            check.int("stride", stride)?.into(),
            check.int("heads", count)?.into(),
            check.int("width", width)?.into(),
            check.int("offset", offset)?.into(),
            check.int("pairs", self.pairs)?.into(),
            direction.into(),
        ];
        device.submit(&kernel, Grid::blocks(n, threads), &arguments)
    }
}
