//! The operations: each checks its arguments' sizes and launches its kernels.

pub mod absorbed;
pub mod attention;
pub mod decode_attention;
pub mod heads;
pub mod paged_cache;
mod tiles;
pub mod tree;
