//! What a run keeps of its recipe and of what it read, seen beside the recipe that it is to go on with.
//!
//! Two things may differ and leave the run what it is: where a file or a model lies, so that a project can be moved, and
//! what is said of a reward of one's own, which may be mended. Whether a file is the same is told by its content.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rewards::CustomReward;

use super::files::RECIPE;
use super::folder::RunDir;
use super::info::{RunInfo, copy_change};
use super::unusable::Unusable;
use crate::config::Recipe;

/// What a run keeps, as far as another recipe is concerned.
#[derive(Debug)]
pub(super) struct Kept {
    /// The run's recipe, with the places and the rewards' settings of the other where these are no difference.
    pub(super) recipe: Recipe,
    /// What the run noted, also of the new places.
    pub(super) info: RunInfo,
    /// What lies elsewhere now and is what it was: its place before, and now.
    pub(super) moved: Vec<(PathBuf, PathBuf)>,
    /// What is said of rewards otherwise than before.
    pub(super) changed_rewards: Vec<String>,
    /// Whether the recipe is not as the file has it.
    pub(super) is_changed: bool,
}

impl Kept {
    /// Reads it. `purpose` is what the run would be used for, for the error's text.
    pub(super) fn read(run: &Path, recipe: &Recipe, purpose: &str) -> anyhow::Result<Kept> {
        let before =
            read_recipe(run, recipe).with_context(|| format!("{} holds no run to {purpose}", run.display()))?;
        let mut info = RunDir::read_info(run)?;
        let mut kept = before.clone();
        let moved = kept.take_places(recipe, |then, now| is_same(run, &before, &info, then, now))?;
        for (then, now) in &moved {
            info.note_place(then, now);
        }
        let changed_rewards = take_rewards(&mut kept, recipe);
        Ok(Kept { is_changed: kept != before, recipe: kept, info, moved, changed_rewards })
    }

    /// Why the run cannot go on with the recipe: it was made with another.
    pub(super) fn difference(&self, run: &Path, recipe: &Recipe) -> Option<Unusable> {
        recipe.difference(&self.recipe).map(|(key, now, before)| Unusable {
            what: format!(
                "the run in {} has {key} = {before}, the recipe now has {now}: resuming would make it a different run",
                run.display()
            ),
            hint: "take the change back, or start a new run without --resume; --from STAGE takes over what was done before \
                   the first stage that changes"
                .to_owned(),
            without_options: "take the change back, or remove the run's folder".to_owned(),
        })
    }
}

/// The recipe in a run's folder. Where the file of a reward is gone, the other recipe's reward of that name is looked at in
/// its place: a recipe without it cannot be read.
fn read_recipe(run: &Path, recipe: &Recipe) -> anyhow::Result<Recipe> {
    let file = run.join(RECIPE);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let mut gone = Vec::new();
    for reward in table.get("rewards").and_then(toml::Value::as_array).into_iter().flatten() {
        let text = |key| reward.get(key).and_then(toml::Value::as_str);
        let (Some(name), Some(path)) = (text("name"), text("path")) else { continue };
        let now = recipe.rewards.iter().find(|reward| reward.name == name).and_then(|reward| reward.custom.as_ref());
        if let (Some(now), false) = (now, Path::new(path).is_file()) {
            gone.push((name.to_owned(), PathBuf::from(path), now.path.to_string_lossy().into_owned()));
        }
    }
    let place =
        |(name, _, now): &(String, PathBuf, String)| format!("rewards.{name}.path={}", toml::Value::from(now.as_str()));
    let settings: Vec<String> = gone.iter().map(place).collect();
    let mut kept = Recipe::read_with(&file, &settings, &recipe.known_rewards)?;
    for (name, path, _) in gone {
        let custom = kept.rewards.iter_mut().find(|reward| reward.name == name).and_then(|it| it.custom.as_mut());
        custom.context("a reward that has a file keeps it")?.path = path;
    }
    Ok(kept)
}

/// Whether what lies in a place now is what the run noted of another place, or what it made its own copy of.
fn is_same(run: &Path, kept: &Recipe, info: &RunInfo, then: &Path, now: &Path) -> anyhow::Result<bool> {
    if let Some(same) = info.is_same(then, now)? {
        return Ok(same);
    }
    let base = run.join("base");
    let copied = kept.model.folder() == Some(then) && base.is_dir() && now.is_dir();
    Ok(copied && copy_change(now, &base)?.is_none())
}

/// The text of a run's `recipe.toml`: its head, then the recipe.
pub(super) fn recipe_file(recipe: &Recipe) -> anyhow::Result<String> {
    Ok(format!(
        "# The recipe of this run, every setting with its value. It can be run again as it is.\n\n{}",
        recipe.to_toml()?
    ))
}

/// Takes what is said of a recipe's own rewards from another, but for where their files lie; says what that changes.
fn take_rewards(kept: &mut Recipe, recipe: &Recipe) -> Vec<String> {
    let mut changed = Vec::new();
    for reward in &mut kept.rewards {
        let now = recipe.rewards.iter().find(|other| other.name == reward.name);
        let (Some(mine), Some(now)) = (reward.custom.as_mut(), now.and_then(|now| now.custom.as_ref())) else {
            continue;
        };
        for (key, differs) in [
            ("function", mine.function != now.function),
            ("conversational", mine.conversational != now.conversational),
            ("on_error", mine.on_error != now.on_error),
        ] {
            if differs {
                changed.push(format!("`{key}` of the reward {}", reward.name));
            }
        }
        *mine = CustomReward { path: mine.path.clone(), ..now.clone() };
    }
    changed
}
