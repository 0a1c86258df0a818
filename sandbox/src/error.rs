//! The host's own failures. What a program does is never one of them: that is an [`Outcome`](crate::Outcome).

use std::path::PathBuf;

/// Why the sandbox itself could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A part of the interpreter that is built into this program could not be used.
    #[error("preparing Python: {step}: {reason}")]
    Prepare {
        /// What was being done.
        step: &'static str,
        /// What went wrong, with its causes.
        reason: String,
    },
    /// The cache folder could not be read or written.
    #[error("the prepared Python in {path}: {operation}: {source}")]
    Cache {
        /// What was being done.
        operation: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A package that cannot be taken along.
    #[error("the package {path}: {reason}")]
    Package {
        /// The wheel or folder, or a file in it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A module that is no command for WASI.
    #[error("the WebAssembly module: {reason}")]
    Module {
        /// What is wrong with it.
        reason: String,
    },
    /// A component that cannot be called as asked.
    #[error("the WebAssembly component: {reason}")]
    Component {
        /// What is wrong with it.
        reason: String,
    },
    /// A limit under which no program can run.
    #[error("the limit `{limit}` = {value} cannot be used: {reason}")]
    Limit {
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
        /// Its value.
        value: u64,
        /// What it would have to be.
        reason: &'static str,
    },
    /// The WebAssembly engine refused something that it does for every program.
    #[error("running a program: {operation}: {reason}")]
    Run {
        /// What was being done.
        operation: &'static str,
        /// What went wrong, with its causes.
        reason: String,
    },
}

impl SandboxError {
    pub(crate) fn prepare(step: &'static str) -> impl FnOnce(wasmtime::Error) -> SandboxError {
        move |error| SandboxError::Prepare { step, reason: format!("{error:#}") }
    }

    pub(crate) fn run(operation: &'static str) -> impl FnOnce(wasmtime::Error) -> SandboxError {
        move |error| SandboxError::Run { operation, reason: format!("{error:#}") }
    }
}
