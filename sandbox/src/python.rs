//! The prepared interpreter, and running one program in a fresh instance of it.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::cache::CacheFile;
use crate::engine::{self, WASM_STACK_BYTES};
use crate::error::SandboxError;
use crate::guest::{self, PrepareStep};
use crate::host::{self, Host, OutputExceeded};
use crate::limits::Limits;
use crate::outcome::{Cause, Outcome};
use crate::slots::Slots;

/// The stack of the thread that a program runs on: WebAssembly's and that of the host functions it calls.
const THREAD_STACK_BYTES: usize = WASM_STACK_BYTES + (2 << 20);
/// What writing the traceback may take, after the program's own fuel.
const REPORT_FUEL: u64 = 1_000_000_000;
const REPORT_WALL: Duration = Duration::from_secs(2);

/// CPython, ready to run programs. Share it by `Arc`: any number of threads may call [`Python::run`] at once.
pub struct Python {
    engine: Engine,
    instance: InstancePre<Host>,
    run: ComponentExportIndex,
    report: ComponentExportIndex,
    slots: Slots,
}

impl Python {
    /// Loads the prepared interpreter from `cache_dir`, preparing it first (some 15 seconds on two cores) if it is
    /// absent or damaged. `progress` is told each step as it begins; only [`PrepareStep::Load`] where all is there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written, or the interpreter does not start (a fault of this program).
    pub fn prepare(cache_dir: &Path, progress: &mut dyn FnMut(PrepareStep)) -> Result<Python, SandboxError> {
        // Programs keep a core busy, so more instances than cores only wait for each other.
        let slots = thread::available_parallelism().map_or(4, |cores| cores.get().clamp(4, 256)) as u32;
        let engine = engine::engine(slots).map_err(SandboxError::prepare("starting the engine"))?;
        let cache = CacheFile::new(cache_dir, &engine)?;
        let component = match load(&engine, &cache)? {
            Some(component) => {
                progress(PrepareStep::Load);
                component
            }
            None => make(&engine, &cache, progress)?,
        };
        Python::new(engine, &component, slots)
    }

    fn new(engine: Engine, component: &Component, slots: u32) -> Result<Python, SandboxError> {
        let fail = || SandboxError::prepare("connecting the interpreter");
        let export = |name: &'static str| {
            component.get_export_index(None, name).ok_or_else(|| SandboxError::Prepare {
                step: "connecting the interpreter",
                reason: format!("it has no function `{name}`"),
            })
        };
        let mut linker = Linker::new(&engine);
        host::link_program(&mut linker).map_err(fail())?;
        let python = Python {
            instance: linker.instantiate_pre(component).map_err(fail())?,
            run: export("run")?,
            report: export("report")?,
            slots: Slots::new(slots),
            engine,
        };
        engine::start_ticking(&python.engine)
            .map_err(|error| SandboxError::Prepare { step: "starting the clock", reason: error.to_string() })?;
        Ok(python)
    }

    /// Runs `program` as `__main__` with `stdin` as its standard input, in a fresh instance. Whatever the program
    /// does is an [`Outcome`].
    ///
    /// # Errors
    ///
    /// The host's own failures only: limits that make no sense, no thread or no memory to be had.
    pub fn run(&self, program: &str, stdin: &str, limits: &Limits) -> Result<Outcome, SandboxError> {
        limits.check()?;
        let _slot = self.slots.take();
        // A thread of its own: the caller's stack may be too small for a program that recurses deeply.
        thread::scope(|scope| {
            thread::Builder::new()
                .name("sandbox".into())
                .stack_size(THREAD_STACK_BYTES)
                .spawn_scoped(scope, || self.run_here(program, stdin, limits))
                .map_err(|error| SandboxError::Run { operation: "starting a thread", reason: error.to_string() })?
                .join()
                .unwrap_or_else(|_| {
                    Err(SandboxError::Run { operation: "running", reason: "the sandbox's own thread panicked".into() })
                })
        })
    }

    fn run_here(&self, program: &str, stdin: &str, limits: &Limits) -> Result<Outcome, SandboxError> {
        let fail = SandboxError::run;
        let started = Instant::now();
        let mut store = Store::new(&self.engine, Host::for_program(stdin, limits));
        store.limiter(|host| &mut host.memory);
        // Making the instance is the host's work; the program's own begins after it.
        store.set_fuel(u64::MAX).map_err(fail("setting the fuel"))?;
        store.set_epoch_deadline(engine::ticks(limits.wall));
        let instance = match self.instance.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(_) if store.data().memory.refused => {
                return Err(SandboxError::Limit {
                    limit: "memory_bytes",
                    value: limits.memory_bytes as u64,
                    reason: "the interpreter itself takes more",
                });
            }
            Err(error) => return Err(fail("making an instance")(error)),
        };
        let run = instance.get_typed_func::<(&str,), (u32,)>(&mut store, self.run).map_err(fail("finding `run`"))?;
        let report =
            instance.get_typed_func::<(), (String,)>(&mut store, self.report).map_err(fail("finding `report`"))?;

        store.set_fuel(limits.fuel).map_err(fail("setting the fuel"))?;
        let ended = run.call(&mut store, (program,));
        let fuel = limits.fuel - store.get_fuel().map_err(fail("reading the fuel"))?;
        let (cause, detail) = match ended {
            Ok((code,)) => {
                let cause = cause_of_code(code)?;
                // What is reported is no part of the outcome: it gets its own fuel, and where it fails (a hostile
                // `__str__`), the cause stands.
                store.set_fuel(REPORT_FUEL).map_err(fail("setting the fuel"))?;
                store.set_epoch_deadline(engine::ticks(REPORT_WALL));
                match report.call(&mut store, ()) {
                    Ok((detail,)) => (cause, detail),
                    // Only the last of the output was still to be written, and that was too much.
                    Err(error) if cause == Cause::Ok => cause_of_trap(&error, store.data().memory.refused)?,
                    Err(_) => (cause, String::new()),
                }
            }
            Err(error) => cause_of_trap(&error, store.data().memory.refused)?,
        };
        let (stdout, stderr) = store.data_mut().take_output();
        Ok(Outcome { cause, detail, stdout, stderr, fuel, seconds: started.elapsed().as_secs_f64() })
    }
}

