//! Rewards by name: the table of those that exist, and the weighted set that a recipe asks for.

use std::sync::Arc;

use sandbox::Limits;
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::math::Accuracy;
use crate::shape::Format;
use crate::{Component, Reward, RewardError, Sample, ScoreBreakdown};

/// A reward as a recipe names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardSpec {
    /// One of the known names.
    pub name: String,
    /// Its weight in the total; 1 unless given.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// What a known reward is, for lists and help texts.
#[derive(Debug, Clone, Copy)]
pub struct RewardDescription {
    /// The name a recipe uses.
    pub name: &'static str,
    /// One sentence: what it scores and how.
    pub summary: &'static str,
    /// Whether it runs programs, and so needs a prepared interpreter.
    pub needs_python: bool,
}

type Build = fn(Option<&Arc<sandbox::Python>>, Limits) -> Option<Box<dyn Reward>>;

const KNOWN: &[(RewardDescription, Build)] = &[
    (
        RewardDescription {
            name: "accuracy",
            summary: "1 where the answer equals the reference, exactly (mathematics and Countdown); else 0.",
            needs_python: false,
        },
        |_, _| Some(Box::new(Accuracy)),
    ),
    (
        RewardDescription {
            name: "code",
            summary: "1 where the answer's Python passes every assertion in the sandbox; else 0.",
            needs_python: true,
        },
        |python, limits| Some(Box::new(Code::new(Arc::clone(python?), limits))),
    ),
    (
        RewardDescription {
            name: "format",
            summary: "1 where the completion is <think>...</think> <answer>...</answer> and nothing else; else 0.",
            needs_python: false,
        },
        |_, _| Some(Box::new(Format)),
    ),
];

/// Every reward that a recipe can name.
pub fn descriptions() -> impl Iterator<Item = &'static RewardDescription> {
    KNOWN.iter().map(|(description, _)| description)
}

/// Several rewards and their weights.
pub struct RewardSet {
    rewards: Vec<(Box<dyn Reward>, f64)>,
}

impl RewardSet {
    /// The rewards that `specs` name. `python` runs the programs of those that need it, under the default limits.
    ///
    /// # Errors
    /// An unknown name (with the nearest known one), a repeated one, a weight that is not finite, an empty
    /// list, or a missing interpreter.
    pub fn build(specs: &[RewardSpec], python: Option<Arc<sandbox::Python>>) -> Result<Self, RewardError> {
        Self::build_limited(specs, python, Limits::default())
    }

    /// As [`RewardSet::build`], with limits for each program.
    ///
    /// # Errors
    /// As [`RewardSet::build`].
    pub fn build_limited(
        specs: &[RewardSpec],
        python: Option<Arc<sandbox::Python>>,
        limits: Limits,
    ) -> Result<Self, RewardError> {
        if specs.is_empty() {
            return Err(RewardError::Empty { known: known_names() });
        }
        let mut rewards: Vec<(Box<dyn Reward>, f64)> = Vec::with_capacity(specs.len());
        for RewardSpec { name, weight } in specs {
            let (_, build) = KNOWN.iter().find(|(known, _)| known.name == name).ok_or_else(|| unknown(name))?;
            if rewards.iter().any(|(reward, _)| reward.name() == name) {
                return Err(RewardError::Duplicate { name: name.clone() });
            }
            if !weight.is_finite() {
                return Err(RewardError::BadWeight { name: name.clone(), weight: *weight });
            }
            let reward =
                build(python.as_ref(), limits).ok_or_else(|| RewardError::NeedsPython { name: name.clone() })?;
            rewards.push((reward, *weight));
        }
        Ok(Self { rewards })
    }

    /// A set of rewards of one's own, with their weights.
    #[must_use]
    pub fn from_rewards(rewards: Vec<(Box<dyn Reward>, f64)>) -> Self {
        Self { rewards }
    }

    /// Scores `sample` by every reward that applies to its reference.
    ///
    /// # Errors
    /// Only for the host's own failures.
    pub fn score(&self, sample: &Sample<'_>) -> Result<ScoreBreakdown, RewardError> {
        let components = self
            .rewards
            .iter()
            .filter(|(reward, _)| reward.applies(sample.reference))
            .map(|(reward, weight)| {
                Ok(Component { name: reward.name().to_owned(), weight: *weight, score: reward.score(sample)? })
            })
            .collect::<Result<Vec<_>, RewardError>>()?;
        Ok(ScoreBreakdown::new(components))
    }

