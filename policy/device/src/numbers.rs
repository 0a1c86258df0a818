//! Numbers of either precision: what operations read and write, and where products go.

use half::bf16;

use crate::{Argument, Slice};

/// Numbers of either precision.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Full precision: the residual stream, gradients of weights.
    F32(Slice<'a, f32>),
    /// Half of it: activations.
    Bf16(Slice<'a, bf16>),
}

impl<'a> From<Slice<'a, f32>> for Numbers<'a> {
    fn from(slice: Slice<'a, f32>) -> Self {
        Numbers::F32(slice)
    }
}

impl<'a> From<Slice<'a, bf16>> for Numbers<'a> {
    fn from(slice: Slice<'a, bf16>) -> Self {
        Numbers::Bf16(slice)
    }
}

impl<'a> Numbers<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Numbers::F32(slice) => slice.len(),
            Numbers::Bf16(slice) => slice.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn argument(&self) -> Argument<'a> {
        match self {
            Numbers::F32(slice) => (*slice).into(),
            Numbers::Bf16(slice) => (*slice).into(),
        }
    }

    pub(crate) fn is_f32(&self) -> bool {
        matches!(self, Numbers::F32(_))
    }

    /// Whether they begin at a multiple of 16 bytes.
    pub(crate) fn is_aligned(&self) -> bool {
        match self {
            Numbers::F32(slice) => slice.is_aligned(16),
            Numbers::Bf16(slice) => slice.is_aligned(16),
        }
    }
}
