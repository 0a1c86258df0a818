//! Experiments: a TOML file that names variants of a recipe and what to compare of their runs, and those inside the binary.
//!
//! An experiment has no code of its own: a variant is a list of `--set`s, and what is compared are figures that every run
//! leaves behind anyway.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::document::Document;
use super::error::{RecipeError, nearest};
use super::keys::{Problem, name_problem};
use super::read::value;
use super::recipe::Recipe;
use super::settings::{JUDGES, RewardSettings};

/// An experiment as it stands in its file, checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Its name: its folder is called after it.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// What it asks, and what either answer would mean.
    pub question: String,
    /// The recipe that variants vary: a shipped one's name, or a file, found from where the program is started.
    recipe: String,
    /// Settings of all variants.
    #[serde(default)]
    set: Vec<String>,
    /// What is compared.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
    /// The columns of the table.
    #[serde(rename = "measure")]
    pub measures: Vec<Measure>,
    /// The figures.
    #[serde(rename = "figure", default)]
    pub figures: Vec<Figure>,
    /// Its text, for the report.
    #[serde(skip)]
    pub text: String,
}

/// One way to run the recipe.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name: its runs are called after it.
    pub name: String,
    /// Another recipe than the experiment's.
    #[serde(default)]
    recipe: Option<String>,
    /// Settings on top of those of all variants.
    #[serde(default)]
    set: Vec<String>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// In per cent.
    Share,
    /// As it is.
    #[default]
    Number,
}

/// A number that a run leaves behind; one of `eval`, `step` and `cost` says where.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// The column's head.
    pub name: String,
    /// In the evaluation of this stage, the mean over families; `value` says which figure.
    #[serde(default)]
    pub eval: Option<String>,
    /// `sampled`, `greedy`, `majority`, `length`.
    #[serde(default)]
    pub value: Option<EvalValue>,
    /// In place of `value`: the mean score of this reward, one that looks at an answer's shape.
    #[serde(default)]
    pub reward: Option<String>,
    /// Of one family instead of the mean.
    #[serde(default)]
    pub family: Option<String>,
    /// In the steps' rows at this path, such as `length.mean`: the mean over the last tenth of the steps.
    #[serde(default)]
    pub step: Option<String>,
    /// The same over the first tenth.
    #[serde(default)]
    pub first: bool,
    /// Whose steps, such as `pretrain`; without it, those of all `grpo` stages.
    #[serde(default)]
    pub stage: Option<String>,
    /// What the stages cost, but for those that make a base: it may come from the cache.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// How it is written.
    #[serde(default)]
    pub unit: NumberKind,
}

/// A figure of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalValue {
    /// pass@1 of sampled answers.
    Sampled,
    /// pass@1 of the likeliest answer.
    Greedy,
    /// The majority's.
    Majority,
    /// Tokens of an answer.
    Length,
}

/// What a run costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Estimated floating-point operations.
    Flops,
    /// Seconds.
    Seconds,
    /// Tokens sampled.
    SampledTokens,
    /// Tokens trained on.
    TrainedTokens,
}

/// A chart with one line for each variant and each of its `line`s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Its title.
    pub title: String,
    /// What the y axis shows.
    pub y_label: String,
    /// How y is written.
    #[serde(default)]
    pub unit: NumberKind,
    /// Its lines.
    #[serde(rename = "line")]
    pub lines: Vec<Line>,
}

/// A line of a figure; one of `step` and `samples` says of what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its name, where a variant has several.
    #[serde(default)]
    pub name: String,
    /// Over steps: the path in the steps' rows.
    #[serde(default)]
    pub step: Option<String>,
    /// Whose steps, such as `pretrain`; without it, those of all `grpo` stages, one after the other.
    #[serde(default)]
    pub stage: Option<String>,
    /// Over the number of samples of this evaluation.
    #[serde(default)]
    pub eval: Option<String>,
    /// `pass` or `majority`, with `eval`.
    #[serde(default)]
    pub of: Option<OfSamples>,
    /// In evaluations, of one family instead of the mean.
    #[serde(default)]
    pub family: Option<String>,
}

