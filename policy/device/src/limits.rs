//! What a device can do at most, as measured: copying memory, and products of matrices. Rates of everything else are held
//! against these two.
//!
//! A card's clock falls with the power that it draws, which depends on the numbers, and a moment after the work begins. So the
//! numbers are like those of weights and activations, products go on for a while before any is timed, and of their times the
//! median counts: what a card keeps up, as long as it trains.

use std::time::{Duration, Instant};

use half::bf16;

use crate::{Buffer, Device, Gemm, Result};

/// Bytes of the buffers that are copied, where there is room; far more than a card's caches hold.
const COPIED: usize = 1 << 30;
/// Rows and columns of the matrices, and for the emulator, whose products are plain loops.
const SIDE: usize = 8192;
const EMULATED: (usize, usize) = (1 << 20, 64);
/// How often each is timed. Of copies the fastest counts, after once to warm up.
const TIMES: usize = 10;
/// How long products go on before they are timed, and how many are given to the device at once meanwhile.
const WARM_UP: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 8;
/// After so many the pseudo-random numbers come again; a prime, so that rows of a matrix are not alike.
const DIFFERENT_NUMBERS: usize = 1_048_573;

/// What a device can do at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes per second from its memory to its memory, read and written ones together.
    pub copy_bandwidth: f64,
    /// Floating-point operations per second of a product of bf16 matrices, 2 for each multiplication.
    pub product_rate: f64,
}

impl Limits {
    /// Measures them, in about a second on a card.
    ///
    /// # Errors
    /// If the device fails, or has not a few hundred MiB to spare.
    pub fn measure(device: &Device) -> Result<Self> {
        Ok(Limits { copy_bandwidth: copy_bandwidth(device)?, product_rate: product_rate(device)? })
    }
}

/// Seconds of `work` when it was fastest, after once to warm up.
///
/// # Errors
/// What `work` returns, or if the device fails.
pub fn fastest(device: &Device, times: usize, work: impl Fn() -> Result<()>) -> Result<f64> {
    work()?;
    device.synchronize()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..times.max(1) {
        fastest = fastest.min(device.time(&work)?.as_secs_f64());
    }
    Ok(fastest)
}

fn copy_bandwidth(device: &Device) -> Result<f64> {
    let bytes = if device.is_emulated() { EMULATED.0 } else { COPIED.min(device.memory()?.free / 4) };
    let from: Buffer<u8> = device.zeros(bytes, "measuring of copies")?;
    let to: Buffer<u8> = device.alloc(bytes, "measuring of copies")?;
    let seconds = fastest(device, TIMES, || to.copy_from(&from.view()))?;
    Ok(2.0 * bytes as f64 / seconds)
}

fn product_rate(device: &Device) -> Result<f64> {
    let side = if device.is_emulated() { EMULATED.1 } else { SIDE };
    let numbers: Vec<bf16> = normals().map(bf16::from_f32).take(side * side).collect();
    let a = device.upload(&numbers, "measuring of products")?;
    let b = device.upload(&numbers, "measuring of products")?;
    let c: Buffer<bf16> = device.alloc(side * side, "measuring of products")?;
    // As a layer's forward pass lies: weights `[outputs, inputs]`.
    let gemm = Gemm::new([side; 3], a.view(), b.view(), c.view()).transposed_b();
    let warm_up = if device.is_emulated() { Duration::ZERO } else { WARM_UP };
    let seconds = median(device, warm_up, || device.gemm(&gemm))?;
    Ok(2.0 * (side as f64).powi(3) / seconds)
}

/// The median of [`TIMES`] times of `work`, in seconds, after it has gone on for at least `warm_up`.
fn median(device: &Device, warm_up: Duration, work: impl Fn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    loop {
        device.time(|| (0..AT_ONCE).try_for_each(|_| work()))?;
        if start.elapsed() >= warm_up {
            break;
        }
    }
    let mut seconds = (0..TIMES).map(|_| Ok(device.time(&work)?.as_secs_f64())).collect::<Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[(TIMES - 1) / 2] + seconds[TIMES / 2]) / 2.0)
}

/// Pseudo-random numbers of the normal distribution, without end. (SplitMix64: Steele, Lea and Flood, OOPSLA 2014; Box and Muller,
/// 1958.) For measuring: they come again after a million.
pub fn normals() -> impl Iterator<Item = f32> {
    let uniform = |index: usize| {
        let mut bits = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // Above 0, up to 1.
        (((bits ^ (bits >> 31)) >> 40) + 1) as f32 / (1 << 24) as f32
    };
    let normal = move |index: usize| {
        let (radius, turn) = (uniform(2 * index), uniform(2 * index + 1));
        (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * turn).cos()
    };
    let numbers: Vec<f32> = (0..DIFFERENT_NUMBERS).map(normal).collect();
    (0..).map(move |index| numbers[index % DIFFERENT_NUMBERS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_time_counts_and_failures_are_told() {
        let device = Device::for_tests();
        let buffer: Buffer<u8> = device.zeros(1 << 16, "test").unwrap();
        let seconds = fastest(&device, 3, || buffer.fill_zero()).unwrap();
        assert!(seconds > 0.0 && seconds < 10.0, "{seconds}");
        let failing = || Err(crate::DeviceError::operation("test", "fails"));
        assert!(fastest(&device, 3, failing).is_err());
    }

    #[test]
    fn the_median_time_counts_after_a_while_of_work() {
        let device = Device::for_tests();
        let buffer: Buffer<u8> = device.zeros(1 << 16, "test").unwrap();
        let count = std::cell::Cell::new(0);
        let work = || {
            count.set(count.get() + 1);
            buffer.fill_zero()
        };
        let seconds = median(&device, Duration::ZERO, work).unwrap();
        assert!(seconds > 0.0 && seconds < 10.0, "{seconds}");
        assert_eq!(count.get(), AT_ONCE + TIMES);
        let start = Instant::now();
        median(&device, Duration::from_millis(20), work).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(median(&device, Duration::ZERO, || Err(crate::DeviceError::operation("test", "fails"))).is_err());
    }

    #[test]
    fn measured_numbers_are_normal_and_differ_from_row_to_row() {
        let numbers: Vec<f64> = normals().take(2 * DIFFERENT_NUMBERS).map(f64::from).collect();
        assert!(numbers[..DIFFERENT_NUMBERS] == numbers[DIFFERENT_NUMBERS..]);
        let moment = |power: i32| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64;
        // Five standard deviations of a million numbers' moments, whose variances these are.
        for (power, expected, variance) in [(1, 0.0, 1.0_f64), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let off = (moment(power) - expected).abs();
            assert!(off < 5.0 * (variance / DIFFERENT_NUMBERS as f64).sqrt(), "moment {power} off by {off}");
        }
        let beside = |distance: usize| numbers.iter().zip(&numbers[distance..]).map(|(a, b)| a * b).sum::<f64>();
        for distance in [1, 2, 251, SIDE] {
            let correlation = beside(distance) / (numbers.len() - distance) as f64;
            assert!(correlation.abs() < 5.0 / (DIFFERENT_NUMBERS as f64).sqrt(), "{distance} apart: {correlation}");
        }
    }

    #[test]
    fn limits_are_those_of_the_device() {
        let device = Device::for_tests();
        let limits = Limits::measure(&device).unwrap();
        // The slowest card that is taken (compute capability 8.0 and up) does far more, as does any host for the first.
        let least = if device.is_emulated() { (1e7, 1e5) } else { (1e11, 1e13) };
        assert!(limits.copy_bandwidth > least.0 && limits.product_rate > least.1, "{limits:?}");
    }
}
