//! How a table of settings is declared: one line per key with its type, its default and what is
//! allowed.
//!
//! The macro makes both forms from that line (as typed, as validated), and the help text: so the
//! three cannot drift apart.

use std::fmt::Debug;
use std::ops::Range;

use serde::Serialize;
use toml::Spanned;

pub(crate) use rewards::parameter::{
    Allowed, Any, Bounds, Kind, at_least, between, help_text, positive, positive_up_to,
};

/// What a person may know about one key, for `recipe keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHelp {
    /// The key as it stands in the file.
    pub key: &'static str,
    /// Its value when the recipe does not name it, as TOML.
    pub default: String,
    /// What values are allowed.
    pub expected: String,
    /// What it does.
    pub help: String,
}

/// Something wrong at a place in the recipe's text.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Bytes of the document, where the problem has a place.
    pub(crate) span: Option<Range<usize>>,
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { span: Some(span), message: message.into(), hint: None }
    }

    pub(crate) fn anywhere(message: impl Into<String>) -> Problem {
        Problem { span: None, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint_if_none(mut self, hint: impl Into<String>) -> Problem {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }
}

/// Temperatures that something is sampled at.
pub(crate) fn temperatures() -> Bounds {
    between(policy::LEAST_TEMPERATURE, 10)
}

/// Seeds: TOML's whole numbers end at 2^63 - 1, and a run's recipe is kept as TOML.
pub(crate) struct Seeds;

/// The largest seed.
pub(crate) const LARGEST_SEED: u64 = i64::MAX as u64;

impl Allowed<u64> for Seeds {
    fn allows(&self, value: &u64) -> bool {
        *value <= LARGEST_SEED
    }

    fn text(&self) -> String {
        format!("{} from 0 to {LARGEST_SEED}", u64::KIND)
    }
}

/// What is wrong with a name that a file or a folder is called after, if anything is.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    const LONGEST: usize = 100;
    let fine = !name.is_empty()
        && name.len() <= LONGEST
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    (!fine).then(|| {
        format!(
            "`name` is {name:?}, expected up to {LONGEST} letters, digits, and -, _ or . (not at the beginning): \
             files and folders are called after it"
        )
    })
}

/// The value of a key: as typed if it is allowed, else the default.
pub(crate) fn checked<T: Debug>(
    key: &str,
    typed: Option<Spanned<T>>,
    default: T,
    allowed: &impl Allowed<T>,
) -> Result<T, Problem> {
    let Some(typed) = typed else { return Ok(default) };
    let span = typed.span();
    let value = typed.into_inner();
    if allowed.allows(&value) {
        return Ok(value);
    }
    Err(Problem::at(span, format!("`{key}` is {value:?}, expected {}", allowed.text())))
}

/// A value as it would be written in a recipe.
pub(crate) fn as_toml<T: Serialize>(value: &T) -> String {
    let mut text = String::new();
    // Only a value that TOML has no form for fails here, and settings have none such.
    match value.serialize(toml::ser::ValueSerializer::new(&mut text)) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// An enum that is written as a word in the recipe.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident {
            $(#[$first_meta:meta])* $first:ident = $first_word:literal,
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[$first_meta])* #[serde(rename = $first_word)] $first,
            $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )*
        }

        impl $crate::config::keys::Kind for $name {
            const KIND: &'static str = concat!("\"", $first_word, "\"", $( " or \"", $word, "\"", )*);
        }
    };
}

/// A table of settings, as typed and as validated: see this file's header.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $name:ident typed $table:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $allowed:expr; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $type, )*
        }

        #[doc = concat!("[`", stringify!($name), "`] as typed.")]
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $table {
            $( pub(crate) $key: Option<toml::Spanned<$type>>, )*
        }

        impl $table {
            /// Fills in the defaults and checks each value by itself.
            pub(crate) fn validate(self) -> Result<$name, $crate::config::keys::Problem> {
                Ok($name {
                    $( $key: $crate::config::keys::checked(
                        stringify!($key), self.$key, $default, &$allowed,
                    )?, )*
                })
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $( $key: $default, )* }
            }
        }

        impl $name {
            /// Every key of this table, in the order of declaration.
            #[must_use]
            pub fn keys() -> Vec<$crate::config::KeyHelp> {
                use $crate::config::keys::{Allowed, as_toml, help_text};
                vec![ $( {
                    let default: $type = $default;
                    $crate::config::KeyHelp {
                        key: stringify!($key),
                        default: as_toml(&default),
                        expected: Allowed::<$type>::text(&$allowed),
                        help: help_text(&[$($doc),+]),
                    }
                }, )* ]
            }
        }
    };
}

pub(crate) use {settings, words};
