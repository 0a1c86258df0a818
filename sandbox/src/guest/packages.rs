//! Packages of other people, for programs to import beside the standard library.
//!
//! They are read when the snapshot is made and lie in its memory from then on: no program ever sees a folder of the
//! host's. Pure Python only, for there is nothing to load machine code into.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::Sha256;

use crate::error::SandboxError;

/// What all packages together may take: the snapshot holds them in memory.
const MOST_BYTES: u64 = 64 << 20;

/// Packages to take along, named by whoever writes the recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packages {
    /// Wheels (`.whl`), and folders as they would stand in `sys.path`, in the order in which they are searched.
    pub paths: Vec<PathBuf>,
    /// Modules to import into the snapshot, so that programs find them imported.
    pub preload: Vec<String>,
}

/// A file of a package, or a module to preload (with no content).
pub(crate) struct Package {
    /// Place below the folder that the guest sees: `0/six.py`, `1.whl`.
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Under this name, the modules to preload, one on a line.
pub(super) const PRELOAD: &str = "preload.txt";

impl Package {
    pub(super) fn hash_into(&self, hash: &mut Sha256) {
        for part in [self.name.as_bytes(), &self.content] {
            super::hash_bytes(hash, part);
        }
    }
}

impl Packages {
    /// Every file, in a fixed order.
    pub(crate) fn read(&self) -> Result<Vec<Package>, SandboxError> {
        let mut found = Vec::new();
        let mut room = MOST_BYTES;
        for (index, path) in self.paths.iter().enumerate() {
            if path.is_dir() {
                read_folder(path, &index.to_string(), &mut room, &mut found)?;
            } else if path.extension().is_some_and(|extension| extension == "whl") {
                found.push(Package { name: format!("{index}.whl"), content: read_file(path, &mut room)? });
            } else {
                let reason = "it is neither a wheel (.whl) nor a folder".to_owned();
                return Err(SandboxError::Package { path: path.clone(), reason });
            }
        }
        if !self.preload.is_empty() {
            found.push(Package { name: PRELOAD.to_owned(), content: self.preload.join("\n").into_bytes() });
        }
        Ok(found)
    }
}

fn read_folder(folder: &Path, name: &str, room: &mut u64, found: &mut Vec<Package>) -> Result<(), SandboxError> {
    let failed = |error: std::io::Error| SandboxError::Package { path: folder.to_owned(), reason: error.to_string() };
    let mut entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let file_name = entry.file_name();
        // Names that are no text are no modules; links are not followed, so that a folder holds what it seems to.
        let (Some(below), kind) = (file_name.to_str(), entry.file_type().map_err(failed)?) else { continue };
        if kind.is_dir() && below != "__pycache__" && !below.starts_with('.') {
            read_folder(&entry.path(), &format!("{name}/{below}"), room, found)?;
        } else if kind.is_file() && below.ends_with(".py") {
            found.push(Package { name: format!("{name}/{below}"), content: read_file(&entry.path(), room)? });
        }
    }
    Ok(())
}

fn read_file(path: &Path, room: &mut u64) -> Result<Vec<u8>, SandboxError> {
    let failed = |reason: String| SandboxError::Package { path: path.to_owned(), reason };
    let content = fs::read(path).map_err(|error| failed(error.to_string()))?;
    *room = room
        .checked_sub(content.len() as u64)
        .ok_or_else(|| failed(format!("the packages take more than {} MiB", MOST_BYTES >> 20)))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_python_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["b/__init__.py", "a.py", "data.bin"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let packages = Packages { paths: vec![folder.path().to_owned()], preload: vec!["a".to_owned()] };
        let names: Vec<String> = packages.read().unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["0/a.py", "0/b/__init__.py", "preload.txt"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let read =
            |path: &str| Packages { paths: vec![path.into()], preload: vec![] }.read().err().unwrap().to_string();
        assert!(read("/absent/six.whl").contains("/absent/six.whl"));
        assert_eq!(read("absent.txt"), "the package absent.txt: it is neither a wheel (.whl) nor a folder");
    }
}
