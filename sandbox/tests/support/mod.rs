//! What the test binaries share.
#![allow(dead_code, reason = "each binary uses its part")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sandbox::{Limits, Outcome, Python};

/// Cargo's own folder for tests' files.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("python")
}

/// One interpreter for all tests of a binary.
pub(crate) fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    PYTHON.get_or_init(|| Python::prepare(&cache(), &mut |_| ()).unwrap())
}

/// Small enough that a test which runs into one ends soon.
pub(crate) fn limits() -> Limits {
    Limits { fuel: 3_000_000_000, memory_bytes: 256 << 20, output_bytes: 64 << 10, wall: Duration::from_secs(60) }
}

pub(crate) fn run(program: &str) -> Outcome {
    python().run(program, "", &limits()).unwrap()
}
