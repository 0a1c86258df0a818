//! Copies between the host and the card, through host memory that the card can reach.
//!
//! Such memory is page-locked; the card copies from and to it while the host goes on. A long copy passes through two pieces
//! in turn: while the card works on one, the host fills or empties the other. Short uploads lie side by side in a piece, so
//! that none waits for the one before, which the card may do only after much other work.

use std::sync::Arc;

use cudarc::driver::result;

use super::context::{Context, During, Event, text};
use crate::alone::alone;
use crate::backend::Copied;
use crate::{DeviceError, Result};

/// Large enough that the time of a start does not count.
const PIECE_BYTES: usize = 8 << 20;

/// Page-locked memory of the host.
struct Pinned {
    memory: *mut u8,
    bytes: usize,
}

// SAFETY: it is memory, and of this value alone.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(bytes: usize, what: &'static str) -> Result<Self> {
        // SAFETY: what is in it is not read before it was written.
        let memory = unsafe { result::malloc_host(bytes.max(1), 0) }.map_err(|error| {
            let message = format!("{what}: {bytes} bytes: {}", text(error));
            DeviceError::operation("allocation of page-locked host memory", message)
        })?;
        Ok(Pinned { memory: memory.cast(), bytes })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated above; those who own it have waited for the copies. It waits for all of the card's work.
        let _ = alone(|| unsafe { result::free_host(self.memory.cast()) });
    }
}

/// Uploads begin at multiples of so many bytes, which suit the card.
const ALIGNMENT: usize = 256;

/// The two pieces.
pub(super) struct Staging {
    /// Each with the event after which the card is done with all of it.
    pieces: [(Pinned, Event); 2],
    /// The piece that uploads go through, and its bytes that may be in use.
    current: usize,
    used: usize,
}

impl Staging {
    pub(super) fn new() -> Result<Self> {
        let piece = || Ok((Pinned::new(PIECE_BYTES, "copies between host and card")?, Event::new(false)?));
        Ok(Staging { pieces: [piece()?, piece()?], current: 0, used: 0 })
    }

    /// Returns once the bytes have been read; they are on the card before what is given to it next.
    pub(super) fn upload(&mut self, context: &Context, to: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            if self.used >= PIECE_BYTES {
                (self.current, self.used) = (1 - self.current, 0);
                self.pieces[self.current].1.wait()?;
            }
            let (pinned, event) = &self.pieces[self.current];
            let chunk = &bytes[done..bytes.len().min(done + PIECE_BYTES - self.used)];
            // SAFETY: the piece has this many bytes from `used` on, and the card is done with them: it was when the piece
            // became the current one, and they have not been given since. The caller's slice has the place for the
            // chunk. They are not touched before the event is over.
            unsafe {
                let place = pinned.memory.add(self.used);
                std::ptr::copy_nonoverlapping(chunk.as_ptr(), place, chunk.len());
                let staged = std::slice::from_raw_parts(place, chunk.len());
                result::memcpy_htod_async(to + done as u64, staged, context.stream).during("upload")?;
            }
            self.used = (self.used + chunk.len()).next_multiple_of(ALIGNMENT);
            done += chunk.len();
            event.record(context)?;
        }
        Ok(())
    }

    /// Returns once the bytes are there.
    pub(super) fn download(&self, context: &Context, from: u64, bytes: &mut [u8]) -> Result<()> {
        let mut pending: Option<(usize, &mut [u8])> = None;
        for (index, chunk) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
            let (pinned, event) = &self.pieces[index % 2];
            event.wait()?;
            // SAFETY: the piece has this many bytes, and both the card and the host are done with it: the host has
            // emptied it before the last round ended. It is not read before the event is over.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(pinned.memory, chunk.len());
                result::memcpy_dtoh_async(staged, from + (index * PIECE_BYTES) as u64, context.stream)
                    .during("download")?;
            }
            event.record(context)?;
            if let Some((index, chunk)) = pending.replace((index, chunk)) {
                self.empty(index, chunk)?;
            }
        }
        pending.map_or(Ok(()), |(index, chunk)| self.empty(index, chunk))
    }

    fn empty(&self, index: usize, chunk: &mut [u8]) -> Result<()> {
        let (pinned, event) = &self.pieces[index % 2];
        event.wait()?;
        // SAFETY: the card has written this many bytes into the piece.
        unsafe { std::ptr::copy_nonoverlapping(pinned.memory, chunk.as_mut_ptr(), chunk.len()) };
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for (_, event) in &self.pieces {
            let _ = event.wait();
        }
    }
}

/// A place that the card copies to while work goes on.
pub(super) struct PinnedCopy {
    // Before the context, which they need until they are dropped.
    pinned: Pinned,
    event: Event,
    used: usize,
    context: Arc<Context>,
}

impl PinnedCopy {
    pub(super) fn new(context: Arc<Context>, bytes: usize, what: &'static str) -> Result<Self> {
        context.bind()?;
        Ok(PinnedCopy { pinned: Pinned::new(bytes, what)?, event: Event::new(false)?, used: 0, context })
    }
}

impl Copied for PinnedCopy {
    fn start(&mut self, from: u64, bytes: usize) -> Result<()> {
        self.context.bind_outside_recording("readback")?;
        assert!(bytes <= self.pinned.bytes, "{bytes} bytes for a place of {}", self.pinned.bytes);
        if bytes > 0 {
            // SAFETY: there is place for them, and nobody reads them before the event is over.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(self.pinned.memory, bytes);
                result::memcpy_dtoh_async(staged, from, self.context.stream).during("readback")?;
            }
        }
        self.used = bytes;
        self.event.record(&self.context)
    }

    fn wait(&mut self) -> Result<&[u8]> {
        self.context.bind()?;
        self.event.wait()?;
        // SAFETY: as many bytes have been written, and the card is done.
        Ok(unsafe { std::slice::from_raw_parts(self.pinned.memory, self.used) })
    }
}

impl Drop for PinnedCopy {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            let _ = self.event.wait();
        }
    }
}
