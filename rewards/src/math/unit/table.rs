//! Which words are units, and which words behind a number are none.

/// What may be a mass or money.
pub(super) const POUND: &str = "pound";

type Row = (&'static [&'static str], &'static str, i32, (i64, i64));

/// Spellings, dimension, its power, and the factor to the dimension's base as a fraction.
pub(super) const TABLE: &[Row] = &[
    (&["nm", "nanometer", "nanometre"], "length", 1, (1, 1_000_000_000)),
    (&["mm", "millimeter", "millimetre"], "length", 1, (1, 1000)),
    (&["cm", "centimeter", "centimetre"], "length", 1, (1, 100)),
    (&["dm", "decimeter", "decimetre"], "length", 1, (1, 10)),
    (&["m", "meter", "metre"], "length", 1, (1, 1)),
    (&["km", "kilometer", "kilometre", "kms"], "length", 1, (1000, 1)),
    (&["in", "inch", "inche"], "length", 1, (254, 10_000)),
    (&["ft", "foot", "feet"], "length", 1, (3048, 10_000)),
    (&["yd", "yard"], "length", 1, (9144, 10_000)),
    (&["mi", "mile"], "length", 1, (1_609_344, 1000)),
    (&["acre"], "length", 2, (40_468_564_224, 10_000_000)),
    (&["hectare", "ha"], "length", 2, (10_000, 1)),
    (&["ml", "milliliter", "millilitre"], "length", 3, (1, 1_000_000)),
    (&["l", "liter", "litre"], "length", 3, (1, 1000)),
    (&["gallon", "gal"], "length", 3, (3_785_411_784, 1_000_000_000_000)),
    (&["quart", "qt"], "length", 3, (946_352_946, 1_000_000_000_000)),
    (&["pint", "pt"], "length", 3, (473_176_473, 1_000_000_000_000)),
    (&["cup"], "length", 3, (2_365_882_365, 10_000_000_000_000)),
    (&["mg", "milligram"], "mass", 1, (1, 1_000_000)),
    (&["g", "gram"], "mass", 1, (1, 1000)),
    (&["kg", "kilogram", "kilo"], "mass", 1, (1, 1)),
    (&["ton", "tonne"], "mass", 1, (1000, 1)),
    (&["lb", POUND], "mass", 1, (45_359_237, 100_000_000)),
    (&["oz", "ounce"], "mass", 1, (45_359_237, 1_600_000_000)),
    (&["ms", "millisecond"], "time", 1, (1, 1000)),
    (&["s", "sec", "second"], "time", 1, (1, 1)),
    (&["min", "minute"], "time", 1, (60, 1)),
    (&["h", "hr", "hour"], "time", 1, (3600, 1)),
    (&["day"], "time", 1, (86_400, 1)),
    (&["week"], "time", 1, (604_800, 1)),
    (&["fortnight"], "time", 1, (1_209_600, 1)),
    (&["month"], "months", 1, (1, 1)),
    (&["year", "yr"], "months", 1, (12, 1)),
    (&["decade"], "months", 1, (120, 1)),
    (&["century", "centurie"], "months", 1, (1200, 1)),
    (&["$", "\\$", "dollar", "usd", "buck"], "dollar", 1, (1, 1)),
    (&["¢", "cent"], "dollar", 1, (1, 100)),
    (&["quarter"], "quarter", 1, (1, 1)),
    (&["€", "euro", "eur"], "euro", 1, (1, 1)),
    (&["£", "gbp"], "sterling", 1, (1, 1)),
    // The sign is that of both.
    (&["¥", "yen", "yuan"], "yen", 1, (1, 1)),
    (&["₹", "rupee"], "rupee", 1, (1, 1)),
    (&["radian", "rad"], "angle", 1, (1, 1)),
    (&["newton"], "force", 1, (1, 1)),
    (&["joule", "j"], "energy", 1, (1, 1)),
    (&["watt", "w"], "power", 1, (1, 1)),
    (&["volt", "v"], "voltage", 1, (1, 1)),
    (&["hz", "hertz"], "time", -1, (1, 1)),
    (&["ampere", "amp"], "current", 1, (1, 1)),
    (&["ohm"], "resistance", 1, (1, 1)),
    (&["pascal"], "pressure", 1, (1, 1)),
    (&["atm", "atmosphere"], "pressure", 1, (101_325, 1)),
    (&["mole", "mol"], "amount", 1, (1, 1)),
    (&["celsius", "centigrade"], "celsius", 1, (1, 1)),
    (&["fahrenheit"], "fahrenheit", 1, (1, 1)),
    (&["kelvin"], "kelvin", 1, (1, 1)),
];

