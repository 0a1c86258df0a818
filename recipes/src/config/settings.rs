//! The tables that hold for the whole recipe: `[tasks]`, `[[rewards]]`, `[eval]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::error::nearest;
use super::keys::{Allowed, Any, Bounds, KeyHelp, Kind, Problem, between, checked, positive_up_to, settings, words};
use super::stages::{MOST_COMPLETIONS, MOST_TOKENS};

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
        temperature: f64 = 1.0, positive_up_to(10);
        /// Sample among the likeliest tokens that hold this share of the probability; 1 is all.
        top_p: f64 = 1.0, positive_up_to(1);
        /// A completion is cut off after so many tokens; 0 takes the grpo stage's limit.
        max_new_tokens: usize = 0, between(0, MOST_TOKENS);
    }
}

/// Which tasks are practised and examined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskSettings {
    /// What to do about a line of a task file that cannot be read.
    pub on_bad_line: OnBadLine,
    /// Share of the tasks of each file that is set aside for evaluation, and never trained on.
    pub held_out_share: f64,
    /// Task files: JSON Lines, parquet or csv. Where any are named, they are what the policy
    /// practises; the families are then only what a base is made from.
    pub files: Vec<PathBuf>,
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
                "held_out_share",
                "0.1",
                "Share of a file's tasks that is set aside for evaluation, and never trained on.",
                "a number from 0 to 0.9",
            ),
            key_help(
                "on_bad_line",
                "\"stop\"",
                "What to do about a line of a task file that cannot be read.",
                OnBadLine::kind(),
            ),
        ]
    }
}

fn key_help(key: &'static str, default: &str, help: &str, expected: &str) -> KeyHelp {
    KeyHelp { key, default: default.to_owned(), expected: expected.to_owned(), help: help.to_owned() }
}

/// [`TaskSettings`] as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskTable {
    on_bad_line: Option<Spanned<OnBadLine>>,
    held_out_share: Option<Spanned<f64>>,
    files: Option<Vec<PathBuf>>,
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
            families,
        })
    }
}

/// One reward and how much it counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewardSettings {
    /// The reward's name: `accuracy`, `code`, `format`.
    pub name: String,
    /// What its score is multiplied by in the sum.
    pub weight: f64,
}

impl RewardSettings {
    /// Every key of one reward.
    #[must_use]
    pub fn keys() -> Vec<KeyHelp> {
        let summary = |reward: &rewards::RewardDescription| {
            format!("\"{}\" is {}", reward.name, reward.summary.trim_end_matches('.'))
        };
        let which = rewards::descriptions().map(summary).collect::<Vec<_>>().join(". ");
        vec![
            key_help(
                "name",
                "(must be given)",
                &format!("Which reward. {which}."),
                &format!("one of {}", reward_names().join(", ")),
            ),
            key_help(
                "weight",
                "1.0",
                "What its score is multiplied by in the sum.",
                &Allowed::<f64>::text(&reward_weights()),
            ),
        ]
    }
}

/// What a reward may count: less than nothing too, since a reward may also punish. Sums of what is larger would not
/// stay finite in the single precision that advantages are computed in.
fn reward_weights() -> Bounds {
    between(-LARGEST_WEIGHT, LARGEST_WEIGHT)
}

/// [`RewardSettings`] as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewardTable {
    name: Spanned<String>,
    weight: Option<Spanned<f64>>,
}

/// Every reward that a recipe can name.
pub(crate) fn reward_names() -> Vec<&'static str> {
    rewards::descriptions().map(|description| description.name).collect()
}

impl RewardTable {
    pub(crate) fn validate(self) -> Result<RewardSettings, Problem> {
        let span = self.name.span();
        let name = self.name.into_inner();
        let names = reward_names();
        if !names.contains(&name.as_str()) {
            let expected = names.join(", ");
            let problem = Problem::at(span, format!("no reward `{name}`, expected {expected}"));
            return Err(suggested(problem, &name, &names));
        }
        Ok(RewardSettings { name, weight: checked("weight", self.weight, 1.0, &reward_weights())? })
    }
}

/// Adds the nearest of the names to a problem, where one is near.
pub(crate) fn suggested(problem: Problem, typed: &str, names: &[impl AsRef<str>]) -> Problem {
    match nearest(typed, names.iter().map(AsRef::as_ref)) {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => problem,
    }
}
