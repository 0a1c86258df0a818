//! What the guest can reach on the host's side: nothing but memory.
//!
//! WASI is linked because libc imports it, and each part of it is either harmless (standard streams that are
//! buffers, an empty environment, no directories) or replaced here: clocks that only move when they are read or
//! slept on, random bytes that are always the same, sockets that are refused before the operating system is asked.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::bindings::sync::sockets::udp_create_socket;
use wasmtime_wasi::p2::bindings::{cli, clocks, sockets};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::p2::{
    DynOutputStream, DynPollable, Network, OutputStream, Pollable, SocketError, SocketResult, StreamError,
    StreamResult, TcpSocket, UdpSocket, subscribe,
};
use wasmtime_wasi::sockets::WasiSocketsView as _;
use wasmtime_wasi::{
    Deterministic, FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use crate::limits::Limits;

/// Where the standard library lies while the snapshot is made; gone afterwards.
pub(crate) const LIBRARY_FOLDER: &str = "/stdlib";

/// What the tables of function pointers may grow to: CPython's have 10,000 entries and do not grow.
const TABLE_ELEMENTS: usize = 100_000;

/// Handles that a program may hold at once. The interpreter holds a dozen; each takes memory of the host's.
const HANDLES: usize = 1_000;

/// The state of one instance.
pub(crate) struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    clock: VirtualClock,
    output: Arc<Mutex<Output>>,
    pub(crate) memory: MemoryLimit,
}

