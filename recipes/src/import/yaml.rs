//! A YAML file as a list of keys with their lines. A table within a table becomes keys with dots:
//! `lr_scheduler_kwargs.min_lr_rate`.

use std::fmt;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::config::RecipeError;

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value, as far as training configurations have any.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    /// A finite number: what is infinite or none at all is never meant.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self {
            Value::Integer(value) => Some(*value as f64),
            Value::Number(value) => Some(*value),
            // Python's reader takes `1e-6`, without a dot, for a text, and the trainer makes a number of it.
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            other => {
                other.number().filter(|value| value.fract() == 0.0 && value.abs() < 1e15).map(|value| value as i64)
            }
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a recipe needs it: a text in full, where Display shortens it for the account.
    pub(super) fn full(&self) -> String {
        self.text().map_or_else(|| self.to_string(), str::to_owned)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => match self.whole() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
        }
    }

    /// The elements of a list; of a single value, itself.
    pub(super) fn elements(&self) -> &[Value] {
        match self {
            Value::List(elements) => elements,
            Value::Null => &[],
            single => std::slice::from_ref(single),
        }
    }
}

/// For the account: a long text is shortened, and stands on one line.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        match self {
            Value::Null => formatter.write_str("null"),
            Value::Bool(value) => write!(formatter, "{value}"),
            Value::Integer(value) => write!(formatter, "{value}"),
            // As people write it: 2e-5, not 0.00002.
            Value::Number(value) if *value != 0.0 && value.abs() < 1e-3 => write!(formatter, "{value:e}"),
            Value::Number(value) => write!(formatter, "{value}"),
            Value::Text(text) => {
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                if line.chars().count() <= SHOWN {
                    return formatter.write_str(&line);
                }
                let head: String = line.chars().take(SHOWN).collect();
                write!(formatter, "{head}…")
            }
            Value::List(elements) => {
                let texts: Vec<String> = elements.iter().map(ToString::to_string).collect();
                write!(formatter, "[{}]", texts.join(", "))
            }
        }
    }
}

/// The keys of the first document.
pub(super) fn read(shown: &str, text: &str) -> Result<Vec<Entry>, RecipeError> {
    let wrong = |message: String| RecipeError::new(shown, message);
    let documents = MarkedYaml::load_from_str(text)
        .map_err(|error| wrong(format!("line {}: this is not YAML: {}", error.marker().line(), error.info())))?;
    let [document] = &documents[..] else {
        return Err(wrong(format!("expected one document, found {}", documents.len())));
    };
    let mut entries = Vec::new();
    flatten("", document, &mut entries).map_err(|(line, message)| wrong(format!("line {line}: {message}")))?;
    if entries.is_empty() {
        return Err(wrong("expected `key: value` lines, found none".to_owned()));
    }
    Ok(entries)
}

type Wrong = (usize, String);

fn flatten(path: &str, node: &MarkedYaml<'_>, entries: &mut Vec<Entry>) -> Result<(), Wrong> {
    let line = node.span.start.line();
    let YamlData::Mapping(mapping) = &node.data else {
        return Err((line, "expected a table of `key: value` lines".to_owned()));
    };
    for (name, value) in mapping {
        let line = name.span.start.line();
        let YamlData::Value(Scalar::String(name)) = &name.data else {
            return Err((line, "a key is not a word".to_owned()));
        };
        let key = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        if let YamlData::Mapping(inner) = &value.data
            && !inner.is_empty()
        {
            flatten(&key, value, entries)?;
        } else {
            entries.push(Entry { value: convert(value)?, key, line });
        }
    }
    Ok(())
}

fn convert(node: &MarkedYaml<'_>) -> Result<Value, Wrong> {
    Ok(match &node.data {
        YamlData::Value(Scalar::Null) => Value::Null,
        YamlData::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        YamlData::Value(Scalar::Integer(value)) => Value::Integer(*value),
        YamlData::Value(Scalar::FloatingPoint(value)) => Value::Number(value.into_inner()),
        YamlData::Value(Scalar::String(text)) => Value::Text(text.to_string()),
        YamlData::Sequence(elements) => Value::List(elements.iter().map(convert).collect::<Result<_, _>>()?),
        YamlData::Mapping(_) => Value::Text("(a table)".to_owned()),
        _ => {
            return Err((
                node.span.start.line(),
                "this value cannot be read: tags and aliases have no meaning here".to_owned(),
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_their_lines_and_inner_ones_with_dots() {
        let text = "# a comment\nlearning_rate: 2.0e-05\nbeta: 1e-3\nlr_scheduler_kwargs:\n  min_lr_rate: 0.1\n\
                    reward_funcs:\n- accuracy\n- format\nuse_vllm: true\nrun_name:\nkwargs: {}\n";
        let entries = read("x.yaml", text).unwrap();
        let shown: Vec<String> =
            entries.iter().map(|entry| format!("{} {} {}", entry.line, entry.key, entry.value)).collect();
        assert_eq!(
            shown,
            [
                "2 learning_rate 2e-5",
                "3 beta 0.001",
                "5 lr_scheduler_kwargs.min_lr_rate 0.1",
                "6 reward_funcs [accuracy, format]",
                "9 use_vllm true",
                "10 run_name null",
                "11 kwargs (a table)",
            ]
        );
        assert_eq!(Value::Text("1e-6".to_owned()).number(), Some(1e-6));
        assert_eq!((Value::Number(16.0).whole(), Value::Number(0.5).whole()), (Some(16), None));
    }

    #[test]
    fn a_text_is_shortened_where_it_is_shown_and_nowhere_else() {
        let name = "/models/some-organization/a-folder-with-a-long-name";
        let value = Value::Text(name.to_owned());
        assert_eq!((value.to_string(), value.full()), (format!("{}…", &name[..40]), name.to_owned()));
        assert_eq!(Value::Integer(7).full(), "7");
    }

    #[test]
    fn what_is_no_configuration_is_named_with_its_line() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = read("x.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with("x.yaml: ") && error.contains(expected), "{error}");
        }
        check("a: [1, 2\nb: 3\n", "this is not YAML");
        check("- a\n- b\n", "line 1: expected a table");
        check("", "found 0");
        check("a: 1\na: 2\n", "line 2: this is not YAML: duplicated key");
        check("? [a]\n: 1\n", "a key is not a word");
    }
}
