//! One checkpoint: written aside, listed in a manifest, renamed into place, and verified later.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::series::{aside_name, partial_name, put_back};
use crate::error::{PolicyError, Result};

/// The name of the file that lists a checkpoint's other files.
pub const MANIFEST: &str = "manifest.json";

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout of this file: 1.
    pub version: u32,
    /// Every other file, by its path within the folder (with `/`).
    pub files: BTreeMap<String, FileRecord>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// A checkpoint being written.
///
/// ```no_run
/// # fn main() -> Result<(), policy::PolicyError> {
/// let writer = policy::checkpoint::CheckpointWriter::begin("checkpoints/step-000100")?;
/// std::fs::write(writer.path().join("state.json"), "{}").expect("space on the disk");
/// writer.finish()?; // only now is there a `checkpoints/step-000100`
/// # Ok(()) }
/// ```
///
/// Dropped before [`finish`](Self::finish), after an error say, it removes what it had written.
#[derive(Debug)]
pub struct CheckpointWriter {
    target: PathBuf,
    partial: PathBuf,
    finished: bool,
}

impl CheckpointWriter {
    /// Makes the folder `<target>.partial-<process>` to write into, and the folders above it. Where a killed process was just
    /// about to replace the checkpoint of this name, what was there before is put back first.
    ///
    /// # Errors
    /// The file system's refusal, naming the path.
    pub fn begin(target: impl AsRef<Path>) -> Result<Self> {
        let target = target.as_ref().to_path_buf();
        let partial = partial_name(&target);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(PolicyError::io("create", parent))?;
        }
        put_back(&target)?;
        remove_if_there(&partial)?;
        fs::create_dir(&partial).map_err(PolicyError::io("create", &partial))?;
        Ok(Self { target, partial, finished: false })
    }

    /// The folder to write the checkpoint's files into.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Flushes all files to the disk, writes the manifest, and renames the folder into place. A
    /// checkpoint that is already there under this name gives way: it is renamed aside, and removed
    /// once the new one is in its place.
    ///
    /// # Errors
    /// The file system's refusal, naming the path. What was there before is there again then; if the
    /// file system refuses that as well, it lies aside until it is put back
    /// ([`remove_partial`](super::remove_partial)).
    pub fn finish(mut self) -> Result<Manifest> {
        let mut files = BTreeMap::new();
        list(&self.partial, "", &mut files)?;
        let manifest = Manifest { version: 1, files };
        let path = self.partial.join(MANIFEST);
        let text =
            serde_json::to_vec_pretty(&manifest).map_err(|source| PolicyError::Json { path: path.clone(), source })?;
        fs::write(&path, text).map_err(PolicyError::io("write", &path))?;
        flush(&path)?;
        flush(&self.partial)?;

        // A folder cannot be renamed onto one that holds files: move the old one aside first. After a
        // kill between the two renames its name says where it belongs.
        let aside = aside_name(&self.partial);
        let replaces = self.target.exists();
        if replaces {
            remove_if_there(&aside)?;
            fs::rename(&self.target, &aside).map_err(PolicyError::io("replace", &self.target))?;
        }
        if let Err(source) = fs::rename(&self.partial, &self.target) {
            if replaces {
                // Best effort: the error being reported is the one that matters.
                let _ = fs::rename(&aside, &self.target);
            }
            return Err(PolicyError::io("rename into place", &self.target)(source));
        }
        self.finished = true;
        if let Some(parent) = self.target.parent().filter(|parent| *parent != Path::new("")) {
            flush(parent)?;
        }
        if replaces {
            remove_if_there(&aside)?;
        }
        Ok(manifest)
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing to report to from here; what stays is ignored and removed on the next start.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Reads a checkpoint's manifest and checks every file it lists: there, as long as it was, and with
/// the same SHA-256.
///
/// # Errors
/// A missing or malformed manifest, or the first file at fault, by name, with what differs.
pub fn verify(folder: impl AsRef<Path>) -> Result<Manifest> {
    let folder = folder.as_ref();
    let manifest = has_all_files(folder)?;
    manifest.files.iter().try_for_each(|(name, expected)| expected.check_content(folder.join(name)))?;
    Ok(manifest)
}

/// Checks those files of a folder that `wanted` names, if the folder has a manifest of ours: a folder from elsewhere has none, or
/// one of another kind, and what lies beside a model may have been changed by a person.
///
/// # Errors
/// As [`verify`].
pub fn verify_where(folder: impl AsRef<Path>, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let folder = folder.as_ref();
    let path = folder.join(MANIFEST);
    if !path.exists() {
        return Ok(());
    }
    let is_other = |text: Vec<u8>| {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text)
            .is_ok_and(|keys| !["version", "files"].iter().any(|key| keys.contains_key(*key)))
    };
    if fs::read(&path).map(is_other).map_err(PolicyError::io("read", &path))? {
        return Ok(());
    }
    for (name, expected) in read_manifest(folder)?.files.iter().filter(|(name, _)| wanted(name)) {
        expected.check_length(folder.join(name))?;
        expected.check_content(folder.join(name))?;
    }
    Ok(())
}

