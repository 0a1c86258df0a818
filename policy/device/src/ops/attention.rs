//! Attention over packed trees of sequences, forward and backward; see `kernels/attention.cu` and `attention_backward.cu`.

use half::bf16;

use super::heads::{Heads, int};
use super::tiles::{filled, tile_stride};
use super::tree::{BACKWARD_BLOCK, QUERY_BLOCK, Tree};
use crate::{Device, DeviceError, Grid, Kernel, Result, Slice};

const THREADS: u32 = 128;
/// Keys of a tile in the forward pass, as in the kernel.
const KEYS: usize = 64;

/// Attention over a packed batch.
///
/// Queries, keys and values are turned to their positions already. Widths are multiples of 8; heads of queries are
/// [`Tree::group`] times those of keys and values.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// How the rows hang together.
    pub tree: &'a Tree,
    /// `[rows, heads, query width]`.
    pub query: Heads<'a>,
    /// `[rows, key heads, query width]`.
    pub key: Heads<'a>,
    /// `[rows, key heads, value width]`.
    pub value: Heads<'a>,
    /// What the scores are multiplied with before the softmax: more than 0.
    pub scale: f32,
}

/// What the forward pass gives.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a> {
    /// `[rows, heads, value width]`.
    pub out: Slice<'a, bf16>,
    /// Each row's log of the sum of exp(score), `[heads, rows]`: the backward pass needs it.
    pub totals: Slice<'a, f32>,
}

/// Where the backward pass puts the gradients of query, key and value: nothing is added to what was there.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// `[rows, heads, query width]`.
    pub query: Heads<'a>,
    /// `[rows, key heads, query width]`.
    pub key: Heads<'a>,
    /// `[rows, key heads, value width]`.
    pub value: Heads<'a>,
}

