//! Rows on disk between steps: a folder of numbered Parquet files of bounded size.
//!
//! A part is read as a whole into memory and never mapped, so a step's memory is that of a few parts, whatever the job's
//! size.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use polars::polars_utils::compression::ZstdLevel;
use polars::prelude::{DataFrame, ParquetCompression, ParquetReader, ParquetWriter, SerReader};

use crate::error::DatasetError;

/// Rows of a part, about.
pub(super) const ROWS: usize = 8_192;

/// A finished folder of parts.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    folder: PathBuf,
    /// Rows of each part.
    heights: Vec<usize>,
}

impl Parts {
    /// The parts that a finished step left in `folder`.
    pub(super) fn new(folder: PathBuf, heights: Vec<usize>) -> Self {
        Self { folder, heights }
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

    pub(super) fn read(&self, index: usize) -> Result<DataFrame, DatasetError> {
        let path = part(&self.folder, index);
        let bytes = fs::read(&path).map_err(|source| DatasetError::Read { path: path.clone(), source })?;
        ParquetReader::new(Cursor::new(bytes))
            .finish()
            .map_err(|error| DatasetError::Damaged { path, what: error.to_string() })
    }
}

fn part(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("part-{index:05}.parquet"))
}

/// Writes parts one after the other.
pub(super) struct PartsWriter {
    folder: PathBuf,
    heights: Vec<usize>,
    pending: Option<DataFrame>,
}

impl PartsWriter {
    /// Makes the folder.
    pub(super) fn create(folder: PathBuf) -> Result<Self, DatasetError> {
        fs::create_dir_all(&folder).map_err(|source| DatasetError::Write { path: folder.clone(), source })?;
        Ok(Self { folder, heights: Vec::new(), pending: None })
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
        if frame.height() >= ROWS / 2 {
            self.write(frame)
        } else {
            self.pending = Some(frame);
            Ok(())
        }
    }

    fn write(&mut self, mut frame: DataFrame) -> Result<(), DatasetError> {
        let path = part(&self.folder, self.heights.len());
        write_frame(&path, &mut frame)?;
        self.heights.push(frame.height());
        Ok(())
    }

    /// Writes what still waits.
    pub(super) fn finish(mut self) -> Result<Vec<usize>, DatasetError> {
        if let Some(frame) = self.pending.take() {
            self.write(frame)?;
        }
        Ok(self.heights)
    }
}

/// The compression of every Parquet file that is written here.
pub(super) fn compression() -> ParquetCompression {
    // Level 1: a step is read once, soon.
    ParquetCompression::Zstd(ZstdLevel::try_new(1).ok())
}

fn write_frame(path: &Path, frame: &mut DataFrame) -> Result<(), DatasetError> {
    let file = fs::File::create(path).map_err(|source| DatasetError::Write { path: path.to_owned(), source })?;
    frame.align_chunks_par();
    ParquetWriter::new(file)
        .with_compression(compression())
        .with_row_group_size(Some(ROWS * 2))
        .set_parallel(false)
        .finish(frame)
        .map(|_| ())
        .map_err(|error| DatasetError::Write {
            path: path.to_owned(),
            source: std::io::Error::other(error.to_string()),
        })
}
