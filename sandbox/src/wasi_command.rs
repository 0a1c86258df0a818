//! Programs in other languages: a WebAssembly module that is a command for WASI preview 1 (what clang, rustc and others
//! make for `wasm32-wasi`), under the same limits as Python programs.
//!
//! Preview 1 is a list of functions. Those that a program with arguments, standard streams and a clock needs are here,
//! a few lines each, on nothing but the program's own state; all others answer that they are not permitted. So there is
//! nothing to configure and nothing that could reach the operating system. Host functions take time that the program's
//! own fuel does not count: those whose work grows with their arguments charge for it, and all look at the wall clock.

use std::time::Instant;

use wasmtime::{
    Caller, Engine, Extern, ExternType, FuncType, InstancePre, Linker, Module, Result, Store, Val, ValType,
};
use wasmtime_wasi::I32Exit;

use crate::deadline::{Deadline, FUEL_BETWEEN_LOOKS, charge, drive};
use crate::ending::{OutputExceeded, cause_of, timed_out};
use crate::engine;
use crate::error::SandboxError;
use crate::fixed::{FixedRandom, VirtualClock};
use crate::limits::Limits;
use crate::memory::MemoryLimit;
use crate::outcome::{Cause, Outcome};

/// The largest module that is compiled.
const MOST_MODULE_BYTES: usize = 64 << 20;
/// Buffers in one call of `fd_read` or `fd_write`, and subscriptions in one of `poll_oneoff`.
const MOST_BUFFERS: u32 = 1_024;
const MODULE: &str = "wasi_snapshot_preview1";
/// What the wall clock shows at the beginning, in nanoseconds since 1970.
const EPOCH_NANOSECONDS: u64 = VirtualClock::EPOCH.as_nanos() as u64;

/// Preview 1's numbers for how a call ended.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const BAD_DESCRIPTOR: i32 = 8;
    pub(super) const FAULT: i32 = 21;
    pub(super) const INVALID: i32 = 28;
    pub(super) const NO_SEEK: i32 = 70;
    pub(super) const NOT_PERMITTED: i32 = 76;
}

/// A call's answer: an errno on failure.
type Answer = std::result::Result<(), i32>;

