//! The interpreter as it is built into this program, and the steps from there to something that runs programs.

mod link;
mod packages;
mod snapshot;

use std::fmt;

use sha2::{Digest, Sha256};

pub(crate) use link::link;
pub(crate) use packages::Package;
pub use packages::Packages;
pub(crate) use snapshot::snapshot;

/// One file of `guest/`, compressed with zstd unless it is text.
struct Part {
    name: &'static str,
    content: &'static [u8],
}

macro_rules! part {
    ($name:literal) => {
        Part { name: $name, content: include_bytes!(concat!("../../guest/", $name)) }
    };
}

/// CPython and our few functions (`guest/guest.c`) in one module, made by `guest/build.py`.
const INTERPRETER: Part = part!("python.wasm.zst");
/// Translates the WASI that libc speaks into the one that components import.
const ADAPTER: Part = part!("wasi_snapshot_preview1.reactor.wasm.zst");
/// The `.py` files of the standard library, as a tar.
const STANDARD_LIBRARY: Part = part!("stdlib.tar.zst");
const WORLD: &str = include_str!("../../guest/world.wit");
const PRELUDE: &str = include_str!("../../guest/prelude.py");

/// A step of preparing Python, as told to the `progress` of [`Python::prepare`](crate::Python::prepare).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareStep {
    /// Unpacking the interpreter and making a component of it.
    Link,
    /// Starting the interpreter, importing modules, taking the snapshot.
    Snapshot,
    /// Compiling the snapshot to machine code.
    Compile,
    /// Reading and checking what is cached: the only step where nothing has to be made.
    Load,
}

impl PrepareStep {
    /// All steps, in order.
    pub const ALL: [PrepareStep; 4] =
        [PrepareStep::Link, PrepareStep::Snapshot, PrepareStep::Compile, PrepareStep::Load];

    /// The step's place in [`PrepareStep::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for PrepareStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            PrepareStep::Link => "unpacking Python",
            PrepareStep::Snapshot => "starting Python and importing its modules",
            PrepareStep::Compile => "compiling Python to machine code",
            PrepareStep::Load => "loading Python",
        })
    }
}

/// Feeds everything that makes the prepared interpreter what it is into `hash`.
pub(crate) fn hash_inputs(hash: &mut Sha256, packages: &[Package]) {
    hash_texts(hash, [WORLD, PRELUDE]);
    for part in [INTERPRETER, ADAPTER, STANDARD_LIBRARY] {
        hash_bytes(hash, part.content);
    }
    packages.iter().for_each(|package| package.hash_into(hash));
}

/// Each with its length, so that no two lists are hashed alike.
pub(crate) fn hash_texts<'a>(hash: &mut Sha256, texts: impl IntoIterator<Item = &'a str>) {
    texts.into_iter().for_each(|text| hash_bytes(hash, text.as_bytes()));
}

fn hash_bytes(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is compiled in is what `guest/build.py` makes.
    #[test]
    fn the_parts_have_the_listed_sums() {
        let sums = include_str!("../../guest/SHA256SUMS");
        let parts = [INTERPRETER, ADAPTER, STANDARD_LIBRARY];
        assert_eq!(sums.lines().count(), parts.len());
        for part in parts {
            let sum: String = Sha256::digest(part.content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(sums.contains(&format!("{sum}  {}", part.name)), "{} {sum}", part.name);
        }
    }

    #[test]
    fn steps_are_counted_in_order() {
        for (place, step) in PrepareStep::ALL.into_iter().enumerate() {
            assert_eq!(step.index(), place);
        }
    }
}
