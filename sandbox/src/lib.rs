//! Runs untrusted Python programs in CPython under wasmtime, with limits and an outcome.
//!
//! [`Python::prepare`] makes a WebAssembly component of CPython, starts it, imports what programs usually import,
//! takes a snapshot of its memory, compiles that ahead of time and caches it. [`Python::run`] then runs each program
//! in a fresh instance of the snapshot, which takes about as long as the program itself: nothing of one program is
//! there for the next.
//!
//! A program reaches nothing but its own memory: no file, no network, no environment, no clock but a virtual one, no
//! randomness but a fixed one. So its [`Outcome`], including the fuel it used, is the same on every machine. How it
//! ended is decided outside Python: ordinary Python, whatever it prints, raises or redefines, cannot forge it. (A program
//! that takes the interpreter over, by bytecode of its own, can say how it ended, and still reaches nothing.)
//!
//! ```no_run
//! # fn main() -> Result<(), sandbox::SandboxError> {
//! let python = sandbox::Python::prepare(&sandbox::default_cache_dir(), &mut |_step| ())?;
//! let outcome = python.run("print(sum(range(10)))", "", &sandbox::Limits::default())?;
//! assert_eq!(outcome.cause, sandbox::Cause::Ok);
//! assert_eq!(outcome.stdout, "45\n");
//! # Ok(())
//! # }
//! ```

mod batch;
mod cache;
mod component;
mod deadline;
mod ending;
mod engine;
mod error;
mod fixed;
mod guest;
mod host;
mod limits;
mod memory;
mod outcome;
mod owner;
mod python;
mod slots;
mod wasi_command;

pub use batch::Job;
pub use cache::{CacheState, default_cache_dir};
pub use component::{Called, Component};
pub use error::SandboxError;
pub use guest::{Packages, PrepareStep};
pub use limits::Limits;
pub use outcome::{Cause, Outcome};
pub use python::{Python, Sharing};
pub use wasi_command::WasiCommand;
/// The engine, for the derives of what a [`Component`]'s function takes and returns.
pub use wasmtime;