/// The functions that are not permitted, with their parameters: `i` is 32 bits wide, `I` is 64.
const REFUSED: &[(&str, &str)] = &[
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_pwrite", "iiiIi"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_sync", "i"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("proc_raise", "i"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// A compiled command. Share it by `Arc`: any number of threads may run it at once.
pub struct WasiCommand {
    instance: InstancePre<State>,
    engine: Engine,
}

/// One running command, seen from outside.
struct State {
    arguments: Vec<Vec<u8>>,
    /// Of all arguments, each with the zero at its end.
    argument_bytes: u64,
    stdin: Vec<u8>,
    read: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    room: usize,
    clock: VirtualClock,
    random: FixedRandom,
    memory: MemoryLimit,
    deadline: Deadline,
}

impl WasiCommand {
    /// Compiles `module`, in binary or text form.
    ///
    /// # Errors
    ///
    /// When it is no valid core module, imports anything but WASI preview 1, or exports no `_start` and `memory`.
    pub fn new(module: &[u8]) -> Result<WasiCommand, SandboxError> {
        let refused = |reason: String| SandboxError::Module { reason };
        if module.len() > MOST_MODULE_BYTES {
            return Err(refused(format!("it is larger than {} MiB", MOST_MODULE_BYTES >> 20)));
        }
        let binary = wat::parse_bytes(module).map_err(|error| refused(format!("it is not valid: {error}")))?;
        let engine = engine::plain().map_err(SandboxError::prepare("starting the engine"))?;
        let module = Module::new(&engine, &binary).map_err(|error| refused(format!("it is not valid: {error:#}")))?;
        let start = matches!(module.get_export("_start"),
            Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0);
        if !start {
            return Err(refused("it is no WASI command: it exports no function `_start`".to_owned()));
        }
        if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
            return Err(refused("it is no WASI command: it exports no `memory`".to_owned()));
        }
        let mut linker = Linker::new(&engine);
        link(&mut linker, &engine).map_err(SandboxError::prepare("connecting the module"))?;
        let instance = linker
            .instantiate_pre(&module)
            .map_err(|error| refused(format!("it asks for more than WASI preview 1: {error:#}")))?;
        Ok(WasiCommand { instance, engine })
    }

    /// Runs the command in a fresh instance. `arguments` do not include its own name.
    ///
    /// It ended well ([`Cause::Ok`]) where `main` returned 0 or it exited with status 0; with another status the cause
    /// is [`Cause::Exit`], and where it crashed, [`Cause::Exception`].
    ///
    /// # Errors
    ///
    /// The host's own failures only: limits that make no sense, no memory to be had.
    pub fn run(&self, arguments: &[&str], stdin: &[u8], limits: &Limits) -> Result<Outcome, SandboxError> {
        limits.check()?;
        let fail = SandboxError::run;
        let started = Instant::now();
        let deadline = Deadline::after(limits.wall);
        let arguments: Vec<Vec<u8>> =
            std::iter::once(&"program").chain(arguments).map(|text| text.as_bytes().to_vec()).collect();
        let state = State {
            argument_bytes: arguments.iter().map(|argument| argument.len() as u64 + 1).sum(),
            arguments,
            stdin: stdin.to_vec(),
            read: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            room: limits.output_bytes,
            clock: VirtualClock::default(),
            random: FixedRandom::default(),
            memory: MemoryLimit::new(limits.memory_bytes),
            deadline,
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_fuel(limits.fuel).map_err(fail("setting the fuel"))?;
        store.fuel_async_yield_interval(Some(FUEL_BETWEEN_LOOKS)).map_err(fail("setting the fuel"))?;
        let run = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            instance.get_typed_func::<(), ()>(&mut store, "_start")?.call_async(&mut store, ()).await
        };
        let ended = drive(run, deadline);
        let left = store.get_fuel().map_err(fail("reading the fuel"))?;
        let state = store.into_data();
        let (cause, detail) = match ended {
            Some(Ok(())) => (Cause::Ok, String::new()),
            Some(Err(error)) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {
                (Cause::Ok, String::new())
            }
            Some(Err(error)) => cause_of(&error, state.memory.refused, "the program")?,
            None => timed_out(),
        };
        Ok(Outcome {
            cause,
            detail,
            stdout: String::from_utf8_lossy(&state.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&state.stderr).into_owned(),
            fuel: limits.fuel.saturating_sub(left),
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// A call in progress: the program's memory and state.
struct Call<'a> {
    memory: &'a mut [u8],
    state: &'a mut State,
}

impl Call<'_> {
    fn bytes(&mut self, at: u32, length: u32) -> std::result::Result<&mut [u8], i32> {
        let end = (at as usize).checked_add(length as usize).ok_or(errno::FAULT)?;
        self.memory.get_mut(at as usize..end).ok_or(errno::FAULT)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Answer {
        self.bytes(at, u32::try_from(bytes.len()).map_err(|_| errno::FAULT)?)?.copy_from_slice(bytes);
        Ok(())
    }

    fn word(&mut self, at: u32) -> std::result::Result<u32, i32> {
        let bytes = self.bytes(at, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// The buffers of a vectored read or write: address and length of each.
    fn buffers(&mut self, at: u32, count: u32) -> std::result::Result<Vec<(u32, u32)>, i32> {
        if count > MOST_BUFFERS {
            return Err(errno::INVALID);
        }
        (0..count)
            .map(|index| {
                let entry = at.checked_add(index * 8).ok_or(errno::FAULT)?;
                Ok((self.word(entry)?, self.word(entry.checked_add(4).ok_or(errno::FAULT)?)?))
            })
            .collect()
    }

    fn arguments(&mut self, pointers: u32, mut text: u32) -> Answer {
        for (index, argument) in self.state.arguments.clone().iter().enumerate() {
            self.write(pointers.wrapping_add(4 * index as u32), &text.to_le_bytes())?;
            self.write(text, argument)?;
            text = text.checked_add(argument.len() as u32).ok_or(errno::FAULT)?;
            self.write(text, &[0])?;
            text = text.checked_add(1).ok_or(errno::FAULT)?;
        }
        Ok(())
    }

    fn argument_sizes(&mut self, count: u32, size: u32) -> Answer {
        self.write(count, &(self.state.arguments.len() as u32).to_le_bytes())?;
        self.write(size, &(self.state.argument_bytes as u32).to_le_bytes())
    }

    fn read_stdin(&mut self, descriptor: u32, at: u32, count: u32, read: u32) -> Answer {
        if descriptor != 0 {
            return Err(errno::BAD_DESCRIPTOR);
        }
        let mut total = 0;
        for (buffer, length) in self.buffers(at, count)? {
            let start = self.state.read;
            let end = self.state.stdin.len().min(start.saturating_add(length as usize));
            let taken = self.state.stdin[start..end].to_vec();
            self.write(buffer, &taken)?;
            self.state.read = end;
            total += taken.len() as u32;
        }
        self.write(read, &total.to_le_bytes())
    }

    /// The second `Result` is the end of a program that writes more than it may.
    fn write_output(&mut self, descriptor: u32, at: u32, count: u32, written: u32) -> Result<Answer> {
        if !matches!(descriptor, 1 | 2) {
            return Ok(Err(errno::BAD_DESCRIPTOR));
        }
        let buffers = match self.buffers(at, count) {
            Ok(buffers) => buffers,
            Err(number) => return Ok(Err(number)),
        };
        let mut total = 0_u32;
        for (buffer, length) in buffers {
            let kept = (length as usize).min(self.state.room);
            let bytes = match self.bytes(buffer, length) {
                Ok(bytes) => bytes[..kept].to_vec(),
                Err(number) => return Ok(Err(number)),
            };
            let stream = if descriptor == 1 { &mut self.state.stdout } else { &mut self.state.stderr };
            stream.extend_from_slice(&bytes);
            self.state.room -= kept;
            if kept < length as usize {
                return Err(wasmtime::Error::new(OutputExceeded));
            }
            total = total.saturating_add(length);
        }
        Ok(self.write(written, &total.to_le_bytes()))
    }

    fn status(&mut self, descriptor: u32, at: u32) -> Answer {
        if descriptor > 2 {
            return Err(errno::BAD_DESCRIPTOR);
        }
        // A character device without seeking, with the right to read (bit 1) or write (bit 6).
        let mut status = [0; 24];
        status[0] = 2;
        status[8] = if descriptor == 0 { 1 << 1 } else { 1 << 6 };
        self.write(at, &status)
    }

    fn file_status(&mut self, descriptor: u32, at: u32) -> Answer {
        if descriptor > 2 {
            return Err(errno::BAD_DESCRIPTOR);
        }
        let mut status = [0; 64];
        status[16] = 2;
        self.write(at, &status)
    }

    /// Waiting takes no time of ours: the clock moves on to the first moment that is waited for.
    fn poll(&mut self, subscriptions: u32, events: u32, count: u32, found: u32) -> Answer {
        if count == 0 || count > MOST_BUFFERS {
            return Err(errno::INVALID);
        }
        let mut written = 0_u32;
        let mut first: Option<(u64, [u8; 32])> = None;
        for index in 0..count {
            let at = subscriptions.checked_add(index * 48).ok_or(errno::FAULT)?;
            let entry = self.bytes(at, 48)?.to_vec();
            let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| entry[at + byte]));
            let mut event = [0; 32];
            event[..8].copy_from_slice(&entry[..8]);
            event[10] = entry[8];
            if entry[8] == 0 {
                let now = self.state.clock.advance(0);
                let absolute = entry[40] & 1 == 1;
                let base = if number(16) & 0xffff_ffff == 0 { EPOCH_NANOSECONDS } else { 0 };
                let wait = if absolute { number(24).saturating_sub(base.saturating_add(now)) } else { number(24) };
                if first.is_none_or(|(shortest, _)| wait < shortest) {
                    first = Some((wait, event));
                }
            } else {
                self.write(events.checked_add(written * 32).ok_or(errno::FAULT)?, &event)?;
                written += 1;
            }
        }
        if let (0, Some((wait, event))) = (written, first) {
            self.state.clock.advance(wait);
            self.write(events, &event)?;
            written = 1;
        }
        self.write(found, &written.to_le_bytes())
    }

    fn random(&mut self, at: u32, length: u32) -> Answer {
        let mut random = std::mem::take(&mut self.state.random);
        let filled = self.bytes(at, length).map(|bytes| random.fill(bytes));
        self.state.random = random;
        filled
    }
}

/// Gives `work` the caller's memory, after charging it `cost` for what it is about to do, unless its time is over.
fn call<T>(mut caller: Caller<'_, State>, cost: u64, work: impl FnOnce(&mut Call<'_>) -> T) -> Result<T> {
    let deadline = caller.data().deadline;
    charge(&mut caller, deadline, cost)?;
    let memory = match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => memory,
        _ => return Err(wasmtime::format_err!("the module has no memory")),
    };
    let (memory, state) = memory.data_and_store_mut(&mut caller);
    Ok(work(&mut Call { memory, state }))
}

fn number(answer: Answer) -> i32 {
    answer.err().unwrap_or(errno::SUCCESS)
}

fn link(linker: &mut Linker<State>, engine: &Engine) -> Result<()> {
    type C<'a> = Caller<'a, State>;
    linker
        .func_wrap(MODULE, "args_get", |c: C<'_>, a: u32, b: u32| {
            let cost = c.data().argument_bytes;
            call(c, cost, |c| number(c.arguments(a, b)))
        })?
        .func_wrap(MODULE, "args_sizes_get", |c: C<'_>, a: u32, b: u32| call(c, 0, |c| number(c.argument_sizes(a, b))))?
        .func_wrap(MODULE, "environ_get", |_: u32, _: u32| errno::SUCCESS)?
        .func_wrap(MODULE, "environ_sizes_get", |c: C<'_>, a: u32, b: u32| {
            call(c, 0, |c| number(c.write(a, &[0; 4]).and_then(|()| c.write(b, &[0; 4]))))
        })?
        .func_wrap(MODULE, "clock_res_get", |c: C<'_>, _: u32, at: u32| {
            call(c, 0, |c| number(c.write(at, &1_u64.to_le_bytes())))
        })?
        .func_wrap(MODULE, "clock_time_get", |c: C<'_>, clock: u32, _: u64, at: u32| {
            call(c, 0, |c| {
                let base = if clock == 0 { EPOCH_NANOSECONDS } else { 0 };
                let now = base.saturating_add(c.state.clock.look());
                number(c.write(at, &now.to_le_bytes()))
            })
        })?
        .func_wrap(MODULE, "fd_close", |descriptor: u32| if descriptor > 2 { errno::BAD_DESCRIPTOR } else { 0 })?
        .func_wrap(MODULE, "fd_fdstat_get", |c: C<'_>, fd: u32, at: u32| call(c, 0, |c| number(c.status(fd, at))))?
        .func_wrap(MODULE, "fd_filestat_get", |c: C<'_>, fd: u32, at: u32| {
            call(c, 0, |c| number(c.file_status(fd, at)))
        })?
        // There is no folder: the first question for one ends libc's search.
        .func_wrap(MODULE, "fd_prestat_get", |_: u32, _: u32| errno::BAD_DESCRIPTOR)?
        .func_wrap(MODULE, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| errno::BAD_DESCRIPTOR)?
        .func_wrap(MODULE, "fd_read", |c: C<'_>, fd: u32, at: u32, count: u32, read: u32| {
            call(c, u64::from(count.min(MOST_BUFFERS)), |c| number(c.read_stdin(fd, at, count, read)))
        })?
        .func_wrap(MODULE, "fd_seek", |_: u32, _: u64, _: u32, _: u32| errno::NO_SEEK)?
        .func_wrap(MODULE, "fd_tell", |_: u32, _: u32| errno::NO_SEEK)?
        .func_wrap(MODULE, "fd_write", |c: C<'_>, fd: u32, at: u32, count: u32, written: u32| {
            call(c, u64::from(count.min(MOST_BUFFERS)), |c| c.write_output(fd, at, count, written))?.map(number)
        })?
        .func_wrap(MODULE, "poll_oneoff", |c: C<'_>, subscriptions: u32, events: u32, count: u32, found: u32| {
            call(c, u64::from(count.min(MOST_BUFFERS)), |c| number(c.poll(subscriptions, events, count, found)))
        })?
        .func_wrap(MODULE, "proc_exit", |status: i32| -> Result<()> { Err(wasmtime::Error::new(I32Exit(status))) })?
        .func_wrap(MODULE, "random_get", |c: C<'_>, at: u32, length: u32| {
            call(c, u64::from(length), |c| number(c.random(at, length)))
        })?
        .func_wrap(MODULE, "sched_yield", || errno::SUCCESS)?;
    for (name, parameters) in REFUSED {
        let parameters = parameters.chars().map(|kind| if kind == 'I' { ValType::I64 } else { ValType::I32 });
        let kind = FuncType::new(engine, parameters, [ValType::I32]);
        linker.func_new(MODULE, name, kind, |_, _, results| {
            results[0] = Val::I32(errno::NOT_PERMITTED);
            Ok(())
        })?;
    }
    Ok(())
}
