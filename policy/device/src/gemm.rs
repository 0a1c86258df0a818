//! Products of matrices: `c = alpha a b + beta c`, row-major, sums in f32.
//!
//! On a card this is cuBLAS. It counts in columns, and a row-major matrix is a transposed one in columns, so the backend
//! computes `c^T = b^T a^T`. Sums are kept in f32 throughout, and on one card a product is the same to the bit each time.

use std::ops::Range;

use half::bf16;

use crate::device::same_device;
use crate::{Device, DeviceError, Element, Numbers, Result, Slice};

/// Several products of one shape, each a stride after the other. A stride of 0 takes the same matrix each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: usize,
    /// From one `a` to the next, in numbers.
    pub stride_a: usize,
    /// From one `b` to the next.
    pub stride_b: usize,
    /// From one `c` to the next: they must not overlap.
    pub stride_c: usize,
}

/// A product `c [m, n] = alpha a [m, k] b [k, n] + beta c`. With `beta` 0, what is in `c` is not read. Where `k` is 0,
/// `beta` is 0 or 1. From its first number to its last, `c` shares no memory with `a` or `b`.
#[derive(Debug, Clone, Copy)]
pub struct Gemm<'a> {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// `[m, k]`, or `[k, m]` if transposed.
    pub a: Slice<'a, bf16>,
    /// From one row in memory to the next, in numbers.
    pub lda: usize,
    /// Whether `a` lies transposed in memory.
    pub transpose_a: bool,
    /// `[k, n]`, or `[n, k]` if transposed, as weights `[outputs, inputs]` are for a forward pass.
    pub b: Slice<'a, bf16>,
    /// From one row in memory to the next, in numbers.
    pub ldb: usize,
    /// Whether `b` lies transposed in memory.
    pub transpose_b: bool,
    /// `[m, n]`.
    pub c: Numbers<'a>,
    /// From one row to the next, in numbers.
    pub ldc: usize,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what is in `c`: 1 adds to it.
    pub beta: f32,
    /// Several at once.
    pub batch: Option<Batch>,
}

impl<'a> Gemm<'a> {
    /// `c [m, n] = a [m, k] b [k, n]` without gaps between rows. Change what is different with `..`.
    pub fn new([m, n, k]: [usize; 3], a: Slice<'a, bf16>, b: Slice<'a, bf16>, c: impl Into<Numbers<'a>>) -> Self {
        let (transpose_a, transpose_b) = (false, false);
        let (alpha, beta, batch) = (1.0, 0.0, None);
        Gemm { m, n, k, a, lda: k, transpose_a, b, ldb: n, transpose_b, c: c.into(), ldc: n, alpha, beta, batch }
    }

    /// The same with `a` lying as `[k, m]`, without gaps.
    pub fn transposed_a(self) -> Self {
        Gemm { transpose_a: true, lda: self.m, ..self }
    }

    /// The same with `b` lying as `[n, k]`, without gaps.
    pub fn transposed_b(self) -> Self {
        Gemm { transpose_b: true, ldb: self.k, ..self }
    }

    /// The same, added to what is in `c`.
    pub fn added(self) -> Self {
        Gemm { beta: 1.0, ..self }
    }

