//! What is kept of a benchmark under way: a row for each problem whose answers are all graded, so that a run that was
//! killed goes on with the others.
//!
//! Rows are written as problems end, in whatever order threads bring about. At the end they are sorted into a file of
//! their own, which is the same to the byte however often the run was stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::benchmark::Method;
use crate::answers::Answers;
use crate::lineage::Template;
use crate::run::{JsonLines, write_whole};

/// All that decides a model's answers to a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The benchmark.
    pub benchmark: String,
    /// What is in it.
    pub about: String,
    /// The file, by its name, or how the problems were generated.
    pub problems_from: String,
    /// SHA-256 of the file.
    pub problems_sha256: Option<String>,
    /// How many problems are asked.
    pub problems: u64,
    /// How answers are found.
    pub method: Method,
    /// What stands around a question; none where choices are compared.
    pub template: Option<Template>,
    /// The system message before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// What is said after the question.
    pub instruction: String,
    /// Worked examples before the question.
    pub shots: u32,
    /// Answers to each problem.
    pub samples: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Sampled among the likeliest tokens that hold this share.
    pub top_p: f64,
    /// An answer is cut off after so many tokens.
    pub max_tokens: usize,
    /// What judges an answer.
    pub grader: String,
    /// All randomness comes from this.
    pub seed: u64,
    /// The card that answers, if it is one: it rounds otherwise than the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// SHA-256 of the model.
    pub model: String,
    /// The version of this program.
    pub version: String,
}

/// One answer to a problem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What the model wrote.
    pub text: String,
    /// Whether it is right; none where the reference cannot be used.
    pub right: Option<bool>,
    /// Why it is not right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The key under which it votes; none where it gives no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<String>,
    /// Its tokens.
    pub tokens: u32,
    /// Whether it was cut off at the limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The log-probability of each choice in nats, where choices are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<f64>,
}

/// A problem with all of its answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Its place in the benchmark, from 0.
    pub problem: u32,
    /// The task's id.
    pub task: String,
    /// The question.
    pub question: String,
    /// The answers, in the order of sampling.
    pub answers: Vec<Answer>,
}

impl Answered {
    /// What the answers come to; none where the reference cannot be used.
    #[must_use]
    pub fn judged(&self) -> Option<Answers> {
        let right: Option<Vec<bool>> = self.answers.iter().map(|answer| answer.right).collect();
        Some(Answers { right: right?, votes: self.answers.iter().map(|answer| answer.vote.clone()).collect() })
    }
}

/// The files of one model's answers to one benchmark.
#[derive(Debug)]
pub(super) struct Store {
    /// `BENCH.json`: what was asked.
    asked: PathBuf,
    /// `BENCH.partial.jsonl`: problems that have ended.
    partial: PathBuf,
    /// `BENCH.jsonl`: all of them, sorted.
    whole: PathBuf,
}

impl Store {
    /// The files below `folder`, whether or not there are any.
    pub(super) fn of(folder: &Path, benchmark: &str) -> Store {
        let file = |end: &str| folder.join(format!("{benchmark}{end}"));
        Store { asked: file(".json"), partial: file(".partial.jsonl"), whole: file(".jsonl") }
    }

    /// The store below `folder`, which is made for `asked` or was: answers of other settings are not mixed in.
    pub(super) fn open(folder: &Path, asked: &Asked) -> anyhow::Result<Store> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let store = Store::of(folder, &asked.benchmark);
        let new = serde_json::to_value(asked)?;
        match std::fs::read(&store.asked) {
            // How many were asked does not change what a problem was answered: more can be asked later.
            Ok(text) => {
                let old: serde_json::Value =
                    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", store.asked.display()))?;
                // Stopped before a problem ended, a run leaves its settings and nothing that they could be mixed up with.
                let differs = difference(&old, &new).filter(|_| store.holds_answers());
                if let Some((key, was, is)) = differs {
                    let error = crate::config::RecipeError::new(
                        folder.display().to_string(),
                        format!("it holds answers to {} with {key} = {was}, and now {key} is {is}", asked.benchmark),
                    );
                    let hint = format!("name another folder with --out DIR, or remove {} there", store.names());
                    return Err(error.hint(hint).into());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", store.asked.display())),
        }
        write_whole(&store.asked, &(serde_json::to_vec_pretty(asked)?))?;
        Ok(store)
    }

    /// Whether a problem has ended. What cannot be read might be answers.
    fn holds_answers(&self) -> bool {
        self.done().map_or(true, |done| !done.is_empty())
    }

    /// The files that there are, by their names: other benchmarks' lie beside them.
    fn names(&self) -> String {
        let files = [&self.asked, &self.partial, &self.whole].into_iter().filter(|path| path.exists());
        let names: Vec<String> =
            files.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        names.join(" and ")
    }

    /// The problems that have ended, by place.
    pub(super) fn done(&self) -> anyhow::Result<BTreeMap<u32, Answered>> {
        let mut done = BTreeMap::new();
        for path in [&self.whole, &self.partial] {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            // A last line that was only half written is asked again.
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            for (number, line) in lines.enumerate() {
                let row: Answered = serde_json::from_str(line)
                    .with_context(|| format!("{}, line {}: not a row of answers", path.display(), number + 1))?;
                done.insert(row.problem, row);
            }
        }
        Ok(done)
    }

    /// Where problems are noted as they end.
    pub(super) fn writer(&self) -> anyhow::Result<JsonLines> {
        JsonLines::open(&self.partial)
    }

    /// Puts the rows into their last file.
    pub(super) fn finish(&self, rows: &BTreeMap<u32, Answered>) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for row in rows.values() {
            serde_json::to_writer(&mut text, row)?;
            text.push(b'\n');
        }
        write_whole(&self.whole, &text)?;
        match std::fs::remove_file(&self.partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot remove {}: {error}", self.partial.display())
            }
            _ => Ok(()),
        }
    }
}

