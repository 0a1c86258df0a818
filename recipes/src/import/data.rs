//! The data set of both kinds of configuration: its file, and what is set aside of it.

use std::path::Path;

use datasets::source::hub::HubName;

use super::common::{float, quoted, take_starting};
use super::yaml::Entry;
use super::{Outcome, Reader};

/// What may stand before a data set's name, and must where it could be a path.
const HUB: &str = "hub:";

/// How the names of files with rows end.
const ENDS: [&str; 5] = [".jsonl", ".json", ".csv", ".parquet", ".gz"];

/// What the data set's files are for.
pub(super) struct Files {
    /// The setting that gets them.
    pub(super) setting: &'static str,
    /// Where a person names them.
    pub(super) place: &'static str,
    /// What stands for one that the file does not name.
    pub(super) unnamed: &'static str,
    /// Whether the setting may hold the name of a data set of the Hub.
    pub(super) from_hub: bool,
}

/// The list of files that the setting gets, as TOML, with a remark.
pub(super) fn files(reader: &mut Reader, wanted: &Files) -> (String, &'static str) {
    let Files { setting, place, unnamed, from_hub } = wanted;
    for entry in take_starting(reader, &["dataset_mixture"]) {
        reader
            .attention(&entry, format!("mix data sets with `recipe curate` (mix), and name what it makes in {place}"));
    }
    let list = |name: &str| format!("[{}]", quoted(name));
    let Some(entry) = reader.take("dataset_name") else {
        reader.missing("dataset_name", format!("name the files in {place}"));
        return (list(unnamed), "the files: fill in");
    };
    let name = entry.value.full();
    if ENDS.iter().any(|end| name.ends_with(end)) {
        reader.carried(&entry, *setting);
        return (list(&name), "");
    }
    if *from_hub && let Some(name) = of_hub(reader, &name, setting) {
        let what = "a data set of the Hub, fetched when a run begins as its branch is then; @REVISION pins it";
        reader.carried(&entry, format!("{setting} = {} ({what})", list(&name)));
        return (list(&name), "");
    }
    reader.attention(&entry, format!("the name of a data hub: fetch its file, and name that in {place}"));
    (list(&format!("{}.parquet", name.replace('/', "--"))), "the file that you fetched")
}

/// The data set of the Hub that is meant, as a recipe names it, with the part that the file asks for.
fn of_hub(reader: &mut Reader, name: &str, setting: &str) -> Option<String> {
    let is_hub = |name: &str| HubName::recognise(Path::new(name)).is_some_and(|name| name.is_ok());
    // TRL, too, takes a folder that is there for the data set.
    if Path::new(name).exists() || !is_hub(&format!("{HUB}{name}")) {
        return None;
    }
    let mut whole = name.to_owned();
    if !name.contains(':') {
        let parts = [part(reader, "dataset_config", "default"), part(reader, "dataset_train_split", "train")];
        let parts: Vec<Entry> = parts.into_iter().flatten().collect();
        let words: Vec<String> = parts.iter().map(|entry| entry.value.full()).collect();
        if !words.is_empty() {
            whole = format!("{name}:{}", words.join("/"));
        }
        for entry in &parts {
            reader.carried(entry, format!("{setting} (the part of the data set)"));
        }
    }
    Some(if is_hub(&whole) { whole } else { format!("{HUB}{whole}") })
}

/// The entry that names a part of the data set which is not the usual one. A slice such as `train[:10%]` is no part: it is
/// left to be asked about.
fn part(reader: &mut Reader, key: &str, usual: &str) -> Option<Entry> {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let named = reader.look(key)?.value.text().filter(|text| *text != usual && is_word(text))?;
    if named.is_empty() { None } else { reader.take(key) }
}

/// The column that the file names for the questions of tasks: nothing is lost where it is the one that is read anyway.
pub(super) fn prompt_column(reader: &mut Reader, place: &str) {
    let Some(entry) = reader.take("dataset_prompt_column") else { return };
    let column = entry.value.full();
    if ["problem", "question"].contains(&column.as_str()) {
        return reader.note(&entry, Outcome::Ignored("it is the column that is read as the question"));
    }
    let read = match column.as_str() {
        "prompt" => "it is read as the question unless rows have a column `question` or `problem` too: then",
        _ => "it is read as the question only where the file has a layout with that column (docs/data.md): else",
    };
    reader.attention(
        &entry,
        format!(
            "{read} load the file in a job of `recipe curate`, with columns = {{ prompt = {} }}, and name what that writes in \
             {place}",
            quoted(&column)
        ),
    );
}

