//! The text of a recipe with `--set` on top of it, and where each value came from.
//!
//! A `--set` is put into the parsed tree, so that it is read and checked as if it stood in the
//! file. So that an error still finds its place, file and settings share one numbering of bytes:
//! the file from 0, each `--set` in a range of its own after it.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{RecipeError, nearest, translate};
use super::keys::Problem;

/// Where a text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file (or a shipped recipe), and the line.
    File(String, usize),
    /// `--set` on the command line.
    Set(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(name, line) => write!(formatter, "{name}, line {line}"),
            Origin::Set(argument) => write!(formatter, "--set {argument}"),
        }
    }
}

/// A line of the file, and the part of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
    /// Characters before the part that is meant.
    pub(crate) column: usize,
    /// Characters of the part that is meant.
    pub(crate) width: usize,
}

/// A place for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    /// The line, where there is one to show: not for `--set`, which shows itself.
    pub(crate) line: Option<Line>,
}

/// One `--set KEY=VALUE`.
#[derive(Debug)]
struct Setting {
    argument: String,
    path: Vec<String>,
    /// The value at its place in the shared numbering: blanks, then `v = VALUE`.
    padded: String,
    value_span: Range<usize>,
    raw_value: String,
}

/// The text of a recipe and the settings on top of it.
#[derive(Debug)]
pub(crate) struct Document {
    name: String,
    text: String,
    settings: Vec<Setting>,
}

/// What the value of a `--set` is assigned to while it is parsed.
const ASSIGN: &str = "v = ";

impl Document {
    /// Puts the arguments of `--set` after the text.
    pub(crate) fn new(name: &str, text: &str, arguments: &[String]) -> Result<Document, RecipeError> {
        let mut settings = Vec::new();
        let mut next = text.len() + ASSIGN.len() + 1;
        for argument in arguments {
            let subject = format!("--set {argument}");
            let Some((path, value)) = argument.split_once('=') else {
                return Err(
                    RecipeError::new(subject, "expected KEY=VALUE").hint("for example --set grpo.learning_rate=1e-4")
                );
            };
            let path: Vec<String> = path.split('.').map(|part| part.trim().to_owned()).collect();
            if path.iter().any(String::is_empty) {
                return Err(RecipeError::new(subject, "a part of the key is empty"));
            }
            let start = next + (argument.len() - value.len());
            let padding = " ".repeat(start - ASSIGN.len());
            settings.push(Setting {
                argument: argument.clone(),
                path,
                padded: format!("{padding}{ASSIGN}{value}"),
                value_span: start..start + value.len(),
                raw_value: value.to_owned(),
            });
            next += argument.len() + 1;
        }
        Ok(Document { name: name.to_owned(), text: text.to_owned(), settings })
    }

