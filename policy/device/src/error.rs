//! What can go wrong on a device.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, DeviceError>;

/// What went wrong on a device, and what to do about it where that is known.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no driver on this machine.
    #[error(
        "no NVIDIA driver: libcuda.so.1 could not be opened. It comes with the driver of the card, which the system's \
         package manager installs; in a container, start it with the NVIDIA container toolkit (`--gpus all`)"
    )]
    NoDriver,
    /// A library of CUDA is missing.
    #[error(
        "{library} could not be opened. Install CUDA 12 or 13, or only this library by `pip install {package}` \
         (`{package}-cu12` for a driver that knows no CUDA 13); if it lies where the system does not look, name its folder in LD_LIBRARY_PATH"
    )]
    NoLibrary {
        /// The library's name.
        library: &'static str,
        /// Python packages that contain it.
        package: &'static str,
    },
    /// There is no such card.
    #[error(
        "there is no card number {ordinal}: the driver shows {count}. `nvidia-smi` lists them; CUDA_VISIBLE_DEVICES may hide some"
    )]
    NoCard {
        /// The number asked for, from 0.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The card is too old.
    #[error(
        "{name} has compute capability {major}.{minor}; 8.0 or newer (Ampere, Hopper, ...) is needed for bf16 products"
    )]
    TooOld {
        /// The card's name.
        name: String,
        /// Its compute capability.
        major: i32,
        /// After the point.
        minor: i32,
    },
    /// There is not enough memory on the card.
    #[error("out of memory on the card: {what} needs {}, and {} of {} are free", size(*.bytes), size(*.free), size(*.total))]
    OutOfMemory {
        /// What the memory was for.
        what: &'static str,
        /// How much was asked for, in bytes.
        bytes: usize,
        /// How much is free.
        free: usize,
        /// How much the card has.
        total: usize,
    },
    /// There is no compiler for the emulator.
    #[error("the emulator needs a C++ compiler: `{compiler}` could not be run ({message}). Name another in CXX")]
    NoCompiler {
        /// The command.
        compiler: String,
        /// Why it did not run.
        message: String,
    },
    /// A file of kernels does not compile.
    #[error("{file} does not compile with {defines}:\n{log}")]
    Compile {
        /// The file.
        file: &'static str,
        /// The names defined for it.
        defines: String,
        /// What the compiler says.
        log: String,
    },
    /// There is no such kernel.
    #[error("{file} has no kernel `{kernel}`")]
    NoKernel {
        /// The file.
        file: String,
        /// The kernel.
        kernel: String,
    },
    /// A kernel was given what it cannot work with, or failed.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// The kernel.
        kernel: String,
        /// What is wrong.
        message: String,
    },
    /// An operation was given what it cannot work with, or failed.
    #[error("{operation}: {message}")]
    Operation {
        /// The operation.
        operation: &'static str,
        /// What is wrong.
        message: String,
    },
}

impl DeviceError {
    /// An operation that was given what it cannot work with, or that failed.
    pub fn operation(operation: &'static str, message: impl Into<String>) -> Self {
        DeviceError::Operation { operation, message: message.into() }
    }
}

/// A number of bytes, for people.
fn size(bytes: usize) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = bytes as f64 / MIB;
    match bytes {
        0..=0xFFFFF => format!("{bytes} bytes"),
        0x100000..=0x3FFFFFFF => format!("{mib:.1} MiB"),
        _ => format!("{:.2} GiB", mib / 1024.0),
    }
}
