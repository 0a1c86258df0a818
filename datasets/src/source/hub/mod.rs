//! Data sets of the Hugging Face Hub: from a name to files on disk, with the commit that they are of.
//!
//! Files lie where `huggingface_hub` and the `hf` command keep theirs (`$HF_HOME/hub`), so that what one has fetched the other
//! finds: contents under `blobs/`, links to them under `snapshots/COMMIT/`, and in `refs/BRANCH` the commit that a branch was
//! seen at. What is there is not fetched again, and without a network it is enough.
//!
//! | file | what it holds |
//! |---|---|
//! | `name` | what a data set is called |
//! | `choose` | which of its files are read |
//! | `cache` | what is on disk |
//! | `client` | asking the Hub, fetching a file |

mod cache;
mod choose;
mod client;
mod name;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::TaskStream;
use crate::error::DatasetError;
use crate::task::Split;
use cache::Cache;
use choose::{Part, choose, is_whole};
use client::{Client, Trouble};
pub use name::HubName;
use name::is_commit;

/// The card of a data set, which says its licence.
const CARD: &str = "README.md";

/// The Hub, or what stands in for it, and where its files are kept.
#[derive(Clone)]
pub struct Hub {
    /// `https://huggingface.co` or a mirror.
    pub endpoint: String,
    /// The folder of data sets and models.
    pub cache: PathBuf,
    /// For data sets that are not for everybody.
    pub token: Option<String>,
    /// Whether to be content with what is on disk.
    pub offline: bool,
    /// How long to wait for an answer, and for the next piece of a file.
    pub patience: Duration,
}

/// The files of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFiles {
    /// The name with commit and part: it always means these files.
    pub name: HubName,
    /// Where those lie that hold rows, in order.
    pub files: Vec<PathBuf>,
    /// The licence, as the data set's card states it.
    pub licence: Option<String>,
    /// What a person should know.
    pub note: Option<String>,
}

/// How far a file is: its name, bytes done, bytes in all. `false` stops.
pub type Watch<'a> = &'a dyn Fn(&str, u64, u64) -> bool;

impl fmt::Debug for Hub {
    /// Without the token: what is shown may be seen.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// The Hub as the environment has it, by the names that `huggingface_hub` uses: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`,
    /// `HF_TOKEN`, `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let home = folder("HF_HOME").unwrap_or_else(|| {
            let caches = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
            caches.unwrap_or_else(|| PathBuf::from(".cache")).join("huggingface")
        });
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = variable("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok());
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no")),
            patience: Duration::from_secs(15),
        }
    }

    /// The files of a data set, fetched where they are not there yet. `purpose` decides between its splits where the name does
    /// not: [`Split::Train`] for what is trained on, [`Split::Held`] for what one is examined by.
    ///
    /// # Errors
    /// If there is no such data set, part or revision, or neither the Hub nor a copy on disk can be had; if `watch` says no.
    pub fn fetch(&self, name: &HubName, purpose: Split, watch: Watch<'_>) -> Result<HubFiles, DatasetError> {
        let cache = Cache::of(&self.cache, name);
        // A commit never changes, so what is there of it needs no question.
        if let (true, Some(part)) = (is_commit(name.revision()), &name.part)
            && let Some(found) = cached(&cache, name, name.revision(), Some(part), purpose)
        {
            return Ok(found);
        }
        let unreachable = if self.offline {
            "HF_HUB_OFFLINE is set".to_owned()
        } else {
            match self.fetch_anew(&cache, name, purpose, watch) {
                Ok(files) => return Ok(files),
                Err(Trouble::Stopped) => return Err(DatasetError::Stopped),
                Err(Trouble::Refused(what)) => return Err(self.error(name, what)),
                Err(Trouble::Unreachable(what)) => what,
            }
        };
        let commit =
            if is_commit(name.revision()) { Some(name.revision().to_owned()) } else { cache.commit(name.revision()) };
        let found = commit.and_then(|commit| cached(&cache, name, &commit, name.part.as_deref(), purpose));
        let Some(mut found) = found else {
            let what = format!(
                "{unreachable}, and there is no copy in {}\n  hint: fetch it where there is a network (hf download {} \
                 --repo-type dataset) and copy that folder, or name a file",
                self.cache.display(),
                name.repo
            );
            return Err(self.error(name, what));
        };
        found.note = Some(format!("{}: the copy on disk is used ({unreachable})", found.name));
        Ok(found)
    }

    fn fetch_anew(&self, cache: &Cache, name: &HubName, purpose: Split, watch: Watch<'_>) -> Result<HubFiles, Trouble> {
        let client = Client::new(self)?;
        let listing = client.list(name)?;
        let part = choose(&listing.files, name.part.as_deref(), purpose).map_err(Trouble::Refused)?;
        let card = listing.files.iter().filter(|file| *file == CARD);
        for file in part.files.iter().chain(card) {
            if cache.file(&listing.commit, file).is_none() {
                client.fetch(cache, name, &listing.commit, file, watch)?;
            }
        }
        if !is_commit(name.revision()) {
            cache.note_commit(name.revision(), &listing.commit).map_err(Trouble::Refused)?;
        }
        found(cache, name, &listing.commit, part).ok_or_else(|| Trouble::Refused("its files went away".to_owned()))
    }

    fn error(&self, name: &HubName, what: String) -> DatasetError {
        DatasetError::Hub { name: name.to_string(), endpoint: self.endpoint.clone(), what }
    }
}

/// What the cache holds of a commit, if the part is there without gaps.
fn cached(cache: &Cache, name: &HubName, commit: &str, asked: Option<&str>, purpose: Split) -> Option<HubFiles> {
    let part = choose(&cache.list(commit), asked, purpose).ok().filter(is_whole)?;
    found(cache, name, commit, part)
}

fn found(cache: &Cache, name: &HubName, commit: &str, part: Part) -> Option<HubFiles> {
    let files = part.files.iter().map(|file| cache.file(commit, file)).collect::<Option<Vec<_>>>()?;
    let files = without_empty(files);
    let licence =
        cache.file(commit, CARD).and_then(|card| std::fs::read_to_string(card).ok()).and_then(|card| licence(&card));
    let name = HubName { repo: name.repo.clone(), revision: Some(commit.to_owned()), part: Some(part.label) };
    Some(HubFiles { name, files, licence, note: None })
}

/// The files that hold rows. A data set that was filtered in pieces has pieces of which nothing is left; only where that is so
/// of all of them is it worth an error, which whoever reads the first of them makes.
fn without_empty(files: Vec<PathBuf>) -> Vec<PathBuf> {
    if files.len() < 2 {
        return files;
    }
    let filled: Vec<PathBuf> = files.iter().filter(|file| !TaskStream::is_empty(file)).cloned().collect();
    if filled.is_empty() { files.into_iter().take(1).collect() } else { filled }
}

/// The licence in the head of a card: `license: mit`, or a list below `license:`.
#[must_use]
pub fn licence(card: &str) -> Option<String> {
    let head = card.strip_prefix("---")?.split("\n---").next()?;
    let mut lines = head.lines().map(str::trim_end).skip_while(|line| !line.starts_with("license:"));
    let word = |text: &str| text.trim().trim_matches(['"', '\'', '[', ']']).to_owned();
    let stated = word(lines.next()?.strip_prefix("license:")?);
    if !stated.is_empty() {
        return Some(stated);
    }
    let listed: Vec<String> = lines.map_while(|line| line.trim_start().strip_prefix("- ").map(word)).collect();
    (!listed.is_empty()).then(|| listed.join(", "))
}

#[cfg(test)]
mod tests;
