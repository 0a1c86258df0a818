//! Memory of a device: buffers, and slices of them.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use half::bf16;

use crate::{Device, DeviceError, Result};

mod sealed {
    /// Keeps [`super::Element`] to the types that kernels know.
    pub trait Sealed {}
}

/// A number that kernels know.
pub trait Element: sealed::Sealed + bytemuck::Pod + Send + Sync {
    /// Its type in a kernel's source.
    const NAME: &'static str;
}

macro_rules! elements {
    ($($type:ty => $name:literal),*) => {
        $(
            impl sealed::Sealed for $type {}
            impl Element for $type {
                const NAME: &'static str = $name;
            }
        )*
    };
}
elements!(f32 => "float", f64 => "double", bf16 => "bf16", u32 => "unsigned", i32 => "int", u16 => "unsigned short",
    u8 => "unsigned char", u64 => "unsigned long long");

/// Memory on a device, freed when it is dropped. What was still to be done with it is done before.
pub struct Buffer<T: Element> {
    device: Device,
    /// 0 if it is empty.
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Memory for `len` numbers, with whatever is in it.
    pub(crate) fn allocate(device: &Device, len: usize, what: &'static str) -> Result<Self> {
        let Some(bytes) = len.checked_mul(size_of::<T>()) else {
            return Err(DeviceError::operation("allocation", format!("{what}: {len} numbers are too many")));
        };
        let address = if bytes == 0 { 0 } else { device.backend().allocate(bytes, what)? };
        Ok(Buffer { device: device.clone(), address, len, element: PhantomData })
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All of it.
    pub fn view(&self) -> Slice<'_, T> {
        Slice { device: &self.device, address: self.address, len: self.len, element: PhantomData }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it has no such part, as indexing a slice does.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Slice<'_, T> {
        self.view().slice(range)
    }

    /// The numbers, once all work given so far is done.
    ///
    /// # Errors
    /// If that work failed, or while work is being recorded.
    pub fn download(&self) -> Result<Vec<T>> {
        self.view().download()
    }

    /// Writes `values` from number `offset` on.
    ///
    /// # Errors
    /// If they do not fit, or while work is being recorded.
    pub fn write(&self, offset: usize, values: &[T]) -> Result<()> {
        self.view().part("write", offset, values.len())?.write(values)
    }

    /// Sets all bits to 0, which is the number 0.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill_zero(&self) -> Result<()> {
        self.view().fill_zero()
    }

    /// Copies as many numbers from another place of the same device, to the beginning.
    ///
    /// # Errors
    /// If they do not fit, lie on another device, or the device fails.
    pub fn copy_from(&self, from: &Slice<'_, T>) -> Result<()> {
        self.view().part("copy", 0, from.len())?.copy_from(from)
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.address != 0 {
            self.device.backend().free(self.address);
        }
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Buffer<{}>({})", T::NAME, self.len)
    }
}

/// Part of a buffer. Like a raw pointer with a length: several may show the same numbers, and kernels write through them.
pub struct Slice<'a, T: Element> {
    device: &'a Device,
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Clone for Slice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Element> Copy for Slice<'_, T> {}

impl<'a, T: Element> Slice<'a, T> {
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device that it is on.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Where it is in the device's memory.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Whether its first number lies at a multiple of `bytes`.
    pub fn is_aligned(&self, bytes: usize) -> bool {
        self.address.is_multiple_of(bytes as u64)
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it has no such part, as indexing a slice does.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Slice<'a, T> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len,
        };
        assert!(start <= end && end <= self.len, "numbers {start}..{end} of {} on the device", self.len);
        Slice { address: self.address + (start * size_of::<T>()) as u64, len: end - start, ..*self }
    }

    /// This and another part as one, which lie side by side.
    ///
    /// # Errors
    /// If the other does not begin where this ends.
    pub fn joined(self, next: Slice<'a, T>) -> Result<Slice<'a, T>> {
        let end = self.address + (self.len * size_of::<T>()) as u64;
        if !self.device.is(next.device) || next.address != end {
            return Err(DeviceError::operation("join", "parts that do not lie side by side"));
        }
        Ok(Slice { len: self.len + next.len, ..self })
    }

    /// The numbers, once all work given so far is done.
    ///
    /// # Errors
    /// If that work failed, or while work is being recorded.
    pub fn download(&self) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); self.len];
        if self.len > 0 {
            self.device.backend().download(self.address, bytemuck::cast_slice_mut(&mut values))?;
        }
        Ok(values)
    }

    /// Writes as many numbers as it has.
    ///
    /// # Errors
    /// If there are more or fewer, or while work is being recorded.
    pub fn write(&self, values: &[T]) -> Result<()> {
        self.check_same("write", values.len())?;
        if self.len == 0 { Ok(()) } else { self.device.backend().upload(self.address, bytemuck::cast_slice(values)) }
    }

    /// Sets all bits to 0, which is the number 0.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill_zero(&self) -> Result<()> {
        if self.len == 0 { Ok(()) } else { self.device.backend().zero(self.address, self.len * size_of::<T>()) }
    }

    /// Copies as many numbers as it has from another place of the same device.
    ///
    /// # Errors
    /// If there are more or fewer, they lie on another device, or the device fails.
    pub fn copy_from(&self, from: &Slice<'_, T>) -> Result<()> {
        self.check_same("copy", from.len)?;
        if !self.device.is(from.device) {
            return Err(DeviceError::operation("copy", "from another device"));
        }
        if self.len == 0 {
            return Ok(());
        }
        self.device.backend().copy(self.address, from.address, self.len * size_of::<T>())
    }

    fn part(&self, operation: &'static str, offset: usize, len: usize) -> Result<Slice<'a, T>> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let message = format!("{len} numbers from number {offset} on do not fit into {}", self.len);
            return Err(DeviceError::operation(operation, message));
        }
        Ok(self.slice(offset..offset + len))
    }

    fn check_same(&self, operation: &'static str, len: usize) -> Result<()> {
        if len == self.len {
            return Ok(());
        }
        Err(DeviceError::operation(operation, format!("{len} numbers for a place of {}", self.len)))
    }
}

impl<T: Element> std::fmt::Debug for Slice<'_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Slice<{}>({})", T::NAME, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_memory_is_too_small_for_is_named() {
        let device = Device::for_tests();
        // The emulator would write to all that the host grants: more than any host has addresses for.
        let most = if device.is_emulated() { 1 << 50 } else { device.memory().unwrap().total / 8 * 9 };
        let error = device.alloc::<u8>(most, "everything and more").unwrap_err().to_string();
        let expected = match device.is_emulated() {
            true => format!("allocation: everything and more: {most} bytes: "),
            false => "out of memory on the card: everything and more needs ".to_owned(),
        };
        assert!(error.starts_with(&expected), "{error}");
        // And it goes on as if nothing had happened.
        assert_eq!(device.upload(&[3_u32], "three").unwrap().download().unwrap(), [3]);
    }

    #[test]
    fn what_is_held_is_counted() {
        let device = Device::for_tests();
        let before = device.memory().unwrap().held;
        let buffer = device.zeros::<u8>(10 << 20, "ten MiB").unwrap();
        // On a card all devices of the process have one memory.
        let held = |least: usize| assert!(device.memory().unwrap().held >= least);
        held(10 << 20);
        drop(buffer);
        device.synchronize().unwrap();
        if device.is_emulated() {
            assert_eq!(device.memory().unwrap().held, before);
        }
    }
}
