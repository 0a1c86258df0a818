//! The solutions that a source brings with its programming tasks.

use serde_json::Value;

use crate::task::Task;

/// Columns that may hold solutions. The first is that of tasks whose own column holds a part of one.
pub(crate) const COLUMNS: [&str; 8] = [
    "solution",
    "code",
    "canonical_solution",
    "solutions",
    "reference_solution",
    "gold_standard_solution",
    "program",
    "completion",
];

/// The programs of the first column that holds any, in Python as far as the source says.
#[must_use]
pub fn solutions(task: &Task) -> Vec<String> {
    let found = COLUMNS.iter().filter_map(|name| task.extra.get(*name)).map(programs);
    found.into_iter().find(|programs| !programs.is_empty()).unwrap_or_default()
}

/// The programs in a column: a text, a list of such or the JSON of one, or Code Contests' two lists, of languages and of
/// programs. A fence around a program is taken off.
#[must_use]
pub fn programs(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(list @ (Value::Array(_) | Value::Object(_))) => programs(&list),
            _ if text.trim().is_empty() => Vec::new(),
            _ => vec![unfenced(text).replace("\r\n", "\n")],
        },
        Value::Array(elements) => elements.iter().flat_map(programs).collect(),
        Value::Object(fields) => {
            match (fields.get("language"), fields.get("solution").or_else(|| fields.get("code"))) {
                (Some(Value::Array(languages)), Some(Value::Array(listed))) => {
                    let both = languages.iter().zip(listed);
                    both.filter(|(language, _)| is_python(language))
                        .flat_map(|(_, program)| programs(program))
                        .collect()
                }
                (_, Some(program)) => programs(program),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// Code Contests numbers languages; 3 is Python 3.
fn is_python(language: &Value) -> bool {
    language == 3 || language.as_str().is_some_and(|name| matches!(name.to_lowercase().as_str(), "python" | "python3"))
}

/// A program that stands in a fence of Markdown.
fn unfenced(text: &str) -> &str {
    let inside = text.trim().strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inside.and_then(|inside| inside.split_once('\n')).map_or(text, |(_, program)| program)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_found_as_sources_hold_them() {
        let check = |value: Value, expected: &[&str]| assert_eq!(programs(&value), expected, "{value}");
        check(json!("print(1)"), &["print(1)"]);
        check(json!("[1, 2]\nprint(1)"), &["[1, 2]\nprint(1)"]);
        check(json!("[\"a\", \"\", \"b\"]"), &["a", "b"]);
        check(json!(["a", "b"]), &["a", "b"]);
        check(json!("```python\ns\n```"), &["s\n"]);
        check(json!({"language": [2, 3], "solution": ["c++", "py"]}), &["py"]);
        check(json!([{"language": "python", "code": "a"}]), &["a"]);
        check(json!(" "), &[]);
        check(json!(null), &[]);
    }
}
