//! Writes the policy as a Hugging Face folder for others to use: weights, tokenizer, and a model card.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use policy::Place;
use policy::checkpoint::{CheckpointWriter, Numbers, remove_partial_of};

use super::Ended;
use super::bench::Model;
use super::start::Refused;
use crate::RunContext;
use crate::config::{ExportSettings, ExportType, Recipe, Stage, StageSettings};
use crate::evaluation::{Lineage, Template};
use crate::run::StageRecord;

const CARD: &str = "README.md";

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
    // A folder outside of the run's is not among those that are looked through when the run goes on.
    remove_partial_of(&target)?;
    let writer = CheckpointWriter::begin(&target)?;
    let numbers = match settings.dtype {
        ExportType::F32 => Numbers::F32,
        ExportType::Bf16 => Numbers::Bf16,
    };
    model.policy.save_as(writer.path(), numbers)?;
    model.tokenizer.save(writer.path())?;
    let path = writer.path().join(CARD);
    let place = context.recipe.stages.iter().position(|other| other.name == stage.name);
    let place = place.context("a stage is one of its recipe's")?;
    let lineage = Lineage::of(context.recipe, place);
    std::fs::write(&path, card(context, place, &model, lineage.as_ref())?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(lineage) = lineage {
        lineage.write(writer.path())?;
    }
    writer.finish()?;
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
    let text = recipe.to_toml()?;
    let is_ours = || std::fs::read_to_string(target.join(CARD)).is_ok_and(|card| card.contains(&text));
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

/// The model card of what the stage at `here` writes.
fn card(context: &RunContext<'_>, here: usize, model: &Model, lineage: Option<&Lineage>) -> anyhow::Result<String> {
    let recipe = context.recipe;
    let trained_here = recipe.template_at(here).is_some();
    let (total, active) = model.policy.config().parameters();
    let mut text = String::from("---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n");
    let _ = writeln!(text, "# {}, seed {}\n", recipe.name, recipe.seed);
    if !recipe.description.is_empty() {
        let _ = writeln!(text, "{}\n", recipe.description);
    }
    let _ = writeln!(
        text,
        "{} of {total} parameters, {active} of them used for each token.\n",
        model.policy.config().architecture.name()
    );
    let _ = writeln!(text, "## How it was made\n");
    if let Some(folder) = recipe.model_at(here).folder() {
        let _ = write!(text, "- from the model in `{}`", folder.display());
        if let Some((recipe, seed)) = lineage.filter(|_| !trained_here).map(Lineage::recipe) {
            let _ = write!(text, ", which the recipe {recipe}, seed {seed}, trained");
        }
        text.push('\n');
    }
    // No figures that depend on what was in a cache or taken over, and nothing of later stages, which are done where an
    // export is made again: the same recipe writes the same card.
    let place = |name: &str| recipe.stages.iter().position(|stage| stage.name == name);
    for done in &recipe.stages[..here] {
        let _ = writeln!(text, "- {} ({})", done.name, done.settings.kind());
    }
    let of_this_policy =
        |name: &str| place(name).is_some_and(|place| place < here && recipe.maker(place) == recipe.maker(here));
    let mut evaluations = context.run.evaluations()?;
    evaluations.retain(|eval| !eval.quick && of_this_policy(&eval.stage));
    if let Some(last) = evaluations.last() {
        let _ = writeln!(text, "\n## Held-out tasks, in the evaluation `{}`\n", last.stage);
        let _ = writeln!(text, "| family | pass@1, sampled |\n|---|---|");
        for (name, family) in &last.families {
            let _ = writeln!(text, "| {name} | {} |", family.sampled);
        }
    }
    match lineage.map(Lineage::template) {
        Some(Template::Chat) => {
            let _ = writeln!(text, "\n## How to ask it\n\nIn its tokenizer's chat template.");
            if trained_here && !recipe.tasks.system_prompt.is_empty() {
                let _ = writeln!(text, "\nWith the system message\n\n```text\n{}\n```", recipe.tasks.system_prompt);
            }
        }
        Some(Template::R1Zero) => {
            let _ = writeln!(text, "\n## How to ask it\n");
            let _ = writeln!(text, "In R1-Zero's template, with the question in the place of `QUESTION`:\n");
            let _ = writeln!(text, "```text\n{}\n```", datasets::template::r1_zero("QUESTION"));
        }
        // Of what was trained elsewhere it is not known.
        Some(Template::Plain) | None => {}
    }
    let _ = writeln!(text, "\n## The recipe\n\n```toml\n{}```", recipe.to_toml()?);
    Ok(text)
}
