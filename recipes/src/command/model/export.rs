//! `recipe model export`: a checkpoint, or the newest of a run or stage, as a folder for others to use.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use policy::Place;
use policy::checkpoint::step_of;
use rewards::Registry;

use super::super::Wrong;
use super::chosen;
use crate::config::{ExportType, Recipe};
use crate::evaluation::Subject;
use crate::export::{Made, OfRun, write};
use crate::lineage::{Lineage, run_of};
use crate::model::Model;
use crate::progress::Reporter;
use crate::run::{RunDir, read_rows};

#[derive(Args, Debug)]
pub(in crate::command) struct ExportArguments {
    /// A Hugging Face folder, a checkpoint, or the folder of a run or stage (its newest model)
    model: PathBuf,

    /// The folder to write, which must not be there yet
    #[arg(value_name = "FOLDER")]
    target: PathBuf,

    /// How numbers are written: f32, as they were trained, or bf16, as most published models are
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = dtype)]
    dtype: ExportType,
}

fn dtype(text: &str) -> Result<ExportType, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected f32 or bf16".to_owned())
}

pub(super) fn export(arguments: &ExportArguments, known: &Registry, reporter: &Reporter) -> anyhow::Result<String> {
    let ExportArguments { model, target, dtype } = arguments;
    let shown = target.display();
    if target.exists() {
        return Err(
            Wrong(format!("{shown} is there already, and is left as it is\n  hint: name another folder")).into()
        );
    }
    let folder = Subject::named(&chosen(model, reporter)?)?.folder;
    let folder = std::fs::canonicalize(&folder).with_context(|| format!("cannot find {}", folder.display()))?;
    let model = Model::load(&folder, &Place::Cpu)?;
    // Of a run of another version, whose recipe cannot be read any more, the card says nothing.
    let run = run_of(&folder);
    let run = run.and_then(|run| Some((run, Recipe::read_with(&run.join("recipe.toml"), &[], known).ok()?)));
    let of_run = run.as_ref().map(|(run, recipe)| place_in(run, recipe, &folder)).transpose()?.flatten();
    let made = match of_run {
        Some((place, run)) => Made {
            given: run.recipe.model_at(place).folder().map(Path::to_owned),
            lineage: Lineage::of(run.recipe, place),
            run: Some(run),
        },
        None => Made { run: None, lineage: Lineage::carried(&folder), given: Some(folder) },
    };
    write(target, &model, *dtype, &made)?;
    Ok(format!("{shown}\nNext: recipe model sample {shown} 'What is 17 + 25?'; {shown}/README.md says more\n"))
}

/// Which stage's checkpoint lies in this folder of a run, and what is known of how it came about.
fn place_in<'r>(run: &Path, recipe: &'r Recipe, folder: &Path) -> anyhow::Result<Option<(usize, OfRun<'r>)>> {
    let is_its = |name: &str| Some(RunDir::folder_of(run, recipe, "checkpoints", name).as_path()) == folder.parent();
    let Some(place) = recipe.stages.iter().position(|stage| is_its(&stage.name)) else { return Ok(None) };
    let step = step_of(folder).context("a checkpoint is called after its step")?;
    let maker = recipe.stages[place].name.as_str();
    let rows = read_rows(&run.join("metrics.jsonl"))?;
    // A quick evaluation is counted by the steps of all stages.
    let of_stage = rows.iter().filter(|row| row["stage"] == maker && row["kind"] != "eval");
    let last = of_stage.filter_map(|row| row["step"].as_u64()).max();
    let step = Some(step).filter(|step| last.is_some_and(|last| *step < last));
    // What evaluations examine is what the stage left at its end.
    let evaluated = if step.is_none() { recipe.stages.len() } else { place };
    let trained = recipe.template_at(place).is_some();
    Ok(Some((place, OfRun { recipe, done: place + 1, evaluated, maker, step, trained, rows })))
}

#[cfg(test)]
mod tests {
    use policy::checkpoint::CheckpointWriter;
    use policy::{ModelConfig, Policy, Tokenizer};

