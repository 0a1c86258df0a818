//! `recipe reward list` and `show`.

use std::fmt::Write;

use rewards::{PythonUse, Registry, RewardDescription, RewardSpec};

use crate::command::Wrong;
use crate::command::show::{WIDTH, wrapped};

/// Every reward with a sentence.
pub(super) fn list(known: &Registry) -> String {
    let column = known.names().iter().map(|name| name.len()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for reward in known.descriptions() {
        for (index, line) in wrapped(reward.summary, WIDTH - column).iter().enumerate() {
            let name = if index == 0 { reward.name } else { "" };
            let _ = writeln!(text, "{name:column$}{line}");
        }
    }
    text.push_str("\nrecipe reward show NAME explains one; recipe reward new NAME begins one of your own\n");
    text
}

/// What a reward does, what it can be told, and how a recipe names it.
pub(super) fn show(name: &str, known: &Registry) -> Result<String, Wrong> {
    let Some(reward) = known.description(name) else {
        // Says what is near.
        let error = known.check(&RewardSpec::named(name)).err().map_or_else(String::new, |error| error.to_string());
        return Err(Wrong(error));
    };
    let mut text = format!("{name}\n");
    paragraph(&mut text, "  ", reward.summary);
    match reward.python {
        PythonUse::Never => {}
        PythonUse::ForPrograms => paragraph(&mut text, "  ", "It applies to tasks that are answered by programs."),
        PythonUse::Always => paragraph(&mut text, "  ", "It runs Python in the sandbox."),
    }
    if reward.parameters.is_empty() {
        text.push_str("\nIt has no parameters.\n");
    } else {
        text.push_str("\nParameters, with their defaults:\n");
        for parameter in &reward.parameters {
            let _ = writeln!(text, "  {} = {}", parameter.name, parameter.default);
            paragraph(&mut text, "      ", &format!("{} ({})", parameter.help, parameter.expected));
        }
    }
    let _ = write!(text, "\nIn a recipe:\n{}", in_a_recipe(reward));
    Ok(text)
}

fn paragraph(text: &mut String, margin: &str, words: &str) {
    for line in wrapped(words, WIDTH - margin.len()) {
        let _ = writeln!(text, "{margin}{line}");
    }
}

fn in_a_recipe(reward: &RewardDescription) -> String {
    let mut text = format!("  [[rewards]]\n  name = \"{}\"\n  weight = 1.0\n", reward.name);
    if let Some(first) = reward.parameters.first() {
        let _ = writeln!(text, "  parameters = {{ {} = {} }}", first.name, first.default);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reward_is_listed_and_shown() {
        let known = Registry::builtin();
        let listed = list(&known);
        for reward in known.descriptions() {
            assert!(listed.lines().any(|line| line.starts_with(reward.name)), "{}", reward.name);
            let shown = show(reward.name, &known).unwrap();
            for parameter in &reward.parameters {
                assert!(shown.contains(&format!("  {} = {}\n", parameter.name, parameter.default)), "{shown}");
                assert!(!parameter.help.is_empty(), "{}.{}", reward.name, parameter.name);
            }
            assert!(listed.lines().chain(shown.lines()).all(|line| line.chars().count() <= WIDTH), "{shown}");
        }
        let error = show("acuracy", &known).unwrap_err().to_string();
        assert!(error.starts_with("unknown reward `acuracy`; did you mean `accuracy`?"), "{error}");
    }

    /// What `show` prints can be put into a recipe as it stands.
    #[test]
    fn what_is_shown_can_be_copied() {
        let known = Registry::builtin();
        for reward in known.descriptions() {
            // Another reward beside it, for those that judge programs alone.
            let rest = "\n[[rewards]]\nname = \"accuracy\"\nweight = 0.5\n";
            let rest = if reward.name == "accuracy" { "" } else { rest };
            let text =
                format!("{}{rest}\n[[stage]]\nkind = \"pretrain\"\n[[stage]]\nkind = \"grpo\"\n", in_a_recipe(reward));
            let recipe = crate::Recipe::parse("shown.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(recipe.rewards[0].name, reward.name);
        }
    }
}
