//! Tensors in safetensors files, all of them at once.
//!
//! Reading is [`TensorArchive`]'s. Files are written here rather than by the `safetensors` crate, because that keeps the
//! metadata in a hash map (one tensor list would give different bytes from run to run) and wants each tensor's bytes as
//! one more copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::archive::TensorArchive;
use crate::error::{PolicyError, Result};

/// A tensor to be written: name, shape, and values in row-major order.
pub type TensorView<'a> = (String, Vec<usize>, &'a [f32]);

/// A tensor that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorData {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

/// Writes f32 tensors to a safetensors file, in the given order and with the given metadata; the same
/// arguments give the same bytes. The file is flushed to the disk before this returns.
///
/// transformers asks for the metadata `format: pt`, which is added where it is not given.
///
/// # Errors
/// A name twice, a shape that does not fit its values, or the file system's refusal (a full disk),
/// naming the path.
pub fn save_tensors(
    path: impl AsRef<Path>,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    save_tensors_as(path, tensors, metadata, |_| Numbers::F32)
}

/// How the numbers of a tensor are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// 32 bits, as they are.
    F32,
    /// The upper 16 of them, rounded to the nearest, to even where two are equally near.
    Bf16,
}

impl Numbers {
    fn name(self) -> &'static str {
        match self {
            Numbers::F32 => "F32",
            Numbers::Bf16 => "BF16",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Numbers::F32 => 4,
            Numbers::Bf16 => 2,
        }
    }

    fn write(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Numbers::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Numbers::Bf16 => bytes.extend(values.iter().flat_map(|value| bf16(*value).to_le_bytes())),
        }
    }
}

fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // Rounding could turn its digits to those of infinity.
        return (bits >> 16) as u16 | 0x40;
    }
    let half = 0x7FFF + ((bits >> 16) & 1);
    (bits.wrapping_add(half) >> 16) as u16
}

/// As [`save_tensors`], with numbers of the type that `numbers` says for each tensor's name.
///
/// # Errors
/// As [`save_tensors`].
pub fn save_tensors_as(
    path: impl AsRef<Path>,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
    numbers: impl Fn(&str) -> Numbers,
) -> Result<()> {
    let path = path.as_ref();
    let header = header(path, tensors, metadata, &numbers)?;
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut bytes = Vec::with_capacity(4 * BLOCK);
        for (name, _, values) in tensors {
            for block in values.chunks(BLOCK) {
                bytes.clear();
                numbers(name).write(block, &mut bytes);
                file.write_all(&bytes)?;
            }
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    };
    write().map_err(PolicyError::io("write", path))
}

/// Values converted to bytes at a time.
const BLOCK: usize = 16_384;

fn header(
    path: &Path,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
    numbers: &impl Fn(&str) -> Numbers,
) -> Result<Vec<u8>> {
    let mut info: BTreeMap<&str, &str> = BTreeMap::from([("format", "pt")]);
    info.extend(metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), json!(info));
    let mut offset = 0usize;
    for (name, shape, values) in tensors {
        let refuse = |message: String| PolicyError::TensorMismatch {
            operation: format!("write {}", path.display()).into(),
            tensor: name.clone(),
            message,
        };
        if shape.iter().product::<usize>() != values.len() {
            return Err(refuse(format!("shape {shape:?} does not hold {} values", values.len())));
        }
        let numbers = numbers(name);
        let end = offset + numbers.bytes() * values.len();
        let entry = json!({ "dtype": numbers.name(), "shape": shape, "data_offsets": [offset, end] });
        if map.insert(name.clone(), entry).is_some() {
            return Err(refuse("the name is taken".to_owned()));
        }
        offset = end;
    }
    let mut header = Value::Object(map).to_string().into_bytes();
    // The data begin at a multiple of eight bytes, as the format asks of writers.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Reads all tensors of a safetensors file, of an index of several, or of a model folder, as f32; see [`TensorArchive`].
