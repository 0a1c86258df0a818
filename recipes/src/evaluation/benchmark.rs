//! The benchmarks that are known, each with what it asks and how: the table that `recipe eval --list` prints.
//!
//! Settings follow the DeepSeek-R1 report where it states them (sampling at temperature 0.6 and top-p 0.95, 64 samples of
//! AIME, up to 32,768 tokens). All are asked without worked examples (0 shots): the report found that examples make R1
//! worse. `recipe eval` writes what it used beside what came out, so that two results can be compared.

use std::path::PathBuf;
use std::str::FromStr;

use datasets::{Family, Task};
use serde::{Deserialize, Serialize};

use crate::config::{RecipeError, nearest};

/// How an answer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// It is sampled.
    Generate,
    /// It is the choice whose letter is likeliest after the question; nothing is sampled.
    Likelihood,
}

/// Where problems come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file: the first of these that lies in the data folder.
    Files(Vec<&'static str>),
    /// This file.
    Given(PathBuf),
    /// Generated held-out tasks; no file is needed.
    Family(Family),
}

/// A set of problems and how it is asked.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// What it is called.
    pub name: String,
    /// What is in it.
    pub about: String,
    /// Where its problems come from.
    pub source: Source,
    /// How an answer is found.
    pub method: Method,
    /// What a conversation says after the question. R1-Zero's template asks for its form itself.
    pub instruction: &'static str,
    /// Answers to each problem.
    pub samples: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Sampled among the likeliest tokens that hold this share.
    pub top_p: f64,
    /// An answer is cut off after so many tokens.
    pub max_tokens: usize,
    /// Which rows of the file belong to it.
    pub belongs: fn(&Task) -> bool,
}

const BOXED: &str = "Please reason step by step, and put your final answer within \\boxed{}.";
const LETTER: &str = "Please reason step by step, and put the letter of the right choice within \\boxed{}.";
const PROGRAM: &str = "Answer with one Python program in a fenced block (```python).";

/// Generated tasks that are asked of each family: as in a recipe's evaluation.
pub(super) const OF_FAMILY: usize = 500;

fn all(_: &Task) -> bool {
    true
}

/// MBPP's published test split: the tasks 11 to 510.
fn mbpp_test(task: &Task) -> bool {
    task.extra.get("task_id").and_then(serde_json::Value::as_u64).is_none_or(|id| (11..=510).contains(&id))
}