    pub(crate) fn run(&self, device: &Device) -> Result<()> {
        let batch = self.batch.unwrap_or(Batch { count: 1, stride_a: 0, stride_b: 0, stride_c: 0 });
        let (rows_a, columns_a) = if self.transpose_a { (self.k, self.m) } else { (self.m, self.k) };
        let (rows_b, columns_b) = if self.transpose_b { (self.n, self.k) } else { (self.k, self.n) };
        let shape = |rows, columns, leading, stride| Shape { rows, columns, leading, stride, count: batch.count };
        let of_a = shape(rows_a, columns_a, self.lda, batch.stride_a).check("a", &self.a, device)?;
        let of_b = shape(rows_b, columns_b, self.ldb, batch.stride_b).check("b", &self.b, device)?;
        let c = shape(self.m, self.n, self.ldc, batch.stride_c);
        let (of_c, is_bf16) = match &self.c {
            Numbers::Bf16(slice) => (c.check("c", slice, device)?, true),
            Numbers::F32(slice) => (c.check("c", slice, device)?, false),
        };
        for (name, of) in [("a", of_a), ("b", of_b)] {
            if of.start.max(of_c.start) < of.end.min(of_c.end) {
                return Err(DeviceError::operation("gemm", format!("matrix c lies in the memory of matrix {name}")));
            }
        }
        let one_after_the_other = batch.stride_c >= (self.m.max(1) - 1) * self.ldc + self.n;
        let in_a_row = batch.count.saturating_sub(1).saturating_mul(batch.stride_c).saturating_add(self.n);
        let side_by_side = batch.stride_c >= self.n && in_a_row <= self.ldc;
        if batch.count > 1 && !one_after_the_other && !side_by_side {
            return Err(DeviceError::operation("gemm", format!("stride {} of c: the results overlap", batch.stride_c)));
        }
        if self.m == 0 || self.n == 0 || batch.count == 0 {
            return Ok(());
        }
        if self.k == 0 {
            return self.product_of_nothing(device, of_c.start, batch);
        }
        device.backend().product(&Product {
            m: self.m,
            n: self.n,
            k: self.k,
            a: self.a.address(),
            lda: self.lda,
            transpose_a: self.transpose_a,
            b: self.b.address(),
            ldb: self.ldb,
            transpose_b: self.transpose_b,
            c: of_c.start,
            ldc: self.ldc,
            is_bf16,
            alpha: self.alpha,
            beta: self.beta,
            batch,
        })
    }

    /// The product without inner numbers, which is zeros: set or added. It is not asked of cuBLAS.
    fn product_of_nothing(&self, device: &Device, c: u64, batch: Batch) -> Result<()> {
        if self.beta == 1.0 {
            return Ok(());
        }
        if self.beta != 0.0 {
            return Err(DeviceError::operation("gemm", format!("no numbers to add up, and a beta of {}", self.beta)));
        }
        let bytes = if self.c.is_f32() { size_of::<f32>() } else { size_of::<bf16>() };
        for index in 0..batch.count {
            for row in 0..self.m {
                let at = index * batch.stride_c + row * self.ldc;
                device.backend().zero(c + (at * bytes) as u64, self.n * bytes)?;
            }
        }
        Ok(())
    }
}

/// A product whose matrices have been checked, with addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: u64,
    pub(crate) lda: usize,
    pub(crate) transpose_a: bool,
    pub(crate) b: u64,
    pub(crate) ldb: usize,
    pub(crate) transpose_b: bool,
    pub(crate) c: u64,
    pub(crate) ldc: usize,
    /// Else `c` is f32.
    pub(crate) is_bf16: bool,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) batch: Batch,
}

/// How matrices lie in memory.
struct Shape {
    rows: usize,
    columns: usize,
    leading: usize,
    stride: usize,
    count: usize,
}

impl Shape {
    /// The addresses from the first number's to the last one's end, if they lie in the slice.
    fn check<T: Element>(&self, name: &str, slice: &Slice<'_, T>, device: &Device) -> Result<Range<u64>> {
        let Shape { rows, columns, leading, stride, count } = *self;
        let wrong = |message: String| Err(DeviceError::operation("gemm", format!("matrix {name}: {message}")));
        if !same_device(device, slice) {
            return wrong("lies on another device".into());
        }
        if leading < columns {
            return wrong(format!("rows of {columns} numbers, but {leading} from one row to the next"));
        }
        if [rows, columns, leading].iter().any(|&size| size > i32::MAX as usize) {
            return wrong(format!("[{rows}, {columns}] with rows {leading} apart is too large"));
        }
        let empty = rows == 0 || columns == 0 || count == 0;
        // More than a number can say is more than any slice has.
        let before_last = |count: usize, stride: usize| (count - 1).saturating_mul(stride);
        let needed = match empty {
            true => 0,
            false => before_last(count, stride).saturating_add(before_last(rows, leading)).saturating_add(columns),
        };
        if needed > slice.len() {
            let message = format!("{count} times [{rows}, {columns}], rows {leading} apart, need {needed} numbers");
            return wrong(format!("{message}, and there are {}", slice.len()));
        }
        Ok(slice.address()..slice.address() + (needed * size_of::<T>()) as u64)
    }
}
