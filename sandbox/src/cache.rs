//! The prepared interpreter on disk: one file, named by the hash of everything that made it, that begins with the
//! hash of its content. A file that does not match is as good as none.
//!
//! It holds machine code that this process will run, and the hash beside it finds damage, not malice. So it is loaded only
//! where nobody but this user can have put it: [`crate::owner`].

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine;
use crate::error::SandboxError;
use crate::guest::{self, Package, Packages};
use crate::{host, owner};

/// Changed by hand where the way in which the interpreter is made or stored changes and nothing else of the name does.
const FORMAT: &str = "2";
/// The crates that put the interpreter together (wasmtime's own version is part of its hash). A test holds them to what is
/// built.
const MADE_WITH: [(&str, &str); 2] = [("wit-component", "0.254.2"), ("wasmtime-wizer", "48.0.8")];
const HASH_BYTES: usize = 32;
/// What a prepared interpreter takes on disk, at least.
const USUAL_BYTES: usize = 48 << 20;

/// Where prepared interpreters are kept unless told otherwise: `$XDG_CACHE_HOME/recipe`, else `~/.cache/recipe`.
///
/// A user without a home gets a new folder for each process, which only this user can enter: what is in a folder with a name
/// that others can guess, such as `/tmp/recipe`, may be anybody's.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    static HOMELESS: OnceLock<Option<TempDir>> = OnceLock::new();
    cache_dir(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), std::env::home_dir(), || {
        let made = HOMELESS.get_or_init(|| tempfile::Builder::new().prefix("recipe-").tempdir().ok());
        made.as_ref().map(|folder| folder.path().to_owned())
    })
}

fn cache_dir(cache: Option<PathBuf>, home: Option<PathBuf>, private: impl FnOnce() -> Option<PathBuf>) -> PathBuf {
    let absolute = |path: &PathBuf| path.is_absolute();
    cache
        .filter(absolute)
        .or_else(|| home.filter(absolute).map(|home| home.join(".cache")))
        .or_else(private)
        // Nothing can be written there: the error names it.
        .unwrap_or_else(|| PathBuf::from("/nonexistent (set HOME or XDG_CACHE_HOME)"))
        .join("recipe")
}

/// The place of the interpreter that this program would prepare with this engine.
pub(crate) struct CacheFile {
    path: PathBuf,
}

impl CacheFile {
    /// Makes the folder where it is not there. One that is another user's is an error.
    pub(crate) fn new(folder: &Path, engine: &Engine, packages: &[Package]) -> Result<CacheFile, SandboxError> {
        owner::make_private(folder).map_err(cache_error("making the folder", folder))?;
        Ok(CacheFile { path: folder.join(CacheFile::name(engine, packages)) })
    }

    /// Says everything that made the interpreter, so that anything else has another name.
    fn name(engine: &Engine, packages: &[Package]) -> String {
        let mut hash = Sha256::new();
        let made_with = MADE_WITH.into_iter().flat_map(|(name, version)| [name, version]);
        guest::hash_texts(&mut hash, std::iter::once(FORMAT).chain(made_with));
        host::hash_snapshot_world(&mut hash);
        guest::hash_inputs(&mut hash, packages);
        // Covers wasmtime's version, its settings and the processor's features.
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        hash.update(compatibility.finish().to_le_bytes());
        let name: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("python-{name}.cwasm")
    }

    /// The content, where the file is there, whole, and of this user alone.
    pub(crate) fn load(&self) -> Result<Option<Vec<u8>>, SandboxError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cache_error("reading", &self.path)(error)),
        };
        let mut bytes = Vec::new();
        // Of the file that was opened, not of the name, which could come to mean another one.
        let trusted = file.metadata().and_then(|state| {
            let trusted = owner::check(&state).is_ok();
            if trusted {
                file.read_to_end(&mut bytes)?;
            }
            Ok(trusted)
        });
        if !trusted.map_err(cache_error("reading", &self.path))? {
            return Ok(None);
        }
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
    // SAFETY: `deserialize` trusts its input to be what `precompile_component` made. `CacheFile::load` has read these very
    // bytes from a file that belongs to this user and that nobody else may write to, in such a folder (`CacheFile::new`), and
    // found them undamaged by the hash stored with them. So a process of this user wrote them there, and what this program
    // writes under that name goes through `store`, which is given nothing else; the name covers the engine's version and
    // settings.
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

    #[cfg(unix)]
    #[test]
    fn nothing_is_loaded_that_another_user_may_have_written() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let inner = folder.path().join("recipe");
        let cache = CacheFile::new(&inner, &engine, &[]).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
        cache.store(cache.reserve().unwrap(), b"machine code").unwrap();
        for mode in [0o620, 0o602, 0o666] {
            allow(&cache.path, mode);
            assert_eq!(cache.load().unwrap(), None, "{mode:o}");
        }
        allow(&cache.path, 0o644);
        assert!(cache.load().unwrap().is_some());
        for mode in [0o770, 0o707, 0o1777] {
            allow(&inner, mode);
            assert!(CacheFile::new(&inner, &engine, &[]).is_ok());
            assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o022, 0, "{mode:o}");
        }
    }

    #[test]
    fn the_folder_is_never_one_that_others_can_guess() {
        let path = |text: &str| Some(PathBuf::from(text));
        let private = || path("/tmp/recipe-Xy12");
        for (cache, home, expected) in [
            (path("/cache"), path("/home/me"), "/cache/recipe"),
            (None, path("/home/me"), "/home/me/.cache/recipe"),
            (path("relative"), path("/home/me"), "/home/me/.cache/recipe"),
            (None, path("relative"), "/tmp/recipe-Xy12/recipe"),
            (None, None, "/tmp/recipe-Xy12/recipe"),
        ] {
            assert_eq!(cache_dir(cache, home, private), PathBuf::from(expected));
        }
        let nowhere = cache_dir(None, None, || None);
        assert!(nowhere.to_string_lossy().contains("set HOME or XDG_CACHE_HOME"), "{}", nowhere.display());
    }

    /// The name says with what the interpreter was made.
    #[test]
    fn the_versions_in_the_name_are_those_that_are_built() {
        let lock = include_str!("../../Cargo.lock");
        for (name, version) in MADE_WITH {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{name} is not {version}");
        }
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
