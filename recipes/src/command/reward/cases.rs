//! Cases for a reward: completions with the scores that they must get, as JSON Lines.

use rewards::{Message, Reference, Sample, Score};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::command::grade::read_reference;

/// A case as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    turns: Vec<Message>,
    completion: Option<String>,
    completions: Option<Vec<String>>,
    /// How many tokens the completion has, or each of them.
    tokens: Option<OneOrMany<u32>>,
    #[serde(default)]
    columns: Map<String, Value>,
    reference: Option<Value>,
    #[serde(default)]
    truncated: bool,
    expected: Value,
    /// What the case is about, for whoever reads it.
    #[serde(default, rename = "name")]
    _name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A group of completions and what they must get.
#[derive(Debug)]
pub(super) struct Case {
    prompt: String,
    turns: Vec<Message>,
    completions: Vec<String>,
    ids: Vec<Vec<u32>>,
    columns: Map<String, Value>,
    reference: Reference,
    truncated: bool,
    expected: Vec<Option<f64>>,
}

/// How close a score must come.
const TOLERANCE: f64 = 1e-9;

impl Case {
    /// The case of a line, or what is wrong with it.
    pub(super) fn read(line: &str) -> Result<Case, String> {
        let row: Row = serde_json::from_str(line).map_err(|error| {
            // serde counts the place within the line; the file's line is said by the caller.
            let text = error.to_string();
            text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
        })?;
        let grouped = row.completions.is_some();
        let completions = match (row.completion, row.completions) {
            (Some(one), None) => vec![one],
            (None, Some(many)) if !many.is_empty() => many,
            (None, Some(_)) => return Err("`completions` is empty".to_owned()),
            (Some(_), Some(_)) => return Err("has both `completion` and `completions`".to_owned()),
            (None, None) => return Err("has neither `completion` nor `completions`".to_owned()),
        };
        let count = completions.len();
        let score = |value: &Value| match value {
            Value::Null => Ok(None),
            Value::Number(number) => Ok(number.as_f64()),
            other => Err(format!("`expected` holds {other}, expected a number or null")),
        };
        let expected: Vec<Option<f64>> = match &row.expected {
            Value::Array(many) if grouped => many.iter().map(score).collect::<Result<_, _>>()?,
            one => vec![score(one)?],
        };
        if expected.len() != count {
            return Err(format!("`expected` has {} scores for {count} completions", expected.len()));
        }
        let lengths = match row.tokens {
            None => vec![0; count],
            Some(OneOrMany::One(one)) => vec![one; count],
            Some(OneOrMany::Many(many)) if many.len() == count => many,
            Some(OneOrMany::Many(many)) => {
                return Err(format!("`tokens` has {} numbers for {count} completions", many.len()));
            }
        };
        let reference = row.reference.as_ref().or_else(|| row.columns.get("answer"));
        let reference = match reference {
            Some(value) => read_reference(value)?,
            // A reward that looks at the text alone needs none.
            None => Reference::Math { answer: String::new() },
        };
        Ok(Case {
            prompt: row.prompt,
            turns: row.turns,
            completions,
            ids: lengths.into_iter().map(|length| vec![0; length as usize]).collect(),
            columns: row.columns,
            reference,
            truncated: row.truncated,
            expected,
        })
    }

    /// The completions, to be scored together.
    pub(super) fn samples(&self) -> Vec<Sample<'_>> {
        let texts = self.completions.iter().zip(&self.ids);
        texts
            .map(|(text, ids)| Sample {
                turns: &self.turns,
                completion_ids: ids,
                columns: &self.columns,
                truncated: self.truncated,
                ..Sample::new(&self.prompt, text, &self.reference)
            })
            .collect()
    }

    /// What is not as expected; nothing where all is.
    pub(super) fn differences(&self, scores: &[Score]) -> Vec<String> {
        let shown =
            |value: Option<f64>| value.map_or_else(|| "null (not scored)".to_owned(), |value| value.to_string());
        let mut differences = Vec::new();
        for (place, (expected, score)) in self.expected.iter().zip(scores).enumerate() {
            let same = match (expected, score.value) {
                (Some(expected), Some(value)) => (expected - value).abs() <= TOLERANCE * expected.abs().max(1.0),
                (expected, value) => expected.is_none() && value.is_none(),
            };
            if !same {
                let which =
                    if self.completions.len() > 1 { format!("completion {}: ", place + 1) } else { String::new() };
                let cause = score.cause.as_deref().map_or(String::new(), |cause| format!(" ({cause})"));
                differences.push(format!("{which}expected {}, got {}{cause}", shown(*expected), shown(score.value)));
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_as_people_write_them() {
        let case =
            Case::read(r#"{"completion": "a", "columns": {"answer": 7}, "tokens": 3, "expected": 0.5}"#).unwrap();
        let sample = case.samples()[0];
        assert_eq!((sample.completion, sample.completion_ids.len()), ("a", 3));
        assert_eq!(*sample.reference, Reference::Math { answer: "7".to_owned() });
        assert_eq!(case.differences(&[Score::of(0.5)]), Vec::<String>::new());
        assert_eq!(case.differences(&[Score::zero("bad")]), ["expected 0.5, got 0 (bad)"]);
        let group = r#"{"completions": ["a", "b"], "tokens": [1, 2], "expected": [null, 1]}"#;
        let group = Case::read(group).unwrap();
        assert!(group.differences(&[Score::not_scored(), Score::full()]).is_empty());
        let wrong = group.differences(&[Score::full(), Score::not_scored()]);
        assert_eq!(
            wrong,
            ["completion 1: expected null (not scored), got 1", "completion 2: expected 1, got null (not scored)"]
        );
    }

    #[test]
    fn what_is_wrong_with_a_case_is_said() {
        let check = |line: &str, expected: &str| assert_eq!(Case::read(line).unwrap_err(), expected, "{line}");
        check("{", "EOF while parsing an object");
        check("[1]", "invalid type: integer `1`, expected a string");
        check(r#"{"expected": 1}"#, "has neither `completion` nor `completions`");
        check(r#"{"completion": "a"}"#, "missing field `expected`");
        check(r#"{"completion": "a", "expected": "1"}"#, "`expected` holds \"1\", expected a number or null");
        check(r#"{"completions": ["a"], "expected": [1, 2]}"#, "`expected` has 2 scores for 1 completions");
        check(r#"{"completions": [], "expected": []}"#, "`completions` is empty");
        check(
            r#"{"completions": ["a", "b"], "tokens": [1], "expected": [1, 2]}"#,
            "`tokens` has 1 numbers for 2 completions",
        );
        assert!(Case::read(r#"{"completion": "a", "expect": 1}"#).unwrap_err().starts_with("unknown field `expect`"));
    }
}
