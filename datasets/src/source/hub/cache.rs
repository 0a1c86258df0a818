//! The Hub's cache on disk: `blobs/ETAG` (contents), `snapshots/COMMIT/PATH` (links to them), `refs/BRANCH` (commits).

use std::fs;
use std::path::{Path, PathBuf};

use super::name::{HubName, is_commit, is_relative};

/// The folder of one data set.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn of(cache: &Path, name: &HubName) -> Self {
        Self { folder: cache.join(name.folder()) }
    }

    /// The content of this name.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// A file of a commit, if it is there.
    pub(super) fn file(&self, commit: &str, path: &str) -> Option<PathBuf> {
        let file = self.snapshot(commit).join(path);
        (is_relative(path) && file.is_file()).then_some(file)
    }

    /// All files of a commit that are there, in the order of their names.
    pub(super) fn list(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.snapshot(commit).join(&folder)).into_iter().flatten().flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                // A link counts as what it leads to; one that leads nowhere is nothing.
                if entry.path().is_file() {
                    files.push(path);
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        files.sort();
        files
    }

    /// The commit that a branch was last seen at.
    pub(super) fn commit(&self, branch: &str) -> Option<String> {
        let commit = fs::read_to_string(self.folder.join("refs").join(branch)).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// Notes the commit of a branch.
    ///
    /// # Errors
    /// In words, if it cannot be written.
    pub(super) fn note_commit(&self, branch: &str, commit: &str) -> Result<(), String> {
        let path = self.folder.join("refs").join(branch);
        make_folder_of(&path)?;
        fs::write(&path, commit).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Makes a content the file of a commit, by a link as the other programs make it.
    ///
    /// # Errors
    /// In words, if it cannot be written.
    pub(super) fn link(&self, commit: &str, path: &str, etag: &str) -> Result<(), String> {
        let file = self.snapshot(commit).join(path);
        make_folder_of(&file)?;
        let up = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        let describe = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
        // What lies there leads nowhere, or it would have been found.
        if file.symlink_metadata().is_ok() {
            fs::remove_file(&file).map_err(describe)?;
        }
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(&target, &file);
        #[cfg(not(unix))]
        let linked = fs::copy(self.blob(etag), &file).map(|_| ());
        linked.map_err(describe)
    }
}

/// Makes the folder in which a file is to lie.
pub(super) fn make_folder_of(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))
}
