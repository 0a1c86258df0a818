//! In which template a model was trained, where that can be known: the run that it lies in says so, or what an export
//! carries with it. A run that trains nothing knows as much as there is to know of the model that it was given.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::config::{self, Recipe, RecipeError};
use crate::run::write_whole;

/// A run's own folder is among so many above a model in it: `RUN/checkpoints/STAGE/step-000010`.
const RUN_ABOVE: usize = 4;
/// Runs that train nothing and name each other's models are followed so far.
const HANDED_ON: usize = 8;
/// What a checkpoint has beside the model, wherever it is taken.
const TRAINER: &str = "trainer.json";

/// What stands around a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// R1-Zero's, in which `recipe run` trains: the answer stands in tags.
    R1Zero,
    /// The model's own chat template.
    Chat,
    /// None: the text as it stands.
    Plain,
}

impl From<config::Template> for Template {
    fn from(template: config::Template) -> Template {
        match template {
            config::Template::R1Zero => Template::R1Zero,
            config::Template::Chat => Template::Chat,
        }
    }
}

impl Template {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Template::R1Zero => "r1-zero",
            Template::Chat => "chat",
            Template::Plain => "plain",
        }
    }
}

/// What a model carries along that leaves its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// The recipe that made it.
    recipe: String,
    /// Its seed.
    seed: u64,
    /// The template in which it was last trained.
    template: Template,
    /// The system message that questions had in it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    system_prompt: String,
}

impl Lineage {
    /// The file in the model's folder.
    const FILE: &str = "training.json";

    /// That of the policy which the stage at `place` of a recipe hands on. None where no stage trained it, and of the model
    /// that the recipe was given nothing is known, or what there is cannot be read.
    pub(crate) fn of(recipe: &Recipe, place: usize) -> Option<Lineage> {
        match recipe.template_at(place) {
            Some(template) => Some(Lineage::by(recipe, template)),
            None => Lineage::carried(recipe.model_at(place).folder()?),
        }
    }

    /// What the model in a folder carries along, or the run says that it lies in. None where there is nothing, or nothing
    /// that can be read.
    pub(crate) fn carried(folder: &Path) -> Option<Lineage> {
        Some(known(folder).ok()??.0)
    }

    fn by(recipe: &Recipe, template: config::Template) -> Lineage {
        let system_prompt = match template {
            config::Template::Chat => recipe.tasks.system_prompt.clone(),
            config::Template::R1Zero => String::new(),
        };
        Lineage { recipe: recipe.name.clone(), seed: recipe.seed, template: template.into(), system_prompt }
    }

    /// The template in which the model was last trained.
    pub(crate) fn template(&self) -> Template {
        self.template
    }

    /// The system message with which it was last trained, if any.
    pub(crate) fn system_prompt(&self) -> &str {
        &self.system_prompt
    }

    /// The recipe that trained it, and its seed.
    pub(crate) fn recipe(&self) -> (&str, u64) {
        (&self.recipe, self.seed)
    }

    /// Writes it into the folder of a model.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        write_whole(&folder.join(Lineage::FILE), (serde_json::to_string_pretty(self)? + "\n").as_bytes())
    }
}

/// A template in which a model was trained, and how that is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trained {
    pub(crate) template: Template,
    /// The system message that questions had, if any.
    pub(crate) system_prompt: String,
    pub(crate) known_from: KnownFrom,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KnownFrom {
    /// It carries along that this recipe made it.
    Recipe(String),
    /// The run that it lies in.
    Run,
    /// It is a checkpoint, and cannot have been asked in a chat template, since it has none.
    Checkpoint,
}

impl KnownFrom {
    /// As a clause about the model of this name.
    pub(crate) fn text(&self, name: &str) -> String {
        match self {
            KnownFrom::Recipe(recipe) => format!("the recipe {recipe} trained {name} in it"),
            KnownFrom::Run => format!("the run of {name} trains in it"),
            KnownFrom::Checkpoint => format!("{name} is a checkpoint without a chat template"),
        }
    }
}

