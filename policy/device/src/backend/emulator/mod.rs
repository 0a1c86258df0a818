//! The emulator: kernels compiled by the host's C++ compiler, its own memory, products in plain loops.
//!
//! For tests. What it checks stands in `kernels/emulation.hpp` (threads, barriers, shared memory) and in [`guarded`]
//! (reads and writes outside of buffers). `RECIPE_TEST_NVRTC=80,90` has NVRTC, where it is installed, compile each kernel that
//! is asked for, for cards of these compute capabilities: so the tests find what only CUDA's compiler refuses.

mod guarded;
mod library;

use std::any::Any;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use half::bf16;

use super::{Backend, Copied, Function, Recorded};
use crate::gemm::Product;
use crate::{Description, DeviceError, Grid, Memory, Result, Source};

use guarded::Allocations;
use library::{Compiler, Library};

/// What a card of compute capability 9.0 offers to a block.
const SHARED_MEMORY: usize = 227 * 1024;

/// Something to do, now or when a graph is launched.
type Step = Arc<dyn Fn() -> Result<()> + Send + Sync>;

struct Emulator {
    compiler: Compiler,
    allocations: Arc<Allocations>,
    stream: Arc<Stream>,
}

/// The order of work. Without a recording it is done at once.
#[derive(Default)]
struct Stream {
    recording: Mutex<Option<Vec<Step>>>,
    /// Held by what touches memory: one thing at a time is done, whichever thread gives it.
    turn: Mutex<()>,
    /// Chooses the order of threads and blocks.
    launches: AtomicU32,
}

impl Stream {
    fn recording(&self) -> MutexGuard<'_, Option<Vec<Step>>> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn perform(&self, step: impl Fn() -> Result<()> + Send + Sync + 'static) -> Result<()> {
        if let Some(steps) = self.recording().as_mut() {
            steps.push(Arc::new(step));
            return Ok(());
        }
        let _turn = self.turn();
        step()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse_recording(&self, operation: &'static str) -> Result<()> {
        match &*self.recording() {
            Some(_) => Err(DeviceError::operation(operation, "cannot be done while work is being recorded")),
            None => Ok(()),
        }
    }
}

/// Opens the emulator.
pub(crate) fn open() -> Result<Arc<dyn Backend>> {
    let allocations = Arc::new(Allocations::default());
    Ok(Arc::new(Emulator { compiler: Compiler::find()?, allocations, stream: Arc::default() }))
}

impl Backend for Emulator {
    fn allocate(&self, bytes: usize, what: &'static str) -> Result<u64> {
        self.stream.refuse_recording("allocation")?;
        self.allocations.allocate(bytes, what)
    }

