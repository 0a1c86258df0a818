//! Which of a data set's files are read: the Hub's data sets hold several subsets and splits, told by the names of their files
//! (`main/train-00000-of-00001.parquet`), as the Hub's own viewer tells them where a card says nothing else.
//!
//! The files of one subset and split are a *part*, called `subset/split`, or by whichever of the two there is.

use std::collections::BTreeMap;

use super::super::stream::file_kind;
use super::name::holds_rows;
use crate::task::Split;

/// Subsets that are taken where none is named, the first that is there.
const USUAL_SUBSETS: [&str; 5] = ["", "default", "main", "data", "all"];

/// Kinds of files, the one that is taken first where a part lies in several.
const KINDS: [&str; 5] = ["parquet", "jsonl", "ndjson", "csv", "json"];

/// The files of one subset and split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What it is called: `main/train`.
    pub(super) label: String,
    /// Its files, in the order of their names.
    pub(super) files: Vec<String>,
}

/// What the name of a file says of where it belongs: the subset, and the split in the Hub's words.
fn place_of(path: &str) -> (String, Option<&'static str>) {
    let mut names: Vec<&str> = path.split('/').collect();
    let file = names.pop().unwrap_or_default();
    let mut split = file.split(|letter: char| !letter.is_ascii_alphanumeric()).find_map(split_word);
    if split.is_none()
        && let Some(word) = names.last().and_then(|name| split_word(name))
    {
        split = Some(word);
        names.pop();
    }
    (names.join("/"), split)
}

/// The split that a word in a file's name stands for, as the Hub calls it.
fn split_word(word: &str) -> Option<&'static str> {
    Split::from_word(word).map(|split| match split {
        Split::Train => "train",
        Split::Validation => "validation",
        Split::Held => "test",
    })
}

/// All parts that these files make, by their labels.
fn parts(files: &[String]) -> Vec<(String, Option<&'static str>, Part)> {
    let mut by_place: BTreeMap<(String, Option<&'static str>), Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| holds_rows(file)) {
        by_place.entry(place_of(file)).or_default().push(file.clone());
    }
    let parts = by_place.into_iter().map(|((subset, split), mut files)| {
        let kind = |file: &String| KINDS.iter().position(|kind| file_kind(file) == Some(kind)).unwrap_or(KINDS.len());
        let best = files.iter().map(kind).min().unwrap_or(KINDS.len());
        files.retain(|file| kind(file) == best);
        files.sort();
        let label = match (subset.as_str(), split) {
            ("", None) if files.len() == 1 => files[0].clone(),
            ("", None) => "default".to_owned(),
            ("", Some(split)) => split.to_owned(),
            (subset, None) => subset.to_owned(),
            (subset, Some(split)) => format!("{subset}/{split}"),
        };
        (subset, split, Part { label, files })
    });
    parts.collect()
}

/// The part that `asked` names; without a name the usual one for this purpose: [`Split::Train`] looks for what may be trained
/// on, any other for what one is examined by.
///
/// # Errors
/// In words, if there is none, or several and none of them is the usual one.
pub(super) fn choose(files: &[String], asked: Option<&str>, purpose: Split) -> Result<Part, String> {
    if let Some(file) = asked.and_then(|asked| files.iter().find(|file| *file == asked)) {
        return Ok(Part { label: file.clone(), files: vec![file.clone()] });
    }
    let all = parts(files);
    if all.is_empty() {
        return Err(
            "it holds no file of a kind that is read (.parquet, .jsonl, .json, .csv); the Hub's own conversion may \
                    help: add @refs/convert/parquet to the name"
                .to_owned(),
        );
    }
    let labels = || all.iter().map(|(_, _, part)| part.label.as_str()).collect::<Vec<_>>().join(", ");
    let mut left: Vec<_> = all.iter().collect();
    if let Some(asked) = asked {
        if let Some((_, _, part)) = left.iter().find(|(_, _, part)| part.label == asked) {
            return Ok(part.clone());
        }
        left.retain(|(subset, split, _)| subset == asked || *split == Some(asked));
        if left.is_empty() {
            return Err(format!("it has no part `{asked}`; its parts are {}", labels()));
        }
    }
    let several = |subsets: bool| {
        let what = if subsets { "subsets" } else { "splits" };
        format!("it has several {what}: name a part, as in OWNER/NAME:PART; its parts are {}", labels())
    };
    let first = &left[0].0;
    if left.iter().any(|(subset, _, _)| subset != first) {
        let usual = USUAL_SUBSETS.iter().find(|usual| left.iter().any(|(subset, _, _)| subset == *usual));
        let usual = *usual.ok_or_else(|| several(true))?;
        left.retain(|(subset, _, _)| subset == usual);
    }
    if let [(_, _, only)] = left[..] {
        return Ok(only.clone());
    }
    let usual: &[Option<&str>] =
        if purpose == Split::Train { &[Some("train"), None] } else { &[Some("test"), Some("validation"), None] };
    let found = usual.iter().find_map(|usual| left.iter().find(|(_, split, _)| split == usual));
    found.map(|(_, _, part)| part.clone()).ok_or_else(|| several(false))
}

