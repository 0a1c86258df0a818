//! The tensors of a safetensors file, or of several with an index, read one at a time.
//!
//! Opening reads the headers alone and checks them against the files' lengths and the index; so a model folder is known
//! to be whole, and its shapes to fit, before the first number is read, and no file is ever in memory as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::Value;

use super::tensors::TensorData;
use crate::error::{During, PolicyError, Result};

/// The file of a model that lies in one, and the list of those of a model that lies in several.
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The longest header that is believed; the same limit as the `safetensors` crate's.
const MAX_HEADER: u64 = 100_000_000;

/// Open safetensors files and where in them each tensor lies.
#[derive(Debug)]
pub struct TensorArchive {
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

impl TensorArchive {
    /// Opens a safetensors file, an index of several (`*.index.json`), or a model folder: its `model.safetensors`, or where
    /// there is none the files of its `model.safetensors.index.json`, in the order in which transformers looks for them.
    ///
    /// # Errors
    /// A missing, truncated or malformed file, or a tensor that the index promises and the file lacks, by name.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut archive = TensorArchive { files: Vec::new(), tensors: BTreeMap::new() };
        if path.is_dir() {
            let (whole, index) = (path.join(WHOLE), path.join(INDEX));
            if index.exists() && !whole.exists() {
                archive.open_indexed(&index)?;
            } else {
                archive.open_file(&whole, None)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "json") {
            archive.open_indexed(path)?;
        } else {
            archive.open_file(path, None)?;
        }
        Ok(archive)
    }

    fn open_indexed(&mut self, index: &Path) -> Result<()> {
        read_index(index)?.iter().try_for_each(|(file, tensors)| self.open_file(file, Some(tensors)))
    }

    /// Opens one file; of several, only what the index says lies in it is taken.
    fn open_file(&mut self, path: &Path, promised: Option<&BTreeSet<String>>) -> Result<()> {
        let file = File::open(path).map_err(PolicyError::io("read", path))?;
        let length = file.metadata().map_err(PolicyError::io("read", path))?.len();
        let mut prefix = [0; 8];
        if length < 8 {
            return Err(damaged(path, format!("truncated: {length} bytes")));
        }
        file.read_exact_at(&mut prefix, 0).map_err(PolicyError::io("read", path))?;
        let header = u64::from_le_bytes(prefix);
        if header > MAX_HEADER || header > length - 8 {
            return Err(damaged(
                path,
                format!("truncated or no safetensors file: a header of {header} bytes in {length}"),
            ));
        }
        let mut text = vec![0; usize::try_from(header).unwrap_or_default()];
        file.read_exact_at(&mut text, 8).map_err(PolicyError::io("read", path))?;
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(|error| damaged(path, format!("malformed header: {error}")))?;
        let tensors = metadata.tensors();
        let data: usize = tensors.values().map(|info| info.data_offsets.1).max().unwrap_or(0);
        let expected = 8 + header + data as u64;
        if length != expected {
            let kind = if length < expected { "truncated" } else { "too long" };
            return Err(damaged(path, format!("{kind}: its header describes {expected} bytes, found {length}")));
        }
        if let Some(name) = promised.into_iter().flatten().find(|name| !tensors.contains_key(*name)) {
            return Err(damaged(path, format!("lacks the tensor `{name}` of its index")));
        }
        for (name, info) in tensors {
            if promised.is_none_or(|promised| promised.contains(&name)) {
                let (start, end) = info.data_offsets;
                let entry = Entry {
                    file: self.files.len(),
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    start: 8 + header + start as u64,
                    bytes: end - start,
                };
                self.tensors.insert(name, entry);
            }
        }
        self.files.push((path.to_path_buf(), file));
        Ok(())
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's dimensions, if there is such a tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The file that a tensor lies in.
    #[must_use]
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.tensors.get(name).map(|entry| self.files[entry.file].0.as_path())
    }

    /// Whether a tensor is of eight-bit floats, which mean something only with their scales.
    #[must_use]
    pub fn is_eight_bit(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|entry| entry.dtype == Dtype::F8_E4M3)
    }

    /// Checks that a tensor is of a type that can be read.
    ///
    /// # Errors
    /// The tensor is missing, or neither F32, BF16, F16 nor F8_E4M3.
    pub fn check(&self, name: &str) -> Result<()> {
        let entry = self.entry(name)?;
        match entry.dtype {
            Dtype::F32 | Dtype::BF16 | Dtype::F16 | Dtype::F8_E4M3 => Ok(()),
            other => Err(PolicyError::TensorMismatch {
                operation: format!("read {}", self.files[entry.file].0.display()).into(),
                tensor: name.to_owned(),
                message: format!("expected F32, BF16, F16 or F8_E4M3, found {other:?}"),
            }),
        }
    }

