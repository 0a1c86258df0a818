//! The stages of a run, in order, each from where the run folder says that it stopped.
//!
//! ```text
//! pretrain   makes a base: tokenizer and policy from generated worked text; cached
//! sft        learns from demonstrations; `distill` from those of a teacher
//! grpo       reinforcement learning: sample, grade, update
//! reject     samples answers, and keeps the right and readable ones as demonstrations
//! eval       examines the policy on held-out tasks
//! export     writes the policy as a model folder with a card
//! ```
//! [`Bench`] holds what they share: tasks, rewards, the tokenizer. The policy goes from stage to stage as a folder on
//! disk, so that a resumed run finds it where the interrupted one left it.

mod ask;
mod bench;
mod context;
mod demonstrations;
mod draws;
mod eval;
mod export;
mod grade;
mod grpo;
mod passes;
mod pretrain;
mod prompt;
mod reject;
mod sft;
mod start;
mod tasks;
mod trainer;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;

use crate::config::{BASE, DataSource, ModelSettings, StageSettings};
use crate::run::StageRecord;

pub(crate) use ask::DECODE_BATCH;
use bench::Bench;
pub(crate) use bench::{check_rewards, prepare_python, prepare_python_with, verdict};
pub use context::{RunContext, StagesOutcome};
pub(crate) use draws::Draws;
pub(crate) use export::check_targets;
pub(crate) use grade::{Graded, Grader, Spent};
pub(crate) use passes::Passes;
pub(crate) use pretrain::TOKENIZER_SECONDS;
#[cfg(test)]
pub(crate) use prompt::sentence_piece;
pub(crate) use prompt::{PromptEncoder, chat_options, only_question, opening_of, with_system};
pub(crate) use reject::candidate_positions;
pub(crate) use start::{Refused, check_fit, check_model};
pub(crate) use tasks::{HELD_OUT_SEED, Tasks};

/// How a stage ended.
enum Ended {
    /// It did all that it was to do; the policy lies in this folder.
    Done(PathBuf),
    /// It was asked to stop; what it has done until then, as far as it is kept.
    Interrupted(StageRecord),
}

/// Runs the recipe's stages in order, from where the run folder says that it stopped.
///
/// # Errors
/// If a stage fails. What was done before is in the run folder.
pub(crate) fn run(context: &mut RunContext<'_>, tasks: Tasks) -> anyhow::Result<StagesOutcome> {
    let recipe = context.recipe;
    let mut bench = Bench::prepare(context, tasks)?;
    let mut outcome = StagesOutcome::default();
    // The policy that each stage hands on, by the stage's name.
    let mut policies = BTreeMap::new();
    if let ModelSettings::Folder { path } = &recipe.model {
        policies.insert(BASE, start::given_model(context, path)?);
    }
    let mut last = policies.get(BASE).cloned();
    let mut rl_steps = 0;
    let mut prompts_fit = false;
    let draws = Draws::of_stages(recipe, &mut bench.tasks);
    for (place, stage) in recipe.stages.iter().enumerate() {
        let from = match &stage.model {
            Some(ModelSettings::Folder { path }) => Some(path.clone()),
            _ => policies.get(recipe.origin(place)).cloned(),
        };
        let model = || from.clone().with_context(|| format!("stage `{}` has no model to start from", stage.name));
        let done = context.run.is_done(&stage.name)?;
        if let (Some(model), false) = (&from, prompts_fit) {
            start::check_prompts(recipe, &bench.tasks, model)?;
            prompts_fit = true;
        }
        bench.turn_to(stage);
        let ended = match &stage.settings {
            StageSettings::Pretrain(settings) if done => Ended::Done(pretrain::restored(context, stage, settings)?),
            StageSettings::Pretrain(settings) => pretrain::run(context, stage, settings)?,
            // A stage that trains is entered also when it is done: it finds its last checkpoint, or, if that is damaged,
            // goes back to the one before.
            StageSettings::Grpo(settings) => {
                let ended = grpo::run(context, &bench, draws[place], stage, settings, &model()?)?;
                rl_steps += settings.steps;
                ended
            }
            StageSettings::Sft(settings) | StageSettings::Distill(settings) => {
                let files: Vec<PathBuf> = stage
                    .data
                    .iter()
                    .map(|source| match source {
                        DataSource::Stage(name) => context.run.data(name),
                        DataSource::File(path) => path.clone(),
                    })
                    .collect();
                sft::run(context, stage, settings, &model()?, &files)?
            }
            StageSettings::Reject(sampling) => {
                let model = model()?;
                if !done {
                    context.run.check_model(&model)?;
                }
                reject::run(context, &bench, draws[place], stage, sampling, &model)?
            }
            StageSettings::Eval {} if done => Ended::Done(model()?),
            StageSettings::Eval {} => eval::run(context, &bench, stage, rl_steps, &model()?)?,
            StageSettings::Export(settings) if done && export::target(context, settings).exists() => {
                Ended::Done(model()?)
            }
            StageSettings::Export(settings) => {
                let model = model()?;
                context.run.check_model(&model)?;
                export::run(context, stage, settings, &model)?
            }
        };
        match ended {
            Ended::Done(folder) => {
                if place == 0 {
                    policies.entry(BASE).or_insert_with(|| folder.clone());
                }
                policies.insert(&stage.name, folder.clone());
                last = Some(folder);
                if context.until.as_ref() == Some(&stage.name) && place + 1 < recipe.stages.len() {
                    outcome.stopped_after = Some(stage.name.clone());
                    break;
                }
            }
            Ended::Interrupted(record) => {
                outcome.interrupted = Some(record);
                break;
            }
        }
    }
    if let Some(folder) = last {
        let config = policy::ModelConfig::from_file(folder.join("config.json"))?;
        let (total, active) = config.parameters();
        (outcome.parameters, outcome.active_parameters) = (total as u64, active as u64);
    }
    Ok(outcome)
}