/// Reads a checkpoint's manifest and checks that every file it lists is there and as long as it was.
pub(super) fn has_all_files(folder: &Path) -> Result<Manifest> {
    let manifest = read_manifest(folder)?;
    manifest.files.iter().try_for_each(|(name, expected)| expected.check_length(folder.join(name)))?;
    Ok(manifest)
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(PolicyError::io("read", &path))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|source| PolicyError::Json { path: path.clone(), source })?;
    if manifest.version != 1 {
        let message = format!("expected version 1, found {}", manifest.version);
        return Err(PolicyError::Checkpoint { path, message });
    }
    Ok(manifest)
}

impl FileRecord {
    fn check_length(&self, path: PathBuf) -> Result<()> {
        let found = fs::metadata(&path).map_err(PolicyError::io("read", &path))?.len();
        if found == self.bytes {
            return Ok(());
        }
        let kind = if found < self.bytes { "truncated" } else { "too long" };
        let message = format!("{kind}: expected {} bytes, found {found}", self.bytes);
        Err(PolicyError::Checkpoint { path, message })
    }

    fn check_content(&self, path: PathBuf) -> Result<()> {
        let found = hash(&path)?;
        if found == self.sha256 {
            return Ok(());
        }
        let message = format!("damaged: expected SHA-256 {}, found {found}", self.sha256);
        Err(PolicyError::Checkpoint { path, message })
    }
}

/// Flushes and records every file below `folder`; `prefix` is its path within the checkpoint.
fn list(folder: &Path, prefix: &str, files: &mut BTreeMap<String, FileRecord>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(PolicyError::io("list", folder))?;
    for entry in entries {
        let entry = entry.map_err(PolicyError::io("list", folder))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|name| PolicyError::Checkpoint {
            path: path.clone(),
            message: format!("the name {} is not UTF-8", name.display()),
        })?;
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            list(&path, &format!("{name}/"), files)?;
        } else if name != MANIFEST {
            flush(&path)?;
            let bytes = fs::metadata(&path).map_err(PolicyError::io("read", &path))?.len();
            files.insert(name, FileRecord { bytes, sha256: hash(&path)? });
        }
    }
    flush(folder)
}

fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(PolicyError::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(PolicyError::io("read", path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Waits until a file's content, or a folder's list of names, is on the disk.
fn flush(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(PolicyError::io("flush", path))
}

pub(super) fn remove_if_there(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(PolicyError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(target: &Path, files: &[(&str, &str)]) -> Manifest {
        let writer = CheckpointWriter::begin(target).unwrap();
        for (name, content) in files {
            let path = writer.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_finished_checkpoint_verifies() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("deep/er/step-000001");
        let manifest = write(&target, &[("a.txt", "abc"), ("sub/b.txt", "")]);
        assert_eq!(verify(&target).unwrap(), manifest);
        assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["a.txt", "sub/b.txt"]);
        // The SHA-256 of "abc", from FIPS 180-2's examples.
        assert_eq!(manifest.files["a.txt"].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(names(target.parent().unwrap()), ["step-000001"]);
    }

    #[test]
    fn damage_is_found_and_named() {
        fn check(damage: impl FnOnce(&Path), file: &str, expected: &str) {
            let root = tempfile::tempdir().unwrap();
            let target = root.path().join("c");
            write(&target, &[("model.safetensors", "0123456789"), ("config.json", "{}")]);
            damage(&target);
            let message = verify(&target).unwrap_err().to_string();
            assert!(message.contains(file) && message.contains(expected), "{message}");
        }
        let weights = "model.safetensors";
        check(|c| fs::write(c.join(weights), "01234").unwrap(), weights, "truncated: expected 10");
        check(|c| fs::write(c.join(weights), "0123456789a").unwrap(), weights, "too long");
        check(|c| fs::write(c.join(weights), "0123456780").unwrap(), weights, "damaged");
        check(|c| fs::remove_file(c.join("config.json")).unwrap(), "config.json", "read");
        check(|c| fs::remove_file(c.join(MANIFEST)).unwrap(), MANIFEST, "read");
        check(|c| fs::write(c.join(MANIFEST), "{\"version\": 1").unwrap(), MANIFEST, "EOF");
        check(
            |c| fs::write(c.join(MANIFEST), "{\"version\": 2, \"files\": {}}").unwrap(),
            MANIFEST,
            "expected version 1, found 2",
        );
    }

    #[test]
    fn an_unfinished_checkpoint_leaves_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("step-000001");
        let manifest = write(&target, &[("a", "old")]);
        let writer = CheckpointWriter::begin(&target).unwrap();
        fs::write(writer.path().join("a"), "new").unwrap();
        drop(writer);
        assert_eq!(verify(&target).unwrap(), manifest);
        assert_eq!(names(root.path()), ["step-000001"]);
    }

    #[test]
    fn a_second_one_of_the_same_name_replaces_the_first() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("step-000001");
        write(&target, &[("a", "old"), ("gone", "old")]);
        write(&target, &[("a", "new")]);
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "new");
        assert_eq!(names(&target), ["a", MANIFEST]);
        assert_eq!(names(root.path()), ["step-000001"]);
    }

    #[test]
    fn a_manifest_of_another_program_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        write(&target, &[("a", "old")]);
        fs::write(target.join("a"), "changed").unwrap();
        assert!(verify_where(&target, |_| true).is_err());
        fs::write(target.join(MANIFEST), r#"{"name": "some model", "tool": "other"}"#).unwrap();
        verify_where(&target, |_| true).unwrap();
        // One of ours that is cut off is damaged.
        fs::write(target.join(MANIFEST), r#"{"version": 1, "fil"#).unwrap();
        assert!(verify_where(&target, |_| true).is_err() && verify(&target).is_err());
    }

    #[test]
    fn what_was_being_replaced_is_put_back_after_a_kill() {
        // As a kill between the two renames of `finish` leaves it.
        fn killed(root: &Path) -> (PathBuf, Manifest) {
            let target = root.join("step-000001");
            let manifest = write(&target, &[("a", "old")]);
            let partial = root.join("step-000001.partial-4711");
            write(&partial, &[("a", "new")]);
            fs::rename(&target, aside_name(&partial)).unwrap();
            (target, manifest)
        }
        let root = tempfile::tempdir().unwrap();
        let (target, old) = killed(root.path());
        let removed = super::super::remove_partial(root.path()).unwrap();
        assert_eq!(removed, [root.path().join("step-000001.partial-4711")]);
        assert_eq!(verify(&target).unwrap(), old);
        assert_eq!(names(root.path()), ["step-000001"]);

        // By the next writer of that name, also where it is stopped again.
        let root = tempfile::tempdir().unwrap();
        let (target, old) = killed(root.path());
        drop(CheckpointWriter::begin(&target).unwrap());
        assert_eq!(verify(&target).unwrap(), old);

        // A kill after the second rename has left what was replaced: there is nothing to put back.
        let root = tempfile::tempdir().unwrap();
        let (target, _) = killed(root.path());
        let new = write(&target, &[("a", "new")]);
        let aside = aside_name(&root.path().join("step-000001.partial-4712"));
        write(&aside, &[("a", "older")]);
        super::super::remove_partial(root.path()).unwrap();
        assert_eq!(verify(&target).unwrap(), new);
        assert_eq!(names(root.path()), ["step-000001"]);
    }

    #[test]
    fn a_refusing_file_system_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let message = CheckpointWriter::begin(file.join("step")).unwrap_err().to_string();
        assert!(message.contains("create") && message.contains("file"), "{message}");
    }
}
