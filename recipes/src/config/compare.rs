//! Whether two recipes are the same: for resuming a run, and for sharing a base.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::recipe::Recipe;
use super::stages::{Stage, StageSettings};
use crate::hash::hex;
use crate::wording::counted;

/// Keys of stages that change how much memory is taken, and no bit of what comes out.
const OF_MEMORY: [&str; 2] = ["checkpoint_layers", "moments_on_host"];

impl Recipe {
    /// A hash of all that makes the base of a pretrain stage: two recipes with the same one may share it.
    #[must_use]
    pub fn base_fingerprint(&self, stage: &Stage) -> String {
        // Changes when the same settings make another base.
        const FORMAT: &str = "base-5";
        let model = stage.model.as_ref().unwrap_or(&self.model);
        let mut settings = serde_json::json!(stage.settings);
        if let Some(keys) = settings.as_object_mut() {
            keys.retain(|key, _| !OF_MEMORY.contains(&key.as_str()));
        }
        let made_of = serde_json::json!([FORMAT, self.seed, model, self.tasks.families, settings]);
        let digest = Sha256::digest(made_of.to_string());
        hex(&digest[..16])
    }

    /// Every setting as `path.to.key = value`, stages and rewards by their names.
    #[must_use]
    pub fn flattened(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        if let Ok(value) = serde_json::to_value(self) {
            flatten("", &value, &mut rows);
        }
        rows
    }

    /// The first setting that differs from another recipe and changes what a run does: its key and
    /// the two values.
    #[must_use]
    pub fn difference(&self, other: &Recipe) -> Option<(String, String, String)> {
        // What it is called, how often it is saved and what it takes of memory leave the run as it is.
        let harmless = |key: &str| {
            let last = key.rsplit('.').next().unwrap_or(key);
            ["description", "name"].contains(&key)
                || ["checkpoint_every", "keep_checkpoints"].contains(&last)
                || OF_MEMORY.contains(&last)
        };
        let (mine, theirs) = (self.flattened(), other.flattened());
        let find = |rows: &[(String, String)], key: &str| {
            let row = rows.iter().find(|(name, _)| name == key);
            row.map_or_else(|| "not set".to_owned(), |(_, value)| value.clone())
        };
        let keys = mine.iter().chain(&theirs).map(|(key, _)| key);
        keys.filter(|key| !harmless(key)).find_map(|key| {
            let (mine, theirs) = (find(&mine, key), find(&theirs, key));
            (mine != theirs).then(|| (key.clone(), mine, theirs))
        })
    }

    /// Takes from another recipe of the same form the places of what it reads, where `same` says that what lies there is what
    /// lay here; which these are, as they were and as they are. Where an export is written changes nothing of the model.
    pub(crate) fn take_places<E>(
        &mut self,
        other: &Recipe,
        same: impl Fn(&Path, &Path) -> Result<bool, E>,
    ) -> Result<Vec<(PathBuf, PathBuf)>, E> {
        let mut other = other.clone();
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            if let (StageSettings::Export(mine), StageSettings::Export(theirs)) = (&mut mine.settings, &theirs.settings)
            {
                mine.path.clone_from(&theirs.path);
            }
        }
        let mut moved = Vec::new();
        let (mine, theirs) = (self.paths_mut(), other.paths_mut());
        if mine.len() != theirs.len() {
            return Ok(moved);
        }
        for (mine, theirs) in mine.into_iter().zip(theirs) {
            if mine != theirs && same(mine, theirs)? {
                let before = std::mem::replace(mine, theirs.clone());
                if !moved.iter().any(|(known, _)| *known == before) {
                    moved.push((before, theirs.clone()));
                }
            }
        }
        Ok(moved)
    }
}

fn flatten(path: &str, value: &serde_json::Value, rows: &mut Vec<(String, String)>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                flatten(&join(key), value, rows);
            }
        }
        serde_json::Value::Array(elements) if elements.iter().any(serde_json::Value::is_object) => {
            rows.push((join("count"), counted(elements.len(), "entry", "entries")));
            if path == "stage" {
                // A stage begins with the policy of the one before it.
                let names: Vec<&str> = elements.iter().filter_map(|stage| stage["name"].as_str()).collect();
                rows.push((join("order"), names.join(", ")));
            }
            for element in elements {
                let name = element["name"].as_str().unwrap_or("?");
                // A stage is addressed by its name alone, as in `--set`.
                let path = if path == "stage" { name.to_owned() } else { join(name) };
                flatten(&path, element, rows);
            }
        }
        _ => rows.push((path.to_owned(), value.to_string())),
    }
}
