//! The tests of a program that are data: what it reads and prints, or what its function is called with and returns.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize};

/// One test of a program that reads standard input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinCase {
    /// What the program reads.
    pub stdin: String,
    /// What it is to print; the [`Checker`] says what may differ.
    pub stdout: String,
    /// What the test counts for where a score is weighted.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
}

/// One call of a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCase {
    /// The positional arguments: the text of a JSON array, so that whole numbers of any size are kept.
    pub arguments: String,
    /// What the function is to return, as JSON text.
    pub expected: String,
    /// Whether the only element of `expected` will do as well: APPS and TACO wrap what a function returns in a list, and do
    /// not say where.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wrapped: bool,
    /// What the test counts for where a score is weighted.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
}

/// How what was printed is compared with what was to be printed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// Line by line; blanks at the ends of lines and empty lines at the end are aside, anything else counts.
    #[default]
    Lines,
    /// The same words in the same order, however they are spaced: what judges of programming contests do.
    Tokens,
    /// A Python program that is called with the names of three files (input, expected output, output) and prints one
    /// number and nothing else, 1 where the output is right. It runs in a guest of its own.
    Program(String),
}

impl Checker {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Lines
    }
}

/// By how much numbers that are not whole may differ, absolutely or relative to what was expected. Positive and finite.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct Tolerance(f64);

impl Tolerance {
    /// A tolerance; `None` where `value` is not positive and finite.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0 && value.is_finite()).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for Tolerance {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Tolerance {}

impl Hash for Tolerance {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value)
            .ok_or_else(|| serde::de::Error::custom(format!("a tolerance is a positive number, and {value} is not")))
    }
}

fn one() -> u32 {
    1
}

fn is_one(weight: &u32) -> bool {
    *weight == 1
}

fn is_false(flag: &bool) -> bool {
    !*flag
}
