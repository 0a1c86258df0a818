//! What a path in a recipe's file is relative to: the folder that the file lies in, as it is for a job of curation. So a
//! recipe and what it names can be moved together, and mean the same from wherever they are run.
//!
//! A path in a `--set` is typed on the command line, and means what it does there. A recipe inside the binary lies in no
//! folder: its paths are seen from where the program is started.

use std::path::Path;

use datasets::source::hub::HubName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::chain::is_path;

type Value<'i> = Spanned<DeValue<'i>>;

/// Makes the relative paths that a recipe's text says begin with `folder`.
pub(super) fn below(folder: &Path, recipe: &mut DeTable<'_>) {
    if folder.as_os_str().is_empty() {
        return;
    }
    let any = |text: &str| Some(folder.join(text));
    // In the place of a task file the name of a data set may stand, in that of other files the name of a stage.
    let tasks = |text: &str| {
        let file = folder.join(text);
        let of_hub = HubName::recognise(Path::new(text)).is_some() && !file.exists();
        (!of_hub).then_some(file)
    };
    let no_stage = |text: &str| is_path(text).then(|| folder.join(text));
    for table in tables(recipe, "tasks") {
        for key in ["files", "held_out_files"] {
            each_text(table, key, tasks);
        }
    }
    for key in ["model", "rewards"] {
        for table in tables(recipe, key) {
            each_text(table, "path", any);
        }
    }
    for stage in tables(recipe, "stage") {
        each_text(stage, "data", no_stage);
        each_text(stage, "teacher", no_stage);
        // Where an export is written; left empty, it is in the run's own folder.
        each_text(stage, "path", |text| any(text).filter(|_| !text.is_empty()));
        for model in tables(stage, "model") {
            each_text(model, "path", any);
        }
    }
}

/// The table of this key, or the tables of its list. What has another form is refused where it is read.
fn tables<'t, 'i>(table: &'t mut DeTable<'i>, key: &str) -> impl Iterator<Item = &'t mut DeTable<'i>> {
    values(table, key).filter_map(|value| match value.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    })
}

/// Changes the text of this key, or each in its list, where `changed` says how.
fn each_text(table: &mut DeTable<'_>, key: &str, changed: impl Fn(&str) -> Option<std::path::PathBuf>) {
    for value in values(table, key) {
        if let DeValue::String(text) = value.get_mut()
            && let Some(path) = changed(text)
        {
            *text = path.to_string_lossy().into_owned().into();
        }
    }
}

fn values<'t, 'i>(table: &'t mut DeTable<'i>, key: &str) -> impl Iterator<Item = &'t mut Value<'i>> {
    let (list, one) = match table.get_mut(key) {
        Some(value) if value.get_ref().is_array() => (Some(value), None),
        one => (None, one),
    };
    let elements = list.and_then(|value| match value.get_mut() {
        DeValue::Array(elements) => Some(elements.iter_mut()),
        _ => None,
    });
    elements.into_iter().flatten().chain(one)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{DataSource, Recipe, StageSettings};

    const TEXT: &str = r#"
tasks.files = ["train.jsonl", "/a/more.jsonl", "openai/gsm8k", "hub:a/b.c", "there/file"]
tasks.held_out_files = ["../held.jsonl"]
model.path = "model"

[[rewards]]
name = "accuracy"

[[rewards]]
name = "mine"
path = "mine.py"

[[stage]]
kind = "reject"
model = { path = "answerer" }

[[stage]]
kind = "distill"
teacher = "./teacher"

[[stage]]
kind = "sft"
data = ["reject", "shown.jsonl"]

[[stage]]
kind = "export"
path = "out"

[[stage]]
kind = "export"
name = "inside"
"#;

    /// All but the names of the Hub, of stages, and what `--set` says.
    #[test]
    fn paths_of_the_text_are_seen_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let below = |path: &str| folder.path().join(path);
        std::fs::create_dir(below("there")).unwrap();
        for (file, text) in [("mine.py", ""), ("there/file", ""), ("recipe.toml", TEXT)] {
            std::fs::write(below(file), text).unwrap();
        }
        let read = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
            Recipe::read(&below("recipe.toml"), &settings).unwrap()
        };
        let recipe = read(&[]);
        let files = [
            below("train.jsonl"),
            "/a/more.jsonl".into(),
            "openai/gsm8k".into(),
            "hub:a/b.c".into(),
            below("there/file"),
        ];
        assert_eq!(recipe.tasks.files, files);
        assert_eq!(recipe.tasks.held_out_files, [below("../held.jsonl")]);
        assert_eq!(recipe.model.folder(), Some(below("model").as_path()));
        assert_eq!(recipe.reward_files(), [below("mine.py")]);
        assert_eq!(recipe.other_models().collect::<Vec<_>>(), [&below("answerer"), &below("teacher")]);
        let data = |recipe: &Recipe| recipe.stages.iter().find(|stage| stage.name == "sft").unwrap().data.clone();
        let source = |path: PathBuf| [DataSource::Stage("reject".to_owned()), DataSource::File(path)];
        assert_eq!(data(&recipe), source(below("shown.jsonl")));
        let exports = recipe.stages.iter().filter_map(|stage| match &stage.settings {
            StageSettings::Export(settings) => Some(settings.path.clone()),
            _ => None,
        });
        assert_eq!(exports.collect::<Vec<_>>(), [below("out").display().to_string(), String::new()]);

        let set =
            read(&["tasks.files=['mine.jsonl']", "model.path=m", "sft.data=['reject', 'd.jsonl']", "export.path=o"]);
        assert_eq!((&set.tasks.files, set.model.folder()), (&vec!["mine.jsonl".into()], Some("m".as_ref())));
        assert_eq!(data(&set), source("d.jsonl".into()));
        // Of a text without a folder, and of what a run keeps, they are what they are.
        let kept = Recipe::parse("again.toml", &recipe.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(kept, recipe);
    }
}
