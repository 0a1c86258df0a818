//! A whole recipe: read, checked, and written back as resolved.

use std::path::{Path, PathBuf};

use rewards::{Registry, RewardSpec};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use super::chain::BASE;
use super::document::Document;
use super::error::RecipeError;
use super::fine_tuning::{ExportSettings, LoraSettings, RejectSettings, SftSettings};
use super::grpo::GrpoSettings;
use super::keys::{Allowed, Any, KeyHelp, Problem, Seeds, checked, name_problem};
use super::model::{DenseShape, ModelSettings, ModelShape};
use super::paths;
use super::read::{read_model, value};
use super::read_stages::read_stages;
use super::settings::{EvalSettings, EvalTable, RewardSettings, RewardTable, TaskSettings, TaskTable, key_help};
use super::stages::{PretrainSettings, Stage, StageSettings};

/// Every key that may stand outside of a stage.
pub(super) const TOP_LEVEL: [&str; 8] = ["name", "description", "seed", "model", "tasks", "eval", "rewards", "stage"];

/// A recipe as validated: every setting has a value, and every value is allowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// Its name: runs are called after it.
    pub name: String,
    /// One line about what it is for.
    pub description: String,
    /// All randomness comes from this.
    pub seed: u64,
    /// Where the model comes from.
    pub model: ModelSettings,
    /// Which tasks are practised and examined.
    pub tasks: TaskSettings,
    /// How much is measured by stages of kind `eval`.
    pub eval: EvalSettings,
    /// What a completion is scored by.
    pub rewards: Vec<RewardSettings>,
    /// What is done, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// The rewards that it could name: those that come with this program, unless it was read with others.
    #[serde(skip)]
    pub known_rewards: Registry,
}

/// Where a recipe is read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// What errors call it.
    pub(super) shown: &'a str,
    /// Its text.
    pub(super) text: &'a str,
    /// What it is called if it says nothing of that.
    pub(super) name: &'a str,
    /// The folder that the paths in its text are relative to.
    pub(super) folder: &'a Path,
    /// The rewards that it may name.
    pub(super) known: &'a Registry,
}

/// The part of [`Recipe`] outside of its stages, as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeTable {
    name: Option<Spanned<String>>,
    description: Option<String>,
    seed: Option<Spanned<u64>>,
    tasks: Option<TaskTable>,
    eval: Option<EvalTable>,
    rewards: Option<Vec<RewardTable>>,
}

/// The text of a recipe's file.
pub(super) fn text_of(path: &Path) -> Result<String, RecipeError> {
    let unreadable = |error| RecipeError::new(path.display().to_string(), format!("cannot read it: {error}"));
    std::fs::read_to_string(path).map_err(unreadable)
}

/// What a recipe in a file is called that says nothing of it.
pub(super) fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("recipe")
}

impl Recipe {
    /// Reads the recipe in a file, with `--set` arguments (`key=value`) on top of it. A recipe
    /// that has no name is called after its file.
    ///
    /// # Errors
    /// If the file cannot be read, or the recipe is wrong: the error says where and what would be
    /// right.
    pub fn read(path: &Path, settings: &[String]) -> Result<Recipe, RecipeError> {
        Recipe::read_with(path, settings, &Registry::builtin())
    }

    /// As [`Recipe::read`]; the recipe may name the rewards that `known` holds.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn read_with(path: &Path, settings: &[String], known: &Registry) -> Result<Recipe, RecipeError> {
        let shown = path.display().to_string();
        let text = text_of(path)?;
        let stem = stem(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        Recipe::parse_source(Source { shown: &shown, text: &text, name: stem, folder, known }, settings)
    }

    /// Reads a recipe from its text. `name` is what errors call it.
    ///
    /// # Errors
    /// If the recipe is wrong: see [`Recipe::read`].
    pub fn parse(name: &str, text: &str, settings: &[String]) -> Result<Recipe, RecipeError> {
        let stem = name.trim_end_matches(".toml");
        let known = &Registry::builtin();
        Recipe::parse_source(Source { shown: name, text, name: stem, folder: Path::new(""), known }, settings)
    }

