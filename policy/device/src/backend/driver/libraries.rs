//! Finds CUDA's libraries, which are opened when the first card is.
//!
//! The system's loader looks in LD_LIBRARY_PATH and in its own folders. Where it finds nothing, we look where CUDA's installer
//! and Python's packages put the libraries. One that is open already is found by its name from then on.

use std::path::{Path, PathBuf};

use cudarc::{cublas, driver, nvrtc};

use super::compile;
use crate::{DeviceError, Library, Result};

/// Checks that all can be opened.
pub(super) fn find() -> Result<()> {
    find_driver()?;
    find_nvrtc()?;
    find_cublas()
}

/// Each by itself, with its version.
pub(crate) fn each() -> Vec<Library> {
    let driver = || {
        find_driver()?;
        let mut version = 0;
        // SAFETY: the library is open; one number is written, also before the driver has been started.
        unsafe { driver::sys::cuDriverGetVersion(&raw mut version) }
            .result()
            .map_err(|error| DeviceError::operation("version of the driver", format!("{error:?}")))?;
        Ok(format!("for CUDA up to {}.{}", version / 1000, version % 1000 / 10))
    };
    let nvrtc = || {
        find_nvrtc()?;
        compile::version().map(|(major, minor)| format!("{major}.{minor}"))
    };
    let cublas = || {
        find_cublas()?;
        use cublas::sys::libraryPropertyType_t::{MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL};
        let part = |which| {
            let mut part = 0;
            // SAFETY: the library is open; one number is written.
            unsafe { cublas::sys::cublasGetProperty(which, &raw mut part) }
                .result()
                .map_err(|error| DeviceError::operation("version of cuBLAS", format!("{error:?}")))?;
            Ok::<_, DeviceError>(part)
        };
        Ok(format!("{}.{}.{}", part(MAJOR_VERSION)?, part(MINOR_VERSION)?, part(PATCH_LEVEL)?))
    };
    vec![
        Library { name: "driver (libcuda)", found: driver() },
        Library { name: "NVRTC", found: nvrtc() },
        Library { name: "cuBLAS", found: cublas() },
    ]
}

fn find_driver() -> Result<()> {
    // SAFETY: opens a library of the driver; what it does on loading is its own business.
    if unsafe { driver::sys::is_culib_present() } { Ok(()) } else { Err(DeviceError::NoDriver) }
}

fn find_cublas() -> Result<()> {
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
            if files.iter().all(|file| file.exists()) {
                // NVRTC opens a second library while it compiles, by its name alone, which is found if it is open already.
                let second = |file: &PathBuf| is_named(file, &format!("libnvrtc-builtins.so.{version}"));
                if names.contains(&"nvrtc") {
                    entries(&folder).iter().filter(|file| second(file)).for_each(|file| _ = open(file));
                }
                if files.iter().all(|file| open(file)) && is_present() {
                    return Ok(());
                }
            }
        }
    }
    Err(DeviceError::NoLibrary { library, package })
}

/// Whether a file's name begins so.
fn is_named(file: &Path, beginning: &str) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))
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

/// Where CUDA's installer puts libraries, and Python's package managers: in the environment that is active, the user's own
/// folder, or the system's, of which many images have but one and never activate it.
fn folders() -> Vec<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let toolkits = [named("CUDA_HOME"), named("CUDA_PATH"), Some("/usr/local/cuda".into())];
    let mut folders: Vec<PathBuf> =
        toolkits.into_iter().flatten().flat_map(|root| [root.join("lib64"), root.join("lib")]).collect();
    let environments = [named("VIRTUAL_ENV"), named("CONDA_PREFIX"), Some("/opt/conda".into())];
    let users = named("HOME").map(|home| home.join(".local"));
    let systems = [users, Some("/usr/local".into()), Some("/usr".into())];
    for environment in environments.into_iter().flatten() {
        folders.push(environment.join("lib"));
        folders.extend(packaged(&environment));
    }
    folders.extend(systems.iter().flatten().flat_map(|prefix| packaged(prefix)));
    folders
}

/// The folders of libraries of NVIDIA's packages in all versions of Python below a prefix.
fn packaged(prefix: &Path) -> Vec<PathBuf> {
    let pythons = entries(&prefix.join("lib")).into_iter().filter(|folder| is_named(folder, "python3"));
    // Debian has packages of its own in a folder of another name.
    let packages = pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)));
    packages.flat_map(|packages| entries(&packages.join("nvidia"))).map(|package| package.join("lib")).collect()
}

/// What is in a folder, in order; nothing if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_all_pythons_are_found() {
        let prefix = tempfile::tempdir().unwrap();
        let folders = [
            "lib/python3/dist-packages/nvidia/cublas/lib",
            "lib/python3.12/site-packages/nvidia/cu13/lib",
            "lib/python3.12/site-packages/numpy/lib",
            "lib/rust/site-packages/nvidia/cu13/lib",
        ]
        .map(|folder| prefix.path().join(folder));
        folders.iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        assert_eq!(packaged(prefix.path()), folders[..2]);
        assert!(packaged(&prefix.path().join("elsewhere")).is_empty());
    }
}
