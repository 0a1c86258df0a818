//! Units that stand behind a number: which words are units, and which of them measure the same thing.

mod table;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};
use table::{
    ADDING, ALLOWING, BEFORE, CURRENCIES, DONE_TO_IT, JOINING, LEADING, NOT_UNITS, OPEN_ENDS, POUND, PREFIXES, SCALES,
    SHARES, SYMBOLS, TABLE,
};

/// A unit: a product of powers of the table's dimensions, or words of their own ("apples").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Powers of dimensions, sorted by name, and how many of the base units it is.
    Known { dimensions: Vec<(&'static str, i32)>, factor: BigRational },
    /// Any other words, in lower case and singular.
    Other(String),
}

/// What words behind a number say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behind {
    Percent,
    Degrees,
    /// "million".
    Scale(i64),
    /// "million dollars".
    ScaledUnit(i64, Unit),
    Unit(Unit),
}

/// Whether a word with `next` behind it changes the number before it.
fn changes_number(word: &str, next: Option<&str>) -> bool {
    let singular = singular(word);
    let share = SHARES.iter().any(|ending| singular.ends_with(ending));
    NOT_UNITS.iter().any(|other| *other == word || *other == singular)
        || singular.ends_with("illion")
        || next.is_none() && DONE_TO_IT.contains(&word)
        // "3 eighths", "3 eighth of"; but "3 eighth graders" are three.
        || share && (singular != word || next.is_none_or(|next| next == "of"))
}

/// Whether a number in a sentence says something else there, by the words before it: "half of 5", "at least 5".
pub(crate) fn changed_by_words_before(before: &str) -> bool {
    let before = before.to_lowercase().replace('’', "'");
    let before = before.trim_end().trim_end_matches("exactly").trim_end();
    BEFORE.iter().any(|words| {
        before.strip_suffix(words).is_some_and(|rest| {
            // "isn't"; but a knot is no "not".
            let apart = words.starts_with("n'") || !rest.ends_with(|last: char| last.is_alphanumeric());
            apart && !(*words == "up to" && adds_up(rest))
        })
    })
}

/// Whether "up to" behind these words leads to a result: "the numbers add", "rounding 41.6", "that brings the total".
fn adds_up(before: &str) -> bool {
    let near = |words: &[&str]| before.split_whitespace().rev().take(4).any(|word| words.contains(&word));
    let bound = before.split_whitespace().next_back().is_some_and(|word| LEADING.contains(&word));
    near(ADDING) && !near(ALLOWING) && !bound
}

/// What stands before the word "negative" or "minus" at the end of `before`, where that is the sign of a number behind it.
pub(crate) fn before_sign(before: &str) -> Option<&str> {
    let strip = |word: &str| {
        let at = before.len().checked_sub(word.len())?;
        before.get(at..).filter(|end| end.eq_ignore_ascii_case(word)).map(|_| &before[..at])
    };
    let (rest, minus) = strip("negative").map(|rest| (rest, false)).or(strip("minus").map(|rest| (rest, true)))?;
    let last = rest.split_whitespace().next_back().unwrap_or("").to_lowercase();
    let fits = if minus { LEADING.contains(&last.as_str()) } else { !JOINING.contains(&last.as_str()) };
    // "non-negative"
    let apart = rest.is_empty() || rest.ends_with(|next: char| next.is_whitespace() || matches!(next, '*' | '$' | '{'));
    (apart && (fits || rest.trim().is_empty())).then_some(rest)
}

