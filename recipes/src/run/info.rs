//! `run.json`: what made the run, beyond the recipe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::maker::Maker;
use super::unusable::Unusable;
use crate::config::Recipe;
use crate::hash::hash_file;

/// What made a run, beyond the recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The seed, as in the recipe.
    pub seed: u64,
    /// What it began on.
    #[serde(flatten)]
    pub maker: Maker,
    /// What else it went on with, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_makers: Vec<Maker>,
    /// Threads that the run may use.
    pub threads: usize,
    /// Where it computes, as `--device` takes it.
    #[serde(default = "cpu")]
    pub device: String,
    /// The card's name, if that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// Cores of the machine.
    pub host_cores: usize,
    /// Operating system and processor.
    pub host: String,
    /// The command line.
    pub command: Vec<String>,
    /// The `key=value` settings on top of the recipe's file. A resumed run takes them again.
    pub settings: Vec<String>,
    /// SHA-256 of each task file: on resume they must be the same.
    pub task_files: BTreeMap<String, String>,
    /// SHA-256 of each file of a reward, as it last was: a reward that failed may be mended before the run goes on.
    #[serde(default)]
    pub reward_files: BTreeMap<String, String>,
    /// SHA-256 of each file of the models that stages read where they lie, such as a teacher's: wherever one is loaded, they
    /// must be the same. The model that the run begins with is copied, and not among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model_files: BTreeMap<String, String>,
    /// The stage that it is to stop after (`--only`); where it breaks off before, it still is when it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// When it was resumed, in seconds since 1970.
    #[serde(default)]
    pub resumed: Vec<u64>,
}

impl RunInfo {
    /// Looks at this process and its machine.
    ///
    /// # Errors
    /// If a task file cannot be read.
    pub fn collect(
        seed: u64,
        threads: usize,
        command: &[String],
        settings: &[String],
        task_files: &[PathBuf],
    ) -> anyhow::Result<RunInfo> {
        Ok(RunInfo {
            seed,
            maker: Maker::here(),
            other_makers: Vec::new(),
            threads,
            device: cpu(),
            card: None,
            host_cores: std::thread::available_parallelism().map_or(1, usize::from),
            host: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            command: command.to_vec(),
            settings: settings.to_vec(),
            task_files: hash_files("task file", task_files)?,
            reward_files: BTreeMap::new(),
            model_files: BTreeMap::new(),
            until: None,
            started: now(),
            resumed: Vec::new(),
        })
    }

    /// All that it was worked on with, in order.
    pub fn makers(&self) -> impl Iterator<Item = &Maker> {
        std::iter::once(&self.maker).chain(&self.other_makers)
    }

    /// Whether what lies in one place now is what was noted of another; none where nothing was noted of that.
    pub(super) fn is_same(&self, then: &Path, now: &Path) -> anyhow::Result<Option<bool>> {
        let name = then.display().to_string();
        if let Some(hash) = self.task_files.get(&name).or_else(|| self.reward_files.get(&name)) {
            return Ok(Some(now.is_file() && hash_file("file", now)? == *hash));
        }
        let model = as_in(now, of_folder(then, &self.model_files));
        if model.is_empty() {
            return Ok(None);
        }
        Ok(Some(now.is_dir() && model_change(now, &model)?.is_none()))
    }

    /// Notes of a new place what was noted of the one before. That stays: a run whose recipe still names it can then go on.
    pub(super) fn note_place(&mut self, then: &Path, now: &Path) {
        for files in [&mut self.task_files, &mut self.reward_files] {
            if let Some(hash) = files.get(&then.display().to_string()).cloned() {
                files.insert(now.display().to_string(), hash);
            }
        }
        let model = as_in(now, of_folder(then, &self.model_files));
        self.model_files.extend(model);
    }
}

