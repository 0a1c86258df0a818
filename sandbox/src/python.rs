//! The prepared interpreter, and running programs in fresh instances of it.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, TypedFunc};
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::cache::{self, CacheFile};
use crate::engine;
use crate::error::SandboxError;
use crate::guest::{self, Packages, PrepareStep};
use crate::host::{self, Host, OutputExceeded};
use crate::limits::Limits;
use crate::outcome::{Cause, Outcome};
use crate::slots::Slots;

/// What writing the traceback of a program that failed may take, beside the program's own fuel.
const REPORT_FUEL: u64 = 300_000_000;
const REPORT_WALL: Duration = Duration::from_secs(2);
/// How long making an instance may take: a millisecond, unless the machine is in trouble.
const INSTANCE_WALL: Duration = Duration::from_secs(60);
/// How often a program is interrupted to look at the wall clock: every few milliseconds.
pub(crate) const FUEL_BETWEEN_LOOKS: u64 = 20_000_000;

/// CPython, ready to run programs. Share it by `Arc`: any number of threads may call it at once.
pub struct Python {
    instance: InstancePre<Host>,
    run: ComponentExportIndex,
    report: ComponentExportIndex,
    slots: Slots,
    engine: Engine,
}

/// Whether several tests of one submission see each other's traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One instance: the submission runs once, and each test after it, in the same `__main__`. After a test that the
    /// instance did not survive (fuel, `os._exit`), the next begins with a fresh one.
    Instance,
    /// An instance for each test, in which the submission runs first.
    Nothing,
}

impl Python {
    /// Loads the prepared interpreter from `cache_dir`, preparing it first (some 15 seconds on two cores) if it is
    /// absent or damaged. `progress` is told each step as it begins; only [`PrepareStep::Load`] where all is there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written and holds no prepared interpreter, or the interpreter does not start (a fault
    /// of this program).
    pub fn prepare(cache_dir: &Path, progress: &mut dyn FnMut(PrepareStep)) -> Result<Python, SandboxError> {
        Python::prepare_with(cache_dir, &Packages::default(), progress)
    }

    /// As [`Python::prepare`], with packages that programs can import beside the standard library.
    ///
    /// # Errors
    ///
    /// As [`Python::prepare`]; also when a package cannot be read, or a module to be preloaded does not import.
    pub fn prepare_with(
        cache_dir: &Path,
        packages: &Packages,
        progress: &mut dyn FnMut(PrepareStep),
    ) -> Result<Python, SandboxError> {
        // Programs keep a core busy, so more instances than cores only wait for each other.
        let slots = thread::available_parallelism().map_or(4, |cores| cores.get().clamp(4, 256)) as u32;
        let engine = engine::pooled(slots).map_err(SandboxError::prepare("starting the engine"))?;
        let packages = packages.read()?;
        let cache = CacheFile::new(cache_dir, &engine, &packages)?;
        let component = match cache::load(&engine, &cache)? {
            Some(component) => {
                progress(PrepareStep::Load);
                component
            }
            None => make(&engine, &cache, &packages, progress)?,
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
        Ok(Python {
            instance: linker.instantiate_pre(component).map_err(fail())?,
            run: export("run")?,
            report: export("report")?,
            slots: Slots::new(slots),
            engine,
        })
    }

    /// Runs `program` as `__main__` with `stdin` as its standard input, in a fresh instance. Whatever the program
    /// does is an [`Outcome`].
    ///
    /// # Errors
    ///
    /// The host's own failures only: limits that make no sense, no memory to be had.
    pub fn run(&self, program: &str, stdin: &str, limits: &Limits) -> Result<Outcome, SandboxError> {
        let mut outcomes = self.run_in_turn(&[program], stdin, limits)?;
        outcomes.pop().ok_or(SandboxError::Run { operation: "running", reason: "nothing ran".to_owned() })
    }

    /// Runs each of `tests` after `program`. Where the program itself does not run to its end, its outcome is that of
    /// every test. Limits hold for the program and for each test separately.
    ///
    /// # Errors
    ///
    /// As [`Python::run`].
    pub fn run_tests(
        &self,
        program: &str,
        tests: &[&str],
        sharing: Sharing,
        limits: &Limits,
    ) -> Result<Vec<Outcome>, SandboxError> {
        let mut outcomes = Vec::with_capacity(tests.len());
        while let Some(rest) = tests.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let rest = if sharing == Sharing::Instance { rest } else { &rest[..1] };
            let texts: Vec<&str> = std::iter::once(program).chain(rest.iter().copied()).collect();
            let mut ran = self.run_in_turn(&texts, "", limits)?.into_iter();
            match ran.next() {
                Some(first) if first.cause != Cause::Ok => outcomes.resize(tests.len(), first),
                _ => outcomes.extend(ran),
            }
        }
        Ok(outcomes)
    }

