//! Rows on disk between steps: a folder of numbered Parquet files of bounded size, and which rows of them are meant.
//!
//! A step that only drops rows writes none: it picks from the parts of the step that wrote them. A part is read as a whole
//! into memory and never mapped, and only the columns that are asked for, so a step's memory is that of a few parts,
//! whatever the job's size.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use polars::polars_utils::compression::ZstdLevel;
use polars::prelude::{
    BooleanChunked, DataFrame, NewChunkedArray, ParquetCompression, ParquetReader, ParquetWriter, SerReader,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;

/// Rows of a part, about.
pub(super) const ROWS: usize = 8_192;

/// Bytes of rows in memory from which a part is full: rows of programming tasks may be megabytes of tests.
const BYTES: usize = 64 << 20;

/// Rows: those of a folder's parts, or some of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Parts {
    folder: PathBuf,
    /// Rows of each part.
    heights: Vec<usize>,
    /// Which rows of each part, ascending; none for all.
    picks: Vec<Option<Vec<u32>>>,
    /// CRC-32 of each part's file.
    sums: Vec<u32>,
    /// Further columns of the sources in which some row has no value: they exist, even where none has one.
    named: BTreeSet<String>,
}

impl Parts {
    /// All rows of the parts in `folder`.
    fn whole(folder: PathBuf, heights: Vec<usize>, sums: Vec<u32>) -> Self {
        Self { folder, picks: vec![None; heights.len()], heights, sums, named: BTreeSet::new() }
    }

    /// That the files are as they were written.
    pub(super) fn check(&self) -> Result<(), DatasetError> {
        (0..self.sums.len()).into_par_iter().try_for_each(|index| {
            let path = part(&self.folder, index);
            let bytes = fs::read(&path).map_err(|source| DatasetError::Read { path: path.clone(), source })?;
            if sum(&bytes) == self.sums[index] {
                return Ok(());
            }
            Err(DatasetError::Damaged { path, what: "it is not as it was written".to_owned() })
        })
    }

    /// Some of these rows: for each part which of its rows, as numbers among those that are meant here.
    pub(super) fn pick(&self, chosen: &[Vec<u32>]) -> Self {
        let parts = self.picks.iter().zip(chosen).zip(&self.heights).map(|((before, chosen), &height)| match before {
            _ if chosen.len() == height => before.clone(),
            Some(before) => Some(chosen.iter().map(|&row| before[row as usize]).collect()),
            None => Some(chosen.clone()),
        });
        let heights = chosen.iter().map(Vec::len).collect();
        Self { heights, picks: parts.collect(), ..self.clone() }
    }

    /// Further columns of the sources in which some row has no value.
    pub(super) fn named(&self) -> &BTreeSet<String> {
        &self.named
    }

    /// The same rows, of sources with these columns.
    pub(super) fn with_named(self, named: BTreeSet<String>) -> Self {
        Self { named, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.heights.len()
    }

    pub(super) fn heights(&self) -> &[usize] {
        &self.heights
    }

    pub(super) fn rows(&self) -> usize {
        self.heights.iter().sum()
    }

    /// The same rows where their folder has another name.
    pub(super) fn moved_to(mut self, folder: PathBuf) -> Self {
        self.folder = folder;
        self
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The number of the first row of each part.
    pub(super) fn starts(&self) -> Vec<usize> {
        self.heights
            .iter()
            .scan(0, |next, height| {
                let start = *next;
                *next += height;
                Some(start)
            })
            .collect()
    }

    /// The rows of a part, with all columns.
    pub(super) fn read(&self, index: usize) -> Result<DataFrame, DatasetError> {
        self.read_columns(index, &[])
    }

    /// The rows of a part, with the columns of these names; all for none.
    pub(super) fn read_columns(&self, index: usize, columns: &[&str]) -> Result<DataFrame, DatasetError> {
        let path = part(&self.folder, index);
        let bytes = fs::read(&path).map_err(|source| DatasetError::Read { path: path.clone(), source })?;
        let names = (!columns.is_empty()).then(|| columns.iter().map(|&name| name.to_owned()).collect());
        let frame = ParquetReader::new(Cursor::new(bytes)).with_columns(names).finish();
        let picked = frame.and_then(|frame| {
            let Some(picks) = &self.picks[index] else { return Ok(frame) };
            let mut meant = vec![false; frame.height()];
            for &row in picks {
                meant[row as usize] = true;
            }
            frame.filter(&BooleanChunked::from_slice("meant".into(), &meant))
        });
        picked.map_err(|error| DatasetError::Damaged { path, what: error.to_string() })
    }
}

fn part(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("part-{index:05}.parquet"))
}

/// Writes parts one after the other.
pub(super) struct PartsWriter {
    folder: PathBuf,
    heights: Vec<usize>,
    sums: Vec<u32>,
    pending: Option<DataFrame>,
    /// Bytes from which a part is full.
    bytes: usize,
}

impl PartsWriter {
    /// Makes the folder.
    pub(super) fn create(folder: PathBuf) -> Result<Self, DatasetError> {
        Self::with_parts_of(BYTES, folder)
    }

