//! A whole recipe: read, checked, and written back as resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use datasets::Domain;
use rewards::{PythonUse, Registry, RewardSpec};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use super::chain::BASE;
use super::document::Document;
use super::error::RecipeError;
use super::fine_tuning::{ExportSettings, LoraSettings, RejectSettings, SftSettings, Template};
use super::grpo::GrpoSettings;
use super::keys::{Allowed, Any, KeyHelp, Problem, Seeds, checked, name_problem};
use super::model::{DenseShape, ModelSettings, ModelShape};
use super::paths;
use super::read::{read_model, value};
use super::read_stages::read_stages;
use super::settings::{
    EvalSettings, EvalTable, JUDGES, RewardSettings, RewardTable, TaskSettings, TaskTable, key_help, weighted,
};
use super::stages::{PretrainSettings, Stage, StageSettings};

/// Adapters are checked against a model whose vocabulary may not be known yet, and need not be: its table has none.
const LORA_VOCABULARY: usize = 512;

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

    /// What must hold between the tables.
    fn check(&self) -> Result<(), Problem> {
        let mut names = BTreeSet::new();
        for stage in &self.stages {
            if !names.insert(&stage.name) {
                return Err(Problem::anywhere(format!("two stages are called `{}`", stage.name))
                    .hint("give each a `name` of its own"));
            }
            let reserved = TOP_LEVEL.contains(&stage.name.as_str()) || stage.name == BASE;
            if reserved && !(stage.name == "eval" && matches!(stage.settings, StageSettings::Eval {})) {
                return Err(Problem::anywhere(format!(
                    "a stage is called `{}`, a name that has a meaning of its own",
                    stage.name
                )));
            }
        }
        let makes_base = matches!(self.stages.first(), Some(Stage { settings: StageSettings::Pretrain(_), .. }));
        let again = |stage: &&Stage| stage.settings.kind() == "pretrain" && stage.model.is_none();
        if self.stages.iter().filter(again).count() > usize::from(makes_base) {
            return Err(Problem::anywhere(
                "a stage of kind \"pretrain\" makes a new base, so it can only be the first",
            )
            .hint("one with a `model` of its own may stand further down: model = { model_type = \"qwen2\" }"));
        }
        if !matches!(self.model, ModelSettings::Folder { .. }) && !makes_base {
            return Err(Problem::anywhere("there is no model to start from")
                .hint("begin with a stage of kind \"pretrain\", or name a folder: --model DIR"));
        }
        if self.tasks.files.is_empty() && self.tasks.weighted_families().is_empty() {
            return Err(Problem::anywhere("there are no tasks: every family has the weight 0")
                .hint("give a family in [tasks.families] a weight, or name a file: --tasks FILE"));
        }
        if makes_base && self.tasks.weighted_families().is_empty() {
            return Err(Problem::anywhere(
                "the pretrain stage makes its text from the task families, and all have weight 0",
            ));
        }
        let mut rewards = BTreeSet::new();
        for reward in &self.rewards {
            if !rewards.insert(&reward.name) {
                return Err(Problem::anywhere(format!("the reward `{}` is listed twice", reward.name))
                    .hint("name it once, with the sum of the weights"));
            }
        }
        self.check_stages()?;
        for (stage, _) in self.grpo() {
            let counts = |reward: &RewardSettings| stage.weight(&reward.name, reward.weight) != 0.0;
            if !self.rewards.iter().any(counts) {
                let message = format!("no reward counts in stage `{}`: all weights are 0", stage.name);
                return Err(Problem::anywhere(message).hint("give accuracy, binary_code or another reward a weight"));
            }
        }
        self.check_rewards_apply()?;
        self.check_overlong()?;
        self.check_exports()?;
        self.check_held_out()?;
        let own = self.stages.iter().filter_map(|stage| stage.model.as_ref());
        for model in own.chain([&self.model]) {
            if let Some(positions) = model.max_position_embeddings() {
                self.check_positions(model, positions)?;
            }
        }
        Ok(())
    }

    /// That no stage writes over what another exported.
    fn check_exports(&self) -> Result<(), Problem> {
        let mut targets = BTreeMap::<&str, &str>::new();
        for stage in &self.stages {
            let StageSettings::Export(settings) = &stage.settings else { continue };
            if let Some(other) = targets.insert(&settings.path, &stage.name) {
                return Err(Problem::anywhere(format!(
                    "the stages `{other}` and `{}` export into the same folder",
                    stage.name
                ))
                .hint("give each a `path` of its own"));
            }
        }
        Ok(())
    }

    /// What stages say of rewards, families, adapters and templates.
    fn check_stages(&self) -> Result<(), Problem> {
        if let Some((stage, _)) = self.chats().find(|(_, folder)| folder.is_none()) {
            return Err(Problem::anywhere(format!(
                "stage `{}` uses the chat template of its tokenizer, but a pretrain stage makes that, without one",
                stage.name
            ))
            .hint("template = \"r1-zero\", or begin with a model that has a chat template: --model DIR"));
        }
        // A stage that shows demonstrations may have the chat template to itself.
        let chats = self.tasks.template == Template::Chat || self.chats().next().is_some();
        if !self.tasks.system_prompt.is_empty() && !chats {
            return Err(Problem::anywhere("`tasks.system_prompt` has no place in R1-Zero's template")
                .hint("set tasks.template = \"chat\", or leave the system prompt out"));
        }
        for (place, stage) in self.stages.iter().enumerate() {
            let name = &stage.name;
            // The model in a folder is looked at when the folder is.
            if let Some(shape) = self.model_at(place).hf_config(LORA_VOCABULARY) {
                self.check_lora(place, &shape.to_string())?;
            }
            let folder = matches!(stage.model, Some(ModelSettings::Folder { .. }));
            match (stage.settings.kind(), folder) {
                ("pretrain", true) => {
                    return Err(Problem::anywhere(format!(
                        "stage `{name}` of kind \"pretrain\" makes a new model, but its `model` names a folder"
                    )));
                }
                ("reject", false) if stage.model.is_some() => {
                    return Err(Problem::anywhere(format!(
                        "stage `{name}` samples from a model that is there, but its `model` names a new one"
                    ))
                    .hint("model = { path = \"DIR\" }"));
                }
                _ => {}
            }
            let judges = |reward: &RewardSettings| JUDGES.contains(&reward.name.as_str());
            if stage.settings.makes_data() && !self.rewards.iter().any(judges) {
                return Err(Problem::anywhere(format!(
                    "stage `{name}` keeps right answers, but no reward judges them"
                ))
                .hint("add [[rewards]] with name = \"accuracy\" or \"binary_code\""));
            }
            let required = stage.settings.sampling().into_iter().flat_map(|sampling| sampling.require.keys());
            for (what, reward) in
                required.map(|name| ("requires", name)).chain(stage.reward_weights.keys().map(|name| ("weighs", name)))
            {
                if !self.rewards.iter().any(|known| known.name == *reward) {
                    let known: Vec<&str> = self.rewards.iter().map(|reward| reward.name.as_str()).collect();
                    let problem = Problem::anywhere(format!(
                        "stage `{name}` {what} the reward `{reward}`, which the recipe does not have: it has {}",
                        known.join(", ")
                    ));
                    return Err(
                        problem.hint("add [[rewards]] with this name; with weight = 0 it counts in no other stage")
                    );
                }
            }
            let Some(families) = &stage.families else { continue };
            if weighted(families).is_empty() {
                return Err(Problem::anywhere(format!("stage `{name}` has no tasks: every family has the weight 0")));
            }
            let known = self.tasks.weighted_families();
            if let Some((other, _)) =
                weighted(families).into_iter().find(|(family, _)| known.iter().all(|(one, _)| one != family))
            {
                return Err(Problem::anywhere(format!(
                    "stage `{name}` practises the family `{other}`, which has no weight in [tasks.families]: its base has \
                     not read of it, and no evaluation would show it"
                ))
                .hint(format!("give it one, or leave it out here too: --set {name}.families.{other}=0")));
            }
        }
        Ok(())
    }

    /// That a stage's adapters fit the model that it begins with.
    pub(crate) fn check_lora(&self, place: usize, config: &str) -> Result<(), Problem> {
        let stage = &self.stages[place];
        let Some(lora) = &stage.lora else { return Ok(()) };
        let fits = policy::ModelConfig::from_json(config).and_then(|config| lora.adapters().check(&config));
        fits.map_err(|error| Problem::anywhere(format!("stage `{}`: {error}", stage.name)))
    }

    /// Rewards that judge programs have nothing to judge where no family asks for one. What files ask for is not known
    /// before they are read.
    fn check_rewards_apply(&self) -> Result<(), Problem> {
        let specs = self.reward_specs();
        let judges_programs = |spec: &RewardSpec| self.known_rewards.python_use(spec) == PythonUse::ForPrograms;
        for (stage, _) in self.grpo().filter(|_| self.tasks.files.is_empty()) {
            let families = weighted(stage.families.as_ref().unwrap_or(&self.tasks.families));
            let programs = families.iter().any(|(family, _)| family.domain() == Domain::Code);
            let mut counting = specs.iter().filter(|spec| stage.weight(&spec.name, spec.weight) != 0.0);
            if programs || counting.any(|spec| !judges_programs(spec)) {
                continue;
            }
            let names: Vec<&str> =
                specs.iter().filter(|spec| judges_programs(spec)).map(|spec| spec.name.as_str()).collect();
            return Err(Problem::anywhere(format!(
                "no reward applies in stage `{}`: {} judges programs, and no task family asks for one",
                stage.name,
                names.join(", ")
            ))
            .hint("give a family of programs a weight, or add [[rewards]] with name = \"accuracy\""));
        }
        Ok(())
    }

    /// That a punishment of long answers begins before they are cut off.
    fn check_overlong(&self) -> Result<(), Problem> {
        for (stage, settings) in self.grpo() {
            let limit = settings.max_new_tokens as u64;
            let counts = |spec: &&RewardSpec| stage.weight(&spec.name, spec.weight) != 0.0;
            for spec in self.reward_specs().iter().filter(counts) {
                let begins = rewards::overlong_begins(spec, limit);
                let begins = begins.map_err(|error| {
                    Problem::anywhere(format!("stage `{}`, whose max_new_tokens is {limit}: {error}", stage.name))
                })?;
                let Some(begins) = begins.filter(|begins| *begins >= limit) else { continue };
                return Err(Problem::anywhere(format!(
                    "the reward `{}` would never punish anything in stage `{}`: it begins above {begins} tokens \
                     (max_completion_len less soft_punish_cache), and answers are cut off at {limit} (max_new_tokens)",
                    spec.name, stage.name
                ))
                .hint("leave its max_completion_len out, which is then max_new_tokens; or lower it"));
            }
        }
        Ok(())
    }

    /// What examines the policy needs tasks that were set aside.
    fn check_held_out(&self) -> Result<(), Problem> {
        if self.tasks.files.is_empty() {
            return match self.tasks.held_out_files.is_empty() {
                true => Ok(()),
                false => Err(Problem::anywhere(
                    "`tasks.held_out_files` are named, but no `tasks.files`: generated families hold out tasks of their own",
                )
                .hint("name what is trained on, too: --tasks FILE; or examine the model with `recipe eval --bench NAME=FILE`")),
            };
        }
        let Some(examiner) = self.examiner() else { return Ok(()) };
        if self.tasks.held_out_share > 0.0 || !self.tasks.held_out_files.is_empty() {
            return Ok(());
        }
        Err(Problem::anywhere(format!(
            "`tasks.held_out_share` is 0, so stage `{}` has no held-out task to examine the policy on",
            examiner.name
        ))
        .hint(
            "name tasks.held_out_files, or raise tasks.held_out_share; or leave the eval stages out and set eval_every = 0",
        ))
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

    /// A prompt and its completion must fit into the model, which has so many positions. How long prompts are is not
    /// known here; a completion that leaves them no room never fits.
    pub(crate) fn check_positions(&self, model: &ModelSettings, positions: usize) -> Result<(), Problem> {
        let too_long = |key: &str, tokens: usize| {
            Problem::anywhere(format!(
                "{key} is {tokens}, which leaves no room for a prompt: the model has {positions} positions"
            ))
            .hint("lower it, or raise model.max_position_embeddings where the model is a new one")
        };
        let of_model = || {
            let places = self.stages.iter().enumerate().filter(|(place, _)| self.model_at(*place) == model);
            places.map(|(_, stage)| stage)
        };
        for stage in of_model() {
            if let Some(tokens) = stage.settings.max_new_tokens().filter(|tokens| *tokens >= positions) {
                return Err(too_long(&format!("`{}.max_new_tokens`", stage.name), tokens));
            }
        }
        // Where [eval] names no limit of its own it is that of a stage that samples, or a default.
        if of_model().any(Stage::examines) && self.eval_max_new_tokens() >= positions {
            let key = match self.eval.max_new_tokens {
                0 => "the largest max_new_tokens of the stages, up to which evaluations answer,",
                _ => "`eval.max_new_tokens`",
            };
            return Err(too_long(key, self.eval_max_new_tokens()));
        }
        Ok(())
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

    /// The shape of a new DeepSeek-V3 model; none where the model is dense or comes from a folder.
    #[must_use]
    pub fn model_shape(&self) -> Option<&ModelShape> {
        match &self.model {
            ModelSettings::Shape(shape) => Some(shape),
            ModelSettings::Folder { .. } | ModelSettings::Dense(_) => None,
        }
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
