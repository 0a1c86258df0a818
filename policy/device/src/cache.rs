//! Compiled kernels kept on disk, for the next process. A file ends with the hash of its content: one that does not match is
//! made anew.
//!
//! They are code that this process will run, and the hash finds damage, not malice. So they are looked for only where nobody
//! but this user can have put them. The rule is that of the sandbox, which keeps machine code in the same folder and which
//! this crate does not know.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{DeviceError, Result};

const OPERATION: &str = "cache of kernels";
const HASH_BYTES: usize = 32;
/// The right of others to write, in a file's mode.
const OTHERS_WRITE: u32 = 0o022;

/// `$XDG_CACHE_HOME/recipe`, else `~/.cache/recipe`. A user without a home gets a new folder for each process, which only
/// this user can enter: what is in a folder with a name that others can guess, such as `/tmp/recipe`, may be anybody's.
fn folder() -> Result<PathBuf> {
    static HOMELESS: OnceLock<Option<TempDir>> = OnceLock::new();
    let private = || {
        let made = HOMELESS.get_or_init(|| tempfile::Builder::new().prefix("recipe-").tempdir().ok());
        made.as_ref().map(|folder| folder.path().to_owned())
    };
    let named = caches(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), std::env::home_dir());
    let Some(base) = named.or_else(private) else {
        return Err(DeviceError::operation(OPERATION, "there is no folder for it: set HOME or XDG_CACHE_HOME"));
    };
    Ok(base.join("recipe"))
}

/// The user's folder for caches.
fn caches(cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    cache.filter(absolute).or_else(|| home.filter(absolute).map(|home| home.join(".cache")))
}

/// Makes the folder, and those above it, where they are not there; nobody else can enter those that it makes. Where others
/// may write to it, as to folders made under the mask 002, that right is taken from them.
fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut permissions = fs::metadata(folder)?.permissions();
    if permissions.mode() & OTHERS_WRITE != 0 {
        permissions.set_mode(permissions.mode() & !OTHERS_WRITE);
        // Refused where the folder is another user's, which the check says.
        let _ = fs::set_permissions(folder, permissions);
    }
    check_owner(&fs::metadata(folder)?)
}

/// An error where the file or folder is not this process's user's, or others may write to it.
fn check_owner(state: &Metadata) -> io::Result<()> {
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    // SAFETY: it only reads a number.
    let (owner, user) = (state.uid(), unsafe { libc::geteuid() });
    if owner != user {
        return refuse(format!(
            "it belongs to the user {owner}, and this program runs as {user}: choose another folder with XDG_CACHE_HOME"
        ));
    }
    if state.mode() & OTHERS_WRITE != 0 {
        return refuse("others may write to it, and its content is run: `chmod go-w` it".to_owned());
    }
    Ok(())
}

/// The content of a file, if it is there, whole, and of this user alone.
fn whole(path: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    // Of the file that was opened, not of the name.
    check_owner(&file.metadata().ok()?).ok()?;
    let mut content = Vec::new();
    file.read_to_end(&mut content).ok()?;
    let hash = content.split_off(content.len().checked_sub(HASH_BYTES)?);
    (Sha256::digest(&content).as_slice() == hash).then_some(content)
}

/// Puts the hash of its content behind it, where whoever opens it as a library does not look. Returns the content.
fn seal(path: &Path) -> io::Result<Vec<u8>> {
    let content = fs::read(path)?;
    let mut file = File::options().append(true).open(path)?;
    file.write_all(&Sha256::digest(&content))?;
    // Compilers may let a group write.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(content)
}

/// The lock of a file, which all threads of the process that want it share.
fn lock_of(path: &Path) -> Arc<Mutex<()>> {
    static LOCKS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(locks.entry(path.to_owned()).or_default())
}

/// What the file system says, with the place.
fn at<T>(path: &Path, outcome: io::Result<T>) -> Result<T> {
    outcome.map_err(|error| DeviceError::operation(OPERATION, format!("{}: {error}", path.display())))
}

