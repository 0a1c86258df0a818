//! The kernels' sources.

/// A file of kernels.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its name in messages, such as `norm.cu`.
    pub name: &'static str,
    /// Its text, without what [`COMMON`] gives.
    pub text: &'static str,
}

/// What stands in front of each file.
pub(crate) const COMMON: &str = include_str!("kernels/common.cuh");
/// What stands in front of that for the emulator.
pub(crate) const EMULATION: &str = include_str!("kernels/emulation.hpp");

/// The files that [`crate::Device::kernel`] knows, by their names without `.cu`.
const FILES: &[(&str, Source)] = &[];

/// The file of this name.
pub(crate) fn source(name: &str) -> Option<Source> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}
