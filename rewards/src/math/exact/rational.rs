//! The exact rational value of an expression that has one.
//!
//! Every intermediate value is bounded in bits and pays for itself. Whole numbers never go through a greatest common
//! divisor, which is what makes rationals slow.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::{Budget, Stop};
use super::super::node::{Function, Node};

/// The most bits of a numerator or denominator.
const MAX_BITS: u64 = 65_536;
/// The most terms of a sum over a range.
const MAX_TERMS: i64 = 2_000;

/// The exact value of `node` where its symbols have the values of `environment`; `None` where it is not made of rational
/// operations.
pub(crate) fn rational(
    node: &Node,
    environment: &mut Vec<(String, BigRational)>,
    budget: &mut Budget,
) -> Result<Option<BigRational>, Stop> {
    budget.spend(16)?;
    macro_rules! value {
        ($node:expr) => {
            match rational($node, environment, budget)? {
                Some(value) => value,
                None => return Ok(None),
            }
        };
    }
    let result = match node {
        Node::Number(literal) => literal.value.clone(),
        Node::Symbol(name) => match environment.iter().rev().find(|(own, _)| own == name) {
            Some((_, value)) => value.clone(),
            None => return Ok(None),
        },
        Node::Based(digits, base) => match BigUint::parse_bytes(digits.as_bytes(), *base) {
            Some(value) => BigRational::from_integer(value.into()),
            None => BigRational::zero(),
        },
        Node::Sum(items) => {
            let mut sum = BigRational::zero();
            for item in items {
                sum = add(&sum, &value!(item), budget)?;
            }
            sum
        }
        Node::Product(items) => {
            let mut product = BigRational::one();
            for item in items {
                product = multiply(&product, &value!(item), budget)?;
            }
            product
        }
        Node::Inverse(inner) => {
            let inner = value!(inner);
            if inner.is_zero() {
                return Err(Stop::DivisionByZero);
            }
            inner.recip()
        }
        Node::Percent(inner) => {
            let inner = value!(inner);
            multiply(&inner, &BigRational::new(BigInt::one(), BigInt::from(100)), budget)?
        }
        Node::Power(base, exponent) => {
            let (base, exponent) = (value!(base), value!(exponent));
            match power(&base, &exponent, budget)? {
                Some(value) => value,
                None => return Ok(None),
            }
        }
        Node::Call(function @ (Function::Sum | Function::Product), parts) => {
            let [body, Node::Symbol(variable), from, to] = parts.as_slice() else { return Ok(None) };
            let (from, to) = (value!(from), value!(to));
            let (Some(from), Some(to)) = (integer(&from), integer(&to)) else { return Ok(None) };
            if to.saturating_sub(from) > MAX_TERMS {
                return Err(Stop::Budget);
            }
            let mut total = if *function == Function::Sum { BigRational::zero() } else { BigRational::one() };
            for index in from..=to {
                environment.push((variable.clone(), BigRational::from_integer(index.into())));
                let term = rational(body, environment, budget);
                environment.pop();
                let Some(term) = term? else { return Ok(None) };
                total = if *function == Function::Sum {
                    add(&total, &term, budget)?
                } else {
                    multiply(&total, &term, budget)?
                };
            }
            total
        }
        Node::Call(function, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            if !is_rational_function(*function) {
                return Ok(None);
            }
            for argument in arguments {
                values.push(value!(argument));
            }
            match call(*function, &values, budget)? {
                Some(value) => value,
                None => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn is_rational_function(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::Abs
            | F::Floor
            | F::Ceil
            | F::Factorial
            | F::DoubleFactorial
            | F::Binomial
            | F::Gcd
            | F::Lcm
            | F::Max
            | F::Min
            | F::Mod
            | F::Re
            | F::Im
            | F::Conjugate
    )
}

/// The function's value at rational numbers; `None` where that is none.
pub(super) fn call(
    function: Function,
    values: &[BigRational],
    budget: &mut Budget,
) -> Result<Option<BigRational>, Stop> {
    use Function as F;
    let first = values.first().ok_or(Stop::Unsupported)?;
    Ok(Some(match (function, values) {
        (F::Abs, [x]) => x.abs(),
        (F::Re | F::Conjugate, [x]) => x.clone(),
        (F::Im, [_]) => BigRational::zero(),
        (F::Floor | F::Ceil, [x]) => {
            budget.spend_product(x.numer().bits(), x.denom().bits())?;
            if function == F::Floor { x.floor() } else { x.ceil() }
        }
        (F::Max | F::Min, _) => {
            let mut best = first;
            for value in &values[1..] {
                let order = compare(value, best, budget)?;
                if order == if function == F::Max { Ordering::Greater } else { Ordering::Less } {
                    best = value;
                }
            }
            best.clone()
        }
        (F::Mod, [x, modulus]) => {
            if modulus.is_zero() {
                return Err(Stop::DivisionByZero);
            }
            // A quotient, a product and a difference, each of which is reduced.
            spend_reduction(3 * (size(x) + size(modulus)), budget)?;
            let turns = (x / modulus).floor();
            x - modulus * turns
        }
        (F::Gcd | F::Lcm, _) => {
            // Of fractions: gcd(a/d, b/d) = gcd(a, b)/d with a common denominator d.
            let mut common = BigInt::one();
            for value in values {
                common = common_multiple(&common, value.denom(), budget)?;
            }
            let mut result: Option<BigInt> = None;
            for value in values {
                budget.spend_product(value.numer().bits() + value.denom().bits(), common.bits())?;
                let scaled = (value.numer() * (&common / value.denom())).abs();
                check_bits(scaled.bits())?;
                result = Some(match result {
                    None => scaled,
                    Some(so_far) if function == F::Gcd => gcd(&so_far, &scaled, budget)?,
                    Some(so_far) => common_multiple(&so_far, &scaled, budget)?,
                });
            }
            let result = result.unwrap_or_default();
            spend_reduction(result.bits().max(common.bits()), budget)?;
            BigRational::new(result, common)
        }
        (F::Factorial, [x]) => match integer(x) {
            Some(n) if n < 0 => return Err(Stop::Undefined),
            Some(n) => BigRational::from_integer(falling(n, n, 1, budget)?),
            None if x.is_integer() => return Err(Stop::Budget),
            None => return Ok(None),
        },
        (F::DoubleFactorial, [x]) => match integer(x) {
            Some(n) if n >= 0 => BigRational::from_integer(falling(n, (n + 1) / 2, 2, budget)?),
            _ => return Ok(None),
        },
        (F::Binomial, [n, k]) => match (integer(n), integer(k)) {
            (Some(_), Some(k)) if k < 0 => BigRational::zero(),
            (Some(n), Some(k)) if n >= 0 => {
                if k > n {
                    return Ok(Some(BigRational::zero()));
                }
                let k = k.min(n - k);
                let (top, bottom) = (falling(n, k, 1, budget)?, falling(k, k, 1, budget)?);
                budget.spend_product(top.bits(), bottom.bits())?;
                BigRational::from_integer(top / bottom)
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// n (n - step) (n - 2 step) ... : `count` factors.
fn falling(n: i64, count: i64, step: i64, budget: &mut Budget) -> Result<BigInt, Stop> {
    let mut product = BigInt::one();
    let mut small = 1_u64;
    for index in 0..count {
        budget.spend(4)?;
        let factor = (n - index * step).unsigned_abs().max(1);
        match small.checked_mul(factor) {
            Some(next) => small = next,
            None => {
                budget.spend(product.bits() / 32 + 8)?;
                product *= small;
                check_bits(product.bits())?;
                small = factor;
            }
        }
    }
    Ok(product * small)
}

pub(super) fn integer(value: &BigRational) -> Option<i64> {
    if value.is_integer() { value.numer().to_i64().filter(|value| value.abs() < 1 << 40) } else { None }
}

fn check_bits(bits: u64) -> Result<(), Stop> {
    if bits > MAX_BITS { Err(Stop::Budget) } else { Ok(()) }
}

/// What reducing a fraction of such a size costs: a binary greatest common divisor.
fn spend_reduction(bits: u64, budget: &mut Budget) -> Result<(), Stop> {
    budget.spend(bits * (bits / 64 + 1) + 40)
}

fn gcd(left: &BigInt, right: &BigInt, budget: &mut Budget) -> Result<BigInt, Stop> {
    spend_reduction(left.bits().max(right.bits()), budget)?;
    // The numerator and denominator of left/right, reduced, give the divisor away.
    if right.is_zero() {
        return Ok(left.abs());
    }
    if left.is_zero() {
        return Ok(right.abs());
    }
    let reduced = BigRational::new(left.clone(), right.clone());
    Ok((right / reduced.denom()).abs())
}

/// The least common multiple; 0 where one of them is 0.
fn common_multiple(left: &BigInt, right: &BigInt, budget: &mut Budget) -> Result<BigInt, Stop> {
    let shared = gcd(left, right, budget)?;
    if shared.is_zero() {
        return Ok(shared);
    }
    budget.spend_product(left.bits(), right.bits())?;
    let multiple = (left / shared * right).abs();
    check_bits(multiple.bits())?;
    Ok(multiple)
}

/// Which is larger.
pub(crate) fn compare(left: &BigRational, right: &BigRational, budget: &mut Budget) -> Result<Ordering, Stop> {
    // Those of different signs, and whole numbers, are told apart without a product.
    budget.spend(left.numer().bits().max(right.numer().bits()) / 64 + 4)?;
    if left.denom() == right.denom() {
        return Ok(left.numer().cmp(right.numer()));
    }
    let signs = left.numer().sign().cmp(&right.numer().sign());
    if signs.is_ne() {
        return Ok(signs);
    }
    budget.spend_product(left.numer().bits(), right.denom().bits())?;
    budget.spend_product(right.numer().bits(), left.denom().bits())?;
    Ok((left.numer() * right.denom()).cmp(&(right.numer() * left.denom())))
}

/// The quotient.
pub(crate) fn divide(left: &BigRational, right: &BigRational, budget: &mut Budget) -> Result<BigRational, Stop> {
    if right.is_zero() {
        return Err(Stop::DivisionByZero);
    }
    // The reciprocal of a reduced fraction is reduced: its parts change places.
    multiply(left, &right.recip(), budget)
}

/// The sum.
pub(crate) fn add(left: &BigRational, right: &BigRational, budget: &mut Budget) -> Result<BigRational, Stop> {
    if left.denom().is_one() && right.denom().is_one() {
        budget.spend(left.numer().bits().max(right.numer().bits()) / 64 + 4)?;
        let sum = left.numer() + right.numer();
        check_bits(sum.bits())?;
        return Ok(BigRational::from_integer(sum));
    }
    let bits = size(left) + size(right);
    check_bits(bits)?;
    spend_reduction(bits, budget)?;
    Ok(left + right)
}

/// The product.
pub(crate) fn multiply(left: &BigRational, right: &BigRational, budget: &mut Budget) -> Result<BigRational, Stop> {
    if left.is_zero() || right.is_zero() {
        return Ok(BigRational::zero());
    }
    if left.is_one() {
        return Ok(right.clone());
    }
    if right.is_one() {
        return Ok(left.clone());
    }
    if left.denom().is_one() && right.denom().is_one() {
        check_bits(left.numer().bits() + right.numer().bits())?;
        budget.spend_product(left.numer().bits(), right.numer().bits())?;
        return Ok(BigRational::from_integer(left.numer() * right.numer()));
    }
    let bits = size(left) + size(right);
    check_bits(bits)?;
    spend_reduction(bits, budget)?;
    Ok(left * right)
}

fn size(value: &BigRational) -> u64 {
    value.numer().bits().max(value.denom().bits())
}

/// `base^exponent`; `None` where that is irrational.
pub(super) fn power(
    base: &BigRational,
    exponent: &BigRational,
    budget: &mut Budget,
) -> Result<Option<BigRational>, Stop> {
    if exponent.is_integer() {
        if base.is_zero() {
            return match exponent.numer().sign() {
                Sign::Plus => Ok(Some(BigRational::zero())),
                Sign::NoSign => Ok(Some(BigRational::one())),
                Sign::Minus => Err(Stop::DivisionByZero),
            };
        }
        if base.is_one() || exponent.is_zero() {
            return Ok(Some(BigRational::one()));
        }
        let minus_one = base.denom().is_one() && base.numer().magnitude().is_one();
        if minus_one {
            let odd = exponent.numer().bit(0);
            return Ok(Some(if odd { base.clone() } else { BigRational::one() }));
        }
        let times = exponent.numer().to_i64().ok_or(Stop::Budget)?;
        let bits = size(base).saturating_sub(1).max(1).saturating_mul(times.unsigned_abs());
        check_bits(bits)?;
        budget.spend_product(bits, bits)?;
        let count = u32::try_from(times.unsigned_abs()).map_err(|_| Stop::Budget)?;
        // Powers of coprime numbers are coprime: nothing to reduce.
        let (numerator, denominator) = (base.numer().pow(count), base.denom().pow(count));
        return Ok(Some(if times > 0 {
            BigRational::new_raw(numerator, denominator)
        } else if numerator.is_negative() {
            BigRational::new_raw(-denominator, -numerator)
        } else {
            BigRational::new_raw(denominator, numerator)
        }));
    }
    let Some(degree) = exponent.denom().to_u32().filter(|degree| *degree <= 64) else { return Ok(None) };
    let Some(root) = root(base, degree, budget)? else { return Ok(None) };
    power(&root, &BigRational::from_integer(exponent.numer().clone()), budget)
}

/// The exact real root; `None` where it is irrational or not real.
pub(crate) fn root(base: &BigRational, degree: u32, budget: &mut Budget) -> Result<Option<BigRational>, Stop> {
    if base.is_negative() && degree.is_multiple_of(2) {
        return Ok(None);
    }
    budget.spend_product(4 * size(base), size(base))?;
    let whole = |value: &BigInt| {
        let root = value.magnitude().nth_root(degree);
        (&root.pow(degree) == value.magnitude()).then(|| BigInt::from_biguint(value.sign(), root))
    };
    Ok(whole(base.numer()).zip(whole(base.denom())).map(|(top, bottom)| BigRational::new_raw(top, bottom)))
}
