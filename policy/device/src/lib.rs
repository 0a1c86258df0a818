//! Runs kernels and products of matrices on a card, or on the host in its stead.
//!
//! A [`Device`] owns memory ([`Buffer`], seen through [`Slice`]s), runs kernels by name ([`Kernel`]) and products
//! of matrices ([`Gemm`]), and records work to run it again ([`Graph`]). All work is done in the order in which it was
//! given; the host goes on meanwhile, and waits where it reads.
//!
//! There are two backends. *The card* opens NVIDIA's driver, NVRTC and cuBLAS at run time. *The emulator* has the same
//! kernels compiled by the host's C++ compiler and runs them, slowly, with checks that a card does not make: a read or write
//! outside of a buffer, threads that part before a barrier, memory used before it was written. It is for tests.
//!
//! The crate knows no model. What kernels may use, and the rules they keep, stands in `kernels/common.cuh`.
//!
//! # Safety
//!
//! A kernel can write wherever its arguments point, so a wrong kernel or a wrong wrapper can break the rules of memory, as
//! an `unsafe` block can. So [`Device::launch`] is `unsafe`, and [`Device::capture`] too, whose graph uses memory that it
//! does not keep. The functions in [`ops`] check sizes, and on which device memory is. What lies in it they do not look at:
//! where a kernel takes numbers from there as places (of rows, pages, experts, tokens), their caller has to see to it that
//! there are such places. Several slices may show the same memory, and kernels write through them.

mod alone;
mod backend;
mod cache;
mod device;
mod error;
mod gemm;
mod graph;
mod kernels;
mod launch;
mod libraries;
mod limits;
mod memory;
mod numbers;
pub mod ops;
mod readback;

pub use device::{Description, Device, Memory};
pub use error::{DeviceError, Result};
pub use gemm::{Batch, Gemm};
pub use graph::Graph;
pub use half::bf16;
pub use kernels::Source;
pub use launch::{Argument, Grid, Kernel};
pub use libraries::{Library, libraries};
pub use limits::{Limits, fastest, normals};
pub use memory::{Buffer, Element, Slice};
pub use numbers::Numbers;
pub use readback::Readback;
