//! Sums and dot products in a fixed order: sixteen lanes, then a tree, whatever the processor's vector width.

use super::Real;

pub(crate) const LANES: usize = 16;

/// The lanes of a running sum, added up as a tree.
#[inline(always)]
pub(crate) fn fold<T: Real>(lanes: [T; LANES]) -> T {
    let mut width = LANES;
    let mut lanes = lanes;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

/// The dot product of two rows of one length.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let mut total = fold(lanes);
    for (x, y) in a_rest.iter().zip(b_rest) {
        total += *x * *y;
    }
    total
}

/// `out += scale * x`, elementwise.
#[inline(always)]
pub(crate) fn add_scaled<T: Real>(out: &mut [T], x: &[T], scale: T) {
    for (o, v) in out.iter_mut().zip(x) {
        *o += *v * scale;
    }
}
