//! Multi-head latent attention in the latent space, for decoding: what stands before and after [`super::decode_attention`].
//!
//! DeepSeek-V2, section 2.1.3. `W [heads * (nope + value), latent]` expands a latent to each head's key and value. A score
//! `q (W_k c)` is `(W_k^T q) c`, so a query is taken to the latent space once and cached latents are never expanded; the
//! weighted sum of latents is expanded by `W_v` at the end. Both are a product for each head, in one batch.

use half::bf16;

use super::heads::{Heads, copy};
use crate::{Batch, Device, DeviceError, Gemm, Result, Slice};

/// Sizes of a latent attention's heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSizes {
    /// Heads.
    pub heads: usize,
    /// Width of the part of a query and key without position.
    pub nope: usize,
    /// Width of the rotary part.
    pub rope: usize,
    /// Width of a value.
    pub value: usize,
    /// Width of a latent.
    pub latent: usize,
}

impl LatentSizes {
    /// Checks the length of `W`.
    fn check(&self, expand: &Slice<'_, bf16>) -> Result<()> {
        let needed = self.heads * (self.nope + self.value) * self.latent;
        if expand.len() == needed && needed > 0 {
            return Ok(());
        }
        let message = format!("the expanding weight has {} numbers, and {self:?} needs {needed}", expand.len());
        Err(DeviceError::operation("absorbed attention", message))
    }
}

/// Queries in the latent space: `out [rows, heads, latent + rope]` of `query [rows, heads, nope + rope]`, whose rotary part
/// is turned already; `expand` is `W`.
///
/// # Errors
/// If lengths do not fit the sizes, or these are no multiples of 8.
pub fn absorb_queries(
    device: &Device,
    sizes: LatentSizes,
    out: Slice<'_, bf16>,
    query: Slice<'_, bf16>,
    expand: Slice<'_, bf16>,
    rows: usize,
) -> Result<()> {
    let LatentSizes { heads, nope, rope, value, latent } = sizes;
    sizes.check(&expand)?;
    let (from, to) = (Heads::packed(query, heads, nope + rope), Heads::packed(out, heads, latent + rope));
    // This also checks both lengths.
    copy(device, to.columns(latent..latent + rope), from.columns(nope..nope + rope), rows)?;
    device.gemm(&Gemm {
        lda: from.row_stride,
        ldc: to.row_stride,
        batch: Some(Batch {
            count: heads,
            stride_a: from.head_stride,
            stride_b: (nope + value) * latent,
            stride_c: to.head_stride,
        }),
        ..Gemm::new([rows, latent, nope], query, expand, out)
    })
}

/// The heads' values: `out [rows, heads, value]` of weighted sums of latents `[rows, heads, latent]`; `expand` is `W`.
///
/// # Errors
/// If lengths do not fit the sizes.
pub fn expand_values(
    device: &Device,
    sizes: LatentSizes,
    out: Slice<'_, bf16>,
    summed: Slice<'_, bf16>,
    expand: Slice<'_, bf16>,
    rows: usize,
) -> Result<()> {
    let LatentSizes { heads, nope, value, latent, .. } = sizes;
    sizes.check(&expand)?;
    device.gemm(&Gemm {
        lda: heads * latent,
        ldc: heads * value,
        batch: Some(Batch { count: heads, stride_a: latent, stride_b: (nope + value) * latent, stride_c: value }),
        ..Gemm::new([rows, value, latent], summed, expand.slice(nope * latent..), out).transposed_b()
    })
}
