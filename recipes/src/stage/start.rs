//! What is looked at before the first completion is sampled: the model that was given, and prompts that are too long.

use std::path::{Path, PathBuf};

use anyhow::Context;
use datasets::Task;
use policy::checkpoint::{CheckpointWriter, latest_valid, remove_partial, verify};
use policy::{ModelConfig, Place, Tokenizer};
use rayon::prelude::*;

use super::RunContext;
use super::prompt::PromptEncoder;
use super::tasks::Tasks;
use crate::config::{ModelSettings, Recipe, RecipeError, Stage, StageSettings};
use crate::model::Model;
use crate::run::{Unusable, belongs_to_model};
use crate::wording::counted;

/// What was given cannot be used, and resuming would meet it again; why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(String);

impl Refused {
    pub(super) fn because(message: String) -> anyhow::Error {
        Refused(message).into()
    }
}

/// Reads the model that the recipe names, if it names one, so that a bad one is found before there is a run.
pub(crate) fn check_model(recipe: &Recipe) -> anyhow::Result<()> {
    if let ModelSettings::Folder { path } = &recipe.model {
        Model::load(path, &Place::Cpu)?;
    }
    for folder in recipe.other_models() {
        Model::load(folder, &Place::Cpu)?;
    }
    check_fit(recipe)?;
    // What cannot be read is found now rather than after the stages before it; encoding waits for the tokenizer.
    for file in recipe.data_files() {
        if !file.is_file() {
            let error = RecipeError::new(file.display().to_string(), "there is no such file of demonstrations");
            return Err(error.hint("name yours: --set 'STAGE.data=[\"FILE\"]'").into());
        }
        datasets::source::read_demonstrations(file, recipe.tasks.on_bad_line.into())?;
    }
    Ok(())
}

/// That what stages say of the models in folders fits them, as far as these are here.
pub(crate) fn check_fit(recipe: &Recipe) -> anyhow::Result<()> {
    check_adapters(recipe)?;
    check_chat_templates(recipe)
}

