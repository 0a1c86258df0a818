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
        let mut parameters = Given::new();
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
        Err(error) => Err(Wrong(error.to_string()).into()),
        Ok(set) => Ok(set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
