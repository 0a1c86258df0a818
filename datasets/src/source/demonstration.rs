//! Demonstrations: rows that show how to answer, for supervised fine-tuning.
//!
//! The files are those of [`super::read`]. What a row holds is told by its columns, row by row, so that files of several
//! origins may be joined:
//!
//! | columns | found in |
//! |---|---|
//! | `messages`, or `conversations`; perhaps `system` | TRL, Open R1, ShareGPT (`from` and `value`) |
//! | `prompt` with `response`, `completion` or `output` | TRL, what rejection sampling writes here |
//! | `problem` with `generations`, perhaps `correctness_math_verify` | Open R1's collections of traces |
//! | `problem`, `question` or `instruction` with `solution`, `answer` or `output` | public problem sets |

use std::path::Path;

use serde_json::Value;

use super::layout::column_names;
use super::stream::TaskStream;
use super::{BadLine, Columns, OnBadLine};
use crate::error::DatasetError;
use crate::task::Message;

/// Columns with an answer beside a `prompt`.
const ANSWERS: [&str; 3] = ["response", "completion", "output"];
/// Columns of a question and of what answers it, for sets that are no conversations.
const QUESTIONS: [&str; 3] = ["problem", "question", "instruction"];
const SOLUTIONS: [&str; 3] = ["solution", "answer", "output"];

/// A conversation up to a question, and the answer to be learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demonstration {
    /// What stands before the answer; the last message is the question.
    pub messages: Vec<Message>,
    /// The answer, never empty.
    pub answer: String,
    /// Its line in the file (for Parquet its row), counted from 1.
    pub line: usize,
}

/// What a file of demonstrations held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadDemonstrations {
    /// The demonstrations, in the order of the file.
    pub demonstrations: Vec<Demonstration>,
    /// The rows left out. Always empty with [`OnBadLine::Stop`].
    pub bad: Vec<BadLine>,
}

/// Reads the demonstrations in the file at `path`.
///
/// # Errors
/// As [`super::read`]; a row without a question or an answer is malformed.
pub fn read_demonstrations(path: &Path, on_bad_line: OnBadLine) -> Result<ReadDemonstrations, DatasetError> {
    let mut stream = TaskStream::open(path, None, on_bad_line)?;
    let mut read = ReadDemonstrations::default();
    loop {
        let rows = stream.next_rows()?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            match row.columns.and_then(|columns| demonstration(&columns, row.line)) {
                Ok(demonstration) => read.demonstrations.push(demonstration),
                Err(what) if on_bad_line == OnBadLine::Skip => read.bad.push(BadLine { line: row.line, what }),
                Err(what) => {
                    let (path, place) = (path.to_owned(), stream.place());
                    return Err(DatasetError::BadLine { path, place, line: row.line, what });
                }
            }
        }
    }
    match read.bad.first() {
        Some(first) if read.demonstrations.is_empty() => Err(DatasetError::NothingUsable {
            path: path.to_owned(),
            count: read.bad.len(),
            place: stream.place(),
            line: first.line,
            what: first.what.clone(),
        }),
        None if read.demonstrations.is_empty() => Err(DatasetError::Empty { path: path.to_owned() }),
        _ => Ok(read),
    }
}

fn demonstration(columns: &Columns, line: usize) -> Result<Demonstration, String> {
    let (mut messages, answer) = parts(columns)?;
    if let Some(Value::String(system)) = columns.get("system")
        && !system.trim().is_empty()
        && messages.first().is_some_and(|first| first.role != "system")
    {
        messages.insert(0, Message { role: "system".to_owned(), content: system.clone() });
    }
    match messages.last() {
        Some(last) if last.role != "user" => {
            Err(format!("the answer follows a message of `{}`, expected one of `user`", last.role))
        }
        Some(last) if last.content.trim().is_empty() => Err("the question is empty".to_owned()),
        Some(_) => Ok(Demonstration { messages, answer, line }),
        None => Err("there is no question before the answer".to_owned()),
    }
}

/// The messages before the answer, and the answer.
fn parts(columns: &Columns) -> Result<(Vec<Message>, String), String> {
    let there = |name: &&str| columns.get(*name).is_some_and(|value| !value.is_null());
    if let Some(name) = ["messages", "conversations"].iter().find(|name| there(name)) {
        let mut messages = messages(&columns[*name], name)?;
        return match messages.pop() {
            Some(last) if last.role == "assistant" => Ok((messages, answer(&last.content, name)?)),
            Some(last) => {
                Err(format!("no answer to learn: the last message of `{name}` is of `{}`, not `assistant`", last.role))
            }
            None => Err(format!("the column `{name}` is an empty list")),
        };
    }
    if there(&"prompt") {
        let prompt = match &columns["prompt"] {
            Value::Array(_) => messages(&columns["prompt"], "prompt")?,
            _ => vec![question(columns, "prompt")?],
        };
        if let Some(name) = ANSWERS.iter().find(|name| there(name)) {
            let text = match &columns[*name] {
                Value::Array(_) => match messages(&columns[*name], name)?.as_slice() {
                    [only] => only.content.clone(),
                    several => return Err(format!("`{name}` has {} messages, expected one", several.len())),
                },
                _ => text(columns, name)?,
            };
            return Ok((prompt, answer(&text, name)?));
        }
    }
    if let Some(name) = QUESTIONS.iter().find(|name| there(name)) {
        if there(&"generations") {
            return Ok((vec![question(columns, name)?], generation(columns)?));
        }
        if let Some(solution) = SOLUTIONS.iter().find(|solution| there(solution)) {
            return Ok((vec![question(columns, name)?], answer(&text(columns, solution)?, solution)?));
        }
    }
    Err(format!(
        "no answer to learn: expected `messages`, or `prompt` with `response` or `completion`, or `problem` with \
         `generations` or `solution`; found {}",
        column_names(&[columns])
    ))
}

