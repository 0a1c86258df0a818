//! Units that stand behind a number: which words are units, and which of them measure the same thing.

use num_bigint::BigInt;
use num_rational::BigRational;

/// A unit: one of the table, or a word of its own ("apples").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unit {
    /// An index into the table's dimensions, and how many of the dimension's first unit it is.
    Known { dimension: &'static str, factor: BigRational },
    /// Any other word or words, in lower case and singular.
    Other(String),
}

/// Spellings, dimension, and the factor to the dimension's base as a fraction.
const TABLE: &[(&[&str], &str, (i64, i64))] = &[
    (&["mm", "millimeter", "millimetre"], "length", (1, 1000)),
    (&["cm", "centimeter", "centimetre"], "length", (1, 100)),
    (&["m", "meter", "metre"], "length", (1, 1)),
    (&["km", "kilometer", "kilometre"], "length", (1000, 1)),
    (&["in", "inch", "inche"], "length", (254, 10_000)),
    (&["ft", "foot", "feet"], "length", (3048, 10_000)),
    (&["yd", "yard"], "length", (9144, 10_000)),
    (&["mi", "mile"], "length", (1_609_344, 1000)),
    (&["mg", "milligram"], "mass", (1, 1_000_000)),
    (&["g", "gram"], "mass", (1, 1000)),
    (&["kg", "kilogram"], "mass", (1, 1)),
    (&["lb", "pound"], "mass", (45_359_237, 100_000_000)),
    (&["oz", "ounce"], "mass", (45_359_237, 1_600_000_000)),
    (&["ms", "millisecond"], "time", (1, 1000)),
    (&["s", "sec", "second"], "time", (1, 1)),
    (&["min", "minute"], "time", (60, 1)),
    (&["h", "hr", "hour"], "time", (3600, 1)),
    (&["day"], "time", (86_400, 1)),
    (&["week"], "time", (604_800, 1)),
    (&["ml", "milliliter", "millilitre"], "volume", (1, 1000)),
    (&["l", "liter", "litre"], "volume", (1, 1)),
    (&["$", "dollar", "usd", "buck"], "dollar", (1, 1)),
    (&["¢", "cent"], "dollar", (1, 100)),
    (&["€", "euro", "eur"], "euro", (1, 1)),
    (&["£", "gbp"], "sterling", (1, 1)),
];

/// Words that say something about the number itself, so that dropping them would change it.
const NOT_UNITS: &[&str] = &[
    "and",
    "or",
    "not",
    "nor",
    "to",
    "of",
    "than",
    "per",
    "over",
    "times",
    "plus",
    "minus",
    "divided",
    "by",
    "mod",
    "modulo",
    "base",
    "power",
    "squared",
    "cubed",
    "factorial",
    "half",
    "halve",
    "third",
    "quarter",
    "fourth",
    "fifth",
    "tenth",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    "percent",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "pi",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "remainder",
    "is",
    "are",
    "equal",
    "if",
    "but",
    "because",
    "wrong",
    "incorrect",
    "i",
];

/// The unit that `text`, which follows a number, says: `None` where it is no unit. An angle's degrees and a
/// mere "units" are dropped: `Some(None)`.
pub(crate) fn parse(text: &str) -> Option<Option<Unit>> {
    // \text{cm}^2 leaves a space before its exponent.
    let text = text.trim().to_lowercase().replace(" ^", "^");
    if text.len() > 64 {
        return None;
    }
    if let "" | "°" | "degree" | "degrees" | "deg" | "units" | "unit" = text.as_str() {
        return Some(None);
    }
    let singular = singular(&text);
    for (spellings, dimension, (numerator, denominator)) in TABLE {
        if spellings.contains(&text.as_str()) || spellings.contains(&singular.as_str()) {
            let factor = BigRational::new(BigInt::from(*numerator), BigInt::from(*denominator));
            return Some(Some(Unit::Known { dimension, factor }));
        }
    }
    is_wordy(&text).then_some(Some(Unit::Other(singular)))
}

/// Words of at least three letters, or a power or quotient of known units: `cm^2`, `km/h`, `square inches`.
fn is_wordy(text: &str) -> bool {
    let pieces: Vec<&str> = text.split(['/', ' ', '*']).filter(|piece| !piece.is_empty()).collect();
    !pieces.is_empty()
        && pieces.len() <= 4
        && pieces.iter().all(|piece| {
            let (word, raised) = piece
                .split_once('^')
                .map_or((*piece, false), |(word, power)| (word, matches!(power.trim_matches(['{', '}']), "2" | "3")));
            let letters = word.chars().all(|letter| letter.is_alphabetic() || letter == '-');
            let singular = singular(word);
            let known = TABLE.iter().any(|(spellings, ..)| spellings.contains(&word));
            let (is_word, is_unit) = (word.chars().count() >= 3, pieces.len() > 1 || raised);
            let excluded = NOT_UNITS.contains(&word) || NOT_UNITS.contains(&singular.as_str());
            let clean_power = raised || !piece.contains('^');
            letters && clean_power && !excluded && (is_word || known && is_unit)
        })
}

fn singular(text: &str) -> String {
    let text = text.trim_end_matches('.');
    match text.strip_suffix('s') {
        Some(stem) if stem.len() >= 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_units_and_words_that_are_not() {
        for text in ["cm", "apples", "red apples", "cm^2", "km/h", "square inches", "dollars", "hours", "meters per"] {
            let is_unit = !text.ends_with("per");
            assert_eq!(parse(text).flatten().is_some(), is_unit, "{text}");
        }
        for text in ["x", "or 7", "squared", "thousand", "i", "pi", "and a half", "x^2", "(2)", "pm"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("degrees"), Some(None));
        assert_eq!(parse("feet"), parse("ft"));
        assert_ne!(parse("m"), parse("cm"));
    }
}
