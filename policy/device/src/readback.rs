//! Few numbers copied to the host while the device goes on: so decoding reads a step's tokens during the next step.

use std::marker::PhantomData;

use crate::backend::Copied;
use crate::{Device, DeviceError, Element, Result, Slice};

/// A place in the host's memory to which the device copies.
pub struct Readback<T: Element> {
    place: Box<dyn Copied>,
    device: Device,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Readback<T> {
    pub(crate) fn new(device: &Device, len: usize, what: &'static str) -> Result<Self> {
        let Some(bytes) = len.checked_mul(size_of::<T>()) else {
            return Err(DeviceError::operation("readback", format!("{what}: {len} numbers are too many")));
        };
        let place = device.backend().readback(bytes, what)?;
        Ok(Readback { place, device: device.clone(), len, element: PhantomData })
    }

    /// Copies `from` once the work given so far is done. What was copied before is no longer there.
    ///
    /// # Errors
    /// If it is more than there is place for, or lies on another device; while work is being recorded.
    pub fn start(&mut self, from: &Slice<'_, T>) -> Result<()> {
        if from.len() > self.len {
            let message = format!("{} numbers for a place of {}", from.len(), self.len);
            return Err(DeviceError::operation("readback", message));
        }
        if !self.device.is(from.device()) {
            return Err(DeviceError::operation("readback", "from another device"));
        }
        self.place.start(from.address(), from.len() * size_of::<T>())
    }

    /// Waits for the numbers of the last [`Readback::start`], not for work given after it.
    ///
    /// # Errors
    /// If that work failed.
    pub fn wait(&mut self) -> Result<&[T]> {
        Ok(bytemuck::cast_slice(self.place.wait()?))
    }
}