/// What depends on the number of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfSamples {
    /// pass@k.
    Pass,
    /// The majority of k.
    Majority,
}

/// An experiment inside the binary.
#[derive(Clone, Copy, Debug)]
pub struct ShippedExperiment {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// Every experiment inside the binary.
pub const SHIPPED_EXPERIMENTS: &[ShippedExperiment] = &[
    ShippedExperiment { name: "majority", text: include_str!("../../shipped/experiments/majority.toml") },
    ShippedExperiment { name: "length", text: include_str!("../../shipped/experiments/length.toml") },
    ShippedExperiment {
        name: "dynamic-sampling",
        text: include_str!("../../shipped/experiments/dynamic-sampling.toml"),
    },
    ShippedExperiment { name: "readability", text: include_str!("../../shipped/experiments/readability.toml") },
    ShippedExperiment { name: "distill", text: include_str!("../../shipped/experiments/distill.toml") },
    ShippedExperiment { name: "balance", text: include_str!("../../shipped/experiments/balance.toml") },
];

const TOP_LEVEL: [&str; 8] = ["name", "description", "question", "recipe", "set", "variant", "measure", "figure"];

impl Experiment {
    /// The experiment of this name inside the binary, or in this file.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or it is wrong: also if a variant of it is no valid recipe.
    pub fn find(name: &str) -> Result<Experiment, RecipeError> {
        let path = Path::new(name);
        if let Some(shipped) = SHIPPED_EXPERIMENTS.iter().find(|one| one.name == name).filter(|_| !path.is_file()) {
            return Experiment::parse(&format!("the shipped experiment {name}"), shipped.text);
        }
        if path.extension().is_none() && path.components().count() == 1 && !path.exists() {
            let names: Vec<&str> = SHIPPED_EXPERIMENTS.iter().map(|one| one.name).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the shipped experiments are {}", names.join(", ")),
            };
            return Err(RecipeError::new(name, "there is no shipped experiment and no file of this name").hint(hint));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| RecipeError::new(name, format!("cannot read it: {error}")))?;
        Experiment::parse(name, &text)
    }

