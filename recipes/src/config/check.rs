//! What must hold between the tables of a recipe.

use std::collections::{BTreeMap, BTreeSet};

use datasets::Domain;
use rewards::{PythonUse, RewardSpec};

use super::chain::BASE;
use super::fine_tuning::Template;
use super::keys::Problem;
use super::model::ModelSettings;
use super::recipe::{Recipe, TOP_LEVEL};
use super::settings::{JUDGES, RewardSettings, weighted};
use super::stages::{Stage, StageSettings};

/// Adapters are checked against a model whose vocabulary may not be known yet, and need not be: its table has none.
const LORA_VOCABULARY: usize = 512;

impl Recipe {
    /// What must hold between the tables.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_names()?;
        self.check_base()?;
        self.check_rewards()?;
        self.check_templates()?;
        for (place, stage) in self.stages.iter().enumerate() {
            self.check_stage_model(place)?;
            self.check_stage_rewards(stage)?;
            self.check_stage_families(stage)?;
        }
        self.check_weights()?;
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

    /// That stages can be told apart, from each other and from tables.
    fn check_names(&self) -> Result<(), Problem> {
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
        Ok(())
    }

    /// That there is one model to start from, and tasks.
    fn check_base(&self) -> Result<(), Problem> {
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
        Ok(())
    }

    fn check_rewards(&self) -> Result<(), Problem> {
        let mut rewards = BTreeSet::new();
        for reward in &self.rewards {
            if !rewards.insert(&reward.name) {
                return Err(Problem::anywhere(format!("the reward `{}` is listed twice", reward.name))
                    .hint("name it once, with the sum of the weights"));
            }
        }
        Ok(())
    }

    /// That some reward counts in every stage that learns from rewards.
    fn check_weights(&self) -> Result<(), Problem> {
        for (stage, _) in self.grpo() {
            let counts = |reward: &RewardSettings| stage.weight(&reward.name, reward.weight) != 0.0;
            if !self.rewards.iter().any(counts) {
                let message = format!("no reward counts in stage `{}`: all weights are 0", stage.name);
                return Err(Problem::anywhere(message).hint("give accuracy, binary_code or another reward a weight"));
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

    fn check_templates(&self) -> Result<(), Problem> {
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
        Ok(())
    }

    /// That a stage's model is of the kind that it takes, and has what its adapters change.
    fn check_stage_model(&self, place: usize) -> Result<(), Problem> {
        let stage = &self.stages[place];
        let name = &stage.name;
        // The model in a folder is looked at when the folder is.
        if let Some(shape) = self.model_at(place).hf_config(LORA_VOCABULARY) {
            self.check_lora(place, &shape.to_string())?;
        }
        let folder = matches!(stage.model, Some(ModelSettings::Folder { .. }));
        match (stage.settings.kind(), folder) {
            ("pretrain", true) => Err(Problem::anywhere(format!(
                "stage `{name}` of kind \"pretrain\" makes a new model, but its `model` names a folder"
            ))),
            ("reject", false) if stage.model.is_some() => Err(Problem::anywhere(format!(
                "stage `{name}` samples from a model that is there, but its `model` names a new one"
            ))
            .hint("model = { path = \"DIR\" }")),
            _ => Ok(()),
        }
    }

    /// That the recipe has the rewards that a stage names or needs.
    fn check_stage_rewards(&self, stage: &Stage) -> Result<(), Problem> {
        let name = &stage.name;
        let judges = |reward: &RewardSettings| JUDGES.contains(&reward.name.as_str());
        if stage.settings.makes_data() && !self.rewards.iter().any(judges) {
            return Err(Problem::anywhere(format!("stage `{name}` keeps right answers, but no reward judges them"))
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
                return Err(problem.hint("add [[rewards]] with this name; with weight = 0 it counts in no other stage"));
            }
        }
        Ok(())
    }

    fn check_stage_families(&self, stage: &Stage) -> Result<(), Problem> {
        let name = &stage.name;
        let Some(families) = &stage.families else { return Ok(()) };
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
}
