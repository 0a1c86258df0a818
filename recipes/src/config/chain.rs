//! How stages hang together: which policy a stage begins with, and which data it reads.
//!
//! Every stage hands on a policy: the one it made, or the one it was given. A stage begins with that of the stage before
//! it, or of the one that `from` names; `base` is the policy that the recipe begins with. Stages of kind
//! `reject` also hand on demonstrations, which `data` takes up by their name.

use std::path::{Path, PathBuf};

use datasets::source::hub::HubName;
use serde::Serialize;

use super::error::{RecipeError, nearest};
use super::fine_tuning::Template;
use super::keys::{KeyHelp, Problem};
use super::model::ModelSettings;
use super::recipe::Recipe;
use super::stages::{Stage, StageSettings};
use crate::hub::known_as;

/// The name of the policy that a recipe begins with: made by its first stage, or given.
pub const BASE: &str = "base";

/// Where demonstrations come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DataSource {
    /// What an earlier stage wrote.
    Stage(String),
    /// A file: JSON Lines, parquet or csv.
    File(PathBuf),
}

impl std::fmt::Display for DataSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DataSource::Stage(name) => formatter.write_str(name),
            DataSource::File(path) => path.display().fmt(formatter),
        }
    }
}

/// Whether a text can only be meant as a path.
pub(super) fn is_path(text: &str) -> bool {
    Path::new(text).extension().is_some() || text.contains(['/', '\\'])
}

/// The stage of this name among the earlier ones, or what is wrong with the name.
fn named<'s>(
    earlier: &'s [Stage],
    name: &str,
    span: &std::ops::Range<usize>,
    what: &str,
) -> Result<&'s Stage, Problem> {
    earlier.iter().find(|stage| stage.name == name).ok_or_else(|| {
        let names: Vec<&str> = earlier.iter().map(|stage| stage.name.as_str()).collect();
        let problem = Problem::at(span.clone(), format!("no earlier stage is called \"{name}\"{what}"));
        match nearest(name, names.iter().copied()) {
            Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
            None if names.is_empty() => problem.hint("this is the first stage"),
            None => problem.hint(format!("the stages before this one are {}", names.join(", "))),
        }
    })
}

/// What `from = "..."` means, after the stages that stand before it.
pub(super) fn read_from(earlier: &[Stage], name: &str, span: &std::ops::Range<usize>) -> Result<String, Problem> {
    if name != BASE {
        named(earlier, name, span, "")?;
    }
    Ok(name.to_owned())
}

/// What `teacher = "..."` means: a stage (or [`BASE`]) or, where it is a path, a folder.
pub(super) fn read_teacher(
    earlier: &[Stage],
    text: &str,
    span: &std::ops::Range<usize>,
) -> Result<(Option<String>, Option<ModelSettings>), Problem> {
    if is_path(text) {
        return Ok((None, Some(ModelSettings::Folder { path: text.into() })));
    }
    if text != BASE {
        named(earlier, text, span, ", and a folder is named with its path, such as ./name")?;
    }
    Ok((Some(text.to_owned()), None))
}

/// What one entry of `data` means.
pub(super) fn read_data_source(
    earlier: &[Stage],
    text: &str,
    span: &std::ops::Range<usize>,
) -> Result<DataSource, Problem> {
    if is_path(text) && !earlier.iter().any(|stage| stage.name == text) {
        return Ok(DataSource::File(text.into()));
    }
    let stage = named(earlier, text, span, ", and a file is named with its ending, such as data.jsonl")?;
    if stage.settings.makes_data() {
        return Ok(DataSource::Stage(text.to_owned()));
    }
    let makers: Vec<&str> =
        earlier.iter().filter(|stage| stage.settings.makes_data()).map(|stage| stage.name.as_str()).collect();
    let problem = Problem::at(
        span.clone(),
        format!("stage \"{text}\" is of kind \"{}\", which makes no data", stage.settings.kind()),
    );
    Err(match makers.as_slice() {
        [] => problem.hint("stages of kind \"reject\" make data"),
        _ => problem.hint(format!("data is made by {}", makers.join(", "))),
    })
}

/// What a stage reads that names no `data`: what the nearest stage before it wrote.
pub(super) fn default_data(earlier: &[Stage]) -> Option<DataSource> {
    let maker = earlier.iter().rev().find(|stage| stage.settings.makes_data())?;
    Some(DataSource::Stage(maker.name.clone()))
}

