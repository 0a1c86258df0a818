//! The data card: what a set is made of, under which licences, and what was done to it. In the form that the Hugging Face Hub
//! reads: Markdown below a YAML head.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use datasets::curate::{JobOutcome, Source, Step};

use super::sources;
use crate::config::JobFile;
use crate::wording::{counted, thousands};

/// The card as Markdown.
pub(super) fn card(job: &JobFile, outcome: &JobOutcome) -> String {
    let licences: BTreeSet<String> = sources(job)
        .filter_map(|source| match source {
            Source::File(file) if file.path.exists() => file.licence.clone(),
            _ => None,
        })
        .collect();
    let mut text = String::from("---\n");
    if !licences.is_empty() {
        text.push_str("license:\n");
        for licence in &licences {
            let _ = writeln!(text, "  - {}", licence.to_lowercase());
        }
    }
    let languages = languages(outcome);
    if !languages.is_empty() {
        text.push_str("language:\n");
        languages.iter().for_each(|code| {
            let _ = writeln!(text, "  - {code}");
        });
    }
    text.push_str("task_categories:\n  - text-generation\n");
    let _ = writeln!(text, "size_categories:\n  - {}", size_category(outcome.left.rows));
    text.push_str(&configs(outcome));
    text.push_str("---\n\n");
    let _ = writeln!(text, "# {}\n\n{}\n", job.job.name, job.description);
    let _ = writeln!(
        text,
        "{}, {:.1} words each on average. Made by `recipe curate` {} with seed {}; the same job over the same files \
         gives the same bytes.\n",
        counted(outcome.left.rows as usize, "task", "tasks"),
        outcome.left.mean_words(),
        env!("CARGO_PKG_VERSION"),
        job.job.seed
    );
    text.push_str("## Files\n\n| file | rows | SHA-256 |\n|---|---|---|\n");
    for (name, written) in &outcome.written {
        let _ = writeln!(text, "| `{name}` | {} | `{}` |", thousands(written.rows), written.sha256);
    }
    text.push_str("\n## Sources\n\n| source | licence | from | SHA-256 |\n|---|---|---|---|\n");
    for source in sources(job) {
        match source {
            Source::File(file) => {
                let path = file.path.display().to_string();
                let hash = outcome.files.get(&path).map_or("", String::as_str);
                let name = file.path.file_name().unwrap_or_default().to_string_lossy();
                let _ = writeln!(
                    text,
                    "| `{name}` | {} | {} | {} |",
                    file.licence.as_deref().unwrap_or("not stated"),
                    file.origin.as_deref().unwrap_or("not stated"),
                    if hash == "missing" { "not there".to_owned() } else { format!("`{hash}`") }
                );
            }
            Source::Family(family) => {
                let level = family.level.map_or_else(String::new, |level| format!(", level {level}"));
                let _ = writeln!(
                    text,
                    "| `{}`{level} | generated, no rights of others | {} | |",
                    family.family,
                    family.family.description().draws
                );
            }
        }
    }
    text.push_str(&compared_with(job, outcome));
    text.push_str(&measured_with(job, outcome));
    text.push_str(
        "\n## What was done\n\n| step | kind | rows in | rows out | why rows went |\n|---|---|---|---|---|\n",
    );
    for step in &outcome.steps {
        let why: Vec<String> =
            step.tally.dropped.iter().map(|(reason, count)| format!("{reason} {}", thousands(*count))).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            step.name,
            step.kind,
            thousands(step.tally.rows_in),
            thousands(step.tally.rows_out),
            why.join(", ")
        );
    }
    text.push_str("\n## What is in it\n\n| | rows |\n|---|---|\n");
    let shares = outcome.left.sources.iter().map(|(name, count)| (format!("source `{name}`"), count));
    let domains = outcome.left.domains.iter().map(|(name, count)| (format!("domain {name}"), count));
    let splits = outcome.left.splits.iter().map(|(name, count)| (format!("split {name}"), count));
    for (name, count) in shares.chain(domains).chain(splits) {
        let _ = writeln!(text, "| {name} | {} |", thousands(*count));
    }
    text.push_str(
        "\nColumns: `id` (a hash of the content), `source`, `domain`, `split`, `prompt` (messages), `answer` (where there is \
         one), `reference` (what the verifier takes), `difficulty`, `extra` (the source's further columns). In Parquet and CSV, \
         `reference` and `extra` are JSON text: `json.loads(row[\"extra\"])`.\n",
    );
    text
}