/// The template in which the model in `folder` was trained here, or which the run trained in that began with it; none for a
/// model from elsewhere. `chats` is whether its tokenizer has a chat template, without which it was never asked in one.
pub(crate) fn trained_in(folder: &Path, chats: bool) -> anyhow::Result<Option<Trained>> {
    if let Some((Lineage { template, system_prompt, .. }, known_from)) = known(folder)? {
        return Ok(Some(Trained { template, system_prompt, known_from }));
    }
    match (folder.join(TRAINER).is_file(), chats) {
        (true, true) => {
            let message =
                "a checkpoint without its run, and with a chat template: in which template it was trained is not known";
            let error = RecipeError::new(folder.display().to_string(), message);
            Err(error.hint("choose one: --template r1-zero or chat").into())
        }
        (true, false) => {
            let (template, known_from) = (Template::R1Zero, KnownFrom::Checkpoint);
            Ok(Some(Trained { template, system_prompt: String::new(), known_from }))
        }
        (false, _) => Ok(None),
    }
}

/// The run that a model's folder lies in.
pub(crate) fn run_of(folder: &Path) -> Option<&Path> {
    let is_run = |folder: &&Path| ["recipe.toml", "run.json"].iter().all(|name| folder.join(name).is_file());
    folder.ancestors().take(RUN_ABOVE).find(is_run)
}

