//! The central types: what is scored ([`Sample`], [`Reference`]), the verdict ([`Score`], [`ScoreBreakdown`]),
//! and the [`Reward`] trait that leads from one to the other.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RewardError;
use crate::code::{CallCase, Checker, StdinCase, Tolerance};

/// What a completion is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reference {
    /// A value: integer, fraction, decimal, LaTeX, a list of them, or plain text.
    Math {
        /// The answer as the task's author wrote it.
        answer: String,
    },
    /// A whole number, written out. Where the question is an expression, one that equals it is not an answer: to repeat
    /// the question would be right.
    Integer {
        /// The number.
        value: i64,
    },
    /// An expression that uses each number exactly once and equals the target.
    Countdown {
        /// The numbers to use.
        numbers: Vec<i64>,
        /// The value to reach.
        target: i64,
    },
    /// A Python program that must pass assertions.
    Tests {
        /// Python that runs before the submission: imports and the like.
        #[serde(default)]
        setup: String,
        /// One Python statement each, normally an `assert`.
        assertions: Vec<String>,
    },
    /// A Python program that reads standard input and prints.
    Stdin {
        /// What it reads and is to print.
        cases: Vec<StdinCase>,
        /// How that is compared.
        #[serde(default, skip_serializing_if = "Checker::is_default")]
        checker: Checker,
        /// By how much numbers that are not whole may differ; none unless the task says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tolerance: Option<Tolerance>,
    },
    /// A Python function that is called with JSON.
    Calls {
        /// Python that runs before the submission: imports and the like.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        setup: String,
        /// Its name; it may also be a method of a class `Solution`.
        function: String,
        /// What it is called with and is to return.
        cases: Vec<CallCase>,
        /// By how much numbers that are not whole may differ; none unless the task says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tolerance: Option<Tolerance>,
    },
}

impl Reference {
    /// The kind as it is written in a file: `math`, `integer`, `countdown`, `tests`, `stdin` or `calls`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Math { .. } => "math",
            Self::Integer { .. } => "integer",
            Self::Countdown { .. } => "countdown",
            Self::Tests { .. } => "tests",
            Self::Stdin { .. } => "stdin",
            Self::Calls { .. } => "calls",
        }
    }

    /// Whether it is a program that is asked for, and judged by its tests.
    #[must_use]
    pub fn is_code(&self) -> bool {
        matches!(self, Self::Tests { .. } | Self::Stdin { .. } | Self::Calls { .. })
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// One completion and all that is needed to judge it.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The task's question, as the policy was asked it, without the template around it.
    pub prompt: &'a str,
    /// What stood before the question: a system message, earlier turns. Mostly nothing.
    pub turns: &'a [Message],
    /// What the policy wrote after the prompt.
    pub completion: &'a str,
    /// The same as the tokens that were sampled, the end of text included. Empty where the text did not come from a
    /// policy: a reward that counts tokens cannot score such a sample.
    pub completion_ids: &'a [u32],
    /// What it is compared with.
    pub reference: &'a Reference,
    /// The task's further columns, by name.
    pub columns: &'a Map<String, Value>,
    /// Whether it was cut at the length limit. Such a completion is scored as it stands.
    pub truncated: bool,
}

impl<'a> Sample<'a> {
    /// A completion that ended by itself, of which nothing else is known; what is known is set with `..`:
    ///
    /// ```
    /// # use rewards::{Reference, Sample};
    /// let reference = Reference::Integer { value: 2 };
    /// let sample = Sample { truncated: true, ..Sample::new("1 + 1", "so 1 + 1", &reference) };
    /// assert!(sample.truncated && sample.columns.is_empty());
    /// ```
    #[must_use]
    pub fn new(prompt: &'a str, completion: &'a str, reference: &'a Reference) -> Self {
        static NO_COLUMNS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        Self { prompt, turns: &[], completion, completion_ids: &[], reference, columns: &NO_COLUMNS, truncated: false }
    }
}

/// A score and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `None`: there is no verdict. With a cause the sample is unscorable (its reference is unusable, say): it is
    /// reported and left out, never 0. Without one the reward had nothing to say, as [`Score::not_scored`].
    pub value: Option<f64>,
    /// Why it is not full marks, as a short snake_case word; `None` where it is.
    pub cause: Option<String>,
}

impl Score {
    /// Full marks.
    #[must_use]
    pub fn full() -> Self {
        Self { value: Some(1.0), cause: None }
    }

    /// No marks, and why.
    #[must_use]
    pub fn zero(cause: impl Into<String>) -> Self {
        Self { value: Some(0.0), cause: Some(cause.into()) }
    }

    /// Marks between none and all, or beyond: `value`, with no cause.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self { value: Some(value), cause: None }
    }

    /// No verdict, because the reference is unusable, and in what way.
    #[must_use]
    pub fn unscorable(cause: impl Into<String>) -> Self {
        Self { value: None, cause: Some(cause.into()) }
    }

    /// No verdict, because the reward has nothing to say on this sample: the others' sum is its total, as it is where a
    /// reward does not apply. What a Python reward means by `None`.
    #[must_use]
    pub fn not_scored() -> Self {
        Self { value: None, cause: None }
    }

    /// Whether the reward had nothing to say.
    #[must_use]
    pub fn is_not_scored(&self) -> bool {
        self.value.is_none() && self.cause.is_none()
    }
}

