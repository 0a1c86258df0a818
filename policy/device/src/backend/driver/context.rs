//! The driver's context of a card, with the one stream on which all work is given.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::alone::alone;
use crate::{DeviceError, Memory, Result};

/// The code that is not an error: not enough memory.
const OUT_OF_MEMORY: sys::CUresult = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;

/// A card's context, stream and memory pool. All three are valid as long as this lives.
pub(super) struct Context {
    card: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
    pool: sys::CUmemoryPool,
    recording: Mutex<Option<Recording>>,
    /// Compiled kernels. All that may run them keeps this alive.
    modules: Mutex<Vec<Module>>,
}

/// What is kept in mind while work is recorded.
#[derive(Default)]
struct Recording {
    /// Memory that was given up meanwhile. A recording must not free it, as it would do so again with each launch.
    deferred: Vec<u64>,
    /// Whether what was recorded last is a kernel that lets another begin before it ends.
    overlaps: bool,
}

impl Recording {
    /// Notes what is recorded next: whether it is a kernel that waits for the one before where it may begin earlier
    /// (`await_previous`). Returns whether it may: not the first one, so that nothing begins before all earlier work is done,
    /// nor one after a copy or a product.
    fn may_overlap(&mut self, waits: bool) -> bool {
        std::mem::replace(&mut self.overlaps, waits) && waits
    }
}

/// A compiled file on the card.
struct Module(sys::CUmodule);

// SAFETY: the driver's functions take a module on any thread.
unsafe impl Send for Module {}

// SAFETY: the driver's functions may be called from any thread with these handles, once the context is the thread's own
// (`bind`).
unsafe impl Send for Context {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Context {}

/// What the driver's error says, in the crate's.
pub(super) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for std::result::Result<T, DriverError> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| DeviceError::operation(operation, text(error)))
    }
}

/// An error's text.
pub(super) fn text(error: DriverError) -> String {
    use sys::CUresult::{
        CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_INSTRUCTION, CUDA_ERROR_LAUNCH_FAILED,
        CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_MISALIGNED_ADDRESS,
    };
    let part = |text: std::result::Result<&std::ffi::CStr, DriverError>| {
        text.map_or_else(|_| format!("{:?}", error.0), |text| text.to_string_lossy().into_owned())
    };
    let said = format!("{} ({})", part(error.error_string()), part(error.error_name()));
    match error.0 {
        CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_LAUNCH_FAILED
        | CUDA_ERROR_LAUNCH_TIMEOUT
        | CUDA_ERROR_MISALIGNED_ADDRESS => {
            format!(
                "{said}. A kernel launched before failed; CUDA_LAUNCH_BLOCKING=1 shows which, compute-sanitizer where"
            )
        }
        _ => said,
    }
}