    fn free(&self, address: u64) {
        self.allocations.free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.stream.refuse_recording("upload")?;
        let _turn = self.stream.turn();
        // SAFETY: the caller's slice of a buffer has this many bytes, and the buffer lives. Host memory is never part of it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.stream.refuse_recording("download")?;
        let _turn = self.stream.turn();
        // SAFETY: as for `upload`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.stream.perform(move || {
            // SAFETY: both slices have this many bytes; they may overlap. A graph's buffers are kept as long as the graph.
            unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
            Ok(())
        })
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.stream.perform(move || {
            // SAFETY: the slice has this many bytes. A graph's buffers are kept as long as the graph.
            unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
            Ok(())
        })
    }

    fn function(&self, source: Source, defines: &[(&'static str, i64)], name: &str) -> Result<Arc<dyn Function>> {
        check_for_cards(source, defines)?;
        let library = self.compiler.library(source, defines)?;
        let Some(parameters) = library.parameters(name) else {
            return Err(DeviceError::NoKernel { file: source.name.into(), kernel: name.into() });
        };
        let (allocations, stream) = (Arc::clone(&self.allocations), Arc::clone(&self.stream));
        Ok(Arc::new(Emulated { library, name: name.into(), parameters, allocations, stream }))
    }

    fn product(&self, product: &Product) -> Result<()> {
        let product = *product;
        self.stream.perform(move || {
            multiply(&product);
            Ok(())
        })
    }

    fn synchronize(&self) -> Result<()> {
        self.stream.refuse_recording("synchronization")
    }

    fn begin_capture(&self) -> Result<()> {
        self.stream.refuse_recording("recording")?;
        *self.stream.recording() = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&self) -> Result<Box<dyn Recorded>> {
        let steps = self.stream.recording().take().unwrap_or_default();
        Ok(Box::new(Steps { steps, stream: Arc::clone(&self.stream) }))
    }

    fn readback(&self, bytes: usize, _what: &'static str) -> Result<Box<dyn Copied>> {
        Ok(Box::new(HostCopy { bytes: vec![0; bytes.div_ceil(8)], used: 0, stream: Arc::clone(&self.stream) }))
    }

    fn mark(&self) -> Result<Box<dyn Any>> {
        Ok(Box::new(Instant::now()))
    }

    fn since(&self, mark: Box<dyn Any>) -> Result<Duration> {
        Ok(mark.downcast_ref::<Instant>().map(Instant::elapsed).unwrap_or_default())
    }

    fn memory(&self) -> Result<Memory> {
        // SAFETY: both calls only read numbers.
        let [page, free, total] = [libc::_SC_PAGESIZE, libc::_SC_AVPHYS_PAGES, libc::_SC_PHYS_PAGES]
            .map(|name| unsafe { libc::sysconf(name) });
        let bytes = |pages: i64| usize::try_from(pages * page).unwrap_or(0);
        Ok(Memory { free: bytes(free), total: bytes(total), held: self.allocations.held() })
    }

    fn describe(&self) -> Result<Description> {
        Ok(Description {
            name: self.name(),
            capability: (9, 0),
            memory: self.memory()?,
            multiprocessors: self.multiprocessors(),
            versions: vec![("C++ compiler", self.compiler.version().to_owned())],
        })
    }

    fn name(&self) -> String {
        "emulator".into()
    }

    fn is_emulated(&self) -> bool {
        true
    }

    /// Few, so that a loop over what one block leaves for the next is taken.
    fn multiprocessors(&self) -> usize {
        4
    }

    fn shared_memory(&self) -> usize {
        SHARED_MEMORY
    }
}

#[cfg(feature = "cuda")]
fn check_for_cards(source: Source, defines: &[(&'static str, i64)]) -> Result<()> {
    let capabilities = std::env::var("RECIPE_TEST_NVRTC").unwrap_or_default();
    capabilities
        .split(',')
        .filter_map(|capability| capability.trim().parse().ok())
        .try_for_each(|capability| super::driver::check(source, defines, capability))
}

#[cfg(not(feature = "cuda"))]
fn check_for_cards(_source: Source, _defines: &[(&'static str, i64)]) -> Result<()> {
    Ok(())
}

struct Emulated {
    library: &'static Library,
    name: String,
    parameters: usize,
    allocations: Arc<Allocations>,
    stream: Arc<Stream>,
}

impl Function for Emulated {
    fn launch(&self, grid: Grid, arguments: &mut [*mut c_void]) -> Result<()> {
        let wrong = |message| DeviceError::Kernel { kernel: self.name.clone(), message };
        if arguments.len() != self.parameters {
            return Err(wrong(format!("takes {} arguments, got {}", self.parameters, arguments.len())));
        }
        // SAFETY: `Kernel::launch` keeps each argument in 8 bytes of its own.
        let values: Vec<u64> = arguments.iter().map(|argument| unsafe { *argument.cast::<u64>() }).collect();
        let (library, name, stream) = (self.library, self.name.clone(), Arc::clone(&self.stream));
        let allocations = Arc::clone(&self.allocations);
        self.stream.perform(move || {
            let failed = |message| DeviceError::Kernel { kernel: name.clone(), message };
            let order = stream.launches.fetch_add(1, Ordering::Relaxed);
            guarded::watch(library.fault_handler(), || library.launch(&name, grid, order, &values)).map_err(
                |(message, fault)| {
                    failed(match fault.and_then(|address| allocations.nearest(address)) {
                        Some(place) => format!("{message}: {place}"),
                        None => message,
                    })
                },
            )?;
            allocations.check_guards(&values).map_err(failed)
        })
    }
}

struct Steps {
    steps: Vec<Step>,
    stream: Arc<Stream>,
}

impl Recorded for Steps {
    fn launch(&self) -> Result<()> {
        self.stream.refuse_recording("launch of a graph")?;
        let _turn = self.stream.turn();
        self.steps.iter().try_for_each(|step| step())
    }
}

struct HostCopy {
    /// As words, so that numbers of each type lie aligned.
    bytes: Vec<u64>,
    used: usize,
    stream: Arc<Stream>,
}

impl Copied for HostCopy {
    fn start(&mut self, from: u64, bytes: usize) -> Result<()> {
        self.stream.refuse_recording("readback")?;
        let _turn = self.stream.turn();
        let to: &mut [u8] = bytemuck::cast_slice_mut(&mut self.bytes);
        // SAFETY: the caller's slice has this many bytes, of which `to` has at least as many (indexed).
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to[..bytes].as_mut_ptr(), bytes) };
        self.used = bytes;
        Ok(())
    }

    fn wait(&mut self) -> Result<&[u8]> {
        Ok(&bytemuck::cast_slice(&self.bytes)[..self.used])
    }
}

/// `c = alpha a b + beta c`: what cuBLAS does, with sums in the order of `k`.
fn multiply(product: &Product) {
    let Product { m, n, k, lda, ldb, ldc, alpha, beta, batch, .. } = *product;
    // No size is 0: `Gemm::run` does those itself.
    let extent = |rows: usize, columns: usize, leading: usize| (rows - 1) * leading + columns;
    let [len_a, len_b] = [
        if product.transpose_a { extent(k, m, lda) } else { extent(m, k, lda) },
        if product.transpose_b { extent(n, k, ldb) } else { extent(k, n, ldb) },
    ];
    for index in 0..batch.count {
        let [a, b] =
            [(product.a, batch.stride_a, len_a), (product.b, batch.stride_b, len_b)].map(|(base, stride, len)| {
                let start = base as *const bf16;
                // SAFETY: `Gemm::run` has checked that all of the batch's matrices lie in their slices, which are aligned.
                // Nothing writes to them meanwhile: it has refused a `c` that shares memory with them, and all else waits
                // for its turn.
                unsafe { std::slice::from_raw_parts(start.add(index * stride), len) }
            });
        for row in 0..m {
            for column in 0..n {
                let mut sum = 0.0_f32;
                for inner in 0..k {
                    let left = a[if product.transpose_a { inner * lda + row } else { row * lda + inner }];
                    let right = b[if product.transpose_b { column * ldb + inner } else { inner * ldb + column }];
                    sum += left.to_f32() * right.to_f32();
                }
                let at = index * batch.stride_c + row * ldc + column;
                let result = |before: f32| if beta == 0.0 { alpha * sum } else { alpha * sum + beta * before };
                // SAFETY: as above; this place is of this product alone.
                unsafe {
                    if product.is_bf16 {
                        let place = (product.c as *mut bf16).add(at);
                        *place = bf16::from_f32(result((*place).to_f32()));
                    } else {
                        let place = (product.c as *mut f32).add(at);
                        *place = result(*place);
                    }
                }
            }
        }
    }
}