/// The file that `make` writes from these parts, and its content. Of several threads that want it at once one makes it, and
/// the others wait: each device has kernels of its own, so the first tests would all compile the same. Made aside and
/// renamed, so that several processes may want it at once.
///
/// Nobody but this user can have written it, nor can change it: it lies in a folder to which no other may write. (Whoever
/// may rename the folders above that one is trusted: the user has chosen them.)
///
/// # Errors
/// What `make` returns; if the folder is not this user's alone, or the file system fails.
pub(crate) fn file(
    kind: &str,
    extension: &str,
    parts: &[&str],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<(PathBuf, Vec<u8>)> {
    file_in(&folder()?, kind, extension, parts, make)
}

fn file_in(
    cache: &Path,
    kind: &str,
    extension: &str,
    parts: &[&str],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<(PathBuf, Vec<u8>)> {
    static ASIDE: AtomicU32 = AtomicU32::new(0);
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let folder = cache.join(kind);
    let path = folder.join(format!("{name}.{extension}"));
    for folder in [cache, &folder] {
        at(folder, make_private(folder))?;
    }
    let lock = lock_of(&path);
    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(content) = whole(&path) {
        return Ok((path, content));
    }
    let number = ASIDE.fetch_add(1, Ordering::Relaxed);
    let aside = folder.join(format!("{name}.{}.{number}.{extension}", std::process::id()));
    let put = |content| fs::rename(&aside, &path).map(|()| content);
    let outcome = make(&aside).and_then(|()| at(&path, seal(&aside).and_then(put)));
    if outcome.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&aside);
    }
    outcome.map(|content| (path, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `made` to the file, and counts.
    fn make(made: &AtomicU32) -> impl Fn(&Path) -> Result<()> {
        |aside| {
            made.fetch_add(1, Ordering::Relaxed);
            fs::write(aside, "made").map_err(|error| DeviceError::operation("test", error.to_string()))
        }
    }

    #[test]
    fn a_file_that_many_threads_want_is_made_once() {
        let (cache, made) = (tempfile::tempdir().unwrap(), AtomicU32::new(0));
        let want = || {
            file_in(cache.path(), "tests", "txt", &["part"], |aside| {
                // Long enough for the others to come.
                std::thread::sleep(std::time::Duration::from_millis(50));
                make(&made)(aside)
            })
        };
        let files: Vec<(PathBuf, Vec<u8>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(want)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert!(fs::read(&files[0].0).unwrap().starts_with(b"made"));
        assert!(files.iter().all(|file| *file == files[0] && file.1 == b"made"));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    /// How often a file is made that is asked for, changed, and asked for again.
    fn check(change: impl FnOnce(&Path), expected: u32) {
        let (cache, made) = (tempfile::tempdir().unwrap(), AtomicU32::new(0));
        let want = || file_in(cache.path(), "tests", "txt", &["part"], make(&made)).unwrap();
        let path = want().0;
        change(&path);
        assert_eq!(want(), (path, b"made".to_vec()));
        assert_eq!(made.load(Ordering::Relaxed), expected);
        // As it lies there now, it stays.
        want();
        assert_eq!(made.load(Ordering::Relaxed), expected);
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let damage = |change: fn(&mut Vec<u8>)| {
            move |path: &Path| {
                let mut bytes = fs::read(path).unwrap();
                change(&mut bytes);
                fs::write(path, bytes).unwrap();
            }
        };
        check(damage(|_| ()), 1);
        check(damage(|bytes| bytes[1] ^= 1), 2);
        check(damage(|bytes| bytes[20] ^= 1), 2);
        check(damage(|bytes| bytes.truncate(20)), 2);
        check(damage(|bytes| bytes.push(0)), 2);
        check(damage(Vec::clear), 2);
        // As an earlier version left it.
        check(damage(|bytes| bytes.truncate(4)), 2);
    }

    #[test]
    fn nothing_is_taken_that_another_user_may_have_written() {
        let allow = |mode| move |path: &Path| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        check(allow(0o644), 1);
        for mode in [0o620, 0o602, 0o666] {
            check(allow(mode), 2);
        }
        let cache = tempfile::tempdir().unwrap();
        let inner = cache.path().join("recipe");
        for mode in [0o770, 0o707, 0o1777] {
            file_in(&inner, "tests", "txt", &["part"], make(&AtomicU32::new(0))).unwrap();
            for folder in [&inner, &inner.join("tests")] {
                assert_eq!(fs::metadata(folder).unwrap().mode() & 0o077, 0, "{mode:o}");
                allow(mode)(folder);
            }
            file_in(&inner, "tests", "txt", &["part"], make(&AtomicU32::new(0))).unwrap();
            for folder in [&inner, &inner.join("tests")] {
                assert_eq!(fs::metadata(folder).unwrap().mode() & OTHERS_WRITE, 0, "{mode:o}");
                allow(0o700)(folder);
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = file_in(file.path(), "tests", "txt", &["part"], |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cache of kernels: {}: ", file.path().display())), "{error}");
    }

    #[test]
    fn the_folder_is_never_one_that_others_can_guess() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (cache, home, expected) in [
            (path("/cache"), path("/home/me"), path("/cache")),
            (None, path("/home/me"), path("/home/me/.cache")),
            (path("relative"), path("/home/me"), path("/home/me/.cache")),
            (path(""), path("relative"), None),
            (None, None, None),
        ] {
            assert_eq!(caches(cache, home), expected);
        }
    }
}
