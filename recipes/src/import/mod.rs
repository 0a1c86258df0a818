//! `recipe import`: a training configuration of TRL or Open R1 (YAML) as a recipe.
//!
//! Every key of the file gets one of three words: *carried* (to which setting), *ignored* (why nothing is lost), *needs
//! attention* (what it meant, and what a person must decide). Where the file is silent, TRL's own default is written down
//! if ours is another: the recipe does what the file would have done. The defaults are those of TRL 1.16, or of 0.18 where a
//! person says so or the file is one of Open R1's, which pins that (`release`).
//!
//! | file | what it holds |
//! |---|---|
//! | `yaml` | the file as keys with their lines |
//! | `grpo`, `sft` | `GRPOConfig`, `SFTConfig` |
//! | `release` | the releases of TRL, and the defaults in which they differ |
//! | `rewards` | the rewards of GRPO |
//! | `common` | what both have: the model, the schedule, adapters |
//! | `data` | what both have: the data set's file, and what is set aside |
//! | `ignored` | the keys of hardware, logging, hubs and the like |
//! | `fault` | which key of the file is at fault where the recipe made of it is not valid |

mod common;
mod data;
mod fault;
mod grpo;
mod ignored;
mod release;
mod rewards;
mod sft;
mod yaml;

use std::fmt::Write;

use crate::config::{Recipe, RecipeError};
pub use release::Release;
use yaml::{Entry, Value};

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the recipe: as what.
    Carried(String),
    /// Nothing is lost without it: why.
    Ignored(&'static str),
    /// A person must decide: what.
    Attention(String),
}

/// A key of the file and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its line; none for what the file does not say.
    pub line: Option<usize>,
    /// The key.
    pub key: String,
    /// Its value, shortened.
    pub value: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// A recipe and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The recipe's text: it is valid.
    pub toml: String,
    /// Every key of the file, in its order, then what the file does not say.
    pub notes: Vec<Note>,
}

/// Makes a recipe of a YAML file's text. `processes` is the number of GPUs that the configuration was meant for and `trl` the
/// release of TRL, neither of which stands in a file; without a release, one is chosen by the file's keys.
///
/// # Errors
/// If the text is no YAML, or no configuration that is known here.
pub fn import(
    shown: &str,
    name: &str,
    text: &str,
    processes: u64,
    trl: Option<Release>,
) -> Result<Imported, RecipeError> {
    let entries = yaml::read(shown, text)?;
    let mut reader = Reader { entries, named: trl, taken: Vec::new(), notes: Vec::new() };
    let toml = if reader.has_one_of(&OF_GRPO) {
        grpo::recipe(&mut reader, name, shown, processes)
    } else if reader.has_one_of(&OF_SFT) {
        sft::recipe(&mut reader, name, shown, processes)
    } else {
        let message = "this is no configuration of GRPO or SFT: none of its keys is one of theirs";
        let hint = format!("expected, for example, {} or {}", OF_GRPO[..3].join(", "), OF_SFT[..3].join(", "));
        return Err(RecipeError::new(shown, message).hint(hint));
    };
    reader.rest();
    let order = |note: &Note| note.line.unwrap_or(usize::MAX);
    reader.notes.sort_by_key(order);
    // What is written must be what is read: a value that TRL would refuse is found here.
    if let Err(error) = Recipe::parse(fault::MADE, &toml, &[]) {
        return Err(fault::in_file(shown, &reader.notes, &error));
    }
    Ok(Imported { toml, notes: reader.notes })
}

/// What is said of a key that is null.
const NOT_SET: &str = "it is not set";

/// Keys that only GRPO's configurations have.
const OF_GRPO: [&str; 6] =
    ["num_generations", "reward_funcs", "max_completion_length", "scale_rewards", "num_iterations", "epsilon_high"];

/// Keys that only configurations of supervised fine-tuning have, of those that are left.
const OF_SFT: [&str; 6] =
    ["max_length", "max_seq_length", "packing", "assistant_only_loss", "completion_only_loss", "dataset_text_field"];

/// The keys of the file, taken one by one.
struct Reader {
    entries: Vec<Entry>,
    /// The release of TRL that a person named.
    named: Option<Release>,
    taken: Vec<String>,
    notes: Vec<Note>,
}

impl Reader {
    fn has_one_of(&self, keys: &[&str]) -> bool {
        self.entries.iter().any(|entry| keys.contains(&entry.key.as_str()))
    }

