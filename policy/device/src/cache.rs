//! Compiled kernels kept on disk, for the next process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

/// The folder for files of this kind: below the user's cache folder, else below the system's temporary one.
fn folder(kind: &str) -> PathBuf {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("recipe").join(kind)
}

/// The file that `make` writes from these parts. Made aside and renamed, so that several processes may want it at once.
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
