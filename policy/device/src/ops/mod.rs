//! The operations: each checks its arguments' sizes and launches its kernels.