/// The first key whose values differ.
fn difference(old: &serde_json::Value, new: &serde_json::Value) -> Option<(String, String, String)> {
    let shown = |value: Option<&serde_json::Value>| value.map_or_else(|| "not set".to_owned(), ToString::to_string);
    let (old, new) = (old.as_object()?, new.as_object()?);
    // `about` holds a file's path as it was typed; the hash of the problems says whether they are the same.
    new.keys().chain(old.keys()).filter(|key| !["problems", "about"].contains(&key.as_str())).find_map(|key| {
        let (was, is) = (shown(old.get(key)), shown(new.get(key)));
        (was != is).then(|| (key.clone(), was, is))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(samples: u32) -> Asked {
        Asked {
            benchmark: "gsm8k".to_owned(),
            about: String::new(),
            problems_from: "gsm8k_test.jsonl".to_owned(),
            problems_sha256: None,
            problems: 3,
            method: Method::Generate,
            template: Some(Template::R1Zero),
            system: String::new(),
            instruction: String::new(),
            shots: 0,
            samples,
            temperature: 0.6,
            top_p: 0.95,
            max_tokens: 10,
            grader: "accuracy".to_owned(),
            seed: 0,
            card: None,
            model: "abc".to_owned(),
            version: "1".to_owned(),
        }
    }

    fn row(problem: u32) -> Answered {
        let answer = Answer { text: "\u{1f642}\n".to_owned(), right: Some(true), tokens: 3, ..Answer::default() };
        Answered { problem, task: "t".to_owned(), question: "q".to_owned(), answers: vec![answer] }
    }

    #[test]
    fn what_was_written_before_a_kill_is_kept_and_the_end_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &asked(1)).unwrap();
        let mut writer = store.writer().unwrap();
        writer.push(&row(2)).unwrap();
        writer.push(&row(0)).unwrap();
        drop(writer);
        let partial = folder.path().join("gsm8k.partial.jsonl");
        let text = std::fs::read_to_string(&partial).unwrap() + "{\"problem\": 1, \"ta";
        std::fs::write(&partial, text).unwrap();

        let store = Store::open(folder.path(), &asked(1)).unwrap();
        let mut done = store.done().unwrap();
        assert_eq!(done.keys().copied().collect::<Vec<_>>(), [0, 2]);
        done.insert(1, row(1));
        store.finish(&done).unwrap();
        assert!(!partial.exists());
        assert_eq!(store.done().unwrap(), done);
        let text = std::fs::read_to_string(folder.path().join("gsm8k.jsonl")).unwrap();
        let places: Vec<&str> = text.lines().map(|line| &line[..12]).collect();
        assert_eq!(places, ["{\"problem\":0", "{\"problem\":1", "{\"problem\":2"]);
    }

    #[test]
    fn answers_of_other_settings_are_not_mixed_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &asked(1)).unwrap();
        Store::open(folder.path(), &asked(1)).unwrap();
        store.writer().unwrap().push(&row(0)).unwrap();
        let refused = || Store::open(folder.path(), &asked(2)).unwrap_err().to_string();
        let error = refused();
        assert!(error.contains("with samples = 1, and now samples is 2"), "{error}");
        // Another benchmark's answers, in the same folder, need not go with them.
        assert!(error.contains("or remove gsm8k.json and gsm8k.partial.jsonl there"), "{error}");
        store.finish(&store.done().unwrap()).unwrap();
        assert!(refused().contains("or remove gsm8k.json and gsm8k.jsonl there"), "{}", refused());
    }

    #[test]
    fn settings_without_answers_stand_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path(), &asked(8)).unwrap();
        let half = "{\"problem\": 1, \"ta";
        std::fs::write(folder.path().join("gsm8k.partial.jsonl"), half).unwrap();
        let store = Store::open(folder.path(), &asked(2)).unwrap();
        store.writer().unwrap().push(&row(0)).unwrap();
        assert_eq!(store.done().unwrap().len(), 1);
        let error = Store::open(folder.path(), &asked(8)).unwrap_err().to_string();
        assert!(error.contains("with samples = 2, and now samples is 8"), "{error}");
    }
}
