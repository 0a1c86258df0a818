//! Makes a component of the interpreter: says what its functions take, and translates the WASI that it speaks.

use std::fmt::Display;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{ADAPTER, INTERPRETER, Part, WORLD};
use crate::error::SandboxError;

/// The component, not yet started. Takes about a second.
pub(crate) fn link() -> Result<Vec<u8>, SandboxError> {
    let mut interpreter = unpack(&INTERPRETER)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", WORLD).map_err(|error| failed(&error))?;
    let world = resolve.select_world(&[package], None).map_err(|error| failed(&error))?;
    embed_component_metadata(&mut interpreter, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| failed(&error))?;
    let adapter = unpack(&ADAPTER)?;
    ComponentEncoder::default()
        .module(&interpreter)
        .and_then(|encoder| encoder.adapter("wasi_snapshot_preview1", &adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| failed(&error))
}

/// `{:#}` shows the causes of the linker's errors too.
fn failed(error: &dyn Display) -> SandboxError {
    SandboxError::Prepare { step: "linking the interpreter", reason: format!("{error:#}") }
}

/// The part's content.
pub(super) fn unpack(part: &Part) -> Result<Vec<u8>, SandboxError> {
    zstd::decode_all(part.content).map_err(|error| SandboxError::Prepare {
        step: "unpacking the interpreter",
        reason: format!("{}: {error}", part.name),
    })
}
