//! From the product that makes queries, keys and values to attention over the cache, in one launch: biases, norms, the rotary
//! embedding, and the cache. See `kernels/decode_heads.cu`. A step of decoding is made of many small launches, and these
//! would be six of them.

use half::bf16;

use super::checks::Checks;
use super::paged_cache::PageTable;
use super::rms_norm::RmsNorm;
use super::rope::Rope;
use crate::{Argument, Device, Grid, Result, Slice};

/// Warps of a block, each of which takes one head.
const WARPS: usize = 4;

/// Heads of a layer, and what is done with them.
#[derive(Clone, Copy)]
pub struct DecodeHeads<'a> {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys, and of values.
    pub key_heads: usize,
    /// Numbers of a head, a multiple of 8.
    pub width: usize,
    /// What is added first: `[heads + 2 key heads, width]`.
    pub bias: Option<Slice<'a, f32>>,
    /// The norms of each head's query and key, of one `eps`.
    pub norms: Option<[RmsNorm<'a>; 2]>,
    /// The angles by which queries and keys are turned, from a head's first number on.
    pub rope: Rope<'a>,
}

/// The cache of a layer, and where each row's token goes.
#[derive(Clone, Copy)]
pub struct HeadCache<'a> {
    /// `[pages * tokens, key heads, width]`
    pub keys: Slice<'a, bf16>,
    /// The same.
    pub values: Slice<'a, bf16>,
    /// Each row's pages.
    pub table: PageTable<'a>,
    /// `[rows]`: the token's place in its context; a negative one says that it is not to be cached. No two rows may have the
    /// same place in the cache.
    pub places: Slice<'a, i32>,
}

impl DecodeHeads<'_> {
    /// `query` `[rows, heads, width]`, and the cache's new keys and values, of `x` `[rows, heads + 2 key heads, width]`: queries,
    /// keys and values side by side. `positions` `[rows]` says by which of the table's angles rows are turned.
    ///
    /// # Errors
    /// Sizes that do not fit together, or the device's. The numbers in positions, places and the table are not checked.
    pub fn run(
        &self,
        device: &Device,
        query: Slice<'_, bf16>,
        x: Slice<'_, bf16>,
        positions: Slice<'_, u32>,
        cache: HeadCache<'_>,
    ) -> Result<()> {
        const NAME: &str = "heads of new tokens";
        let (check, rows) = (Checks(NAME), positions.len());
        let DecodeHeads { heads, key_heads, width, bias, norms, rope } = *self;
        let all = heads + 2 * key_heads;
        check.in_eights("the width", width)?;
        check.that(heads > 0 && key_heads > 0 && rope.pairs > 0 && 2 * rope.pairs <= width, || {
            format!("{heads} and {key_heads} heads of {width} numbers, of which {} pairs turn", rope.pairs)
        })?;
        check.holds("the rows", x.len(), rows * all * width)?;
        check.holds("the queries", query.len(), rows * heads * width)?;
        check.holds("the places", cache.places.len(), rows)?;
        cache.table.check(NAME)?;
        check.has_room("the rows' pages", cache.table.sequences(), rows)?;
        check.has_room("the cache", cache.keys.len(), cache.table.tokens * key_heads * width)?;
        check.holds("the cache of values", cache.values.len(), cache.keys.len())?;
        if let Some(bias) = bias {
            check.holds("the bias", bias.len(), all * width)?;
            check.aligned("the bias", bias)?;
        }
        for RmsNorm { weight, .. } in norms.iter().flatten() {
            check.holds("a norm's weight", weight.len(), width)?;
            check.aligned("a norm's weight", *weight)?;
        }
        for rows in [x, query, cache.keys, cache.values] {
            check.aligned("rows", rows)?;
        }
        let arguments = [
            query.into(),
            cache.keys.into(),
            cache.values.into(),
            x.into(),
            Argument::or_null(bias),
            Argument::or_null(norms.map(|[query, _]| query.weight)),
            Argument::or_null(norms.map(|[_, key]| key.weight)),
            rope.table.into(),
            positions.into(),
            cache.places.into(),
            cache.table.pages.into(),
            check.int("the pages", cache.table.row)?.into(),
            check.int("the heads", heads)?.into(),
            check.int("the heads of keys", key_heads)?.into(),
            check.int("the width", width)?.into(),
            check.int("the pairs", rope.pairs)?.into(),
            i32::from(rope.interleaved).into(),
            norms.map_or(0.0, |[query, _]| query.eps).into(),
        ];
        let kernel = device.kernel("decode_heads", &[("PAGE_TOKENS", cache.table.tokens as i64)], "decode_heads")?;
        let grid = Grid::blocks_3d([rows, all.div_ceil(WARPS), 1], 32 * WARPS as u32);
        device.submit(&kernel, grid.with_shared(WARPS * width * size_of::<bf16>()), &arguments)
    }
}