///
/// # Errors
/// A missing, truncated or malformed file, a tensor that the index promises and the file lacks, or a type that is not
/// read; the message names the file and the tensor.
pub fn load_tensors(path: impl AsRef<Path>) -> Result<BTreeMap<String, TensorData>> {
    let archive = TensorArchive::open(path)?;
    archive.names().map(|name| Ok((name.to_owned(), archive.read(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn views<'a>(values: &'a [f32], names: &[&str]) -> Vec<TensorView<'a>> {
        names.iter().map(|name| ((*name).to_owned(), vec![2, values.len() / 2], values)).collect()
    }

    #[test]
    fn sixteen_bits_are_the_nearest_and_ties_go_to_even() {
        for (value, expected) in [
            (1.0f32, 0x3F80),
            (-2.5, 0xC020),
            (f32::from_bits(0x3F80_8000), 0x3F80),
            (f32::from_bits(0x3F81_8000), 0x3F82),
            (f32::from_bits(0x3F80_8001), 0x3F81),
            (f32::INFINITY, 0x7F80),
            (f32::MAX, 0x7F80),
        ] {
            assert_eq!(bf16(value), expected, "{value}");
        }
        assert!(f32::from_bits(u32::from(bf16(f32::from_bits(0x7F80_0001))) << 16).is_nan());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let values = [1.5, -0.25, 1.0 + f32::EPSILON, 0.1];
        let of = |name: &str| if name == "a" { Numbers::Bf16 } else { Numbers::F32 };
        save_tensors_as(&path, &views(&values, &["a", "b"]), &BTreeMap::new(), of).unwrap();
        let read = load_tensors(&path).unwrap();
        assert_eq!(read["a"].values, [1.5, -0.25, 1.0, f32::from_bits(0x3DCD_0000)]);
        assert_eq!(read["b"].values, values);
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let values = [1.5, -0.0, f32::MIN_POSITIVE, f32::MAX, 3.0, 1e-40];
        let mut tensors = views(&values, &["z", "a.weight"]);
        tensors.push(("scalar".to_owned(), vec![], &values[..1]));
        tensors.push(("empty".to_owned(), vec![0, 3], &[]));
        let metadata = BTreeMap::from([("step".to_owned(), "12".to_owned())]);
        save_tensors(&path, &tensors, &metadata).unwrap();

        let read = load_tensors(&path).unwrap();
        assert_eq!(read.len(), 4);
        for (name, shape, values) in &tensors {
            assert_eq!(&read[name].shape, shape);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read[name].values), bits(values));
        }
        // By candle's reader too, and by way of the folder.
        let theirs = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(theirs["a.weight"].to_vec2::<f32>().unwrap()[1][0], f32::MAX);
        assert_eq!(load_tensors(folder.path()).unwrap(), read);

        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(r#""__metadata__":{"format":"pt","step":"12"}"#));
        save_tensors(&path, &tensors, &metadata).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn half_precision_is_widened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half.safetensors");
        let values = [1.0f32, -2.5, 0.15625, 65_504.0];
        let tensor = Tensor::new(&values, &Device::Cpu).unwrap();
        let stored: std::collections::HashMap<&str, Tensor> =
            [("f16", tensor.to_dtype(DType::F16).unwrap()), ("bf16", tensor.to_dtype(DType::BF16).unwrap())].into();
        candle_core::safetensors::save(&stored, &path).unwrap();
        let read = load_tensors(&path).unwrap();
        assert_eq!(read["f16"].values, values);
        // bf16 keeps eight bits: 65504 rounds to 65536.
        assert_eq!(read["bf16"].values, [1.0, -2.5, 0.15625, 65_536.0]);
    }

    #[test]
    fn shards_are_joined_by_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        save_tensors(at("one.safetensors"), &views(&[1.0, 2.0], &["a"]), &BTreeMap::new()).unwrap();
        save_tensors(at("two.safetensors"), &views(&[3.0, 4.0], &["b", "c"]), &BTreeMap::new()).unwrap();
        let index = at("model.safetensors.index.json");
        let write = |map: Value| std::fs::write(&index, json!({ "weight_map": map }).to_string());
        write(json!({"a": "one.safetensors", "b": "two.safetensors"})).unwrap();
        let read = load_tensors(folder.path()).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read["b"].values, [3.0, 4.0]);

        let message = |map: Value| {
            write(map).unwrap();
            load_tensors(&index).unwrap_err().to_string()
        };
        let lacking = message(json!({"x": "one.safetensors"}));
        assert!(lacking.contains("one.safetensors") && lacking.contains("`x`"), "{lacking}");
        let missing = message(json!({"a": "three.safetensors"}));
        assert!(missing.contains("three.safetensors"), "{missing}");
        let outside = message(json!({"a": "../one.safetensors"}));
        assert!(outside.contains("`weight_map.a`"), "{outside}");
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let fails = || load_tensors(&path).unwrap_err().to_string();
        assert!(fails().contains("model.safetensors"), "{}", fails());

        save_tensors(&path, &views(&[1.0, 2.0], &["a"]), &BTreeMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 7, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(fails().contains("model.safetensors"), "{}", fails());
        }

        let integers = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
        let stored: std::collections::HashMap<&str, Tensor> = [("ids", integers)].into();
        candle_core::safetensors::save(&stored, &path).unwrap();
        assert!(fails().contains("`ids`") && fails().contains("U32"), "{}", fails());
    }

    #[test]
    fn unfit_tensors_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let twice = views(&[1.0, 2.0], &["a", "a"]);
        let message = save_tensors(&path, &twice, &BTreeMap::new()).unwrap_err().to_string();
        assert!(message.contains("`a`: the name is taken"), "{message}");
        let unfit = [("a".to_owned(), vec![3], &[1.0f32, 2.0][..])];
        let message = save_tensors(&path, &unfit, &BTreeMap::new()).unwrap_err().to_string();
        assert!(message.contains("shape [3]"), "{message}");
        assert!(!path.exists());
    }

    #[test]
    fn a_full_disk_is_reported_with_the_path() {
        // A device that refuses every write for want of space.
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let error = save_tensors(full, &views(&[1.0, 2.0], &["a"]), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().starts_with("write /dev/full: "), "{error}");
        let PolicyError::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    }
}
