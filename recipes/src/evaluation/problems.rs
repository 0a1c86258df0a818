//! The problems of a benchmark: read from its file or generated, each with its place, so that its answers do not depend on
//! which others are asked.

use std::path::{Path, PathBuf};

use datasets::{DatasetError, Family, OnBadLine, Order, Split, Task};

use super::benchmark::{Benchmark, OF_FAMILY, Source};
use crate::config::RecipeError;
use crate::hash::hash_file;
use crate::stage::HELD_OUT_SEED;
use crate::wording::counted;

/// Decides which problems `--limit` leaves: the same for every model, seed and limit.
const LIMIT_SEED: u64 = 0;

/// A benchmark's problems and where they came from.
#[derive(Clone, Debug)]
pub(super) struct Problems {
    /// All of them; a problem's place is its number.
    pub(super) tasks: Vec<Task>,
    /// The places of those that are asked, in order.
    pub(super) asked: Vec<u32>,
    /// The file, or how they were generated.
    pub(super) from: String,
    /// SHA-256 of the file; none where they are generated.
    pub(super) sha256: Option<String>,
}

impl Problems {
    /// Reads or generates them. Of more than `limit`, a fixed choice is asked.
    pub(super) fn read(benchmark: &Benchmark, data: &Path, limit: Option<usize>) -> anyhow::Result<Problems> {
        let (tasks, from, sha256) = match &benchmark.source {
            Source::Family(family) => (generate(*family, limit)?, "generated, held-out".to_owned(), None),
            source => {
                let path = locate(benchmark, source, data)?;
                let tasks = datasets::source::read(&path, OnBadLine::Stop)?.tasks;
                let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (tasks, shown, Some(hash_file("task file", &path)?))
            }
        };
        let tasks: Vec<Task> = tasks.into_iter().filter(|task| (benchmark.belongs)(task)).collect();
        if tasks.is_empty() {
            return Err(RecipeError::new(from, format!("no row belongs to the benchmark {}", benchmark.name)).into());
        }
        let order = Order::new(tasks.len(), LIMIT_SEED);
        let mut asked: Vec<u32> = match limit {
            Some(limit) if limit < tasks.len() => (0..limit as u64).map(|place| order.index(place) as u32).collect(),
            _ => (0..tasks.len() as u32).collect(),
        };
        asked.sort_unstable();
        Ok(Problems { tasks, asked, from, sha256 })
    }
}

/// So many held-out tasks as an evaluation asks, or as there are; more where more are wanted.
fn generate(family: Family, limit: Option<usize>) -> anyhow::Result<Vec<Task>> {
    let wanted = OF_FAMILY.max(limit.unwrap_or(0));
    match family.distinct(Split::Held, HELD_OUT_SEED, wanted) {
        Err(DatasetError::TooFewDistinct { found, .. }) if limit.is_none_or(|limit| limit <= found) => {
            Ok(family.distinct(Split::Held, HELD_OUT_SEED, found)?)
        }
        tasks => Ok(tasks?),
    }
}

/// The file of a benchmark: the one that was named, or the first of its names that lies in the data folder.
fn locate(benchmark: &Benchmark, source: &Source, data: &Path) -> Result<PathBuf, RecipeError> {
    let missing =
        |message: String, hint: String| RecipeError::new(format!("--bench {}", benchmark.name), message).hint(hint);
    let names = match source {
        Source::Given(path) if path.is_file() => return Ok(path.clone()),
        Source::Given(path) => {
            return Err(missing(format!("there is no file {}", path.display()), "name one with NAME=FILE".to_owned()));
        }
        Source::Files(names) => names,
        Source::Family(_) => &Vec::new(),
    };
    let found = names.iter().map(|name| data.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        missing(
            format!(
                "its file does not lie in {}: expected {}{}",
                data.display(),
                if names.len() > 1 {
                    format!("one of {}: ", counted(names.len(), "name", "names"))
                } else {
                    String::new()
                },
                names.join(", ")
            ),
            format!("name the folder with --data DIR, or the file with --bench {}=FILE", benchmark.name),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::benchmark::find;
    use super::*;

    fn gsm8k(rows: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..rows)
            .map(|i| format!("{{\"question\": \"What is {i} + 1?\", \"answer\": \"#### {}\"}}\n", i + 1))
            .collect();
        std::fs::write(folder.path().join("gsm8k_test.jsonl"), text).unwrap();
        folder
    }

    #[test]
    fn a_smaller_limit_asks_a_part_of_the_larger() {
        let data = gsm8k(30);
        let places = |limit| -> Vec<u32> {
            let read = Problems::read(&find("gsm8k").unwrap(), data.path(), limit).unwrap();
            assert_eq!(read.tasks[7].prompt, "What is 7 + 1?");
            read.asked
        };
        let (five, ten) = (places(Some(5)), places(Some(10)));
        assert!(five.len() == 5 && five.iter().all(|place| ten.contains(place)));
        assert_ne!(five, [0, 1, 2, 3, 4]);
        assert_eq!(places(None), (0..30).collect::<Vec<_>>());
        assert_eq!(places(Some(99)).len(), 30);
    }

    #[test]
    fn generated_problems_need_no_file() {
        let read = Problems::read(&find("countdown").unwrap(), Path::new("/nowhere"), Some(3)).unwrap();
        assert_eq!((read.asked.len(), read.sha256), (3, None));
    }

    #[test]
    fn a_missing_file_is_told_with_where_it_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let read = |asked: &str| Problems::read(&find(asked).unwrap(), folder.path(), None).unwrap_err().to_string();
        let error = read("gsm8k");
        let expected = ["--bench gsm8k: ", &folder.path().display().to_string(), "gsm8k_test.jsonl", "--data DIR"];
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        assert!(read("gsm8k=none.jsonl").contains("there is no file none.jsonl"));
    }

    #[test]
    fn mbpp_has_a_test_split_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let row = |id| format!("{{\"text\": \"t\", \"task_id\": {id}, \"test_list\": [\"assert f() == {id}\"]}}\n");
        std::fs::write(folder.path().join("mbpp.jsonl"), [10, 11, 510, 511].map(row).concat()).unwrap();
        let read = Problems::read(&find("mbpp").unwrap(), folder.path(), None).unwrap();
        assert_eq!(read.tasks.len(), 2);
    }
}
