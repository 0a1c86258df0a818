//! Programming tasks with their solutions, from files in any layout that `datasets` reads.

use std::path::Path;

use anyhow::ensure;
use datasets::source::TaskStream;
use datasets::{OnBadLine, Task, solutions};
use rewards::Reference;
use serde_json::Value;

/// Solutions and what each must pass.
#[derive(Debug)]
pub(in crate::command) struct Exercise {
    pub(in crate::command) id: String,
    /// Empty where the source holds none.
    pub(in crate::command) question: String,
    /// As the source lists them: the first is the reference. Never empty.
    pub(in crate::command) solutions: Vec<String>,
    pub(in crate::command) reference: Reference,
}

/// The exercises of a file, a batch at a time: their tests may be larger than memory.
pub(in crate::command) struct Exercises {
    stream: TaskStream,
    passed: usize,
    /// Tasks without a solution, or that no program answers.
    pub(in crate::command) left_out: usize,
}

impl Exercises {
    /// Opens the file. `layout` names how its rows are laid out; `None` goes by their columns.
    pub(in crate::command) fn open(path: &Path, layout: Option<&str>) -> anyhow::Result<Self> {
        let stream = TaskStream::open(path, layout, OnBadLine::Stop)?.without_questions();
        Ok(Self { stream, passed: 0, left_out: 0 })
    }

    /// The next of them; `None` at the file's end, which is an error where there were none at all.
    pub(in crate::command) fn next_batch(&mut self) -> anyhow::Result<Option<Vec<Exercise>>> {
        let Some(batch) = self.stream.next_batch()? else {
            ensure!(
                self.passed > self.left_out,
                "none of the {} tasks has both tests of a program and a solution\n  hint: a solution is looked for in the \
                 columns solution, code, canonical_solution, solutions and their like",
                self.passed
            );
            return Ok(None);
        };
        let mut exercises = Vec::with_capacity(batch.tasks.len());
        for task in batch.tasks {
            self.passed += 1;
            let solutions = solutions(&task);
            if solutions.is_empty() || !task.reference.is_code() {
                self.left_out += 1;
                continue;
            }
            exercises.push(Exercise {
                id: id(&task, self.passed),
                question: task.prompt,
                solutions,
                reference: task.reference,
            });
        }
        Ok(Some(exercises))
    }
}

/// What the source calls the task, or else its place in the file.
fn id(task: &Task, place: usize) -> String {
    let names = ["task_id", "id", "problem_id", "question_id", "name"];
    let found = names.iter().find_map(|name| match task.extra.get(*name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    found.unwrap_or_else(|| place.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: &Value) -> anyhow::Result<Vec<Exercise>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, row.to_string()).unwrap();
        let mut exercises = Exercises::open(&path, None)?;
        let found = exercises.next_batch()?.unwrap_or_default();
        exercises.next_batch()?;
        Ok(found)
    }

    #[test]
    fn solutions_and_tests_are_found_as_sources_hold_them() {
        let check = |row: Value, id: &str, solution: &str, kind: &str| {
            let found = read(&row).unwrap_or_else(|error| panic!("{row}: {error:#}"));
            let [exercise] = &found[..] else { panic!("{row}: {found:?}") };
            let shown = (exercise.id.as_str(), exercise.solutions[0].as_str(), exercise.reference.kind());
            assert_eq!(shown, (id, solution, kind), "{row}");
        };
        check(
            json!({"task_id": "HumanEval/1", "prompt": "import math\n\ndef f(x):\n", "canonical_solution": "    return x\n",
                "test": "def check(g):\n    assert g(1) == 1", "entry_point": "f"}),
            "HumanEval/1",
            "import math\n\ndef f(x):\n    return x\n",
            "tests",
        );
        check(
            json!({"task_id": 3, "text": "Do.", "code": "def f():\r\n    return 1", "test_list": ["assert f() == 1"]}),
            "3",
            "def f():\n    return 1",
            "tests",
        );
        check(
            json!({"solutions": "[\"print(input())\", \"x\"]", "input_output": "{\"inputs\": [\"1\"], \"outputs\": [\"1\"]}"}),
            "1",
            "print(input())",
            "stdin",
        );
        check(
            json!({"id": "a", "question": "Q", "solutions": ["s"],
                "input_output": "{\"fn_name\": \"f\", \"inputs\": [[1]], \"outputs\": [[1]]}"}),
            "a",
            "s",
            "calls",
        );
        check(
            json!({"description": "D", "solutions": {"language": [2, 3], "solution": ["c++", "py"]},
                "public_tests": {"input": ["1"], "output": ["2"]}, "private_tests": {"input": [], "output": []}}),
            "1",
            "py",
            "stdin",
        );
        check(json!({"solution": "s", "tests": [{"input": "1\n", "output": "2\n"}]}), "1", "s", "stdin");
        check(json!({"code": "s", "stdin": "1", "stdout": 2}), "1", "s", "stdin");
        check(
            json!({"gold_standard_solution": "```python\ns\n```",
                "verification_info": "{\"test_cases\": [{\"input\": \"a\", \"output\": \"b\"}]}"}),
            "1",
            "s\n",
            "stdin",
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |row: Value, expected: &str| {
            let error = format!("{:#}", read(&row).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(json!({"text": "Do.", "test_list": ["assert f() == 1"]}), "a solution");
        check(json!({"text": "Do.", "code": "x", "test_list": []}), "`test_list` is an empty list");
        check(json!({"question": "x", "answer": "y"}), "none of the 1 tasks");
        check(json!({"x": "x"}), "layout");
    }
}
