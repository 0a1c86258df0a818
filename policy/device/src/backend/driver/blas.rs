//! Products of matrices by cuBLAS.

use std::ffi::{c_int, c_longlong};
use std::sync::Arc;

use cudarc::cublas::{result, sys};

use super::context::Context;
use crate::alone::alone;
use crate::gemm::Product;
use crate::{DeviceError, Result};

/// What NVIDIA recommends for cards of compute capability 9.0.
const WORKSPACE_BYTES: usize = 32 << 20;

/// A handle of cuBLAS. Its working memory is its own: so a product can be recorded, and is the same each time.
pub(super) struct Blas {
    handle: sys::cublasHandle_t,
    workspace: u64,
    context: Arc<Context>,
}

// SAFETY: a handle may be used by any thread, by one at a time; the owner locks it.
unsafe impl Send for Blas {}

fn during<T>(outcome: std::result::Result<T, result::CublasError>, operation: &'static str) -> Result<T> {
    outcome.map_err(|error| DeviceError::operation(operation, error.to_string()))
}

impl Blas {
    /// The context must be bound.
    pub(super) fn open(context: Arc<Context>) -> Result<Self> {
        let handle = result::create_handle().map_err(|error| {
            // Without memory for what it keeps on the card, cuBLAS says as little as it does to an older driver.
            let free = context.memory().map_or(0, |memory| memory.free >> 20);
            let hint = format!("is it newer than the driver? {free} MiB of the card's memory are free");
            DeviceError::operation("start of cuBLAS, for products of matrices", format!("{error} ({hint})"))
        })?;
        // The handle is dropped with this from here on.
        let mut blas = Blas { handle, workspace: 0, context };
        // SAFETY: both are valid. Setting the stream resets the working memory, so it comes first.
        during(unsafe { result::set_stream(handle, blas.context.stream.cast()) }, "start of cuBLAS")?;
        blas.workspace = blas.context.allocate(WORKSPACE_BYTES, "working memory of matrix products")?;
        // SAFETY: memory of this size on the card, which is freed after the handle.
        let outcome = unsafe { sys::cublasSetWorkspace_v2(handle, blas.workspace as *mut _, WORKSPACE_BYTES) };
        during(outcome.result(), "start of cuBLAS")?;
        // Else partial sums of a long product may be rounded to bf16 before they are added.
        let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle is valid.
        during(unsafe { sys::cublasSetMathMode(handle, mode) }.result(), "start of cuBLAS")?;
        Ok(blas)
    }

    pub(super) fn version(&self) -> Result<i32> {
        let mut version = 0;
        // SAFETY: the handle is valid; one number is written.
        during(unsafe { sys::cublasGetVersion_v2(self.handle, &raw mut version) }.result(), "version of cuBLAS")?;
        Ok(version)
    }

    /// Row-major `c = a b` is `c^T = b^T a^T` in columns, and a row-major matrix read in columns is its transpose: `b` comes
    /// first, and what lies transposed in rows has to be transposed in columns too. The context must be bound.
    pub(super) fn multiply(&self, product: &Product) -> Result<()> {
        let size = |size: usize| size as c_int; // `Gemm::run` has checked that they fit.
        let leading = |leading: usize| size(leading.max(1));
        let operation = |transposed| {
            if transposed { sys::cublasOperation_t::CUBLAS_OP_T } else { sys::cublasOperation_t::CUBLAS_OP_N }
        };
        let (bf16, f32) = (sys::cudaDataType::CUDA_R_16BF, sys::cudaDataType::CUDA_R_32F);
        let batch = product.batch;
        let count = c_int::try_from(batch.count)
            .map_err(|_| DeviceError::operation("gemm", format!("{} products at once", batch.count)))?;
        let of_result = if product.is_bf16 { bf16 } else { f32 };
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        // One product is no batch, and cuBLAS has a call of its own for it.
        // SAFETY: `Gemm::run` has checked that the matrices lie in their slices. Both factors are read from the host's
        // memory before the call returns.
        let outcome = unsafe {
            if count == 1 {
                result::gemm_ex(
                    self.handle,
                    operation(product.transpose_b),
                    operation(product.transpose_a),
                    size(product.n),
                    size(product.m),
                    size(product.k),
                    (&raw const product.alpha).cast(),
                    product.b as *const _,
                    bf16,
                    leading(product.ldb),
                    product.a as *const _,
                    bf16,
                    leading(product.lda),
                    (&raw const product.beta).cast(),
                    product.c as *mut _,
                    of_result,
                    leading(product.ldc),
                    compute,
                    algorithm,
                )
            } else {
                result::gemm_strided_batched_ex(
                    self.handle,
                    operation(product.transpose_b),
                    operation(product.transpose_a),
                    size(product.n),
                    size(product.m),
                    size(product.k),
                    (&raw const product.alpha).cast(),
                    product.b as *const _,
                    bf16,
                    leading(product.ldb),
                    batch.stride_b as c_longlong,
                    product.a as *const _,
                    bf16,
                    leading(product.lda),
                    batch.stride_a as c_longlong,
                    (&raw const product.beta).cast(),
                    product.c as *mut _,
                    of_result,
                    leading(product.ldc),
                    batch.stride_c as c_longlong,
                    count,
                    compute,
                    algorithm,
                )
            }
        };
        outcome.map_err(|error| {
            let Product { m, n, k, .. } = product;
            DeviceError::operation("gemm", format!("[{m}, {k}] [{k}, {n}], {count} times: {error}"))
        })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: not used any more. It waits for all of the card's work.
            let _ = alone(|| unsafe { result::destroy_handle(self.handle) });
        }
        if self.workspace != 0 {
            self.context.free(self.workspace);
        }
    }
}
