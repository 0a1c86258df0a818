//! What a person reads when a recipe is wrong: the file, the line, the key, what was expected, and
//! the nearest thing that would have been right.

use std::fmt;
use std::ops::Range;
use std::path::Path;

pub(crate) use rewards::nearest;

use super::document::{Origin, Place};
use super::keys::Problem;

/// A recipe that cannot be run as it stands.
#[derive(Debug)]
pub struct RecipeError {
    place: Option<Box<Place>>,
    subject: String,
    message: String,
    hint: Option<String>,
}

impl RecipeError {
    /// An error about a whole recipe, or one that has no place in a text.
    pub(crate) fn new(subject: impl Into<String>, message: impl Into<String>) -> RecipeError {
        RecipeError { place: None, subject: subject.into(), message: message.into(), hint: None }
    }

    /// That a folder which is to be a model holds none.
    pub(crate) fn no_model(folder: &Path) -> RecipeError {
        let error = |message: &str| RecipeError::new(folder.display().to_string(), message);
        if folder.join("recipe.toml").is_file() {
            return error("this is a run, and no model").hint("name its base or one of its checkpoints");
        }
        if folder.join("adapter_config.json").is_file() {
            return error("this is a LoRA adapter, and no model").hint(
                "merge it into its model first (in PEFT: merge_and_unload), and save the tokenizer beside the result",
            );
        }
        if folder.exists() {
            return error("this is no model: it holds no config.json");
        }
        let absent = error("there is no such model folder");
        match fetching(folder) {
            Some(command) => absent.hint(format!("a model of the Hugging Face Hub has to be fetched first: {command}")),
            None => absent,
        }
    }

    /// A problem, with the place that its span stands for.
    pub(crate) fn from_problem(subject: impl Into<String>, problem: Problem, place: Option<Place>) -> RecipeError {
        RecipeError {
            place: place.map(Box::new),
            subject: subject.into(),
            message: problem.message,
            hint: problem.hint,
        }
    }

    /// Whether the place is a `--set` of the command line.
    pub(crate) fn is_of_a_setting(&self) -> bool {
        self.place.as_ref().is_some_and(|place| matches!(place.origin, Origin::Set(_)))
    }

