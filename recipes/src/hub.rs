//! Data sets of the Hugging Face Hub where a command, a job or a recipe names task files: fetched before anything else, and
//! replaced by the files on disk.

use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::Split;
use datasets::source::hub::{Hub, HubFiles, HubName};

use crate::interrupt::Interrupt;
use crate::progress::Reporter;

/// Fetches data sets, and shows how far each is.
pub(crate) struct Fetcher<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) reporter: &'a Reporter,
    pub(crate) interrupt: &'a Interrupt,
}

impl Fetcher<'_> {
    /// The files of a data set; what is said about it is noted.
    pub(crate) fn fetch(&self, name: &HubName, purpose: Split) -> anyhow::Result<HubFiles> {
        let phase = self.reporter.inner_phase(&name.to_string(), None, "KiB");
        let watch = |file: &str, done: u64, all: u64| {
            phase.set_message(&format!("{file}: {} of {} KiB", done.div_ceil(1024), all.div_ceil(1024)));
            !self.interrupt.requested()
        };
        let found = self.hub.fetch(name, purpose, &watch)?;
        drop(phase);
        self.reporter.note(found.note.as_deref().unwrap_or(&format!("{name} is {}", found.name)));
        Ok(found)
    }

    /// Task files with the names of data sets replaced by their files; `purpose` chooses their split where a name does not.
    pub(crate) fn task_files(&self, paths: &[PathBuf], purpose: Split) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in paths {
            match hub_name(path)? {
                Some(name) => files.extend(self.fetch(&name, purpose)?.files),
                None => files.push(path.clone()),
            }
        }
        Ok(files)
    }
}

/// What others know a file or a model's folder by, whom the folders above it tell nothing: its name on the Hub where it
/// lies in the Hub's cache, else its own.
pub(crate) fn known_as(path: &Path) -> String {
    if HubName::recognise(path).is_some() {
        return path.display().to_string();
    }
    let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
    let cached = names.windows(2).filter(|pair| pair[1] == "snapshots").find_map(|pair| {
        let name = pair[0].strip_prefix("datasets--").or_else(|| pair[0].strip_prefix("models--"))?;
        Some(name.replacen("--", "/", 1))
    });
    cached.unwrap_or_else(|| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned())
}

/// The data set that a path names, if it names one.
pub(crate) fn hub_name(path: &Path) -> anyhow::Result<Option<HubName>> {
    HubName::recognise(path).transpose().with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_of_this_machine_is_in_a_name() {
        #[track_caller]
        fn check(path: &str, expected: &str) {
            assert_eq!(known_as(Path::new(path)), expected);
        }
        check("/home/me/tasks/gsm8k.jsonl", "gsm8k.jsonl");
        check("/home/me/Qwen2.5-0.5B/", "Qwen2.5-0.5B");
        check("../model", "model");
        check("openai/gsm8k", "openai/gsm8k");
        let commit = "e53f048856ff4f594e959d75785d2c2d37b678ee";
        check(&format!("/c/hub/datasets--openai--gsm8k/snapshots/{commit}/main/train.parquet"), "openai/gsm8k");
        check(&format!("/c/hub/models--Qwen--Qwen2.5-0.5B/snapshots/{commit}"), "Qwen/Qwen2.5-0.5B");
    }
}