/// Whether no shard is missing: names like `train-00000-of-00003` say how many there are.
pub(super) fn is_whole(part: &Part) -> bool {
    // A file that was asked for by its own name is all of it.
    part.files == [part.label.as_str()]
        || part.files.iter().all(|file| {
            let Some((front, back)) = file.rsplit_once("-of-") else { return true };
            let digits: String = back.chars().take_while(char::is_ascii_digit).collect();
            let stem = front.trim_end_matches(|letter: char| letter.is_ascii_digit());
            let here = part.files.iter().filter(|other| other.starts_with(stem)).count();
            digits.parse::<usize>().is_ok_and(|count| count == here)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The files of GSM8K.
    const GSM8K: &[&str] = &[
        ".gitattributes",
        "README.md",
        "main/test-00000-of-00001.parquet",
        "main/train-00000-of-00001.parquet",
        "socratic/test-00000-of-00001.parquet",
        "socratic/train-00000-of-00001.parquet",
    ];

    #[test]
    fn the_usual_part_is_taken_and_any_can_be_named() {
        #[track_caller]
        fn check(names: &[&str], asked: Option<&str>, purpose: Split, expected: Result<(&str, usize), &str>) {
            match (choose(&files(names), asked, purpose), expected) {
                (Ok(part), Ok((label, count))) => assert_eq!((part.label.as_str(), part.files.len()), (label, count)),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (found, _) => panic!("{found:?} for {asked:?}"),
            }
        }
        check(GSM8K, None, Split::Train, Ok(("main/train", 1)));
        check(GSM8K, None, Split::Held, Ok(("main/test", 1)));
        check(GSM8K, Some("socratic"), Split::Train, Ok(("socratic/train", 1)));
        check(GSM8K, Some("test"), Split::Train, Ok(("main/test", 1)));
        check(GSM8K, Some("socratic/test"), Split::Train, Ok(("socratic/test", 1)));
        check(
            GSM8K,
            Some("main/test-00000-of-00001.parquet"),
            Split::Train,
            Ok(("main/test-00000-of-00001.parquet", 1)),
        );
        check(
            GSM8K,
            Some("socratc"),
            Split::Train,
            Err("no part `socratc`; its parts are main/test, main/train, socratic/test, socratic/train"),
        );
        check(&["README.md", "test.jsonl"], None, Split::Train, Ok(("test", 1)));
        check(&["aime2025-I.jsonl", "aime2025-II.jsonl"], None, Split::Held, Ok(("default", 2)));
        check(&["aime2025-I.jsonl", "aime2025-II.jsonl"], Some("default"), Split::Held, Ok(("default", 2)));
        let open_r1 = [
            "all/default-00000-of-00001.parquet",
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
        ];
        check(&open_r1, None, Split::Train, Ok(("data/train", 2)));
        check(
            &["full/train-0.parquet", "sanitized/train-0.parquet"],
            None,
            Split::Train,
            Err("several subsets: name a part"),
        );
        check(&["full/prompt-0.parquet", "full/test-0.parquet"], None, Split::Train, Ok(("full", 1)));
        check(&["validation.jsonl", "test.jsonl"], None, Split::Train, Err("several splits"));
        check(&["train.jsonl", "train.parquet", "train.csv"], None, Split::Train, Ok(("train", 1)));
        check(&["wiki/test/0000.parquet", "wiki/train/0000.parquet"], None, Split::Train, Ok(("wiki/train", 1)));
        check(
            &["README.md", "make.py", "dataset_infos.json"],
            None,
            Split::Train,
            Err("no file of a kind that is read"),
        );
    }

    #[test]
    fn a_missing_shard_is_noticed() {
        for (names, whole) in [
            (&["a/train-00000-of-00002.parquet", "a/train-00001-of-00002.parquet"][..], true),
            (&["a/train-00000-of-00002.parquet"], false),
            (&["test.jsonl"], true),
            (&["a/train-00000-of-00001-8f2c.parquet"], true),
        ] {
            let part = choose(&files(names), None, Split::Train).unwrap();
            assert_eq!(is_whole(&part), whole, "{names:?}");
        }
    }
}