fn file(name: &str, about: &str, files: &[&'static str], samples: u32, max_tokens: usize) -> Benchmark {
    Benchmark {
        name: name.to_owned(),
        about: about.to_owned(),
        source: Source::Files(files.to_vec()),
        method: Method::Generate,
        instruction: BOXED,
        samples,
        temperature: 0.6,
        top_p: 0.95,
        max_tokens,
        belongs: all,
    }
}

/// The benchmarks that lie in files.
#[must_use]
pub fn published() -> Vec<Benchmark> {
    let mmlu = ["mmlu_test.jsonl", "mmlu.jsonl", "mmlu_stem_qwen.jsonl", "mmlu/all/test-00000-of-00001.parquet"];
    let gsm8k = ["gsm8k_test.jsonl", "gsm8k/test.jsonl", "gsm8k/main/test-00000-of-00001.parquet"];
    let mbpp = ["mbpp.jsonl", "mbpp/full/test-00000-of-00001.parquet"];
    vec![
        file("gsm8k", "GSM8K, test: word problems of grade school", &gsm8k, 4, 4096),
        file("svamp", "SVAMP: word problems of one step", &["svamp_qwen.jsonl", "svamp.jsonl", "SVAMP.json"], 4, 2048),
        file("math500", "MATH-500: competition problems", &["math500.jsonl", "MATH-500/test.jsonl"], 4, 32_768),
        file("aime24", "AIME 2024: 30 competition problems", &["aime24.jsonl", "aime24/test.jsonl"], 64, 32_768),
        file("aime25", "AIME 2025: 30 competition problems", &["aime25.jsonl", "aime25/test.jsonl"], 64, 32_768),
        Benchmark {
            method: Method::Likelihood,
            samples: 1,
            max_tokens: 0,
            ..file("mmlu", "MMLU, by the likeliest letter", &mmlu, 1, 0)
        },
        Benchmark { instruction: LETTER, ..file("mmlu-generate", "MMLU, by a written answer", &mmlu, 1, 4096) },
        Benchmark {
            instruction: PROGRAM,
            ..file("humaneval", "HumanEval: Python functions", &["HumanEval.jsonl.gz", "HumanEval.jsonl"], 8, 4096)
        },
        Benchmark {
            instruction: PROGRAM,
            belongs: mbpp_test,
            ..file("mbpp", "MBPP, test: Python functions (tasks 11 to 510)", &mbpp, 4, 4096)
        },
        Benchmark {
            instruction: PROGRAM,
            belongs: mbpp_test,
            ..file("mbpp-sanitized", "MBPP, test, the checked edition", &["sanitized-mbpp.json"], 4, 4096)
        },
    ]
}

/// A family of generated tasks as a benchmark.
fn of_family(family: Family) -> Benchmark {
    Benchmark {
        source: Source::Family(family),
        samples: 8,
        temperature: 1.0,
        top_p: 1.0,
        max_tokens: 256,
        ..file(family.name(), family.description().draws, &[], 8, 256)
    }
}

/// A file of one's own, asked like the published sets.
fn of_file(name: &str, path: PathBuf) -> Benchmark {
    let about = path.display().to_string();
    Benchmark { source: Source::Given(path), ..file(name, &about, &[], 4, 4096) }
}

/// What `--bench` names: `gsm8k`, a family, or `NAME=FILE`.
///
/// # Errors
/// If there is none of this name; the error suggests the nearest.
pub fn find(asked: &str) -> Result<Benchmark, RecipeError> {
    let (name, path) = match asked.split_once('=') {
        Some((name, path)) => (name.trim(), Some(PathBuf::from(path.trim()))),
        None => (asked.trim(), None),
    };
    let published = published();
    if let Some(known) = published.iter().find(|benchmark| benchmark.name == name) {
        let source = path.map_or_else(|| known.source.clone(), Source::Given);
        return Ok(Benchmark { source, ..known.clone() });
    }
    let wrong = |message: &str| RecipeError::new(format!("--bench {asked}"), message);
    let names =
        || published.iter().map(|benchmark| benchmark.name.as_str()).chain(Family::ALL.iter().map(|f| f.name()));
    match (Family::from_str(name), path) {
        (Ok(family), None) => return Ok(of_family(family)),
        (Ok(_), Some(_)) => return Err(wrong("this is a family of generated tasks, which needs no file")),
        (Err(_), Some(path)) => {
            // A slip of the finger would pass for a name of one's own, and lose the benchmark's settings.
            if let Some(near) = nearest(name, names()) {
                return Err(wrong("there is no benchmark of this name").hint(format!(
                    "did you mean `{near}`? A file of your own may have any name that is not so near to a known one"
                )));
            }
            if let Some(message) = crate::config::name_problem(name) {
                return Err(wrong(&message));
            }
            return Ok(of_file(name, path));
        }
        (Err(_), None) => {}
    }
    Err(wrong("there is no benchmark of this name").hint(match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`recipe eval --list` shows them; a file of your own is --bench NAME=FILE".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_or_the_nearest_is_suggested() {
        assert_eq!(find("gsm8k").unwrap().samples, 4);
        assert_eq!(find("countdown").unwrap().source, Source::Family(Family::Countdown));
        assert_eq!(find("gsm8k=my.jsonl").unwrap().source, Source::Given("my.jsonl".into()));
        let own = find("mine=tasks.jsonl").unwrap();
        assert_eq!((own.name.as_str(), own.source), ("mine", Source::Given("tasks.jsonl".into())));

        #[track_caller]
        fn check(asked: &str, expected: &str) {
            let error = find(asked).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--bench {asked}: ")) && error.contains(expected), "{error}");
        }
        check("gms8k", "did you mean `gsm8k`?");
        check("gsm8=x.jsonl", "did you mean `gsm8k`?");
        check("countdwn", "did you mean `countdown`?");
        check("countdown=x.jsonl", "needs no file");
        check("livecodebench", "--list");
        check("a/b=x.jsonl", "expected up to 100 letters");
    }

    #[test]
    fn no_family_hides_behind_a_published_name() {
        for benchmark in published() {
            assert!(Family::from_str(&benchmark.name).is_err(), "{}", benchmark.name);
        }
    }
}
