//! The device: a handle that is cheap to clone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::alone::alone;
use crate::backend::{Backend, emulator};
use crate::kernels::{self, Source};
use crate::{Argument, Buffer, DeviceError, Element, Gemm, Graph, Grid, Kernel, Readback, Result, Slice};

/// What a compiled kernel is asked for by: file, defined names, kernel.
type Key = (&'static str, Vec<(&'static str, i64)>, String);

/// A card, or the emulator. Work given to it is done in order; several threads may give it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    kernels: Mutex<HashMap<Key, Kernel>>,
}

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Not in use.
    pub free: usize,
    /// All there is.
    pub total: usize,
    /// What this process has in buffers.
    pub held: usize,
}

/// What a device is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its compute capability, such as (9, 0).
    pub capability: (i32, i32),
    /// Its memory.
    pub memory: Memory,
    /// How many multiprocessors it has.
    pub multiprocessors: usize,
    /// The versions of what it needs, such as ("CUDA of the driver", "13.0").
    pub versions: Vec<(&'static str, String)>,
}

impl Device {
    /// Card number `ordinal`, from 0.
    ///
    /// # Errors
    /// If there is no driver, library or card, each with what to do about it; if the program was built without `cuda`.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        #[cfg(feature = "cuda")]
        return Ok(Device::new(crate::backend::driver::open(ordinal)?));
        #[cfg(not(feature = "cuda"))]
        Err(DeviceError::operation(
            "cuda",
            format!("card {ordinal}: this program was built without the feature `cuda`"),
        ))
    }

    /// The emulator.
    ///
    /// # Errors
    /// If there is no C++ compiler (`CXX`, else `c++`).
    pub fn emulated() -> Result<Self> {
        Ok(Device::new(emulator::open()?))
    }

    /// The device for tests: the emulator, or the first card if `RECIPE_TEST_DEVICE=cuda`.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn for_tests() -> Self {
        let device = match std::env::var("RECIPE_TEST_DEVICE").as_deref() {
            Ok("cuda") => Device::cuda(0),
            _ => Device::emulated(),
        };
        device.unwrap_or_else(|error| panic!("the tests' device: {error}"))
    }

    fn new(backend: Arc<dyn Backend>) -> Self {
        Device(Arc::new(Inner { backend, kernels: Mutex::default() }))
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.0.backend
    }

    /// Memory for `len` numbers, not initialised. (The emulator fills it with 0xFF bytes, which are no number.)
    ///
    /// # Errors
    /// If there is not enough; the message names `what` it is for. While work is being recorded.
    pub fn alloc<T: Element>(&self, len: usize, what: &'static str) -> Result<Buffer<T>> {
        Buffer::allocate(self, len, what)
    }

    /// Memory for `len` numbers, all 0.
    ///
    /// # Errors
    /// As [`Device::alloc`].
    pub fn zeros<T: Element>(&self, len: usize, what: &'static str) -> Result<Buffer<T>> {
        let buffer = self.alloc(len, what)?;
        buffer.fill_zero()?;
        Ok(buffer)
    }

    /// Memory with a copy of `values`.
    ///
    /// # Errors
    /// As [`Device::alloc`].
    pub fn upload<T: Element>(&self, values: &[T], what: &'static str) -> Result<Buffer<T>> {
        let buffer = self.alloc(values.len(), what)?;
        buffer.view().write(values)?;
        Ok(buffer)
    }

    /// The kernel `name` of the file `file` (without `.cu`), compiled with `defines` unless it was already.
    ///
    /// # Errors
    /// If there is no such file or kernel, or it does not compile.
    pub fn kernel(&self, file: &'static str, defines: &[(&'static str, i64)], name: &str) -> Result<Kernel> {
        let Some(source) = kernels::source(file) else {
            return Err(DeviceError::NoKernel { file: format!("{file}.cu"), kernel: name.into() });
        };
        self.kernel_of(source, defines, name)
    }

    /// The kernel `name` of a file that this crate does not have.
    ///
    /// # Errors
    /// If there is no such kernel, or it does not compile.
    pub fn kernel_of(&self, source: Source, defines: &[(&'static str, i64)], name: &str) -> Result<Kernel> {
        let key = (source.name, defines.to_vec(), name.to_owned());
        // Held while compiling: who else wants the kernel waits for it.
        let mut kernels = self.0.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(kernel.clone());
        }
        let function = self.backend().function(source, defines, name)?;
        let kernel = Kernel::new(name, source.text, function);
        kernels.insert(key, kernel.clone());
        Ok(kernel)
    }

    /// Runs a kernel; does nothing if the grid has no blocks. The arguments are compared with what its source declares.
    ///
    /// # Safety
    /// The kernel must be this device's, and keep to the memory of its arguments. (The emulator stops one that does not, in
    /// nearly all cases.)
    ///
    /// # Errors
    /// If they do not fit, or the grid is not possible. A kernel's failure on a card shows in a later call.
    pub unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
        self.submit(kernel, grid, arguments)
    }

    /// [`Device::launch`] for this crate's operations, which pass what their kernels keep to.
    pub(crate) fn submit(&self, kernel: &Kernel, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
        kernel.launch(self, grid, arguments)
    }

    /// Computes a product of matrices.
    ///
    /// # Errors
    /// If the matrices do not lie within their slices, or `c` in the memory of another.
    pub fn gemm(&self, gemm: &Gemm<'_>) -> Result<()> {
        gemm.run(self)
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// If some of it failed.
    pub fn synchronize(&self) -> Result<()> {
        self.backend().synchronize()
    }

    /// Records what `work` gives to the device without doing it; errors name `what` is recorded. It must not allocate, read or
    /// write from the host, nor compile; so do the same work once before. Meanwhile no device of the process is opened or closed.
    ///
    /// # Safety
    /// The buffers that it uses must be kept until the graph is launched for the last time, since the graph knows only where
    /// they lie. No other thread may give work to the device meanwhile: it would be recorded too.
    ///
    /// # Errors
    /// What `work` returns; if it does what cannot be recorded.
    pub unsafe fn capture(&self, what: &str, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let named = |error: DeviceError| match error {
            DeviceError::Operation { operation, message } => {
                DeviceError::operation(operation, format!("{what}: {message}"))
            }
            other => other,
        };
        alone(|| {
            self.backend().begin_capture().map_err(named)?;
            let outcome = work();
            let recorded = self.backend().end_capture();
            outcome?;
            Ok(Graph::new(recorded.map_err(named)?, self.clone()))
        })
    }

    /// A place in the host's memory to copy up to `len` numbers to while the device goes on.
    ///
    /// # Errors
    /// If there is no memory for it; the message names `what` it is for.
    pub fn readback<T: Element>(&self, len: usize, what: &'static str) -> Result<Readback<T>> {
        Readback::new(self, len, what)
    }

    /// How long the device takes for `work`, from its first to its last step.
    ///
    /// # Errors
    /// What `work` returns, or if its work failed.
    pub fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let start = self.backend().mark()?;
        work()?;
        self.backend().since(start)
    }

    /// How much memory there is.
    ///
    /// # Errors
    /// If the device fails.
    pub fn memory(&self) -> Result<Memory> {
        self.backend().memory()
    }

    /// Name, memory and versions.
    ///
    /// # Errors
    /// If the device fails.
    pub fn describe(&self) -> Result<Description> {
        self.backend().describe()
    }

    /// The card's name.
    pub fn name(&self) -> String {
        self.backend().name()
    }

    /// Whether it is the emulator.
    pub fn is_emulated(&self) -> bool {
        self.backend().is_emulated()
    }

    /// How many blocks can run at once, each on a multiprocessor of its own.
    pub fn multiprocessors(&self) -> usize {
        self.backend().multiprocessors()
    }

    /// Dynamic shared memory that a block may have, in bytes.
    pub fn shared_memory(&self) -> usize {
        self.backend().shared_memory()
    }

    /// Whether both are the same device.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Device({})", self.name())
    }
}

/// Whether both slices are on the same device.
pub(crate) fn same_device<T: Element>(device: &Device, slice: &Slice<'_, T>) -> bool {
    device.is(slice.device())
}
