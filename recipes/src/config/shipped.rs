//! The recipes inside the binary: `recipe run r1-zero` needs no file.

use std::path::Path;

use rewards::Registry;

use super::document::Document;
use super::error::{RecipeError, nearest};
use super::recipe::{Recipe, Source, TOP_LEVEL, stem, text_of};

/// A recipe inside the binary.
#[derive(Clone, Copy, Debug)]
pub struct ShippedRecipe {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Its text, with the comments that explain it.
    pub text: &'static str,
}

/// Every recipe inside the binary.
pub const SHIPPED: &[ShippedRecipe] = &[
    ShippedRecipe { name: "distill-qwen", text: include_str!("../../shipped/distill-qwen.toml") },
    ShippedRecipe { name: "distill-llama", text: include_str!("../../shipped/distill-llama.toml") },
    ShippedRecipe { name: "open-r1-step1", text: include_str!("../../shipped/open-r1-step1.toml") },
    ShippedRecipe { name: "open-r1-step2", text: include_str!("../../shipped/open-r1-step2.toml") },
    ShippedRecipe { name: "open-r1-step3", text: include_str!("../../shipped/open-r1-step3.toml") },
    ShippedRecipe { name: "qwen2.5-1.5b-gsm8k", text: include_str!("../../shipped/qwen2.5-1.5b-gsm8k.toml") },
    ShippedRecipe { name: "qwen2.5-0.5b-countdown", text: include_str!("../../shipped/qwen2.5-0.5b-countdown.toml") },
    ShippedRecipe { name: "r1", text: include_str!("../../shipped/r1.toml") },
    ShippedRecipe { name: "r1-zero", text: include_str!("../../shipped/r1-zero.toml") },
    ShippedRecipe { name: "smoke", text: include_str!("../../shipped/smoke.toml") },
];

impl ShippedRecipe {
    /// The recipe with `--set` arguments on top of it.
    ///
    /// # Errors
    /// If a setting is wrong.
    pub fn recipe(&self, settings: &[String]) -> Result<Recipe, RecipeError> {
        self.recipe_with(settings, &Registry::builtin())
    }

    /// As [`ShippedRecipe::recipe`]; the settings may name the rewards that `known` holds.
    ///
    /// # Errors
    /// If a setting is wrong.
    pub fn recipe_with(&self, settings: &[String], known: &Registry) -> Result<Recipe, RecipeError> {
        // Not `NAME.toml`: a person has no such file.
        let shown = format!("the shipped recipe {}", self.name);
        let source = Source { shown: &shown, text: self.text, name: self.name, folder: Path::new(""), known };
        Recipe::parse_source(source, settings)
    }
}

impl Recipe {
    /// A recipe by the name of a shipped one or by its file, with settings on top.
    ///
    /// # Errors
    /// If there is none, or it is wrong.
    pub fn find(name: &str, settings: &[String]) -> Result<Recipe, RecipeError> {
        Recipe::find_with(name, settings, &Registry::builtin())
    }

    /// As [`Recipe::find`]; the recipe may name the rewards that `known` holds.
    ///
    /// # Errors
    /// As [`Recipe::find`].
    pub fn find_with(name: &str, settings: &[String], known: &Registry) -> Result<Recipe, RecipeError> {
        match file(name) {
            Some(path) => Recipe::read_with(path, settings, known),
            None => find_shipped(name)?.recipe_with(settings, known),
        }
    }

    /// What the recipe is called that [`Recipe::find`] would read. It need not be whole: a model that it does not name may be one
    /// that its run was given.
    ///
    /// # Errors
    /// If there is none, or its text is no TOML.
    pub fn name_of(name: &str, settings: &[String]) -> Result<String, RecipeError> {
        let names_it = |setting: &&String| setting.split_once('=').is_some_and(|(key, _)| key.trim() == "name");
        let settings: Vec<String> = settings.iter().filter(names_it).cloned().collect();
        let (text, usual) = match file(name) {
            Some(path) => (text_of(path)?, stem(path)),
            None => (find_shipped(name)?.text.to_owned(), name),
        };
        let document = Document::new(name, &text, &settings)?;
        let tree = document.tree(&TOP_LEVEL)?;
        let said = tree.get_ref().get("name").and_then(|name| name.get_ref().as_str());
        Ok(said.unwrap_or(usual).to_owned())
    }
}

/// The file that a recipe's name means, if it means no shipped recipe.
fn file(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    // Some shipped recipes are called after models whose names have a dot.
    let looks_like_file = path.extension().is_some() || path.components().count() > 1;
    (find_shipped(name).is_err() && (looks_like_file || path.is_file())).then_some(path)
}

/// The shipped recipe of this name.
///
/// # Errors
/// If there is none: the error suggests the nearest.
pub fn find_shipped(name: &str) -> Result<&'static ShippedRecipe, RecipeError> {
    if let Some(recipe) = SHIPPED.iter().find(|recipe| recipe.name == name) {
        return Ok(recipe);
    }
    let names: Vec<&str> = SHIPPED.iter().map(|recipe| recipe.name).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the shipped recipes are {}; `recipe list` says what they do", names.join(", ")),
    };
    Err(RecipeError::new(name, "there is no shipped recipe and no file of this name").hint(hint))
}
