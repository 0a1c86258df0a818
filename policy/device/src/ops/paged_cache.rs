//! The cache of decoding: pages of tokens, and each sequence's table of its pages.
//!
//! Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", 2023. Sequences may share
//! pages, as completions of one prompt do; one that writes into a page that others read too needs a copy of it first.

use half::bf16;

use super::heads::{Heads, int};
use crate::{Device, DeviceError, Grid, Result, Slice};

const THREADS: u32 = 256;

/// Which pages hold the tokens of which sequence.
#[derive(Debug, Clone, Copy)]
pub struct PageTable<'a> {
    /// `[sequences, row]`: each sequence's pages in order. What stands after its last page is not read.
    pub pages: Slice<'a, i32>,
    /// Pages that a sequence may have.
    pub row: usize,
    /// Tokens of a page.
    pub tokens: usize,
}

impl PageTable<'_> {
    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.pages.len() / self.row.max(1)
    }

    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        if self.row == 0 || self.tokens == 0 || !self.pages.len().is_multiple_of(self.row) {
            let message = format!("{} pages in rows of {}, of {} tokens", self.pages.len(), self.row, self.tokens);
            return Err(DeviceError::operation(operation, message));
        }
        Ok(())
    }
}

/// New rows of a cache, `[rows, 1, width]`, and where they go: a cache `[pages * tokens, 1, width]`.
///
/// Keys and values of several heads count as one head here: they lie side by side on both sides.
#[derive(Debug, Clone, Copy)]
pub struct Appended<'a> {
    /// The cache.
    pub cache: Heads<'a>,
    /// The rows.
    pub rows: Heads<'a>,
}

/// Appends to the cache two parts of each token, such as its keys and values, or its latent and rotary key.
///
/// Row r belongs to sequence `sequences[r]`, at `positions[r]`; a negative position says that it is not to be written.
/// No two rows may have the same place.
///
/// # Errors
/// If rows lie outside of their slices, or widths are no multiples of 8. The numbers in `sequences`, `positions` and the table
/// are not checked.
pub fn append(
    device: &Device,
    parts: [Appended<'_>; 2],
    table: PageTable<'_>,
    sequences: Slice<'_, i32>,
    positions: Slice<'_, i32>,
) -> Result<()> {
    const NAME: &str = "appending to the cache";
    let rows = sequences.len();
    table.check(NAME)?;
    for part in &parts {
        part.rows.check(NAME, "rows", rows)?;
        part.cache.check(NAME, "cache", table.tokens)?;
        if part.rows.heads != 1 || part.cache.heads != 1 || part.rows.width != part.cache.width {
            let message = format!("rows of {} numbers for a cache of {}", part.rows.width, part.cache.width);
            return Err(DeviceError::operation(NAME, message));
        }
    }
    if positions.len() != rows {
        let message = format!("{rows} rows and {} positions", positions.len());
        return Err(DeviceError::operation(NAME, message));
    }
    let [first, second] = parts;
    device.submit(
        &device.kernel("paged_cache", &[("PAGE_TOKENS", table.tokens as i64)], "cache_append")?,
        Grid::covering(rows * (first.rows.width + second.rows.width) / 8, THREADS),
        &[
            first.cache.data.into(),
            second.cache.data.into(),
            first.rows.data.into(),
            second.rows.data.into(),
            table.pages.into(),
            sequences.into(),
            positions.into(),
            int(NAME, "rows", rows)?.into(),
            int(NAME, "pages", table.row)?.into(),
            (first.rows.width as i32).into(),
            first.cache.strides()[0].into(),
            first.rows.strides()[0].into(),
            (second.rows.width as i32).into(),
            second.cache.strides()[0].into(),
            second.rows.strides()[0].into(),
        ],
    )
}

/// Copies pages of a cache, `page_width` numbers each: `pairs [.., 2]` of a page and the one that it is copied to. No page is
/// both, and none is written twice.
///
/// # Errors
/// If pages are no multiples of 8 numbers. The numbers in `pairs` are not checked.
pub fn copy_pages(device: &Device, cache: Slice<'_, bf16>, page_width: usize, pairs: Slice<'_, i32>) -> Result<()> {
    const NAME: &str = "copying pages of the cache";
    if !page_width.is_multiple_of(8) || !cache.is_aligned(16) || !pairs.len().is_multiple_of(2) {
        let message = format!("pages of {page_width} numbers, {} numbers of pairs", pairs.len());
        return Err(DeviceError::operation(NAME, message));
    }
    device.submit(
        // How many tokens a page has does not matter here.
        &device.kernel("paged_cache", &[("PAGE_TOKENS", 1)], "cache_copy_pages")?,
        Grid::blocks(pairs.len() / 2, THREADS),
        &[cache.into(), pairs.into(), int(NAME, "numbers of a page", page_width)?.into()],
    )
}