    /// Reads a recipe. What is wrong only because of a `--set` is said of that `--set`, also where it is noticed at a line
    /// of the file.
    pub(super) fn parse_source(source: Source<'_>, settings: &[String]) -> Result<Recipe, RecipeError> {
        let read = |settings: &[String]| Recipe::read_source(source, settings);
        read(settings).map_err(|error| {
            if error.is_of_a_setting() {
                return error;
            }
            // Without the one to blame, the others are fine.
            let to_blame = (0..settings.len()).rev().find(|&index| {
                let others = [&settings[..index], &settings[index + 1..]].concat();
                read(&others).is_ok()
            });
            match to_blame {
                Some(index) => error.of_setting(&settings[index]),
                None => error,
            }
        })
    }

    fn read_source(source: Source<'_>, settings: &[String]) -> Result<Recipe, RecipeError> {
        let document = Document::new(source.shown, source.text, settings)?;
        let mut tree = document.tree_with(&TOP_LEVEL, |text| paths::below(source.folder, text))?;
        // The stages and the model are read by themselves: what keys they have depends on what
        // they are.
        let stages = tree.get_mut().remove("stage");
        let model = tree.get_mut().remove("model");
        let span = tree.span();
        let typed = RecipeTable::deserialize(value(Spanned::new(span, DeValue::Table(tree.into_inner()))))
            .map_err(|error| document.read_error(&error, &["model", "stage"]))?;
        let located = |problem| document.error(problem);

        let name = checked("name", typed.name, source.name.to_owned(), &Any).map_err(located)?;
        if let Some(message) = name_problem(&name) {
            return Err(located(Problem::anywhere(message)));
        }
        let seed = checked("seed", typed.seed, 0, &Seeds).map_err(located)?;
        let rewards = match typed.rewards {
            Some(rewards) => {
                let read = rewards.into_iter().map(|reward| reward.validate(source.known));
                read.collect::<Result<Vec<_>, _>>().map_err(located)?
            }
            None => RewardSettings::defaults(),
        };
        let tasks = typed.tasks.unwrap_or_default().validate().map_err(located)?;
        let recipe = Recipe {
            name,
            description: typed.description.unwrap_or_default(),
            seed,
            model: read_model(&document, model)?,
            eval: typed.eval.unwrap_or_default().validate().map_err(located)?,
            rewards,
            stages: read_stages(&document, stages, tasks.template)?,
            tasks,
            known_rewards: source.known.clone(),
        };
        let recipe = recipe.without_needless_base();
        recipe.check().map_err(located)?;
        Ok(recipe)
    }

    /// A given model is the base: there is none to make.
    fn without_needless_base(mut self) -> Recipe {
        if matches!(self.model, ModelSettings::Folder { .. }) {
            let is_base = |stage: &Stage| matches!(stage.settings, StageSettings::Pretrain(_)) && stage.model.is_none();
            let bases: Vec<String> =
                self.stages.iter().filter(|stage| is_base(stage)).map(|stage| stage.name.clone()).collect();
            self.stages.retain(|stage| !is_base(stage));
            for stage in &mut self.stages {
                if let Some(from) = stage.from.as_mut().filter(|from| bases.contains(from)) {
                    BASE.clone_into(from);
                }
            }
        }
        self
    }

