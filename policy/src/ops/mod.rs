//! Fused operations of the policy, each with its own backward pass.
//!
//! candle keeps the graph and the storage; what runs inside a node is ours, because a model put together from candle's
//! elementwise operations spends most of its time outside the matrix multiply. Every operation is generic over
//! [`Real`], so that tests compare it in `f64` against the plain composition and against finite differences.
//!
//! Two rules keep results the same to the bit with any number of threads:
//! - work is cut into blocks whose size does not depend on the number of threads;
//! - partial sums are added in block order, never in the order in which threads finish.

pub mod attention;
pub mod bias;
pub mod experts;
pub mod grouped_attention;
pub mod linear;
pub mod logprob;
pub(crate) mod matmul;
pub(crate) mod packed;
pub mod rms_norm;
pub mod rope;
pub mod router;
pub(crate) mod sum;

use std::any::Any;
use std::ops::{AddAssign, Deref, Neg};
use std::sync::OnceLock;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, WithDType};

/// The number types that the operations are written for: `f32` to run, `f64` to test.
pub trait Real: WithDType + Neg<Output = Self> + AddAssign {
    /// e to the power of `self`, accurate to about one unit in the last place, in a form that vectorises.
    fn exp(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The larger of two numbers, neither of which is NaN.
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

impl Real for f32 {
    /// Cody-Waite reduction and a polynomial of degree 6, as in Cephes: no call, no branch, so loops over it vectorise.
    #[inline(always)]
    fn exp(self) -> Self {
        const LOG2_E: f32 = std::f32::consts::LOG2_E;
        // The high part of ln 2, exact in nine bits, so that its product with n is exact.
        const LN2_HIGH: f32 = 355.0 / 512.0;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        let x = self.clamp(-87.3, 88.7);
        let shifted = x * LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        let mut p = 1.987_569_1e-4_f32;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 0.5;
        let y = p * r * r + r + 1.0;
        // Scale by 2^n through the exponent's bits; n lies in -126..=128, so it is done in two halves.
        let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        let half = exponent >> 1;
        let low = f32::from_bits(((half + 127) as u32) << 23);
        let high = f32::from_bits(((exponent - half + 127) as u32) << 23);
        if self < -103.0 { 0.0 } else { y * low * high }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
}

/// Runs `work` compiled for the widest vectors that this processor has.
///
/// The closure and what it calls must be `#[inline(always)]`, or they stay compiled for the baseline.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> pulp::WithSimd for Work<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _simd: S) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Work(work))
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// What a forward pass keeps for its backward pass, whatever the number type.
#[derive(Default)]
pub(crate) struct Stash(OnceLock<Box<dyn Any + Send + Sync>>);

impl Stash {
    /// Keeps `value`; a second forward pass of the same operation would be a defect and is refused.
    pub(crate) fn keep<V: Any + Send + Sync>(&self, operation: &'static str, value: V) -> Result<()> {
        self.0
            .set(Box::new(value))
            .map_err(|_| candle_core::Error::Msg(format!("{operation}: forward pass run twice on one operation")))
    }

    /// What the forward pass kept.
    pub(crate) fn get<V: Any>(&self, operation: &'static str) -> Result<&V> {
        self.0
            .get()
            .and_then(|kept| kept.downcast_ref())
            .ok_or_else(|| candle_core::Error::Msg(format!("{operation}: backward pass without its forward pass")))
    }
}

/// The numbers of a contiguous CPU argument.
pub(crate) fn slice<'a, T: Real>(operation: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let data = T::cpu_storage_as_slice(storage)?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => candle_core::bail!("{operation}: arguments must be contiguous, got {layout:?}"),
    }
}

/// Read access to the numbers of a contiguous CPU tensor, for backward passes.
pub(crate) struct Reading<'a, G> {
    storage: G,
    layout: &'a Layout,
}

/// Opens a contiguous tensor for reading.
pub(crate) fn read(tensor: &Tensor) -> Reading<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Reading { storage, layout }
}

impl<G: Deref<Target = Storage>> Reading<'_, G> {
    /// The numbers, in row-major order.
    pub(crate) fn slice<T: Real>(&self, operation: &'static str) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => slice(operation, storage, self.layout),
            _ => candle_core::bail!("{operation}: has no backward pass on this device"),
        }
    }
}

/// Calls `$body` with `$t` bound to the storage's number type.
macro_rules! dispatch {
    ($operation:expr, $storage:expr, $t:ident => $body:expr) => {
        match $storage.dtype() {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("{}: f32 or f64 expected, got {other:?}", $operation),
        }
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn exp_is_accurate_to_a_few_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in -100_000..=88_000 {
            let x = i as f32 * 1e-3;
            if x < -87.0 {
                continue;
            }
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(Real::exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "largest relative error {worst:e}");
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(0f32), 1.0);
        assert!(Real::exp(f32::NAN).is_nan());
    }
}
