//! The card: NVIDIA's driver, NVRTC for kernels, cuBLAS for products. All three are opened at run time.

mod blas;
mod compile;
mod context;
pub(crate) mod libraries;
mod transfer;

use std::any::Any;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::{Backend, Copied, Function, Recorded};
use crate::alone::alone;
use crate::gemm::Product;
use crate::{Description, DeviceError, Grid, Memory, Result, Source, kernels};

use blas::Blas;
use context::{Context, During, Event};
use transfer::{PinnedCopy, Staging};

/// The first version of CUDA whose graphs may have kernels that overlap, and the capability from which on kernels wait for one
/// another (`await_previous`).
const OVERLAPS_IN_GRAPHS: i32 = 12030;
const OVERLAPPING: i32 = 90;
/// Shared memory that a kernel may have without being allowed to, its static one among it.
const USUAL_SHARED_BYTES: u32 = 48 << 10;

/// What a compiled file is asked for by: its name and the defined names.
type Key = (&'static str, Vec<(&'static str, i64)>);

struct Card {
    // Before the context, which they need until they are dropped.
    blas: Mutex<Blas>,
    staging: Mutex<Staging>,
    modules: Mutex<HashMap<Key, Module>>,
    capability: (i32, i32),
    multiprocessors: usize,
    shared_memory: usize,
    /// Whether a recorded kernel can begin before the one before it ends.
    overlaps: bool,
    context: Arc<Context>,
}

/// A compiled file on the card, which the context keeps.
#[derive(Clone, Copy)]
struct Module(sys::CUmodule);

// SAFETY: the driver's functions take a module on any thread.
unsafe impl Send for Module {}

/// Opens a card, not while one is recorded on: what cannot be used is closed again, which waits for all of the card's work.
pub(crate) fn open(ordinal: usize) -> Result<Arc<dyn Backend>> {
    libraries::find()?;
    alone(|| open_card(ordinal))
}

