//! The data set of both kinds of configuration: its file, and what is set aside of it.

use super::common::{float, quoted, take_starting};
use super::yaml::Entry;
use super::{Outcome, Reader};

/// How the names of files with rows end.
const ENDS: [&str; 5] = [".jsonl", ".json", ".csv", ".parquet", ".gz"];

/// The list of files that `setting` gets, as TOML, with a remark. `place` is where a person names a file; `unnamed` stands
/// for one that the file does not name.
pub(super) fn files(reader: &mut Reader, setting: &str, place: &str, unnamed: &str) -> (String, &'static str) {
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
        reader.carried(&entry, setting);
        return (list(&name), "");
    }
    reader.attention(&entry, format!("the name of a data hub: fetch its file, and name that in {place}"));
    (list(&format!("{}.parquet", name.replace('/', "--"))), "the file that you fetched")
}

/// What is set aside for evaluation, which TRL has a split of its own for.
pub(super) struct Evaluation {
    /// The share of the rows; 0 where the file asks for no evaluation, since TRL then trains on all of them.
    pub(super) share: f64,
    /// `eval_steps`, where there is evaluation.
    pub(super) steps: Option<Entry>,
}

/// Whether the file asks for evaluation. `setting` gets the share, which is `usual` if so.
pub(super) fn evaluation(reader: &mut Reader, setting: &str, usual: f64) -> Evaluation {
    let strategy = ["eval_strategy", "evaluation_strategy"].iter().find_map(|key| reader.take(key));
    let whether = reader.take("do_eval");
    let steps = reader.take("eval_steps");
    // `no` is a word in YAML as it is now, and was false before.
    let by_strategy = strategy.as_ref().map(|entry| entry.value.flag() != Some(false));
    let by_steps = steps.as_ref().is_some_and(|entry| entry.value.number() != Some(0.0));
    let by_flag = whether.as_ref().is_some_and(|entry| entry.value.flag() == Some(true));
    let asked = by_flag || by_strategy.unwrap_or(by_steps);
    let share = if asked { usual } else { 0.0 };
    for entry in [strategy, whether].into_iter().flatten() {
        reader.carried(&entry, format!("{setting} = {}", float(share)));
    }
    if asked {
        let what = format!(
            "the file asks for evaluation: {} of the rows are set aside for it, where TRL trains on all of them and \
             examines on dataset_test_split; 0 trains on all",
            float(share)
        );
        reader.worked_out(setting, what);
        return Evaluation { share, steps };
    }
    if let Some(entry) = steps {
        reader.note(&entry, Outcome::Ignored("the file asks for no evaluation"));
    }
    Evaluation { share, steps: None }
}
