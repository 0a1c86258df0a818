//! The model card: what a model was made of, how good it was at the end, and how to ask it. It is for others, whom the
//! folders of this machine tell nothing: models and data are named as others know them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use policy::config::AttentionKind;
use serde_json::Value;

use crate::config::{DataSource, ModelSettings, Recipe, RecipeError, Stage, StageSettings};
use crate::hash::sha256;
use crate::hub::known_as;
use crate::lineage::{Lineage, Template};
use crate::metrics::{EvalMetrics, MetricRow};
use crate::model::Model;

/// The file of the card.
pub(crate) const CARD: &str = "README.md";

/// What is known of how a model came about.
pub(crate) struct Made<'a> {
    /// The run that it is of.
    pub(crate) run: Option<OfRun<'a>>,
    /// The model that was given, where one was.
    pub(crate) given: Option<PathBuf>,
    /// Who trained it, and in what template.
    pub(crate) lineage: Option<Lineage>,
}

/// A place in a run.
pub(crate) struct OfRun<'a> {
    pub(crate) recipe: &'a Recipe,
    /// So many of its stages were gone through.
    pub(crate) done: usize,
    /// The evaluations of so many of its stages count.
    pub(crate) evaluated: usize,
    /// The stage that made the policy.
    pub(crate) maker: &'a str,
    /// The step of that stage, where it is not the last.
    pub(crate) step: Option<u64>,
    /// In what template the run trained it, if it did.
    pub(crate) trained: bool,
    /// The run's metrics.
    pub(crate) rows: Vec<Value>,
}

/// What a card of this recipe holds and no other does.
pub(crate) fn mark(recipe: &Recipe) -> Result<String, RecipeError> {
    Ok(format!("<!-- recipe {} -->", sha256(recipe.to_toml()?)))
}

