//! A file of kernels, compiled for the host and opened.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use crate::{DeviceError, Grid, Result, Source, cache, kernels};

/// Aliasing is loose because kernels read the same memory as numbers of several types, which CUDA allows. Products are
/// rounded before sums, so that the compiler's choice does not show. An index outside of an array, a 16-byte access that is
/// not aligned, a shift by too many bits and a division by zero trap. A large stack is touched page by page, so that it cannot
/// reach past the page that guards it.
const FLAGS: [&str; 10] = [
    "-std=c++17",
    "-O1",
    "-shared",
    "-fPIC",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fsanitize=alignment,bounds,shift,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
    "-fstack-clash-protection",
    "-w",
];

/// The compiler of C++.
pub(super) struct Compiler {
    command: String,
    version: String,
}

impl Compiler {
    /// `CXX`, else `c++`.
    pub(super) fn find() -> Result<Self> {
        let command = std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".into());
        let failed = |message| DeviceError::NoCompiler { compiler: command.clone(), message };
        let output = Command::new(&command).arg("--version").output().map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        let version = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
        Ok(Compiler { command, version })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The file compiled with these names defined; each combination once in a process, and kept on disk for the next.
    pub(super) fn library(&self, source: Source, defines: &[(&'static str, i64)]) -> Result<&'static Library> {
        // Never closed: a handler of signals may know it.
        static OPEN: Mutex<Option<HashMap<PathBuf, &'static Library>>> = Mutex::new(None);
        let text = kernels::text(source, defines, true);
        let failed = |error: std::io::Error| DeviceError::Compile {
            file: source.name,
            defines: kernels::describe(defines),
            log: error.to_string(),
        };
        let parts = [text.as_str(), &self.command, &self.version, &FLAGS.join(" ")];
        let (path, _) = cache::file("emulator", "so", &parts, |aside| {
            let code = aside.with_extension("cpp");
            std::fs::write(&code, &text).map_err(failed)?;
            let output = Command::new(&self.command).args(FLAGS).arg(&code).arg("-o").arg(aside).output();
            // Only a copy of what is in the program.
            let _ = std::fs::remove_file(&code);
            let output = output.map_err(failed)?;
            if output.status.success() {
                return Ok(());
            }
            Err(failed(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())))
        })?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        if let Some(library) = open.get(&path) {
            return Ok(library);
        }
        let library: &'static Library =
            Box::leak(Box::new(Library::open(&path).map_err(|error| failed(std::io::Error::other(error)))?));
        open.insert(path, library);
        Ok(library)
    }
}

type Parameters = unsafe extern "C" fn(*const c_char) -> c_int;
type Launch = unsafe extern "C" fn(
    *const c_char,
    *const c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut *mut c_void,
    *mut *mut c_void,
    *mut c_char,
    usize,
) -> c_int;
/// What the handler of signals calls.
pub(super) type Fault = unsafe extern "C" fn(*mut c_void, c_int);

/// Memory for a block's threads, as `emulation.hpp` lays it out; the same in all files, since all contain that one. It is
/// kept for the process's life: stacks with a guard each take long to map, and the system limits how many there are.
struct Kept(*mut c_void);

// SAFETY: used by one launch at a time, on whichever thread.
unsafe impl Send for Kept {}

static BLOCKS: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A compiled file: the functions that the end of `emulation.hpp` defines.
pub(super) struct Library {
    parameters: Parameters,
    launch: Launch,
    fault: Fault,
}

impl Library {
    fn open(path: &Path) -> std::result::Result<Self, libloading::Error> {
        // SAFETY: the library is compiled from sources of this program, now or by an earlier process of this user: what
        // `cache::file` returns is undamaged, and nobody else can have written it. Loading it only registers its kernels.
        // The functions have the types with which `emulation.hpp` defines them, and it is never closed.
        unsafe {
            let library = Box::leak(Box::new(libloading::Library::new(path)?));
            Ok(Library {
                parameters: *library.get::<Parameters>(b"emulation_parameters\0")?,
                launch: *library.get::<Launch>(b"emulation_launch\0")?,
                fault: *library.get::<Fault>(b"emulation_fault\0")?,
            })
        }
    }

    /// How many parameters a kernel has, if there is one of that name.
    pub(super) fn parameters(&self, kernel: &str) -> Option<usize> {
        let name = CString::new(kernel).ok()?;
        // SAFETY: the name ends with a zero; it is only compared.
        usize::try_from(unsafe { (self.parameters)(name.as_ptr()) }).ok()
    }

    pub(super) fn fault_handler(&self) -> Fault {
        self.fault
    }

    /// Runs a kernel with as many arguments as it has parameters.
    pub(super) fn launch(
        &self,
        kernel: &str,
        grid: Grid,
        order: u32,
        arguments: &[u64],
    ) -> std::result::Result<(), String> {
        let name = CString::new(kernel).map_err(|error| error.to_string())?;
        let mut values = arguments.to_vec();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let mut text = [0_u8; 2048];
        let mut kept =
            Kept(BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).pop().map_or(null_mut(), |kept| kept.0));
        // SAFETY: `kept` is null or was left by an earlier launch, and is this one's alone; pointers to as many values as the kernel has parameters (checked by the caller), each in 8 bytes; the
        // text's length is told. What the kernel does with its memory is watched by the caller.
        let outcome = unsafe {
            (self.launch)(
                name.as_ptr(),
                grid.blocks.as_ptr(),
                grid.threads,
                grid.shared_bytes,
                order,
                pointers.as_mut_ptr(),
                &raw mut kept.0,
                text.as_mut_ptr().cast(),
                text.len(),
            )
        };
        BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        if outcome == 0 {
            return Ok(());
        }
        let length = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        Err(String::from_utf8_lossy(&text[..length]).into_owned())
    }
}