    /// Reads one tensor as f32.
    ///
    /// # Errors
    /// As [`check`](Self::check), or the file system's refusal.
    pub fn read(&self, name: &str) -> Result<TensorData> {
        self.check(name)?;
        let entry = self.entry(name)?;
        let (path, file) = &self.files[entry.file];
        let mut bytes = vec![0; entry.bytes];
        file.read_exact_at(&mut bytes, entry.start).map_err(PolicyError::io("read", path))?;
        let values = match entry.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            // The upper half of an f32.
            Dtype::BF16 => {
                let halves = bytes.as_chunks().0.iter();
                halves.map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16)).collect()
            }
            Dtype::F8_E4M3 => {
                let table: Vec<f32> = (0..=u8::MAX).map(e4m3).collect();
                bytes.iter().map(|byte| table[usize::from(*byte)]).collect()
            }
            _ => Tensor::from_raw_buffer(&bytes, DType::F16, &[entry.bytes / 2], &Device::Cpu)
                .and_then(|tensor| tensor.to_dtype(DType::F32)?.to_vec1())
                .during(format!("read `{name}` of {}", path.display()))?,
        };
        Ok(TensorData { shape: entry.shape.clone(), values })
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors.get(name).ok_or_else(|| PolicyError::TensorMismatch {
            operation: "read a checkpoint".into(),
            tensor: name.to_owned(),
            message: "missing from the checkpoint".to_owned(),
        })
    }
}

/// An eight-bit float of four exponent and three mantissa bits, without infinities (Micikevicius et al., "FP8 formats for
/// deep learning", 2022).
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0xF), f32::from(byte & 7) / 8.0);
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-6),
        _ => (1.0 + mantissa) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The files that an index names, each with the tensors that it promises there.
fn read_index(index: &Path) -> Result<BTreeMap<PathBuf, BTreeSet<String>>> {
    let text = std::fs::read(index).map_err(PolicyError::io("read", index))?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|source| PolicyError::Json { path: index.to_path_buf(), source })?;
    let malformed = |message: &str| damaged(index, message.to_owned());
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("expected an object `weight_map` from tensors to files"))?;
    let mut promised: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (tensor, file) in map {
        // A name only: an index must not reach outside its folder.
        let file = file
            .as_str()
            .filter(|file| Path::new(file).file_name().is_some_and(|name| name == *file))
            .ok_or_else(|| malformed(&format!("`weight_map.{tensor}` is not a file's name")))?;
        promised.entry(index.with_file_name(file)).or_default().insert(tensor.clone());
    }
    Ok(promised)
}

/// Removes the index and the files of an earlier model from a folder into which another has been written as one file: they
/// are no part of it, and there are tools that read every safetensors file of a folder.
pub(crate) fn remove_shards(folder: &Path) -> Result<()> {
    let index = folder.join(INDEX);
    if !index.exists() {
        return Ok(());
    }
    // An index that cannot be read names no file; it goes all the same.
    let named = read_index(&index).unwrap_or_default().into_keys();
    let shards = named.filter(|path| path.extension() == Some("safetensors".as_ref()) && *path != folder.join(WHOLE));
    // The index last: after a kill it still says what is left to be removed.
    for path in shards.chain([index]) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(PolicyError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn damaged(path: &Path, message: String) -> PolicyError {
    PolicyError::Checkpoint { path: path.to_path_buf(), message }
}

#[cfg(test)]
mod tests {
    use super::e4m3;

    #[test]
    fn eight_bit_floats_are_those_of_the_paper() {
        // Its table 1: the largest, the smallest normal and subnormal numbers, and NaN.
        fn check(byte: u8, expected: f32) {
            assert_eq!(e4m3(byte), expected, "{byte:#x}");
        }
        check(0x7E, 448.0);
        check(0xFE, -448.0);
        check(0x08, 2f32.powi(-6));
        check(0x07, 0.875 * 2f32.powi(-6));
        check(0x01, 2f32.powi(-9));
        check(0x38, 1.0);
        check(0x00, 0.0);
        assert!(e4m3(0x7F).is_nan() && e4m3(0xFF).is_nan());
    }
}
