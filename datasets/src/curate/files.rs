//! Files of a job's folder: written whole or not at all, read, and taken away.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::DatasetError;
use crate::source::hex;

pub(super) fn create(folder: &Path) -> Result<(), DatasetError> {
    fs::create_dir_all(folder).map_err(|source| DatasetError::Write { path: folder.to_owned(), source })
}

/// Writes a file so that it is either the old one or the new one.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| DatasetError::Write { path: path.to_owned(), source })
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DatasetError> {
    let bytes = fs::read(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| DatasetError::Damaged { path: path.to_owned(), what: error.to_string() })
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let read = |source| DatasetError::Read { path: folder.to_owned(), source };
    fs::read_dir(folder).map_err(read)?.map(|entry| Ok(entry.map_err(read)?.path())).collect()
}

pub(super) fn remove(path: &Path) -> Result<(), DatasetError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|source| DatasetError::Write { path: path.to_owned(), source })
}

/// What a process left that was killed.
pub(super) fn remove_partial(folder: &Path) -> Result<(), DatasetError> {
    entries(folder)?
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "partial"))
        .try_for_each(|path| remove(path))
}

/// Steps of this job as it was before it was changed.
pub(super) fn remove_old(folder: &Path, current: &[String]) -> Result<(), DatasetError> {
    let old = |path: &&PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !current.iter().any(|key| key == name))
    };
    entries(folder)?.iter().filter(old).try_for_each(|path| remove(path))
}

pub(super) fn hash_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}
