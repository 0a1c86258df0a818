//! What a job has written: `written.json` in its folder, by name, with the hash of each file's content.
//!
//! A file that is there is replaced only if the job wrote it and nobody has changed it since, or if it holds already what
//! is to be written. The hash is noted *before* the file gets its name, beside the hash that it had, so that a kill between
//! the two leaves nothing that the job would not know as its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Written;
use super::files::{hash_text, read_json, remove, write_whole};
use super::job::Write;
use super::parts::Parts;
use super::write::write_parts;
use crate::error::DatasetError;
use crate::source::hash_file;

/// The file that holds it.
const NAME: &str = "written.json";

/// One file.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    written: Written,
    /// The hash of the step and of all that made its rows.
    #[serde(default)]
    made_by: String,
    /// The SHA-256 of what the file holds until it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
}

impl Entry {
    /// Whether content with this hash is the job's own.
    fn knows(&self, hash: &str) -> bool {
        self.written.sha256 == hash || self.replaces.as_deref() == Some(hash)
    }
}

/// What a job has written.
pub(super) struct Ledger {
    folder: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// The names that this run of the job has written.
    current: BTreeSet<String>,
}

impl Ledger {
    /// The ledger of the job in this folder; empty for a new one.
    pub(super) fn open(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join(NAME);
        let entries = if path.exists() {
            read_json(&path).map_err(|error| match error {
                DatasetError::Damaged { path, what } => DatasetError::Damaged {
                    path,
                    what: format!(
                        "{what}\n  hint: remove it; files that hold what the job writes are then taken as its own"
                    ),
                },
                other => other,
            })?
        } else {
            BTreeMap::new()
        };
        Ok(Self { folder: folder.to_owned(), entries, current: BTreeSet::new() })
    }

    /// Writes rows made by `key`, unless that is done already: then the second is true.
    pub(super) fn write(&mut self, write: &Write, key: &str, input: &Parts) -> Result<(Written, bool), DatasetError> {
        let name = write.path.display().to_string();
        let path = self.folder.join(&write.path);
        let split = write.split.map_or("all", crate::task::Split::name);
        let made_by = hash_text(&format!("{key} {split} {name}"));
        self.current.insert(name.clone());
        let known = self.entries.get(&name).cloned();
        let there = if path.exists() { Some(hash_file(&path)?) } else { None };
        if let (Some(known), Some(there)) = (&known, &there)
            && known.made_by == made_by
            && known.written.sha256 == *there
            && known.replaces.is_none()
        {
            return Ok((known.written.clone(), true));
        }
        let (aside, rows) = write_parts(&path, write.split, input)?;
        let written = Written { sha256: hash_file(aside.path())?, rows };
        if let Some(there) = &there
            && *there != written.sha256
            && known.as_ref().is_none_or(|known| !known.knows(there))
        {
            return Err(match known {
                Some(_) => DatasetError::Changed { path },
                None => DatasetError::Exists { path },
            });
        }
        let replaces = there.filter(|there| *there != written.sha256);
        let unfinished = replaces.is_some();
        self.note(&name, Entry { written: written.clone(), made_by: made_by.clone(), replaces })?;
        aside.into_place(&path)?;
        if unfinished {
            self.note(&name, Entry { written: written.clone(), made_by, replaces: None })?;
        }
        Ok((written, false))
    }

    fn note(&mut self, name: &str, entry: Entry) -> Result<(), DatasetError> {
        self.entries.insert(name.to_owned(), entry);
        self.save()
    }

    fn save(&self) -> Result<(), DatasetError> {
        let text = serde_json::to_vec_pretty(&self.entries)
            .map_err(|error| DatasetError::Frame { what: error.to_string() })?;
        write_whole(&self.folder.join(NAME), &text)
    }

    /// Removes what an earlier form of the job wrote and this one does not, unless somebody has changed it since. Returns
    /// what was removed, and what stays.
    pub(super) fn remove_stale(&mut self) -> Result<(Vec<String>, Vec<String>), DatasetError> {
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        let before = self.entries.len();
        let stale: Vec<(String, Entry)> = self
            .entries
            .iter()
            .filter(|(name, _)| !self.current.contains(*name))
            .map(|(n, e)| (n.clone(), e.clone()))
            .collect();
        for (name, entry) in stale {
            let path = self.folder.join(&name);
            // A name that leads out of the folder is none that a job has written.
            let inside = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
            if inside && path.is_file() {
                if entry.knows(&hash_file(&path)?) {
                    remove(&path)?;
                    removed.push(name.clone());
                } else {
                    kept.push(name.clone());
                }
            }
            self.entries.remove(&name);
        }
        if self.entries.len() != before {
            self.save()?;
        }
        Ok((removed, kept))
    }
}

/// Removes the lists of dropped rows that this run has not written.
pub(super) fn remove_stale_lists(folder: &Path, current: &BTreeSet<PathBuf>) -> Result<(), DatasetError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // As they are called: `02-filter.jsonl`.
        let ours = name.as_bytes().first_chunk::<3>().is_some_and(|start| {
            start[0].is_ascii_digit() && start[1].is_ascii_digit() && start[2] == b'-' && name.ends_with(".jsonl")
        });
        if ours && !current.contains(&entry.path()) {
            remove(&entry.path())?;
        }
    }
    // If nothing is left in it.
    let _ = fs::remove_dir(folder);
    Ok(())
}