/// Whether a folder holds a model.
fn is_here(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// That the adapters of stages fit the models in folders; those of new models were looked at when the recipe was read.
fn check_adapters(recipe: &Recipe) -> anyhow::Result<()> {
    for (place, _) in recipe.stages.iter().enumerate().filter(|(_, stage)| stage.lora.is_some()) {
        let Some(path) = recipe.model_at(place).folder().filter(|folder| is_here(folder)) else { continue };
        let path = path.join("config.json");
        let config = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        recipe.check_lora(place, &config).map_err(|problem| {
            RecipeError::from_problem(recipe.name.as_str(), problem, None)
                .hint(format!("the model is that in {}", path.display()))
        })?;
    }
    Ok(())
}

/// That the chat templates which stages use are there, and take a question.
fn check_chat_templates(recipe: &Recipe) -> anyhow::Result<()> {
    for (stage, folder) in recipe.chats() {
        let Some(folder) = folder.filter(|folder| is_here(folder)) else { continue };
        let refused = |error: &dyn std::fmt::Display| {
            RecipeError::new(
                folder.display().to_string(),
                format!("stage `{}` cannot use its chat template: {error}", stage.name),
            )
            .hint("template = \"r1-zero\" needs none")
        };
        let tokenizer = Tokenizer::from_dir(folder)?;
        PromptEncoder::chat(&tokenizer, &recipe.tasks.system_prompt).map_err(|error| refused(&format!("{error:#}")))?;
    }
    Ok(())
}

/// The run's own copy of the model in `folder`: made when the run begins, and what it works with from then on, whatever
/// becomes of the folder.
pub(super) fn given_model(context: &RunContext<'_>, folder: &Path) -> anyhow::Result<PathBuf> {
    let base = context.run.base();
    match verify(&base) {
        Ok(_) => return Ok(base),
        Err(error) if !context.run.metrics()?.is_empty() || context.run.holds_work() => {
            let base = base.display();
            let what = format!("{base} is damaged or gone ({error}): it is the model that this run began with");
            return Err(Unusable::put_back(what, "put it back").into());
        }
        Err(_) => {}
    }
    let writer = CheckpointWriter::begin(&base)?;
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read the model in {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read the model in {}", folder.display()))?;
        if entry.file_name().to_str().is_some_and(belongs_to_model) {
            let from = entry.path();
            std::fs::copy(&from, writer.path().join(entry.file_name()))
                .with_context(|| format!("cannot copy {} to {}", from.display(), base.display()))?;
        }
    }
    writer.finish()?;
    Ok(base)
}

/// The model in a folder that a stage begins with, or whose answers it takes. One that lies outside of the run must be what
/// it was when the run began: it is read where it lies, perhaps long after that, and again where the stage is resumed.
pub(super) fn load(context: &RunContext<'_>, folder: &Path) -> anyhow::Result<Model> {
    context.run.check_model(folder)?;
    Model::load(folder, &context.place)
}

/// The newest checkpoint of a stage that is whole. What a killed process left unfinished is removed, and what is damaged is
/// said.
pub(super) fn newest_checkpoint(context: &RunContext<'_>, stage: &Stage) -> anyhow::Result<Option<PathBuf>> {
    let root = context.run.checkpoints(&stage.name);
    remove_partial(&root)?;
    let found = latest_valid(&root)?;
    for (path, reason) in &found.rejected {
        context.reporter.note(&format!("{} is damaged and not used: {reason}", path.display()));
    }
    if found.path.is_none() {
        let lost = context.run.last_step(&stage.name)?;
        if lost > 0 {
            let are = if lost == 1 { "is" } else { "are" };
            let steps = counted(lost as usize, "step", "steps");
            context.reporter.note(&format!("no checkpoint is left: {} begins anew ({steps} {are} lost)", stage.name));
        }
    }
    Ok(found.path)
}

/// That every prompt of the task files leaves room for an answer.
pub(super) fn check_prompts(recipe: &Recipe, tasks: &Tasks, model: &Path) -> anyhow::Result<()> {
    let Tasks::Files { train, held_out, .. } = tasks else { return Ok(()) };
    let positions = ModelConfig::from_file(model.join("config.json"))?.max_position_embeddings;
    let tokenizer = Tokenizer::from_dir(model)?;
    let encoder = PromptEncoder::of_tasks(&tokenizer, &recipe.tasks)?;
    let trained = recipe.stages.iter().filter_map(|stage| stage.settings.max_new_tokens()).max();
    let examines = recipe.stages.iter().any(|stage| matches!(stage.settings, StageSettings::Eval {}))
        || recipe.grpo().any(|(_, settings)| settings.eval_every > 0);
    let examined = examines.then(|| recipe.eval_max_new_tokens());
    for (tasks, answer) in [(train, trained), (held_out, examined)] {
        let Some(answer) = answer else { continue };
        let room = positions.saturating_sub(answer);
        let lengths = tasks.par_iter().map(|task| Ok((task, encoder.ask(task)?.len())));
        let mut too_long = lengths.collect::<anyhow::Result<Vec<(&Task, usize)>>>()?;
        too_long.retain(|(_, length)| *length > room);
        if let Some((task, length)) = too_long.first() {
            let message = format!(
                "{}: the prompt is too long: its {length} tokens and an answer of up to {answer} do not fit into the \
                 model's {positions} positions ({} of {} prompts are too long)\n  hint: shorten or leave out those \
                 tasks, or lower max_new_tokens, in a new run",
                place(recipe, task),
                too_long.len(),
                tasks.len()
            );
            return Err(Refused(message).into());
        }
    }
    Ok(())
}

/// Where a task stands: its file and number, found by reading the files again.
fn place(recipe: &Recipe, task: &Task) -> String {
    for file in recipe.task_files() {
        let read = datasets::source::read(file, recipe.tasks.on_bad_line.into());
        let number = read.ok().and_then(|read| read.tasks.iter().position(|other| other.id == task.id));
        if let Some(number) = number {
            return format!("{}, task {} ({})", file.display(), number + 1, task.id);
        }
    }
    format!("{}, task {}", task.source, task.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_file_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, question: &str| {
            let path = folder.path().join(name);
            let row = |question: &str| format!("{{\"question\": \"{question}\", \"answer\": \"2\"}}\n");
            std::fs::write(&path, row("1 + 1?") + &row(question)).unwrap();
            path
        };
        let (train, held) = (file("train.jsonl", "3 - 1?"), file("held.jsonl", "4 / 2?"));
        let text = format!(
            "[tasks]\nfiles = ['{}']\nheld_out_files = ['{}']\n[[stage]]\nkind = \"pretrain\"\n",
            train.display(),
            held.display()
        );
        let recipe = Recipe::parse("x.toml", &text, &[]).unwrap();
        for path in [train, held] {
            let task = datasets::source::read(&path, recipe.tasks.on_bad_line.into()).unwrap().tasks.pop().unwrap();
            let said = place(&recipe, &task);
            assert!(said.starts_with(&format!("{}, task 2 (", path.display())), "{said}");
        }
    }

    #[test]
    fn of_a_folder_only_the_model_is_copied() {
        let names = [
            ("config.json", true),
            ("model.safetensors", true),
            ("model-00001-of-00002.safetensors", true),
            ("model.safetensors.index.json", true),
            ("tokenizer.json", true),
            ("tokenizer_config.json", true),
            ("optimizer.safetensors", false),
            ("trainer.json", false),
            ("manifest.json", false),
            ("pytorch_model.bin", false),
        ];
        for (name, expected) in names {
            assert_eq!(belongs_to_model(name), expected, "{name}");
        }
    }
}