/// What the model in `folder` carries along, or the run says that it lies in; where that trained nothing, the same of the
/// model that it was given.
fn known(folder: &Path) -> anyhow::Result<Option<(Lineage, KnownFrom)>> {
    let unknown = |file: PathBuf| {
        format!(
            "{} cannot be read, which says in what template the model was trained: choose one with --template",
            file.display()
        )
    };
    let mut folder = folder.to_owned();
    for handed_on in 0..HANDED_ON {
        let carried = folder.join(Lineage::FILE);
        if carried.is_file() {
            let lineage = std::fs::read(&carried).map_err(anyhow::Error::from);
            let lineage = lineage.and_then(|text| Ok(serde_json::from_slice::<Lineage>(&text)?));
            let lineage = lineage.map_err(|error| RecipeError::new(unknown(carried), error.to_string()))?;
            let known_from = KnownFrom::Recipe(lineage.recipe.clone());
            return Ok(Some((lineage, known_from)));
        }
        let Some(run) = run_of(&folder) else { return Ok(None) };
        let file = run.join("recipe.toml");
        let recipe = Recipe::read(&file, &[]).with_context(|| unknown(file))?;
        if let Some(template) = recipe.trained_template() {
            let known_from = if handed_on == 0 { KnownFrom::Run } else { KnownFrom::Recipe(recipe.name.clone()) };
            return Ok(Some((Lineage::by(&recipe, template), known_from)));
        }
        let Some(given) = recipe.model.folder() else { return Ok(None) };
        folder = given.to_owned();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "[model]\npath = \"model\"\n[[stage]]\nkind = \"grpo\"\n";

    /// A run's folder with a recipe in it.
    fn run(recipe: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for inner in ["base", "export", "checkpoints/step-000010", "checkpoints/second/step-000010"] {
            std::fs::create_dir_all(folder.path().join(inner)).unwrap();
        }
        std::fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
        std::fs::write(folder.path().join("run.json"), "{}").unwrap();
        folder
    }

    #[test]
    fn a_run_says_it_of_its_base_as_of_its_checkpoints() {
        #[track_caller]
        fn check(recipe: &str, expected: Template) {
            let run = run(recipe);
            for inner in ["base", "export", "checkpoints/step-000010", "checkpoints/second/step-000010"] {
                let trained = Trained { template: expected, system_prompt: String::new(), known_from: KnownFrom::Run };
                assert_eq!(trained_in(&run.path().join(inner), true).unwrap(), Some(trained), "{inner}");
            }
        }
        check(RUN, Template::R1Zero);
        check(&format!("tasks.template = \"chat\"\n{RUN}"), Template::Chat);
        let shown = "[[stage]]\nkind = \"sft\"\ndata = [\"sft.jsonl\"]\ntemplate = \"chat\"\n";
        check(&format!("{RUN}{shown}"), Template::Chat);
        check(&format!("[model]\npath = \"model\"\n{shown}[[stage]]\nkind = \"grpo\"\n"), Template::R1Zero);
    }

    #[test]
    fn an_export_carries_it_along() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe::parse(
            "r.toml",
            &format!("tasks = {{ template = \"chat\", system_prompt = \"Think.\" }}\n{RUN}"),
            &[],
        )
        .unwrap();
        Lineage::of(&recipe, 0).unwrap().write(folder.path()).unwrap();
        let known_from = KnownFrom::Recipe(recipe.name);
        let trained = Trained { template: Template::Chat, system_prompt: "Think.".to_owned(), known_from };
        assert_eq!(trained_in(folder.path(), true).unwrap(), Some(trained));
    }

    /// Its tasks' template is R1-Zero's unless it is said otherwise, and says nothing of the model.
    #[test]
    fn a_recipe_that_trains_nothing_claims_nothing_of_its_own() {
        let trainer = run(&format!("name = \"trainer\"\nseed = 7\ntasks.template = \"chat\"\n{RUN}"));
        let exporter = |model: &Path| {
            format!("[model]\npath = '{}'\n[[stage]]\nkind = \"eval\"\n[[stage]]\nkind = \"export\"\n", model.display())
        };
        let of = |text: &str, place: usize| Lineage::of(&Recipe::parse("r.toml", text, &[]).unwrap(), place);
        let trained =
            Lineage { recipe: "trainer".to_owned(), seed: 7, template: Template::Chat, system_prompt: String::new() };
        let text = exporter(&trainer.path().join("checkpoints/step-000010"));
        assert_eq!(of(&text, 1).as_ref(), Some(&trained));
        // Its run knows no more, of its base too.
        let between = run(&text);
        let known_from = KnownFrom::Recipe("trainer".to_owned());
        let expected = Trained { template: Template::Chat, system_prompt: String::new(), known_from };
        assert_eq!(trained_in(&between.path().join("base"), true).unwrap(), Some(expected));
        assert_eq!(of(&exporter(&between.path().join("base")), 1), Some(trained.clone()));
        // What an export carried along is handed on; of a model from elsewhere nothing is known.
        let elsewhere = tempfile::tempdir().unwrap();
        let text = exporter(elsewhere.path());
        assert_eq!(of(&text, 1), None);
        assert_eq!(trained_in(&run(&text).path().join("base"), true).unwrap(), None);
        trained.write(elsewhere.path()).unwrap();
        assert_eq!(of(&text, 1), Some(trained));
        // Only what comes before an export makes what it writes.
        let text =
            format!("{text}[[stage]]\nkind = \"grpo\"\n[[stage]]\nname = \"last\"\nkind = \"export\"\npath = \"x\"\n");
        let (first, last) = (of(&text, 1).unwrap(), of(&text, 3).unwrap());
        assert_eq!((first.template(), last.template()), (Template::Chat, Template::R1Zero));
        assert_eq!((first.recipe(), last.recipe()), (("trainer", 7), ("r", 0)));
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        #[track_caller]
        fn check(folder: &Path) {
            let text = format!("{:#}", trained_in(folder, true).unwrap_err());
            assert!(text.contains("--template"), "{text}");
        }
        let run = run("tasks.template = \"chat\"\nno_such_key = 1\n");
        check(&run.path().join("base"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(Lineage::FILE), "{").unwrap();
        check(folder.path());

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(trained_in(folder.path(), true).unwrap(), None);
        std::fs::write(folder.path().join(TRAINER), "{}").unwrap();
        let trained =
            Trained { template: Template::R1Zero, system_prompt: String::new(), known_from: KnownFrom::Checkpoint };
        assert_eq!(trained_in(folder.path(), false).unwrap(), Some(trained));
        check(folder.path());
    }
}
