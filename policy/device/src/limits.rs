//! What a device can do at most, as measured: copying memory, and products of matrices. Rates of everything else are held
//! against these two.

use half::bf16;

use crate::{Buffer, Device, Gemm, Result};

/// Bytes of the buffers that are copied, where there is room; far more than a card's caches hold.
const COPIED: usize = 1 << 30;
/// Rows and columns of the matrices, and for the emulator, whose products are plain loops.
const SIDE: usize = 8192;
const EMULATED: (usize, usize) = (1 << 20, 64);
/// How often each is timed after once to warm up; the fastest counts.
const TIMES: usize = 10;

/// What a device can do at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes per second from its memory to its memory, read and written ones together.
    pub copy_bandwidth: f64,
    /// Floating-point operations per second of a product of bf16 matrices, 2 for each multiplication.
    pub product_rate: f64,
}

impl Limits {
    /// Measures them, in about a tenth of a second on a card.
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
    // Numbers that are not all alike: a card draws less power, and runs faster, on zeros.
    let numbers: Vec<bf16> = (0..side * side).map(|i| bf16::from_f32((i % 251) as f32 / 125.0 - 1.0)).collect();
    let a = device.upload(&numbers, "measuring of products")?;
    let b = device.upload(&numbers, "measuring of products")?;
    let c: Buffer<bf16> = device.alloc(side * side, "measuring of products")?;
    // As a layer's forward pass lies: weights `[outputs, inputs]`.
    let gemm = Gemm::new([side; 3], a.view(), b.view(), c.view()).transposed_b();
    let seconds = fastest(device, TIMES, || device.gemm(&gemm))?;
    Ok(2.0 * (side as f64).powi(3) / seconds)
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
    fn limits_are_those_of_the_device() {
        let device = Device::for_tests();
        let limits = Limits::measure(&device).unwrap();
        // The slowest card that is taken (compute capability 8.0 and up) does far more, as does any host for the first.
        let least = if device.is_emulated() { (1e7, 1e5) } else { (1e11, 1e13) };
        assert!(limits.copy_bandwidth > least.0 && limits.product_rate > least.1, "{limits:?}");
    }
}
