//! The reward that a command line names: a known one, or a file.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use rewards::parameter::Given;
use rewards::{CustomReward, Registry, RewardError, RewardSet, RewardSpec, Surroundings};
use sandbox::{Limits, Packages};
use serde_json::Value;

use crate::command::Wrong;
use crate::command::sandbox::prepare_python;
use crate::config::RewardSettings;
use crate::progress::Reporter;

/// How the reward is called.
#[derive(Args, Debug, Default)]
pub(in crate::command) struct RewardOptions {
    /// Tell the reward something; may be repeated
    #[arg(long = "set", value_name = "PARAMETER=VALUE")]
    parameters: Vec<String>,

    /// The function in the Python file [default: reward]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Give the Python function lists of messages in place of texts
    #[arg(long)]
    conversational: bool,
}

impl RewardOptions {
    /// The reward that `named` and these options mean, checked as far as it can be without its file.
    pub(in crate::command) fn spec(&self, named: &str, known: &Registry) -> anyhow::Result<RewardSpec> {
        self.spec_among(named, &[], known)
    }

    /// The same; the name may be that of one of `others`, whose settings hold but for what the options say.
    pub(super) fn spec_among(
        &self,
        named: &str,
        others: &[RewardSettings],
        known: &Registry,
    ) -> anyhow::Result<RewardSpec> {
        let other = others.iter().find(|reward| reward.name == named);
        let mut parameters = other.map_or_else(Given::new, |reward| reward.parameters.clone());
        for text in &self.parameters {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Wrong(format!("--set {text}: expected PARAMETER=VALUE\n  hint: for example --set max_length=512"))
            })?;
            // What is no JSON is a text, so that quotes may be left out.
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            parameters.insert(key.trim().to_owned(), value);
        }
        let path = Path::new(named);
        let custom = CustomReward {
            function: self.function.clone(),
            conversational: self.conversational.then_some(true),
            ..CustomReward::at(path)
        };
        let spec = if custom.kind().is_some() {
            if !path.is_file() {
                return Err(Wrong(format!(
                    "there is no file {named}\n  hint: `recipe reward new NAME` writes a reward to begin with"
                ))
                .into());
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("reward");
            RewardSpec { custom: Some(custom), parameters, ..RewardSpec::named(stem) }
        } else if let Some(theirs) = other.and_then(|reward| reward.custom.clone()) {
            let custom = CustomReward {
                function: self.function.clone().or(theirs.function),
                conversational: if self.conversational { Some(true) } else { theirs.conversational },
                ..theirs
            };
            RewardSpec { custom: Some(custom), parameters, ..RewardSpec::named(named) }
        } else {
            if self.function.is_some() || self.conversational {
                let text = format!("--function and --conversational are for rewards of files, and {named} is none");
                return Err(Wrong(text).into());
            }
            RewardSpec { parameters, ..RewardSpec::named(named) }
        };
        known.check(&spec).map_err(|error| Wrong(error.to_string()))?;
        Ok(spec)
    }
}

/// The one reward of `spec` as a set, with its Python if it needs any.
pub(in crate::command) fn build(spec: &RewardSpec, known: &Registry, reporter: &Reporter) -> anyhow::Result<RewardSet> {
    let specs = std::slice::from_ref(spec);
    let python = known.need_python(specs, true).then(|| prepare_python(reporter, &Packages::default())).transpose()?;
    let surroundings = Surroundings { python: python.map(Into::into), limits: Limits::default() };
    match known.build(specs, &surroundings) {
        Err(error @ RewardError::Sandbox { .. }) => Err(error).context("the sandbox cannot be used"),
        Err(error) => Err(Wrong(as_typed(error).to_string()).into()),
        Ok(set) => Ok(set),
    }
}

