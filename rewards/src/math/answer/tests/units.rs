//! Units, currencies, scales and signs, in symbols and in words.

use super::{check, differ, parse, same};

/// A scale is worked out, but who is asked for millions may answer "5 million".
#[test]
fn scales_behind_a_bare_number() {
    for (reference, candidate) in [
        ("8", r"8 \text{ dozen}"),
        ("96", r"8 \text{ dozen}"),
        ("8", "8 dozen eggs"),
        ("60", r"\$60 \text{ million}"),
        ("1.5", "1.5 million dollars"),
        ("5", "5 quadrillion"),
        ("5", "5 lakh"),
        ("5", "5 score"),
        ("5", "5 dozens"),
        ("5, 6", "5 million and 6 million"),
    ] {
        check(reference, candidate, Ok(()));
    }
    for (reference, candidate) in [
        ("5 lakh", "5"),
        ("5 dozens", "5"),
        ("5 score", "5"),
        ("5 quadrillion", "5"),
        ("5 million", "5 billion"),
        ("8", "9 dozen"),
        ("5%", "5 million"),
        ("5 dollars", "5 million dollars"),
        ("5 m", "5 million"),
        ("a", "a hundred"),
    ] {
        assert!(parse(reference).unwrap().compare(&parse(candidate).unwrap()).is_err(), "{reference} and {candidate}");
    }
}

#[test]
fn numbers_behind_words_are_no_units() {
    for text in [
        r"25\text{ choose }2",
        r"25\text{ less }2",
        r"25\text{ root }3",
        "25 maybe 3",
        "25 minutes 3",
        "25 apples 2",
        "25 twenty",
        "25 maybe ninety",
        "25 thirteen",
        "25 zero",
    ] {
        differ(&[("25", text)]);
    }
    same(&[
        ("25", r"25\text{ meters}^2"),
        ("25", "25 meters 2"),
        ("25", r"25\text{ people}^2"),
        ("25", "25 real roots"),
        ("25", "25 less apples"),
    ]);
}

#[test]
fn degrees_are_not_radians() {
    differ(&[(r"30^\circ", r"30\text{ radians}"), (r"1^\circ", "1 rad"), (r"60^\circ", "60 rad")]);
    same(&[(r"60^\circ", r"\frac\pi3\text{ rad}"), (r"0^\circ", "0 rad"), ("1 rad", "1")]);
    same(&[(r"45^\circ", r"45^{\text{o}}"), (r"45^\circ", "45^o"), (r"45^\circ", "45˚")]);
    differ(&[("45", "x^o"), (r"45^\circ", "46^o")]);
}

#[test]
fn currencies_before_and_behind() {
    same(&[
        ("500", "¥500"),
        ("500", "₹500"),
        (r"\$500", r"US\$500"),
        (r"\$500", r"\text{USD } 500"),
        ("₹500", r"\text{Rs } 500"),
        ("₹500", "Rs.500"),
        ("₹500", "500 Rs"),
        ("¥500", "500 yuan"),
        ("£5", r"5\text{ pounds}"),
        ("5 pounds", "80 ounces"),
    ]);
    differ(&[("¥500", r"\$500"), ("£5", r"\$5"), ("£5", "80 ounces"), ("£5", "6 pounds"), ("US", "500")]);
}

#[test]
fn signs_in_words() {
    same(&[
        ("-5", r"\text{negative }5"),
        ("-5", r"\text{minus } 5"),
        (r"-\frac34", r"\text{Negative }\frac{3}{4}"),
        ("3, -5", "3 and negative 5"),
        ("x = -5", "x = negative 5"),
    ]);
    differ(&[("5", "negative 5"), ("-5", "7 negative 5"), ("-5", "negative numbers")]);
}

#[test]
fn one_repeating_digit_needs_no_braces() {
    same(&[(r"0.\overline{3}", r"0.\overline3"), ("1/3", r"0.\bar3"), ("1/6", r"0.1\overline 6")]);
    differ(&[("1/3", r"0.\overline4"), ("3/10", r"0.\bar3")]);
}

#[test]
fn three_letters_with_a_capital_are_a_word() {
    for text in ["Tom: 54", "Tax: 54", "Net profit: 54", "net pay: 54"] {
        assert!(parse(text).unwrap().has_words(), "{text}");
    }
    same(&[("Tom", "tom"), ("Axy+B", "B+xyA"), ("Tom = 54", "54")]);
    differ(&[("Sam", "Mas"), ("Amy", "May")]);
}
