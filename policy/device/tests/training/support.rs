//! Numbers to compute with, and comparisons.

use device::{Buffer, Device, Element, bf16};

/// What stands where nothing may be written; a bf16 too.
pub(crate) const UNTOUCHED: f32 = 9.5;

/// Numbers between -1 and 1, the same for the same seed.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn narrowed(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|value| bf16::from_f32(*value)).collect()
}

pub(crate) fn widened(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

/// As the nearest bf16s.
pub(crate) fn rounded(values: &[f32]) -> Vec<f32> {
    widened(&narrowed(values))
}

pub(crate) fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// On the device.
pub(crate) fn on<T: Element>(device: &Device, values: &[T]) -> Buffer<T> {
    device.upload(values, "a test's numbers").unwrap()
}

/// A type of numbers that operations take: how a test makes them and reads them.
pub(crate) trait Real: Element {
    /// The largest relative error of rounding to it.
    const ROUNDING: f64;
    fn of(values: &[f32]) -> Vec<Self>;
    fn to(values: &[Self]) -> Vec<f32>;
}

impl Real for f32 {
    const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;
    fn of(values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }
    fn to(values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }
}

impl Real for bf16 {
    const ROUNDING: f64 = 1.0 / 256.0;
    fn of(values: &[f32]) -> Vec<bf16> {
        narrowed(values)
    }
    fn to(values: &[bf16]) -> Vec<f32> {
        widened(values)
    }
}

/// That each number is right up to `tolerance` times its size, or a tenth of the numbers' size where it is small.
pub(crate) fn close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = (expected.iter().map(|e| e * e).sum::<f64>() / expected.len().max(1) as f64).sqrt();
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let allowed = tolerance * expected.abs().max(0.1 * size);
        assert!(error <= allowed, "{what}, number {index}: {found} {expected}, error {error} of {allowed}");
    }
}

/// The distance between two arrays, relative to the size of the second.
pub(crate) fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let error = square(&mut found.iter().zip(expected).map(|(found, expected)| f64::from(*found) - expected));
    (error / square(&mut expected.iter().copied())).sqrt()
}

/// The gradient of `function` at `at`, by central differences.
pub(crate) fn differences(at: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut at = at.to_vec();
    (0..at.len())
        .map(|index| {
            let middle = at[index];
            at[index] = middle + STEP;
            let above = function(&at);
            at[index] = middle - STEP;
            let below = function(&at);
            at[index] = middle;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}