fn open_card(ordinal: usize) -> Result<Arc<dyn Backend>> {
    let context = Arc::new(Context::open(ordinal)?);
    let (major, minor) = (
        context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if major < 8 {
        return Err(DeviceError::TooOld { name: context.name(), major, minor });
    }
    let number = |attribute| context.attribute(attribute).map(|value| usize::try_from(value).unwrap_or(0));
    Ok(Arc::new(Card {
        blas: Mutex::new(Blas::open(Arc::clone(&context))?),
        staging: Mutex::new(Staging::new()?),
        modules: Mutex::default(),
        capability: (major, minor),
        // Kernels that are compiled for older cards do not wait.
        overlaps: compile::is_for(10 * major + minor, OVERLAPPING)
            && driver_api()? >= OVERLAPS_IN_GRAPHS
            && !switched_off("RECIPE_CUDA_OVERLAP"),
        multiprocessors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_memory: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        context,
    }))
}

/// Whether the file compiles for a card of this compute capability (90 for 9.0), which need not be there.
pub(crate) fn check(source: Source, defines: &[(&'static str, i64)], capability: i32) -> Result<()> {
    libraries::find_nvrtc()?;
    compile::compile(source, defines, capability).map(|_| ())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Card {
    fn module(&self, source: Source, defines: &[(&'static str, i64)]) -> Result<Module> {
        let mut modules = locked(&self.modules);
        let key = (source.name, defines.to_vec());
        if let Some(module) = modules.get(&key) {
            return Ok(*module);
        }
        let (major, minor) = self.capability;
        let code = compile::compile(source, defines, 10 * major + minor)?;
        self.context.bind_outside_recording("loading of kernels")?;
        let module = self.context.load(&code).map_err(|error| DeviceError::Compile {
            file: source.name,
            defines: kernels::describe(defines),
            log: format!("the driver does not load it: {} (is NVRTC newer than the driver?)", context::text(error)),
        })?;
        modules.insert(key, Module(module));
        Ok(Module(module))
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // For the drops of what it holds. A failure shows there too, and there is nobody to tell.
        let _ = self.context.bind();
    }
}

impl Backend for Card {
    fn allocate(&self, bytes: usize, what: &'static str) -> Result<u64> {
        self.context.allocate(bytes, what)
    }

    fn free(&self, address: u64) {
        self.context.free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.context.bind_outside_recording("upload")?;
        locked(&self.staging).upload(&self.context, to, bytes)
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.context.bind_outside_recording("download")?;
        locked(&self.staging).download(&self.context, from, bytes)
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.context.bind()?;
        self.context.may_overlap(false);
        // SAFETY: both slices have this many bytes, on this card.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.context.stream) }.during("copy")
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.context.bind()?;
        self.context.may_overlap(false);
        // SAFETY: the slice has this many bytes, and zeros are a number of each type.
        unsafe { result::memset_d8_async(address, 0, bytes, self.context.stream) }.during("filling with zeros")
    }

    fn function(&self, source: Source, defines: &[(&'static str, i64)], name: &str) -> Result<Arc<dyn Function>> {
        let missing = || DeviceError::NoKernel { file: source.name.into(), kernel: name.into() };
        let module = self.module(source, defines)?;
        self.context.bind()?;
        let c_name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: a module that is loaded.
        let function = unsafe { result::module::get_function(module.0, c_name) }.map_err(|_| missing())?;
        // The question makes the driver load it now, and not at the first launch, which may be recorded.
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        // SAFETY: the function just found.
        let fixed = unsafe { result::function::get_function_attribute(function, attribute) };
        let fixed = fixed.during("loading of a kernel")?;
        let allowed = AtomicU32::new(USUAL_SHARED_BYTES.saturating_sub(fixed.unsigned_abs()));
        let (name, context) = (name.into(), Arc::clone(&self.context));
        let waits = self.overlaps && kernels::waits(source);
        if waits {
            // A multiprocessor divides its memory between cache and shared memory by what it runs, and changes that only when it
            // is idle: so a kernel with much shared memory could not begin beside one with little.
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
            // SAFETY: the function just found.
            unsafe { result::function::set_function_attribute(function, attribute, 100) }
                .during("loading of a kernel")?;
        }
        Ok(Arc::new(Loaded { function, name, allowed, waits, context }))
    }

    fn product(&self, product: &Product) -> Result<()> {
        self.context.bind()?;
        self.context.may_overlap(false);
        locked(&self.blas).multiply(product)
    }

    fn synchronize(&self) -> Result<()> {
        self.context.synchronize()
    }

    fn begin_capture(&self) -> Result<()> {
        self.context.begin_capture()
    }

    fn end_capture(&self) -> Result<Box<dyn Recorded>> {
        let graph = self.context.end_capture()?;
        // SAFETY: the graph just recorded; it is not needed once it can be run.
        let executable = unsafe {
            let executable = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            executable
        }
        .during("recording")?;
        Ok(Box::new(Executable { executable, context: Arc::clone(&self.context) }))
    }

    fn readback(&self, bytes: usize, what: &'static str) -> Result<Box<dyn Copied>> {
        Ok(Box::new(PinnedCopy::new(Arc::clone(&self.context), bytes, what)?))
    }

    fn mark(&self) -> Result<Box<dyn Any>> {
        self.context.bind_outside_recording("measuring of time")?;
        let event = Event::new(true)?;
        event.record(&self.context)?;
        Ok(Box::new(event))
    }

    fn since(&self, mark: Box<dyn Any>) -> Result<Duration> {
        self.context.bind_outside_recording("measuring of time")?;
        let end = Event::new(true)?;
        end.record(&self.context)?;
        end.wait()?;
        mark.downcast_ref::<Event>().map_or(Ok(Duration::ZERO), |start| start.until(&end))
    }

    fn memory(&self) -> Result<Memory> {
        self.context.memory()
    }

    fn describe(&self) -> Result<Description> {
        let driver = driver_api()?;
        let (major, minor) = compile::version()?;
        let blas = locked(&self.blas).version()?;
        let mut versions = vec![
            ("CUDA of the driver", format!("{}.{}", driver / 1000, driver % 1000 / 10)),
            ("NVRTC", format!("{major}.{minor}")),
            ("cuBLAS", format!("{}.{}.{}", blas / 10000, blas / 100 % 100, blas % 100)),
        ];
        versions.extend(driver_version().map(|version| ("driver", version)));
        Ok(Description {
            name: self.name(),
            capability: self.capability,
            memory: self.memory()?,
            multiprocessors: self.multiprocessors,
            versions,
        })
    }

    fn name(&self) -> String {
        self.context.name()
    }

    fn is_emulated(&self) -> bool {
        false
    }

    fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    fn shared_memory(&self) -> usize {
        self.shared_memory
    }
}

/// Whether a variable of the environment is `0`.
fn switched_off(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "0")
}

/// The version of CUDA that the driver knows, such as 13000.
fn driver_api() -> Result<i32> {
    let mut version = 0;
    // SAFETY: writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().during("version of the driver")?;
    Ok(version)
}

/// The version of the driver itself, such as 580.65.06, where the system shows it.
fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    text.split_whitespace().find(is_version).map(Into::into)
}

/// A kernel on the card.
struct Loaded {
    function: sys::CUfunction,
    name: String,
    /// Dynamic shared memory that it may have.
    allowed: AtomicU32,
    /// Whether it may begin before the kernel before it ends: it waits for that itself.
    waits: bool,
    context: Arc<Context>,
}

// SAFETY: the driver's functions take a kernel on any thread.
unsafe impl Send for Loaded {}
// SAFETY: as above; what changes is atomic, and changing it twice is harmless.
unsafe impl Sync for Loaded {}

impl Function for Loaded {
    fn launch(&self, grid: Grid, arguments: &mut [*mut c_void]) -> Result<()> {
        let wrong = |error| DeviceError::Kernel { kernel: self.name.clone(), message: context::text(error) };
        self.context.bind()?;
        if grid.shared_bytes > self.allowed.load(Ordering::Relaxed) {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a kernel that is loaded.
            unsafe { result::function::set_function_attribute(self.function, attribute, grid.shared_bytes as i32) }
                .map_err(|error| {
                    // A card of another kind may have less, which the driver calls an invalid argument.
                    let (kernel, bytes) = (self.name.clone(), grid.shared_bytes);
                    let message = format!("{bytes} bytes of shared memory for a block: {}", context::text(error));
                    DeviceError::Kernel { kernel, message }
                })?;
            self.allowed.store(grid.shared_bytes, Ordering::Relaxed);
        }
        let [x, y, z] = grid.blocks;
        let mut overlap = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes,
            hStream: self.context.stream,
            attrs: &raw mut overlap,
            numAttrs: u32::from(self.context.may_overlap(self.waits)),
        };
        // SAFETY: a kernel that is loaded, and pointers to values of the types that it declares: `Kernel::launch` has
        // compared them. What it does with its memory is the wrapper's business (see the crate's text).
        unsafe { sys::cuLaunchKernelEx(&raw const config, self.function, arguments.as_mut_ptr(), std::ptr::null_mut()) }
            .result()
            .map_err(wrong)
    }
}

/// Recorded work that can be run.
struct Executable {
    executable: sys::CUgraphExec,
    context: Arc<Context>,
}

// SAFETY: the driver's functions take it on any thread, from one at a time: the driver has no lock for it, so it is not
// `Sync`.
unsafe impl Send for Executable {}

impl Recorded for Executable {
    fn launch(&self) -> Result<()> {
        self.context.bind_outside_recording("launch of a graph")?;
        // SAFETY: valid as long as `self`.
        unsafe { result::graph::launch(self.executable, self.context.stream) }.during("launch of a graph")
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: not launched any more; the driver waits with what is running.
            let _ = unsafe { result::graph::exec_destroy(self.executable) };
        }
    }
}