impl Attention<'_> {
    /// Attends.
    ///
    /// # Errors
    /// If rows lie outside of their slices, or sizes do not fit each other, or widths are no multiples of 8.
    pub fn forward(&self, device: &Device, attended: Attended<'_>) -> Result<()> {
        const NAME: &str = "attention";
        let sizes = self.check(NAME, attended)?;
        let (blocks, block_list, runs) = self.tree.queries();
        let (key_row, value_row) = (tile_stride(self.query.width), tile_stride(self.value.width));
        let shared = 2 * (QUERY_BLOCK * key_row.max(value_row) + KEYS * (key_row + value_row));
        let [[query_row, query_head], [key_row, key_head], [value_row, value_head]] = self.strides();
        device.submit(
            &self.kernel(device, "attention", "attention_forward")?,
            Grid::blocks_3d([blocks, self.query.heads, 1], THREADS).with_shared(shared),
            &[
                attended.out.into(),
                attended.totals.into(),
                self.query.data.into(),
                self.key.data.into(),
                self.value.data.into(),
                block_list.into(),
                runs.into(),
                sizes.rows.into(),
                sizes.heads.into(),
                sizes.group.into(),
                query_row.into(),
                query_head.into(),
                key_row.into(),
                key_head.into(),
                value_row.into(),
                value_head.into(),
                self.scale.into(),
            ],
        )
    }

    /// Numbers that [`Attention::backward`] needs as its workspace.
    pub fn backward_workspace(&self) -> usize {
        let sums = self.tree.slots() * self.key.heads * BACKWARD_BLOCK * (self.query.width + self.value.width);
        sums + self.query.heads * self.tree.rows()
    }

    /// The gradients for that of the result, `d_out [rows, heads, value width]`. What was in `workspace` is lost.
    ///
    /// # Errors
    /// As [`Attention::forward`].
    pub fn backward(
        &self,
        device: &Device,
        gradients: Gradients<'_>,
        attended: Attended<'_>,
        d_out: Slice<'_, bf16>,
        workspace: Slice<'_, f32>,
    ) -> Result<()> {
        const NAME: &str = "attention, backward";
        let sizes = self.check(NAME, attended)?;
        let rows = self.tree.rows();
        Heads::packed(d_out, self.query.heads, self.value.width).check(NAME, "the result's gradient", rows)?;
        for (name, gradient, of) in [
            ("the query's gradient", gradients.query, self.query),
            ("the key's gradient", gradients.key, self.key),
            ("the value's gradient", gradients.value, self.value),
        ] {
            gradient.check(NAME, name, rows)?;
            if (gradient.heads, gradient.width) != (of.heads, of.width) {
                return Err(DeviceError::operation(NAME, format!("{name}: {gradient:?} for {of:?}")));
            }
        }
        if workspace.len() < self.backward_workspace() || !workspace.is_aligned(16) {
            let message = format!("a workspace of {} numbers, {} needed", workspace.len(), self.backward_workspace());
            return Err(DeviceError::operation(NAME, message));
        }
        let dots = workspace.slice(self.backward_workspace() - self.query.heads * rows..);
        device.submit(
            &self.kernel(device, "attention_backward", "attention_backward_dots")?,
            Grid::blocks((rows * self.query.heads).div_ceil(THREADS as usize / 32), THREADS),
            &[dots.into(), attended.out.into(), d_out.into(), sizes.rows.into(), sizes.heads.into()],
        )?;
        let known = Known { d_out, totals: attended.totals, dots, sizes };
        self.key_gradients(device, gradients, known, workspace)?;
        self.query_gradients(device, gradients.query, known)
    }

    /// By blocks of keys; those in several parts are added up after.
    fn key_gradients(
        &self,
        device: &Device,
        Gradients { key, value, .. }: Gradients<'_>,
        Known { d_out, totals, dots, sizes }: Known<'_>,
        partial: Slice<'_, f32>,
    ) -> Result<()> {
        let (blocks, block_list, runs) = self.tree.keys();
        let [[query_row, query_head], [key_row, key_head], [value_row, value_head]] = self.strides();
        let ([d_key_row, d_key_head], [d_value_row, d_value_head]) = (key.strides(), value.strides());
        device.submit(
            &self.kernel(device, "attention_backward", "attention_backward_keys")?,
            // Each query of a tile has two more numbers.
            Grid::blocks_3d([blocks, self.key.heads, 1], THREADS)
                .with_shared(self.backward_shared() + 2 * self.backward_tile() * size_of::<[f32; 2]>()),
            &[
                key.data.into(),
                value.data.into(),
                partial.into(),
                self.query.data.into(),
                self.key.data.into(),
                self.value.data.into(),
                d_out.into(),
                totals.into(),
                dots.into(),
                block_list.into(),
                runs.into(),
                sizes.rows.into(),
                sizes.heads.into(),
                sizes.group.into(),
                query_row.into(),
                query_head.into(),
                key_row.into(),
                key_head.into(),
                value_row.into(),
                value_head.into(),
                d_key_row.into(),
                d_key_head.into(),
                d_value_row.into(),
                d_value_head.into(),
                self.scale.into(),
            ],
        )?;
        let (sums, sum_list) = self.tree.sums();
        device.submit(
            &self.kernel(device, "attention_backward", "attention_backward_sum")?,
            Grid::blocks_3d([sums, self.key.heads, 1], 256),
            &[
                key.data.into(),
                value.data.into(),
                partial.into(),
                sum_list.into(),
                (self.key.heads as i32).into(),
                d_key_row.into(),
                d_key_head.into(),
                d_value_row.into(),
                d_value_head.into(),
            ],
        )
    }

    /// By blocks of queries.
    fn query_gradients(
        &self,
        device: &Device,
        d_query: Heads<'_>,
        Known { d_out, totals, dots, sizes }: Known<'_>,
    ) -> Result<()> {
        const PIECES: usize = QUERY_BLOCK / BACKWARD_BLOCK;
        let (blocks, block_list, runs) = self.tree.queries();
        let [[query_row, query_head], [key_row, key_head], [value_row, value_head]] = self.strides();
        let [d_query_row, d_query_head] = d_query.strides();
        device.submit(
            &self.kernel(device, "attention_backward", "attention_backward_queries")?,
            Grid::blocks_3d([PIECES * blocks, self.query.heads, 1], THREADS).with_shared(self.backward_shared()),
            &[
                d_query.data.into(),
                self.query.data.into(),
                self.key.data.into(),
                self.value.data.into(),
                d_out.into(),
                totals.into(),
                dots.into(),
                block_list.into(),
                runs.into(),
                (PIECES as i32).into(),
                sizes.rows.into(),
                sizes.heads.into(),
                sizes.group.into(),
                query_row.into(),
                query_head.into(),
                key_row.into(),
                key_head.into(),
                value_row.into(),
                value_head.into(),
                d_query_row.into(),
                d_query_head.into(),
                self.scale.into(),
            ],
        )
    }

    /// Rows of a tile of those that a block of the backward pass walks over, as in the kernels.
    fn backward_tile(&self) -> usize {
        if filled(self.query.width) + filled(self.value.width) > 256 { 32 } else { 64 }
    }

    /// Shared memory for a block's own rows and two tiles of others.
    fn backward_shared(&self) -> usize {
        let row = tile_stride(self.query.width) + tile_stride(self.value.width);
        2 * row * (BACKWARD_BLOCK + 2 * self.backward_tile())
    }

    fn kernel(&self, device: &Device, file: &'static str, name: &str) -> Result<Kernel> {
        device.kernel(file, &[("QK", self.query.width as i64), ("V", self.value.width as i64)], name)
    }

    fn strides(&self) -> [[i32; 2]; 3] {
        [self.query.strides(), self.key.strides(), self.value.strides()]
    }

    fn check(&self, operation: &'static str, Attended { out, totals }: Attended<'_>) -> Result<Sizes> {
        let Attention { tree, query, key, value, .. } = *self;
        let rows = tree.rows();
        query.check(operation, "query", rows)?;
        key.check(operation, "key", rows)?;
        value.check(operation, "value", rows)?;
        Heads::packed(out, query.heads, value.width).check(operation, "result", rows)?;
        let grouped = query.heads == key.heads * tree.group() && value.heads == key.heads;
        if !grouped || query.width != key.width || totals.len() < query.heads * rows {
            let message = format!(
                "{} queries of {} in groups of {}, {} keys of {}, {} values; {} totals for {rows} rows",
                query.heads,
                query.width,
                tree.group(),
                key.heads,
                key.width,
                value.heads,
                totals.len()
            );
            return Err(DeviceError::operation(operation, message));
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(DeviceError::operation(operation, format!("scores times {}", self.scale)));
        }
        let heads = int(operation, "heads", query.heads)?;
        Ok(Sizes { rows: int(operation, "rows", rows)?, heads, group: tree.group() as i32 })
    }
}

/// What both kernels of the backward pass read.
#[derive(Clone, Copy)]
struct Known<'a> {
    d_out: Slice<'a, bf16>,
    totals: Slice<'a, f32>,
    /// The product of each head's result and its gradient, `[heads, rows]`.
    dots: Slice<'a, f32>,
    sizes: Sizes,
}

/// Sizes as kernels take them.
#[derive(Clone, Copy)]
struct Sizes {
    rows: i32,
    heads: i32,
    group: i32,
}
