//! Python values, as far as the tasks need them, written as Python writes them.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Integer(i64),
    List(Vec<i64>),
    /// Lower- or upper-case letters only, so that quoting is all it takes.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(formatter, "{integer}"),
            // Rust and Python write lists of integers alike.
            Self::List(items) => write!(formatter, "{items:?}"),
            Self::Text(text) => write!(formatter, "'{text}'"),
        }
    }
}