/// The languages of at least one prompt in twenty, as the Hub writes them, the most frequent first.
fn languages(outcome: &JobOutcome) -> Vec<&'static str> {
    const CODES: [(&str, &str); 11] = [
        ("eng", "en"),
        ("deu", "de"),
        ("fra", "fr"),
        ("spa", "es"),
        ("ita", "it"),
        ("por", "pt"),
        ("rus", "ru"),
        ("zho", "zh"),
        ("jpn", "ja"),
        ("kor", "ko"),
        ("ara", "ar"),
    ];
    let found = &outcome.left.languages;
    let all: u64 = found.values().sum();
    let mut often: Vec<_> = found.iter().filter(|&(_, &count)| count * 20 >= all).collect();
    often.sort_by_key(|&(_, &count)| std::cmp::Reverse(count));
    often.iter().filter_map(|(name, _)| CODES.iter().find(|(code, _)| code == *name).map(|(_, two)| *two)).collect()
}

/// Which of the folder's files hold rows, each a split: whoever loads the folder would else take them all. The Hub's loader reads
/// files of one kind, so where a job writes several kinds, those of the first that there is are listed.
fn configs(outcome: &JobOutcome) -> String {
    let of_kind = |kind: &str| -> Vec<&str> {
        let ends = |name: &str| name.strip_suffix(".gz").unwrap_or(name).to_lowercase().ends_with(kind);
        // It finds no columns in a file of lines without lines.
        let filled = outcome.written.iter().filter(|(name, written)| written.rows > 0 && ends(name));
        filled.map(|(name, _)| name.as_str()).collect()
    };
    let kinds = [".parquet", ".jsonl", ".ndjson", ".csv"];
    let Some(names) = kinds.into_iter().map(of_kind).find(|names| !names.is_empty()) else { return String::new() };
    let mut text = String::from("configs:\n  - config_name: default\n    data_files:\n");
    let mut taken = BTreeSet::new();
    for name in names {
        let stem = name.rsplit('/').next().unwrap_or(name).split('.').next().unwrap_or_default();
        // Letters, digits and _ are all that the name of a split may have, and `all` means every split there is.
        let mut split: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        while split == "all" || !taken.insert(split.clone()) {
            split.push('_');
        }
        // In quotes: `2024` and `true` are no text in YAML.
        let _ = writeln!(text, "      - split: {split:?}\n        path: {name:?}");
    }
    text
}

/// The files that were read and are no source: evaluation sets, saved completions.
fn compared_with(job: &JobFile, outcome: &JobOutcome) -> String {
    let of_sources: BTreeSet<String> = sources(job)
        .filter_map(|source| match source {
            Source::File(file) => Some(file.path.display().to_string()),
            Source::Family(_) => None,
        })
        .collect();
    let policies: BTreeSet<String> = policies(job).collect();
    let others: Vec<_> =
        outcome.files.iter().filter(|(path, _)| !of_sources.contains(*path) && !policies.contains(*path)).collect();
    if others.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Compared with\n\n| file | SHA-256 |\n|---|---|\n");
    for (path, hash) in others {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let hash = if hash == "missing" { "not there".to_owned() } else { format!("`{hash}`") };
        let _ = writeln!(text, "| `{name}` | {hash} |");
    }
    text
}

/// The model folders of the policies that a job asks.
fn policies(job: &JobFile) -> impl Iterator<Item = String> {
    job.job.steps.iter().filter_map(|named| match &named.step {
        Step::Difficulty(step) => step.model.as_ref().map(|model| model.display().to_string()),
        _ => None,
    })
}

/// The policies whose pass rates are the tasks' difficulty.
fn measured_with(job: &JobFile, outcome: &JobOutcome) -> String {
    let mut text = String::new();
    for model in policies(job).collect::<BTreeSet<_>>() {
        let hash = outcome.files.get(&model).map_or("", String::as_str);
        let name = Path::new(&model).file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(text, "| `{name}` | `{hash}` |");
    }
    if text.is_empty() {
        return text;
    }
    format!("\n## Measured with\n\n| policy | SHA-256 of its files |\n|---|---|\n{text}")
}

/// The Hub's words for how large a set is.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        _ => "n>100M",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use datasets::curate::{Stats, Written};

    use super::*;

    /// YAML reads `2024` as a number and `true` as a truth, and `all` is a word of the Hub's loader.
    #[test]
    fn the_name_of_a_split_is_text_and_no_word_of_the_loader() {
        let split = |name: &str| {
            let outcome = JobOutcome {
                steps: Vec::new(),
                loaded: Stats::default(),
                left: Stats::default(),
                kept: Vec::new(),
                dropped: Vec::new(),
                written: [(name.to_owned(), Written { sha256: String::new(), rows: 1 })].into(),
                files: BTreeMap::new(),
            };
            configs(&outcome).lines().find_map(|line| line.trim().strip_prefix("- split: ").map(str::to_owned)).unwrap()
        };
        for (name, expected) in [
            ("train.parquet", "\"train\""),
            ("2024.parquet", "\"2024\""),
            ("parts/true.jsonl.gz", "\"true\""),
            ("all.parquet", "\"all_\""),
            ("a-b.csv", "\"a_b\""),
        ] {
            assert_eq!(split(name), expected, "{name}");
        }
    }
}
