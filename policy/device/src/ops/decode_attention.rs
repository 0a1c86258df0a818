//! Attention of one new token of each sequence over a paged cache; see `kernels/decode_attention.cu`.
//!
//! A result depends on its own sequence and on [`DecodeAttention::splits`] only, to the bit, not on the other sequences of the
//! batch. The launch is the same whatever the lengths, so that it can be recorded. (A kernel is compiled when it is first used: use
//! it once before recording.)

use half::bf16;

use super::heads::{Heads, int};
use super::paged_cache::PageTable;
use super::tiles::tile_stride;
use crate::{Buffer, Device, DeviceError, Grid, Result, Slice};

const NAME: &str = "decoding attention";
/// Tokens of a tile, as in the kernel.
const KEYS: usize = 64;
/// Shared memory of a block besides the dynamic one: what tells it whether it is the last of its sequence.
const STATIC_SHARED_BYTES: usize = 16;

/// Sizes of decoding attention.
#[derive(Debug, Clone, Copy)]
pub struct DecodeAttention {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys; they divide the heads of queries. 1 in the latent space.
    pub key_heads: usize,
    /// Width of a query and key, a multiple of 8.
    pub query_width: usize,
    /// Width of a value, a multiple of 8.
    pub value_width: usize,
    /// What the scores are multiplied with before the softmax.
    pub scale: f32,
    /// Into how many parts a sequence's tokens are split, each computed by blocks of its own.
    pub splits: usize,
}

/// The cached keys and values of a layer, and which of them belong to which sequence.
#[derive(Debug, Clone, Copy)]
pub struct CachedHeads<'a> {
    /// Keys `[pages * tokens, key heads, query width]`.
    pub keys: Heads<'a>,
    /// Values `[pages * tokens, key heads, value width]`. None where the value is the first numbers of the key, as it is in
    /// the latent space.
    pub values: Option<Heads<'a>>,
    /// The sequences' pages.
    pub table: PageTable<'a>,
    /// `[sequences]`: how many tokens of each are in the cache, its new one among them.
    pub lengths: Slice<'a, i32>,
}

/// What [`DecodeAttention::run`] writes on the way; one serves all layers, one after the other.
#[derive(Debug)]
pub struct DecodeWorkspace {
    /// What the parts of each sequence come to, and the logs of their sums.
    parts: Buffer<f32>,
    /// How many parts of each sequence's heads are done: 0 but while a kernel runs.
    done: Buffer<u32>,
}

impl DecodeWorkspace {
    /// For operations over so many sequences each, of which one runs at a time.
    ///
    /// # Errors
    /// The device's memory.
    pub fn new(device: &Device, uses: &[(DecodeAttention, usize)]) -> Result<Self> {
        let most = |needed: fn(&(DecodeAttention, usize)) -> usize| uses.iter().map(needed).max().unwrap_or(0);
        let parts = most(|(attention, sequences)| attention.part_numbers(*sequences));
        let counts = most(|(attention, sequences)| attention.heads * sequences);
        let what = "workspace of attention";
        Ok(DecodeWorkspace { parts: device.alloc(parts, what)?, done: device.zeros(counts, what)? })
    }
}

impl DecodeAttention {
    /// Into how many parts contexts of up to so many tokens are split: the longer they are, the more blocks share one. It depends
    /// on nothing else, such as how many sequences there are, so that a sequence's result does not either.
    #[must_use]
    pub fn splits_for(most_tokens: usize) -> usize {
        most_tokens.div_ceil(1024).clamp(2, 16)
    }

    /// Numbers that the parts of so many sequences come to.
    fn part_numbers(&self, sequences: usize) -> usize {
        sequences * self.heads * self.splits * (self.value_width + 1)
    }

    /// Dynamic shared memory of a block of `row_tiles` tiles of 16 heads with `stages` tiles of keys, as the kernel lays it
    /// out.
    fn shared_bytes(&self, row_tiles: usize, stages: usize, value_in_key: bool) -> usize {
        let rows = 16 * row_tiles;
        let groups = if row_tiles > 1 { row_tiles / 2 } else { 1 };
        let parts = self.warps() / groups;
        let (key_row, value_row) = (tile_stride(self.query_width), tile_stride(self.value_width));
        let weights_in_key = value_in_key && self.query_width >= self.value_width + KEYS && rows <= KEYS;
        let values = if value_in_key { 0 } else { stages * KEYS * value_row };
        let weights = if weights_in_key { 0 } else { rows * tile_stride(KEYS) };
        2 * (rows * key_row + stages * KEYS * key_row + values + weights) + 4 * parts * rows
    }

