//! The tables that hold for the whole recipe: `[tasks]`, `[[rewards]]`, `[eval]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use rewards::parameter::Given;
use rewards::{CustomReward, OnError, Registry, RewardError, RewardSpec};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::nearest;
use super::fine_tuning::Template;
use super::keys::{
    Allowed, Any, Bounds, KeyHelp, Kind, Problem, between, checked, name_problem, positive_up_to, settings,
    temperatures, words,
};
use super::stages::{MOST_COMPLETIONS, MOST_TOKENS};

/// The rewards that say whether an answer is right. Of several that judge one, the first that the recipe names decides.
pub(crate) const JUDGES: [&str; 4] = ["accuracy", "choice", "binary_code", "code"];

/// The largest weight of a reward or a family: only the ratio of weights has a meaning.
const LARGEST_WEIGHT: f64 = 1e6;

words! {
    /// What to do about a line of a task file that cannot be read.
    OnBadLine {
        /// Stop the run and name the line.
        Stop = "stop",
        /// Leave the line out, and say how many were.
        Skip = "skip",
    }
}

settings! {
    /// How much of what is measured, wherever the recipe has a stage of kind `eval`.
    EvalSettings typed EvalTable {
        /// Held-out tasks of each family.
        tasks_per_family: usize = 500, between(1, MOST_COMPLETIONS);
        /// Completions sampled for each task: pass@1 is their mean, and they vote.
        samples: usize = 8, between(1, 65_536);
        /// Sampling temperature.
        temperature: f64 = 1.0, temperatures();
        /// Sample among the likeliest tokens that hold this share of the probability; 1 is all.
        top_p: f64 = 1.0, positive_up_to(1);
        /// A completion is cut off after so many tokens; 0 takes the largest limit of the stages that sample.
        max_new_tokens: usize = 0, between(0, MOST_TOKENS);
    }
}

/// Which tasks are practised and examined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskSettings {
    /// What to do about a line of a task file that cannot be read.
    pub on_bad_line: OnBadLine,
    /// Share of the tasks of each file that is set aside for evaluation, and never trained on. None is where there are
    /// `held_out_files`, or where the file's rows name their split.
    pub held_out_share: f64,
    /// Task files: JSON Lines, parquet or csv. Where any are named, they are what the policy
    /// practises; the families are then only what a base is made from.
    pub files: Vec<PathBuf>,
    /// Task files, of the same kinds, that the policy is examined on. Nothing is trained on their questions.
    pub held_out_files: Vec<PathBuf>,
    /// How a question becomes a prompt.
    pub template: Template,
    /// In the chat template: the system message of tasks and demonstrations that have none of their own; empty for none.
    pub system_prompt: String,
    /// Procedural families, with the share of the prompts that each gets.
    pub families: BTreeMap<String, f64>,
}

impl TaskSettings {
    /// The families with a positive weight, in the order of [`datasets::Family::ALL`].
    #[must_use]
    pub fn weighted_families(&self) -> Vec<(datasets::Family, f64)> {
        weighted(&self.families)
    }
}

impl TaskSettings {
    /// Every key of this table.
    #[must_use]
    pub fn keys() -> Vec<KeyHelp> {
        let default: Vec<String> = datasets::Family::WORKED.iter().map(|name| format!("{name} = 1.0")).collect();
        vec![
            key_help(
                "families",
                &format!("{{ {} }}", default.join(", ")),
                "What the policy practises: the share of the prompts that each family gets.",
                "a number for any of the families that `recipe tasks list` shows",
            ),
            key_help(
                "files",
                "[]",
                "Task files to practise instead of the families; on the command line: --tasks FILE.",
                "paths of JSON Lines, parquet or csv files",
            ),
            key_help(
                "held_out_files",
                "[]",
                "Task files to examine the policy on; on the command line: --held-out FILE. A question that is in them is not \
                 trained on, also where `files` has it too, and no share of `files` is set aside.",
                "paths of JSON Lines, parquet or csv files",
            ),
            key_help(
                "held_out_share",
                "0.1",
                "Share of a file's questions that is set aside for evaluation, and never trained on. Not where there are \
                 held_out_files, nor of a file whose rows name their split: those of held, test and validation are set aside.",
                "a number from 0 to 0.9",
            ),
            key_help(
                "on_bad_line",
                "\"stop\"",
                "What to do about a line of a task file that cannot be read.",
                OnBadLine::KIND,
            ),
            key_help(
                "template",
                "\"r1-zero\"",
                "How a question becomes a prompt, in all stages: R1-Zero's template, or the chat template of the model's \
                 tokenizer. Stages that read demonstrations can have a template of their own.",
                Template::KIND,
            ),
            key_help(
                "system_prompt",
                "\"\"",
                "In the chat template: the system message of tasks, and of demonstrations, that have none of their own. It is \
                 where a model is asked for the tags <think> and <answer>, which rewards look for.",
                String::KIND,
            ),
        ]
    }
}