    /// Reads an experiment from its text. `shown` is what errors call it.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn parse(shown: &str, text: &str) -> Result<Experiment, RecipeError> {
        let document = Document::new(shown, text, &[])?;
        let tree = document.tree(&TOP_LEVEL)?;
        let span = tree.span();
        let mut experiment = Experiment::deserialize(value(Spanned::new(span, DeValue::Table(tree.into_inner()))))
            .map_err(|error| document.read_error(&error, &[]))?;
        text.clone_into(&mut experiment.text);
        experiment.check().map_err(|problem| document.error(problem))?;
        for variant in &experiment.variants {
            let recipe = experiment.recipe_of(variant, 0)?;
            experiment.check_names(&recipe).map_err(|problem| document.error(problem))?;
        }
        Ok(experiment)
    }

    /// That a variant's recipe has what is measured.
    fn check_names(&self, recipe: &Recipe) -> Result<(), Problem> {
        fn check(what: &str, name: Option<&String>, known: &[&str]) -> Result<(), Problem> {
            let Some(name) = name.filter(|name| !known.contains(&name.as_str())) else { return Ok(()) };
            let problem = Problem::anywhere(format!("what is measured names the {what} \"{name}\""));
            Err(match nearest(name, known.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
                None => problem.hint(format!("the recipe has {}", known.join(", "))),
            })
        }
        let of_kind = |is_eval: bool| {
            let stages = recipe.stages.iter().filter(move |stage| (stage.settings.kind() == "eval") == is_eval);
            stages.map(|stage| stage.name.as_str()).collect::<Vec<&str>>()
        };
        let (evals, others) = (of_kind(true), of_kind(false));
        // Evaluations have the scores of an answer's shape.
        let of_shape = |reward: &&RewardSettings| reward.custom.is_none() && !JUDGES.contains(&reward.name.as_str());
        let rewards: Vec<&str> = recipe.rewards.iter().filter(of_shape).map(|reward| reward.name.as_str()).collect();
        let families: Vec<&str> = recipe.tasks.families.keys().map(String::as_str).collect();
        for measure in &self.measures {
            if let Some(name) = measure.reward.as_deref().filter(|name| JUDGES.contains(name)) {
                let message =
                    format!("what is measured names the reward \"{name}\", whose mean is the share of right answers");
                return Err(Problem::anywhere(message).hint("write value = \"sampled\" in its place"));
            }
            check("evaluation", measure.eval.as_ref(), &evals)?;
            check("stage", measure.stage.as_ref(), &others)?;
            check("reward", measure.reward.as_ref(), &rewards)?;
        }
        let lines = || self.figures.iter().flat_map(|figure| &figure.lines);
        for line in lines() {
            check("evaluation", line.eval.as_ref(), &evals)?;
            check("stage", line.stage.as_ref(), &others)?;
        }
        // With task files it is their names that are examined.
        let measured = self.measures.iter().map(|measure| &measure.family).chain(lines().map(|line| &line.family));
        for family in measured.filter(|_| recipe.tasks.files.is_empty()) {
            check("family", family.as_ref(), &families)?;
        }
        Ok(())
    }

    /// The recipe of a variant under a seed.
    ///
    /// # Errors
    /// If a setting is wrong, or there is no such recipe.
    pub fn recipe_of(&self, variant: &Variant, seed: u64) -> Result<Recipe, RecipeError> {
        let name = variant.recipe.as_ref().unwrap_or(&self.recipe);
        Recipe::find(name, &self.settings_of(variant, seed))
    }

    /// The settings of a variant under a seed, in the order in which they are applied.
    #[must_use]
    pub fn settings_of(&self, variant: &Variant, seed: u64) -> Vec<String> {
        let seed = format!("seed={seed}");
        self.set.iter().chain(&variant.set).cloned().chain([seed]).collect()
    }

    fn check(&self) -> Result<(), Problem> {
        for name in self.variants.iter().map(|variant| &variant.name).chain([&self.name]) {
            if let Some(message) = name_problem(name) {
                return Err(Problem::anywhere(message));
            }
        }
        for (place, variant) in self.variants.iter().enumerate() {
            if self.variants[..place].iter().any(|other| other.name == variant.name) {
                return Err(Problem::anywhere(format!("two variants are called `{}`", variant.name)));
            }
        }
        if self.variants.is_empty() || self.measures.is_empty() {
            return Err(Problem::anywhere("an experiment needs at least one [[variant]] and one [[measure]]"));
        }
        for measure in &self.measures {
            let sources = [measure.eval.is_some(), measure.step.is_some(), measure.cost.is_some()];
            let named = |what: &str| Problem::anywhere(format!("the measure `{}` {what}", measure.name));
            if sources.iter().filter(|source| **source).count() != 1 {
                return Err(named("needs one of `eval`, `step` and `cost`"));
            }
            if measure.stage.is_some() && measure.step.is_none() {
                return Err(named("has a `stage` without `step`"));
            }
            let figures = usize::from(measure.value.is_some()) + usize::from(measure.reward.is_some());
            if figures != usize::from(measure.eval.is_some()) {
                return Err(named("needs `value` or `reward` with `eval`, and only there"));
            }
        }
        for figure in &self.figures {
            let named = |what: &str| Problem::anywhere(format!("the figure `{}` {what}", figure.title));
            let over_steps = figure.lines.iter().filter(|line| line.step.is_some()).count();
            if figure.lines.is_empty() || (over_steps != 0 && over_steps != figure.lines.len()) {
                return Err(named("needs lines that are all over steps or all over samples"));
            }
            for line in &figure.lines {
                if line.step.is_some() == line.eval.is_some() || line.eval.is_some() != line.of.is_some() {
                    return Err(named("has a line without either `step`, or `eval` and `of`"));
                }
                if line.stage.is_some() && line.step.is_none() {
                    return Err(named("has a line with `stage` and without `step`"));
                }
            }
        }
        Ok(())
    }
}
