//! A folder of checkpoints `step-000123`: the newest whole one, and clearing out the others.

use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{has_all_files, remove_if_there, verify};
use crate::error::{PolicyError, Result};

const STEP: &str = "step-";
const PARTIAL: &str = ".partial-";
const REPLACED: &str = ".replaced";

/// What [`latest_valid`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatestValid {
    /// The newest checkpoint that verifies, if any does.
    pub path: Option<PathBuf>,
    /// The newer ones that do not, newest first, each with the reason.
    pub rejected: Vec<(PathBuf, String)>,
}

/// Where the checkpoint of a step lies: `<root>/step-000123`.
#[must_use]
pub fn step_dir(root: &Path, step: u64) -> PathBuf {
    root.join(format!("{STEP}{step:06}"))
}

/// The step of a checkpoint's folder, by its name; `None` for any other folder.
#[must_use]
pub fn step_of(folder: &Path) -> Option<u64> {
    let digits = folder.file_name()?.to_str()?.strip_prefix(STEP)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The newest checkpoint in `root` that verifies. Unfinished folders are ignored.
///
/// # Errors
/// `root` exists but cannot be listed. (One that does not exist holds no checkpoint.)
pub fn latest_valid(root: impl AsRef<Path>) -> Result<LatestValid> {
    let mut found = LatestValid::default();
    for folder in newest_first(root.as_ref())? {
        match verify(&folder) {
            Ok(_) => {
                found.path = Some(folder);
                break;
            }
            Err(error) => found.rejected.push((folder, error.to_string())),
        }
    }
    Ok(found)
}

/// Puts back the checkpoints that killed processes had renamed aside and not yet replaced, removes what else they left
/// unfinished in `root`, and tells what it removed.
///
/// To be called while no other process writes checkpoints there.
///
/// # Errors
/// The file system's refusal, naming the path.
pub fn remove_partial(root: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    remove_partial_where(root.as_ref(), |_| true)
}

/// The same for one checkpoint's folder, in whose parent there may be anything.
///
/// To be called while no other process writes to this folder.
///
/// # Errors
/// The file system's refusal, naming the path.
pub fn remove_partial_of(target: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let target = target.as_ref();
    remove_partial_where(parent_of(target), |other| other.file_name() == target.file_name())
}

fn remove_partial_where(root: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for folder in folders(root)? {
        let Some(target) = belongs_to(&folder).filter(|target| wanted(target)) else { continue };
        // A folder that was put back for its target is there no more.
        if put_back(&target)?.as_ref() != Some(&folder) && folder.exists() {
            remove_if_there(&folder)?;
            removed.push(folder);
        }
    }
    Ok(removed)
}

/// Where a checkpoint lies aside and nothing is in its place, puts it back, and tells from where.
pub(super) fn put_back(target: &Path) -> Result<Option<PathBuf>> {
    let parent = parent_of(target);
    if target.exists() {
        return Ok(None);
    }
    let is_aside = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(REPLACED) && belongs_to(folder).is_some_and(|other| other.file_name() == target.file_name())
    };
    let Some(aside) = folders(parent)?.into_iter().find(is_aside) else { return Ok(None) };
    fs::rename(&aside, target).map_err(PolicyError::io("put back", target))?;
    Ok(Some(aside))
}

