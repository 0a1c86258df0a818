//! Compiled kernels kept on disk, for the next process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// The folder for files of this kind: below the user's cache folder, else below the system's temporary one.
fn folder(kind: &str) -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("recipe").join(kind)
}

/// The lock of a file, which all threads of the process that want it share.
fn lock_of(path: &Path) -> Arc<Mutex<()>> {
    static LOCKS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(locks.entry(path.to_owned()).or_default())
}

/// The file that `make` writes from these parts. Of several threads that want it at once one makes it, and the others wait:
/// each device has kernels of its own, so the first tests would all compile the same. Made aside and renamed, so that several
/// processes may want it at once.
///
/// # Errors
/// What `make` returns; `failed` makes an error of what the file system says.
pub(crate) fn file<E>(
    kind: &str,
    extension: &str,
    parts: &[&str],
    failed: impl Fn(std::io::Error) -> E,
    make: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<PathBuf, E> {
    static ASIDE: AtomicU32 = AtomicU32::new(0);
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let folder = folder(kind);
    let path = folder.join(format!("{name}.{extension}"));
    let lock = lock_of(&path);
    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(&folder).map_err(&failed)?;
    let number = ASIDE.fetch_add(1, Ordering::Relaxed);
    let aside = folder.join(format!("{name}.{}.{number}.{extension}", std::process::id()));
    let outcome = make(&aside).and_then(|()| std::fs::rename(&aside, &path).map_err(&failed));
    if outcome.is_err() {
        // It may not be there at all.
        let _ = std::fs::remove_file(&aside);
    }
    outcome.map(|()| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_many_threads_want_is_made_once() {
        let made = AtomicU32::new(0);
        let unique = format!("{}, {:?}", std::process::id(), std::time::SystemTime::now());
        let want = || {
            file(
                "tests",
                "txt",
                &[&unique],
                |error| error,
                |aside| {
                    made.fetch_add(1, Ordering::Relaxed);
                    // Long enough for the others to come.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    std::fs::write(aside, "made")
                },
            )
        };
        let paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(want)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert_eq!(std::fs::read_to_string(&paths[0]).unwrap(), "made");
        std::fs::remove_file(&paths[0]).unwrap();
        assert!(paths.iter().all(|path| *path == paths[0]));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
