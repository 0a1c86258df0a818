//! Rows of a table by token id, and the gradient's way back into the table.

use rayon::prelude::*;

use super::Real;
use super::sum::add_scaled;

/// Rows that one task copies.
const ROW_BLOCK: usize = 256;

/// The rows `ids` of `table` `[_, width]`, side by side.
pub fn gather_rows<T: Real>(table: &[T], ids: &[u32], width: usize) -> Vec<T> {
    let mut out = vec![T::zero(); ids.len() * width];
    out.par_chunks_mut(ROW_BLOCK * width).zip(ids.par_chunks(ROW_BLOCK)).for_each(|(out, ids)| {
        for (out, id) in out.chunks_exact_mut(width).zip(ids) {
            out.copy_from_slice(&table[*id as usize * width..(*id as usize + 1) * width]);
        }
    });
    out
}

/// `d_table[id] += dy` for each row, in the order of the rows.
pub fn gather_rows_backward<T: Real>(d_table: &mut [T], ids: &[u32], d_y: &[T], width: usize) {
    for (id, d_y) in ids.iter().zip(d_y.chunks_exact(width)) {
        add_scaled(&mut d_table[*id as usize * width..(*id as usize + 1) * width], d_y, T::one());
    }
}
