//! Whether two formulas have the same value, or are the same function on their common domain.
//!
//! Exact methods first: rational values, then normal forms. What they leave open is evaluated in balls: at one point for a
//! constant, at several for a function. Disjoint balls prove a difference. Agreement is believed where the difference stays
//! below 2^-200 of the values at every point tried, and of constants also below 2^-100 absolutely.

use std::cmp::Ordering;

use num_rational::BigRational;
use num_traits::Zero;

use super::budget::{Budget, Stop};
use super::evaluate::Evaluator;
use super::exact::{Fraction, Normalizer, compare, rational};
use super::node::{Constant, Function, Node};
use super::numeric::{Ball, Complex, Precision};
use super::points::{NEAR_POINTS, outer_points, point};

/// Bits at which a difference usually shows, and at which agreement is believed.
const FIRST_BITS: u64 = 128;
const LAST_BITS: u64 = 384;
/// Agreement means: the difference is below 2^-this of the values.
const AGREEMENT: i64 = 200;
/// Values above 2^this are not evaluated to their last digit.
const MAX_MAGNITUDE: i64 = 2048;
/// How many points must be in both domains for a function of one symbol; of several, one more.
const ENOUGH_POINTS: usize = 3;
/// What the values at a point away from 0 may take. Where they are too large to work out, the other points decide.
const OUTER_STEPS: u64 = 60_000;
/// What the normal forms of one comparison may spend.
const NORMAL_STEPS: u64 = 800_000;

/// Whether two scalars are equal.
pub(crate) fn equal(left: &Node, right: &Node, budget: &mut Budget) -> Result<bool, Stop> {
    if left == right {
        // Reflexive, as far as it means anything at all: 1/0 is nothing.
        return match rational(left, &mut vec![], &mut Budget::new(NORMAL_STEPS)) {
            Err(Stop::DivisionByZero) => Err(Stop::DivisionByZero),
            _ => Ok(true),
        };
    }
    match (infinity(left), infinity(right)) {
        (None, None) => {}
        (left, right) => return Ok(left == right),
    }
    let exact = (rational(left, &mut vec![], budget), rational(right, &mut vec![], budget));
    match &exact {
        (Ok(Some(left)), Ok(Some(right))) => return Ok(left == right),
        (Err(Stop::DivisionByZero), _) | (_, Err(Stop::DivisionByZero)) => return Err(Stop::DivisionByZero),
        _ => {}
    }
    let mut share = Budget::new(NORMAL_STEPS);
    let decided = difference(left, right, &mut Normalizer { budget: &mut share });
    budget.spend(NORMAL_STEPS - share.left())?;
    match decided {
        Ok(Some(equal)) => return Ok(equal),
        Err(Stop::DivisionByZero) => return Err(Stop::DivisionByZero),
        _ => {}
    }
    numerically(left, right, budget)
}

/// What the normal form of the difference proves.
fn difference(left: &Node, right: &Node, normalizer: &mut Normalizer<'_>) -> Result<Option<bool>, Stop> {
    let (left, right) = (normalizer.normalize(left)?, normalizer.normalize(right)?);
    let zero = cross(&left, &right, normalizer.budget)?;
    if zero.numerator.is_zero() {
        return Ok(Some(true));
    }
    Ok((normalizer.decides(&left) && normalizer.decides(&right) && normalizer.decides(&zero)).then_some(false))
}

/// `n1 d2 - n2 d1`, over 1.
fn cross(left: &Fraction, right: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
    if left.denominator.is_zero() || right.denominator.is_zero() {
        return Err(Stop::DivisionByZero);
    }
    let first = left.numerator.mul(&right.denominator, budget)?;
    let second = right.numerator.mul(&left.denominator, budget)?;
    Ok(Fraction::polynomial(first.add(&second.neg(), budget)?))
}

