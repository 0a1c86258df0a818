//! What decoding does around a step: where each slot's new token goes, changes of the tables of pages, and the experts that
//! tokens went to, which are noted in a cache with the same pages. See `kernels/slots.cu`.

use super::checks::Checks;
use super::paged_cache::PageTable;
use crate::{Device, Grid, Result, Slice};

const THREADS: u32 = 256;

/// For each slot the place of its new token, `places`, and how many tokens attention reads, `lengths`, both `[slots]`, from the
/// `position` of the token. A slot that is not being drawn has place -1 and length 0.
///
/// # Errors
/// Sizes that do not fit together, or the device's.
pub fn place_tokens(
    device: &Device,
    (places, lengths): (Slice<'_, i32>, Slice<'_, i32>),
    position: Slice<'_, u32>,
    state: Slice<'_, u8>,
) -> Result<()> {
    let (check, slots) = (Checks("place tokens"), state.len());
    for (what, len) in [("the places", places.len()), ("the lengths", lengths.len()), ("the positions", position.len())]
    {
        check.holds(what, len, slots)?;
    }
    let arguments =
        [places.into(), lengths.into(), position.into(), state.into(), check.int("the slots", slots)?.into()];
    device.submit(&device.kernel("slots", &[], "place_tokens")?, Grid::covering(slots, THREADS), &arguments)
}

/// Sets entries of the tables of pages: `edits` `[.., 2]` of a place in `pages` and what is to stand there. No place may occur
/// twice, and the numbers are not checked.
///
/// # Errors
/// An odd number of numbers, or the device's.
pub fn edit_pages(device: &Device, pages: Slice<'_, i32>, edits: Slice<'_, i32>) -> Result<()> {
    let (check, count) = (Checks("edit tables of pages"), edits.len() / 2);
    check.holds("the edits", edits.len(), 2 * count)?;
    let arguments = [pages.into(), edits.into(), check.int("the edits", count)?.into()];
    device.submit(&device.kernel("slots", &[], "edit_pages")?, Grid::covering(count, THREADS), &arguments)
}

/// The experts that the tokens of a cache went to, in all layers of experts.
#[derive(Debug, Clone, Copy)]
pub struct NotedChoices<'a> {
    /// `[pages * tokens, layers, top_k]`
    pub choices: Slice<'a, u16>,
    /// Layers of experts.
    pub layers: usize,
    /// Experts of a token in one layer.
    pub top_k: usize,
}

impl NotedChoices<'_> {
    /// Notes where rows went in a layer: `chosen` `[rows, top_k]`. Row r belongs to sequence `sequences[r]`, at `positions[r]`; a
    /// negative one says that it is not to be noted.
    ///
    /// # Errors
    /// Sizes that do not fit together, or the device's. The numbers in `sequences`, `positions` and the table are not checked.
    pub fn note(
        &self,
        device: &Device,
        layer: usize,
        chosen: Slice<'_, u16>,
        table: PageTable<'_>,
        (sequences, positions): (Slice<'_, i32>, Slice<'_, i32>),
    ) -> Result<()> {
        const NAME: &str = "note choices of experts";
        let (check, rows) = (Checks(NAME), sequences.len());
        table.check(NAME)?;
        check.holds("the positions", positions.len(), rows)?;
        check.holds("the choices", chosen.len(), rows * self.top_k)?;
        check.that(layer < self.layers, || format!("layer {layer} of {}", self.layers))?;
        let kernel = device.kernel("slots", &[], "note_choices")?;
        let arguments = [
            self.choices.into(),
            chosen.into(),
            table.pages.into(),
            sequences.into(),
            positions.into(),
            check.int("the rows", rows)?.into(),
            check.int("the pages", table.row)?.into(),
            check.int("the tokens of a page", table.tokens)?.into(),
            check.int("the layer", layer)?.into(),
            check.int("the layers", self.layers)?.into(),
            check.int("the experts of a token", self.top_k)?.into(),
        ];
        device.submit(&kernel, Grid::covering(rows * self.top_k, THREADS), &arguments)
    }

    /// `out` `[tokens, layers, top_k]`: the experts of a sequence's tokens from `first` on. `table` is the sequence's row of
    /// pages.
    ///
    /// # Errors
    /// Sizes that do not fit together, or the device's. The numbers in the table are not checked.
    pub fn take(&self, device: &Device, out: Slice<'_, u16>, table: PageTable<'_>, first: usize) -> Result<()> {
        const NAME: &str = "take choices of experts";
        let (check, width) = (Checks(NAME), self.layers * self.top_k);
        table.check(NAME)?;
        let count = out.len() / width.max(1);
        check.holds("the choices", out.len(), count * width)?;
        check.that(table.sequences() == 1 && first + count <= table.row * table.tokens, || {
            format!("{count} tokens from {first} on, of {} pages of {}", table.pages.len(), table.tokens)
        })?;
        let arguments = [
            out.into(),
            self.choices.into(),
            table.pages.into(),
            check.int("the first token", first)?.into(),
            check.int("the tokens", count)?.into(),
            check.int("the tokens of a page", table.tokens)?.into(),
            check.int("the choices of a token", width)?.into(),
        ];
        let kernel = device.kernel("slots", &[], "take_choices")?;
        device.submit(&kernel, Grid::covering(out.len(), THREADS), &arguments)
    }
}