/// One reward's part of a total.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// The reward's name.
    pub name: String,
    /// Its weight in the total.
    pub weight: f64,
    /// Its score, before weighting.
    pub score: Score,
}

/// A sample's total and the parts it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreBreakdown {
    /// The weighted sum of the components. `None` where no reward has anything to say, or where one that applies is
    /// unscorable: a total that lacks a part cannot be compared with its group's.
    pub total: Option<f64>,
    /// The rewards that apply, in the order in which the recipe names them.
    pub components: Vec<Component>,
}

impl ScoreBreakdown {
    /// The weighted sum of `components`.
    #[must_use]
    pub fn new(components: Vec<Component>) -> Self {
        let mut scored = components.iter().filter(|component| !component.score.is_not_scored()).peekable();
        let any = scored.peek().is_some();
        let total = scored
            .map(|component| component.score.value.map(|value| component.weight * value))
            .sum::<Option<f64>>()
            .filter(|_| any);
        Self { total, components }
    }

    /// The unweighted value of the reward called `name`; `None` where it does not apply or is unscorable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.components.iter().find(|component| component.name == name)?.score.value
    }

    /// The first cause found, in the order of the components: why the total is not full marks.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.components.iter().find_map(|component| component.score.cause.as_deref())
    }
}

/// What a reward printed while it scored a group: for the run's log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Printed {
    /// The question that the group answers.
    pub prompt: String,
    /// The reward.
    pub reward: String,
    /// What it printed.
    pub text: String,
}

/// A rule that scores samples: each by itself, or all of a group together.
///
/// Implementations depend on the samples alone and may be called from many threads at once.
pub trait Reward: Send + Sync {
    /// The name a recipe uses.
    fn name(&self) -> &str;

    /// Whether this reward has something to say on samples with such a reference.
    fn applies(&self, reference: &Reference) -> bool;

    /// Scores one sample.
    ///
    /// # Errors
    /// Only for the host's own failures; whatever the completion does is a [`Score`].
    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError>;

    /// Whether a sample's score depends on the others of its group (on their lengths, say). Such a reward is asked by
    /// [`Reward::score_group`], once the last completion of the group is there; one that needs no group is asked as soon
    /// as a completion ends.
    fn needs_group(&self) -> bool {
        false
    }

    /// Scores all completions of one prompt, in order: one score for each.
    ///
    /// # Errors
    /// As [`Reward::score`].
    fn score_group(&self, samples: &[Sample<'_>]) -> Result<Vec<Score>, RewardError> {
        samples.iter().map(|sample| self.score(sample)).collect()
    }

    /// What it printed since it was last asked.
    fn take_printed(&self) -> Vec<Printed> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, weight: f64, value: Option<f64>) -> Component {
        Component { name: name.to_owned(), weight, score: Score { value, cause: None } }
    }

    #[test]
    fn a_total_is_the_weighted_sum_of_what_applies() {
        let breakdown =
            ScoreBreakdown::new(vec![component("accuracy", 1.0, Some(1.0)), component("format", 0.5, Some(1.0))]);
        assert_eq!(breakdown.total, Some(1.5));
        assert_eq!(breakdown.get("format"), Some(1.0));
        assert_eq!(breakdown.get("code"), None);
    }

    #[test]
    fn an_unscorable_part_leaves_the_sample_out() {
        let unusable = Component { name: "accuracy".to_owned(), weight: 1.0, score: Score::unscorable("no_reference") };
        let breakdown = ScoreBreakdown::new(vec![unusable, component("format", 1.0, Some(1.0))]);
        assert_eq!(breakdown.total, None);
        assert_eq!(ScoreBreakdown::new(vec![]).total, None);
    }

    #[test]
    fn a_part_with_nothing_to_say_is_left_out_of_the_sum() {
        let silent = Component { name: "mine".to_owned(), weight: 1.0, score: Score::not_scored() };
        let breakdown = ScoreBreakdown::new(vec![component("format", 0.5, Some(1.0)), silent.clone()]);
        assert_eq!((breakdown.total, breakdown.get("mine"), breakdown.cause()), (Some(0.5), None, None));
        assert_eq!(ScoreBreakdown::new(vec![silent]).total, None);
    }

    #[test]
    fn references_are_tagged_by_kind() {
        let text = r#"{"kind":"countdown","numbers":[3,4],"target":7}"#;
        let reference: Reference = serde_json::from_str(text).unwrap();
        assert_eq!(reference, Reference::Countdown { numbers: vec![3, 4], target: 7 });
        assert_eq!(serde_json::to_string(&reference).unwrap(), text);
        assert!(serde_json::from_str::<Reference>(r#"{"kind":"math","answer":"1","extra":2}"#).is_err());
        for text in [
            r#"{"kind":"stdin","cases":[{"stdin":"1\n","stdout":"2\n"}]}"#,
            r#"{"kind":"stdin","cases":[{"stdin":"","stdout":"2","weight":3}],"checker":"tokens","tolerance":1e-6}"#,
            r#"{"kind":"stdin","cases":[],"checker":{"program":"print(1)"}}"#,
            r#"{"kind":"calls","function":"f","cases":[{"arguments":"[1]","expected":"2"}]}"#,
        ] {
            let reference: Reference = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&reference).unwrap(), text);
        }
        let negative = r#"{"kind":"stdin","cases":[],"tolerance":-1}"#;
        assert!(serde_json::from_str::<Reference>(negative).unwrap_err().to_string().contains("-1 is not"));
    }
}
