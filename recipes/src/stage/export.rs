//! Writes the policy as a Hugging Face folder for others to use: weights, tokenizer, and a model card.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use policy::Place;

use super::start::Refused;
use super::{Ended, RunContext};
use crate::config::{ExportSettings, Recipe, Stage, StageSettings};
use crate::export::{self, Made, OfRun};
use crate::lineage::Lineage;
use crate::model::Model;
use crate::run::StageRecord;

/// Where an export is written.
pub(super) fn target(context: &RunContext<'_>, settings: &ExportSettings) -> PathBuf {
    if settings.path.is_empty() { context.run.path().join("export") } else { PathBuf::from(&settings.path) }
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    stage: &Stage,
    settings: &ExportSettings,
    from: &Path,
) -> anyhow::Result<Ended> {
    let start = Instant::now();
    let target = target(context, settings);
    check_unused(context.recipe, stage, &target)?;
    let model = Model::load(from, &Place::Cpu)?;
    let recipe = context.recipe;
    let place = recipe.stages.iter().position(|other| other.name == stage.name);
    let place = place.context("a stage is one of its recipe's")?;
    // Nothing of later stages, which are done where an export is made again.
    let run = OfRun {
        recipe,
        done: place,
        evaluated: place,
        maker: recipe.maker(place),
        step: None,
        trained: recipe.template_at(place).is_some(),
        rows: context.run.metrics()?,
    };
    let given = recipe.model_at(place).folder().map(Path::to_owned);
    let made = Made { run: Some(run), given, lineage: Lineage::of(recipe, place) };
    export::write(&target, &model, settings.dtype, &made)?;
    context.reporter.note(&format!("{}: the policy lies in {}", stage.name, target.display()));
    context.run.finish_stage(StageRecord { seconds: start.elapsed().as_secs_f64(), ..StageRecord::of(stage) })?;
    Ok(Ended::Done(from.to_owned()))
}

/// That the exports of a new run do not write over anything.
pub(crate) fn check_targets(recipe: &Recipe) -> anyhow::Result<()> {
    for stage in &recipe.stages {
        match &stage.settings {
            StageSettings::Export(settings) if !settings.path.is_empty() => {
                check_unused(recipe, stage, Path::new(&settings.path))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// That there is nothing in the place of an export, or what a run of this very recipe wrote there before.
fn check_unused(recipe: &Recipe, stage: &Stage, target: &Path) -> anyhow::Result<()> {
    let mark = export::mark(recipe)?;
    let is_ours = || std::fs::read_to_string(target.join(export::CARD)).is_ok_and(|card| card.contains(&mark));
    if !target.exists() || is_ours() {
        return Ok(());
    }
    Err(Refused::because(format!(
        "{} exists already and is no export of this recipe\n  hint: remove it, or name another folder: path = \"...\" in stage \
         `{}`",
        target.display(),
        stage.name
    )))
}