    fn with_parts_of(bytes: usize, folder: PathBuf) -> Result<Self, DatasetError> {
        fs::create_dir_all(&folder).map_err(|source| DatasetError::Write { path: folder.clone(), source })?;
        Ok(Self { folder, heights: Vec::new(), sums: Vec::new(), pending: None, bytes })
    }

    /// Appends rows. Few of them wait for more.
    pub(super) fn push(&mut self, frame: DataFrame) -> Result<(), DatasetError> {
        if frame.height() == 0 {
            return Ok(());
        }
        let frame = match self.pending.take() {
            None => frame,
            Some(before) => before.vstack(&frame).map_err(|error| DatasetError::Frame { what: error.to_string() })?,
        };
        if frame.height() >= ROWS / 2 || frame.estimated_size() >= self.bytes {
            self.write(frame)
        } else {
            self.pending = Some(frame);
            Ok(())
        }
    }

    fn write(&mut self, mut frame: DataFrame) -> Result<(), DatasetError> {
        let path = part(&self.folder, self.heights.len());
        self.sums.push(write_frame(&path, &mut frame)?);
        self.heights.push(frame.height());
        Ok(())
    }

    /// Writes what still waits.
    pub(super) fn finish(mut self) -> Result<Parts, DatasetError> {
        if let Some(frame) = self.pending.take() {
            self.write(frame)?;
        }
        Ok(Parts::whole(self.folder, self.heights, self.sums))
    }
}

/// The compression of the Parquet files that a job is for.
pub(super) fn compression() -> ParquetCompression {
    ParquetCompression::Zstd(ZstdLevel::try_new(1).ok())
}

/// Writes a part and returns the checksum of its file.
fn write_frame(path: &Path, frame: &mut DataFrame) -> Result<u32, DatasetError> {
    let error = |source| DatasetError::Write { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    frame.align_chunks_par();
    ParquetWriter::new(&mut bytes)
        // A step's rows are read soon, and by few: unpacking them fast counts for more than the room they take.
        .with_compression(ParquetCompression::Lz4Raw)
        .with_row_group_size(Some(ROWS * 2))
        .set_parallel(false)
        .finish(frame)
        .map_err(|source| error(std::io::Error::other(source.to_string())))?;
    fs::write(path, &bytes).map_err(error)?;
    Ok(sum(&bytes))
}

/// Tells damage by chance, which is all that is feared here.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use polars::prelude::{Column, NamedFrom, Series};

    use super::*;

    #[test]
    fn a_part_is_full_of_few_large_rows_as_of_many_small_ones() {
        #[track_caller]
        fn check(letters: usize, expected: std::ops::RangeInclusive<usize>) {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = PartsWriter::with_parts_of(64_000, folder.path().to_owned()).unwrap();
            for row in 0..40 {
                let text = row.to_string().repeat(letters).chars().take(letters).collect::<String>();
                let column = Column::from(Series::new("prompt".into(), [text]));
                writer.push(DataFrame::new(1, vec![column]).unwrap()).unwrap();
            }
            let parts = writer.finish().unwrap();
            assert!(expected.contains(&parts.len()), "{:?}", parts.heights());
            let read: usize = (0..parts.len()).map(|index| parts.read(index).unwrap().height()).sum();
            assert_eq!(read, 40);
        }
        check(40, 1..=1);
        check(4_000, 3..=10);
    }
}