/// The numbers of `guest/guest.wat`.
fn cause_of_code(code: u32) -> Result<Cause, SandboxError> {
    Ok(match code {
        0 => Cause::Ok,
        1 => Cause::AssertionFailed,
        2 => Cause::SyntaxError,
        3 => Cause::Exception,
        4 => Cause::Exit,
        5 => Cause::OutOfMemory,
        _ => {
            return Err(SandboxError::Run { operation: "reading the cause", reason: format!("unknown number {code}") });
        }
    })
}

/// Why the instance was stopped from outside, or gave up.
fn cause_of_trap(error: &wasmtime::Error, memory_refused: bool) -> Result<(Cause, String), SandboxError> {
    let (cause, detail) = if let Some(exit) = error.downcast_ref::<I32Exit>() {
        (Cause::Exit, format!("exited with status {}", exit.0))
    } else if error.is::<OutputExceeded>() {
        (Cause::TooMuchOutput, OutputExceeded.to_string())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        match trap {
            Trap::OutOfFuel => (Cause::OutOfFuel, "more work than allowed".to_owned()),
            Trap::Interrupt => (Cause::TimedOut, "more time than allowed".to_owned()),
            // The interpreter aborts where it can do nothing without memory.
            _ if memory_refused => (Cause::OutOfMemory, "more memory than allowed".to_owned()),
            Trap::StackOverflow => (Cause::Exception, "the interpreter's stack overflowed".to_owned()),
            trap => (Cause::Exception, format!("the interpreter crashed: {trap}")),
        }
    } else {
        return Err(SandboxError::run("calling the interpreter")(wasmtime::format_err!("{error:#}")));
    };
    Ok((cause, detail))
}

/// The cached interpreter, if it is whole and was made for this engine.
fn load(engine: &Engine, cache: &CacheFile) -> Result<Option<Component>, SandboxError> {
    let Some(bytes) = cache.load()? else { return Ok(None) };
    // SAFETY: `deserialize` trusts its input to be what `precompile_component` made. `load` has just compared these
    // very bytes (not a file that could change) with the hash stored with them, so they are what some process of this
    // user wrote through `store`, which is given nothing else; the name covers the engine's version and settings.
    let component = unsafe { Component::deserialize(engine, bytes) };
    Ok(component.ok())
}

/// Links, starts and compiles the interpreter, and puts it into the cache. One process at a time.
fn make(engine: &Engine, cache: &CacheFile, progress: &mut dyn FnMut(PrepareStep)) -> Result<Component, SandboxError> {
    let _lock: File = cache.lock()?;
    // Another process may have made it while this one waited.
    if let Some(component) = load(engine, cache)? {
        progress(PrepareStep::Load);
        return Ok(component);
    }
    progress(PrepareStep::Link);
    let linked = guest::link()?;
    progress(PrepareStep::Snapshot);
    let snapshot = guest::snapshot(&linked)?;
    progress(PrepareStep::Compile);
    let compiled =
        engine.precompile_component(&snapshot).map_err(SandboxError::prepare("compiling the interpreter"))?;
    progress(PrepareStep::Load);
    cache.store(&compiled)?;
    load(engine, cache)?.ok_or_else(|| SandboxError::Prepare {
        step: "loading the interpreter",
        reason: "what was just written to the cache cannot be read back".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole by its hash, but nothing that this engine made.
    #[test]
    fn a_foreign_cache_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine::engine(1).unwrap();
        let cache = CacheFile::new(folder.path(), &engine).unwrap();
        cache.store(b"not machine code").unwrap();
        assert!(load(&engine, &cache).unwrap().is_none());
    }

    #[test]
    fn traps_have_causes() {
        let check = |error: wasmtime::Error, refused, expected| {
            assert_eq!(cause_of_trap(&error, refused).unwrap().0, expected);
        };
        check(Trap::OutOfFuel.into(), false, Cause::OutOfFuel);
        check(Trap::OutOfFuel.into(), true, Cause::OutOfFuel);
        check(Trap::Interrupt.into(), false, Cause::TimedOut);
        check(Trap::StackOverflow.into(), false, Cause::Exception);
        check(Trap::UnreachableCodeReached.into(), false, Cause::Exception);
        check(Trap::UnreachableCodeReached.into(), true, Cause::OutOfMemory);
        check(wasmtime::Error::new(I32Exit(0)), false, Cause::Exit);
        check(wasmtime::Error::new(OutputExceeded).context("writing"), false, Cause::TooMuchOutput);
        assert!(cause_of_trap(&wasmtime::format_err!("something else"), false).is_err());
        assert!(cause_of_code(9).is_err());
    }
}
