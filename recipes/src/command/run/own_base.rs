//! A recipe that makes a small base of its own, begun with a far larger model in its place: what it says of learning is for
//! the base.

use policy::ModelConfig;
use rewards::Registry;

use crate::config::{GrpoSettings, ModelSettings, Recipe, Stage, find_shipped};
use crate::table::count_text;

/// So many times the parameters of the recipe's own base are a model of another kind.
const FAR_LARGER: usize = 10;
/// The shipped recipe whose settings are named beside those of the recipe.
const OF_LARGE_MODELS: &str = "qwen2.5-1.5b-gsm8k";

/// What is to be said of it, a line for each stage; `named` is what the recipe is called on the command line.
pub(super) fn notes(recipe: &Recipe, named: &str, known: &Registry) -> Vec<String> {
    // Where a model is not here, or the recipe is none without the settings that it was given, there is nothing to compare.
    look(recipe, named, known).unwrap_or_default()
}

fn look(recipe: &Recipe, named: &str, known: &Registry) -> Option<Vec<String>> {
    let ModelSettings::Folder { path } = &recipe.model else { return None };
    let own = Recipe::find_with(named, &[], known).ok()?;
    let shape = own.model.hf_config(own.pretrain()?.vocab_size)?;
    let base = ModelConfig::from_json(&shape.to_string()).ok()?.parameters().0;
    let model = ModelConfig::from_file(path.join("config.json")).ok()?.parameters().0;
    if model < FAR_LARGER * base {
        return None;
    }
    let large = find_shipped(OF_LARGE_MODELS).ok()?.recipe(&[]).ok()?;
    let (_, large) = large.grpo().next()?;
    let note = |(stage, settings): (&Stage, &GrpoSettings)| {
        let (_, of_base) = own.grpo().find(|(other, _)| other.name == stage.name)?;
        // Adapters learn at such rates, whatever they are put on.
        if settings.learning_rate != of_base.learning_rate || stage.lora.is_some() {
            return None;
        }
        let (mut those, mut usual) =
            (format!("learning_rate = {:e}", settings.learning_rate), format!("{:e}", large.learning_rate));
        if settings.max_new_tokens == of_base.max_new_tokens {
            those += &format!(" and max_new_tokens = {}", settings.max_new_tokens);
            usual += &format!(" and {}", large.max_new_tokens);
        }
        Some(format!(
            "{}: {those}, as the recipe has it for its own base of {} parameters; the model has {}, and recipes for such \
             models have {usual} (recipe show {OF_LARGE_MODELS})",
            stage.name,
            count_text(base as u64),
            count_text(model as u64)
        ))
    };
    Some(recipe.grpo().filter_map(note).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_model_in_the_place_of_a_small_base_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let of = |width: usize, settings: &[&str]| {
            let shape = crate::config::DenseShape { hidden_size: width, ..Default::default() };
            std::fs::write(folder.path().join("config.json"), shape.hf_config(512).to_string()).unwrap();
            let model = format!("model={{ path = '{}' }}", folder.path().display());
            let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).chain([model]).collect();
            let known = Registry::builtin();
            notes(&Recipe::find_with("r1-zero", &settings, &known).unwrap(), "r1-zero", &known)
        };
        let said = of(4096, &[]);
        assert!(
            said.len() == 1
                && said[0].starts_with("grpo: learning_rate = 3e-4 and max_new_tokens = 128, as the recipe"),
            "{said:?}"
        );
        assert!(said[0].ends_with("have 1e-6 and 512 (recipe show qwen2.5-1.5b-gsm8k)"), "{said:?}");
        assert!(of(4096, &["grpo.max_new_tokens=512"])[0].contains("3e-4, as the recipe has it"));
        assert!(of(4096, &["grpo.learning_rate=1e-6"]).is_empty());
        assert!(of(128, &[]).is_empty());
    }
}