    /// Runs the texts one after the other in one fresh instance; fewer outcomes than texts where the instance did not
    /// survive one.
    fn run_in_turn(&self, texts: &[&str], stdin: &str, limits: &Limits) -> Result<Vec<Outcome>, SandboxError> {
        limits.check()?;
        let _slot = self.slots.take();
        let mut started = Instant::now();
        let mut session = Session::new(self, stdin, limits)?;
        let mut outcomes = Vec::with_capacity(texts.len());
        for text in texts {
            let (outcome, alive) = session.run(text, limits, started)?;
            outcomes.push(outcome);
            if !alive {
                break;
            }
            started = Instant::now();
        }
        Ok(outcomes)
    }
}

/// One instance and its two functions.
struct Session {
    store: Store<Host>,
    run: TypedFunc<(String,), (u32,)>,
    report: TypedFunc<(), (String,)>,
}

impl Session {
    fn new(python: &Python, stdin: &str, limits: &Limits) -> Result<Session, SandboxError> {
        let fail = SandboxError::run;
        let mut store = Store::new(&python.engine, Host::for_program(stdin, limits));
        store.limiter(|host| &mut host.memory);
        // Making the instance is the host's work; the program's own begins after it.
        store.set_fuel(u64::MAX).map_err(fail("setting the fuel"))?;
        store.fuel_async_yield_interval(Some(FUEL_BETWEEN_LOOKS)).map_err(fail("setting the fuel"))?;
        let instance = match drive(python.instance.instantiate_async(&mut store), INSTANCE_WALL) {
            Some(Ok(instance)) => instance,
            Some(Err(_)) if store.data().memory.refused => {
                return Err(SandboxError::Limit {
                    limit: "memory_bytes",
                    value: limits.memory_bytes as u64,
                    reason: "the interpreter itself takes more",
                });
            }
            Some(Err(error)) => return Err(fail("making an instance")(error)),
            None => return Err(fail("making an instance")(wasmtime::format_err!("it took longer than a minute"))),
        };
        let run = instance.get_typed_func(&mut store, python.run).map_err(fail("finding `run`"))?;
        let report = instance.get_typed_func(&mut store, python.report).map_err(fail("finding `report`"))?;
        Ok(Session { store, run, report })
    }

    /// The outcome, and whether the instance can run more.
    fn run(&mut self, text: &str, limits: &Limits, started: Instant) -> Result<(Outcome, bool), SandboxError> {
        let fail = SandboxError::run;
        self.store.set_fuel(limits.fuel).map_err(fail("setting the fuel"))?;
        let ended = drive(self.run.call_async(&mut self.store, (text.to_owned(),)), limits.wall);
        let mut left = self.store.get_fuel().map_err(fail("reading the fuel"))?;
        let mut alive = false;
        let (cause, detail) = match ended {
            Some(Ok((code,))) => {
                let cause = cause_of_code(code)?;
                // Of a program that came to its end, what it left to be done (`atexit`, output still in buffers) is
                // part of it. Of one that failed, what is reported is not: that gets fuel of its own, and where it
                // fails (a hostile `__str__`), the cause stands.
                let at_its_end = matches!(cause, Cause::Ok | Cause::Exit);
                let wall = if at_its_end { limits.wall.saturating_sub(started.elapsed()) } else { REPORT_WALL };
                if !at_its_end {
                    self.store.set_fuel(REPORT_FUEL).map_err(fail("setting the fuel"))?;
                }
                let reported = drive(self.report.call_async(&mut self.store, ()), wall);
                if at_its_end {
                    left = self.store.get_fuel().map_err(fail("reading the fuel"))?;
                }
                alive = matches!(reported, Some(Ok(_)));
                match reported {
                    Some(Ok((detail,))) => (cause, detail),
                    Some(Err(error)) if at_its_end => {
                        let (worse, detail) = self.cause_of_trap(&error)?;
                        if cause == Cause::Exit && worse == Cause::Exception {
                            (cause, detail)
                        } else {
                            (worse, detail)
                        }
                    }
                    None if at_its_end => timed_out(),
                    Some(Err(_)) | None => (cause, String::new()),
                }
            }
            Some(Err(error)) => self.cause_of_trap(&error)?,
            None => timed_out(),
        };
        let (stdout, stderr) = self.store.data_mut().take_output();
        let fuel = limits.fuel.saturating_sub(left);
        Ok((Outcome { cause, detail, stdout, stderr, fuel, seconds: started.elapsed().as_secs_f64() }, alive))
    }