    /// The first stage that examines the policy on held-out tasks.
    #[must_use]
    pub fn examiner(&self) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.examines())
    }

    /// The stage that examines the policy on the most held-out tasks of each family or file, and that number.
    pub(crate) fn longest_examination(&self) -> Option<(&Stage, usize)> {
        let examiners = self.stages.iter().filter(|stage| stage.examines());
        let tasks = |stage: &Stage| match &stage.settings {
            StageSettings::Grpo(settings) => settings.eval_tasks,
            _ => self.eval.tasks_per_family,
        };
        examiners.map(|stage| (stage, tasks(stage))).reduce(|most, next| if next.1 > most.1 { next } else { most })
    }

    /// Held-out tasks of each family or file that stages of kind `eval` ask.
    pub(crate) fn examined_tasks(&self) -> usize {
        let examines = self.stages.iter().any(|stage| matches!(stage.settings, StageSettings::Eval {}));
        if examines { self.eval.tasks_per_family } else { 0 }
    }

    /// Held-out tasks of each family or file that any stage asks: quick evaluations ask those that come after the others.
    pub(crate) fn held_out_tasks(&self) -> usize {
        let quick = self.grpo().filter(|(stage, _)| stage.examines()).map(|(_, settings)| settings.eval_tasks);
        self.examined_tasks() + quick.max().unwrap_or(0)
    }

    /// The grpo stages with their settings.
    pub fn grpo(&self) -> impl Iterator<Item = (&Stage, &GrpoSettings)> {
        self.stages.iter().filter_map(|stage| match &stage.settings {
            StageSettings::Grpo(settings) => Some((stage, settings)),
            _ => None,
        })
    }

    /// The settings of the stage that makes the base, if one does.
    #[must_use]
    pub fn pretrain(&self) -> Option<&PretrainSettings> {
        self.stages.iter().find_map(|stage| match &stage.settings {
            StageSettings::Pretrain(settings) => Some(settings),
            _ => None,
        })
    }

    /// How long a completion of an evaluation may be.
    #[must_use]
    pub fn eval_max_new_tokens(&self) -> usize {
        if self.eval.max_new_tokens > 0 {
            return self.eval.max_new_tokens;
        }
        let of_stages = self.stages.iter().filter_map(|stage| stage.settings.max_new_tokens()).max();
        of_stages.unwrap_or_else(|| GrpoSettings::default().max_new_tokens)
    }

    /// The rewards, as the rewards crate takes them.
    #[must_use]
    pub fn reward_specs(&self) -> Vec<RewardSpec> {
        self.rewards.iter().map(RewardSpec::from).collect()
    }

    /// The same where completions end after so many tokens, which `soft_overlong` goes by.
    #[must_use]
    pub fn reward_specs_within(&self, max_new_tokens: usize) -> Vec<RewardSpec> {
        self.reward_specs().iter().map(|spec| rewards::within_limit(spec, max_new_tokens as u64)).collect()
    }

    /// The files of the rewards that it brings along.
    #[must_use]
    pub fn reward_files(&self) -> Vec<PathBuf> {
        self.rewards.iter().filter_map(|reward| Some(reward.custom.as_ref()?.path.clone())).collect()
    }

    /// The recipe as resolved, as TOML: what a run folder keeps. Reading it gives this recipe.
    ///
    /// # Errors
    /// If a value has no form in TOML (a path that is not Unicode).
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|error| RecipeError::new(&self.name, format!("cannot be written: {error}")))
    }

    /// The keys that stand in no table.
    fn keys() -> Vec<KeyHelp> {
        vec![
            key_help(
                "name",
                "the file's name",
                "Runs and their folders are called after it.",
                "letters, digits, and -, _ or .",
            ),
            key_help("description", "\"\"", "One line about what it is for.", "a text in quotes"),
            key_help(
                "seed",
                "0",
                "All randomness comes from it: the same recipe and seed give the same run. On the command line: --seed N.",
                &Seeds.text(),
            ),
        ]
    }

    /// The keys of every table: the table as written, and its keys.
    #[must_use]
    pub fn key_tables() -> Vec<(&'static str, Vec<KeyHelp>)> {
        vec![
            ("at the top, before all tables", Recipe::keys()),
            ("[model]", ModelShape::keys()),
            ("[model] with model_type", DenseShape::keys()),
            ("[tasks]", TaskSettings::keys()),
            ("[eval]", EvalSettings::keys()),
            ("[[rewards]]", RewardSettings::keys()),
            ("[[stage]] kind = \"pretrain\"", PretrainSettings::keys()),
            ("[[stage]] kind = \"grpo\"", GrpoSettings::keys()),
            ("[[stage]] kind = \"sft\" or \"distill\"", SftSettings::keys()),
            ("lora = { ... } in a stage of kind \"sft\", \"distill\" or \"grpo\"", LoraSettings::keys()),
            ("[[stage]] kind = \"reject\"", RejectSettings::keys()),
            ("[[stage]] kind = \"export\"", ExportSettings::keys()),
            ("[[stage]], of every kind", Stage::keys()),
        ]
    }
}
