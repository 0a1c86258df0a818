//! What a device does, whichever it is.

#[cfg(feature = "cuda")]
pub(crate) mod driver;
pub(crate) mod emulator;

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use crate::gemm::Product;
use crate::{Description, Grid, Memory, Result, Source};

/// A device. Addresses are those of its own memory; what lies there is the caller's business.
pub(crate) trait Backend: Send + Sync {
    fn allocate(&self, bytes: usize, what: &'static str) -> Result<u64>;
    /// Frees it once the work given so far is done. A failure is not told: it shows in the next call.
    fn free(&self, address: u64);
    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()>;
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()>;
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;
    fn zero(&self, address: u64, bytes: usize) -> Result<()>;
    fn function(&self, source: Source, defines: &[(&'static str, i64)], name: &str) -> Result<Arc<dyn Function>>;
    fn product(&self, product: &Product) -> Result<()>;
    fn synchronize(&self) -> Result<()>;
    fn begin_capture(&self) -> Result<()>;
    fn end_capture(&self) -> Result<Box<dyn Recorded>>;
    fn readback(&self, bytes: usize, what: &'static str) -> Result<Box<dyn Copied>>;
    /// A point in the device's work, for `since`.
    fn mark(&self) -> Result<Box<dyn Any>>;
    /// The time from a mark until all work given so far is done.
    fn since(&self, mark: Box<dyn Any>) -> Result<Duration>;
    fn memory(&self) -> Result<Memory>;
    fn describe(&self) -> Result<Description>;
    fn name(&self) -> String;
    fn is_emulated(&self) -> bool;
    fn multiprocessors(&self) -> usize;
    fn shared_memory(&self) -> usize;
}

/// A compiled kernel.
pub(crate) trait Function: Send + Sync {
    /// Runs it. The arguments are pointers to their values, which are read before this returns.
    fn launch(&self, grid: Grid, arguments: &mut [*mut c_void]) -> Result<()>;
}

/// Recorded work, launched by one thread at a time.
pub(crate) trait Recorded: Send {
    fn launch(&self) -> Result<()>;
}

/// A place in the host's memory to which the device copies.
pub(crate) trait Copied: Send {
    fn start(&mut self, from: u64, bytes: usize) -> Result<()>;
    /// The bytes of the last copy, once they are there.
    fn wait(&mut self) -> Result<&[u8]>;
}
