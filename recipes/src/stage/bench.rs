//! What the stages share: the tasks, the rewards with their Python, and models as they are loaded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use policy::checkpoint::verify_where;
use policy::{Place, Policy, Tokenizer};
use rewards::{PythonUse, RewardSet, RewardSpec, Surroundings};
use sandbox::{Limits, Python};

use super::tasks::Tasks;
use crate::config::{JUDGES, Recipe, Stage};
use crate::{Interrupt, Reporter, RunContext};

/// Tasks and rewards, ready to use.
pub(super) struct Bench {
    pub(super) tasks: Tasks,
    /// What the recipe rewards.
    of_recipe: RewardSet,
    /// The same, as the stage at hand weighs it.
    pub(super) rewards: RewardSet,
    /// Right or not, which is what pass@1 counts; and what the recipe rewards of an answer's shape, which is reported.
    pub(super) verdict: RewardSet,
}

impl Bench {
    /// Prepares Python, if a program is to be run at all.
    pub(super) fn prepare(context: &RunContext<'_>, tasks: Tasks) -> anyhow::Result<Bench> {
        let recipe = context.recipe;
        let grades = recipe.stages.iter().any(|stage| stage.settings.grades());
        let specs = if grades { recipe.reward_specs() } else { Vec::new() };
        let known = &recipe.known_rewards;
        let programs = grades && tasks.have_programs();
        let needed = programs || known.need_python(&specs, false);
        let prepare = || prepare_python(&context.reporter, &context.interrupt, &context.cache_dir).map(Arc::new);
        let python = needed.then(prepare).transpose()?;
        // Without a program among the tasks, a reward that judges programs has nothing to apply to.
        let usable = |specs: Vec<RewardSpec>| -> Vec<RewardSpec> {
            specs.into_iter().filter(|spec| programs || known.python_use(spec) != PythonUse::ForPrograms).collect()
        };
        // Generated tasks are short; what a file asks for is not known.
        let generated = recipe.tasks.files.is_empty();
        let limits = if generated { Limits::brief() } else { Limits::default() };
        let shape = specs.iter().filter(|spec| spec.custom.is_none() && !JUDGES.contains(&spec.name.as_str()));
        let judged = verdict_specs(python.is_some()).into_iter().chain(usable(shape.cloned().collect()));
        let surroundings = Surroundings { python, limits };
        // A chain that judges no answer needs no reward, which a set has at least one of.
        let build = |specs: Vec<RewardSpec>| match specs.as_slice() {
            [] => Ok(RewardSet::from_rewards(Vec::new())),
            specs => known.build(specs, &surroundings),
        };
        let verdict = build(judged.collect())?;
        let of_recipe = build(usable(specs))?;
        let rewards = of_recipe.reweighed(&BTreeMap::new());
        Ok(Bench { tasks, of_recipe, rewards, verdict })
    }

    /// From now on tasks and weights of rewards are those of this stage.
    pub(super) fn turn_to(&mut self, stage: &Stage) {
        self.tasks.practise(stage.families.as_ref());
        self.rewards = self.of_recipe.reweighed(&stage.reward_weights);
    }
}

/// Right or not, and nothing else: what pass@1 counts. Programs are judged where there is a Python to run them.
pub(crate) fn verdict(python: Option<Arc<Python>>, limits: Limits) -> anyhow::Result<RewardSet> {
    Ok(RewardSet::build_limited(&verdict_specs(python.is_some()), python, limits)?)
}

fn verdict_specs(python: bool) -> Vec<RewardSpec> {
    let names: &[&str] = if python { &["accuracy", "binary_code"] } else { &["accuracy"] };
    names.iter().map(|name| RewardSpec::named(*name)).collect()
}

/// Reads the rewards that the recipe brings along as files, so that a wrong one is found before there is a run.
pub(crate) fn check_rewards(recipe: &Recipe, cache_dir: &Path) -> anyhow::Result<()> {
    let specs: Vec<RewardSpec> = recipe.reward_specs().into_iter().filter(|spec| spec.custom.is_some()).collect();
    if specs.is_empty() {
        return Ok(());
    }
    let known = &recipe.known_rewards;
    let python = known.need_python(&specs, false).then(|| Python::prepare(cache_dir, &mut |_| {})).transpose();
    let python = python.context("cannot prepare the Python sandbox")?.map(Arc::new);
    known.build(&specs, &Surroundings { python, limits: Limits::default() })?;
    Ok(())
}

/// Python from the cache, or made now, with a bar for those who wait.
pub(crate) fn prepare_python(reporter: &Reporter, interrupt: &Interrupt, cache_dir: &Path) -> anyhow::Result<Python> {
    let _awaiting = interrupt.awaiting("the Python sandbox is prepared");
    let phase = reporter.phase("Python sandbox", Some(sandbox::PrepareStep::ALL.len() as u64), "steps");
    let python = Python::prepare(cache_dir, &mut |step| {
        phase.set_position(step.index() as u64);
        phase.set_message(&step.to_string());
    })
    .context("cannot prepare the Python sandbox")?;
    phase.finish("");
    Ok(python)
}

/// The policy in a folder, at `place`.
pub(crate) fn load_policy(folder: &Path, place: &Place) -> anyhow::Result<Policy> {
    let context = || format!("cannot use the model in {}", folder.display());
    // Tokenizer and configuration may have been changed by a person; numbers have not.
    verify_where(folder, |name| name.ends_with(".safetensors")).with_context(context)?;
    let mut policy = Policy::load(folder).with_context(context)?;
    policy.to_place(place).with_context(context)?;
    Ok(policy)
}

/// A policy and its tokenizer.
pub(crate) struct Model {
    pub(crate) policy: Policy,
    pub(crate) tokenizer: Tokenizer,
}

impl Model {
    /// Reads a Hugging Face folder; the policy lives at `place`.
    pub(crate) fn load(folder: &Path, place: &Place) -> anyhow::Result<Model> {
        let context = || format!("cannot use the model in {}", folder.display());
        let policy = load_policy(folder, place)?;
        let tokenizer = Tokenizer::from_dir(folder).with_context(context)?;
        anyhow::ensure!(
            tokenizer.vocab_size() <= policy.config().vocab_size,
            "the tokenizer in {} has {} tokens, the model {}",
            folder.display(),
            tokenizer.vocab_size(),
            policy.config().vocab_size
        );
        Ok(Model { policy, tokenizer })
    }

    /// A new model; the policy lives at `place`.
    pub(super) fn new(mut policy: Policy, tokenizer: Tokenizer, place: &Place) -> anyhow::Result<Model> {
        policy.to_place(place)?;
        Ok(Model { policy, tokenizer })
    }

    /// Writes a Hugging Face folder: weights, configuration, tokenizer.
    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        self.policy.save(folder)?;
        self.tokenizer.save(folder)?;
        Ok(())
    }
}
