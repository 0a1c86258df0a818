//! The prepared interpreter, and running programs in fresh instances of it.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, TypedFunc};
use wasmtime::{Engine, Store};

use crate::cache::{self, CacheFile};
use crate::deadline::{Deadline, FUEL_BETWEEN_LOOKS, drive};
use crate::ending::{cause_of, timed_out};
use crate::engine;
use crate::error::SandboxError;
use crate::guest::{self, Packages, PrepareStep};
use crate::host::{self, Host};
use crate::limits::Limits;
use crate::outcome::{Cause, Outcome};
use crate::slots::Slots;

/// What writing the traceback of a program that failed may take, beside the program's own fuel.
const REPORT_FUEL: u64 = 300_000_000;
const REPORT_WALL: Duration = Duration::from_secs(2);
/// How long making an instance may take: a millisecond, unless the machine is in trouble.
const INSTANCE_WALL: Duration = Duration::from_secs(60);

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
    ///
    /// The submission is there while later tests are compiled and run, and can change what they mean: a test whose verdict
    /// must not be the submission's to decide is to say something that is judged elsewhere, as rewards' do.
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
        let mut ran = None;
        self.run_in_turn(&[program], stdin, limits, |outcome| {
            ran = Some(outcome);
            false
        })?;
        ran.ok_or(SandboxError::Run { operation: "running", reason: "nothing ran".to_owned() })
    }

    /// Runs each of `tests` after `program`. Where the program itself does not run to its end, its outcome is that of
    /// every test. Fuel, output and time are limited for the program and for each test anew; memory is the instance's, so
    /// what earlier tests left in it counts. The fuel and the seconds of the program are in the outcome of the first test
    /// behind it, beside the test's own, so that all outcomes add up to all of the work.
    ///
    /// `keep` is given each outcome as soon as it is there, and says what is kept of it, since outputs of many tests together
    /// may be large; and whether to go on: behind a `Break` no further test is run, and what is kept ends.
    ///
    /// # Errors
    ///
    /// As [`Python::run`].
    pub fn run_tests<T: Clone>(
        &self,
        program: &str,
        tests: &[&str],
        sharing: Sharing,
        limits: &Limits,
        mut keep: impl FnMut(Outcome) -> ControlFlow<T, T>,
    ) -> Result<Vec<T>, SandboxError> {
        let mut kept = Vec::with_capacity(tests.len());
        let mut go_on = true;
        while let Some(rest) = tests.get(kept.len()..).filter(|rest| go_on && !rest.is_empty()) {
            let rest = if sharing == Sharing::Instance { rest } else { &rest[..1] };
            let texts: Vec<&str> = std::iter::once(program).chain(rest.iter().copied()).collect();
            // What loading the program took, until a test is charged with it.
            let mut load: Option<(u64, f64)> = None;
            let mut failed = false;
            self.run_in_turn(&texts, "", limits, |mut outcome| {
                let loads = load.is_none();
                if loads && outcome.cause == Cause::Ok {
                    load = Some((outcome.fuel, outcome.seconds));
                    return true;
                }
                let (fuel, seconds) = load.replace((0, 0.0)).unwrap_or_default();
                outcome.fuel = outcome.fuel.saturating_add(fuel);
                outcome.seconds += seconds;
                failed = loads;
                let keeping = keep(outcome);
                go_on = keeping.is_continue();
                let (ControlFlow::Continue(it) | ControlFlow::Break(it)) = keeping;
                kept.push(it);
                go_on && !failed
            })?;
            if let Some(last) = kept.last().filter(|_| failed && go_on).cloned() {
                kept.resize(tests.len(), last);
            }
        }
        Ok(kept)
    }

    /// Runs the texts one after the other in one fresh instance, and gives `take` each outcome, until it wants no more, or
    /// the instance did not survive a text.
    fn run_in_turn(
        &self,
        texts: &[&str],
        stdin: &str,
        limits: &Limits,
        mut take: impl FnMut(Outcome) -> bool,
    ) -> Result<(), SandboxError> {
        limits.check()?;
        let _slot = self.slots.take();
        let mut started = Instant::now();
        let mut session = Session::new(self, stdin, limits)?;
        for text in texts {
            let (outcome, alive) = session.run(text, limits, started)?;
            if !take(outcome) || !alive {
                break;
            }
            started = Instant::now();
        }
        Ok(())
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
        store.set_hostcall_fuel(host::MOST_PASSED_BYTES);
        let instance = match drive(python.instance.instantiate_async(&mut store), Deadline::after(INSTANCE_WALL)) {
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
        let deadline = Deadline::after(limits.wall);
        self.store.data_mut().deadline = deadline;
        self.store.data_mut().memory.refused = false;
        let ended = drive(self.run.call_async(&mut self.store, (text.to_owned(),)), deadline);
        let mut left = self.store.get_fuel().map_err(fail("reading the fuel"))?;
        let mut alive = false;
        let (cause, detail) = match ended {
            Some(Ok((code,))) => {
                let cause = cause_of_code(code);
                // Of a program that came to its end, what it left to be done (`atexit`, output still in buffers) is
                // part of it. Of one that failed, what is reported is not: that gets fuel of its own, and where it
                // fails (a hostile `__str__`), the cause stands.
                let at_its_end = matches!(cause, Cause::Ok | Cause::Exit);
                let deadline = if at_its_end { deadline } else { Deadline::after(REPORT_WALL) };
                self.store.data_mut().deadline = deadline;
                if !at_its_end {
                    self.store.set_fuel(REPORT_FUEL).map_err(fail("setting the fuel"))?;
                }
                let reported = drive(self.report.call_async(&mut self.store, ()), deadline);
                if at_its_end {
                    left = self.store.get_fuel().map_err(fail("reading the fuel"))?;
                }
                alive = matches!(reported, Some(Ok(_)));
                match reported {
                    Some(Ok((detail,))) => (cause, detail),
                    Some(Err(error)) if at_its_end => {
                        let (worse, detail) = self.cause_of(&error)?;
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
            Some(Err(error)) => self.cause_of(&error)?,
            None => timed_out(),
        };
        let (stdout, stderr) = self.store.data_mut().take_output();
        let fuel = limits.fuel.saturating_sub(left);
        Ok((Outcome { cause, detail, stdout, stderr, fuel, seconds: started.elapsed().as_secs_f64() }, alive))
    }

    fn cause_of(&self, error: &wasmtime::Error) -> Result<(Cause, String), SandboxError> {
        cause_of(error, self.store.data().memory.refused, "the interpreter")
    }
}

/// The numbers of `guest/guest.c`. Another one comes from a program that has taken the interpreter over.
fn cause_of_code(code: u32) -> Cause {
    match code {
        0 => Cause::Ok,
        1 => Cause::AssertionFailed,
        2 => Cause::SyntaxError,
        4 => Cause::Exit,
        5 => Cause::OutOfMemory,
        _ => Cause::Exception,
    }
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
