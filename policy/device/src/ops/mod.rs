//! The operations: each checks its arguments' sizes and launches its kernels.

pub mod combine;
pub mod experts;
pub mod grouped_gemm;
pub mod grouping;
pub mod numbers;
pub mod router;
pub mod sampler;
pub mod swiglu;
