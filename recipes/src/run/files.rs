//! Files and folders of runs: found, locked, and written so that a crash leaves no half of one.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use policy::checkpoint::step_of;
use serde::Serialize;

use super::folder::{INFO, METRICS, STAGES};
use super::unusable::Unusable;

/// The file that is locked while a process works in the folder.
pub(crate) const LOCK: &str = ".lock";
/// The recipe as resolved.
pub(super) const RECIPE: &str = "recipe.toml";

fn numbered(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}-{number}") }
}

/// Makes the folder of a new run, with a number if the name is taken.
pub(super) fn create_numbered(root: &Path, name: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(root).with_context(|| format!("cannot make the folder for runs, {}", root.display()))?;
    let mut number = numbers(root, name).map(|(number, _)| number).max().map_or(1, |number| number + 1);
    loop {
        let path = root.join(numbered(name, number));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Another process took it in between.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make the run folder {}", path.display()));
            }
        }
    }
}

/// Is in the folder while a run is being made: what it holds then is no work of a run yet. The recipe comes last.
pub(super) const MAKING: &str = ".making";

/// What a folder holds in which a run was being made when its process was killed.
const BEGINNINGS: [&str; 13] = [
    MAKING,
    INFO,
    "run.tmp",
    STAGES,
    "stages.tmp",
    METRICS,
    "metrics.tmp",
    "recipe.tmp",
    "base",
    "bases",
    "checkpoints",
    "completions",
    "data",
];

fn names(path: &Path) -> anyhow::Result<Vec<String>> {
    let context = || format!("cannot read the run folder {}", path.display());
    let entries = fs::read_dir(path).with_context(context)?;
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<std::io::Result<Vec<String>>>().with_context(context)?;
    // A lock alone is what an attempt to resume leaves in an empty folder.
    names.retain(|name| name != LOCK);
    Ok(names)
}

/// That a new run may use the folder: it is empty, or the making of a run broke off in it.
pub(super) fn check_unused(path: &Path) -> anyhow::Result<()> {
    let names = names(path)?;
    let broke_off =
        names.iter().any(|name| name == MAKING) && names.iter().all(|name| BEGINNINGS.contains(&name.as_str()));
    if !names.is_empty() && !broke_off {
        return Err(Unusable {
            what: format!("{} is not empty", path.display()),
            hint: "add --resume to go on with the run in it, or name another folder".to_owned(),
            without_options: "remove it".to_owned(),
        }
        .into());
    }
    Ok(())
}

/// Removes what [`check_unused`] allows.
pub(super) fn clear_unfinished(path: &Path) -> anyhow::Result<()> {
    for name in names(path)? {
        let path = path.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// The newest run of the recipe of this name below `root`: its number and its folder.
#[must_use]
pub fn newest_run(root: &Path, name: &str) -> Option<(usize, PathBuf)> {
    numbers(root, name).filter(|(_, path)| is_run_of(path, name)).max_by_key(|(number, _)| *number)
}

/// The runs of the recipe of this name below `root`, the newest first.
pub(crate) fn runs_of(root: &Path, name: &str) -> Vec<PathBuf> {
    let mut runs: Vec<_> = numbers(root, name).filter(|(_, path)| is_run_of(path, name)).collect();
    runs.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    runs.into_iter().map(|(_, path)| path).collect()
}

/// What lies below `root` under this name, with or without a number.
fn numbers(root: &Path, name: &str) -> impl Iterator<Item = (usize, PathBuf)> {
    fs::read_dir(root).into_iter().flatten().filter_map(move |entry| {
        let entry = entry.ok()?;
        let file_name = entry.file_name();
        let rest = file_name.to_str()?.strip_prefix(name)?;
        let number = match rest {
            "" => 1,
            _ => rest.strip_prefix('-')?.parse().ok().filter(|&number: &usize| number > 1)?,
        };
        Some((number, entry.path()))
    })
}

/// Whether the folder holds a run of the recipe: `smoke-2` is also the first run of a recipe of that name. One whose
/// recipe cannot be read counts, so that opening it says what is wrong.
fn is_run_of(folder: &Path, name: &str) -> bool {
    let text = match fs::read_to_string(folder.join(RECIPE)) {
        Ok(text) => text,
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    let recipe = text.parse::<toml::Table>();
    recipe.map_or(true, |recipe| recipe.get("name").and_then(toml::Value::as_str) == Some(name))
}

/// Keeps other processes out of the folder for as long as the file is open.
pub(crate) fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK))
        .with_context(|| format!("cannot use the run folder {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another process is working in {}: wait for it or stop it", path.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock the run folder {}", path.display()))
        }
    }
}

/// Removes the files of the steps after `last`; of all steps if there is none.
pub(super) fn drop_files_after(folder: &Path, last: Option<u64>) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = |name: &str| {
            let rest = name.strip_prefix("step-")?;
            // Completions, and what rewards printed about them.
            rest.strip_suffix(".jsonl").or_else(|| rest.strip_suffix(".log"))?.parse::<u64>().ok()
        };
        let step = name.to_str().and_then(number);
        if step.is_some_and(|step| last.is_none_or(|last| step > last)) {
            fs::remove_file(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Removes the checkpoints in a folder.
pub(super) fn drop_checkpoints(folder: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| step_of(path).is_some()) {
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file so that it is either the old one or the new one, never half of it, also after a loss of power.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value).with_context(|| format!("cannot write {}", path.display()))?;
    text.push(b'\n');
    write_whole(path, &text)
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
}