pub(super) fn key_help(key: &'static str, default: &str, help: &str, expected: &str) -> KeyHelp {
    KeyHelp { key, default: default.to_owned(), expected: expected.to_owned(), help: help.to_owned() }
}

/// [`TaskSettings`] as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskTable {
    on_bad_line: Option<Spanned<OnBadLine>>,
    held_out_share: Option<Spanned<f64>>,
    files: Option<Vec<PathBuf>>,
    held_out_files: Option<Vec<PathBuf>>,
    template: Option<Spanned<Template>>,
    system_prompt: Option<String>,
    families: Option<TypedFamilies>,
}

/// Weights of families, as typed.
pub(super) type TypedFamilies = BTreeMap<Spanned<String>, Spanned<f64>>;

/// Weights of families that exist.
pub(super) fn read_families(typed: TypedFamilies) -> Result<BTreeMap<String, f64>, Problem> {
    let names: Vec<String> = datasets::Family::ALL.iter().map(ToString::to_string).collect();
    let mut families = BTreeMap::new();
    for (name, weight) in typed {
        let span = name.span();
        let name = name.into_inner();
        if datasets::Family::from_str(&name).is_err() {
            let problem = Problem::at(span, format!("there is no task family `{name}`"));
            // Too many to list: where none is near, it is said how to see them.
            return Err(match nearest(&name, names.iter().map(String::as_str)) {
                Some(_) => suggested(problem, &name, &names),
                None => problem.hint("`recipe tasks list` shows the families"),
            });
        }
        let weight = checked(&name, Some(weight), 1.0, &between(0, LARGEST_WEIGHT))?;
        families.insert(name, weight);
    }
    Ok(families)
}

/// The families with a positive weight, in the order of [`datasets::Family::ALL`].
pub(crate) fn weighted(families: &BTreeMap<String, f64>) -> Vec<(datasets::Family, f64)> {
    let weight = |family: &datasets::Family| families.get(family.name()).copied().filter(|weight| *weight > 0.0);
    datasets::Family::ALL.iter().filter_map(|family| Some((*family, weight(family)?))).collect()
}

impl TaskTable {
    pub(crate) fn validate(self) -> Result<TaskSettings, Problem> {
        let families = match self.families {
            None => datasets::Family::WORKED.iter().map(|family| (family.to_string(), 1.0)).collect(),
            Some(typed) => read_families(typed)?,
        };
        Ok(TaskSettings {
            on_bad_line: checked("on_bad_line", self.on_bad_line, OnBadLine::Stop, &Any)?,
            held_out_share: checked("held_out_share", self.held_out_share, 0.1, &between(0, 0.9))?,
            files: self.files.unwrap_or_default(),
            held_out_files: self.held_out_files.unwrap_or_default(),
            template: checked("template", self.template, Template::R1Zero, &Any)?,
            system_prompt: self.system_prompt.unwrap_or_default(),
            families,
        })
    }
}

/// One reward and how much it counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewardSettings {
    /// The reward's name: `accuracy`, `binary_code`, `format`, ...; or any other, for a reward of a file.
    pub name: String,
    /// What its score is multiplied by in the sum.
    pub weight: f64,
    /// The file that it comes from, if it is none of the known ones.
    #[serde(flatten)]
    pub custom: Option<CustomReward>,
    /// What it is told; `recipe reward show NAME` explains what it can be.
    #[serde(skip_serializing_if = "Given::is_empty")]
    pub parameters: Given,
}