    use super::*;
    use crate::metrics::{MetricRow, StepMetrics};
    use crate::progress::Verbosity;
    use crate::run::RunInfo;

    fn exported(model: &Path, target: &Path) -> anyhow::Result<String> {
        let arguments =
            ExportArguments { model: model.to_owned(), target: target.to_owned(), dtype: dtype("bf16").unwrap() };
        export(&arguments, &Registry::builtin(), &Reporter::new(Verbosity::Silent))?;
        Ok(std::fs::read_to_string(target.join("README.md")).unwrap())
    }

    #[test]
    fn the_card_of_a_run_says_what_others_can_know() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("hub/models--Qwen--Qwen2.5-0.5B/snapshots/0123");
        let data = root.path().join("data");
        for folder in [&base, &data] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(base.join("README.md"), "---\nlicense: apache-2.0\n---\n").unwrap();
        std::fs::write(data.join("README.md"), "---\nlicense:\n- mit\n---\n").unwrap();
        let text = format!(
            "name = \"mine\"\n[model]\npath = '{}'\n[tasks]\nfiles = ['{}']\n[[rewards]]\nname = \"accuracy\"\n\
             [[stage]]\nkind = \"grpo\"\nname = \"first\"\n[[stage]]\nkind = \"grpo\"\nname = \"second\"\n",
            base.display(),
            data.join("train.jsonl").display()
        );
        let recipe = Recipe::parse("mine.toml", &text, &[]).unwrap();
        let info = RunInfo::collect(0, 1, &[], &[], &[]).unwrap();
        let mut run = RunDir::create(&root.path().join("runs"), None, &recipe, info).unwrap();
        let tokenizer = Tokenizer::train(std::iter::once("What is 17 + 25?".to_owned()), 300).unwrap();
        for (stage, step) in [("first", 1), ("first", 2), ("second", 1)] {
            let metrics = StepMetrics { stage: stage.to_owned(), step, loss: 0.5, ..StepMetrics::default() };
            run.push_metrics(&MetricRow::Step(metrics)).unwrap();
            let writer = CheckpointWriter::begin(run.checkpoint(stage, step)).unwrap();
            let config = ModelConfig::tiny(tokenizer.vocab_size());
            Policy::new(config, step).unwrap().save(writer.path()).unwrap();
            tokenizer.save(writer.path()).unwrap();
            writer.finish().unwrap();
        }
        let target = root.path().join("mine");
        let card = exported(run.path(), &target).unwrap();
        for expected in [
            "base_model: Qwen/Qwen2.5-0.5B",
            "# mine, seed 0",
            "- from the model `Qwen/Qwen2.5-0.5B` (licence: apache-2.0)",
            "- first (grpo)\n- second (grpo)",
            "- tasks: `train.jsonl` (licence: mit)",
            "## In step 1 of `second`, its last\n\nMean reward 0.0000",
            "In R1-Zero's template",
            "recipe model sample mine ",
            "files = [\"train.jsonl\"]",
        ] {
            assert!(card.contains(expected), "{expected} is not in\n{card}");
        }
        assert!(!card.contains(root.path().to_str().unwrap()), "{card}");
        assert!(Policy::load(&target).is_ok() && target.join("training.json").is_file());
        let error = exported(run.path(), &target).unwrap_err();
        assert!(error.is::<Wrong>() && error.to_string().contains("is there already"), "{error}");

        let first = run.checkpoint("first", 1);
        let card = exported(first.parent().unwrap(), &root.path().join("newest-of-first")).unwrap();
        assert!(card.contains("In step 2 of `first`, its last") && !card.contains("- second (grpo)"), "{card}");
        let card = exported(&first, &root.path().join("one")).unwrap();
        assert!(card.contains("In step 1 of `first`\n"), "{card}");
        // A card of a model whose run is not there names the recipe that trained it.
        let card = exported(&target, &root.path().join("again")).unwrap();
        assert!(
            card.contains("# again\n") && card.contains("`mine` (licence not stated), which the recipe mine"),
            "{card}"
        );
    }
}
