//! `recipe run --dry-run`: what a recipe would do and what it would take, without doing it.
//!
//! Answers are counted as long as they may be, nothing dropped; prompts and demonstrations in files are estimated from their
//! letters. Time is the tokens over the rates of this machine's processor, with every pass that a run counts in its own estimate
//! of floating-point operations (`stage::Passes`); what it leaves out (`LEFT_OUT`) is said. A small model is made and timed for
//! a moment; for a larger one, or one that is not here, a rate is assumed, and it is said so. What depends on files that are not
//! here is not known, nor is it said to be nothing.

mod rates;
mod work;

use std::fmt::Write;

use anyhow::Context;
use policy::{ModelConfig, Track};

use crate::config::{ModelSettings, Recipe};
use crate::hub::hub_name;
use crate::progress::{Reporter, duration_text};
use crate::stage::{self, Passes, Tasks};
use crate::table::{bytes_text, count_text};
use crate::wording::counted;
use rates::{Rates, USUAL_SIZE, configuration, missing_size, rates};
use work::work;

/// What times do not count. Rates are those of short texts.
const LEFT_OUT: &str = "times leave out the preparing of the sandbox, the grading of answers, the writing of checkpoints, and what \
                        attention takes for texts of more than some hundred tokens";

/// Which stages are planned: from one on, up to one; none is the first, or the last.
#[derive(Clone, Copy, Default)]
pub struct Span<'a> {
    /// The first; those before it are taken over from an earlier run.
    pub from: Option<&'a str>,
    /// The last.
    pub until: Option<&'a str>,
}

/// A model of the recipe's.
struct Planned<'a> {
    model: &'a ModelSettings,
    /// None where its folder is not here.
    config: Option<ModelConfig>,
    rates: Rates,
}

/// What the stages take together.
#[derive(Default)]
struct Total {
    seconds: f64,
    /// Whether more of it depends on files that are not here.
    is_open: bool,
}

/// The plan, as text. What there is to say of task files goes to the reporter, as in a run.
///
/// # Errors
/// If the model's configuration cannot be read, or a model cannot be timed; if a run would refuse the tasks, where it is to
/// write, or what stages say of the model.
pub fn render(recipe: &Recipe, threads: usize, span: Span<'_>, reporter: &Reporter) -> anyhow::Result<String> {
    stage::check_targets(recipe)?;
    stage::check_fit(recipe)?;
    let are_here = recipe.task_files().all(|path| path.is_file());
    let tasks = if are_here { Some(Tasks::read(recipe, reporter)?) } else { None };
    let models = models(recipe, threads)?;
    let mut text = format!("{}: {}\n\n", recipe.name, recipe.description);
    let total = stages(&mut text, recipe, span, &models, tasks.as_ref())?;
    text.push_str(&total_line(&total, threads));
    text.push_str(&missing_files(recipe));
    for planned in &models {
        text.push_str(&model_line(recipe, planned));
    }
    text.push_str(
        "answers are counted as long as they may be; prompts and demonstrations are estimated from their letters\n",
    );
    let _ = writeln!(text, "{LEFT_OUT}\nnothing was started");
    Ok(text)
}

/// Each model once, timed or not.
fn models(recipe: &Recipe, threads: usize) -> anyhow::Result<Vec<Planned<'_>>> {
    let mut models: Vec<Planned<'_>> = Vec::new();
    let all = std::iter::once(&recipe.model).chain(recipe.stages.iter().filter_map(|stage| stage.model.as_ref()));
    for model in all {
        if !models.iter().any(|known| known.model == model) {
            let config = configuration(recipe, model)?;
            let rates = rates(model, config.as_ref(), missing_size(recipe, model), threads)?;
            models.push(Planned { model, config, rates });
        }
    }
    Ok(models)
}