impl Made<'_> {
    /// The card, as Markdown below a YAML head, of a folder of this name.
    pub(super) fn card(&self, model: &Model, name: &str) -> anyhow::Result<String> {
        let mut text = String::from("---\nlibrary_name: transformers\npipeline_tag: text-generation\n");
        let given = self.given.as_deref().map(|folder| (known_as(folder), folder));
        if let Some((given, _)) = given.as_ref().filter(|(given, _)| given.contains('/')) {
            let _ = writeln!(text, "base_model: {given}");
        }
        text.push_str("---\n\n");
        match &self.run {
            Some(OfRun { recipe, .. }) => {
                let _ = writeln!(text, "# {}, seed {}\n", recipe.name, recipe.seed);
                if !recipe.description.is_empty() {
                    let _ = writeln!(text, "{}\n", recipe.description);
                }
            }
            None => {
                let _ = writeln!(text, "# {name}\n");
            }
        }
        let config = model.policy.config();
        let (total, active) = config.parameters();
        let architecture = config.architecture.name();
        let _ = writeln!(text, "{architecture} of {total} parameters, {active} of them used for each token.\n");
        let _ = writeln!(text, "## How it was made\n");
        if let Some((given, folder)) = given {
            let _ = write!(text, "- from the model `{given}` ({})", licence(folder));
            let trained_here = self.run.as_ref().is_some_and(|run| run.trained);
            if let Some((recipe, seed)) = self.lineage.as_ref().filter(|_| !trained_here).map(Lineage::recipe) {
                let _ = write!(text, ", which the recipe {recipe}, seed {seed}, trained");
            }
            text.push('\n');
        }
        if let Some(run) = &self.run {
            run.made(&mut text)?;
        }
        self.asked(&mut text);
        used(&mut text, name, self.template(), matches!(config.attention, AttentionKind::Grouped(_)));
        if let Some(OfRun { recipe, .. }) = &self.run {
            let shown = recipe.without_folders()?.to_toml()?;
            let _ = writeln!(text, "\n## The recipe\n\n```toml\n{shown}```\n\n{}", mark(recipe)?);
        }
        Ok(text)
    }

    fn template(&self) -> Option<Template> {
        self.lineage.as_ref().map(Lineage::template)
    }

    /// In what words it is to be asked, where that is known.
    fn asked(&self, text: &mut String) {
        match self.template() {
            Some(Template::Chat) => {
                let _ = writeln!(text, "\n## How to ask it\n\nIn its tokenizer's chat template.");
                let system_prompt = self.lineage.as_ref().map_or("", Lineage::system_prompt);
                if !system_prompt.is_empty() {
                    let _ = writeln!(text, "\nWith the system message\n\n```text\n{system_prompt}\n```");
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
    }
}

impl OfRun<'_> {
    /// Its stages, what they learned from, and the figures at the end. No figures that depend on what was in a cache or
    /// taken over, so that the same recipe writes the same card.
    fn made(&self, text: &mut String) -> anyhow::Result<()> {
        let done = &self.recipe.stages[..self.done];
        for stage in done {
            let _ = write!(text, "- {} ({})", stage.name, stage.settings.kind());
            if let Some(path) = stage.model.as_ref().and_then(ModelSettings::folder) {
                let _ = write!(text, ", with the model `{}` ({})", known_as(path), licence(path));
            }
            text.push('\n');
        }
        let data = self.data(done);
        if !data.is_empty() {
            let _ = write!(text, "\n## What it learned from\n\n{data}");
        }
        let mut last = None;
        let mut evaluations: Vec<EvalMetrics> = Vec::new();
        for row in self.rows.iter().filter(|row| row["kind"] == "eval" || row["stage"] == self.maker) {
            match serde_json::from_value(row.clone()).context("a row of metrics.jsonl cannot be read")? {
                MetricRow::Eval(eval) => evaluations.push(eval),
                row => last = figures(&row).filter(|(step, _)| self.step.is_none_or(|meant| meant == *step)).or(last),
            }
        }
        if let Some((step, figures)) = last {
            let its_last = if self.step.is_none() { ", its last" } else { "" };
            let _ = writeln!(text, "\n## In step {step} of `{}`{its_last}\n\n{figures}", self.maker);
        }
        let place = |name: &str| self.recipe.stages.iter().position(|stage| stage.name == name);
        let of_this_policy = |eval: &EvalMetrics| {
            place(&eval.stage).is_some_and(|at| at < self.evaluated && self.recipe.maker(at) == self.maker)
        };
        evaluations.retain(|eval| !eval.quick && of_this_policy(eval));
        if let Some(last) = evaluations.last() {
            let _ = writeln!(text, "\n## Held-out tasks, in the evaluation `{}`\n", last.stage);
            let _ = writeln!(text, "| family | pass@1, sampled |\n|---|---|");
            for (name, family) in &last.families {
                let _ = writeln!(text, "| {name} | {} |", family.sampled);
            }
        }
        Ok(())
    }

    /// The tasks and demonstrations of these stages, one on a line.
    fn data(&self, done: &[Stage]) -> String {
        let mut text = String::new();
        let tasks = &self.recipe.tasks;
        let generates = |stage: &Stage| matches!(stage.settings, StageSettings::Pretrain(_));
        let practises = |stage: &Stage| matches!(stage.settings, StageSettings::Grpo(_) | StageSettings::Reject(_));
        if done.iter().any(|stage| generates(stage) || practises(stage) && tasks.files.is_empty()) {
            let families: Vec<String> =
                tasks.weighted_families().iter().map(|(family, _)| family.to_string()).collect();
            let _ = writeln!(text, "- generated tasks, to which nobody has rights: {}", families.join(", "));
        }
        let practised = tasks.files.iter().filter(|_| done.iter().any(practises));
        let shown = done.iter().flat_map(|stage| &stage.data).filter_map(|source| match source {
            DataSource::File(path) => Some(path),
            DataSource::Stage(_) => None,
        });
        for (what, path) in practised.map(|path| ("tasks", path)).chain(shown.map(|path| ("demonstrations", path))) {
            let _ = writeln!(text, "- {what}: `{}` ({})", known_as(path), licence(path));
        }
        text
    }
}

/// A step's number and its figures.
fn figures(row: &MetricRow) -> Option<(u64, String)> {
    match row {
        MetricRow::Step(row) => {
            let share = |(name, share): (&String, &f64)| format!("{name} {:.1}%", 100.0 * share);
            let right: Vec<String> = row.accuracy.iter().map(share).collect();
            let (reward, length) = (row.reward.mean, row.length.mean);
            let right = if right.is_empty() { String::new() } else { format!(" Right: {}.", right.join(", ")) };
            Some((row.step, format!("Mean reward {reward:.4}, {length:.1} tokens an answer.{right}")))
        }
        MetricRow::Sft(row) => {
            let aside = row.validation_loss.map(|loss| format!("; on demonstrations set aside {loss:.4}"));
            Some((row.step, format!("Loss {:.4}{}.", row.loss, aside.unwrap_or_default())))
        }
        _ => None,
    }
}

/// How to get an answer out of a folder of this name. vLLM and its like know models with grouped attention of any size;
/// of the others only those as large as DeepSeek's.
fn used(text: &mut String, name: &str, template: Option<Template>, is_grouped: bool) {
    let _ = writeln!(text, "\n## How to use it\n\nWith `recipe`:\n");
    let _ = writeln!(text, "```sh\nrecipe model sample {name} 'What is 17 + 25?'\n```\n\nWith transformers:\n");
    let _ = writeln!(text, "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n");
    let _ = writeln!(text, "model = AutoModelForCausalLM.from_pretrained(\"{name}\")");
    let _ = writeln!(text, "tokenizer = AutoTokenizer.from_pretrained(\"{name}\")");
    let asked = match template {
        Some(Template::R1Zero) => format!(
            "PROMPT = open(\"{name}/README.md\").read().split(\"```text\\n\")[1].split(\"\\n```\")[0]\n\
             ids = tokenizer(PROMPT.replace(\"QUESTION\", \"What is 17 + 25?\"), return_tensors=\"pt\")\n"
        ),
        Some(Template::Chat) => "question = [{\"role\": \"user\", \"content\": \"What is 17 + 25?\"}]\n\
             ids = tokenizer.apply_chat_template(\n    question, add_generation_prompt=True, return_dict=True, \
             return_tensors=\"pt\"\n)\n"
            .to_owned(),
        Some(Template::Plain) | None => "ids = tokenizer(\"17 + 25 =\", return_tensors=\"pt\")\n".to_owned(),
    };
    text.push_str(&asked);
    text.push_str("out = model.generate(**ids, max_new_tokens=256)\n");
    text.push_str("print(tokenizer.decode(out[0, ids[\"input_ids\"].shape[1]:], skip_special_tokens=True))\n```\n");
    if is_grouped {
        let _ = writeln!(text, "\nvLLM and SGLang read the same folder: `vllm serve {name}`.");
    }
}

/// Under what licence a model's folder or a file stands, as the card beside it says: in its folder, or, in the Hub's cache,
/// where its commit begins.
fn licence(path: &Path) -> String {
    let own = if path.is_dir() { Some(path) } else { path.parent() };
    let is_commit = |folder: &&Path| folder.parent().is_some_and(|above| above.ends_with("snapshots"));
    let cards = own.into_iter().chain(path.ancestors().find(is_commit));
    let stated = cards.filter_map(|folder| std::fs::read_to_string(folder.join(CARD)).ok());
    match stated.filter_map(|card| datasets::source::hub::licence(&card)).next() {
        Some(licence) => format!("licence: {licence}"),
        None => "licence not stated".to_owned(),
    }
}