    /// The entry of a key, which is still to be dealt with.
    fn look(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry of a key that is not null; it counts as dealt with.
    fn take(&mut self, key: &str) -> Option<Entry> {
        self.taken.push(key.to_owned());
        let entry = self.look(key)?.clone();
        if entry.value == Value::Null {
            self.note(&entry, Outcome::Ignored(NOT_SET));
            return None;
        }
        Some(entry)
    }

    /// The entry of a key that says yes or no, and which; a value that says neither is named, and counts for none.
    fn take_flag(&mut self, key: &str) -> Option<(Entry, bool)> {
        let entry = self.take(key)?;
        let flag = entry.value.flag();
        if flag.is_none() {
            self.attention(&entry, "expected true or false");
        }
        Some((entry, flag?))
    }

    /// The entry of a key that is null, where that is not the same as silence; it counts as dealt with.
    fn take_null(&mut self, key: &str) -> Option<Entry> {
        let entry = self.look(key).filter(|entry| entry.value == Value::Null)?.clone();
        self.taken.push(key.to_owned());
        Some(entry)
    }

    fn note(&mut self, entry: &Entry, outcome: Outcome) {
        self.notes.push(Note {
            line: Some(entry.line),
            key: entry.key.clone(),
            value: entry.value.to_string(),
            outcome,
        });
    }

    fn carried(&mut self, entry: &Entry, setting: impl Into<String>) {
        self.note(entry, Outcome::Carried(setting.into()));
    }

    fn attention(&mut self, entry: &Entry, what: impl Into<String>) {
        self.note(entry, Outcome::Attention(what.into()));
    }

    /// What a person must know and no line of the file says.
    fn missing(&mut self, key: &str, what: impl Into<String>) {
        self.beyond(key, "not in the file", what);
    }

    /// What follows from several lines of the file.
    fn worked_out(&mut self, key: &str, what: impl Into<String>) {
        self.beyond(key, "worked out", what);
    }

    fn beyond(&mut self, key: &str, value: &str, what: impl Into<String>) {
        let outcome = Outcome::Attention(what.into());
        self.notes.push(Note { line: None, key: key.to_owned(), value: value.to_owned(), outcome });
    }

    /// A number of the file; one that is none is named, and the default taken.
    fn number(&mut self, key: &str, setting: &str, default: f64) -> f64 {
        let Some(entry) = self.take(key) else { return default };
        match entry.value.number() {
            Some(value) => {
                self.carried(&entry, setting);
                value
            }
            None => {
                self.attention(&entry, format!("expected a number; {setting} = {default} stands in the recipe"));
                default
            }
        }
    }

    /// The same for whole numbers.
    fn whole(&mut self, key: &str, setting: &str, default: u64) -> u64 {
        let Some(entry) = self.take(key) else { return default };
        match entry.value.whole().and_then(|value| u64::try_from(value).ok()) {
            Some(value) => {
                self.carried(&entry, setting);
                value
            }
            None => {
                self.attention(
                    &entry,
                    format!("expected a whole number, 0 or more; {setting} = {default} stands in the recipe"),
                );
                default
            }
        }
    }

    /// What nobody took: ignored for a reason that is known, or unknown.
    fn rest(&mut self) {
        ignored::at_one_value(self);
        let rest: Vec<Entry> = self.entries.iter().filter(|entry| !self.taken.contains(&entry.key)).cloned().collect();
        for entry in rest {
            let outcome = match ignored::reason(&entry.key) {
                Some(reason) => Outcome::Ignored(reason),
                None if entry.value == Value::Null => Outcome::Ignored(NOT_SET),
                None => Outcome::Attention("this key is not known here, and nothing was made of it".to_owned()),
            };
            self.note(&entry, outcome);
        }
    }
}

/// What became of every key, as lines for a person.
#[must_use]
pub fn account(imported: &Imported) -> String {
    let mut text = String::new();
    for (title, fits) in [
        ("carried over", (|outcome| matches!(outcome, Outcome::Carried(_))) as fn(&Outcome) -> bool),
        ("ignored", |outcome| matches!(outcome, Outcome::Ignored(_))),
        ("needs attention", |outcome| matches!(outcome, Outcome::Attention(_))),
    ] {
        let notes: Vec<&Note> = imported.notes.iter().filter(|note| fits(&note.outcome)).collect();
        let _ = writeln!(text, "{title} ({}):", notes.len());
        let width = notes.iter().map(|note| note.key.len() + note.value.chars().count() + 2).max().unwrap_or(0).min(60);
        for note in notes {
            let line = note.line.map_or_else(String::new, |line| line.to_string());
            let words = match &note.outcome {
                Outcome::Carried(setting) => format!("-> {setting}"),
                Outcome::Ignored(reason) => (*reason).to_owned(),
                Outcome::Attention(what) => what.clone(),
            };
            let _ = writeln!(text, "  {line:>4}  {:width$}  {words}", format!("{}: {}", note.key, note.value));
        }
    }
    text
}

#[cfg(test)]
mod tests;