impl RewardSettings {
    /// Every key of one reward.
    #[must_use]
    pub fn keys() -> Vec<KeyHelp> {
        let known = Registry::builtin();
        let summary = |reward: &rewards::RewardDescription| {
            format!("\"{}\": {}", reward.name, reward.summary.trim_end_matches('.'))
        };
        let which = known.descriptions().map(summary).collect::<Vec<_>>().join(". ");
        vec![
            key_help(
                "name",
                "(must be given)",
                &format!("Which reward. {which}."),
                &format!("one of {}", known.names().join(", ")),
            ),
            key_help(
                "weight",
                "1.0",
                "What its score is multiplied by in the sum.",
                &Allowed::<f64>::text(&reward_weights()),
            ),
            key_help(
                "parameters",
                "{}",
                "What the reward is told; `recipe reward show NAME` explains what each can be.",
                "a table such as { max_length = 512 }",
            ),
            key_help(
                "path",
                "(none)",
                "A reward of your own: a Python file, or a WebAssembly component.",
                "the path of a file that ends in .py or .wasm",
            ),
            key_help(
                "function",
                "\"reward\"",
                "The function in the Python file: def reward(prompts, completions, completion_ids, **columns).",
                "the name of a function",
            ),
            key_help(
                "conversational",
                "(where the task has earlier turns)",
                "Whether the Python function gets messages, as {\"role\", \"content\"}, in place of texts.",
                bool::KIND,
            ),
            key_help(
                "on_error",
                "\"stop\"",
                "What to do when your reward fails: stop the run and say where, or leave the group unscored.",
                "\"stop\" or \"unscored\"",
            ),
        ]
    }
}

/// What a reward may count: less than nothing too, since a reward may also punish. Sums of what is larger would not
/// stay finite in the single precision that advantages are computed in.
fn reward_weights() -> Bounds {
    between(-LARGEST_WEIGHT, LARGEST_WEIGHT)
}

/// Weights of rewards, as a stage gives them. Whether the recipe has these rewards is seen once all of it is read.
pub(super) fn read_weights(typed: BTreeMap<Spanned<String>, Spanned<f64>>) -> Result<BTreeMap<String, f64>, Problem> {
    let checked = |(name, weight): (Spanned<String>, Spanned<f64>)| {
        let weight = checked(name.get_ref(), Some(weight), 1.0, &reward_weights())?;
        Ok((name.into_inner(), weight))
    };
    typed.into_iter().map(checked).collect()
}

/// Scores that rewards have to reach; a reward of one's own may give any.
pub(super) fn read_scores(typed: BTreeMap<Spanned<String>, Spanned<f64>>) -> Result<BTreeMap<String, f64>, Problem> {
    let checked = |(name, score): (Spanned<String>, Spanned<f64>)| {
        let score = checked(name.get_ref(), Some(score), 0.0, &between(-LARGEST_WEIGHT, LARGEST_WEIGHT))?;
        Ok((name.into_inner(), score))
    };
    typed.into_iter().map(checked).collect()
}

/// [`RewardSettings`] as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewardTable {
    name: Spanned<String>,
    weight: Option<Spanned<f64>>,
    path: Option<Spanned<PathBuf>>,
    function: Option<Spanned<String>>,
    conversational: Option<Spanned<bool>>,
    on_error: Option<Spanned<OnError>>,
    parameters: Option<Spanned<BTreeMap<Spanned<String>, Spanned<toml::Value>>>>,
}

/// What a recipe is scored by that says nothing about it: whether answers are right, and the template's form.
const DEFAULT_REWARDS: [&str; 3] = ["accuracy", "binary_code", "format"];

impl RewardSettings {
    /// The rewards of a recipe that names none.
    pub(crate) fn defaults() -> Vec<RewardSettings> {
        DEFAULT_REWARDS.map(|name| RewardSpec::named(name).into()).into()
    }
}

impl From<RewardSpec> for RewardSettings {
    fn from(spec: RewardSpec) -> RewardSettings {
        RewardSettings { name: spec.name, weight: spec.weight, custom: spec.custom, parameters: spec.parameters }
    }
}

impl From<&RewardSettings> for RewardSpec {
    fn from(settings: &RewardSettings) -> RewardSpec {
        RewardSpec {
            name: settings.name.clone(),
            weight: settings.weight,
            custom: settings.custom.clone(),
            parameters: settings.parameters.clone(),
        }
    }
}