    fn cause_of_trap(&self, error: &wasmtime::Error) -> Result<(Cause, String), SandboxError> {
        cause_of_trap(error, self.store.data().memory.refused)
    }
}

/// Runs a guest to its end, or until `wall` has passed. It comes up for air every [`FUEL_BETWEEN_LOOKS`]: that is all
/// that it ever waits for. Dropping its future ends it where it is.
pub(crate) fn drive<T>(future: impl Future<Output = T>, wall: Duration) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let started = Instant::now();
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending if started.elapsed() >= wall => return None,
            Poll::Pending => {}
        }
    }
}

pub(crate) fn timed_out() -> (Cause, String) {
    (Cause::TimedOut, "more time than allowed".to_owned())
}

/// The numbers of `guest/guest.c`.
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
pub(crate) fn cause_of_trap(error: &wasmtime::Error, memory_refused: bool) -> Result<(Cause, String), SandboxError> {
    let (cause, detail) = if let Some(exit) = error.downcast_ref::<I32Exit>() {
        (Cause::Exit, format!("exited with status {}", exit.0))
    } else if error.is::<OutputExceeded>() {
        (Cause::TooMuchOutput, OutputExceeded.to_string())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        match trap {
            Trap::OutOfFuel => (Cause::OutOfFuel, "more work than allowed".to_owned()),
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

/// Links, starts and compiles the interpreter, and puts it into the cache. One process at a time.
fn make(
    engine: &Engine,
    cache: &CacheFile,
    packages: &[guest::Package],
    progress: &mut dyn FnMut(PrepareStep),
) -> Result<Component, SandboxError> {
    let _lock = cache.lock()?;
    // Another process may have made it while this one waited.
    if let Some(component) = cache::load(engine, cache)? {
        progress(PrepareStep::Load);
        return Ok(component);
    }
    // Whether there is room is found out now, not after the work.
    let reserved = cache.reserve()?;
    progress(PrepareStep::Link);
    let linked = guest::link()?;
    progress(PrepareStep::Snapshot);
    let snapshot = guest::snapshot(&linked, packages)?;
    progress(PrepareStep::Compile);
    let compiled =
        engine.precompile_component(&snapshot).map_err(SandboxError::prepare("compiling the interpreter"))?;
    progress(PrepareStep::Load);
    cache.store(reserved, &compiled)?;
    cache::load(engine, cache)?.ok_or_else(|| SandboxError::Prepare {
        step: "loading the interpreter",
        reason: "what was just written to the cache cannot be read back".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_have_causes() {
        let check = |error: wasmtime::Error, refused, expected| {
            assert_eq!(cause_of_trap(&error, refused).unwrap().0, expected);
        };
        check(Trap::OutOfFuel.into(), false, Cause::OutOfFuel);
        check(Trap::OutOfFuel.into(), true, Cause::OutOfFuel);
        check(Trap::StackOverflow.into(), false, Cause::Exception);
        check(Trap::UnreachableCodeReached.into(), false, Cause::Exception);
        check(Trap::UnreachableCodeReached.into(), true, Cause::OutOfMemory);
        check(wasmtime::Error::new(I32Exit(0)), false, Cause::Exit);
        check(wasmtime::Error::new(OutputExceeded).context("writing"), false, Cause::TooMuchOutput);
        assert!(cause_of_trap(&wasmtime::format_err!("something else"), false).is_err());
        assert!(cause_of_code(9).is_err());
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let never = std::future::poll_fn(|_| Poll::<()>::Pending);
        assert_eq!(drive(never, Duration::from_millis(5)), None);
        assert_eq!(drive(async { 7 }, Duration::ZERO), Some(7));
    }
}