/// What is set aside for evaluation, which TRL has a split of its own for.
pub(super) struct Evaluation {
    /// Whether the file asks for evaluation.
    pub(super) asked: bool,
    /// The split of its data set that the policy is examined on, as a recipe names it, where it is one of the Hub.
    pub(super) held_out: Option<String>,
    /// Else the share of the rows; 0 where the file asks for no evaluation, since TRL then trains on all of them.
    pub(super) share: f64,
    /// `eval_steps`, where there is evaluation.
    pub(super) steps: Option<Entry>,
}

const NO_EVALUATION: &str = "the file asks for no evaluation (eval_strategy)";

/// Whether the file asks for evaluation. `setting` gets the share, which is `usual` if so. Where the data set's splits can be
/// named (`held_out_files`), that setting gets the one for tests.
pub(super) fn evaluation(reader: &mut Reader, setting: &str, usual: f64, held_out_files: Option<&str>) -> Evaluation {
    let strategy = ["eval_strategy", "evaluation_strategy"].iter().find_map(|key| reader.take(key));
    let whether = reader.take("do_eval");
    let steps = reader.take("eval_steps");
    // `no` is a word in YAML as it is now, and was false before. The strategy alone decides: transformers goes by `do_eval` and
    // `eval_steps` only where there is one.
    let asked = strategy.as_ref().is_some_and(|entry| entry.value.flag() != Some(false));
    let held_out = held_out_files.filter(|_| asked).and_then(|setting| test_split(reader, setting));
    let share = if asked && held_out.is_none() { usual } else { 0.0 };
    let became = match (held_out_files, &held_out) {
        (Some(setting), Some(name)) => format!("{setting} = [{}]", quoted(name)),
        _ => format!("{setting} = {}", float(share)),
    };
    match whether {
        Some(entry) if !asked && entry.value.flag() == Some(true) => {
            reader.note(&entry, Outcome::Ignored("eval_strategy decides, and asks for no evaluation"));
        }
        whether => {
            for entry in whether.iter().chain(&strategy) {
                reader.carried(entry, became.clone());
            }
        }
    }
    if asked && held_out.is_none() {
        let what = format!(
            "the file asks for evaluation: {} of the rows are set aside for it, where TRL trains on all of them and \
             examines on dataset_test_split; 0 trains on all{}",
            float(share),
            held_out_files.map_or_else(String::new, |setting| format!(", and {setting} names a file of that split"))
        );
        reader.worked_out(setting, what);
    }
    if !asked && let Some(entry) = reader.take("dataset_test_split") {
        reader.note(&entry, Outcome::Ignored(NO_EVALUATION));
    }
    match steps {
        Some(entry) if !asked => {
            reader.note(&entry, Outcome::Ignored(NO_EVALUATION));
            Evaluation { asked, held_out, share, steps: None }
        }
        steps => Evaluation { asked, held_out, share, steps },
    }
}

/// The split for tests of the data set that is trained on: in TRL `test`, where the file names no other.
fn test_split(reader: &mut Reader, setting: &str) -> Option<String> {
    let name = reader.look("dataset_name")?.value.full();
    let is_hub = |name: &str| HubName::recognise(Path::new(name)).is_some_and(|name| name.is_ok());
    if ENDS.iter().any(|end| name.ends_with(end)) || name.contains(':') || Path::new(&name).exists() {
        return None;
    }
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let named = reader.look("dataset_test_split").map(|entry| entry.value.full());
    let split = named.clone().unwrap_or_else(|| "test".to_owned());
    let config = reader.look("dataset_config").map(|entry| entry.value.full()).filter(|config| config != "default");
    let parts: Vec<String> = config.into_iter().chain([split]).collect();
    let whole = format!("{name}:{}", parts.join("/"));
    if !parts.iter().all(|part| is_word(part)) || !is_hub(&format!("{HUB}{whole}")) {
        return None;
    }
    if let Some(entry) = reader.take("dataset_test_split") {
        reader.carried(&entry, setting);
    }
    Some(if is_hub(&whole) { whole } else { format!("{HUB}{whole}") })
}