    /// Tiles of heads and stages of a block for groups of so many heads: the most that fit into its shared memory.
    fn shape(&self, group: usize, value_in_key: bool, shared_memory: usize) -> Option<(usize, usize)> {
        let wanted = group.div_ceil(16).next_power_of_two().min(4);
        // Two stages if they fit: an A100 has no room for those of keys as wide as DeepSeek's.
        let mut shapes = [2, 1].into_iter().flat_map(|stages| [4, 2, 1].map(|row_tiles| (row_tiles, stages)));
        shapes.find(|&(row_tiles, stages)| {
            let bytes = self.shared_bytes(row_tiles, stages, value_in_key) + STATIC_SHARED_BYTES;
            row_tiles <= wanted && bytes <= shared_memory
        })
    }

    /// Warps of a block, as in the kernel.
    fn warps(&self) -> usize {
        if self.value_width > 256 { 8 } else { 4 }
    }

    /// `out [sequences, heads, value width]` for `query [sequences, heads, query width]`, turned to its position. A sequence of
    /// length 0 gets zeros.
    ///
    /// # Errors
    /// If lengths of slices do not fit, or widths are no multiples of 8 or too large for the device. The numbers in `lengths`
    /// and the table are not checked.
    pub fn run(
        &self,
        device: &Device,
        out: Slice<'_, bf16>,
        query: Slice<'_, bf16>,
        cached: CachedHeads<'_>,
        workspace: &DecodeWorkspace,
    ) -> Result<()> {
        let DecodeAttention { heads, key_heads, query_width, value_width, scale, splits } = *self;
        let wrong = |message: String| Err(DeviceError::operation(NAME, message));
        let CachedHeads { table, lengths, .. } = cached;
        let sequences = lengths.len();
        table.check(NAME)?;
        if key_heads == 0 || !heads.is_multiple_of(key_heads) || splits == 0 {
            return wrong(format!("{heads} heads over {key_heads} heads of keys, in {splits} parts"));
        }
        Heads::packed(query, heads, query_width).check(NAME, "query", sequences)?;
        Heads::packed(out, heads, value_width).check(NAME, "out", sequences)?;
        let values = cached.values.unwrap_or_else(|| cached.keys.columns(0..value_width.min(cached.keys.width)));
        cached.keys.check(NAME, "keys", table.tokens)?;
        values.check(NAME, "values", table.tokens)?;
        if (cached.keys.width, values.width, cached.keys.heads) != (query_width, value_width, key_heads) {
            return wrong(format!("{self:?} over keys of {} and values of {}", cached.keys.width, values.width));
        }
        let DecodeWorkspace { parts, done } = workspace;
        let has_room = parts.len() >= self.part_numbers(sequences) && done.len() >= heads * sequences;
        if table.sequences() < sequences || !has_room {
            let message = format!("{} rows of pages, a workspace of {}", table.sequences(), parts.len());
            return wrong(format!("{sequences} sequences, but {message}"));
        }
        let (group, value_in_key) = (heads / key_heads, cached.values.is_none());
        let Some((row_tiles, stages)) = self.shape(group, value_in_key, device.shared_memory()) else {
            return wrong(format!("keys of {query_width} and values of {value_width} do not fit into shared memory"));
        };
        let defines = [
            ("QK", query_width as i64),
            ("V", value_width as i64),
            ("VALUE_IN_KEY", i64::from(value_in_key)),
            ("ROW_TILES", row_tiles as i64),
            ("STAGES", stages as i64),
            ("PAGE_TOKENS", table.tokens as i64),
        ];
        let totals = parts.slice(sequences * heads * splits * value_width..);
        let ([key_row, key_head], [value_row, value_head]) = (cached.keys.strides(), values.strides());
        device.submit(
            &device.kernel("decode_attention", &defines, "decode_attention")?,
            Grid::blocks_3d([splits, key_heads * group.div_ceil(16 * row_tiles), sequences], 32 * self.warps() as u32)
                .with_shared(self.shared_bytes(row_tiles, stages, value_in_key)),
            &[
                out.into(),
                parts.into(),
                totals.into(),
                done.into(),
                query.into(),
                cached.keys.data.into(),
                values.data.into(),
                table.pages.into(),
                lengths.into(),
                int(NAME, "pages", table.row)?.into(),
                int(NAME, "heads", heads)?.into(),
                int(NAME, "heads", group)?.into(),
                key_row.into(),
                key_head.into(),
                value_row.into(),
                value_head.into(),
                scale.into(),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_room_for_its_static_memory_too() {
        let attention =
            DecodeAttention { heads: 16, key_heads: 1, query_width: 576, value_width: 512, scale: 1.0, splits: 2 };
        let [two, one] = [2, 1].map(|stages| attention.shared_bytes(1, stages, true));
        let shape = |shared_memory| attention.shape(16, true, shared_memory);
        assert_eq!(shape(two + STATIC_SHARED_BYTES), Some((1, 2)));
        assert_eq!(shape(two), Some((1, 1)));
        assert_eq!(shape(one + STATIC_SHARED_BYTES), Some((1, 1)));
        assert_eq!(shape(one), None);
    }
}
