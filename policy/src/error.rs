//! What can go wrong in this crate: one enum, each variant naming the operation and its subject.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The result of this crate's fallible functions.
pub type Result<T, E = PolicyError> = std::result::Result<T, E>;

/// Everything that can fail in the policy, with what it was doing and to what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A tensor operation failed; candle's own error tells the shapes.
    #[error("{operation}: {source}")]
    Tensor {
        /// What was being computed, e.g. `forward of layer 3`.
        operation: Cow<'static, str>,
        /// candle's account of it.
        source: candle_core::Error,
    },

    /// A card failed, or has too little memory.
    #[cfg(feature = "cuda")]
    #[error("{operation}: {source}")]
    Device {
        /// What was being done.
        operation: Cow<'static, str>,
        /// The card's account of it, and what to do about it where that is known.
        source: device::DeviceError,
    },

    /// A value of a model's `config.json` that cannot be used.
    #[error("{}: `{key}`: {message}", place(.path.as_deref(), "model configuration"))]
    Config {
        /// The file it came from, if it came from one.
        path: Option<PathBuf>,
        /// The key, as `config.json` spells it.
        key: String,
        /// What is wrong with it and what is expected.
        message: String,
    },

    /// A `config.json` of a model that this crate does not implement.
    #[error(
        "{}: the model is {found}; supported: {supported}",
        place(.path.as_deref(), "model configuration")
    )]
    UnsupportedArchitecture {
        /// The file it came from, if it came from one.
        path: Option<PathBuf>,
        /// What the file names.
        found: String,
        /// What would have worked.
        supported: &'static str,
    },

    /// Training, reading or writing a tokenizer failed.
    #[error("{operation} ({subject}): {message}")]
    Tokenizer {
        /// What was being done.
        operation: &'static str,
        /// To which file or token.
        subject: String,
        /// What went wrong.
        message: String,
    },

    /// The file system refused (a missing file, a full disk, ...).
    #[error("{operation} {}: {source}", .path.display())]
    Io {
        /// What was being done, as a verb: `read`, `write`, ...
        operation: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's cause.
        source: std::io::Error,
    },

    /// A file that is not the JSON it should be.
    #[error("read {}: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },

    /// A checkpoint, or a file of one, that is incomplete or damaged.
    #[error("checkpoint {}: {message}", .path.display())]
    Checkpoint {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A tensor in a file, or in saved state, that does not fit.
    #[error("{operation}: tensor `{tensor}`: {message}")]
    TensorMismatch {
        /// What was being done, e.g. `restore the optimizer`.
        operation: Cow<'static, str>,
        /// The tensor's name.
        tensor: String,
        /// What was found and what is expected.
        message: String,
    },

    /// The model's numbers are no numbers.
    #[error(
        "{operation}: the model's log-probabilities are not finite: its weights hold NaN, infinity, or numbers near it"
    )]
    NotFinite {
        /// What was being done.
        operation: &'static str,
    },

    /// An argument that makes no sense, from the caller.
    #[error("{operation}: {message}")]
    Argument {
        /// What was asked for.
        operation: &'static str,
        /// Why it cannot be done.
        message: String,
    },
}

impl PolicyError {
    /// For `map_err` on a file operation: `PolicyError::io("read", path)`.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { operation, path, source }
    }
}

/// Names the operation that an error of candle, or of a card, interrupted.
pub trait During<T> {
    /// Turns candle's error into [`PolicyError::Tensor`] of this operation, a card's into `PolicyError::Device`.
    ///
    /// # Errors
    /// The error it was called on, wrapped.
    fn during(self, operation: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T> During<T> for candle_core::Result<T> {
    fn during(self, operation: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|source| PolicyError::Tensor { operation: operation.into(), source })
    }
}

#[cfg(feature = "cuda")]
impl<T> During<T> for device::Result<T> {
    fn during(self, operation: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|source| PolicyError::Device { operation: operation.into(), source })
    }
}

fn place(path: Option<&Path>, otherwise: &str) -> String {
    path.map_or_else(|| otherwise.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn messages_name_operation_and_subject() {
        fn check(error: &PolicyError, expected: &str) {
            assert_eq!(error.to_string(), expected);
        }
        check(
            &PolicyError::Config {
                path: Some("base/config.json".into()),
                key: "hidden_size".into(),
                message: "expected a positive integer, found \"big\"".into(),
            },
            "base/config.json: `hidden_size`: expected a positive integer, found \"big\"",
        );
        check(
            &PolicyError::Config { path: None, key: "n_group".into(), message: "0".into() },
            "model configuration: `n_group`: 0",
        );
        check(&PolicyError::io("write", Path::new("a/b"))(std::io::Error::other("disk full")), "write a/b: disk full");
    }

    #[test]
    fn candle_errors_carry_the_operation() {
        let left = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let message = left.matmul(&left).during("scores of layer 0").unwrap_err().to_string();
        assert!(message.starts_with("scores of layer 0: "), "{message}");
        assert!(message.contains("[2, 3]"), "{message}");
    }
}
