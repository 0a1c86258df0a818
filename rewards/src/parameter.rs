//! What a reward can be told: a table of parameters, each with its type, default, range and help.
//!
//! [`parameters!`](crate::parameters) makes from one line per parameter the struct that the reward works with, the check
//! of what a recipe gives, and the text that explains it: so the three cannot drift apart.

use serde_json::{Map, Value};

use crate::RewardError;
use crate::nearest::nearest;

/// What a person may know about one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterHelp {
    /// Its name in `parameters = { ... }`.
    pub name: &'static str,
    /// Its value where the recipe gives none, as it would be written there.
    pub default: String,
    /// What values are allowed.
    pub expected: String,
    /// What it does.
    pub help: String,
}

/// The parameters of a reward; made by [`parameters!`](crate::parameters).
pub trait Parameters: Sized {
    /// Every parameter, in the order of declaration.
    fn table() -> Vec<ParameterHelp>;

    /// What a recipe gives, checked, with the defaults of the rest.
    ///
    /// # Errors
    /// [`RewardError::Parameter`] for an unknown name, a wrong type, or a value out of range.
    fn read(reward: &str, given: &Map<String, Value>) -> Result<Self, RewardError>;
}

/// A type of value, with the words for it in a message.
pub trait Kind {
    /// The words.
    const KIND: &'static str;
}

/// A number that a range can look at. Exact for every setting in use (all below 2^53, or compared with a bound far from the
/// rounding).
pub trait Number: Copy + Kind {
    /// The number.
    fn number(self) -> f64;
}

macro_rules! numbers {
    ($($type:ty: $words:literal),*) => {$(
        impl Kind for $type {
            const KIND: &'static str = $words;
        }
        impl Number for $type {
            fn number(self) -> f64 { self as f64 }
        }
    )*};
}
numbers!(u64: "a whole number", usize: "a whole number", f64: "a number");

impl Kind for bool {
    const KIND: &'static str = "true or false";
}

impl Kind for String {
    const KIND: &'static str = "a text in quotes";
}

impl Kind for Vec<String> {
    const KIND: &'static str = "a list of texts in quotes";
}

/// A type that a parameter can have.
pub trait ParameterType: Kind + Sized + Clone {
    /// The value, where it is of this type.
    fn from_value(value: &Value) -> Option<Self>;

    /// The value as a recipe would have it.
    fn to_text(&self) -> String;
}

impl ParameterType for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64()
    }

    fn to_text(&self) -> String {
        format!("{self:?}")
    }
}

impl ParameterType for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_u64()
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ParameterType for bool {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl ParameterType for String {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn to_text(&self) -> String {
        Value::from(self.as_str()).to_string()
    }
}

/// A set of allowed values that can say what it allows: of a reward's parameters, and of a recipe's settings.
pub trait Allowed<T> {
    /// Whether the value is one of them.
    fn allows(&self, value: &T) -> bool;
    /// Which they are, in words.
    fn text(&self) -> String;
}

/// Every value of the type: what is allowed is in the type itself.
#[derive(Debug, Clone, Copy)]
pub struct Any;

impl<T: Kind> Allowed<T> for Any {
    fn allows(&self, _: &T) -> bool {
        true
    }

    fn text(&self) -> String {
        T::KIND.to_owned()
    }
}

/// Numbers between two bounds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    low: f64,
    low_included: bool,
    high: f64,
}

/// `low` or more.
#[must_use]
pub fn at_least(low: impl Into<f64>) -> Bounds {
    Bounds { low: low.into(), low_included: true, high: f64::INFINITY }
}

/// More than zero.
#[must_use]
pub fn positive() -> Bounds {
    Bounds { low: 0.0, low_included: false, high: f64::INFINITY }
}

/// From `low` to `high`, both allowed.
#[must_use]
pub fn between(low: impl Into<f64>, high: impl Into<f64>) -> Bounds {
    Bounds { low: low.into(), low_included: true, high: high.into() }
}

/// More than zero, up to `high`.
#[must_use]
pub fn positive_up_to(high: impl Into<f64>) -> Bounds {
    Bounds { low: 0.0, low_included: false, high: high.into() }
}

impl<T: Number> Allowed<T> for Bounds {
    fn allows(&self, value: &T) -> bool {
        let value = value.number();
        let above = if self.low_included { value >= self.low } else { value > self.low };
        // An infinite value is never meant, also where there is no upper bound.
        above && value <= self.high && value.is_finite()
    }