/// The folder that a path lies in; of a name alone, the one at hand.
fn parent_of(target: &Path) -> &Path {
    target.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// The checkpoint that an unfinished folder, or one that lies aside, was to become or to make room for.
fn belongs_to(folder: &Path) -> Option<PathBuf> {
    let name = folder.file_name()?.to_str()?;
    Some(folder.with_file_name(&name[..name.rfind(PARTIAL)?]))
}

/// Where what `partial` is to replace lies in the meantime.
pub(super) fn aside_name(partial: &Path) -> PathBuf {
    let mut name = partial.file_name().unwrap_or_default().to_os_string();
    name.push(REPLACED);
    partial.with_file_name(name)
}

/// Removes all checkpoints in `root` but the `keep_last` newest and the protected (the best, say),
/// and tells which it removed. One that is plainly not whole (a file gone or of another length)
/// does not count for the newest.
///
/// # Errors
/// The file system's refusal, naming the path.
pub fn prune(root: impl AsRef<Path>, keep_last: usize, protected: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let protected: Vec<u64> = protected.iter().filter_map(|folder| step_of(folder)).collect();
    let mut removed = Vec::new();
    let mut kept = 0;
    for folder in newest_first(root.as_ref())? {
        if kept < keep_last {
            kept += usize::from(has_all_files(&folder).is_ok());
            continue;
        }
        if step_of(&folder).is_some_and(|step| protected.contains(&step)) {
            continue;
        }
        // Renamed first: a kill half-way leaves an unfinished folder, not a damaged checkpoint.
        let aside = partial_name(&folder);
        remove_if_there(&aside)?;
        fs::rename(&folder, &aside).map_err(PolicyError::io("remove", &folder))?;
        remove_if_there(&aside)?;
        removed.push(folder);
    }
    Ok(removed)
}

/// `<folder>.partial-<process>`: beside the folder, so that the rename stays on one file system.
pub(super) fn partial_name(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(format!("{PARTIAL}{}", std::process::id()));
    folder.with_file_name(name)
}

fn newest_first(root: &Path) -> Result<Vec<PathBuf>> {
    let mut steps: Vec<(u64, PathBuf)> =
        folders(root)?.into_iter().filter_map(|folder| step_of(&folder).map(|step| (step, folder))).collect();
    steps.sort_by(|a, b| b.cmp(a));
    Ok(steps.into_iter().map(|(_, folder)| folder).collect())
}

fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PolicyError::io("list", root)(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(PolicyError::io("list", root))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointWriter, MANIFEST};

    fn write(root: &Path, steps: &[u64]) {
        for &step in steps {
            let writer = CheckpointWriter::begin(step_dir(root, step)).unwrap();
            fs::write(writer.path().join("weights"), format!("weights of {step}")).unwrap();
            writer.finish().unwrap();
        }
    }

    fn steps(root: &Path) -> Vec<u64> {
        let mut steps: Vec<u64> = newest_first(root).unwrap().iter().filter_map(|folder| step_of(folder)).collect();
        steps.reverse();
        steps
    }

    #[test]
    fn names_of_steps() {
        let root = Path::new("checkpoints");
        assert_eq!(step_dir(root, 123), root.join("step-000123"));
        assert_eq!(step_dir(root, 12_345_678), root.join("step-12345678"));
        for (name, step) in [
            ("step-000123", Some(123)),
            ("step-12345678", Some(12_345_678)),
            ("step-", None),
            ("step-+12", None),
            ("step-000123.partial-77", None),
            ("best", None),
        ] {
            assert_eq!(step_of(&root.join(name)), step, "{name}");
        }
    }

    #[test]
    fn a_truncated_newest_gives_way_to_the_one_before_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(latest_valid(root.join("nowhere")).unwrap(), LatestValid::default());
        // Also beyond six digits, where names no longer sort as numbers.
        write(root, &[5, 999_999, 1_000_000, 1_000_001]);
        assert_eq!(latest_valid(root).unwrap().path, Some(step_dir(root, 1_000_001)));

        fs::write(step_dir(root, 1_000_001).join("weights"), "wei").unwrap();
        fs::remove_file(step_dir(root, 1_000_000).join(MANIFEST)).unwrap();
        let found = latest_valid(root).unwrap();
        assert_eq!(found.path, Some(step_dir(root, 999_999)));
        assert_eq!(found.rejected.len(), 2);
        assert_eq!(found.rejected[0].0, step_dir(root, 1_000_001));
        let reason = &found.rejected[0].1;
        assert!(reason.contains("weights") && reason.contains("truncated"), "{reason}");
        assert!(found.rejected[1].1.contains(MANIFEST), "{}", found.rejected[1].1);
    }

    #[test]
    fn leftovers_are_ignored_then_removed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, &[1]);
        let leftover = root.join("step-000002.partial-4711");
        fs::create_dir_all(&leftover).unwrap();
        fs::write(leftover.join("weights"), "half").unwrap();
        let found = latest_valid(root).unwrap();
        assert_eq!((found.path, found.rejected.len()), (Some(step_dir(root, 1)), 0));
        assert_eq!(remove_partial(root).unwrap(), std::slice::from_ref(&leftover));
        assert!(!leftover.exists());
        assert_eq!(steps(root), [1]);
        assert!(remove_partial(root).unwrap().is_empty());
    }

    #[test]
    fn leftovers_of_one_folder_are_removed_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (mine, longer) = (folder("export.partial-4711"), folder("export-2.partial-4711"));
        let other = folder("another.partial-4711");
        assert_eq!(remove_partial_of(root.path().join("export")).unwrap(), std::slice::from_ref(&mine));
        assert!(!mine.exists() && longer.exists() && other.exists());
        // Where nothing was ever written.
        assert!(remove_partial_of(root.path().join("none/export")).unwrap().is_empty());
    }

    #[test]
    fn pruning_keeps_the_last_and_the_protected() {
        fn check(keep_last: usize, protected: &[u64], expected: &[u64]) {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            write(root, &[1, 2, 3, 4]);
            fs::create_dir(root.join("best")).unwrap();
            let protected: Vec<PathBuf> = protected.iter().map(|&step| step_dir(root, step)).collect();
            let removed = prune(root, keep_last, &protected).unwrap();
            assert_eq!(steps(root), expected);
            assert_eq!(removed.len(), 4 - expected.len());
            assert!(root.join("best").exists());
        }
        check(2, &[], &[3, 4]);
        check(2, &[1], &[1, 3, 4]);
        check(1, &[4], &[4]);
        check(0, &[2], &[2]);
        check(9, &[], &[1, 2, 3, 4]);
    }

    #[test]
    fn what_is_not_whole_does_not_count_as_kept() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, &[1, 2, 3, 4]);
        fs::write(step_dir(root, 4).join("weights"), "").unwrap();
        fs::create_dir(step_dir(root, 5)).unwrap();
        assert_eq!(prune(root, 2, &[]).unwrap(), [step_dir(root, 1)]);
        assert_eq!(latest_valid(root).unwrap().path, Some(step_dir(root, 3)));
    }
}