/// A line for each stage.
fn stages(
    text: &mut String,
    recipe: &Recipe,
    span: Span<'_>,
    models: &[Planned<'_>],
    tasks: Option<&Tasks>,
) -> anyhow::Result<Total> {
    let _ = writeln!(
        text,
        "{:20}  {:8}  {:18}  {:>8}  {:>8}  {:>8}  what",
        "stage", "kind", "begins with", "sampled", "trained", "time"
    );
    let place_of = |name: &str| recipe.stages.iter().position(|stage| stage.name == name);
    let first = span.from.and_then(place_of).unwrap_or(0);
    let last = span.until.and_then(place_of).unwrap_or(recipe.stages.len());
    let mut total = Total::default();
    for (place, stage) in recipe.stages.iter().enumerate().filter(|(place, _)| (first..=last).contains(place)) {
        let model = recipe.model_at(place);
        let Planned { config, rates, .. } =
            models.iter().find(|known| known.model == model).context("every model is planned")?;
        let mut work = work(recipe, stage, tasks)?;
        if let Some(lora) = &stage.lora {
            let _ = write!(work.what, ", LoRA of rank {}", lora.rank);
            if let Some(config) = config {
                let trained = lora.adapters().parameters(config)?;
                let _ = write!(work.what, ": {} numbers", count_text(trained as u64));
            }
        }
        // In tokens that are trained on: looking at one is the first third of that.
        let trained = work.passes.flops(1) / Passes::training(1, Track::Gradients).flops(1);
        let seconds = work.seconds + work.sampled as f64 / rates.sampled + trained / rates.trained;
        total.seconds += seconds;
        total.is_open |= work.is_open;
        let tokens = |count: u64| if count == 0 { "-".to_owned() } else { count_text(count) };
        let kind = stage.settings.kind();
        let _ = writeln!(
            text,
            "{:20}  {kind:8}  {:18}  {:>8}  {:>8}  {:>8}  {}",
            stage.name,
            if kind == "pretrain" { "nothing" } else { recipe.origin(place) },
            tokens(work.sampled),
            tokens(work.trained),
            match (seconds > 0.0, work.is_open) {
                (true, _) => duration_text(seconds),
                (false, true) => "?".to_owned(),
                (false, false) => "-".to_owned(),
            },
            work.what
        );
    }
    Ok(total)
}

fn total_line(total: &Total, threads: usize) -> String {
    let on = counted(threads, "thread", "threads");
    let time = duration_text(total.seconds);
    let files = "files that are not here or cannot be read";
    match (total.seconds > 0.0, total.is_open) {
        (_, false) => format!("\nabout {time} in all on {on}\n"),
        (true, true) => format!("\nabout {time} on {on}, without what depends on {files}: that is not known\n"),
        (false, true) => format!("\nhow long it takes on {on} is not known: it depends on {files}\n"),
    }
}

/// What a model is and takes; of one that is not here, what is assumed.
fn model_line(recipe: &Recipe, planned: &Planned<'_>) -> String {
    let Planned { model, config, rates } = planned;
    let name = match model {
        ModelSettings::Folder { path } => path.display().to_string(),
        ModelSettings::Shape(_) => "a new deepseek_v3".to_owned(),
        ModelSettings::Dense(_) => "a new dense model".to_owned(),
    };
    let Some(config) = config else {
        let size = match missing_size(recipe, model) {
            Some(size) => format!("times are those of the {} parameters that its name says", count_text(size as u64)),
            None => format!(
                "its size is not known and times are those of a model of {} parameters",
                count_text(USUAL_SIZE as u64)
            ),
        };
        return format!("{name}: not here, so {size}\n  hint: a folder on this machine: --model DIR\n");
    };
    let (parameters, active) = config.parameters();
    let how = if rates.measured { "measured just now" } else { "assumed, not measured" };
    format!(
        "{name}: {} parameters, {} for each token; memory from {} to train, without activations; {:.0} tokens/s sampled, \
         {:.0} trained ({how})\n",
        count_text(parameters as u64),
        count_text(active as u64),
        bytes_text(config.memory(256, 256).train),
        rates.sampled,
        rates.trained
    )
}

/// The files that are not here, each on a line; data sets of the Hub are fetched when a run begins.
fn missing_files(recipe: &Recipe) -> String {
    let mut text = String::new();
    let tasks = recipe.task_files().map(|path| (path, "tasks"));
    let data = recipe.data_files().map(|path| (path, "demonstrations"));
    for (path, what) in tasks.chain(data).filter(|(path, _)| !path.is_file()) {
        let of_hub = what == "tasks" && matches!(hub_name(path), Ok(Some(_)));
        let why = if of_hub { "a data set of the Hub, fetched when a run begins" } else { "not here" };
        let _ = writeln!(text, "{}: {why} ({what})", path.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SHIPPED;
    use crate::progress::Verbosity;

    fn silent() -> Reporter {
        Reporter::new(Verbosity::Silent)
    }

    #[test]
    fn every_shipped_recipe_has_a_plan() {
        for shipped in SHIPPED {
            let recipe = shipped.recipe(&[]).unwrap();
            let text = render(&recipe, 1, Span::default(), &silent())
                .unwrap_or_else(|error| panic!("{}: {error:#}", shipped.name));
            for stage in &recipe.stages {
                assert!(text.contains(&format!("\n{} ", stage.name)), "{text}");
            }
            let is_whole = recipe.data_files().next().is_none();
            assert_eq!(text.contains(" in all on 1 thread\n"), is_whole, "{text}");
            assert!(text.contains(" on 1 thread") && text.contains("nothing was started"), "{text}");
        }
    }

    #[test]
    fn what_is_not_here_is_not_said_to_take_no_time() {
        let text = "[model]\npath = \"none/Qwen2.5-0.5B\"\n[tasks]\nfiles = [\"none.jsonl\", \"openai/gsm8k\"]\n\
                    [[stage]]\nkind = \"sft\"\ndata = [\"shown.jsonl\"]\n";
        let plan = |text: &str| {
            let recipe = Recipe::parse("x.toml", text, &[]).unwrap();
            render(&recipe, 1, Span::default(), &silent()).unwrap()
        };
        let learned = plan(text);
        for part in [
            "how long it takes on 1 thread is not known",
            "\nnone.jsonl: not here (tasks)\n",
            "\nopenai/gsm8k: a data set of the Hub, fetched when a run begins (tasks)\n",
            "\nshown.jsonl: not here (demonstrations)\n",
            "not here, so times are those of the 500.0M parameters that its name says",
        ] {
            assert!(learned.contains(part), "{part}: {learned}");
        }
        let both = plan(&format!("{text}[[stage]]\nkind = \"eval\"\n"));
        assert!(both.contains(" on 1 thread, without what depends on files that are not here"), "{both}");
    }

    #[test]
    fn a_model_that_is_here_is_refused_as_a_run_would() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().display();
        let shape = crate::config::ModelShape::default().hf_config(512);
        std::fs::write(folder.path().join("config.json"), shape.to_string()).unwrap();
        crate::stage::sentence_piece("{{ raise_exception('not this') }}").save(folder.path()).unwrap();
        let plan = |stage: &str| {
            let text =
                format!("[model]\npath = '{name}'\n[[stage]]\nkind = \"sft\"\ndata = [\"none.jsonl\"]\n{stage}\n");
            render(&Recipe::parse("x.toml", &text, &[]).unwrap(), 1, Span::default(), &silent())
        };
        plan("").unwrap();
        let error = plan("template = \"chat\"").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: stage `sft` cannot use its chat template: ")), "{error}");
        // Without the folder there is a plan, as for any model that is not here.
        std::fs::remove_file(folder.path().join("config.json")).unwrap();
        plan("template = \"chat\"").unwrap();
    }

    #[test]
    fn a_part_of_a_recipe_has_a_plan_of_its_own() {
        let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&[]).unwrap();
        let from = render(&recipe, 1, Span { from: Some("grpo"), until: Some("grpo") }, &silent()).unwrap();
        assert!(from.contains("\ngrpo ") && !from.contains("\nbefore ") && !from.contains("\nafter "), "{from}");
    }

    #[test]
    fn files_that_are_here_are_counted_and_refused_as_a_run_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jsonl");
        let plan = |rows: &str| {
            std::fs::write(&path, rows).unwrap();
            let file = format!("tasks.files=['{}']", path.display());
            let recipe = crate::config::find_shipped("smoke").unwrap().recipe(&[file]).unwrap();
            render(&recipe, 1, Span::default(), &silent())
        };
        let row = |number: usize, split: &str| {
            format!("{{\"question\": \"{number}?\", \"answer\": \"2\", \"split\": \"{split}\"}}\n")
        };
        let train: String = (0..8).map(|number| row(number, "train")).collect();
        // As many are examined as the rows say, and not as many as the recipe asks for.
        let text = plan(&(train.clone() + &row(8, "test") + &row(9, "test"))).unwrap();
        assert!(text.contains("  2 held-out tasks, 2 samples"), "{text}");
        let error = plan(&row(0, "test")).unwrap_err().to_string();
        assert!(
            error
                .contains("no task is left to train on\n  hint: all 1 are held out, by the split that their rows name"),
            "{error}"
        );
        assert!(plan(&(train + "{\"question\": 1}\n")).is_err());
    }
}