    fn text(&self) -> String {
        let kind = T::KIND;
        match (self.low_included, self.high.is_finite()) {
            (true, true) => format!("{kind} from {} to {}", self.low, self.high),
            (true, false) => format!("{kind}, {} or more", self.low),
            (false, true) => format!("{kind} above {}, at most {}", self.low, self.high),
            (false, false) => format!("{kind} above {}", self.low),
        }
    }
}

/// One of these words.
#[derive(Debug, Clone, Copy)]
pub struct OneOf(pub &'static [&'static str]);

impl Allowed<String> for OneOf {
    fn allows(&self, value: &String) -> bool {
        self.0.contains(&value.as_str())
    }

    fn text(&self) -> String {
        self.0.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
    }
}

/// That every name given is one of `known`.
///
/// # Errors
/// [`RewardError::Parameter`], with the nearest name.
pub fn check_names(reward: &str, given: &Map<String, Value>, known: &[&'static str]) -> Result<(), RewardError> {
    let Some(unknown) = given.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let hint = match nearest(unknown, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "it has no parameters".to_owned(),
        None => format!("its parameters are {}", known.join(", ")),
    };
    Err(RewardError::Parameter {
        reward: reward.to_owned(),
        parameter: unknown.clone(),
        named: true,
        problem: format!("has no parameter `{unknown}`"),
        hint: Some(hint),
    })
}

/// The value given under `name`, or else the default.
///
/// # Errors
/// [`RewardError::Parameter`] where it is of another type or not allowed.
pub fn value<T: ParameterType>(
    reward: &str,
    given: &Map<String, Value>,
    name: &str,
    default: T,
    allowed: &impl Allowed<T>,
) -> Result<T, RewardError> {
    let Some(typed) = given.get(name) else { return Ok(default) };
    match T::from_value(typed) {
        Some(value) if allowed.allows(&value) => Ok(value),
        _ => Err(RewardError::Parameter {
            reward: reward.to_owned(),
            parameter: name.to_owned(),
            named: false,
            problem: format!("has the parameter `{name}` = {typed}, expected {}", allowed.text()),
            hint: None,
        }),
    }
}

/// Joins the lines of a doc comment.
#[must_use]
pub fn help_text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Declares the parameters of a reward: a struct that is [`Parameters`].
///
/// ```
/// use rewards::parameter::{Any, Parameters, at_least};
/// rewards::parameters! {
///     /// What `brevity` can be told.
///     Brevity {
///         /// Characters beyond which nothing is scored.
///         most: u64 = 200, at_least(1.0);
///         /// Whether white space counts.
///         spaces: bool = false, Any;
///     }
///     // What must hold between them; may be left out.
///     check |given: &Brevity| if given.spaces && given.most < 10 { Err("`most` is too small".to_owned()) } else { Ok(()) };
/// }
/// let given = serde_json::json!({"most": 80});
/// let read = Brevity::read("brevity", given.as_object().unwrap()).unwrap();
/// assert_eq!((read.most, read.spaces), (80, false));
/// ```
#[macro_export]
macro_rules! parameters {
    (
        $(#[$meta:meta])*
        $visible:vis $name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $allowed:expr; )*
        }
        $( check $check:expr; )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $visible struct $name {
            $( $(#[doc = $doc])+ pub $key: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $crate::parameter::Parameters for $name {
            fn table() -> Vec<$crate::parameter::ParameterHelp> {
                vec![ $( {
                    let default: $type = $default;
                    $crate::parameter::ParameterHelp {
                        name: stringify!($key),
                        default: $crate::parameter::ParameterType::to_text(&default),
                        expected: $crate::parameter::Allowed::<$type>::text(&$allowed),
                        help: $crate::parameter::help_text(&[$($doc),+]),
                    }
                }, )* ]
            }

            fn read(
                reward: &str,
                given: &$crate::parameter::Given,
            ) -> Result<Self, $crate::RewardError> {
                $crate::parameter::check_names(reward, given, &[$(stringify!($key)),*])?;
                let read = Self {
                    $( $key: $crate::parameter::value::<$type>(
                        reward, given, stringify!($key), $default, &$allowed,
                    )?, )*
                };
                $(
                    let check: fn(&Self) -> Result<(), String> = $check;
                    check(&read).map_err(|problem| $crate::RewardError::Parameters {
                        reward: reward.to_owned(),
                        problem,
                    })?;
                )?
                Ok(read)
            }
        }
    };
}

/// Parameters as a recipe gives them.
pub type Given = Map<String, Value>;

crate::parameters! {
    /// A reward that can be told nothing.
    pub NoParameters {}
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::parameters! {
        /// For these tests.
        Shape {
            /// The longest
            /// completion.
            max_length: u64 = 512, at_least(1.0);
            /// The shortest.
            min_length: u64 = 0, at_least(0.0);
            /// What too much costs.
            penalty: f64 = -0.5, between(-1.0, 0.0);
            /// Which alphabet.
            language: String = "en".to_owned(), OneOf(&["en", "zh"]);
            /// Whether it counts.
            strict: bool = true, Any;
        }
        check |shape: &Shape| {
            if shape.min_length <= shape.max_length { Ok(()) } else { Err("min_length is above max_length".to_owned()) }
        };
    }

    fn read(given: Value) -> Result<Shape, String> {
        Shape::read("shape", given.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_error(given: Value, expected: &str) {
        assert_eq!(read(given).unwrap_err(), expected);
    }

    #[test]
    fn what_is_given_is_meant_and_the_rest_has_defaults() {
        let shape = read(serde_json::json!({"max_length": 7, "penalty": -1, "language": "zh"})).unwrap();
        assert_eq!(shape, Shape { max_length: 7, penalty: -1.0, language: "zh".to_owned(), ..Shape::default() });
        assert!(shape.strict);
    }

    #[test]
    fn what_is_wrong_is_named() {
        use serde_json::json;
        check_error(
            json!({"max_lenght": 7}),
            "the reward `shape` has no parameter `max_lenght`; did you mean `max_length`?",
        );
        check_error(
            json!({"banana": 7}),
            "the reward `shape` has no parameter `banana`; its parameters are max_length, min_length, penalty, language, strict",
        );
        check_error(
            json!({"max_length": 0}),
            "the reward `shape` has the parameter `max_length` = 0, expected a whole number, 1 or more",
        );
        check_error(
            json!({"max_length": 1.5}),
            "the reward `shape` has the parameter `max_length` = 1.5, expected a whole number, 1 or more",
        );
        check_error(
            json!({"penalty": 0.1}),
            "the reward `shape` has the parameter `penalty` = 0.1, expected a number from -1 to 0",
        );
        check_error(
            json!({"language": "fr"}),
            "the reward `shape` has the parameter `language` = \"fr\", expected \"en\" or \"zh\"",
        );
        check_error(
            json!({"strict": "yes"}),
            "the reward `shape` has the parameter `strict` = \"yes\", expected true or false",
        );
        check_error(json!({"min_length": 9, "max_length": 8}), "the reward `shape`: min_length is above max_length");
        let none = NoParameters::read("plain", json!({"a": 1}).as_object().unwrap()).unwrap_err();
        assert_eq!(none.to_string(), "the reward `plain` has no parameter `a`; it has no parameters");
    }

    #[test]
    fn bounds_say_what_they_allow() {
        fn check(bounds: Bounds, inside: &[f64], outside: &[f64], text: &str) {
            for value in inside {
                assert!(bounds.allows(value), "{value} in {bounds:?}");
            }
            for value in outside {
                assert!(!bounds.allows(value), "{value} not in {bounds:?}");
            }
            assert_eq!(Allowed::<f64>::text(&bounds), text);
        }
        check(at_least(2), &[2.0, 1e9], &[1.9, f64::NAN, f64::INFINITY], "a number, 2 or more");
        check(positive(), &[1e-9], &[0.0, -1.0], "a number above 0");
        check(between(0, 1), &[0.0, 1.0], &[-0.1, 1.1], "a number from 0 to 1");
        check(positive_up_to(1), &[0.5, 1.0], &[0.0, 1.1], "a number above 0, at most 1");
    }

    #[test]
    fn the_table_explains_each() {
        let table = Shape::table();
        assert_eq!(
            table.iter().map(|row| row.name).collect::<Vec<_>>().join(" "),
            "max_length min_length penalty language strict"
        );
        let first = &table[0];
        assert_eq!((first.default.as_str(), first.help.as_str()), ("512", "The longest completion."));
        assert_eq!((table[3].default.as_str(), table[2].expected.as_str()), ("\"en\"", "a number from -1 to 0"));
    }
}
