//! Real roots of polynomials in one variable, and with them the solutions of equations.

use std::cmp::Ordering;

use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::budget::{Budget, Stop};
use super::equal::{equal, order};
use super::exact::{Atom, Monomial, Normalizer, Polynomial, add, multiply};
use super::node::{Constant, Literal, Node};

/// A number that nobody wrote.
pub(super) fn number(value: BigRational) -> Node {
    Node::Number(Literal { value, places: 0, significant: 0, plain: false })
}

/// The real roots of a polynomial in `variable`, of degree two at most once its rational roots are taken out. `None` where
/// they cannot be given.
pub(crate) fn roots(polynomial: &Polynomial, variable: &str, budget: &mut Budget) -> Result<Option<Vec<Node>>, Stop> {
    let Some(coefficients) = polynomial.coefficients(variable, 12) else { return Ok(None) };
    let constant = |polynomial: &Polynomial| {
        polynomial.terms.keys().flatten().all(|(atom, _)| matches!(atom, Atom::Prime(_) | Atom::Pi | Atom::Euler))
    };
    if !coefficients.iter().all(constant) {
        return Ok(None);
    }
    let rationals: Option<Vec<BigRational>> = coefficients.iter().map(Polynomial::as_constant).collect();
    let mut found = vec![];
    let mut nodes: Vec<Node> = coefficients.iter().map(to_node).collect();
    if let Some(mut rest) = rationals {
        while rest.len() > 3 {
            let Some(root) = rational_root(&rest, budget)? else { return Ok(None) };
            rest = divided(&rest, &root, budget)?;
            found.push(number(root));
        }
        nodes = rest.into_iter().map(number).collect();
    }
    match nodes.as_slice() {
        [] | [_] => {}
        [b, a] => found.push(Node::Product(vec![b.clone().negated(), a.clone().inverse()])),
        [c, b, a] => {
            let square = Node::Product(vec![b.clone(), b.clone()]);
            let four = Node::Product(vec![Node::integer(4), a.clone(), c.clone()]);
            let discriminant = Node::difference(square, four);
            let sign = order(&discriminant, &Node::integer(0), budget)?;
            if sign != Ordering::Less {
                let root = Node::power(discriminant, Node::integer(2).inverse());
                let twice = Node::Product(vec![Node::integer(2), a.clone()]).inverse();
                for root in [root.clone(), root.negated()] {
                    let top = Node::Sum(vec![b.clone().negated(), root]);
                    found.push(Node::Product(vec![top, twice.clone()]));
                }
                if sign == Ordering::Equal {
                    found.pop();
                }
            }
        }
        _ => return Ok(None),
    }
    Ok(Some(found))
}

/// A polynomial over constants, as an expression.
fn to_node(polynomial: &Polynomial) -> Node {
    let term = |monomial: &Monomial, value: &BigRational| {
        let mut factors = vec![number(value.clone())];
        for (atom, exponent) in monomial {
            let base = match atom {
                Atom::Prime(prime) => number(BigRational::from_integer((*prime).into())),
                Atom::Pi => Node::Constant(Constant::Pi),
                _ => Node::Constant(Constant::E),
            };
            let exponent = BigRational::new((*exponent.numer()).into(), (*exponent.denom()).into());
            factors.push(Node::power(base, number(exponent)));
        }
        Node::Product(factors)
    };
    Node::Sum(polynomial.terms.iter().map(|(monomial, value)| term(monomial, value)).collect())
}

/// A rational root, looked for among small numerators and denominators that divide the outer coefficients.
fn rational_root(coefficients: &[BigRational], budget: &mut Budget) -> Result<Option<BigRational>, Stop> {
    for denominator in 1..=6_i64 {
        for numerator in -40..=40_i64 {
            let root = BigRational::new(numerator.into(), denominator.into());
            let mut value = BigRational::zero();
            for next in coefficients.iter().rev() {
                value = add(&multiply(&value, &root, budget)?, next, budget)?;
            }
            if value.is_zero() {
                return Ok(Some(root));
            }
        }
    }
    Ok(None)
}

/// The quotient by `x - root`.
fn divided(coefficients: &[BigRational], root: &BigRational, budget: &mut Budget) -> Result<Vec<BigRational>, Stop> {
    let mut quotient = vec![];
    let mut carried = BigRational::zero();
    for next in coefficients.iter().rev() {
        carried = add(&multiply(&carried, root, budget)?, next, budget)?;
        quotient.push(carried.clone());
    }
    quotient.pop();
    quotient.reverse();
    Ok(quotient)
}

/// The real solutions of `function = 0` in one variable, each once; `None` where they cannot be given.
pub(crate) fn solutions(function: &Node, budget: &mut Budget) -> Result<Option<Vec<Node>>, Stop> {
    let symbols = function.symbols();
    let [variable] = symbols.as_slice() else { return Ok(None) };
    let Ok(normal) = (Normalizer { budget }).normalize(function) else { return Ok(None) };
    let Some(zeros) = roots(&normal.numerator, variable, budget)? else { return Ok(None) };
    let mut kept: Vec<Node> = vec![];
    for zero in zeros {
        let mut known = false;
        for other in &kept {
            known |= equal(&zero, other, budget)?;
        }
        if !known && !is_pole(function, variable, &zero, budget)? {
            kept.push(zero);
        }
    }
    Ok(Some(kept))
}

/// Whether `function` divides by 0 at `value`, as (x - 1)/(x - 1) does at 1.
fn is_pole(function: &Node, variable: &str, value: &Node, budget: &mut Budget) -> Result<bool, Stop> {
    let divides = |part: &Node| match part {
        Node::Inverse(_) => true,
        Node::Power(_, exponent) => matches!(&**exponent, Node::Number(literal) if literal.value.is_negative()),
        _ => false,
    };
    if !function.any(&mut |part| divides(part) && !part.symbols().is_empty()) {
        return Ok(false);
    }
    match equal(&function.substitute(variable, value), &Node::integer(0), budget) {
        Err(Stop::Budget) => Err(Stop::Budget),
        verdict => Ok(verdict == Err(Stop::DivisionByZero)),
    }
}
