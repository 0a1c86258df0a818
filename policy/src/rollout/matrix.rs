//! A weight as decoding multiplies with it: laid out for a small model, where it lies for a large one.
//!
//! A small model's weights stay in the caches, whatever their layout costs in memory: they are copied into panels
//! ([`PackedWeight`]), and each thread takes some rows through all of the model. A large model's are read from memory at each
//! token. They are shared with the policy (a layer's second projection, which checkpoints store the other way round, is
//! copied), and in each product the threads share the outputs, so that every number is read once.

use std::ops::Range;

use candle_core::{CpuStorage, Storage, Tensor};
use rayon::prelude::*;

use crate::ops::packed::PackedWeight;
use crate::ops::rows::few_rows_times_transposed;

/// A parameter's numbers, and in a large model the tensor that holds them.
#[derive(Clone)]
pub(super) struct Source<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) shared: Option<Tensor>,
}

/// A weight `[n, k]`, by whose transpose rows `[m, k]` are multiplied.
pub(super) enum Matrix {
    Packed(PackedWeight<f32>),
    /// Some of a tensor's numbers, row by row.
    Shared {
        tensor: Tensor,
        range: Range<usize>,
        k: usize,
    },
    /// Row by row, in memory of its own.
    Rows {
        numbers: Vec<f32>,
        k: usize,
    },
}

impl Source<'_> {
    /// The numbers in `range`, as they lie: `[n, k]`.
    pub(super) fn matrix(&self, range: Range<usize>, k: usize) -> Matrix {
        match &self.shared {
            None => Matrix::Packed(PackedWeight::from_rows(&self.numbers[range], k)),
            Some(tensor) => Matrix::Shared { tensor: tensor.clone(), range, k },
        }
    }

    /// All numbers, as they lie: `[n, k]`.
    pub(super) fn whole(&self, k: usize) -> Matrix {
        self.matrix(0..self.numbers.len(), k)
    }

    /// All numbers, as they lie, for rows to be looked up.
    pub(super) fn table(&self, k: usize) -> Matrix {
        match &self.shared {
            None => Matrix::Rows { numbers: self.numbers.to_vec(), k },
            Some(_) => self.whole(k),
        }
    }

    /// The numbers in `range`, which lie as `[k, n]`.
    pub(super) fn transposed(&self, range: Range<usize>, n: usize) -> Matrix {
        let (numbers, k) = (&self.numbers[range.clone()], range.len() / n);
        if self.shared.is_none() {
            return Matrix::Packed(PackedWeight::from_columns(numbers, n));
        }
        let mut rows = vec![0.0; numbers.len()];
        rows.par_chunks_exact_mut(k).enumerate().for_each(|(j, row)| {
            row.iter_mut().enumerate().for_each(|(l, value)| *value = numbers[l * n + j]);
        });
        Matrix::Rows { numbers: rows, k }
    }
}

impl Matrix {
    /// `x w^T` of rows that lie one after the other.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        match self {
            Matrix::Packed(weight) => weight.apply(x),
            Matrix::Rows { numbers, k } => few_rows(x, numbers, *k),
            Matrix::Shared { tensor, range, k } => {
                with_shared(tensor, |numbers| few_rows(x, &numbers[range.clone()], *k))
            }
        }
    }

    /// Copies the weight's rows `ids` side by side; it must not be packed.
    pub(super) fn copy_rows(&self, out: &mut [f32], ids: impl Iterator<Item = u32>) {
        let copy = |out: &mut [f32], numbers: &[f32], k: usize| {
            for (out, id) in out.chunks_exact_mut(k).zip(ids) {
                out.copy_from_slice(&numbers[id as usize * k..(id as usize + 1) * k]);
            }
        };
        match self {
            Matrix::Packed(_) => unreachable!("a table is not packed"),
            Matrix::Rows { numbers, k } => copy(out, numbers, *k),
            Matrix::Shared { tensor, range, k } => {
                with_shared(tensor, |numbers| copy(out, &numbers[range.clone()], *k))
            }
        }
    }
}

fn with_shared<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> R) -> R {
    match &*tensor.storage_and_layout().0 {
        Storage::Cpu(CpuStorage::F32(numbers)) => work(numbers),
        _ => unreachable!("a policy's parameters are f32 on the CPU, which was checked when they were shared"),
    }
}

fn few_rows(x: &[f32], weight: &[f32], k: usize) -> Vec<f32> {
    let n = weight.len() / k;
    let mut out = vec![0.0; x.len() / k * n];
    few_rows_times_transposed(&mut out, x, weight, k);
    out
}
