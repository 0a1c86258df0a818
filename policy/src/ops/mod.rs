//! Fused operations of the policy, each with its own backward pass.
//!
//! They work on slices, row-major. No graph is kept: [`crate::model`] calls them layer by layer, forward and then backward,
//! so that a gradient is added where it belongs (`d_x`, `d_w`: always `+=` unless said otherwise) and nothing is copied
//! to be added up later. Every operation is generic over [`Real`], so that tests compare it in `f64` against the plain
//! composition in candle and against finite differences. Shapes are the caller's to keep: an operation panics where a
//! slice is too short, as a slice does.
//!
//! Two rules keep results the same to the bit with any number of threads:
//! - work is cut into blocks whose size does not depend on the number of threads;
//! - partial sums are added in block order, never in the order in which threads finish.

pub(crate) mod attend;
pub mod bias;
pub mod embedding;
pub mod experts;
pub mod grouped_attention;
mod heads;
pub mod latent_attention;
pub mod layouts;
pub mod linear;
pub mod logprob;
pub(crate) mod matmul;
pub(crate) mod packed;
pub mod rms_norm;
pub mod rope;
pub mod router;
pub(crate) mod rows;
pub(crate) mod sum;

pub use matmul::peak_flops;

use std::ops::{AddAssign, Neg};

use candle_core::WithDType;

/// The number types that the operations are written for: `f32` to run, `f64` to test.
pub trait Real: WithDType + Neg<Output = Self> + AddAssign + packed::Kernel + attend::Attend {
    /// e to the power of `self` in a form that vectorises, in f32 to a relative 3e-7: 0 below -87.3, where the result would be
    /// no normal number, and that of 88.7 above.
    fn exp(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
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
        if self < -87.3 { 0.0 } else { y * low * high }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        f32::mul_add(self, factor, addend)
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
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        f64::mul_add(self, factor, addend)
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