/// Where runs computed before they noted it.
fn cpu() -> String {
    crate::place::CPU.to_owned()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// SHA-256 of each file, by its path as given;
/// `what` the files are, for the error's text.
pub(crate) fn hash_files(what: &str, files: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    files.iter().map(|file| Ok((file.display().to_string(), hash_file(what, file)?))).collect()
}

/// How a file that a recipe reads differs from the one whose hash a run noted: the first that does. A file that it did not note
/// may be any.
pub(super) fn input_change(
    recipe: &Recipe,
    noted: &BTreeMap<String, String>,
    run: &Path,
) -> anyhow::Result<Option<String>> {
    let tasks = recipe.task_files().map(|file| ("task file", file));
    let demonstrations = recipe.data_files().map(|file| ("file of demonstrations", file));
    for (what, file) in tasks.chain(demonstrations) {
        let name = file.display().to_string();
        let Some(before) = noted.get(&name) else { continue };
        let run = run.display();
        let change = match file.try_exists() {
            Ok(false) => format!("the {what} {name} is gone, which the run in {run} reads"),
            _ if hash_file(what, file)? == *before => continue,
            _ => format!("the {what} {name} is not what it was when the run in {run} began"),
        };
        return Ok(Some(change));
    }
    Ok(None)
}

/// Whether a file of a Hugging Face folder is part of the model: not what a trainer keeps beside it, nor the same
/// weights in other formats.
pub(crate) fn belongs_to_model(name: &str) -> bool {
    let weights = name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".index.json"));
    weights
        || name.starts_with("tokenizer")
        || ["config.json", "generation_config.json", "special_tokens_map.json", "chat_template.jinja"].contains(&name)
}

/// SHA-256 of each file of the model in a folder.
pub(crate) fn hash_model(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let reading = || format!("cannot read the model in {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if entry.file_name().to_str().is_some_and(belongs_to_model) {
            files.push(entry.path());
        }
    }
    hash_files("file of a model", &files)
}

/// How the model in a folder differs from the one that was there when a run noted its files: the folder and the first file
/// that differs. A run that did not note them yet takes any.
pub(super) fn model_change(folder: &Path, noted: &BTreeMap<String, String>) -> anyhow::Result<Option<String>> {
    let before: BTreeMap<&String, &String> = of_folder(folder, noted).collect();
    if before.is_empty() {
        return Ok(None);
    }
    let now = hash_model(folder)?;
    let mut files = before.keys().copied().chain(now.keys());
    let Some(changed) = files.find(|file| before.get(file).copied() != now.get(*file)) else { return Ok(None) };
    let name = Path::new(changed).file_name().unwrap_or_default().to_string_lossy();
    let how = match (before.contains_key(changed), now.contains_key(changed)) {
        (true, true) => "is another",
        (true, false) => "is gone",
        _ => "is new",
    };
    Ok(Some(format!("the model in {} is not what it was when the run began: its {name} {how}", folder.display())))
}

/// How the model in a folder differs from the copy that a run made of it when it began.
pub(super) fn copy_change(folder: &Path, copy: &Path) -> anyhow::Result<Option<String>> {
    model_change(folder, &as_in(folder, hash_model(copy)?.iter()))
}

/// What was noted of the files in a folder.
fn of_folder<'a>(folder: &Path, noted: &'a BTreeMap<String, String>) -> impl Iterator<Item = (&'a String, &'a String)> {
    noted.iter().filter(move |(file, _)| Path::new(file).parent() == Some(folder))
}

/// What was noted of files, as if they lay in this folder.
fn as_in<'a>(folder: &Path, noted: impl Iterator<Item = (&'a String, &'a String)>) -> BTreeMap<String, String> {
    let there = |(file, hash): (&String, &String)| {
        let name = Path::new(file).file_name().unwrap_or_default().to_owned();
        (folder.join(name).display().to_string(), hash.clone())
    };
    noted.map(there).collect()
}

/// That the model in a folder is the one that was there when the run began.
///
/// # Errors
/// It is not.
pub(super) fn check_same_model(folder: &Path, noted: &BTreeMap<String, String>) -> anyhow::Result<()> {
    match model_change(folder, noted)? {
        Some(what) => Err(Unusable::put_back(what, "put the model back that was there").into()),
        None => Ok(()),
    }
}
