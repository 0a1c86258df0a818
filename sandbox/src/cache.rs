//! The prepared interpreter on disk: one file, named by the hash of everything that made it, that begins with the
//! hash of its content. A file that does not match is as good as none.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine;
use crate::error::SandboxError;
use crate::guest::{self, Package, Packages};

const HASH_BYTES: usize = 32;
/// What a prepared interpreter takes on disk, at least.
const USUAL_BYTES: usize = 48 << 20;

/// Where prepared interpreters are kept unless told otherwise: `$XDG_CACHE_HOME/recipe`, else `~/.cache/recipe`.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("recipe")
}

/// The place of the interpreter that this program would prepare with this engine.
pub(crate) struct CacheFile {
    path: PathBuf,
}

impl CacheFile {
    /// Makes the folder where it is not there.
    pub(crate) fn new(folder: &Path, engine: &Engine, packages: &[Package]) -> Result<CacheFile, SandboxError> {
        fs::create_dir_all(folder).map_err(cache_error("making the folder", folder))?;
        Ok(CacheFile { path: folder.join(CacheFile::name(engine, packages)) })
    }

    /// Says everything that made the interpreter, so that anything else has another name.
    fn name(engine: &Engine, packages: &[Package]) -> String {
        let mut hash = Sha256::new();
        guest::hash_inputs(&mut hash, packages);
        // Covers wasmtime's version, its settings and the processor's features.
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        hash.update(compatibility.finish().to_le_bytes());
        let name: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("python-{name}.cwasm")
    }

    /// The content, where the file is there and whole.
    pub(crate) fn load(&self) -> Result<Option<Vec<u8>>, SandboxError> {
        let mut bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cache_error("reading", &self.path)(error)),
        };
        if bytes.len() < HASH_BYTES || Sha256::digest(&bytes[HASH_BYTES..]).as_slice() != &bytes[..HASH_BYTES] {
            return Ok(None);
        }
        bytes.drain(..HASH_BYTES);
        Ok(Some(bytes))
    }

    /// A file beside this one with room for an interpreter: fails where the folder cannot be written or the disk is
    /// full, before any work has been done.
    pub(crate) fn reserve(&self) -> Result<NamedTempFile, SandboxError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let reserve = || -> io::Result<NamedTempFile> {
            let mut file = tempfile::Builder::new().prefix(".python-").tempfile_in(folder)?;
            // Written, not just sized: a file with holes takes no room.
            let zeros = vec![0; 1 << 20];
            for _ in 0..USUAL_BYTES / zeros.len() {
                file.write_all(&zeros)?;
            }
            file.flush()?;
            Ok(file)
        };
        reserve().map_err(cache_error("making room for it", &self.path))
    }

    /// Puts the content in place in one step: who reads sees all of it or none.
    pub(crate) fn store(&self, mut reserved: NamedTempFile, content: &[u8]) -> Result<(), SandboxError> {
        let write = || -> io::Result<()> {
            reserved.rewind()?;
            reserved.write_all(&Sha256::digest(content))?;
            reserved.write_all(content)?;
            reserved.as_file().set_len((HASH_BYTES + content.len()) as u64)?;
            reserved.as_file().sync_all()?;
            reserved.persist(&self.path)?;
            Ok(())
        };
        write().map_err(cache_error("writing", &self.path))
    }

    /// Waits until no other process prepares this file; the lock ends with the value.
    pub(crate) fn lock(&self) -> Result<File, SandboxError> {
        let path = self.path.with_extension("lock");
        let lock = || -> io::Result<File> {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(cache_error("locking", &path))
    }
}

/// What is cached, as a person may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheState {
    /// Where the interpreter that this program uses lies, or would lie.
    pub path: PathBuf,
    /// Its size in bytes, where the file is there.
    pub bytes: Option<u64>,
    /// Whether its content is what was stored.
    pub whole: bool,
}

impl CacheState {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or a package cannot.
    pub fn look(folder: &Path, packages: &Packages) -> Result<CacheState, SandboxError> {
        let engine = engine::pooled(1).map_err(SandboxError::prepare("starting the engine"))?;
        let path = folder.join(CacheFile::name(&engine, &packages.read()?));
        let bytes = fs::metadata(&path).ok().map(|metadata| metadata.len());
        let whole = CacheFile { path: path.clone() }.load()?.is_some();
        Ok(CacheState { path, bytes, whole })
    }
}

/// The cached interpreter, if it is whole and was made for this engine.
pub(crate) fn load(engine: &Engine, cache: &CacheFile) -> Result<Option<Component>, SandboxError> {
    let Some(bytes) = cache.load()? else { return Ok(None) };
    // SAFETY: `deserialize` trusts its input to be what `precompile_component` made. `CacheFile::load` has just compared
    // these very bytes (not a file that could change) with the hash stored with them, so they are what some process of
    // this user wrote through `store`, which is given nothing else; the name covers the engine's version and settings.
    let component = unsafe { Component::deserialize(engine, bytes) };
    Ok(component.ok())
}

fn cache_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    move |source| SandboxError::Cache { operation, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(damage: impl FnOnce(&mut Vec<u8>), expected: Option<&[u8]>) {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFile { path: folder.path().join("python-test.cwasm") };
        assert_eq!(cache.load().unwrap(), None);
        cache.store(cache.reserve().unwrap(), b"machine code").unwrap();
        let mut bytes = fs::read(&cache.path).unwrap();
        damage(&mut bytes);
        fs::write(&cache.path, bytes).unwrap();
        assert_eq!(cache.load().unwrap().as_deref(), expected);
    }

    #[test]
    fn only_what_was_stored_is_loaded() {
        check(|_| (), Some(b"machine code"));
        check(|bytes| bytes[40] ^= 1, None);
        check(|bytes| bytes[0] ^= 1, None);
        check(|bytes| bytes.truncate(36), None);
        check(|bytes| bytes.truncate(3), None);
        check(|bytes| bytes.push(0), None);
        check(Vec::clear, None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let engine = Engine::default();
        let error = CacheFile::new(&file.path().join("inside"), &engine, &[]).err().unwrap().to_string();
        assert!(error.contains("making the folder") && error.contains("inside"), "{error}");
    }

    /// Whole by its hash, but nothing that this engine made.
    #[test]
    fn a_foreign_cache_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = CacheFile::new(folder.path(), &engine, &[]).unwrap();
        cache.store(cache.reserve().unwrap(), b"not machine code").unwrap();
        assert!(load(&engine, &cache).unwrap().is_none());
    }
}