/// Whether a number in a sentence says something else there, by the words behind it: "5 squared", "5 hundredths", "5 or more".
pub(crate) fn changed_by_words_behind(words: &[&str]) -> bool {
    let Some(word) = words.first() else { return false };
    let next = words.get(1).copied();
    let share = SHARES.iter().any(|ending| singular(word).ends_with(ending));
    match *word {
        "factorial" | "halves" | "thirds" => true,
        "or" => next.is_some_and(|next| OPEN_ENDS.contains(&next)),
        "per" => next == Some("mille"),
        "below" => next == Some("zero"),
        // "5 squared is ..."; but "5 negative roots".
        "squared" | "cubed" | "doubled" | "tripled" | "halved" => next.is_none_or(|next| single(next).is_none()),
        _ => next.is_none() && DONE_TO_IT.contains(word) || share && changes_number(word, next),
    }
}

/// Whether `word` multiplies a number before it: "5 thousand". (A score is a result.)
pub(crate) fn is_scale(word: &str) -> bool {
    let singular = word.strip_suffix('s').unwrap_or(word);
    SCALES.iter().any(|(scale, _)| *scale != "score" && (*scale == word || *scale == singular))
}

/// `text` without the scales behind its numbers: "8 dozen eggs" as "8 eggs". `None` where it has none.
pub(crate) fn without_scales(text: &str) -> Option<String> {
    let (mut rest, mut kept) = (text, String::with_capacity(text.len()));
    let mut found = false;
    while let Some(next) = rest.chars().next() {
        let length: usize = rest.chars().take_while(|next| next.is_alphabetic()).map(char::len_utf8).sum();
        let word = rest[..length].to_lowercase();
        let behind_number = kept.contains(|next: char| next.is_ascii_digit()) && !kept.ends_with('\\');
        let drop = behind_number && (is_scale(&word) || word == "score") && !rest[length..].starts_with('-');
        let length = length.max(next.len_utf8());
        if drop {
            found = true
        } else {
            kept.push_str(&rest[..length])
        }
        rest = &rest[length..];
    }
    found.then_some(kept)
}

/// The sign of a currency that is named before a number: `Rs`, `USD`.
pub(crate) fn currency_sign(name: &str) -> Option<&'static str> {
    CURRENCIES.iter().find(|(known, _)| *known == name).map(|(_, sign)| *sign)
}

/// The unit of a currency sign.
pub(crate) fn currency(symbol: &str) -> Option<Unit> {
    single(symbol)
}

/// What `text`, which follows a number, says: `None` where it is no unit, `Some(None)` for a mere "units".
pub(crate) fn parse(text: &str) -> Option<Option<Behind>> {
    if text.len() > 80 {
        return None;
    }
    let written = text.trim_matches(['.', ' ', '!']);
    if let Some(unit) = known(written) {
        return Some(Some(Behind::Unit(unit)));
    }
    let text = written.to_lowercase();
    let text = text.as_str();
    if let Some(scale) = text.strip_prefix("degree") {
        let scale = scale.trim_start_matches('s').trim_start();
        if let Some(unit) = temperature(scale) {
            return Some(Some(Behind::Unit(unit)));
        }
    }
    match text {
        "" | "units" | "unit" | "square units" | "square unit" | "sq units" | "sq. units" | "cubic units"
        | "units^2" | "units^3" | "units squared" | "units cubed" | "in total" | "total" | "altogether" => {
            return Some(None);
        }
        "%" | "percent" | "percentage" | "pct" | "per cent" | "percents" | "\\%" => return Some(Some(Behind::Percent)),
        "°" | "degree" | "degrees" | "deg" => return Some(Some(Behind::Degrees)),
        _ => {}
    }
    for (word, scale) in SCALES {
        if let Some(rest) = text.strip_prefix(word) {
            // "5 dozens"; but scores are results.
            let rest = rest.strip_prefix('s').filter(|_| *word != "score").unwrap_or(rest);
            if rest.is_empty() {
                return Some(Some(Behind::Scale(*scale)));
            }
            if rest.starts_with(' ') {
                return match parse(rest)? {
                    None => Some(Some(Behind::Scale(*scale))),
                    Some(Behind::Unit(unit)) => Some(Some(Behind::ScaledUnit(*scale, unit))),
                    _ => None,
                };
            }
        }
    }
    wordy(text).map(|unit| Some(Behind::Unit(unit)))
}

