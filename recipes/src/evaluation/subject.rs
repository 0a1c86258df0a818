//! The model that is examined: found from what was typed, told apart from others, loaded.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use policy::checkpoint::latest_valid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{Recipe, RecipeError};
use crate::hash::hex;
use crate::lineage::trained_in;
use crate::run::{RunDir, belongs_to_model};

/// A model folder and what sets it apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// What tables call it.
    pub name: String,
    /// The folder with its `config.json`.
    pub folder: PathBuf,
    /// SHA-256 over the names and contents of the model's files.
    pub fingerprint: String,
}

impl Subject {
    /// The model that `typed` means: a Hugging Face folder, a checkpoint, or a run or one of its stages, of which the newest
    /// model is taken.
    ///
    /// # Errors
    /// If there is none, or it is without a tokenizer.
    pub fn find(typed: &Path) -> anyhow::Result<Subject> {
        let subject = Subject::named(typed)?;
        Ok(Subject { fingerprint: fingerprint(&subject.folder)?, ..subject })
    }

    /// The same without its fingerprint, for which all of its weights are read.
    pub(crate) fn named(typed: &Path) -> anyhow::Result<Subject> {
        let (folder, of_run) = Subject::folder_of(typed)?;
        if !folder.join("tokenizer.json").is_file() {
            let error = RecipeError::new(folder.display().to_string(), "the model has no tokenizer.json");
            return Err(error.hint("put the tokenizer's files beside config.json: questions are asked as text").into());
        }
        let absolute = std::path::absolute(&folder).with_context(|| format!("cannot find {}", folder.display()))?;
        Ok(Subject { name: name_of(&absolute, of_run), fingerprint: String::new(), folder: absolute })
    }

    /// The folder with the `config.json` of the model that `typed` means, and whether `typed` is a run, of which it is the
    /// newest.
    pub(crate) fn folder_of(typed: &Path) -> anyhow::Result<(PathBuf, bool)> {
        if typed.join("config.json").is_file() {
            return Ok((typed.to_owned(), false));
        }
        if typed.join("recipe.toml").is_file() {
            return Ok((newest_model(typed)?, true));
        }
        if let Some(folder) = newest_checkpoint(typed, typed)? {
            return Ok((folder, false));
        }
        if typed.join("adapter_config.json").is_file() {
            return Err(RecipeError::no_model(typed).into());
        }
        let what = match std::fs::metadata(typed) {
            Ok(there) if there.is_dir() => "it holds neither a config.json nor a run",
            Ok(_) => "it is a file",
            Err(_) => "there is no such folder",
        };
        let error = RecipeError::new(typed.display().to_string(), format!("this is no model: {what}"));
        Err(error.hint("name a Hugging Face folder, a checkpoint, or a run's folder below runs/").into())
    }

    /// Whether it was certainly not trained here.
    pub(crate) fn is_from_elsewhere(&self) -> bool {
        matches!(trained_in(&self.folder, true), Ok(None))
    }

    /// Names for two models that are to be compared: of two with one name, each is called after the folder above it as well, if that
    /// tells them apart.
    pub(super) fn tell_apart(first: &mut Subject, second: &mut Subject) {
        if first.name != second.name {
            return;
        }
        let above = |subject: &Subject| subject.folder.parent().and_then(Path::file_name).map(OsStr::to_owned);
        if above(first) != above(second) {
            for subject in [&mut *first, &mut *second] {
                let above = above(subject).unwrap_or_default();
                subject.name = plain(&format!("{}-{}", above.to_string_lossy(), subject.name));
            }
        }
        if first.name == second.name {
            second.name.push_str("-2");
        }
    }
}

/// The newest model of a run: the last checkpoint of its last stage that has one, else its base. A damaged one is not passed
/// over: what comes of it would be said of another model.
fn newest_model(run: &Path) -> anyhow::Result<PathBuf> {
    let recipe = Recipe::read(&run.join("recipe.toml"), &[]).with_context(|| {
        format!(
            "cannot tell which model of the run in {} is its newest: name a folder below its checkpoints/, and the template to \
             ask it in with --template",
            run.display()
        )
    })?;
    for stage in recipe.stages.iter().rev() {
        if let Some(path) = newest_checkpoint(&RunDir::folder_of(run, &recipe, "checkpoints", &stage.name), run)? {
            return Ok(path);
        }
    }
    let base = run.join("base");
    if base.join("config.json").is_file() {
        return Ok(base);
    }
    Err(RecipeError::new(run.display().to_string(), "the run has no model yet").hint("let it go on: --resume").into())
}

/// The newest of a stage's checkpoints, if it has one; `typed` is what the person asked for.
fn newest_checkpoint(stage: &Path, typed: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !stage.is_dir() {
        return Ok(None);
    }
    let found = latest_valid(stage)?;
    if let Some((damaged, why)) = found.rejected.first() {
        anyhow::bail!(
            "the newest model in {} is damaged: {}: {why}\n  hint: name another of its checkpoints, or let the run go on from \
             the last whole one: --resume",
            typed.display(),
            damaged.display()
        );
    }
    Ok(found.path)
}

