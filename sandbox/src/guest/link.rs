//! Links libc, CPython and our small guest library into one component.

use std::fmt::Display;

use wit_component::{Linker, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{ADAPTER, GUEST, LIBRARIES, Part, WORLD};
use crate::error::SandboxError;

/// The shadow stack, in bytes: C code of the interpreter that recurses (the parser, `repr`, regular expressions).
const STACK_BYTES: u32 = 8 << 20;

/// The component, not yet started. Takes about a second.
pub(crate) fn link() -> Result<Vec<u8>, SandboxError> {
    let mut linker = Linker::default().validate(true).use_built_in_libdl(true).stack_size(STACK_BYTES);
    for library in &LIBRARIES {
        let name = library.name.trim_end_matches(".zst");
        linker = linker.library(name, &unpack(library)?, false).map_err(|error| failed(&error))?;
    }
    let mut guest = wat::parse_str(GUEST).map_err(|error| failed(&error))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", WORLD).map_err(|error| failed(&error))?;
    let world = resolve.select_world(&[package], None).map_err(|error| failed(&error))?;
    embed_component_metadata(&mut guest, &resolve, world, StringEncoding::UTF8).map_err(|error| failed(&error))?;
    let adapter = unpack(&ADAPTER)?;
    linker
        .library("libguest.so", &guest, false)
        .and_then(|linker| linker.adapter("wasi_snapshot_preview1", &adapter))
        .and_then(Linker::encode)
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
