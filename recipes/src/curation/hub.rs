//! Sources of a job that are data sets of the Hub: replaced by files before the first step.
//!
//! Which commit and which part a name meant is kept in `hub.json` in the job's folder, so that the job goes on with the same
//! rows when the data set has got new ones. Without that file, or with another revision in the job, it is asked again.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use datasets::Split;
use datasets::curate::{EvaluationSet, FileSource, Job, Source, Step};
use datasets::source::hub::{HubFiles, HubName};

use crate::hub::{Fetcher, hub_name};
use crate::run::write_whole;

/// The file that holds them.
pub(super) const PINS: &str = "hub.json";

/// What each name of a job means: commit and part.
#[derive(Default)]
pub(super) struct Pins(BTreeMap<String, String>);

impl Pins {
    /// Keeps them in the job's folder.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        write_whole(&folder.join(PINS), (serde_json::to_string_pretty(&self.0)? + "\n").as_bytes())
    }
}

/// The job with files in place of names, for a job in this folder.
pub(super) fn with_hub_files(job: &Job, folder: &Path, fetcher: &Fetcher<'_>) -> anyhow::Result<(Job, Pins)> {
    let path = folder.join(PINS);
    let before: BTreeMap<String, String> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut pins = Pins::default();
    let mut fetch = |name: &HubName, purpose: Split, optional: bool| -> anyhow::Result<Option<HubFiles>> {
        let key = format!("{} {name}", if purpose == Split::Train { "load" } else { "against" });
        let pinned = before.get(&key).and_then(|text| hub_name(Path::new(text)).ok().flatten());
        let found = match fetcher.fetch(pinned.as_ref().unwrap_or(name), purpose) {
            Ok(found) => found,
            Err(error) if optional => {
                fetcher.reporter.note(&format!("{error:#}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        pins.0.insert(key, format!("hub:{}", found.name));
        Ok(Some(found))
    };
    let mut job = job.clone();
    for named in &mut job.steps {
        match &mut named.step {
            Step::Load(load) => {
                let mut sources = Vec::new();
                for source in std::mem::take(&mut load.sources) {
                    let Source::File(file) = source else {
                        sources.push(source);
                        continue;
                    };
                    let found = match hub_name(&file.path)? {
                        Some(name) => fetch(&name, Split::Train, file.optional)?,
                        None => None,
                    };
                    match found {
                        Some(found) => sources.extend(files_of(&file, &found, &fetcher.hub.endpoint)),
                        None => sources.push(Source::File(file)),
                    }
                }
                load.sources = sources;
            }
            Step::Decontaminate(step) => {
                let mut against = Vec::new();
                for set in std::mem::take(&mut step.against) {
                    let found = match hub_name(&set.path)? {
                        Some(name) => fetch(&name, Split::Held, set.optional)?,
                        None => None,
                    };
                    match found {
                        Some(found) => {
                            against.extend(found.files.into_iter().map(|path| EvaluationSet { path, ..set.clone() }));
                        }
                        None => against.push(set),
                    }
                }
                step.against = against;
            }
            _ => {}
        }
    }
    Ok((job, pins))
}

/// A source for each file of a data set, with what the Hub says about it where the job does not.
fn files_of(file: &FileSource, found: &HubFiles, endpoint: &str) -> Vec<Source> {
    let revision = found.name.revision.as_deref().unwrap_or_default();
    let page = format!("{}/datasets/{}/tree/{revision}", endpoint.trim_end_matches('/'), found.name.repo);
    let source = |path: &std::path::PathBuf| {
        Source::File(FileSource {
            path: path.clone(),
            licence: file.licence.clone().or_else(|| found.licence.clone()),
            origin: file.origin.clone().or_else(|| Some(page.clone())),
            ..file.clone()
        })
    };
    found.files.iter().map(source).collect()
}
