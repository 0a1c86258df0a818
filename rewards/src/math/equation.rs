//! Equations and inequalities in several variables: the same solution set, as far as scaling and moving sides go.

use std::cmp::Ordering;

use num_traits::Signed;

use super::budget::{Budget, Stop};
use super::equal::equal;
use super::exact::{Normalizer, Polynomial, divide};
use super::node::{Node, Relation};
use super::roots::solutions;

/// `left - right` of a relation with two sides.
pub(crate) fn difference(relation: &Node) -> Option<Node> {
    match relation {
        Node::Relation(terms, _) => match terms.as_slice() {
            [left, right] if left.is_scalar() && right.is_scalar() => {
                Some(Node::difference(left.clone(), right.clone()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether two equations have the same solutions.
pub(crate) fn same(reference: &Node, candidate: &Node, budget: &mut Budget) -> Result<bool, Stop> {
    let (Some(left), Some(right)) = (difference(reference), difference(candidate)) else { return Ok(false) };
    let symbols = left.symbols();
    if symbols != right.symbols() {
        return Ok(false);
    }
    // In one variable: solved, as far as that goes. Only where neither has real solutions do the formulas decide.
    if symbols.len() == 1
        && let (Some(found), Some(others)) = (solutions(&left, budget)?, solutions(&right, budget)?)
        && !(found.is_empty() && others.is_empty())
    {
        return same_values(&found, &others, budget);
    }
    Ok(proportional(&left, &right, true, budget)?.is_some())
}

/// Whether these are the same values, each of which is listed once.
fn same_values(values: &[Node], others: &[Node], budget: &mut Budget) -> Result<bool, Stop> {
    if values.len() != others.len() {
        return Ok(false);
    }
    for value in values {
        let mut known = false;
        for other in others {
            known = known || equal(value, other, budget)?;
        }
        if !known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two inequalities in several variables are the same; `None` where they are of one variable, and better solved.
pub(crate) fn same_inequality(reference: &Node, candidate: &Node, budget: &mut Budget) -> Result<Option<bool>, Stop> {
    let (Node::Relation(terms, relations), Node::Relation(other_terms, other_relations)) = (reference, candidate)
    else {
        return Ok(None);
    };
    let several = |terms: &[Node]| Node::Sum(terms.to_vec()).symbols().len() > 1;
    if !several(terms) && !several(other_terms) {
        return Ok(None);
    }
    if terms.len() != other_terms.len() {
        return Ok(Some(false));
    }
    if terms.len() > 2 {
        // A chain, as it stands or read from the other end.
        let mirrored: Vec<Relation> = other_relations.iter().rev().map(|relation| relation.flipped()).collect();
        let backwards: Vec<&Node> = other_terms.iter().rev().collect();
        let forwards: Vec<&Node> = other_terms.iter().collect();
        for (relations_now, terms_now) in [(other_relations, &forwards), (&mirrored, &backwards)] {
            let mut all = relations == relations_now;
            for (left, right) in terms.iter().zip(terms_now) {
                all = all && left.is_scalar() && right.is_scalar() && equal(left, right, budget)?;
            }
            if all {
                return Ok(Some(true));
            }
        }
        return Ok(Some(false));
    }
    let (Some(left), Some(right)) = (difference(reference), difference(candidate)) else {
        return Ok(Some(reference == candidate));
    };
    let ([relation], [other]) = (relations.as_slice(), other_relations.as_slice()) else { return Ok(Some(false)) };
    Ok(Some(match proportional(&left, &right, false, budget)? {
        Some(Ordering::Greater) => relation == other,
        Some(Ordering::Less) => *relation == other.flipped(),
        _ => false,
    }))
}

/// The sign of the number by which one function is a multiple of the other; `None` where it is none. Where only the zeros
/// count, denominators are left out.
fn proportional(left: &Node, right: &Node, zeros: bool, budget: &mut Budget) -> Result<Option<Ordering>, Stop> {
    let mut normalizer = Normalizer { budget };
    let (left, right) = (normalizer.normalize(left)?, normalizer.normalize(right)?);
    let (first, second) = if zeros {
        (left.numerator.clone(), right.numerator.clone())
    } else {
        (left.numerator.mul(&right.denominator, budget)?, right.numerator.mul(&left.denominator, budget)?)
    };
    let (Some((monomial, a)), Some(b)) = (first.terms.last_key_value(), second.leading()) else { return Ok(None) };
    // By a rational number: the leading terms tell which.
    if second.terms.contains_key(monomial) {
        let by = divide(a, b, budget)?;
        let rest = first.add(&second.scaled(&-by.clone(), budget)?, budget)?;
        if rest.is_zero() {
            return Ok(Some(if by.is_negative() { Ordering::Less } else { Ordering::Greater }));
        }
    }
    // By a radical: multiplied crosswise with the coefficients of one monomial in the symbols.
    let (Some(a), Some(b)) = (head(&first), head(&second)) else { return Ok(None) };
    if a.0 != b.0 {
        return Ok(None);
    }
    let rest = first.mul(&b.1, budget)?.add(&second.mul(&a.1, budget)?.neg(), budget)?;
    if !rest.is_zero() {
        return Ok(None);
    }
    let positive =
        |polynomial: &Polynomial| polynomial.terms.len() == 1 && polynomial.leading().is_some_and(Signed::is_positive);
    Ok(Some(if zeros || positive(&a.1) == positive(&b.1) { Ordering::Greater } else { Ordering::Less }))
}

/// The last monomial of symbols, and the coefficient that constants make of it.
fn head(polynomial: &Polynomial) -> Option<(super::exact::Monomial, Polynomial)> {
    use super::exact::Atom;
    let is_symbol = |atom: &Atom| matches!(atom, Atom::Symbol(_) | Atom::Opaque(_));
    let symbols = |monomial: &super::exact::Monomial| -> super::exact::Monomial {
        monomial.iter().filter(|(atom, _)| is_symbol(atom)).cloned().collect()
    };
    let key = polynomial.terms.keys().map(symbols).max()?;
    let mut coefficient = Polynomial::default();
    for (monomial, value) in &polynomial.terms {
        if symbols(monomial) == key {
            let constants = monomial.iter().filter(|(atom, _)| !is_symbol(atom)).cloned().collect();
            coefficient.terms.insert(constants, value.clone());
        }
    }
    Some((key, coefficient))
}
