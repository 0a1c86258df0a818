//! The checks that stand before each launch.

use crate::{DeviceError, Numbers, Result};

/// Numbers that kernels read eight at a time: widths and strides are multiples of this.
pub(crate) const EIGHT: usize = 8;

/// The checks of one operation, which its errors name.
#[derive(Clone, Copy)]
pub(crate) struct Checks(pub(crate) &'static str);

impl Checks {
    pub(crate) fn that(self, holds: bool, message: impl FnOnce() -> String) -> Result<()> {
        if holds { Ok(()) } else { Err(DeviceError::operation(self.0, message())) }
    }

    /// That `what` holds exactly so many numbers.
    pub(crate) fn holds(self, what: &str, len: usize, expected: usize) -> Result<()> {
        self.that(len == expected, || format!("{what}: expected {expected} numbers, found {len}"))
    }

    /// That `what` has room for so many.
    pub(crate) fn has_room(self, what: &str, len: usize, needed: usize) -> Result<()> {
        self.that(len >= needed, || format!("{what}: expected at least {needed} numbers, found {len}"))
    }

    /// That a width or a stride can be read eight numbers at a time.
    pub(crate) fn in_eights(self, what: &str, width: usize) -> Result<()> {
        self.that(width > 0 && width.is_multiple_of(EIGHT), || {
            format!("{what}: expected a multiple of {EIGHT}, found {width}")
        })
    }

    /// That `what` begins where sixteen bytes can be read at once.
    pub(crate) fn aligned<'a>(self, what: &str, numbers: impl Into<Numbers<'a>>) -> Result<()> {
        self.that(numbers.into().is_aligned(), || format!("{what} does not begin at a multiple of 16 bytes"))
    }

    /// A size as kernels take it.
    pub(crate) fn int(self, what: &str, size: usize) -> Result<i32> {
        i32::try_from(size)
            .map_err(|_| DeviceError::operation(self.0, format!("{what}: {size} is more than a kernel counts to")))
    }

    /// That `rows` rows of `width` numbers, `stride` apart, lie in `what`, each in eights from an aligned start.
    pub(crate) fn rows(self, what: &str, numbers: Numbers<'_>, rows: usize, width: usize, stride: usize) -> Result<()> {
        self.in_eights(what, stride)?;
        self.that(stride >= width, || format!("{what}: rows of {width} numbers that begin {stride} apart"))?;
        // More than a number can say is more than any slice has.
        let needed = if rows == 0 { 0 } else { (rows - 1).saturating_mul(stride).saturating_add(width) };
        self.has_room(what, numbers.len(), needed)?;
        self.aligned(what, numbers)
    }
}