    /// The rewards' names, in the order of the recipe.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rewards.iter().map(|(reward, _)| reward.name())
    }

    /// Whether any of `specs` runs programs. Unknown names do not: [`RewardSet::build`] reports those.
    #[must_use]
    pub fn needs_python(specs: &[RewardSpec]) -> bool {
        specs.iter().any(|spec| descriptions().any(|known| known.name == spec.name && known.needs_python))
    }
}

impl std::fmt::Debug for RewardSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.rewards.iter().map(|(reward, weight)| (reward.name(), weight))).finish()
    }
}

fn known_names() -> String {
    descriptions().map(|known| known.name).collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str) -> RewardError {
    // More than a third of the letters wrong is another word, not a slip.
    let nearest = descriptions()
        .map(|known| (edit_distance(name, known.name), known.name))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3));
    let hint = nearest.map_or(String::new(), |(_, known)| format!("; did you mean `{known}`?"));
    RewardError::Unknown { name: name.to_owned(), hint, known: known_names() }
}

/// Levenshtein's distance: insertions, deletions and replacements from `a` to `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    // A name is short; a longer text is simply far away, and need not be measured.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    fn spec(name: &str, weight: f64) -> RewardSpec {
        RewardSpec { name: name.to_owned(), weight }
    }

    #[track_caller]
    fn check_error(specs: &[RewardSpec], expected: &str) {
        let error = RewardSet::build(specs, None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_the_reward_and_what_to_do() {
        check_error(
            &[spec("acuracy", 1.0)],
            "unknown reward `acuracy`; did you mean `accuracy`? (known: accuracy, code, format)",
        );
        check_error(&[spec("banana", 1.0)], "unknown reward `banana` (known: accuracy, code, format)");
        check_error(
            &[spec("format", 1.0), spec("format", 2.0)],
            "reward `format` is listed twice; give it once, with the sum of the weights",
        );
        check_error(&[spec("format", f64::NAN)], "reward `format` has the weight NaN; a weight is a finite number");
        check_error(&[], "no reward is named; name at least one of: accuracy, code, format");
        check_error(
            &[spec("code", 1.0)],
            "reward `code` runs programs and needs a prepared Python interpreter, and none was given",
        );
    }

    #[test]
    fn only_rewards_that_apply_are_summed() {
        let set = RewardSet::build(&[spec("accuracy", 1.0), spec("format", 0.5)], None).unwrap();
        let reference = Reference::Math { answer: "17".to_owned() };
        let sample = |completion, reference| Sample { prompt: "", completion, reference, truncated: false };
        let right = " <think> 8 + 9 </think> <answer> 17 </answer>";
        assert_eq!(set.score(&sample(right, &reference)).unwrap().total, Some(1.5));
        assert_eq!(set.score(&sample("<answer>17</answer>", &reference)).unwrap().total, Some(1.0));
        let tests = Reference::Tests { setup: String::new(), assertions: vec!["assert f() == 1".to_owned()] };
        let breakdown = set.score(&sample(right, &tests)).unwrap();
        assert_eq!((breakdown.get("accuracy"), breakdown.get("format")), (None, Some(1.0)));
        assert_eq!(breakdown.total, Some(0.5));
        assert_eq!(set.names().collect::<Vec<_>>(), ["accuracy", "format"]);
    }

    #[test]
    fn a_specification_has_the_weight_one_and_no_other_keys() {
        let parsed: RewardSpec = serde_json::from_str(r#"{"name":"format"}"#).unwrap();
        assert_eq!(parsed, spec("format", 1.0));
        assert!(serde_json::from_str::<RewardSpec>(r#"{"name":"format","wieght":2}"#).is_err());
        assert!(RewardSet::needs_python(&[spec("format", 1.0), spec("code", 1.0)]));
        assert!(!RewardSet::needs_python(&[spec("format", 1.0), spec("accuracy", 1.0)]));
    }
}
