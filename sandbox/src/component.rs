//! Components: WebAssembly that exports a function with typed arguments, called under the same limits as programs.
//!
//! Each call has a fresh instance. A component may import WASI, as guest toolchains make it do, and gets the closed world
//! of `host`: no file, no network, no environment, a virtual clock, fixed randomness.

use std::time::Instant;

use wasmtime::component::{self, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, Lower};
use wasmtime::{Engine, Store};
use wit_component::ComponentEncoder;

use crate::deadline::{Deadline, FUEL_BETWEEN_LOOKS, drive};
use crate::ending::{cause_of, timed_out};
use crate::engine;
use crate::error::SandboxError;
use crate::host::{self, Host};
use crate::limits::Limits;
use crate::outcome::{Cause, Outcome};

/// The largest component that is compiled.
const MOST_BYTES: usize = 64 << 20;

/// A function of a compiled component. Any number of threads may call it at once.
pub struct Component {
    instance: InstancePre<Host>,
    function: ComponentExportIndex,
    name: String,
    engine: Engine,
}

/// What came of one call.
#[derive(Debug)]
pub struct Called<R> {
    /// How it ended.
    pub outcome: Outcome,
    /// What it returned, where it came to its end.
    pub value: Option<R>,
}

impl Component {
    /// Compiles `bytes` (binary or text form) and finds `function` in the exported `interface`.
    ///
    /// # Errors
    /// When it is no valid component, imports anything but WASI 0.2, or exports no such function.
    pub fn new(bytes: &[u8], interface: &str, function: &str) -> Result<Component, SandboxError> {
        let refused = |reason: String| SandboxError::Component { reason };
        if bytes.len() > MOST_BYTES {
            return Err(refused(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
        }
        let mut binary = wat::parse_bytes(bytes).map_err(|error| refused(format!("it is not valid: {error}")))?;
        // A core module into which a toolchain has written the types of a component becomes one. The version field of the
        // header says which of the two it is.
        if binary.starts_with(b"\0asm\x01\0\0\0") {
            let encoded = ComponentEncoder::default().module(&binary).and_then(|mut encoder| encoder.encode());
            binary = encoded.map_err(|error| refused(format!("it is no component: {error:#}")))?.into();
        }
        let engine = engine::plain().map_err(SandboxError::prepare("starting the engine"))?;
        let component = component::Component::new(&engine, &binary)
            .map_err(|error| refused(format!("it is not valid: {error:#}")))?;
        let index = component
            .get_export_index(None, interface)
            .ok_or_else(|| refused(format!("it does not export the interface {interface}")))?;
        let index = component.get_export_index(Some(&index), function).ok_or_else(|| {
            refused(format!("the interface {interface} that it exports has no function `{function}`"))
        })?;
        let mut linker = Linker::new(&engine);
        host::link_program(&mut linker).map_err(SandboxError::prepare("connecting the component"))?;
        let instance = linker
            .instantiate_pre(&component)
            .map_err(|error| refused(format!("it imports more than WASI 0.2: {error:#}")))?;
        Ok(Component { instance, function: index, name: function.to_owned(), engine })
    }

    /// Calls the function in a fresh instance. Whatever the component does is in what comes back.
    ///
    /// # Errors
    /// Where the function's type is another one than `P` and `R` say; the host's own failures.
    pub fn call<P, R>(&self, arguments: P, limits: &Limits) -> Result<Called<R>, SandboxError>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        limits.check()?;
        let fail = SandboxError::run;
        let started = Instant::now();
        let deadline = Deadline::after(limits.wall);
        let mut store = Store::new(&self.engine, Host::for_program("", limits));
        store.data_mut().deadline = deadline;
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(host::MOST_PASSED_BYTES);
        store.set_fuel(limits.fuel).map_err(fail("setting the fuel"))?;
        store.fuel_async_yield_interval(Some(FUEL_BETWEEN_LOOKS)).map_err(fail("setting the fuel"))?;
        let mut mistyped = None;
        let call = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            match instance.get_typed_func::<P, R>(&mut store, self.function) {
                Ok(function) => function.call_async(&mut store, arguments).await.map(Some),
                Err(error) => {
                    mistyped = Some(format!("{error:#}"));
                    Ok(None)
                }
            }
        };
        let ended = drive(call, deadline);
        if let Some(reason) = mistyped {
            return Err(SandboxError::Component {
                reason: format!("`{}` is not of the type expected: {reason}", self.name),
            });
        }
        let left = store.get_fuel().map_err(fail("reading the fuel"))?;
        let refused = store.data().memory.refused;
        let mut value = None;
        let (cause, detail) = match ended {
            Some(Ok(returned)) => {
                value = returned;
                (Cause::Ok, String::new())
            }
            Some(Err(error)) => cause_of(&error, refused, "the component")?,
            None => timed_out(),
        };
        let (stdout, stderr) = store.data_mut().take_output();
        let fuel = limits.fuel.saturating_sub(left);
        let outcome = Outcome { cause, detail, stdout, stderr, fuel, seconds: started.elapsed().as_secs_f64() };
        Ok(Called { outcome, value })
    }
}