impl RewardTable {
    /// A reward of those that `known` holds, or of a file.
    pub(crate) fn validate(self, known: &Registry) -> Result<RewardSettings, Problem> {
        let span = self.name.span();
        let name = self.name.into_inner();
        let names = known.names();
        let custom = match self.path {
            Some(path) => {
                if let Some(message) = name_problem(&name) {
                    return Err(Problem::at(span, message));
                }
                Some(CustomReward {
                    path: reward_file(path)?,
                    function: self.function.map(Spanned::into_inner),
                    conversational: self.conversational.map(Spanned::into_inner),
                    on_error: self.on_error.map(Spanned::into_inner).unwrap_or_default(),
                })
            }
            None => {
                let keys = [
                    ("function", self.function.map(|key| key.span())),
                    ("conversational", self.conversational.map(|key| key.span())),
                    ("on_error", self.on_error.map(|key| key.span())),
                ];
                if let Some((key, Some(span))) = keys.into_iter().find(|(_, span)| span.is_some()) {
                    let message = format!("`{key}` is of rewards that come from a file, and there is no `path`");
                    return Err(Problem::at(span, message).hint("add path = \"FILE.py\", or take it out"));
                }
                None
            }
        };
        if custom.is_none() && !names.contains(&name.as_str()) {
            let expected = names.join(", ");
            let problem = Problem::at(span, format!("no reward `{name}`, expected {expected}"));
            return Err(suggested(problem, &name, &names)
                .hint_if_none("one of your own is named with its file: path = \"FILE.py\""));
        }
        let weight = checked("weight", self.weight, 1.0, &reward_weights())?;
        let table_span = self.parameters.as_ref().map_or(span.clone(), Spanned::span);
        let typed = self.parameters.map(Spanned::into_inner).unwrap_or_default();
        let mut spans = BTreeMap::new();
        let mut parameters = Given::new();
        for (key, value) in typed {
            spans.insert(key.get_ref().clone(), (key.span(), value.span()));
            let json = serde_json::to_value(value.into_inner()).unwrap_or_default();
            parameters.insert(key.into_inner(), json);
        }
        let spec = RewardSpec { name, weight, custom, parameters };
        match known.check(&spec) {
            Ok(()) => Ok(spec.into()),
            Err(error @ RewardError::NameTaken { .. }) => Err(Problem::at(span, error.to_string())),
            Err(error) => Err(parameter_problem(&error, &spans, table_span)),
        }
    }
}

/// The file of a reward, which must be there.
fn reward_file(path: Spanned<PathBuf>) -> Result<PathBuf, Problem> {
    let span = path.span();
    let file = path.into_inner();
    if CustomReward::at(&file).kind().is_none() {
        return Err(Problem::at(
            span,
            format!("{} is no reward's file, expected a name in .py or .wasm", file.display()),
        ));
    }
    if !file.is_file() {
        return Err(Problem::at(span, format!("there is no file {}", file.display())).hint(
            "a path in a recipe's file is seen from its folder; `recipe reward new NAME` writes one to begin with",
        ));
    }
    Ok(file)
}

/// What is wrong with a reward's parameters, at the name or the value that is wrong.
fn parameter_problem(
    error: &RewardError,
    spans: &BTreeMap<String, (std::ops::Range<usize>, std::ops::Range<usize>)>,
    table: std::ops::Range<usize>,
) -> Problem {
    match error {
        RewardError::Parameter { reward, parameter, named, problem, hint } => {
            let spans = spans.get(parameter).cloned();
            let span = spans.map_or(table, |(name, value)| if *named { name } else { value });
            let found = Problem::at(span, format!("the reward `{reward}` {problem}"));
            match hint {
                Some(hint) => found.hint(hint),
                None => found,
            }
        }
        other => Problem::at(table, other.to_string()),
    }
    .hint_if_none("`recipe reward show NAME` explains a reward's parameters")
}

/// Adds the nearest of the names to a problem, where one is near.
pub(crate) fn suggested(problem: Problem, typed: &str, names: &[impl AsRef<str>]) -> Problem {
    match nearest(typed, names.iter().map(AsRef::as_ref)) {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => problem,
    }
}
