//! Which key of the file is at fault where the recipe made of it is not valid. That recipe is not written, so a line of it
//! would tell nobody anything.

use super::{Note, Outcome};
use crate::config::RecipeError;

/// What errors call the recipe.
pub(super) const MADE: &str = "the imported recipe";

/// The error as one of the file.
pub(super) fn in_file(shown: &str, notes: &[Note], error: &RecipeError) -> RecipeError {
    let text = error.to_string();
    let (text, hint) = text.split_once("\n  hint: ").map_or((text.as_str(), None), |(text, hint)| (text, Some(hint)));
    let first = text.lines().next().unwrap_or_default();
    let message = first.strip_prefix(MADE).and_then(|rest| rest.split_once(": ")).map_or(first, |(_, message)| message);
    let of_file = match blamed(notes, message) {
        Some((key, lines)) => {
            let values: Vec<String> = lines.iter().map(|line| quoted(line)).collect();
            let verb = if values.len() == 1 { "becomes" } else { "become" };
            RecipeError::new(shown, format!("{} {verb} `{key}` here: {message}", values.join(" and ")))
        }
        None => RecipeError::new(shown, format!("the recipe made of it is not valid: {message}")),
    };
    match hint {
        Some(hint) => of_file.hint(hint),
        None => of_file,
    }
}

/// The first setting that the message names and that lines of the file were made into, with those lines.
fn blamed<'m, 'n>(notes: &'n [Note], message: &'m str) -> Option<(&'m str, Vec<&'n Note>)> {
    let named = message.split('`').skip(1).step_by(2).map(last_name);
    let mut with_lines = named.map(|key| (key, notes.iter().filter(|note| became(note, key)).collect::<Vec<_>>()));
    with_lines.find(|(_, lines)| !lines.is_empty())
}

/// `group_size` of `train.group_size` or `group_size = 1`.
fn last_name(setting: &str) -> &str {
    let path = setting.split(" = ").next().unwrap_or(setting);
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether a line of the file was carried over to this setting. The account says so first, and adds remarks behind it.
fn became(note: &Note, key: &str) -> bool {
    let Outcome::Carried(said) = &note.outcome else { return false };
    let settings = said.split([';', '(']).next().unwrap_or(said);
    note.line.is_some() && settings.split(" and ").any(|setting| last_name(setting.trim()) == key)
}

fn quoted(note: &Note) -> String {
    let line = note.line.map_or_else(String::new, |line| format!(" (line {line})"));
    format!("`{}: {}`{line}", note.key, note.value)
}