/// Symbols of units in which capitals matter, with the spelling of the table.
pub(super) const SYMBOLS: &[(&str, &str)] = &[
    ("N", "newton"),
    ("J", "joule"),
    ("W", "watt"),
    ("V", "volt"),
    ("A", "ampere"),
    ("K", "kelvin"),
    ("Pa", "pascal"),
    ("Hz", "hertz"),
    ("mol", "mole"),
    ("\u{3a9}", "ohm"),
    ("\u{2126}", "ohm"),
    ("Omega", "ohm"),
    ("Rs", "rupee"),
];

/// Names of currencies that stand before a number, with the sign for them.
pub(super) const CURRENCIES: &[(&str, &str)] =
    &[("USD", "$"), ("EUR", "€"), ("GBP", "£"), ("JPY", "¥"), ("CNY", "¥"), ("RMB", "¥"), ("INR", "₹"), ("Rs", "₹")];

/// What stands before such a symbol, as a power of ten.
pub(super) const PREFIXES: &[(&str, i32)] = &[("G", 9), ("M", 6), ("k", 3), ("m", -3)];

pub(super) const SCALES: &[(&str, i64)] = &[
    ("hundred", 100),
    ("thousand", 1000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("quadrillion", 1_000_000_000_000_000),
    ("quintillion", 1_000_000_000_000_000_000),
    ("lakh", 100_000),
    ("crore", 10_000_000),
    ("dozen", 12),
    ("score", 20),
];

/// Words that say something about the number itself, so that dropping them would change it.
pub(super) const NOT_UNITS: &[&str] = &[
    "and",
    "or",
    "not",
    "nor",
    "to",
    "than",
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
    "factorial",
    "half",
    "halve",
    "third",
    "hundred",
    "thousand",
    "lakh",
    "crore",
    "dozen",
    "googol",
    "percent",
    "permille",
    "mille",
    "below",
    "twice",
    "thrice",
    "choose",
    "subtract",
    "subtracted",
    "maybe",
    "perhaps",
    "possibly",
    "probably",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "pi",
    "zero",
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
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "remainder",
    "is",
    "are",
    "equal",
    "if",
    "but",
    "because",
    "wrong",
    "incorrect",
    "where",
    "when",
    "with",
    "for",
    "so",
    "then",
    "some",
    "any",
    "since",
];

/// What is done to the number where nothing follows: "5 squared". "5 negative roots" are five.
pub(super) const DONE_TO_IT: &[&str] = &[
    "squared",
    "cubed",
    "doubled",
    "tripled",
    "halved",
    "inverse",
    "inverted",
    "reciprocal",
    "negative",
    "negated",
    "double",
    "triple",
    "quadruple",
    "gross",
];

/// Words before a number, with the "of" or "than" behind them, after which the number is not what is said.
pub(super) const BEFORE: &[&str] = &[
    "negative",
    "minus",
    "not",
    "n't",
    "at least",
    "at most",
    "more than",
    "less than",
    "fewer than",
    "greater than",
    "larger than",
    "smaller than",
    "up to",
    "twice",
    "thrice",
    "half of",
    "third of",
    "thirds of",
    "quarter of",
    "quarters of",
    "root of",
    "square of",
    "cube of",
    "factorial of",
    "reciprocal of",
    "inverse of",
    "opposite of",
];

/// Verbs with which "up to" leads to a sum or a result, and is no bound: "they add up to 42".
pub(super) const ADDING: &[&str] = &[
    "add", "adds", "added", "adding", "sum", "sums", "summed", "summing", "total", "totals", "totaled", "totalled",
    "come", "comes", "came", "coming", "bring", "brings", "brought", "bringing", "round", "rounds", "rounded",
    "rounding", "save", "saves", "saved", "saving", "count", "counts", "counted", "counting", "go", "goes", "went",
];

/// Verbs that make a bound of it all the same: "it can add up to 5".
pub(super) const ALLOWING: &[&str] = &["can", "could", "may", "might"];

/// What leads to a value: "minus" behind it is a sign ("is minus 5", and not "7 minus 5"), and "up to" a bound.
pub(super) const LEADING: &[&str] = &["is", "are", "be", "was", "equals", "to", "="];

/// What stands before a number that is to be worked out with another.
pub(super) const JOINING: &[&str] = &["and", "or", "plus", "minus", "times", "by"];

/// Words behind a number that only begin with it: "5 or more".
pub(super) const OPEN_ENDS: &[&str] =
    &["more", "less", "fewer", "greater", "higher", "lower", "above", "below", "over"];

/// How words end that name a share of one: `hundredths`, and no `months` or `paths`.
pub(super) const SHARES: &[&str] = &[
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "teenth",
    "tieth",
    "hundredth",
    "thousandth",
    "illionth",
];