/// The scale of a temperature in degrees, by its name or letter.
pub(crate) fn temperature(scale: &str) -> Option<Unit> {
    match scale.trim() {
        "C" | "c" | "celsius" | "Celsius" => single("celsius"),
        "F" | "f" | "fahrenheit" | "Fahrenheit" => single("fahrenheit"),
        _ => None,
    }
}

/// A unit whose symbol has capitals that matter, perhaps with a prefix: `kW`, `MHz`, `mA`.
pub(crate) fn symbol(word: &str) -> Option<Unit> {
    let plain = |word: &str| SYMBOLS.iter().find(|(symbol, _)| *symbol == word).and_then(|(_, name)| single(name));
    if let Some(unit) = plain(word) {
        return Some(unit);
    }
    let (rest, power) = PREFIXES.iter().find_map(|(prefix, power)| Some((word.strip_prefix(prefix)?, power)))?;
    match plain(rest)? {
        Unit::Known { dimensions, factor } => {
            let size: BigRational = Pow::pow(&BigRational::from_integer(BigInt::from(10)), *power);
            Some(Unit::Known { dimensions, factor: factor * size })
        }
        Unit::Other(_) => None,
    }
}

fn single(word: &str) -> Option<Unit> {
    let singular = singular(word);
    TABLE.iter().find(|(spellings, ..)| spellings.contains(&word) || spellings.contains(&singular.as_str())).map(
        |(_, dimension, power, (numerator, denominator))| Unit::Known {
            dimensions: vec![(dimension, *power)],
            factor: BigRational::new(BigInt::from(*numerator), BigInt::from(*denominator)),
        },
    )
}

/// The most words of a unit: each multiplies its factor.
const MAX_PARTS: usize = 16;

