//! A file that a command writes its results into.

use std::fs::{self, OpenOptions};
use std::path::Path;

use anyhow::Context;

use super::Wrong;

/// That `path` can be written to, and is not the file that is read: said before any work, and without a change to what it
/// holds.
pub(super) fn check_out(path: &Path, read: &Path) -> anyhow::Result<()> {
    if let (Ok(out), Ok(read)) = (fs::canonicalize(path), fs::canonicalize(read))
        && out == read
    {
        let message = format!("--out {}: this is the file that is read", path.display());
        return Err(Wrong(format!("{message}\n  hint: name another, or leave --out away")).into());
    }
    let there = fs::metadata(path);
    // A pipe or a device is there, and to open it may mean something to who is at its other end.
    if there.as_ref().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return Ok(());
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    opened.with_context(|| format!("cannot write {}", path.display()))?;
    if there.is_err() && fs::symlink_metadata(path).is_ok_and(|made| made.is_file()) {
        fs::remove_file(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes the results, all at once.
pub(super) fn write_results(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::{WRONG, status};
    use super::*;

    #[test]
    fn what_is_there_stays_until_there_is_something_to_put_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let [rows, old, new] = ["rows.jsonl", "old.jsonl", "new.jsonl"].map(|name| folder.path().join(name));
        fs::write(&rows, "rows").unwrap();
        fs::write(&old, "earlier verdicts").unwrap();
        check_out(&old, &rows).unwrap();
        check_out(&new, &rows).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "earlier verdicts");
        assert!(!new.exists());
        for wrong in [&rows, &folder.path().join("./rows.jsonl"), folder.path(), &folder.path().join("none/x")] {
            let error = check_out(wrong, &rows).unwrap_err();
            assert_eq!(status(&error), WRONG, "{error:#}");
        }
        assert_eq!(fs::read_to_string(&rows).unwrap(), "rows");
    }
}
