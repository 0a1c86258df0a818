//! Rows of Parquet, read by polars slice by slice, nested lists and structs included.
//!
//! A column is what the file says of it: the Arrow types that its writer noted, else the Parquet types. polars as it is built
//! here has not all of them: it ends the process at an index into a dictionary, a list of fixed length or a type that another
//! program has made, and has no whole numbers of 8 and 16 bits. Those columns are read as what they are on disk, by the
//! Parquet types alone; what remains (such as half-precision floats) is an error that names the column.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polars::io::parquet::read::{FileMetadata, infer_schema};
use polars::prelude::{
    ArrowDataType, ArrowTimeUnit, Column, DataFrame, DataType, Field, ParquetReader, ParquetWriter, PolarsError,
    PolarsResult, Schema, SerReader, TimeZone,
};

use super::Row;
use super::cell::to_rows;

/// A Parquet file whose rows are taken slice by slice.
pub(super) struct ParquetFile {
    bytes: Bytes,
    height: usize,
    /// Rows of each row group, and their bytes once unpacked.
    groups: Vec<(usize, usize)>,
    /// The columns in the order of the file.
    names: Vec<String>,
    /// Those that are read as the file says.
    plain: Vec<String>,
    /// Those that are read by their Parquet types, and what says so.
    others: Option<(Vec<String>, Arc<FileMetadata>)>,
}

enum Bytes {
    Path(PathBuf),
    Memory(Vec<u8>),
}

/// Calls something with a reader of the file from its beginning.
macro_rules! with_reader {
    ($bytes:expr, $reader:ident => $result:expr) => {
        match $bytes {
            Bytes::Path(path) => {
                let $reader = ParquetReader::new(File::open(path).map_err(|error| error.to_string())?);
                $result
            }
            Bytes::Memory(bytes) => {
                let $reader = ParquetReader::new(Cursor::new(bytes.as_slice()));
                $result
            }
        }
    };
}

impl ParquetFile {
    /// A file on disk.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let (mut head, mut tail) = ([0; 4], [0; 4]);
        file.read_exact(&mut head).map_err(|_| NOT_PARQUET.to_owned())?;
        file.seek(SeekFrom::End(-4)).and_then(|_| file.read_exact(&mut tail)).map_err(|error| error.to_string())?;
        check_ends(&head, &tail, length)?;
        Self::of(Bytes::Path(path.to_owned()))
    }

    /// A file in memory.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        let tail = &bytes[bytes.len().saturating_sub(4)..];
        check_ends(bytes.get(..4).unwrap_or_default(), tail, bytes.len() as u64)?;
        Self::of(Bytes::Memory(bytes))
    }

    fn of(bytes: Bytes) -> Result<Self, String> {
        let mut file =
            Self { bytes, height: 0, groups: Vec::new(), names: Vec::new(), plain: Vec::new(), others: None };
        with_reader!(&file.bytes, reader => {
            let mut reader = reader;
            file.height = reader.num_rows().map_err(malformed)?;
            let groups = &reader.get_metadata().map_err(malformed)?.row_groups;
            file.groups = groups.iter().map(|group| (group.num_rows(), group.total_byte_size())).collect();
            let schema = reader.schema().map_err(malformed)?;
            file.names = schema.iter_names().map(ToString::to_string).collect();
            let (plain, others): (Vec<_>, Vec<_>) = schema.iter_values().partition(|field| is_plain(&field.dtype));
            file.plain = plain.iter().map(|field| field.name.to_string()).collect();
            if !others.is_empty() {
                let others: Vec<(String, &ArrowDataType)> =
                    others.iter().map(|field| (field.name.to_string(), &field.dtype)).collect();
                let metadata = as_on_disk(reader.get_metadata().map_err(malformed)?, &others)?;
                file.others = Some((others.into_iter().map(|(name, _)| name).collect(), Arc::new(metadata)));
            }
        });
        Ok(file)
    }

    /// How many rows it has.
    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// The names of its columns. A row has only those in which it has a value.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// How many rows from the row `start` on are at most `most`, and of at most so many bytes, but one in any case. How large a row
    /// is is known of its row group alone.
    pub(super) fn fitting(&self, start: usize, most: usize, bytes: usize) -> usize {
        let (mut first, mut count, mut room) = (0, 0, bytes as f64);
        for &(rows, size) in &self.groups {
            let here = (first + rows).saturating_sub(start + count);
            let each = size as f64 / rows.max(1) as f64;
            let taken = here.min(most - count).min((room / each) as usize);
            count += taken;
            room -= taken as f64 * each;
            if taken < here {
                break;
            }
            first += rows;
        }
        count.max(1)
    }

    /// Up to `count` rows from the row `start`, counted from 0.
    pub(super) fn rows(&self, start: usize, count: usize) -> Result<Vec<Row>, String> {
        let count = count.min(self.height.saturating_sub(start));
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut columns: Vec<Column> = Vec::with_capacity(self.names.len());
        let mut read = |reader: PolarsResult<DataFrame>| -> Result<(), String> {
            let frame = reader.map_err(malformed)?;
            if frame.height() != count {
                return Err(format!("malformed Parquet: {} rows where its footer counts {count}", frame.height()));
            }
            columns.extend(frame.into_columns());
            Ok(())
        };
        let slice = Some((start, count));
        if !self.plain.is_empty() {
            with_reader!(&self.bytes, reader => {
                read(reader.with_slice(slice).with_columns(Some(self.plain.clone())).finish())?;
            });
        }
        if let Some((names, metadata)) = &self.others {
            with_reader!(&self.bytes, reader => {
                let mut reader = reader;
                reader.set_metadata(Arc::clone(metadata));
                read(reader.with_slice(slice).with_columns(Some(names.clone())).finish())?;
            });
        }
        let place = |column: &Column| self.names.iter().position(|name| name == column.name().as_str());
        columns.sort_by_key(place);
        let numbered = to_rows(&columns)?.into_iter().enumerate();
        Ok(numbered.map(|(index, columns)| Row { line: start + index + 1, columns: Ok(columns) }).collect())
    }
}