impl Host {
    /// The world of one program.
    pub(crate) fn for_program(stdin: &str, limits: &Limits) -> Host {
        let clock = VirtualClock::default();
        let mut wasi = closed_world(&clock);
        wasi.stdin(MemoryInputPipe::new(stdin.to_owned()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Host {
            wasi: wasi.build(),
            table,
            clock,
            output: Arc::new(Mutex::new(Output { room: limits.output_bytes, ..Output::default() })),
            memory: MemoryLimit::new(limits.memory_bytes),
        }
    }

    /// The world in which the interpreter starts: it sees its library and writes its complaints to `stderr`.
    pub(crate) fn for_snapshot(library: &Path, stderr: MemoryOutputPipe) -> Result<Host> {
        let clock = VirtualClock::default();
        let mut wasi = closed_world(&clock);
        wasi.stderr(stderr)
            .env("PYTHONHOME", LIBRARY_FOLDER)
            .env("PYTHONPATH", LIBRARY_FOLDER)
            .env("PYTHONHASHSEED", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONUTF8", "1")
            .preopened_dir(library, LIBRARY_FOLDER, FsPerms::ReadOnly)?;
        Ok(Host {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            clock,
            output: Arc::default(),
            memory: MemoryLimit::new(usize::MAX),
        })
    }

    /// Standard output and standard error, as far as the limit allowed.
    pub(crate) fn take_output(&mut self) -> (String, String) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        (text(std::mem::take(&mut output.stdout)), text(std::mem::take(&mut output.stderr)))
    }

    fn capture(&mut self, stream: Stream) -> Result<Resource<DynOutputStream>> {
        let capture: DynOutputStream = Box::new(Capture { output: Arc::clone(&self.output), stream });
        Ok(self.table.push(capture)?)
    }

    fn pass(&mut self, nanoseconds: u64) -> Result<Resource<DynPollable>> {
        self.clock.advance(nanoseconds);
        let ready = self.table.push(Ready)?;
        subscribe(&mut self.table, ready)
    }
}

/// Neither files nor environment nor network; fixed randomness.
fn closed_world(clock: &VirtualClock) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.wall_clock(clock.clone())
        .monotonic_clock(clock.clone())
        .secure_random(fixed_random())
        .insecure_random(fixed_random())
        .insecure_random_seed(0)
        .max_random_size(1 << 20)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(true);
    wasi
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// WASI for programs, with the parts that this file replaces.
pub(crate) fn link_program(linker: &mut Linker<Host>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    clocks::monotonic_clock::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    cli::stdout::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    cli::stderr::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    sockets::tcp_create_socket::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    udp_create_socket::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Time that passes only when the program looks at the clock or sleeps: sleeping takes none of ours, and a program
/// that waits in a loop for a moment to come sees it come.
#[derive(Clone, Default)]
struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// 2026-01-01, in seconds since 1970.
    const EPOCH_SECONDS: u64 = 1_767_225_600;
    /// How far one look at the clock moves it.
    const STEP_NANOSECONDS: u64 = 10_000;

    fn advance(&self, nanoseconds: u64) -> u64 {
        // One instance runs on one thread, so the two steps are not raced. Saturating: a program may sleep for ever.
        let now = self.0.load(Ordering::Relaxed).saturating_add(nanoseconds);
        self.0.store(now, Ordering::Relaxed);
        now
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.advance(Self::STEP_NANOSECONDS)
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(Self::EPOCH_SECONDS) + Duration::from_nanos(self.advance(Self::STEP_NANOSECONDS))
    }
}

impl monotonic_clock::Host for Host {
    fn now(&mut self) -> Result<u64> {
        Ok(HostMonotonicClock::now(&self.clock))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let now = self.clock.advance(0);
        self.pass(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        self.pass(duration)
    }
}

/// What sleeping waits for.
struct Ready;

#[wasmtime_wasi::async_trait]
impl Pollable for Ready {
    async fn ready(&mut self) {}
}

impl network::Host for Host {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for Host {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl tcp_create_socket::Host for Host {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

impl udp_create_socket::Host for Host {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

/// The same bytes for every program: `os.urandom`, `uuid4`, `random.SystemRandom`.
fn fixed_random() -> Deterministic {
    // SplitMix64. The stream repeats after 8 KiB, which a program that asks for randomness cannot mind much.
    let mut state = 0_u64;
    let bytes = (0..1024).flat_map(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    });
    Deterministic::new(bytes.collect())
}

#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    room: usize,
}

#[derive(Clone, Copy)]
enum Stream {
    Output,
    Error,
}

struct Capture {
    output: Arc<Mutex<Output>>,
    stream: Stream,
}

/// The trap of a program that writes more than it may.
#[derive(Debug, thiserror::Error)]
#[error("more output than allowed")]
pub(crate) struct OutputExceeded;

#[wasmtime_wasi::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = bytes.len().min(output.room);
        output.room -= kept;
        match self.stream {
            Stream::Output => output.stdout.extend_from_slice(&bytes[..kept]),
            Stream::Error => output.stderr.extend_from_slice(&bytes[..kept]),
        }
        if kept < bytes.len() {
            return Err(StreamError::Trap(wasmtime::Error::new(OutputExceeded)));
        }
        Ok(())
    }

    /// The default makes as many bytes as it is asked for before it looks at any limit.
    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        let room = self.output.lock().unwrap_or_else(PoisonError::into_inner).room;
        self.write(Bytes::from(vec![0; count.min(room.saturating_add(1))]))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl cli::stdout::Host for Host {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        self.capture(Stream::Output)
    }
}

impl cli::stderr::Host for Host {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        self.capture(Stream::Error)
    }
}

/// Refuses memory beyond the limit (Python then raises `MemoryError`) and remembers that it did. What counts is the sum
/// over all memories of an instance, and over all tables.
pub(crate) struct MemoryLimit {
    limit: usize,
    bytes: usize,
    elements: usize,
    pub(crate) refused: bool,
}

impl MemoryLimit {
    pub(crate) fn new(limit: usize) -> MemoryLimit {
        MemoryLimit { limit, bytes: 0, elements: 0, refused: false }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        let allowed = bytes <= self.limit;
        if allowed {
            self.bytes = bytes;
        }
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        let allowed = elements <= TABLE_ELEMENTS;
        if allowed {
            self.elements = elements;
        }
        Ok(allowed)
    }
}
