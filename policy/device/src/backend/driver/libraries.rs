//! Finds CUDA's libraries, which are opened when the first card is.
//!
//! The system's loader looks in LD_LIBRARY_PATH and in its own folders. Where it finds nothing, we look where CUDA's installer
//! and Python's packages put the libraries. One that is open already is found by its name from then on.

use std::path::{Path, PathBuf};

use cudarc::{cublas, driver, nvrtc};

use crate::{DeviceError, Result};

/// Checks that all can be opened.
pub(super) fn find() -> Result<()> {
    // SAFETY: opens a library of the driver; what it does on loading is its own business.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err(DeviceError::NoDriver);
    }
    find_nvrtc()?;
    // SAFETY: as above.
    let present = || unsafe { cublas::sys::is_culib_present() };
    require("libcublas", "nvidia-cublas", &["cublasLt", "cublas"], present)
}

/// NVRTC alone, which works without a card.
pub(super) fn find_nvrtc() -> Result<()> {
    // SAFETY: as above.
    let present = || unsafe { nvrtc::sys::is_culib_present() };
    require("libnvrtc", "nvidia-cuda-nvrtc", &["nvrtc"], present)
}

/// Opens the libraries `names`, each after what it depends on, if they are not found otherwise.
fn require(library: &'static str, package: &'static str, names: &[&str], is_present: impl Fn() -> bool) -> Result<()> {
    if is_present() {
        return Ok(());
    }
    for folder in folders() {
        for version in ["13", "12"] {
            let files: Vec<PathBuf> = names.iter().map(|name| folder.join(format!("lib{name}.so.{version}"))).collect();
            if files.iter().all(|file| file.exists()) && files.iter().all(|file| open(file)) && is_present() {
                return Ok(());
            }
        }
    }
    Err(DeviceError::NoLibrary { library, package })
}

/// Opens a library for good.
fn open(file: &Path) -> bool {
    // SAFETY: as above.
    match unsafe { libloading::Library::new(file) } {
        Ok(library) => {
            std::mem::forget(library);
            true
        }
        Err(_) => false,
    }
}

/// Where CUDA's installer puts libraries, and `pip` in the environment that is active.
fn folders() -> Vec<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let toolkits = [named("CUDA_HOME"), named("CUDA_PATH"), Some(PathBuf::from("/usr/local/cuda"))];
    let mut folders: Vec<PathBuf> =
        toolkits.into_iter().flatten().flat_map(|root| [root.join("lib64"), root.join("lib")]).collect();
    for environment in [named("VIRTUAL_ENV"), named("CONDA_PREFIX")].into_iter().flatten() {
        folders.push(environment.join("lib"));
        for python in entries(&environment.join("lib")) {
            let packages = python.join("site-packages").join("nvidia");
            folders.extend(entries(&packages).into_iter().map(|package| package.join("lib")));
        }
    }
    folders
}

/// What is in a folder, in order; nothing if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}