/// An error of a reward whose hint names the options of a command line, where it names keys of a recipe.
pub(super) fn as_typed(error: RewardError) -> RewardError {
    match error {
        RewardError::Custom { place, reward, problem, shown, hint } => {
            RewardError::Custom { place, reward, problem, shown, hint: hint.map(|hint| hint_as_typed(&hint)) }
        }
        RewardError::Failed(error) => RewardError::Failed(Box::new(as_typed(*error))),
        other => other,
    }
}

fn hint_as_typed(hint: &str) -> String {
    let hint = hint.replace("set conversational = true beside its path", "add --conversational");
    match hint.split_once("function = ") {
        Some((before, after)) => format!("{before}--function {}", after.replace('"', "")),
        None => hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_for_a_command_line() {
        fn check(hint: &str, expected: &str) {
            assert_eq!(hint_as_typed(hint), expected);
        }
        // As the driver of rewards in Python says them.
        let driver = include_str!("../../../../rewards/src/custom/driver.py");
        for words in
            ["did you mean function = ", "set function = to one of", "set conversational = true beside its path"]
        {
            assert!(driver.contains(words), "{words}");
        }
        check("did you mean function = \"rewrd\"?", "did you mean --function rewrd?");
        check("set function = to one of: tags, length", "set --function to one of: tags, length");
        check("if it is so, set conversational = true beside its path", "if it is so, add --conversational");
    }

    /// A run's own, with the settings that it has there.
    #[test]
    fn a_name_of_a_runs_recipe() {
        let known = Registry::builtin();
        let of_run = CustomReward {
            function: Some("mine".to_owned()),
            conversational: Some(true),
            ..CustomReward::at(Path::new("/there/rewards.py"))
        };
        let parameters = Given::from_iter([("words".to_owned(), Value::from(3)), ("how".to_owned(), Value::from("a"))]);
        let others =
            [RewardSettings { name: "my_reward".to_owned(), weight: 0.5, custom: Some(of_run.clone()), parameters }];
        let spec = options(&["words=5"]).spec_among("my_reward", &others, &known).unwrap();
        assert_eq!(spec.custom, Some(of_run.clone()));
        assert_eq!(Value::Object(spec.parameters), serde_json::json!({"words": 5, "how": "a"}));
        let other = RewardOptions { function: Some("other".to_owned()), ..RewardOptions::default() };
        let custom = other.spec_among("my_reward", &others, &known).unwrap().custom.unwrap();
        assert_eq!((custom.function.as_deref(), custom.path), (Some("other"), of_run.path));
        assert!(options(&[]).spec_among("mine", &others, &known).is_err());
    }

    fn options(parameters: &[&str]) -> RewardOptions {
        let parameters = parameters.iter().map(|&text| text.to_owned()).collect();
        RewardOptions { parameters, ..RewardOptions::default() }
    }

    #[test]
    fn a_name_or_a_file() {
        let known = Registry::builtin();
        assert_eq!(options(&[]).spec("format", &known).unwrap(), RewardSpec::named("format"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("brief.py");
        std::fs::write(&file, "").unwrap();
        let spec = options(&["words=3", "how=well"]).spec(file.to_str().unwrap(), &known).unwrap();
        assert_eq!((spec.name.as_str(), spec.custom), ("brief", Some(CustomReward::at(&file))));
        assert_eq!(Value::Object(spec.parameters), serde_json::json!({"words": 3, "how": "well"}));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let check = |options: &RewardOptions, named: &str, expected: &str| {
            let error = options.spec(named, &Registry::builtin()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(&options(&[]), "formt", "unknown reward `formt`; did you mean `format`?");
        check(&options(&[]), "no/such.py", "there is no file no/such.py\n  hint: `recipe reward new NAME`");
        check(&options(&["words"]), "format", "--set words: expected PARAMETER=VALUE");
        check(&options(&["words=1"]), "format", "the reward `format` has no parameter `words`");
        let named = RewardOptions { function: Some("f".to_owned()), ..RewardOptions::default() };
        check(&named, "format", "--function and --conversational are for rewards of files, and format is none");
    }
}
