//! What the guest can reach on the host's side: nothing but memory.
//!
//! WASI is linked because libc imports it, and each part of it is either harmless (standard streams that are
//! buffers, an empty environment, no directories) or replaced here: clocks that only move when they are read or
//! slept on, random bytes that are always the same, sockets that are refused before the operating system is asked.
//!
//! A function whose work grows with what a program passes is charged to the program's fuel; those that wasmtime's WASI
//! would do for nothing (random bytes, waiting for many things, looking up a name) are therefore here.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable, WasmStr};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::ResolveAddressStream;
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

use crate::deadline::{Deadline, charge};
use crate::ending::OutputExceeded;
use crate::fixed::{FixedRandom, VirtualClock};
use crate::guest::hash_texts;
use crate::limits::Limits;
use crate::memory::MemoryLimit;

/// Where the standard library lies while the snapshot is made; gone afterwards.
pub(crate) const LIBRARY_FOLDER: &str = "/stdlib";

/// Handles that a program may hold at once. The interpreter holds a dozen; each takes memory of the host's.
const HANDLES: usize = 1_000;

/// What one call may pass to the host, in bytes of the host's: more than the interpreter's 4 KiB of output, and enough for
/// what a component returns.
pub(crate) const MOST_PASSED_BYTES: usize = 16 << 20;

/// Random bytes that a program may ask for in one call.
const MOST_RANDOM_BYTES: u64 = 1 << 20;

/// What the interpreter finds in its environment while the snapshot is made; gone afterwards.
pub(crate) const SNAPSHOT_ENVIRONMENT: [(&str, &str); 6] = [
    ("PYTHONHOME", LIBRARY_FOLDER),
    ("PYTHONPATH", LIBRARY_FOLDER),
    ("PYTHONHASHSEED", "0"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONNOUSERSITE", "1"),
    ("PYTHONUTF8", "1"),
];

/// The state of one instance.
pub(crate) struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    clock: VirtualClock,
    secure: FixedRandom,
    insecure: FixedRandom,
    output: Arc<Mutex<Output>>,
    pub(crate) memory: MemoryLimit,
    /// When the time of what is running is over.
    pub(crate) deadline: Deadline,
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
            secure: FixedRandom::default(),
            insecure: FixedRandom::default(),
            output: Arc::new(Mutex::new(Output::new(limits.output_bytes))),
            memory: MemoryLimit::new(limits.memory_bytes),
            deadline: Deadline::NEVER,
        }
    }

    /// The world in which the interpreter starts: it sees its library and writes its complaints to `stderr`.
    pub(crate) fn for_snapshot(library: &Path, stderr: MemoryOutputPipe) -> Result<Host> {
        let clock = VirtualClock::default();
        let mut wasi = closed_world(&clock);
        wasi.stderr(stderr)
            .envs(&SNAPSHOT_ENVIRONMENT)
            .secure_random(snapshot_random())
            .insecure_random(snapshot_random())
            .preopened_dir(library, LIBRARY_FOLDER, FsPerms::ReadOnly)?;
        Ok(Host {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            clock,
            secure: FixedRandom::default(),
            insecure: FixedRandom::default(),
            output: Arc::new(Mutex::new(Output::new(0))),
            memory: MemoryLimit::new(usize::MAX),
            deadline: Deadline::NEVER,
        })
    }

    /// Standard output and standard error, as far as the limit allowed. What comes next may write as much again.
    pub(crate) fn take_output(&mut self) -> (String, String) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.room = output.limit;
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

/// Feeds what the interpreter sees of the world while it starts into `hash`.
pub(crate) fn hash_snapshot_world(hash: &mut Sha256) {
    hash_texts(hash, SNAPSHOT_ENVIRONMENT.into_iter().flat_map(|(name, value)| [name, value]));
    hash_texts(hash, [LIBRARY_FOLDER]);
    let clock = [VirtualClock::EPOCH, VirtualClock::STEP].map(|time| time.as_nanos() as u64);
    for number in [clock[0], clock[1], FixedRandom::default().next()] {
        hash.update(number.to_le_bytes());
    }
}

/// Neither files nor environment nor network; fixed randomness.
fn closed_world(clock: &VirtualClock) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.wall_clock(clock.clone())
        .monotonic_clock(clock.clone())
        // Programs get `FixedRandom` in place of these; should they ever not, nothing may differ between two runs.
        .secure_random(Deterministic::new(vec![0]))
        .insecure_random(Deterministic::new(vec![0]))
        .insecure_random_seed(0)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .allow_blocking_current_thread(true);
    wasi
}

/// What the interpreter is seeded with while it starts; wasmtime's generator goes round in it.
fn snapshot_random() -> Deterministic {
    let mut bytes = vec![0; 8 << 10];
    FixedRandom::default().fill(&mut bytes);
    Deterministic::new(bytes)
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
    link_charged(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The functions whose work grows with what is passed or asked for. The versions are those of wasmtime's own: these
/// definitions stand in place of them.
fn link_charged(linker: &mut Linker<Host>) -> Result<()> {
    type Store<'a> = StoreContextMut<'a, Host>;

    fn bytes(mut store: Store<'_>, length: u64, random: fn(&mut Host) -> &mut FixedRandom) -> Result<(Vec<u8>,)> {
        if length > MOST_RANDOM_BYTES {
            wasmtime::bail!("{length} random bytes are more than the {MOST_RANDOM_BYTES} of one call");
        }
        let deadline = store.data().deadline;
        charge(&mut store, deadline, length)?;
        let mut bytes = vec![0; length as usize];
        random(store.data_mut()).fill(&mut bytes);
        Ok((bytes,))
    }

    let mut random = linker.instance("wasi:random/random@0.2.12")?;
    random.func_wrap("get-random-bytes", |store: Store<'_>, (length,): (u64,)| {
        bytes(store, length, |host| &mut host.secure)
    })?;
    random.func_wrap("get-random-u64", |mut store: Store<'_>, ()| Ok((store.data_mut().secure.next(),)))?;

    let mut insecure = linker.instance("wasi:random/insecure@0.2.12")?;
    insecure.func_wrap("get-insecure-random-bytes", |store: Store<'_>, (length,): (u64,)| {
        bytes(store, length, |host| &mut host.insecure)
    })?;
    insecure
        .func_wrap("get-insecure-random-u64", |mut store: Store<'_>, ()| Ok((store.data_mut().insecure.next(),)))?;

    // Everything that can be waited for is there: time has passed when it was asked for, and streams are buffers.
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap("poll", |mut store: Store<'_>, (waited,): (Vec<Resource<DynPollable>>,)| {
        if waited.is_empty() {
            wasmtime::bail!("waiting for nothing never ends");
        }
        let deadline = store.data().deadline;
        charge(&mut store, deadline, waited.len() as u64)?;
        Ok(((0..waited.len() as u32).collect::<Vec<u32>>(),))
    })?;

    // The name is not even read.
    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.func_wrap("resolve-addresses", |_: Store<'_>, _: (Resource<Network>, WasmStr)| {
        Ok((Err::<Resource<ResolveAddressStream>, ErrorCode>(ErrorCode::AccessDenied),))
    })
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.look()
    }
}

impl HostWallClock for VirtualClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.look_at_wall()
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

struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    limit: usize,
    room: usize,
}

impl Output {
    fn new(limit: usize) -> Output {
        Output { stdout: Vec::new(), stderr: Vec::new(), limit, room: limit }
    }
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
