//! The stages of a run, in order, each from where the run folder says that it stopped.
//!
//! ```text
//! pretrain   makes a base: tokenizer and policy from generated worked text; cached
//! grpo       reinforcement learning: sample, grade, update
//! eval       examines the policy on held-out tasks
//! ```
//! [`Bench`] holds what they share: tasks, rewards, the tokenizer. The policy goes from stage to stage as a folder on
//! disk, so that a resumed run finds it where the interrupted one left it.

mod bench;
mod eval;
mod grade;
mod grpo;
mod pretrain;
mod start;
mod tasks;
mod trainer;

use std::path::PathBuf;

use anyhow::Context;

use crate::config::{ModelSettings, StageSettings};
use crate::{RunContext, StagesOutcome};

use bench::Bench;
pub(crate) use bench::{Model, PromptEncoder, check_rewards, prepare_python, verdict};
pub(crate) use grade::{Graded, Grader};
pub(crate) use start::{Refused, belongs_to_model, check_model};
pub(crate) use tasks::{HELD_OUT_SEED, Tasks};

/// How a stage ended.
enum Ended {
    /// It did all that it was to do; the policy lies in this folder.
    Done(PathBuf),
    /// It was asked to stop after this step.
    Interrupted(u64),
}

/// Runs the recipe's stages in order, from where the run folder says that it stopped.
///
/// # Errors
/// If a stage fails. What was done before is in the run folder.
pub(crate) fn run(context: &mut RunContext<'_>, tasks: Tasks) -> anyhow::Result<StagesOutcome> {
    let recipe = context.recipe;
    let mut bench = Bench::prepare(context, tasks)?;
    let mut outcome = StagesOutcome::default();
    let mut model = match &recipe.model {
        ModelSettings::Folder { path } => Some(start::given_model(context, path)?),
        ModelSettings::Shape(_) => None,
    };
    let mut rl_steps = 0;
    let mut prompts_fit = false;
    for stage in &recipe.stages {
        let from = || model.clone().with_context(|| format!("stage `{}` has no model to start from", stage.name));
        let done = context.run.is_done(&stage.name)?;
        if let (Some(model), false) = (&model, prompts_fit) {
            start::check_prompts(recipe, &bench.tasks, model)?;
            prompts_fit = true;
        }
        let ended = match &stage.settings {
            StageSettings::Pretrain(_) if done => Ended::Done(context.run.base()),
            StageSettings::Pretrain(settings) => pretrain::run(context, stage, settings)?,
            StageSettings::Grpo(settings) => {
                // A stage that is done is entered all the same: it finds its last checkpoint, or, if that is damaged,
                // goes back to the one before.
                let ended = grpo::run(context, &mut bench, stage, settings, &from()?)?;
                rl_steps += settings.steps;
                ended
            }
            StageSettings::Eval {} if done => Ended::Done(from()?),
            StageSettings::Eval {} => eval::run(context, &mut bench, stage, rl_steps, &from()?)?,
        };
        match ended {
            Ended::Done(folder) => model = Some(folder),
            Ended::Interrupted(step) => {
                outcome.interrupted = Some((stage.name.clone(), step));
                break;
            }
        }
    }
    if let Some(folder) = model {
        let config = policy::ModelConfig::from_file(folder.join("config.json"))?;
        let (total, active) = config.parameters();
        (outcome.parameters, outcome.active_parameters) = (total as u64, active as u64);
    }
    Ok(outcome)
}

/// Estimated floating-point operations: 2 for each parameter that a sampled token goes through, 6 for a trained one
/// (forward 2, backward 4; Kaplan et al., 2020). Attention's own products are left out: they are small at these lengths.
fn flops(active_parameters: usize, sampled: u64, trained: u64) -> f64 {
    active_parameters as f64 * (2.0 * sampled as f64 + 6.0 * trained as f64)
}
