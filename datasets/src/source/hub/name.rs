//! What a data set of the Hub is called: `openai/gsm8k`, `openai/gsm8k@revision`, `openai/gsm8k:main/test`, or both; each
//! also after `hub:`, where it could be taken for a path.

use std::fmt;
use std::path::Path;

use super::super::stream::file_kind;
use crate::error::DatasetError;

/// The mark that can stand before a name.
const MARK: &str = "hub:";

/// The branch that is meant where no revision is named.
pub(super) const DEFAULT_BRANCH: &str = "main";

/// A data set of the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// `owner/name`.
    pub repo: String,
    /// A branch, a tag, or the hash of a commit.
    pub revision: Option<String>,
    /// Which of its files: one of them by its path, or a part such as `main/test` (see [`super::choose()`]).
    pub part: Option<String>,
}

impl HubName {
    /// The name that this text is, if it is meant as one: after `hub:` anything is, without it what has the form
    /// `owner/name`, carries no file's ending, and is no file that exists.
    ///
    /// # Errors
    /// If it stands after `hub:` and has another form.
    pub fn recognise(path: &Path) -> Option<Result<Self, DatasetError>> {
        let text = path.to_str()?;
        if let Some(marked) = text.strip_prefix(MARK) {
            return Some(Self::parse(marked).ok_or_else(|| DatasetError::HubName { name: text.to_owned() }));
        }
        let name = Self::parse(text)?;
        // A dot that is no file's ending is rare in names, and frequent in mistyped paths.
        let plain = Path::new(&name.repo).extension().is_none() && !path.exists();
        plain.then_some(Ok(name))
    }

    fn parse(text: &str) -> Option<Self> {
        let (text, part) = match text.split_once(':') {
            Some((text, part)) => (text, Some(part.trim_end_matches('/'))),
            None => (text, None),
        };
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = repo.split_once('/')?;
        let good = |word: &str| {
            word.starts_with(|letter: char| letter.is_ascii_alphanumeric())
                && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
                // The Hub allows neither; a folder of the cache is called after the name.
                && !word.contains("--")
                && !word.contains("..")
        };
        let relative = |text: &str| is_relative(text);
        (good(owner) && good(name) && revision.is_none_or(relative) && part.is_none_or(relative)).then(|| Self {
            repo: repo.to_owned(),
            revision: revision.map(str::to_owned),
            part: part.map(str::to_owned),
        })
    }

    /// The data set of a commit's file in the Hub's cache, and the commit: what `.../datasets--openai--gsm8k/snapshots/e53f.../`
    /// says.
    pub(crate) fn of_cached_file(path: &Path) -> Option<(String, String)> {
        let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
        names.windows(3).find_map(|names| {
            let repo = names[0].strip_prefix("datasets--")?.replacen("--", "/", 1);
            (names[1] == "snapshots" && is_commit(names[2])).then(|| (repo, names[2].to_owned()))
        })
    }

    /// The folder of the data set in a cache.
    pub(super) fn folder(&self) -> String {
        format!("datasets--{}", self.repo.replace('/', "--"))
    }

    /// The revision that is meant.
    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_BRANCH)
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.repo)?;
        if let Some(revision) = &self.revision {
            write!(formatter, "@{revision}")?;
        }
        match &self.part {
            Some(part) => write!(formatter, ":{part}"),
            None => Ok(()),
        }
    }
}

/// Whether the text is the hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the text is a path that leads nowhere but downwards.
pub(super) fn is_relative(text: &str) -> bool {
    !text.is_empty()
        && text.split('/').all(|name| !name.is_empty() && name != "." && name != "..")
        && !text.contains('\\')
}

/// Whether a file of this name holds rows.
pub(super) fn holds_rows(path: &str) -> bool {
    // What describes a data set is no data.
    let name = path.rsplit('/').next().unwrap_or(path);
    file_kind(name).is_some() && !name.starts_with('.') && !matches!(name, "dataset_infos.json" | "dataset_info.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        fn check(text: &str, expected: Option<(&str, Option<&str>, Option<&str>)>) {
            let name = HubName::recognise(Path::new(text)).and_then(Result::ok);
            let found = name.as_ref().map(|name| (name.repo.as_str(), name.revision.as_deref(), name.part.as_deref()));
            assert_eq!(found, expected, "{text}");
            if let Some(name) = name {
                assert_eq!(name.to_string(), text.trim_start_matches("hub:").trim_end_matches('/'));
            }
        }
        check("openai/gsm8k", Some(("openai/gsm8k", None, None)));
        check("hub:openai/gsm8k", Some(("openai/gsm8k", None, None)));
        check("openai/gsm8k@v1.0", Some(("openai/gsm8k", Some("v1.0"), None)));
        check(
            "cais/mmlu@refs/convert/parquet:all/test",
            Some(("cais/mmlu", Some("refs/convert/parquet"), Some("all/test"))),
        );
        check("HuggingFaceH4/MATH-500:test.jsonl", Some(("HuggingFaceH4/MATH-500", None, Some("test.jsonl"))));
        check("openai/gsm8k:main/", Some(("openai/gsm8k", None, Some("main"))));
        check("hub:a/b.c", Some(("a/b.c", None, None)));
        for path in
            ["data/rows.jsonl", "rows.jsonl", "a/b/c", "/a/b", "./a/b", "../b", "a/b.c", "src/source", "a/", "a b/c"]
        {
            check(path, None);
        }
        for wrong in ["hub:gsm8k", "hub:a/b/c", "hub:a/../b", "hub:a/b@", "hub:a/b:../c", "hub:a--b/c"] {
            let error = HubName::recognise(Path::new(wrong)).expect("is marked").expect_err("is wrong").to_string();
            assert!(error.contains("expected hub:OWNER/NAME"), "{error}");
        }
    }

    #[test]
    fn a_file_of_the_cache_tells_its_commit() {
        let commit = "e53f048856ff4f594e959d75785d2c2d37b678ee";
        let path = format!("/cache/hub/datasets--openai--gsm8k/snapshots/{commit}/main/train-00000-of-00001.parquet");
        let found = HubName::of_cached_file(Path::new(&path));
        assert_eq!(found, Some(("openai/gsm8k".to_owned(), commit.to_owned())));
        assert_eq!(HubName::of_cached_file(Path::new("/data/datasets--openai--gsm8k/main/train.parquet")), None);
    }
}