/// The sign of an infinity.
pub(crate) fn infinity(node: &Node) -> Option<Ordering> {
    match node {
        Node::Constant(Constant::Infinity) => Some(Ordering::Greater),
        Node::Product(items) => match items.as_slice() {
            [Node::Number(minus), Node::Constant(Constant::Infinity)]
                if minus.value == -BigRational::from_integer(1.into()) =>
            {
                Some(Ordering::Less)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What a set of values says of the difference.
enum Seen {
    Different,
    Agreed,
    Open,
}

fn numerically(left: &Node, right: &Node, budget: &mut Budget) -> Result<bool, Stop> {
    let mut symbols = left.symbols();
    symbols.extend(right.symbols());
    symbols.sort();
    symbols.dedup();
    let mut is_imaginary = |node: &Node| *node == Node::Constant(Constant::I);
    let complex = left.any(&mut is_imaginary) || right.any(&mut is_imaginary);
    if symbols.is_empty() {
        return constants(left, right, complex, budget);
    }
    let whole: Vec<bool> = symbols.iter().map(|name| needs_whole(left, name) || needs_whole(right, name)).collect();
    let verdict = functions(left, right, &symbols, &whole, complex, budget)?;
    if let Some(verdict) = verdict {
        return Ok(verdict);
    }
    // Nowhere both real: as complex functions, if anything.
    if !complex && let Some(verdict) = functions(left, right, &symbols, &whole, true, budget)? {
        return Ok(verdict);
    }
    Err(Stop::Undefined)
}

fn constants(left: &Node, right: &Node, complex: bool, budget: &mut Budget) -> Result<bool, Stop> {
    let mut bits = FIRST_BITS;
    loop {
        let mut precision = Precision::new(bits);
        let mut evaluator = Evaluator { precision: &mut precision, budget: &mut *budget, point: vec![], complex };
        let values = evaluator.evaluate(left).and_then(|left| Ok((left, evaluator.evaluate(right)?)));
        match values {
            Ok((left, right)) => {
                let size = left.magnitude().max(right.magnitude()).unwrap_or(0);
                match seen(&left, &right, bits)? {
                    Seen::Different => return Ok(false),
                    Seen::Agreed if bits as i64 >= size + AGREEMENT => return Ok(true),
                    // To the last digit before the point, and some behind it.
                    _ if size > MAX_MAGNITUDE => return Err(Stop::Budget),
                    _ if bits as i64 > size.max(0) + 2 * LAST_BITS as i64 => return Err(Stop::Imprecise),
                    _ => bits = (LAST_BITS + size.max(0) as u64).max(bits * 2),
                }
            }
            Err(Stop::Imprecise) if bits < 2 * LAST_BITS => bits *= 3,
            Err(stop) => return Err(stop),
        }
    }
}

fn functions(
    left: &Node,
    right: &Node,
    symbols: &[String],
    whole: &[bool],
    complex: bool,
    budget: &mut Budget,
) -> Result<Option<bool>, Stop> {
    let mut agreed = 0;
    let enough = ENOUGH_POINTS + usize::from(symbols.len() > 1);
    let outer = if is_analytic(left) && is_analytic(right) { 0 } else { outer_points(symbols.len()) };
    // A difference shows with few bits, so those come first at every point.
    for bits in [FIRST_BITS, LAST_BITS] {
        let mut precision = Precision::new(bits);
        agreed = 0;
        for index in 0..NEAR_POINTS + outer {
            let near = index < NEAR_POINTS;
            // Enough near 0: then some of those farther out, always.
            if agreed >= enough && (near || bits == LAST_BITS) {
                continue;
            }
            let steps = if near { budget.left() } else { budget.left().min(OUTER_STEPS) };
            let mut share = Budget::new(steps);
            let mut evaluator = Evaluator {
                precision: &mut precision,
                budget: &mut share,
                point: point(symbols, whole, index),
                complex,
            };
            let values = (evaluator.evaluate(left), evaluator.evaluate(right));
            budget.spend(steps - share.left())?;
            let (left, right) = match values {
                (Ok(left), Ok(right)) => (left, right),
                (Err(stop @ (Stop::Budget | Stop::Unsupported)), _)
                | (_, Err(stop @ (Stop::Budget | Stop::Unsupported)))
                    if near =>
                {
                    return Err(stop);
                }
                // Outside of the common domain, or too far out.
                _ => continue,
            };
            // A value that is not real, of a function that does not speak of complex numbers, is no value.
            let real = left.is_real() && right.is_real();
            if !complex && !real {
                continue;
            }
            match seen(&left, &right, bits) {
                Ok(Seen::Different) => return Ok(Some(false)),
                Ok(Seen::Agreed) => agreed += 1,
                Ok(Seen::Open) => agreed += usize::from(bits == FIRST_BITS),
                Err(stop) if near => return Err(stop),
                Err(_) => {}
            }
        }
        if agreed == 0 {
            return Ok(None);
        }
    }
    if agreed >= enough { Ok(Some(true)) } else { Ok(None) }
}

/// Whether it is one analytic function wherever it is defined, which is everywhere but at single points: what agrees near 0
/// then agrees everywhere.
fn is_analytic(node: &Node) -> bool {
    use Function as F;
    let branches = |part: &Node| match part {
        Node::Call(F::Exp | F::Sin | F::Cos | F::Tan | F::Cot | F::Sec | F::Csc, _)
        | Node::Call(F::Sinh | F::Cosh | F::Tanh | F::Coth | F::Sech | F::Csch | F::Atan, _) => false,
        Node::Call(..) => true,
        // A whole power, or the power of a positive number.
        Node::Power(base, exponent) => {
            let whole = matches!(&**exponent, Node::Number(literal) if literal.value.is_integer());
            !whole && (!base.symbols().is_empty() || is_negative(base))
        }
        _ => false,
    };
    !node.any(&mut |part| branches(part) && !part.symbols().is_empty())
}

fn seen(left: &Complex, right: &Complex, bits: u64) -> Result<Seen, Stop> {
    let difference = left.sub(right, bits + 64)?;
    if !difference.contains_zero() {
        return Ok(Seen::Different);
    }
    let size = left.magnitude().max(right.magnitude()).unwrap_or(0).max(-64);
    let below = difference.magnitude().is_none_or(|magnitude| magnitude < size - AGREEMENT);
    Ok(if below { Seen::Agreed } else { Seen::Open })
}

/// Whether `name` stands where only whole numbers make sense: under a factorial, as a bound of a sum, as the exponent of a
/// negative number.
fn needs_whole(node: &Node, name: &str) -> bool {
    use Function as F;
    node.any(&mut |part| {
        let places: Vec<&Node> = match part {
            Node::Call(F::Factorial | F::DoubleFactorial | F::Binomial | F::Gcd | F::Lcm | F::Mod, items) => {
                items.iter().collect()
            }
            Node::Call(F::Sum | F::Product, items) => items.iter().skip(2).collect(),
            Node::Power(base, exponent) if is_negative(base) => vec![exponent],
            _ => vec![],
        };
        places.into_iter().any(|place| place.symbols().iter().any(|own| own == name))
    })
}

fn is_negative(node: &Node) -> bool {
    matches!(rational(node, &mut vec![], &mut Budget::new(10_000)), Ok(Some(value)) if value < BigRational::zero())
}

/// A real enclosure of a constant.
pub(crate) fn enclosure(node: &Node, bits: u64, budget: &mut Budget) -> Result<Ball, Stop> {
    let mut precision = Precision::new(bits);
    let mut evaluator = Evaluator { precision: &mut precision, budget, point: vec![], complex: true };
    let value = evaluator.evaluate(node)?;
    if value.is_real() { Ok(value.re) } else { Err(Stop::Undefined) }
}

/// Which of two real constants is larger.
pub(crate) fn order(left: &Node, right: &Node, budget: &mut Budget) -> Result<Ordering, Stop> {
    match (infinity(left), infinity(right)) {
        (None, None) => {}
        (left, right) => return Ok(left.unwrap_or(Ordering::Equal).cmp(&right.unwrap_or(Ordering::Equal))),
    }
    if let (Some(left), Some(right)) = (rational(left, &mut vec![], budget)?, rational(right, &mut vec![], budget)?) {
        return compare(&left, &right, budget);
    }
    for bits in [FIRST_BITS, LAST_BITS] {
        let (left, right) = (enclosure(left, bits, budget)?, enclosure(right, bits, budget)?);
        if let Some(order) = left.compare(&right, bits) {
            return Ok(order);
        }
    }
    if equal(left, right, budget)? { Ok(Ordering::Equal) } else { Err(Stop::Imprecise) }
}

#[cfg(test)]
mod tests {
    use super::super::budget::VERDICT_STEPS;
    use super::super::parser::parse;
    use super::*;

    #[track_caller]
    fn check(left: &str, right: &str, expected: Result<bool, Stop>) {
        let (a, b) = (parse(left).unwrap().remove(0), parse(right).unwrap().remove(0));
        assert_eq!(equal(&a, &b, &mut Budget::new(VERDICT_STEPS)), expected, "{left} and {right}: {a:?} and {b:?}");
        assert_eq!(equal(&b, &a, &mut Budget::new(VERDICT_STEPS)), expected, "{right} and {left}");
    }

    #[test]
    fn identities() {
        for (left, right) in [
            (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"),
            (r"\frac{1}{1+\sqrt2}", r"\sqrt2-1"),
            (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1"),
            (r"\log_2 8", "3"),
            (r"\log_4 8", r"\frac32"),
            (r"\ln 6", r"\ln 2+\ln 3"),
            (r"\sin 2x", r"2\sin x\cos x"),
            (r"\cos^2 x", r"\frac{1+\cos 2x}{2}"),
            (r"\tan x", r"\frac{\sin x}{\cos x}"),
            (r"\sin\frac{\pi}{3}", r"\frac{\sqrt3}{2}"),
            (r"\sin 30^\circ", r"\frac12"),
            (r"\arctan 1", r"\frac{\pi}{4}"),
            (r"\cos\frac{\pi}{5}", r"\frac{1+\sqrt5}{4}"),
            ("(x+1)^3", "x^3+3x^2+3x+1"),
            (r"\frac{x^2-1}{x-1}", "x+1"),
            (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}"),
            (r"\frac{n!}{(n-2)!}", "n(n-1)"),
            (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
            (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"),
            ("2^{x+1}", r"2\cdot 2^x"),
            ("4^x", "2^{2x}"),
            ("e^{i\\pi}", "-1"),
            ("(1+i)^2", "2i"),
            (r"\frac{1}{i}", "-i"),
            ("|x-3|", "|3-x|"),
            (r"\sqrt{x^2-6x+9}", "|x-3|"),
            (r"\ln(x-3)+\ln(x-4)", r"\ln((x-3)(x-4))"),
            (r"\sqrt{x-3}\sqrt{x-4}", r"\sqrt{(x-3)(x-4)}"),
            (r"2\ln(x-5)", r"\ln((x-5)^2)"),
            (r"\max(x, y)", r"\frac{x+y+|x-y|}{2}"),
            (r"\binom{n}{25}", r"\binom{n}{n-25}"),
            ("e^{x+y}", "e^x e^y"),
            (r"\ln x^2", r"2\ln x"),
            (r"\sqrt{x^2}", "|x|"),
            ("2^{100}", "1267650600228229401496703205376"),
            (r"\binom{10}{3}", "120"),
            ("(-8)^{1/3}", "-2"),
            (r"\sqrt{-4}", "2i"),
            (r"(-1)^n", r"\cos(n\pi)"),
            (r"\gcd(4x, 6x)", "2x"),
            (r"\lcm(4\pi, 6\pi)", r"12\pi"),
            (r"\gcd(2\sqrt2, 3\sqrt8)", r"2\sqrt2"),
            (r"\gcd(\pi, 3)", "1"),
            (r"\gcd(4\pi, 6)", "2"),
            (r"\lcm(\sqrt5, \sqrt2)", r"\sqrt{10}"),
            (r"\lcm(\sqrt3, \sqrt2, 10)", r"10\sqrt6"),
            (r"\gcd(m, n)", r"\gcd(n, m)"),
            ("||x||y||", "|xy|"),
            (r"\sum_{i=1}^{n} i", "Sum(i, (i, 1, n))"),
        ] {
            check(left, right, Ok(true));
        }
    }

    #[test]
    fn differences_however_slight() {
        for (left, right) in [
            (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
            ("10^{30}", "10^{30}+1"),
            (r"\pi", r"\frac{355}{113}"),
            (r"e^{\pi\sqrt{163}}", "262537412640768744"),
            (r"\sin 2x", r"2\sin x"),
            (r"\sqrt{x^2}", "x"),
            ("|y|", "y"),
            ("|x|y", "|xy|"),
            ("x|y|", "|x|y"),
            ("|x||y|z", "|xyz|"),
            (r"\sqrt{a^2b^2}", "ab"),
            (r"\sqrt2+\sqrt3", r"\sqrt{10}"),
            ("e^{1000}", "e^{1000}+1"),
            ("x^2+y", "y^2+x"),
            (r"\sin 10^{20}", r"\sin(10^{20}+1)"),
            (r"\infty", r"-\infty"),
            ("f(x)", "f(y)"),
            (r"\pi^{100}", r"\pi^{100}+10^{-20}"),
            (r"\gcd(m, n)", "1"),
            (r"\lcm(m, n)", "mn"),
            (r"\gcd(125, 50x)", "25"),
            (r"\gcd(4x, 6x)", "x"),
            ("|x-3|", "3-x"),
            ("|x-2|", "2-x"),
            (r"\sqrt{x^2-6x+9}", "3-x"),
            (r"\sqrt{x^2+10x+25}", "x+5"),
            ("|x-5|+|x+5|", "10"),
            (r"\max(x,10)", "10"),
            (r"\max(x,1000)", "1000"),
            ("|x-9y|", "9y-x"),
            (r"\binom{n}{25}", "0"),
            (r"\binom{n}{3k}", r"\binom{n}{4k}"),
            (r"n \bmod 10", "n"),
            (r"\gcd(n,1000)", r"\gcd(n,10000)"),
        ] {
            check(left, right, Ok(false));
        }
    }

    #[test]
    fn what_is_too_large_is_out_of_budget() {
        check("9^{9^9}", "9^{9^9}+1", Err(Stop::Budget));
        check(r"-9.80665\mod 9^{20665}", "1", Err(Stop::Budget));
        check(r"\sqrt{2}\cdot 10^{99999}", r"\sqrt2\cdot 10^{99999}+1", Err(Stop::Budget));
    }
}
