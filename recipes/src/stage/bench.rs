//! What the stages share: the tasks, and the rewards with their Python.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rewards::{OnError, PythonUse, RewardSet, RewardSpec, Surroundings};
use sandbox::{Limits, Packages, Python};

use super::RunContext;
use super::tasks::Tasks;
use crate::config::{JUDGES, Recipe, Stage};
use crate::{Interrupt, Reporter};

/// Tasks and rewards, ready to use.
pub(super) struct Bench {
    pub(super) tasks: Tasks,
    /// What the recipe rewards.
    of_recipe: RewardSet,
    /// The same for stages whose own limit of length makes them another.
    of_stages: BTreeMap<String, RewardSet>,
    /// The same, as the stage at hand weighs it.
    pub(super) rewards: RewardSet,
    /// Right or not, which is what pass@1 counts; and what else the recipe rewards, which is reported.
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
        let within = |limit: usize| usable(if grades { recipe.reward_specs_within(limit) } else { Vec::new() });
        let judged = examination_specs(within(recipe.eval_max_new_tokens()), python.is_some());
        let surroundings = Surroundings { python, limits };
        // A chain that judges no answer needs no reward, which a set has at least one of.
        let build = |specs: Vec<RewardSpec>| match specs.as_slice() {
            [] => Ok(RewardSet::from_rewards(Vec::new())),
            specs => known.build(specs, &surroundings),
        };
        let verdict = build(judged)?;
        let specs = usable(specs);
        let mut of_stages = BTreeMap::new();
        for stage in &recipe.stages {
            let Some(of_stage) = stage.settings.max_new_tokens().map(within) else { continue };
            if of_stage != specs {
                of_stages.insert(stage.name.clone(), build(of_stage)?);
            }
        }
        let of_recipe = build(specs)?;
        let rewards = of_recipe.reweighed(&BTreeMap::new());
        Ok(Bench { tasks, of_recipe, of_stages, rewards, verdict })
    }

    /// From now on tasks and weights of rewards are those of this stage.
    pub(super) fn turn_to(&mut self, stage: &Stage) {
        self.tasks.practise(stage.families.as_ref());
        self.rewards = self.of_stages.get(&stage.name).unwrap_or(&self.of_recipe).reweighed(&stage.reward_weights);
    }
}

/// Right or not, and nothing else: what pass@1 counts. Programs are judged where there is a Python to run them.
pub(crate) fn verdict(python: Option<Arc<Python>>, limits: Limits) -> anyhow::Result<RewardSet> {
    Ok(RewardSet::build_limited(&judges_beside(&[], python.is_some()), python, limits)?)
}

/// What judges answers that none of `own` judges: `accuracy`, and programs `binary_code` where there is a Python to run them.
fn judges_beside(own: &[RewardSpec], python: bool) -> Vec<RewardSpec> {
    let has = |name: &str| own.iter().any(|spec| spec.custom.is_none() && spec.name == name);
    let programs = python && !has("binary_code") && !has("code");
    let names = [("accuracy", !has("accuracy")), ("binary_code", programs)];
    names.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| RewardSpec::named(name)).collect()
}

/// What examinations score by. First the judges of the recipe, so that an answer that is right in training is right here; then
/// those for tasks that the recipe has no judge for, which count for nothing else; then its other rewards, which are reported.
/// One of those that fails is left out of what is reported, and does not end the run.
fn examination_specs(of_recipe: Vec<RewardSpec>, python: bool) -> Vec<RewardSpec> {
    let is_judge = |spec: &RewardSpec| spec.custom.is_none() && JUDGES.contains(&spec.name.as_str());
    let (own, mut others): (Vec<_>, Vec<_>) = of_recipe.into_iter().partition(is_judge);
    let beside = judges_beside(&own, python).into_iter().map(|spec| RewardSpec { weight: 0.0, ..spec });
    for custom in others.iter_mut().filter_map(|spec| spec.custom.as_mut()) {
        custom.on_error = OnError::Unscored;
    }
    let beside: Vec<RewardSpec> = beside.collect();
    [own, beside, others].concat()
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
    prepare_python_with(&Packages::default(), reporter, cache_dir)
}

/// The same with packages.
pub(crate) fn prepare_python_with(
    packages: &Packages,
    reporter: &Reporter,
    cache_dir: &Path,
) -> anyhow::Result<Python> {
    let phase = reporter.phase("Python sandbox", Some(sandbox::PrepareStep::ALL.len() as u64), "steps");
    let python = Python::prepare_with(cache_dir, packages, &mut |step| {
        phase.set_position(step.index() as u64);
        phase.set_message(&step.to_string());
    })
    .context("cannot prepare the Python sandbox")?;
    phase.finish("");
    Ok(python)
}

#[cfg(test)]
mod tests {
    use datasets::{Split, Task};
    use rewards::CustomReward;

    use super::super::grade::right_by;
    use super::*;

    /// The judges of a recipe, then those it lacks, which count for nothing; then the rest.
    #[test]
    fn examinations_judge_as_training_does() {
        #[track_caller]
        fn check(rewards: &[&str], python: bool, expected: &[(&str, f64)]) {
            let specs = rewards.iter().map(|name| RewardSpec { weight: 2.0, ..RewardSpec::named(*name) }).collect();
            let found = examination_specs(specs, python);
            let found: Vec<(&str, f64)> = found.iter().map(|spec| (spec.name.as_str(), spec.weight)).collect();
            assert_eq!(found, expected);
        }
        check(&["accuracy", "binary_code"], true, &[("accuracy", 2.0), ("binary_code", 2.0)]);
        check(&["format", "choice"], false, &[("choice", 2.0), ("accuracy", 0.0), ("format", 2.0)]);
        check(&["choice", "code"], true, &[("choice", 2.0), ("code", 2.0), ("accuracy", 0.0)]);
        check(&["accuracy", "format"], true, &[("accuracy", 2.0), ("binary_code", 0.0), ("format", 2.0)]);
        check(&["format"], false, &[("accuracy", 0.0), ("format", 2.0)]);
        // A reward of one's own is reported and ends no run, whatever it is called.
        let own = RewardSpec { custom: Some(CustomReward::at(Path::new("mine.py"))), ..RewardSpec::named("mine") };
        let found = examination_specs(vec![own], false);
        assert_eq!(found.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["accuracy", "mine"]);
        assert_eq!(found[1].custom.as_ref().map(|custom| custom.on_error), Some(OnError::Unscored));
    }

    /// The answer "Paris" to a question whose choice B it is.
    #[test]
    fn a_choice_that_is_right_in_training_is_right_before_and_after() {
        let prompt = "What is the capital of France?\nA. Lyon\nB. Paris\nAnswer with the letter of the right choice.";
        let reference = rewards::Reference::Math { answer: "B".to_owned() };
        let task = Task::new("mmlu", prompt.to_owned(), reference, Split::Held, serde_json::Map::new());
        let right = |specs: &[RewardSpec], answer: &str| {
            let text = format!("<think> France </think> <answer> {answer} </answer>");
            right_by(&RewardSet::build(specs, None).unwrap().score(&task.sample(&text)).unwrap())
        };
        let trained = [RewardSpec::named("choice")];
        let examined = examination_specs(trained.to_vec(), false);
        for (answer, expected) in [("Paris", true), ("B", true), ("A", false), ("Lyon", false)] {
            assert_eq!(right(&trained, answer), Some(expected), "{answer}");
            assert_eq!(right(&examined, answer), Some(expected), "{answer}");
        }
    }
}