    /// The tree with every `--set` in it.
    pub(crate) fn tree(&self, top_level: &[&str]) -> Result<Spanned<DeTable<'_>>, RecipeError> {
        self.tree_with(top_level, |_| ())
    }

    /// The same; `change` changes what the text says, before any `--set`.
    pub(crate) fn tree_with(
        &self,
        top_level: &[&str],
        change: impl FnOnce(&mut DeTable<'_>),
    ) -> Result<Spanned<DeTable<'_>>, RecipeError> {
        let mut tree = DeTable::parse(&self.text).map_err(|error| self.error(translate(&error, &self.text, &[])))?;
        change(tree.get_mut());
        for setting in &self.settings {
            self.apply(tree.get_mut(), setting, top_level)?;
        }
        Ok(tree)
    }

    /// A problem as an error with its place.
    pub(crate) fn error(&self, problem: Problem) -> RecipeError {
        let place = problem.span.clone().map(|span| self.place(&span));
        RecipeError::from_problem(&self.name, problem, place)
    }

    /// An error of reading a part of the tree, in our words.
    pub(crate) fn read_error(&self, error: &toml::de::Error, more_keys: &[&str]) -> RecipeError {
        let source = error.span().and_then(|span| self.setting_at(&span));
        let problem = match source {
            // The key of a `--set` stands in its argument; the blanks keep the numbering.
            Some(setting) => {
                let key = setting.path.last().map_or("", String::as_str);
                let blanks = (setting.value_span.start - 1).saturating_sub(key.len());
                translate(error, &format!("{}{key}={}", " ".repeat(blanks), setting.raw_value), more_keys)
            }
            None => translate(error, &self.text, more_keys),
        };
        self.error(problem)
    }

    fn setting_at(&self, span: &Range<usize>) -> Option<&Setting> {
        if span.start <= self.text.len() {
            return None;
        }
        // Spans of one argument: from after the argument before it to the end of its own value.
        self.settings.iter().find(|setting| span.start <= setting.value_span.end)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        if let Some(setting) = self.setting_at(span) {
            return Place { origin: Origin::Set(setting.argument.clone()), line: None };
        }
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        let number = before.matches('\n').count() + 1;
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let length = span.end.saturating_sub(start).min(line.len().saturating_sub(start - line_start));
        let marked = self.text.get(start..start + length).unwrap_or("");
        Place {
            origin: Origin::File(self.name.clone(), number),
            line: Some(Line {
                number,
                text: line.to_owned(),
                column: self.text[line_start..start].chars().count(),
                width: marked.chars().count(),
            }),
        }
    }

    /// Puts one setting into the tree.
    fn apply<'i>(
        &'i self,
        root: &mut DeTable<'i>,
        setting: &'i Setting,
        top_level: &[&str],
    ) -> Result<(), RecipeError> {
        let value = setting.value();
        let span = setting.value_span.clone();
        let first = setting.path[0].as_str();
        let (table, path) = if top_level.contains(&first) {
            (root, &setting.path[..])
        } else if let Some(table) = named_mut(root, "stage", &["name", "kind"], first) {
            (table, &setting.path[1..])
        } else {
            let stages = names(root, "stage", &["name", "kind"]);
            let all = top_level.iter().copied().chain(stages.iter().map(String::as_str));
            let mut problem = Problem::at(span, format!("no stage or top-level key is called `{first}`"));
            problem.hint = Some(match nearest(first, all) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!(
                    "the stages of this recipe are {}; the top-level keys {}",
                    stages.join(", "),
                    top_level.join(", ")
                ),
            });
            return Err(self.error(problem));
        };
        self.assign(table, path, value, &span)
    }

    fn assign<'i>(
        &self,
        table: &mut DeTable<'i>,
        path: &'i [String],
        value: Spanned<DeValue<'i>>,
        span: &Range<usize>,
    ) -> Result<(), RecipeError> {
        let Some((key, rest)) = path.split_first() else {
            let problem = Problem::at(span.clone(), "this is a stage; expected NAME.KEY=VALUE");
            return Err(self.error(problem));
        };
        let spanned_key = Spanned::new(span.clone(), key.as_str().into());
        if rest.is_empty() {
            // The old key goes too: its span would send an error to the file.
            table.remove(key.as_str());
            table.insert(spanned_key, value);
            return Ok(());
        }
        if table.get(key.as_str()).is_some_and(|child| child.get_ref().is_array()) {
            let Some(element) = named_mut(table, key, &["name", "kind"], &rest[0]) else {
                let names = names(table, key, &["name", "kind"]);
                let problem = Problem::at(span.clone(), format!("no `{key}` is called `{}`", rest[0]))
                    .hint(format!("there are {}", names.join(", ")));
                return Err(self.error(problem));
            };
            return self.assign(element, &rest[1..], value, span);
        }
        let child =
            table.entry(spanned_key).or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        match child.get_mut() {
            DeValue::Table(child) => self.assign(child, rest, value, span),
            _ => Err(self.error(Problem::at(span.clone(), format!("`{key}` has no keys inside it")))),
        }
    }
}

impl Setting {
    /// The value as TOML; what is no TOML is a text (so that quotes may be left out).
    fn value(&self) -> Spanned<DeValue<'_>> {
        let parsed = DeTable::parse(&self.padded).ok().and_then(|mut table| {
            let alone = table.get_ref().len() == 1;
            table.get_mut().remove("v").filter(|_| alone)
        });
        parsed.unwrap_or_else(|| Spanned::new(self.value_span.clone(), DeValue::String(self.raw_value.as_str().into())))
    }
}

/// The name of a table in an array: the first of the keys that it has.
fn name_of<'t>(table: &'t DeTable<'_>, keys: &[&str]) -> Option<&'t str> {
    keys.iter().find_map(|&key| table.get(key)?.get_ref().as_str())
}

fn names(table: &DeTable<'_>, array: &str, keys: &[&str]) -> Vec<String> {
    let elements = table.get(array).and_then(|value| value.get_ref().as_array());
    elements
        .into_iter()
        .flatten()
        .filter_map(|element| name_of(element.get_ref().as_table()?, keys))
        .map(str::to_owned)
        .collect()
}

fn named_mut<'t, 'i>(
    table: &'t mut DeTable<'i>,
    array: &str,
    keys: &[&str],
    name: &str,
) -> Option<&'t mut DeTable<'i>> {
    let DeValue::Array(elements) = table.get_mut(array)?.get_mut() else { return None };
    elements.iter_mut().find_map(|element| match element.get_mut() {
        DeValue::Table(table) if name_of(table, keys) == Some(name) => Some(table),
        _ => None,
    })
}