impl Context {
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        match result::init() {
            Ok(()) => {}
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => {
                return Err(DeviceError::NoCard { ordinal, count: 0 });
            }
            // The toolkit's stand-in for linking, without a driver behind it.
            Err(DriverError(sys::CUresult::CUDA_ERROR_STUB_LIBRARY)) => return Err(DeviceError::NoDriver),
            Err(error) => return Err(error).during("start of the driver"),
        }
        let count = usize::try_from(result::device::get_count().during("count of cards")?).unwrap_or(0);
        if ordinal >= count {
            return Err(DeviceError::NoCard { ordinal, count });
        }
        let card = result::device::get(ordinal as i32).during("search of the card")?;
        // All that a process does on a card shares one context. It is never released, the process's end does that: the last
        // release resets it, while another device of the process may be about to open it.
        // SAFETY: a card that the driver has just named.
        let context = unsafe { result::primary_ctx::retain(card) }.during("opening of the card")?;
        // SAFETY: a context that is retained.
        unsafe { result::ctx::set_current(context) }.during("opening of the card")?;
        // SAFETY: a valid card.
        let pool = unsafe { result::device::get_default_mem_pool(card) }.during("search of the card's memory")?;
        // Memory that was freed stays with us, for the next allocation: by default it goes back at each synchronization.
        let mut threshold = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: this attribute is a u64.
        unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast()) }
            .during("setting up of the card's memory")?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).during("opening of a stream")?;
        Ok(Context { card, context, stream, pool, recording: Mutex::default(), modules: Mutex::default() })
    }

    /// Loads compiled kernels, which stay as long as `self`. The context must be bound.
    pub(super) fn load(&self, code: &[u8]) -> std::result::Result<sys::CUmodule, DriverError> {
        // SAFETY: machine code, or intermediate code that ends with a zero, as the compiler wrote it: what was kept on
        // disk was compared with its hash, and only this user can have put it there.
        let module = unsafe { result::module::load_data(code.as_ptr().cast()) }?;
        self.modules.lock().unwrap_or_else(PoisonError::into_inner).push(Module(module));
        Ok(module)
    }

    /// Makes this the context of the calling thread, which each call of the driver needs.
    pub(super) fn bind(&self) -> Result<()> {
        // SAFETY: valid as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.during("use of the card")
    }

    /// [`Recording::may_overlap`], while work is recorded; no other does.
    pub(super) fn may_overlap(&self, waits: bool) -> bool {
        self.recording().as_mut().is_some_and(|recording| recording.may_overlap(waits))
    }

    fn recording(&self) -> MutexGuard<'_, Option<Recording>> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds, and refuses while work is being recorded.
    pub(super) fn bind_outside_recording(&self, operation: &'static str) -> Result<()> {
        if self.recording().is_some() {
            return Err(DeviceError::operation(operation, "cannot be done while work is being recorded"));
        }
        self.bind()
    }

    pub(super) fn allocate(&self, bytes: usize, what: &'static str) -> Result<u64> {
        self.bind_outside_recording("allocation")?;
        // SAFETY: all use of the memory is on this stream, and what is in it is nobody's.
        let allocate = || unsafe { result::malloc_async(self.stream, bytes) };
        match allocate() {
            Err(DriverError(OUT_OF_MEMORY)) => {}
            outcome => return outcome.during("allocation"),
        }
        // What was freed may be in pieces: it is given back and asked for anew.
        self.synchronize()?;
        // SAFETY: the card's pool, valid.
        unsafe { result::mem_pool::trim_to(self.pool, 0) }.during("allocation")?;
        match allocate() {
            Err(DriverError(OUT_OF_MEMORY)) => {
                let Memory { free, total, .. } = self.memory()?;
                Err(DeviceError::OutOfMemory { what, bytes, free, total })
            }
            outcome => outcome.during("allocation"),
        }
    }

    pub(super) fn free(&self, address: u64) {
        if let Some(recording) = self.recording().as_mut() {
            recording.deferred.push(address);
            return;
        }
        if self.bind().is_ok() {
            // A failure is one of earlier work, which the next call shows.
            // SAFETY: allocated on this stream, and its owner gives it up.
            let _ = unsafe { result::free_async(address, self.stream) };
        }
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        self.bind_outside_recording("synchronization")?;
        // SAFETY: valid as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }.during("synchronization")
    }

    /// What the driver has, and what the pool has in reserve.
    pub(super) fn memory(&self) -> Result<Memory> {
        self.bind()?;
        let (free, total) = result::mem_get_info().during("question for memory")?;
        let [reserved, used] = [
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT,
        ]
        .map(|attribute| {
            let mut bytes = 0_u64;
            // SAFETY: these attributes are a u64 each.
            unsafe { result::mem_pool::get_attribute(self.pool, attribute, (&raw mut bytes).cast()) }
                .during("question for memory")?;
            Ok(bytes as usize)
        });
        let (reserved, held) = (reserved?, used?);
        Ok(Memory { free: free + reserved.saturating_sub(held), total, held })
    }

    pub(super) fn begin_capture(&self) -> Result<()> {
        self.bind_outside_recording("recording")?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: valid as long as `self`.
        unsafe { result::stream::begin_capture(self.stream, mode) }.during("recording")?;
        *self.recording() = Some(Recording::default());
        Ok(())
    }

    pub(super) fn end_capture(&self) -> Result<sys::CUgraph> {
        self.bind()?;
        // SAFETY: valid as long as `self`.
        let graph = unsafe { result::stream::end_capture(self.stream) }.during("recording");
        let Recording { deferred, .. } = self.recording().take().unwrap_or_default();
        deferred.into_iter().for_each(|address| self.free(address));
        graph
    }

    pub(super) fn attribute(&self, attribute: sys::CUdevice_attribute) -> Result<i32> {
        // SAFETY: a valid card.
        unsafe { result::device::get_attribute(self.card, attribute) }.during("question for the card's properties")
    }

    pub(super) fn name(&self) -> String {
        result::device::get_name(self.card).unwrap_or_else(|_| "a card without a name".into())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.bind().is_ok() {
            let modules = std::mem::take(self.modules.get_mut().unwrap_or_else(PoisonError::into_inner));
            // SAFETY: nothing is given to the stream any more; all that uses it or the modules keeps this alive.
            alone(|| unsafe {
                let _ = result::stream::synchronize(self.stream);
                for Module(module) in modules {
                    let _ = result::module::unload(module);
                }
                let _ = result::stream::destroy(self.stream);
                let _ = result::mem_pool::trim_to(self.pool, 0);
            });
        }
    }
}

/// A point in a stream's work. Its context must outlive it.
pub(super) struct Event(sys::CUevent);

// SAFETY: the driver's functions take an event on any thread.
unsafe impl Send for Event {}

impl Event {
    /// One that tells no time, or one that does.
    pub(super) fn new(timed: bool) -> Result<Self> {
        let flags =
            if timed { sys::CUevent_flags::CU_EVENT_DEFAULT } else { sys::CUevent_flags::CU_EVENT_DISABLE_TIMING };
        Ok(Event(result::event::create(flags).during("making of an event")?))
    }

    pub(super) fn record(&self, context: &Context) -> Result<()> {
        // SAFETY: both are valid.
        unsafe { result::event::record(self.0, context.stream) }.during("recording of an event")
    }

    /// Waits for the work given before it was recorded last; not at all if it never was.
    pub(super) fn wait(&self) -> Result<()> {
        // SAFETY: valid as long as `self`.
        unsafe { result::event::synchronize(self.0) }.during("waiting for the card")
    }

    /// The time from this event until a later one; both are over.
    pub(super) fn until(&self, later: &Event) -> Result<Duration> {
        // The bindings of CUDA 13 know only a newer name, which drivers before 12.8 do not have.
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
        let mut milliseconds = 0.0;
        // SAFETY: the function has this type in all versions; it writes one number. Both events are valid.
        let outcome = unsafe {
            match sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0") {
                Ok(elapsed) => elapsed(&raw mut milliseconds, self.0, later.0),
                Err(_) => sys::CUresult::CUDA_ERROR_NOT_SUPPORTED,
            }
        };
        outcome.result().during("reading of a time")?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: not used any more; the driver waits with what is pending.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_overlaps_only_with_a_kernel_that_lets_it() {
        let mut recording = Recording::default();
        // Waiting kernels, then something else, then waiting kernels again.
        let given = [true, true, true, false, false, true, true];
        let found = given.map(|waits| recording.may_overlap(waits));
        assert_eq!(found, [false, true, true, false, false, false, true]);
    }
}