impl Stage {
    /// The keys of a stage besides those of its kind.
    #[must_use]
    pub fn keys() -> Vec<KeyHelp> {
        let key = |key, default: &str, expected: &str, help: &str| KeyHelp {
            key,
            default: default.to_owned(),
            expected: expected.to_owned(),
            help: help.to_owned(),
        };
        vec![
            key(
                "kind",
                "(none: every stage says it)",
                &format!("\"{}\"", StageSettings::KINDS.join("\", \"")),
                "What the stage does. One of kind eval has no keys but these: [eval] has its settings.",
            ),
            key("name", "the kind", "letters, digits, and - or _", "What it is called in metrics, folders and --set."),
            key(
                "from",
                "the stage before",
                "an earlier stage, or \"base\"",
                "Whose policy it begins with. A stage that makes none hands on the one that it was given.",
            ),
            key(
                "data",
                "the nearest earlier stage that makes data",
                "stages of kind reject, and files: JSON Lines, parquet, csv",
                "The demonstrations that an sft or distill stage reads: rows with `messages`, or `prompt` and `response`, or \
                 `problem` and `solution` or `generations`.",
            ),
            key(
                "families",
                "[tasks.families]",
                "weights of families, as in [tasks.families]",
                "What a grpo or reject stage practises.",
            ),
            key(
                "reward_weights",
                "{}",
                "for rewards of the recipe, a weight",
                "Of a grpo stage: the weights that differ from those in [[rewards]]. Such as reward_weights = { format = 0 }.",
            ),
            key(
                "lora",
                "(none)",
                "the keys of lora, above",
                "Of an sft, distill or grpo stage: it trains adapters of low rank instead of the weights. Such as lora = { rank \
                 = 16 }.",
            ),
            key(
                "model",
                "[model]",
                "the keys of [model]",
                "Of a pretrain stage: the model it makes. Of a distill stage: the student, a folder or a new model, which gets \
                 the teacher's tokenizer. Of a reject stage: the folder of the model that answers.",
            ),
            key(
                "teacher",
                "(none)",
                "an earlier stage, \"base\", or the path of a folder",
                "Of a distill stage: whose answers the student learns. They are sampled by a stage of kind reject, called after \
                 this one with -traces; its settings are `traces = { ... }`. Without a teacher, `data` names saved answers.",
            ),
            key(
                "traces",
                "{}",
                "the keys of a stage of kind reject, above",
                "Of a distill stage with a teacher: how the teacher's answers are sampled, and which are kept. Such as traces = \
                 { tasks = 500 }.",
            ),
            key(
                "require",
                "{}",
                "for rewards of the recipe, a score",
                "Of a reject stage: the score that a kept answer must reach in each, besides being right.",
            ),
        ]
    }
}

impl Recipe {
    /// The name of the stage whose policy the stage at `index` begins with; [`BASE`] for the first one's.
    #[must_use]
    pub fn origin(&self, index: usize) -> &str {
        match &self.stages[index].from {
            Some(name) => name,
            None if index == 0 => BASE,
            None => &self.stages[index - 1].name,
        }
    }

    /// The stage that made the policy which the stage at `index` begins with: stages that make none hand on the one that
    /// they were given. [`BASE`] for a model that was given.
    #[must_use]
    pub fn maker(&self, index: usize) -> &str {
        match self.place_of_origin(index) {
            Some(place) if self.stages[place].settings.makes_policy() => &self.stages[place].name,
            Some(place) => self.maker(place),
            None => BASE,
        }
    }

    /// The place of the stage whose policy the stage at `index` begins with; none where that is the recipe's own model.
    fn place_of_origin(&self, index: usize) -> Option<usize> {
        self.stages[..index].iter().position(|stage| stage.name == self.origin(index))
    }

    /// Where the model comes from that the stage at `index` begins with, or makes.
    #[must_use]
    pub fn model_at(&self, index: usize) -> &ModelSettings {
        let own = self.stages[index].model.as_ref();
        own.unwrap_or_else(|| self.place_of_origin(index).map_or(&self.model, |before| self.model_at(before)))
    }

    /// The folder whose tokenizer the stage at `index` works with; none where a pretrain stage of this recipe makes it.
    fn tokenizer_at(&self, index: usize) -> Option<&Path> {
        let stage = &self.stages[index];
        match &stage.model {
            Some(ModelSettings::Folder { path }) => Some(path),
            _ if stage.settings.kind() == "pretrain" => None,
            _ => self.place_of_origin(index).map_or(self.model.folder(), |before| self.tokenizer_at(before)),
        }
    }

    /// The stages that ask or show questions in a chat template, and the folder of the tokenizer that must have one; none
    /// where a pretrain stage makes it.
    pub(crate) fn chats(&self) -> impl Iterator<Item = (&Stage, Option<&Path>)> {
        let chats = |stage: &Stage| match &stage.settings {
            StageSettings::Sft(settings) | StageSettings::Distill(settings) => settings.template == Template::Chat,
            StageSettings::Grpo(_) | StageSettings::Reject(_) | StageSettings::Eval {} => {
                self.tasks.template == Template::Chat
            }
            StageSettings::Pretrain(_) | StageSettings::Export(_) => false,
        };
        let places = self.stages.iter().enumerate().filter(move |(_, stage)| chats(stage));
        places.map(|(place, stage)| (stage, self.tokenizer_at(place)))
    }