    /// The error as one of a `--set`, whatever place it was found at.
    #[must_use]
    pub(crate) fn of_setting(mut self, argument: &str) -> RecipeError {
        self.place = Some(Box::new(Place { origin: Origin::Set(argument.to_owned()), line: None }));
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> RecipeError {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => write!(formatter, "{}: {}", self.subject, self.message)?,
            Some(place) => {
                write!(formatter, "{}: {}", place.origin, self.message)?;
                if let Some(line) = &place.line {
                    let number = line.number.to_string();
                    let margin = " ".repeat(number.len());
                    let before = " ".repeat(line.column);
                    let marks = "^".repeat(line.width.max(1));
                    write!(formatter, "\n  {margin} |\n  {number} | {}", line.text)?;
                    write!(formatter, "\n  {margin} | {before}{marks}")?;
                }
            }
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RecipeError {}

/// The command that fetches the model of the Hugging Face Hub which a folder that is not there is called after, whole or by the
/// last part of its name; none for a folder that cannot be.
fn fetching(folder: &Path) -> Option<String> {
    let parts: Vec<&str> = folder.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let word = |part: &&str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
    let (owner, name) = match parts[..] {
        [name] => ("OWNER", name),
        // A folder's folder is no owner.
        [owner, name] if !Path::new(owner).exists() => (owner, name),
        _ => return None,
    };
    parts.iter().all(word).then(|| format!("hf download {owner}/{name} --local-dir {name}"))
}

/// Keys as other trainers call them (TRL, transformers, verl), and as they are called here.
const ELSEWHERE: [(&str, &str); 22] = [
    ("lr", "learning_rate"),
    ("beta", "kl_coefficient"),
    ("kl_coef", "kl_coefficient"),
    ("kl_loss_coef", "kl_coefficient"),
    ("num_generations", "group_size"),
    ("n", "group_size"),
    ("max_completion_length", "max_new_tokens"),
    ("max_response_length", "max_new_tokens"),
    ("max_tokens", "max_new_tokens"),
    ("max_steps", "steps"),
    ("num_train_epochs", "epochs"),
    ("num_iterations", "epochs"),
    ("epsilon", "clip_low"),
    ("epsilon_high", "clip_high"),
    ("delta", "dual_clip"),
    ("loss_type", "loss"),
    ("scale_rewards", "advantage_scale"),
    ("lr_scheduler_type", "schedule"),
    ("warmup_ratio", "warmup_share"),
    ("save_steps", "checkpoint_every"),
    ("train_files", "files"),
    ("val_files", "held_out_files"),
];

/// The words between backticks: how serde's messages quote names.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

/// Our words for what serde's messages call a type.
fn kind_in_words(expected: &str) -> &str {
    match expected {
        "u64" | "usize" => "a whole number, 0 or more",
        "f64" => "a number",
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        _ if expected.starts_with("struct") => "a table",
        _ => expected,
    }
}

/// The key that the value at this place belongs to.
fn key_before(text: &str, span: &Range<usize>) -> Option<String> {
    let before = text.get(..span.start)?.trim_end().strip_suffix('=')?.trim_end();
    let start = before
        .rfind(|letter: char| !(letter.is_alphanumeric() || "_-\"'".contains(letter)))
        .map_or(0, |position| position + 1);
    let key = before[start..].trim_matches(['"', '\'']);
    (!key.is_empty()).then(|| key.to_owned())
}

/// Says in our words what serde or the TOML parser said in theirs. `more_keys` are keys that the
/// table has beyond those serde knows of.
pub(crate) fn translate(error: &toml::de::Error, text: &str, more_keys: &[&str]) -> Problem {
    let message = error.message().trim();
    let span = error.span();
    let key = span.as_ref().and_then(|span| key_before(text, span));
    let subject = key.map_or_else(|| "this".to_owned(), |key| format!("`{key}`"));
    let mut hint = None;
    let message = if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = quoted(rest);
        let typed = if names.is_empty() { "" } else { names.remove(0) };
        names.extend(more_keys);
        let elsewhere = ELSEWHERE.iter().find(|(theirs, ours)| *theirs == typed && names.contains(ours));
        hint = Some(match (elsewhere, nearest(typed, names.iter().copied())) {
            (Some((_, ours)), _) => format!("it is called `{ours}` here"),
            (None, Some(name)) => format!("did you mean `{name}`?"),
            (None, None) => format!("the keys here are {}", names.join(", ")),
        });
        format!("unknown key `{typed}`")
    } else if let Some(rest) = message.strip_prefix("unknown variant ") {
        let mut names = quoted(rest);
        let typed = if names.is_empty() { "" } else { names.remove(0) };
        hint = nearest(typed, names.iter().copied()).map(|name| format!("did you mean \"{name}\"?"));
        let expected: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("{subject} is \"{typed}\", expected {}", expected.join(" or "))
    } else if let Some(rest) = message.strip_prefix("missing field ") {
        format!("the key {rest} is missing")
    } else if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        let found = found.replacen("string ", "the text ", 1).replace('`', "");
        // The type in which the parser holds a number that is too large for any other.
        let found = found.trim_end_matches(" as i128").trim_end_matches(" as u128");
        format!("{subject} is {found}, expected {}", kind_in_words(expected))
    } else {
        message.replace('\n', ", ")
    };
    Problem { span, message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_other_trainers_are_known() {
        let recipe = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            crate::config::find_shipped("smoke").unwrap().recipe(&settings)
        };
        let keys = recipe(&[]).unwrap().flattened();
        for (theirs, ours) in ELSEWHERE {
            let error = recipe(&[&format!("grpo.{theirs}=1")]).unwrap_err().to_string();
            // A key of other kinds of stages has nothing to stand for in this one.
            let is_here = keys.iter().any(|(key, _)| *key == format!("grpo.{ours}"));
            assert_eq!(error.contains(&format!("it is called `{ours}` here")), is_here, "{theirs}: {error}");
        }
    }

    #[test]
    fn the_command_that_fetches_a_model_is_named() {
        #[track_caller]
        fn check(folder: &str, expected: Option<&str>) {
            assert_eq!(fetching(Path::new(folder)).as_deref(), expected, "{folder}");
        }
        check("Qwen/Qwen2.5-0.5B", Some("hf download Qwen/Qwen2.5-0.5B --local-dir Qwen2.5-0.5B"));
        check("Qwen2.5-0.5B", Some("hf download OWNER/Qwen2.5-0.5B --local-dir Qwen2.5-0.5B"));
        // `src` is a folder of this crate.
        for no_name in ["/Qwen/Qwen2.5-0.5B", "./model", "../model", "a/b/c", "src/model", ""] {
            check(no_name, None);
        }
    }

    #[test]
    fn the_key_of_a_value_is_found() {
        fn check(text: &str, value: &str, expected: Option<&str>) {
            let start = text.find(value).expect("the value is in the text");
            assert_eq!(key_before(text, &(start..start + value.len())).as_deref(), expected);
        }
        check("a = 1\nsteps = 'many'", "'many'", Some("steps"));
        check("families = { countdown=x }", "x", Some("countdown"));
        check("grpo.learning_rate=fast", "fast", Some("learning_rate"));
        check("[1, 2]", "2", None);
    }
}
