//! `map`: columns under other names, prompts from a template, what rows say of themselves.

use serde_json::Value;

use super::job::Map;
use super::work::{SeenColumns, Work};
use crate::error::DatasetError;
use crate::task::{Message, Task};

pub(super) fn run(map: &Map, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let columns = SeenColumns::of(map.columns());
    work.change(|task| {
        columns.look(std::slice::from_ref(task));
        apply(map, task).map(|()| None)
    })?;
    columns.check(work)?;
    for (new, old) in &map.rename {
        if work.named.remove(old) {
            work.named.insert(new.clone());
        }
    }
    work.named.retain(|name| !map.remove.contains(name));
    Ok(())
}

impl Map {
    /// The further columns that it asks of the rows which come in. (Those of templates every row must have: they are looked for
    /// where they are filled in.)
    fn columns(&self) -> impl Iterator<Item = &str> {
        let later = self.difficulty_from.iter().chain(&self.remove).filter(|name| !self.rename.contains_key(*name));
        self.rename.values().chain(later).map(String::as_str)
    }
}

fn apply(map: &Map, task: &mut Task) -> Result<(), DatasetError> {
    for (new, old) in &map.rename {
        if let Some(value) = task.extra.shift_remove(old) {
            task.extra.insert(new.clone(), value);
        }
    }
    if let Some(name) = &map.difficulty_from {
        let number = task.extra.get(name).and_then(|value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        });
        task.difficulty = number.map(|number| number / map.difficulty_scale).or(task.difficulty);
    }
    if let Some(source) = &map.source {
        task.source = fill(source, task)?;
    }
    if let Some(domain) = map.domain {
        task.domain = domain;
    }
    if let Some(template) = &map.template {
        task.prompt = fill(template, task)?;
    }
    if let Some(system) = &map.system {
        let message = Message { role: "system".to_owned(), content: fill(system, task)? };
        task.turns.retain(|turn| turn.role != "system");
        task.turns.insert(0, message);
    }
    for name in &map.remove {
        task.extra.shift_remove(name);
    }
    task.renew_id();
    Ok(())
}

/// Checks the braces of a template. Whether rows have its columns is seen only where there are rows.
///
/// # Errors
/// What is wrong with it.
pub fn check_template(template: &str) -> Result<(), String> {
    pieces(template).map(|_| ())
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// The pieces of a template; `{{` and `}}` are braces.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(place) = rest.find(['{', '}']) {
        pieces.push(Piece::Text(&rest[..place]));
        let brace = &rest[place..=place];
        rest = &rest[place + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            pieces.push(Piece::Text(brace));
            rest = after;
            continue;
        }
        let (name, after) =
            rest.split_once('}').filter(|_| brace == "{").ok_or("a brace stands alone; write {{ or }} for a brace")?;
        pieces.push(Piece::Name(name));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// A template with its `{names}` filled in. What is filled in is not looked at again.
fn fill(template: &str, task: &Task) -> Result<String, DatasetError> {
    let broken = |what| DatasetError::Template { template: template.to_owned(), what };
    let mut text = String::with_capacity(template.len() + task.prompt.len());
    for piece in pieces(template).map_err(broken)? {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Name("prompt") => text.push_str(&task.prompt),
            Piece::Name("source") => text.push_str(&task.source),
            Piece::Name("domain") => text.push_str(task.domain.name()),
            Piece::Name(name) => match task.extra.get(name) {
                Some(Value::String(value)) => text.push_str(value),
                Some(value) => text.push_str(&value.to_string()),
                None => {
                    let columns: Vec<&str> = task.extra.keys().map(String::as_str).collect();
                    return Err(broken(format!(
                        "there is no column `{name}` in the row {} of {}; its columns are {}",
                        task.id,
                        task.source,
                        if columns.is_empty() { "none".to_owned() } else { columns.join(", ") }
                    )));
                }
            },
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rewards::Reference;

    use super::*;
    use crate::task::Split;

    fn task() -> Task {
        let Value::Object(extra) = serde_json::json!({ "level": 4, "hint": "{prompt}" }) else { unreachable!() };
        Task::new("s", "Why?".into(), Reference::Math { answer: "1".into() }, Split::Train, extra)
    }

    #[test]
    fn templates_are_filled_once() {
        for (template, expected) in [
            ("{prompt} ({level}) {{x}}", Ok("Why? (4) {x}")),
            ("{hint}", Ok("{prompt}")),
            ("{nothing}", Err("there is no column `nothing`")),
            ("{prompt", Err("a brace stands alone")),
            ("} {prompt}", Err("a brace stands alone")),
        ] {
            match (fill(template, &task()), expected) {
                (Ok(text), Ok(expected)) => assert_eq!(text, expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (found, _) => panic!("{template}: {found:?}"),
            }
        }
    }

    #[test]
    fn columns_move_and_the_id_follows_the_prompt() {
        let mut mapped = task();
        let map = Map {
            rename: [("grade".to_owned(), "level".to_owned())].into(),
            remove: vec!["hint".to_owned()],
            template: Some("Q: {prompt}".to_owned()),
            difficulty_from: Some("grade".to_owned()),
            difficulty_scale: 5.0,
            ..Map::default()
        };
        apply(&map, &mut mapped).unwrap();
        assert_eq!((mapped.prompt.as_str(), mapped.difficulty), ("Q: Why?", Some(0.8)));
        assert_eq!(mapped.extra.keys().collect::<Vec<_>>(), ["grade"]);
        assert_ne!(mapped.id, task().id);
    }
}