/// Products, quotients and powers of units of the table: `cm^2`, `square inches`, `km/h`, `miles per hour`, `mph`.
fn known(text: &str) -> Option<Unit> {
    match text.to_lowercase().as_str() {
        "mph" => return known("mile/hour"),
        "kph" | "kmph" => return known("km/hour"),
        _ => {}
    }
    let text = text.replace(" per ", "/").replace(" / ", "/").replace(" ^ ", "^").replace(" ^", "^");
    if text.split([' ', '/']).count() > MAX_PARTS {
        return None;
    }
    let mut dimensions: Vec<(&'static str, i32)> = Vec::new();
    let mut factor = BigRational::one();
    for (index, part) in text.split('/').enumerate() {
        let sign = if index == 0 { 1 } else { -1 };
        let mut raised = 1;
        let mut any = false;
        let mut last: Option<&str> = None;
        for word in part.split_whitespace() {
            match word.to_lowercase().as_str() {
                "square" | "sq" | "sq." => raised = 2,
                "cubic" | "cu" => raised = 3,
                "of" => return None,
                // "feet squared"; "5 squared" is a number.
                power @ ("squared" | "cubed") => {
                    let Unit::Known { dimensions: own, factor: size } = single(&last.take()?.to_lowercase())? else {
                        return None;
                    };
                    let more = if power == "squared" { 1 } else { 2 };
                    for (dimension, own_power) in own {
                        dimensions.push((dimension, own_power * more * sign));
                    }
                    factor *= Pow::pow(&size, more * sign);
                }
                _ => {
                    let (word, power) = match word.split_once('^') {
                        Some((word, power)) => (word, power.trim_matches(['{', '}']).parse::<i32>().ok()?),
                        None => (word, raised),
                    };
                    if !(1..=4).contains(&power) {
                        return None;
                    }
                    raised = 1;
                    last = Some(word);
                    any = true;
                    let own = symbol(word).or_else(|| single(&word.to_lowercase()))?;
                    let Unit::Known { dimensions: own, factor: size } = own else { return None };
                    for (dimension, own_power) in own {
                        dimensions.push((dimension, own_power * power * sign));
                    }
                    factor *= Pow::pow(&size, power * sign);
                }
            }
        }
        if !any {
            return None;
        }
    }
    dimensions.sort_unstable();
    dimensions.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    dimensions.retain(|(_, power)| *power != 0);
    Some(Unit::Known { dimensions, factor })
}

/// Words of at least three letters, none of which speaks of the number itself. A 2 or 3 may raise one of them, but stands
/// alone only behind a length: "meters 2" is careless for `m^2`.
fn wordy(text: &str) -> Option<Unit> {
    let words = text
        .split([' ', '/'])
        .map(|word| ["^2", "^3"].iter().find_map(|power| word.strip_suffix(power)).unwrap_or(word));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let is_length = |word: &str| single(word).is_some_and(|unit| unit.is_length());
    let fine = |(at, word): (usize, &&str)| {
        let raised = matches!(*word, "2" | "3") && at > 0 && is_length(words[at - 1]);
        let letters = word.chars().all(|letter| letter.is_alphabetic() || matches!(letter, '-' | '.' | '\''));
        let small = matches!(*word, "of" | "per" | "a" | "in" | "at" | "on" | "an") || single(word).is_some();
        raised || letters && !changes_number(word, words.get(at + 1).copied()) && (word.chars().count() >= 3 || small)
    };
    let long = words.iter().any(|word| word.chars().count() >= 3);
    if words.is_empty() || words.len() > 6 || !long || !words.iter().enumerate().all(fine) {
        return None;
    }
    Some(Unit::Other(words.iter().map(|word| singular(word)).collect::<Vec<_>>().join(" ")))
}

impl Unit {
    /// Whether it may be said of the same thing as `other`. Words agree where they share one: "red apples", "apples".
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known { dimensions, .. }, Self::Known { dimensions: others, .. }) => {
                dimensions == others || self.is_pound_of(other)
            }
            (Self::Other(words), Self::Other(others)) => {
                words.split(' ').any(|word| word.len() > 2 && others.split(' ').any(|other| other == word))
            }
            // "5 gallons of water" and "5 gallons"
            (Self::Known { .. }, Self::Other(words)) | (Self::Other(words), Self::Known { .. }) => {
                let known = if matches!(self, Self::Known { .. }) { self } else { other };
                words.split(' ').any(|word| single(word).is_some_and(|unit| &unit == known))
            }
        }
    }

    /// Whether one is a pound of mass and the other one of money: behind a number they are one word.
    pub(crate) fn is_pound_of(&self, other: &Self) -> bool {
        let pound = single(POUND);
        let is_money = |unit: &Self| unit.is_one("sterling");
        is_money(self) && pound.as_ref() == Some(other) || is_money(other) && pound.as_ref() == Some(self)
    }

    /// Whether it is an angle in radians.
    pub(crate) fn is_radians(&self) -> bool {
        self.is_one("angle")
    }

    /// Whether it is the base unit of a dimension.
    fn is_one(&self, dimension: &str) -> bool {
        matches!(self, Self::Known { dimensions, factor }
            if factor.is_one() && matches!(dimensions.as_slice(), [(own, 1)] if *own == dimension))
    }

    /// Whether degrees may be it: an angle or a temperature.
    pub(crate) fn is_in_degrees(&self) -> bool {
        match self {
            Self::Known { dimensions, .. } => {
                matches!(dimensions.as_slice(), [("angle" | "celsius" | "fahrenheit", 1)])
            }
            Self::Other(_) => self.mentions("degree"),
        }
    }

    /// Whether `word` is one of its own words.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        matches!(self, Self::Other(words) if words.split(' ').any(|own| own == word))
    }

    /// Whether it is a speed or an acceleration: `m/s`, `km/h`, `m/s^2`.
    pub(crate) fn is_motion(&self) -> bool {
        matches!(self, Self::Known { dimensions, .. }
            if matches!(dimensions.as_slice(), [("length", 1), ("time", -2 | -1)]))
    }

    /// Whether it is a length.
    fn is_length(&self) -> bool {
        matches!(self, Self::Known { dimensions, .. } if matches!(dimensions.as_slice(), [("length", 1)]))
    }

    /// Whether it is an area or a volume.
    pub(crate) fn is_extent(&self) -> bool {
        matches!(self, Self::Known { dimensions, .. } if matches!(dimensions.as_slice(), [("length", 2 | 3)]))
    }

    /// How many base units it is.
    pub(crate) fn factor(&self) -> BigRational {
        match self {
            Self::Known { factor, .. } => factor.clone(),
            Self::Other(_) => BigRational::one(),
        }
    }
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

    fn unit(text: &str) -> Option<Unit> {
        match parse(text) {
            Some(Some(Behind::Unit(unit))) => Some(unit),
            _ => None,
        }
    }

    #[test]
    fn words_that_are_units_and_words_that_are_not() {
        for text in
            ["cm", "apples", "red apples", "cm^2", "km/h", "square inches", "dollars", "hours", "miles per hour"]
        {
            assert!(unit(text).is_some(), "{text}");
        }
        for text in ["x", "or 7", "i", "pi", "and a half", "x^2", "(2)", "pm", "divided by 2"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in [
            "squared",
            "cubed",
            "hundredths",
            "thousandths",
            "sevenths",
            "eighth",
            "sixteenths",
            "twenty-fifths",
            "ninths",
            "sextillion",
            "quadrillionths",
            "reciprocal",
            "inverse",
            "negative",
            "apples squared",
            "hundredths of a second",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in [
            "months",
            "paths",
            "teeth",
            "calendar months",
            "scores",
            "possible scores",
            "feet squared",
            "cm cubed",
            "eighth graders",
            "negative roots",
        ] {
            assert!(unit(text).is_some(), "{text}");
        }
        assert_eq!(parse("degrees"), Some(Some(Behind::Degrees)));
        assert_eq!(parse("percent"), Some(Some(Behind::Percent)));
        assert_eq!(parse("million"), Some(Some(Behind::Scale(1_000_000))));
        assert_eq!(parse("dozen"), Some(Some(Behind::Scale(12))));
        assert_eq!(parse("dozens"), Some(Some(Behind::Scale(12))));
        assert_eq!(parse("score"), Some(Some(Behind::Scale(20))));
        assert_eq!(parse("quintillion"), Some(Some(Behind::Scale(1_000_000_000_000_000_000))));
        assert_eq!(parse("lakh"), Some(Some(Behind::Scale(100_000))));
        assert!(matches!(parse("dozen eggs"), Some(Some(Behind::ScaledUnit(12, _)))));
        assert_eq!(parse("units"), Some(None));
    }

    #[test]
    fn units_that_measure_the_same() {
        assert_eq!(unit("feet"), unit("ft"));
        assert_eq!(unit("square inches"), unit("in^2"));
        assert_eq!(unit("mph"), unit("miles per hour"));
        assert_eq!(unit("square feet"), unit("feet squared"));
        assert_eq!(unit("m/s^2"), unit("meters per second squared"));
        assert_eq!(unit("Pa"), unit("pascals"));
        assert_eq!(unit("degrees Celsius"), unit("celsius"));
        // A milliwatt is no megawatt.
        assert_ne!(unit("mW"), unit("MW"));
        let agree = |left, right| unit(left).unwrap().agrees(&unit(right).unwrap());
        assert!(agree("m", "cm") && agree("km/h", "m/s") && agree("liters", "cm^3"));
        assert!(agree("red apples", "apples") && agree("gallons", "gallons of water"));
        assert!(!agree("m", "kg") && !agree("apples", "pears") && !agree("m", "m^2"));
    }
}
