//! What `recipe list`, `show`, `keys` and `validate` print.

use std::fmt::Write;

use rewards::Registry;

use crate::config::{Recipe, RecipeError, SHIPPED, find_shipped};

/// The columns that a page of help keeps to.
pub(super) const WIDTH: usize = 96;

/// The shipped recipes, one on a line.
pub(super) fn list() -> String {
    // A test parses every shipped recipe; one that did not parse would still be listed.
    let described = SHIPPED.iter().map(|shipped| (shipped.name, shipped.recipe(&[]).map(|recipe| recipe.description)));
    let rows: Vec<(&str, String)> = described.map(|(name, found)| (name, found.unwrap_or_default())).collect();
    columns(&rows) + "\nrecipe run NAME runs one; recipe show NAME prints it\n"
}

/// Names and what they are, in two columns; what is too long for the page goes on below itself.
pub(super) fn columns(rows: &[(&str, String)]) -> String {
    let left = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for (name, description) in rows {
        for (index, line) in wrapped(description, WIDTH - left).into_iter().enumerate() {
            let _ = writeln!(text, "{:left$}{line}", if index == 0 { name } else { "" });
        }
    }
    text
}

/// A recipe as it was written, or as resolved if settings are given.
pub(super) fn show(name: &str, settings: &[String], known: &Registry) -> anyhow::Result<String> {
    if settings.is_empty()
        && let Ok(shipped) = find_shipped(name)
    {
        return Ok(shipped.text.to_owned());
    }
    let mut recipe = Recipe::find_with(name, settings, known)?;
    // What is printed may be put into a file in another folder.
    recipe.make_paths_absolute()?;
    Ok(recipe.to_toml()?)
}

/// Every setting: table by table, each key with its default, what is allowed and what it does.
pub(super) fn keys() -> String {
    let mut text = String::from(
        "Every setting of a recipe. On the command line: --set TABLE.KEY=VALUE, or\n\
         --set STAGE.KEY=VALUE with the stage's name (its kind, if it has no name).\n\
         A path in a recipe's file is seen from the folder that the file lies in; one on the command\n\
         line, or in a recipe that comes with the program, from where the command is typed.\n",
    );
    for (table, keys) in Recipe::key_tables() {
        let _ = writeln!(text, "\n{table}");
        for key in keys {
            let _ = writeln!(text, "  {} = {}", key.key, key.default);
            for line in wrapped(&format!("{} ({})", key.help, key.expected), WIDTH - 6) {
                let _ = writeln!(text, "      {line}");
            }
        }
    }
    text
}

/// Checks every file: says what each that is fine would do, and what is wrong with the others.
pub(super) fn validate(files: &[String], settings: &[String], known: &Registry) -> (String, Vec<RecipeError>) {
    let mut text = String::new();
    let mut errors = Vec::new();
    for file in files {
        match Recipe::find_with(file, settings, known) {
            Ok(recipe) => {
                let stages: Vec<&str> = recipe.stages.iter().map(|stage| stage.name.as_str()).collect();
                let _ = writeln!(text, "{file}: fine ({}: {})", recipe.name, stages.join(" -> "));
            }
            Err(error) => errors.push(error),
        }
    }
    (text, errors)
}

/// The text in lines of at most so many characters, broken between words.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
    }

    #[test]
    fn the_list_names_every_recipe_with_its_description() {
        let text = list();
        for shipped in SHIPPED {
            let recipe = shipped.recipe(&[]).unwrap();
            let first = format!("{} ", recipe.description.split(' ').next().unwrap());
            let line = text.lines().find(|line| line.starts_with(&format!("{} ", shipped.name)));
            assert!(line.is_some_and(|line| line.contains(&first)), "{}", shipped.name);
        }
    }

    #[test]
    fn columns_are_aligned_and_fit_the_page() {
        let text = columns(&[("name", "one two three ".repeat(9)), ("longer-name", "four".to_owned())]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(lines.len() == 3 && lines[0].starts_with("name         one two"), "{text}");
        assert!(lines[1].starts_with("             ") && lines[2] == "longer-name  four", "{text}");
    }

    #[test]
    fn one_wrong_file_does_not_hide_the_others() {
        let files = ["smoke", "smok", "r1-zero", "r1-zer"].map(str::to_owned);
        let (text, errors) = validate(&files, &[], &Registry::builtin());
        let fine: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(fine, ["smoke", "r1-zero"]);
        let wrong: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("smok: ") && wrong[1].starts_with("r1-zer: "), "{wrong:?}");
    }

    #[test]
    fn a_resolved_recipe_can_be_put_anywhere() {
        let text = show("open-r1-step1", &["distill.data=[\"a/b.jsonl\"]".to_owned()], &Registry::builtin()).unwrap();
        let here = std::env::current_dir().unwrap();
        for path in ["a/b.jsonl", "Qwen2.5-1.5B-Instruct"] {
            assert!(text.contains(&format!("\"{}\"", here.join(path).display())), "{text}");
        }
        let files = ["tasks.files=[\"openai/gsm8k\"]".to_owned()];
        assert!(show("smoke", &files, &Registry::builtin()).unwrap().contains("files = [\"openai/gsm8k\"]"));
    }

    #[test]
    fn keys_fit_the_page() {
        for line in keys().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(keys().contains("learning_rate = 0.0003"), "{}", keys());
    }

    #[test]
    fn keys_outside_of_tables_are_there_too() {
        let text = keys();
        for key in ["name", "description", "seed", "kind", "data", "traces", "require"] {
            assert!(text.contains(&format!("\n  {key} = ")), "{key}");
        }
    }
}