fn malformed(error: PolarsError) -> String {
    format!("malformed Parquet: {error}")
}

/// Whether polars as it is built here has the type.
fn is_plain(dtype: &ArrowDataType) -> bool {
    use ArrowDataType as A;
    match dtype {
        A::Null
        | A::Boolean
        | A::Int32
        | A::Int64
        | A::UInt32
        | A::UInt64
        | A::Float32
        | A::Float64
        | A::Utf8
        | A::LargeUtf8
        | A::Utf8View
        | A::Binary
        | A::LargeBinary
        | A::BinaryView
        | A::FixedSizeBinary(_)
        | A::Date32
        | A::Date64
        | A::Timestamp(..)
        | A::Time32(_)
        | A::Time64(_)
        | A::Duration(_) => true,
        A::Decimal(digits, _) | A::Decimal32(digits, _) | A::Decimal64(digits, _) => *digits <= MOST_DIGITS,
        A::List(inner) | A::LargeList(inner) => is_plain(&inner.dtype),
        A::Struct(fields) => !fields.is_empty() && fields.iter().all(|field| is_plain(&field.dtype)),
        _ => false,
    }
}

/// Digits of a decimal number, at most: those of 128 bits.
const MOST_DIGITS: usize = 38;

/// The type in which values of a Parquet type are read; none where there is none.
fn on_disk(dtype: &ArrowDataType) -> Option<DataType> {
    use ArrowDataType as A;
    Some(match dtype {
        A::Boolean => DataType::Boolean,
        // Parquet has these in 32 bits each.
        A::Int8 | A::Int16 | A::Int32 | A::UInt8 | A::UInt16 => DataType::Int32,
        A::Int64 => DataType::Int64,
        A::UInt32 => DataType::UInt32,
        A::UInt64 => DataType::UInt64,
        A::Float32 => DataType::Float32,
        A::Float64 => DataType::Float64,
        A::Utf8View => DataType::String,
        A::BinaryView => DataType::Binary,
        A::Date32 => DataType::Date,
        A::Timestamp(unit, zone) if *unit != ArrowTimeUnit::Second => {
            DataType::Datetime(unit.into(), TimeZone::opt_try_new(zone.clone()).ok()?)
        }
        A::Decimal(digits, scale) if *digits <= MOST_DIGITS => DataType::Decimal(*digits, *scale),
        A::List(inner) | A::LargeList(inner) => DataType::List(Box::new(on_disk(&inner.dtype)?)),
        A::Struct(fields) if !fields.is_empty() => {
            let inner =
                |field: &polars::prelude::ArrowField| Some(Field::new(field.name.clone(), on_disk(&field.dtype)?));
            DataType::Struct(fields.iter().map(inner).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// The file's footer with another note of what these columns are: what they are on disk. The note is that of a file without
/// rows which has the columns in those types.
fn as_on_disk(metadata: &FileMetadata, columns: &[(String, &ArrowDataType)]) -> Result<FileMetadata, String> {
    let mut bare = metadata.clone();
    bare.key_value_metadata = None;
    let schema = infer_schema(&bare).map_err(malformed)?;
    let mut fields = Schema::default();
    for (name, said) in columns {
        let read = schema.get(name.as_str()).and_then(|field| on_disk(&field.dtype));
        let dtype = read.ok_or_else(|| {
            format!(
                "the column `{name}` is of the type {said:?}, which is not read here\n  hint: save it as another type (numbers of \
                 32 or 64 bits, text), or leave it out"
            )
        })?;
        fields.insert(name.as_str().into(), dtype);
    }
    let mut note = Vec::new();
    ParquetWriter::new(&mut note).finish(&mut DataFrame::empty_with_schema(&fields)).map_err(malformed)?;
    let mut noted = ParquetReader::new(Cursor::new(note.as_slice()));
    bare.key_value_metadata.clone_from(&noted.get_metadata().map_err(malformed)?.key_value_metadata);
    Ok(bare)
}

const NOT_PARQUET: &str = "not a Parquet file: it does not begin with `PAR1`";

/// The magic number stands at both ends: a file that was cut off lacks the second, and is told before anything tries to make
/// sense of it.
fn check_ends(head: &[u8], tail: &[u8], length: u64) -> Result<(), String> {
    if head != b"PAR1" {
        return Err(NOT_PARQUET.to_owned());
    }
    if length < 12 || tail != b"PAR1" {
        return Err("the Parquet file is cut off: it does not end with `PAR1`".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A file that `goldens/make.py` made.
    fn golden(name: &str) -> Result<ParquetFile, String> {
        ParquetFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/goldens").join(name))
    }

    /// Two values of each type, and a third row without any.
    #[test]
    fn every_logical_type_is_read() {
        let file = golden("types.parquet").unwrap();
        let rows: Vec<_> = file.rows(0, 10).unwrap().into_iter().map(|row| row.columns.unwrap()).collect();
        let expected = [
            ("int8", json!(-128), json!(127)),
            ("int16", json!(-32_768), json!(32_767)),
            ("int32", json!(i32::MIN), json!(i32::MAX)),
            ("int64", json!(i64::MIN), json!(i64::MAX)),
            ("uint8", json!(0), json!(255)),
            ("uint16", json!(0), json!(65_535)),
            ("uint32", json!(0), json!(u32::MAX)),
            ("uint64", json!(0), json!(u64::MAX)),
            ("float32", json!(0.5), json!(-1.5)),
            ("float64", json!(0.1), json!(-1e300)),
            ("bool", json!(true), json!(false)),
            ("string", json!("ä"), json!("")),
            ("large_string", json!("long"), json!("\n")),
            ("binary", json!("00ff"), json!("text")),
            ("large_binary", json!("00ff"), json!("text")),
            ("fixed_binary", json!("00ff"), json!("ab")),
            ("date32", json!("2024-02-29"), json!("1969-12-31")),
            ("timestamp_s", json!("2024-03-01T12:30:15"), json!("1969-12-31T00:00:00")),
            ("timestamp_ms", json!("2024-03-01T12:30:15.25"), json!("1969-12-31T00:00:00")),
            ("timestamp_us", json!("2024-03-01T12:30:15.25"), json!("1969-12-31T00:00:00")),
            ("timestamp_ns", json!("2024-03-01T12:30:15.25"), json!("1969-12-31T00:00:00")),
            ("timestamp_utc", json!("2024-03-01T12:30:15.25Z"), json!("2024-03-01T12:30:15.25Z")),
            ("timestamp_zone", json!("2024-03-01T12:30:15.25Z"), json!("2024-03-01T12:30:15.25Z")),
            ("timestamp_offset", json!("2024-03-01T12:30:15.25Z"), json!("2024-03-01T12:30:15.25Z")),
            ("time32", json!("12:30:15.25"), json!("00:00:00")),
            ("time64", json!("12:30:15.000001"), json!("00:00:00")),
            ("duration", json!(90.000_005), json!(-86_400.0)),
            ("decimal", json!("123.45"), json!("-0.01")),
            ("decimal_38", json!("12345678912345678912345678912345678912"), json!("-1")),
            ("list", json!([1, null, 3]), json!([])),
            ("list_int8", json!([1, null, 3]), json!([])),
            ("large_list", json!(["a", "b"]), json!([null])),
            ("fixed_list", json!([0.5, 1.5]), json!([2.0, null])),
            ("list_of_moments", json!(["2024-03-01T12:30:15.25Z"]), json!([])),
            ("struct", json!({ "a": "x", "b": 1 }), json!({ "a": null, "b": 2 })),
            ("struct_int16", json!({ "a": 7, "b": "2024-02-29" }), json!({ "a": 1, "b": null })),
            ("messages", json!([{ "role": "user", "content": "q" }]), json!([])),
            ("map", json!([{ "key": "a", "value": 1 }, { "key": "b", "value": 2 }]), json!([])),
            ("dictionary", json!("one"), json!("two")),
            ("dictionary_int", json!(5), json!(6)),
            ("list_of_dictionary", json!(["one", "two"]), json!([])),
            ("extension", json!([[1], [2, 3]]), json!([])),
            ("list_of_nulls", json!([null]), json!([])),
            ("struct_of_fixed", json!({ "a": [200] }), json!({ "a": null })),
        ];
        for (name, first, second) in &expected {
            assert_eq!((rows[0].get(*name), rows[1].get(*name)), (Some(first), Some(second)), "{name}");
        }
        assert_eq!(rows[2].keys().collect::<Vec<_>>(), ["prompt", "answer"]);
        // In the order of the file, and the same from the middle and from memory.
        let names: Vec<&str> = ["prompt", "answer"].into_iter().chain(expected.iter().map(|column| column.0)).collect();
        assert_eq!(rows[0].keys().collect::<Vec<_>>(), names);
        let one = |file: &ParquetFile| file.rows(1, 1).unwrap().remove(0);
        assert_eq!((one(&file).line, one(&file).columns.unwrap()), (2, rows[1].clone()));
        let bytes =
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/goldens/types.parquet")).unwrap();
        assert_eq!(one(&ParquetFile::of_bytes(bytes).unwrap()).columns.unwrap(), rows[1]);
        assert_eq!(rows[0]["prompt"], Value::from("p 1"));
    }

    /// Few of large rows, many of small ones: memory is that of a slice.
    #[test]
    fn slices_are_cut_by_bytes_as_the_footer_counts_them() {
        let text = |row: usize| format!("{row:08}").repeat(if row < 40 { 1 } else { 500 });
        let column = Column::new("prompt".into(), (0..80).map(text).collect::<Vec<_>>());
        let mut bytes = Vec::new();
        let writer = ParquetWriter::new(&mut bytes).with_row_group_size(Some(20));
        writer.finish(&mut DataFrame::new(80, vec![column]).unwrap()).unwrap();
        let file = ParquetFile::of_bytes(bytes).unwrap();
        assert_eq!(file.groups.iter().map(|group| group.0).collect::<Vec<_>>(), [20; 4]);
        assert_eq!((file.fitting(0, 30, 1 << 20), file.fitting(70, 30, 1 << 20)), (30, 10));
        let large = file.fitting(40, 80, 21_000);
        assert!((4..=6).contains(&large), "{large}");
        let both = file.fitting(30, 80, 21_000);
        assert!((14..=15).contains(&both), "{both}");
        assert_eq!(file.fitting(40, 80, 10), 1);
    }

    #[test]
    fn a_type_that_is_not_read_is_named_with_its_column() {
        let error = golden("half.parquet").err().expect("half-precision floats are not read");
        assert_eq!(
            error,
            "the column `half` is of the type Float16, which is not read here\n  hint: save it as another type (numbers of 32 or \
             64 bits, text), or leave it out"
        );
    }
}
