//! Sizes of tiles in shared memory, as `kernels/tiles.cuh` lays them out.

/// A width filled up to whole steps of a product.
pub(crate) const fn filled(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// Numbers from one row of a tile to the next.
pub(crate) const fn tile_stride(width: usize) -> usize {
    filled(width) + 8
}