/// `r1-zero` for a run, `r1-zero-step-000090` for one of its checkpoints, else the folder's own name.
fn name_of(folder: &Path, of_run: bool) -> String {
    let parts: Vec<String> = folder.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let own = parts.last().cloned().unwrap_or_else(|| "model".to_owned());
    let run = parts.iter().rposition(|part| part == "checkpoints").or_else(|| of_run.then(|| parts.len() - 1));
    let name = match run.and_then(|place| parts.get(place.checked_sub(1)?)) {
        Some(run) if of_run => run.clone(),
        Some(run) => format!("{run}-{own}"),
        None => own,
    };
    plain(&name)
}

/// A name that a folder can have.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// SHA-256 over the model's files, by name.
fn fingerprint(folder: &Path) -> anyhow::Result<String> {
    let reading = || format!("cannot read the model in {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        names.extend(name.to_str().filter(|name| belongs_to_model(name)).map(str::to_owned));
    }
    names.sort();
    let mut hash = Sha256::new();
    for name in names {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(&name);
        let mut file = File::open(folder.join(&name)).with_context(reading)?;
        let length = file.metadata().with_context(reading)?.len();
        hash.update(length.to_le_bytes());
        std::io::copy(&mut file, &mut hash).with_context(reading)?;
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_after_what_people_know_it_by() {
        fn check(folder: &str, of_run: bool, expected: &str) {
            assert_eq!(name_of(Path::new(folder), of_run), expected, "{folder}");
        }
        check("/m/Qwen2.5-0.5B", false, "Qwen2.5-0.5B");
        check("/m/runs/r1-zero-2/checkpoints/step-000090", true, "r1-zero-2");
        check("/m/runs/r1-zero-2/checkpoints/step-000090", false, "r1-zero-2-step-000090");
        check("/m/runs/r1/checkpoints/second/step-000010", true, "r1");
        check("/m/runs/r1-zero/base", true, "r1-zero");
        check("/m/my model", false, "my-model");
    }

    #[test]
    fn two_models_have_two_names() {
        let subject = |folder: &str| Subject {
            name: name_of(Path::new(folder), false),
            folder: folder.into(),
            fingerprint: String::new(),
        };
        let names = |first: &str, second: &str| {
            let (mut first, mut second) = (subject(first), subject(second));
            Subject::tell_apart(&mut first, &mut second);
            (first.name, second.name)
        };
        let pair = |first: &str, second: &str| (first.to_owned(), second.to_owned());
        assert_eq!(names("/m/a", "/m/b"), pair("a", "b"));
        assert_eq!(names("/runs/one/export", "/runs/two/export"), pair("one-export", "two-export"));
        assert_eq!(names("/x/one/export", "/y/one/export"), pair("export", "export-2"));
    }

    #[test]
    fn what_is_no_model_is_named() {
        #[track_caller]
        fn check(folder: &Path, expected: &str) {
            let error = Subject::find(folder).unwrap_err();
            assert!(error.is::<RecipeError>() && error.to_string().contains(expected), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("none"), "there is no such folder");
        check(folder.path(), "it holds neither a config.json nor a run");
        std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
        check(folder.path(), "merge it into its model first");
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        check(folder.path(), "the model has no tokenizer.json");
    }

    #[test]
    fn a_run_and_a_stage_stand_for_their_newest_model() {
        let run = tempfile::tempdir().unwrap();
        let text = "[model]\npath = \"model\"\n[[stage]]\nkind = \"grpo\"\nname = \"first\"\n[[stage]]\nkind = \"grpo\"\n\
                    name = \"last\"\n";
        std::fs::write(run.path().join("recipe.toml"), text).unwrap();
        let checkpoint = |name: &str| {
            let path = run.path().join("checkpoints").join(name);
            let writer = policy::checkpoint::CheckpointWriter::begin(&path).unwrap();
            std::fs::write(writer.path().join("config.json"), "{}").unwrap();
            writer.finish().unwrap();
            path
        };
        checkpoint("first/step-000009");
        let first = checkpoint("first/step-000010");
        let last = checkpoint("last/step-000002");
        let found = |inner: &str| Subject::folder_of(&run.path().join(inner)).unwrap();
        assert_eq!(found(""), (last.clone(), true));
        assert_eq!(found("checkpoints/first"), (first.clone(), false));
        assert_eq!(found("checkpoints/first/step-000010"), (first.clone(), false));
        std::fs::write(last.join("config.json"), "{").unwrap();
        for inner in ["", "checkpoints/last"] {
            let error = Subject::folder_of(&run.path().join(inner)).unwrap_err().to_string();
            assert!(error.contains("step-000002: ") && error.contains("is damaged"), "{error}");
        }
    }

    #[test]
    fn another_weight_makes_another_model() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "1")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let first = Subject::find(folder.path()).unwrap();
        std::fs::write(folder.path().join("optimizer.safetensors"), "moments").unwrap();
        assert_eq!(Subject::find(folder.path()).unwrap(), first);
        std::fs::write(folder.path().join("model.safetensors"), "2").unwrap();
        assert_ne!(Subject::find(folder.path()).unwrap().fingerprint, first.fingerprint);
        // Who does not ask for it reads no weight.
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
        assert!(Subject::find(folder.path()).is_err());
        assert_eq!(Subject::named(folder.path()).unwrap(), Subject { fingerprint: String::new(), ..first });
    }
}