    /// The template in which a stage of it last trained a policy on questions; none where none does. A policy is examined in
    /// it, and so is the base, which would otherwise differ from it by the template as well.
    #[must_use]
    pub fn trained_template(&self) -> Option<Template> {
        let is_base = |stage: &&Stage| matches!(stage.settings, StageSettings::Pretrain(_));
        // That of a base counts where nothing else is trained.
        let (bases, others): (Vec<&Stage>, Vec<&Stage>) = self.stages.iter().partition(is_base);
        others.into_iter().rev().chain(bases).find_map(|stage| self.trains_in(stage))
    }

    /// The template in which the policy was last trained on questions that the stage at `place` hands on; none where no stage
    /// of the recipe trained it.
    #[must_use]
    pub fn template_at(&self, place: usize) -> Option<Template> {
        let stage = &self.stages[place];
        let given = || stage.model.is_none().then(|| self.template_at(self.place_of_origin(place)?)).flatten();
        self.trains_in(stage).or_else(given)
    }

    /// The template in which a stage trains, if it does.
    fn trains_in(&self, stage: &Stage) -> Option<Template> {
        match &stage.settings {
            // A base has read answers in it.
            StageSettings::Pretrain(_) => Some(Template::R1Zero),
            StageSettings::Sft(settings) | StageSettings::Distill(settings) => Some(settings.template),
            StageSettings::Grpo(_) => Some(self.tasks.template),
            StageSettings::Reject(_) | StageSettings::Eval {} | StageSettings::Export(_) => None,
        }
    }

    /// The files that stages read demonstrations from.
    pub fn data_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.stages.iter().flat_map(|stage| &stage.data).filter_map(|source| match source {
            DataSource::File(path) => Some(path),
            DataSource::Stage(_) => None,
        })
    }

    /// The files of tasks: those that are practised, then those that are held out.
    pub fn task_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.tasks.files.iter().chain(&self.tasks.held_out_files)
    }

    /// Every file whose content a run depends on.
    #[must_use]
    pub fn input_files(&self) -> Vec<PathBuf> {
        self.task_files().chain(self.data_files()).cloned().collect()
    }

    /// Every path of what is read or written outside of the run's folder, to be made absolute. The name of a data set of the
    /// Hub is none.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        let tasks = self.tasks.files.iter_mut().chain(&mut self.tasks.held_out_files);
        let mut paths: Vec<&mut PathBuf> = tasks.filter(|path| HubName::recognise(path).is_none()).collect();
        paths.extend(self.model.path_mut());
        paths.extend(self.rewards.iter_mut().filter_map(|reward| Some(&mut reward.custom.as_mut()?.path)));
        for stage in &mut self.stages {
            paths.extend(stage.model.as_mut().and_then(ModelSettings::path_mut));
            paths.extend(stage.data.iter_mut().filter_map(|source| match source {
                DataSource::File(path) => Some(path),
                DataSource::Stage(_) => None,
            }));
        }
        paths
    }

    /// Makes every path absolute, so that it means the same from any folder.
    pub(crate) fn make_paths_absolute(&mut self) -> Result<(), RecipeError> {
        let shown = self.name.clone();
        self.change_paths(|path| {
            let failed = |error| format!("cannot find the folder of {}: {error}", path.display());
            std::path::absolute(path).map_err(|error: std::io::Error| RecipeError::new(shown.as_str(), failed(error)))
        })
    }

    /// The same with names in the place of paths, as it can be shown to others.
    pub(crate) fn without_folders(&self) -> Result<Recipe, RecipeError> {
        let mut recipe = self.clone();
        recipe.change_paths(|path| Ok(known_as(path).into()))?;
        Ok(recipe)
    }

    fn change_paths(&mut self, changed: impl Fn(&Path) -> Result<PathBuf, RecipeError>) -> Result<(), RecipeError> {
        for path in self.paths_mut() {
            *path = changed(path)?;
        }
        for stage in &mut self.stages {
            match &mut stage.settings {
                StageSettings::Export(settings) if !settings.path.is_empty() => {
                    settings.path = changed(settings.path.as_ref())?.display().to_string();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The model folders that stages name, besides the one that the recipe begins with.
    pub(crate) fn other_models(&self) -> impl Iterator<Item = &PathBuf> {
        self.stages.iter().filter_map(|stage| match &stage.model {
            Some(ModelSettings::Folder { path }) => Some(path),
            _ => None,
        })
    }
}