/// The first generation, or the first that is marked as correct where they are marked.
fn generation(columns: &Columns) -> Result<String, String> {
    let Value::Array(generations) = &columns["generations"] else {
        return Err("the column `generations` should be a list of texts".to_owned());
    };
    let marks = columns.get("correctness_math_verify").and_then(Value::as_array);
    let correct = |index: &usize| marks.is_none_or(|marks| marks.get(*index).and_then(Value::as_bool) == Some(true));
    let first = (0..generations.len()).find(correct).ok_or("no answer to learn: no generation is marked as correct")?;
    match &generations[first] {
        Value::String(text) => answer(text, "generations"),
        _ => Err("the column `generations` should be a list of texts".to_owned()),
    }
}

fn text(columns: &Columns, name: &str) -> Result<String, String> {
    match &columns[name] {
        Value::String(text) => Ok(text.replace("\r\n", "\n")),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("the column `{name}` should be text")),
    }
}

fn question(columns: &Columns, name: &str) -> Result<Message, String> {
    Ok(Message { role: "user".to_owned(), content: text(columns, name)? })
}

fn answer(text: &str, name: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(format!("no answer to learn: the answer in `{name}` is empty"));
    }
    Ok(text.to_owned())
}

/// A list of messages, with `role` and `content` or ShareGPT's `from` and `value`.
fn messages(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    let wrong = || format!("the column `{name}` should be a list of messages with `role` and `content`");
    let elements = value.as_array().ok_or_else(wrong)?;
    let message = |element: &Value| {
        let field = |key: &str, other: &str| element.get(key).or_else(|| element.get(other)).and_then(Value::as_str);
        let (role, content) = field("role", "from").zip(field("content", "value")).ok_or_else(wrong)?;
        let role = match role {
            "human" => "user",
            "gpt" => "assistant",
            role => role,
        };
        Ok(Message { role: role.to_owned(), content: content.replace("\r\n", "\n") })
    };
    elements.iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, on_bad_line: OnBadLine) -> Result<ReadDemonstrations, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sft.jsonl");
        std::fs::write(&path, text).unwrap();
        read_demonstrations(&path, on_bad_line)
            .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn every_layout_gives_a_question_and_an_answer() {
        for row in [
            r#"{"prompt": "q", "response": "a"}"#,
            r#"{"prompt": "q", "completion": "a", "messages": null}"#,
            r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
            r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "problem": "p"}"#,
            r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
            r#"{"problem": "q", "solution": "a", "source": "x"}"#,
            r#"{"question": "q", "answer": "a"}"#,
            r#"{"problem": "q", "solution": "s", "generations": ["b", "a"], "correctness_math_verify": [false, true]}"#,
            r#"{"problem": "q", "generations": ["a", "b"]}"#,
        ] {
            let read = read_text(row, OnBadLine::Stop).unwrap_or_else(|error| panic!("{row}: {error}"));
            let [one] = read.demonstrations.as_slice() else { panic!("{row}") };
            let messages: Vec<_> = one.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
            assert_eq!((messages.as_slice(), one.answer.as_str()), ([("user", "q")].as_slice(), "a"), "{row}");
        }
    }

    #[test]
    fn a_system_message_comes_first_once() {
        let row = r#"{"system": "s", "prompt": "q", "response": "a"}"#;
        let read = read_text(row, OnBadLine::Stop).unwrap();
        let roles: Vec<_> = read.demonstrations[0].messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user"]);
    }

    #[test]
    fn a_row_without_an_answer_is_named_with_its_line() {
        let good = r#"{"prompt": "q", "response": "a"}"#;
        for (bad, expected) in [
            (r#"{"prompt": "q", "response": "  "}"#, "no answer to learn: the answer in `response` is empty"),
            (r#"{"prompt": "q"}"#, "no answer to learn: expected `messages`, or `prompt` with `response`"),
            (r#"{"messages": [{"role": "user", "content": "q"}]}"#, "the last message of `messages` is of `user`"),
            (r#"{"messages": [{"role": "assistant", "content": "a"}]}"#, "there is no question before the answer"),
            (r#"{"messages": "q"}"#, "should be a list of messages with `role` and `content`"),
            (r#"{"prompt": " ", "response": "a"}"#, "the question is empty"),
            (
                r#"{"problem": "q", "generations": ["a"], "correctness_math_verify": [false]}"#,
                "no generation is marked",
            ),
            ("{", "malformed JSON"),
        ] {
            let text = format!("{good}\n\n{bad}\n{good}\n");
            let error = read_text(&text, OnBadLine::Stop).unwrap_err();
            assert!(error.starts_with("sft.jsonl, line 3: ") && error.contains(expected), "{error}");
            let read = read_text(&text, OnBadLine::Skip).unwrap();
            assert_eq!((read.demonstrations.len(), read.bad[0].line), (2, 3), "{bad}");
        }
        let error = read_text(r#"{"prompt": "q"}"#, OnBadLine::Skip).unwrap_err();
        assert!(error.contains("holds no usable row"), "{error}");
    }
}
