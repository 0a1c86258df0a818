//! Rows of heads as they lie in memory, and what moves them between layouts.
//!
//! Attention reads queries, keys and values where a projection has left them: side by side in one row, or a head's key and
//! value next to each other. A [`Heads`] says where. Multi-head latent attention is trained in its expanded form, in which
//! each head's key is its own part and one rotary part that all heads share: [`assemble_keys`] puts them together, and
//! [`take_keys_apart`] is its gradient, the shared part's summed over heads in order.

use std::ops::Range;

use half::bf16;

use crate::{Device, DeviceError, Grid, Result, Slice};

const THREADS: u32 = 256;

/// Rows of heads: number i of head h of row r lies at `r * row_stride + h * head_stride + i`.
///
/// All sizes and the place itself are multiples of 8 numbers, since kernels move 16 bytes at a time.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// Where they lie.
    pub data: Slice<'a, bf16>,
    /// Heads.
    pub heads: usize,
    /// Numbers of a head.
    pub width: usize,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one head to the next. 0 where all heads share one.
    pub head_stride: usize,
}

impl<'a> Heads<'a> {
    /// `[rows, heads, width]` without gaps.
    pub fn packed(data: Slice<'a, bf16>, heads: usize, width: usize) -> Self {
        Heads { data, heads, width, row_stride: heads * width, head_stride: width }
    }

    /// Some columns of each head.
    ///
    /// # Panics
    /// If a head has no such columns.
    pub fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.width, "columns {columns:?} of heads of {}", self.width);
        let data = self.data.slice(columns.start.min(self.data.len())..);
        Heads { data, width: columns.len(), ..self }
    }

    /// Where rows and heads of these lie, as kernels take it.
    pub(crate) fn strides(&self) -> [i32; 2] {
        // They were checked to fit.
        [self.row_stride as i32, self.head_stride as i32]
    }

    /// Checks that `rows` rows lie within the slice, and that 16 bytes can be moved at a time.
    pub(crate) fn check(&self, operation: &'static str, name: &str, rows: usize) -> Result<()> {
        let Heads { data, heads, width, row_stride, head_stride } = *self;
        let wrong = |message: String| Err(DeviceError::operation(operation, format!("{name}: {message}")));
        if [width, row_stride, head_stride].iter().any(|size| !size.is_multiple_of(8)) || !data.is_aligned(16) {
            return wrong(format!(
                "heads of {width} numbers, {head_stride} apart, in rows {row_stride} apart: only multiples of 8 work"
            ));
        }
        if width == 0 || heads == 0 || [row_stride, head_stride].iter().any(|&stride| stride > i32::MAX as usize) {
            return wrong(format!("{heads} heads of {width} numbers cannot be"));
        }
        let needed = if rows == 0 { 0 } else { (rows - 1) * row_stride + (heads - 1) * head_stride + width };
        if needed > data.len() {
            return wrong(format!("{rows} rows of {heads} heads need {needed} numbers, and there are {}", data.len()));
        }
        Ok(())
    }
}

/// A number of rows, heads or tokens as kernels take it.
pub(crate) fn int(operation: &'static str, what: &str, number: usize) -> Result<i32> {
    i32::try_from(number).map_err(|_| DeviceError::operation(operation, format!("{number} {what} are too many")))
}

/// `out = x` for `rows` rows; each says where its rows lie.
///
/// # Errors
/// If numbers of heads or widths differ, or rows lie outside of their slices.
pub fn copy(device: &Device, out: Heads<'_>, x: Heads<'_>, rows: usize) -> Result<()> {
    const NAME: &str = "copy of heads";
    out.check(NAME, "out", rows)?;
    x.check(NAME, "x", rows)?;
    if (out.heads, out.width) != (x.heads, x.width) {
        let message = format!("{} heads of {} into {} heads of {}", x.heads, x.width, out.heads, out.width);
        return Err(DeviceError::operation(NAME, message));
    }
    let ([out_row, out_head], [x_row, x_head]) = (out.strides(), x.strides());
    let [heads, width] = [out.heads as i32, out.width as i32];
    device.submit(
        &device.kernel("heads", &[], "copy_heads")?,
        Grid::covering(rows * out.heads * out.width / 8, THREADS),
        &[
            out.data.into(),
            x.data.into(),
            int(NAME, "rows", rows)?.into(),
            heads.into(),
            width.into(),
            out_row.into(),
            out_head.into(),
            x_row.into(),
            x_head.into(),
        ],
    )
}

/// The keys of multi-head latent attention: `keys [rows, heads, nope + rope]` of each head's own part, the first `nope`
/// columns of `key_value [rows, heads, nope + value]`, and the shared `rotary [rows, 1, rope]`, turned already.
///
/// # Errors
/// If rows lie outside of their slices, or widths are no multiples of 8.
pub fn assemble_keys(
    device: &Device,
    keys: Heads<'_>,
    key_value: Heads<'_>,
    rotary: Heads<'_>,
    rows: usize,
) -> Result<()> {
    let nope = own_part("keys", keys, key_value, rotary)?;
    copy(device, keys.columns(0..nope), key_value.columns(0..nope), rows)?;
    copy(device, keys.columns(nope..keys.width), Heads { heads: keys.heads, head_stride: 0, ..rotary }, rows)
}

/// The gradient of [`assemble_keys`]: of `d_keys [rows, heads, nope + rope]`, the first `nope` columns of
/// `d_key_value [rows, heads, nope + value]`, whose other columns stay as they are, and `d_rotary [rows, 1, rope]`.
///
/// # Errors
/// As [`assemble_keys`].
pub fn take_keys_apart(
    device: &Device,
    d_key_value: Heads<'_>,
    d_rotary: Heads<'_>,
    d_keys: Heads<'_>,
    rows: usize,
) -> Result<()> {
    const NAME: &str = "gradient of keys";
    let nope = own_part(NAME, d_keys, d_key_value, d_rotary)?;
    copy(device, d_key_value.columns(0..nope), d_keys.columns(0..nope), rows)?;
    let shared = d_keys.columns(nope..d_keys.width);
    shared.check(NAME, "d_keys", rows)?;
    d_rotary.check(NAME, "d_rotary", rows)?;
    let [x_row, x_head] = shared.strides();
    device.submit(
        &device.kernel("heads", &[], "sum_heads")?,
        Grid::covering(rows * shared.width / 8, THREADS),
        &[
            d_rotary.data.into(),
            shared.data.into(),
            int(NAME, "rows", rows)?.into(),
            (shared.heads as i32).into(),
            (shared.width as i32).into(),
            d_rotary.strides()[0].into(),
            x_row.into(),
            x_head.into(),
        ],
    )
}

/// Width of the part of a key that each head has of its own.
fn own_part(operation: &'static str, keys: Heads<'_>, key_value: Heads<'_>, rotary: Heads<'_>) -> Result<usize> {
    let nope = keys.width.saturating_sub(rotary.width);
    if rotary.heads != 1 || keys.heads != key_value.heads || nope == 0 || nope > key_value.width {
        let message = format!(
            "keys of {} heads of {}, of {} heads of {} and {} rotary parts of {}",
            keys.heads, keys.width, key_value.heads, key_value.width, rotary.heads, rotary.width
        );
        return Err(DeviceError::operation(operation, message));
    }
    Ok(nope)
}
