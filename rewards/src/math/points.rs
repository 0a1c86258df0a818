//! The points at which two functions are compared.
//!
//! Near 0 first, where most functions are defined; then farther out and of several sizes at once, because `|x-3|` is `3-x` up to 3.

use num_bigint::BigInt;
use num_rational::BigRational;

/// Values of the symbols.
pub(crate) type Point = Vec<(String, BigRational)>;

/// How many points lie near 0.
pub(crate) const NEAR_POINTS: u64 = 16;

/// A time at which [`value`] lets the name decide on the sign.
const EITHER_SIGN: u64 = 5;

/// How large a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// Between 1/4 and 5/2; of whole numbers, between 2 and some twenty.
    Near,
    /// Ten times that; of whole numbers, to 50.
    Middle,
    /// A thousand times that; of whole numbers, thousands, some of them with many divisors.
    Far,
}

/// The points farther out: the size of the first symbol, the third and so on, that of the others, and which signs.
const OUTER: &[(Size, Size, u64)] = &[
    (Size::Middle, Size::Middle, 0),
    (Size::Middle, Size::Middle, 1),
    (Size::Far, Size::Far, 0),
    (Size::Far, Size::Far, 1),
    (Size::Middle, Size::Middle, 2),
    (Size::Middle, Size::Middle, 3),
    (Size::Far, Size::Far, 4),
    (Size::Far, Size::Far, 3),
    // With several symbols, one may be far larger than the other.
    (Size::Middle, Size::Near, 0),
    (Size::Near, Size::Middle, 0),
    (Size::Far, Size::Middle, 2),
    (Size::Middle, Size::Far, 3),
];

/// How many points farther out there are for so many symbols.
pub(crate) fn outer_points(symbols: usize) -> u64 {
    if symbols > 1 { OUTER.len() as u64 } else { 8 }
}

/// The `index`th point: those near 0, then those farther out. `whole` says which symbols are whole numbers.
pub(crate) fn point(symbols: &[String], whole: &[bool], index: u64) -> Point {
    let outer = index.checked_sub(NEAR_POINTS).and_then(|at| OUTER.get(at as usize));
    let (first, second, signs) = outer.copied().unwrap_or((Size::Near, Size::Near, index));
    let named = symbols.iter().zip(whole).enumerate();
    named
        .map(|(place, (name, whole))| {
            let size = if place.is_multiple_of(2) { first } else { second };
            let hash = hash(name, index);
            let value = if *whole { whole_value(hash, size, index) } else { value(hash, size, place, signs) };
            (name.clone(), value)
        })
        .collect()
}

/// The value that a function without a meaning has at the arguments in its `name`.
pub(crate) fn unknown_value(name: &str) -> BigRational {
    value(hash(name, EITHER_SIGN), Size::Near, 0, EITHER_SIGN)
}

/// A number that the name and the time decide, so that verdicts repeat.
fn hash(name: &str, index: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

fn whole_value(hash: u64, size: Size, index: u64) -> BigRational {
    let value = match size {
        Size::Near => 2 + index % NEAR_POINTS + hash % 5,
        Size::Middle => 10 * (1 + index % 4) + hash % 10,
        // 10080 has 72 divisors, by which a gcd tells one number from another.
        Size::Far if index.is_multiple_of(2) => 10_080 * (1 + hash % 3),
        Size::Far => 1_000 + hash % 5_000,
    };
    BigRational::from_integer(BigInt::from(value))
}

/// A rational. Signs come in every way that tells `|x|` from `x` and `|xy|` from `x|y|`: all positive, all negative, one and one;
/// then all positive again every other time, for what is defined nowhere else.
fn value(hash: u64, size: Size, place: usize, signs: u64) -> BigRational {
    let numerator = 10_007 * 26 + i64::try_from(hash % 200_000).unwrap_or(0) * 11 + 1;
    let times = match size {
        Size::Near => 1,
        Size::Middle => 10,
        Size::Far => 1000,
    };
    let value = BigRational::new(BigInt::from(numerator * times), BigInt::from(1_000_003));
    let negative = match signs {
        0 => false,
        1 => true,
        2 => place.is_multiple_of(2),
        3 => !place.is_multiple_of(2),
        _ => signs % 2 == 1 && hash >> 63 == 1,
    };
    if negative { -value } else { value }
}
