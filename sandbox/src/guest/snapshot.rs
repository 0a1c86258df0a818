//! Starts the interpreter once and takes a snapshot of its memory: every program starts from there.

use std::fs;

use tempfile::TempDir;
use wasmtime::component::{Component, Instance, Linker};
use wasmtime::{Config, Engine, OptLevel, Store, format_err};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wizer::Wizer;

use super::link::unpack;
use super::{PRELUDE, Package, STANDARD_LIBRARY};
use crate::error::SandboxError;
use crate::host::Host;

/// What the interpreter may complain about while it starts.
const STDERR_BYTES: usize = 1 << 20;
/// The stack of the interpreter that starts.
const STACK_BYTES: usize = 8 << 20;
/// Below the library's folder: where the prelude looks for packages. No module can have this name.
const PACKAGES_FOLDER: &str = "-packages";

/// The component with the interpreter started and the prelude run.
pub(crate) fn snapshot(component: &[u8], packages: &[Package]) -> Result<Vec<u8>, SandboxError> {
    let library = unpack_library(packages)?;
    let stderr = MemoryOutputPipe::new(STDERR_BYTES);
    let made = take(component, &library, stderr.clone());
    made.map_err(|error| SandboxError::Prepare {
        step: "starting the interpreter",
        reason: format!("{error:#}\n{}", String::from_utf8_lossy(&stderr.contents())),
    })
}

fn take(component: &[u8], library: &TempDir, stderr: MemoryOutputPipe) -> wasmtime::Result<Vec<u8>> {
    // This code runs once: compiling it fast matters more than compiling it well, though it then takes more stack.
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None).max_wasm_stack(STACK_BYTES).async_stack_size(2 * STACK_BYTES);
    let engine = Engine::new(&config)?;
    let mut store = Store::new(&engine, Host::for_snapshot(library.path(), stderr)?);
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    let start = async |store: &mut Store<Host>, component: &Component| -> wasmtime::Result<Instance> {
        let instance = linker.instantiate_async(&mut *store, component).await?;
        let prepare = instance.get_typed_func::<(&str,), (bool,)>(&mut *store, "prepare")?;
        match prepare.call_async(&mut *store, (PRELUDE,)).await? {
            (true,) => Ok(instance),
            (false,) => Err(format_err!("the prelude failed")),
        }
    };
    let mut wizer = Wizer::new();
    // Kept, because the linked modules refer to it.
    wizer.init_func("seal").keep_init_func(true);
    let (snapshot, _) = wasmtime_wasi::runtime::in_tokio(wizer.run_component(&mut store, component, start))?;
    Ok(snapshot)
}

/// The standard library as a folder, and the packages in one beside it, for as long as the value lives.
fn unpack_library(packages: &[Package]) -> Result<TempDir, SandboxError> {
    let archive = unpack(&STANDARD_LIBRARY)?;
    tempfile::tempdir()
        .and_then(|folder| {
            tar::Archive::new(archive.as_slice()).unpack(folder.path())?;
            for package in packages {
                let path = folder.path().join(PACKAGES_FOLDER).join(&package.name);
                fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
                fs::write(path, &package.content)?;
            }
            Ok(folder)
        })
        .map_err(|error| SandboxError::Prepare { step: "unpacking the standard library", reason: error.to_string() })
}
