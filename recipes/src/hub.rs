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

/// The data set that a path names, if it names one.
pub(crate) fn hub_name(path: &Path) -> anyhow::Result<Option<HubName>> {
    HubName::recognise(path).transpose().with_context(|| format!("cannot read {}", path.display()))
}
