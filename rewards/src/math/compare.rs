//! When two answers are the same, by the written grading policy.
//!
//! Symmetric, but for two rules: a *reference* that is a decimal accepts a value that rounds to it, and one that is an
//! equation in several letters is less often taken for the value on its right ([`super::pair`]).

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::budget::{Budget, Stop};
use super::domain::stated_over;
use super::equal::{enclosure, equal};
use super::equation;
use super::exact::{add, compare, rational};
use super::matrix;
use super::meaning::{Measured, chained, meaning, named_value, result};
use super::naming::{names, names_agree};
use super::node::{Function, Joint, Literal, NamedSet, Node, Relation};
use super::numeric::Ball;
use super::pair::aligned;
use super::region::{Stated, is_region, matches};
use super::roots::solutions;
use super::unit::Unit;

/// The fewest significant digits by which a decimal stands for a value that has no finite decimal.
const ENOUGH_DIGITS: u32 = 6;

/// Compares answers within a budget.
pub(crate) struct Comparison {
    budget: Budget,
    /// Whether the reference sets letters apart from its number, as units are: `5 m`, and not `2s`.
    letters_apart: bool,
}

type Same = Result<bool, Stop>;

impl Comparison {
    pub(crate) fn new(budget: Budget, letters_apart: bool) -> Self {
        Self { budget, letters_apart }
    }

    /// Whether `candidate` says what `reference` says; if not, in what they differ.
    pub(crate) fn compare(&mut self, reference: &Node, candidate: &Node) -> Result<(), &'static str> {
        let Some((reference, candidate)) = aligned(reference, candidate) else { return Err("wrong_value") };
        match self.same(&reference, &candidate) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.difference(&reference, &candidate)),
            Err(Stop::Budget) => Err("budget"),
            Err(Stop::DivisionByZero) => Err("division_by_zero"),
            Err(_) => Err(self.difference(&reference, &candidate)),
        }
    }

    /// In what two answers differ, in one word.
    fn difference(&mut self, reference: &Node, candidate: &Node) -> &'static str {
        let items = |node: &Node| match node {
            Node::List(_, items) | Node::Set(items) => Some(items.len()),
            _ => None,
        };
        match (reference, candidate) {
            (Node::Text(_), Node::Text(_)) => "wrong_text",
            (Node::Tuple(open, close, left), Node::Tuple(other_open, other_close, right)) => {
                if left.len() != right.len() {
                    "wrong_number_of_values"
                } else if (open, close) != (other_open, other_close) {
                    "wrong_brackets"
                } else {
                    "wrong_value"
                }
            }
            _ => match (items(reference), items(candidate)) {
                (Some(left), Some(right)) if left == right => "wrong_value",
                (Some(_), Some(_)) => "wrong_number_of_values",
                (None, Some(_)) => "several_answers",
                (Some(_), None) => "wrong_number_of_values",
                (None, None) if reference.is_scalar() && candidate.is_scalar() => {
                    let (left, right) = (Measured::of(reference), Measured::of(candidate));
                    match (left.unit, right.unit) {
                        (Some(left), Some(right)) if !left.agrees(&right) => "wrong_unit",
                        _ => "wrong_value",
                    }
                }
                (None, None) if reference.is_scalar() => "not_a_number",
                _ => "wrong_kind",
            },
        }
    }

    fn same(&mut self, reference: &Node, candidate: &Node) -> Same {
        self.budget.spend(200)?;
        if let (Node::Text(left), Node::Text(right)) = (reference, candidate) {
            return Ok(left == right);
        }
        // "No solution" is the empty set in words.
        if let (Node::Text(words), Node::Named(NamedSet::Empty)) | (Node::Named(NamedSet::Empty), Node::Text(words)) =
            (reference, candidate)
        {
            return Ok(matches!(
                words.as_str(),
                "no solution" | "no solutions" | "empty set" | "the empty set" | "none"
            ));
        }
        // A set of one is its element.
        if let Some(inner) = sole(reference) {
            return self.same(&inner, candidate);
        }
        if let Some(inner) = sole(candidate) {
            return self.same(reference, &inner);
        }
        if reference.is_scalar() && candidate.is_scalar() {
            return self.scalars(reference, candidate);
        }
        if let Some(verdict) = self.residues(reference, candidate)? {
            return Ok(verdict);
        }
        if (matches!(reference, Node::Relation(..)) || matches!(candidate, Node::Relation(..)))
            && let Some(verdict) = self.relations(reference, candidate)?
        {
            return Ok(verdict);
        }
        if (is_region(reference) || is_region(candidate))
            && let Some(verdict) = self.regions(reference, candidate)?
        {
            return Ok(verdict);
        }
        if let Some(verdict) = self.matrices(reference, candidate)? {
            return Ok(verdict);
        }
        match (reference, candidate) {
            (Node::Ratio(..), _) | (_, Node::Ratio(..)) => self.ratios(reference, candidate),
            (Node::Set(left) | Node::List(_, left), Node::Set(right) | Node::List(_, right)) => self.sets(left, right),
            (Node::Tuple(open, close, left), Node::Tuple(other_open, other_close, right)) => {
                let round = |bracket: &char| {
                    if *bracket == '<' {
                        '('
                    } else if *bracket == '>' {
                        ')'
                    } else {
                        *bracket
                    }
                };
                let brackets =
                    left.len() != 2 || (round(open), round(close)) == (round(other_open), round(other_close));
                Ok(brackets && self.sequences(left, right)?)
            }
            // Coordinates without their parentheses, in order.
            (Node::Tuple('(' | '<', ')' | '>', left), Node::List(Joint::Comma, right))
            | (Node::List(Joint::Comma, left), Node::Tuple('(' | '<', ')' | '>', right)) => self.sequences(left, right),
            // One value said several times: duplicates are ignored.
            (left, Node::List(_, items)) if left.is_scalar() => self.covers(items, std::slice::from_ref(left), true),
            (Node::List(_, items), right) if right.is_scalar() => {
                self.covers(items, std::slice::from_ref(right), false)
            }
            (left, right) => Ok(left == right),
        }
    }

    fn sequences(&mut self, left: &[Node], right: &[Node]) -> Same {
        if left.len() != right.len() {
            return Ok(false);
        }
        for (left, right) in left.iter().zip(right) {
            if !self.same_item(left, right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Items of collections: what is named says its value.
    fn same_item(&mut self, left: &Node, right: &Node) -> Same {
        let (left, right) = (meaning(left.clone()), meaning(right.clone()));
        self.same(&left, &right)
    }

    fn sets(&mut self, reference: &[Node], candidate: &[Node]) -> Same {
        let dots = |items: &[Node]| items.contains(&Node::Ellipsis);
        if dots(reference) || dots(candidate) {
            return self.sequences(reference, candidate);
        }
        match (names(reference), names(candidate)) {
            // a = 4, b = 5: what is which, is said by the names, or by their order.
            (Some(left), Some(right)) if left.iter().all(|name| right.contains(name)) => {
                let at = |name| right.iter().position(|other| *other == name).map_or(0, |at| at);
                let sorted: Vec<Node> = left.iter().map(|name| candidate[at(*name)].clone()).collect();
                return Ok(left.len() == right.len() && self.sequences(reference, &sorted)?);
            }
            (Some(_), None) | (None, Some(_)) if reference.len() == candidate.len() => {
                return self.sequences(reference, candidate);
            }
            _ => {}
        }
        Ok(self.covers(reference, candidate, false)? && self.covers(candidate, reference, true)?)
    }

    /// Whether each of `these` has its like among `those`.
    fn covers(&mut self, these: &[Node], those: &[Node], swapped: bool) -> Same {
        for (index, this) in these.iter().enumerate() {
            // Most lists come in the same order.
            let order = those
                .get(index)
                .into_iter()
                .chain(those.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, item)| item));
            let mut found = false;
            for that in order {
                let same = if swapped { self.same_item(that, this) } else { self.same_item(this, that) };
                match same {
                    Ok(true) => {
                        found = true;
                        break;
                    }
                    Ok(false) | Err(Stop::Unsupported | Stop::Undefined | Stop::Imprecise) => {}
                    Err(stop) => return Err(stop),
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where at least one side is a relation; `None` leaves the rest to regions.
    fn relations(&mut self, reference: &Node, candidate: &Node) -> Result<Option<bool>, Stop> {
        match (chained(reference), chained(candidate)) {
            (None, None) => {}
            (Some(left), Some(right)) => return self.chains(left, right).map(Some),
            (Some(terms), None) => {
                let Some(result) = result(terms) else { return self.system(terms, candidate).map(Some) };
                return self.same(&result, candidate).map(Some);
            }
            (None, Some(terms)) => {
                let Some(result) = result(terms) else { return self.system(terms, reference).map(Some) };
                return self.same(reference, &result).map(Some);
            }
        }
        match (named_value(reference), named_value(candidate)) {
            (Some((name, value)), Some((other_name, other_value))) => {
                if is_equation(reference) && is_equation(candidate) {
                    // Two lines may be written as y = ... and x = ...
                    if let Ok(true) = equation::same(reference, candidate, &mut self.budget) {
                        return Ok(Some(true));
                    }
                }
                Ok(Some(names_agree(name, other_name, value) && self.same(value, other_value)?))
            }
            (Some((_, value)), None) if !matches!(candidate, Node::Relation(..)) => {
                self.same(value, candidate).map(Some)
            }
            (None, Some((_, value))) if !matches!(reference, Node::Relation(..)) => {
                self.same(reference, value).map(Some)
            }
            _ if is_equation(reference) && is_equation(candidate) => {
                equation::same(reference, candidate, &mut self.budget).map(Some)
            }
            _ if is_equation(reference) != is_equation(candidate) => {
                let (equation, other) =
                    if is_equation(reference) { (reference, candidate) } else { (candidate, reference) };
                self.solution_set(equation, other).map(Some)
            }
            _ => equation::same_inequality(reference, candidate, &mut self.budget),
        }
    }

    /// Two chains of equations: neighbour by neighbour, in any order and either way round.
    fn chains(&mut self, left: &[Node], right: &[Node]) -> Same {
        if left.len() != right.len() {
            return Ok(false);
        }
        let (left, right) = (neighbours(left), neighbours(right));
        Ok(self.equations(&left, &right)? && self.equations(&right, &left)?)
    }

    /// A chain of equations against the list of them.
    fn system(&mut self, chain: &[Node], other: &Node) -> Same {
        let Node::List(Joint::Comma | Joint::And, others) = other else { return Ok(false) };
        let chain = neighbours(chain);
        Ok(self.equations(&chain, others)? && self.equations(others, &chain)?)
    }

    /// Whether each of `these` equations is one of `those`.
    fn equations(&mut self, these: &[Node], those: &[Node]) -> Same {
        for this in these {
            let mut found = false;
            for that in those {
                found = found || equation::same(this, that, &mut self.budget)?;
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An equation to be solved against the list of what solves it: `x^2 = 4` and `x = \pm 2`.
    fn solution_set(&mut self, equation: &Node, other: &Node) -> Same {
        let (Node::Set(items) | Node::List(_, items)) = other else { return Ok(false) };
        let Some(function) = equation::difference(equation) else { return Ok(false) };
        let Some(found) = solutions(&function, &mut self.budget)? else { return Ok(false) };
        self.sets(&found, items)
    }

    /// Where one is a region at least; `None` where neither is, of one number: those are compared item by item.
    fn regions(&mut self, reference: &Node, candidate: &Node) -> Result<Option<bool>, Stop> {
        let (left, right) = (self.stated(reference)?, self.stated(candidate)?);
        let (Some((domain, left)), Some((other, right))) = (&left, &right) else {
            let is_or = |node: &Node| matches!(node, Node::List(Joint::Or, _));
            let different = left.is_some() != right.is_some() || is_or(reference) != is_or(candidate);
            return Ok(different.then_some(false));
        };
        // x > 3 is not y > 3, but the interval says either.
        let named = match (&left.unknown, &right.unknown) {
            (Some(name), Some(other)) => names_agree(name, other, &Node::integer(0)),
            _ => true,
        };
        let same = named && domain == other;
        Ok(Some(same && matches(&left.region, &right.region, &mut |a, b| self.scalars(a, b))?))
    }

    /// The region that an answer says, if it says one that can be worked out.
    fn stated(&mut self, node: &Node) -> Result<Option<(Option<NamedSet>, Stated)>, Stop> {
        match stated_over(node, &mut self.budget) {
            Err(Stop::Budget) => Err(Stop::Budget),
            Err(_) => Ok(None),
            found => found,
        }
    }

    fn matrices(&mut self, reference: &Node, candidate: &Node) -> Result<Option<bool>, Stop> {
        let (left, right) = (matrix::value(reference, &mut self.budget)?, matrix::value(candidate, &mut self.budget)?);
        match (left, right) {
            (Some(left), Some(right)) => {
                // Which way a vector is written says nothing.
                let (left, right) = (matrix::as_column(left), matrix::as_column(right));
                if left.len() != right.len() {
                    return Ok(Some(false));
                }
                for (left, right) in left.iter().zip(&right) {
                    if !self.sequences(left, right)? {
                        return Ok(Some(false));
                    }
                }
                Ok(Some(true))
            }
            (Some(rows), None) => Ok(match (matrix::vector(&rows), candidate) {
                (Some(vector), Node::Tuple(_, _, items)) => Some(self.sequences(&vector, items)?),
                _ => None,
            }),
            (None, Some(rows)) => Ok(match (reference, matrix::vector(&rows)) {
                (Node::Tuple(_, _, items), Some(vector)) => Some(self.sequences(items, &vector)?),
                _ => None,
            }),
            (None, None) => Ok(None),
        }
    }

    /// 7 and 2 are the same modulo 5; the remainder alone says the residue too.
    fn residues(&mut self, reference: &Node, candidate: &Node) -> Result<Option<bool>, Stop> {
        let remainder = |value: &Node, modulus: &Node| Node::Call(Function::Mod, vec![value.clone(), modulus.clone()]);
        match (reference, candidate) {
            (Node::Modular(left, modulus), Node::Modular(right, other)) => {
                let (one, two) = (remainder(left, modulus), remainder(right, modulus));
                Ok(Some(self.scalars(modulus, other)? && (left == right || self.scalars(&one, &two)?)))
            }
            (Node::Modular(value, modulus), other) | (other, Node::Modular(value, modulus)) if other.is_scalar() => {
                Ok(Some(**value == *other || self.scalars(&remainder(value, modulus), other)?))
            }
            _ => Ok(None),
        }
    }

    /// 1:2 and 2:4 are one ratio; 12:00 and 1:00 are two times. 1:2 is also 1/2.
    fn ratios(&mut self, reference: &Node, candidate: &Node) -> Same {
        match (reference, candidate) {
            (Node::Ratio(left, clock), Node::Ratio(right, other_clock)) => {
                if *clock || *other_clock {
                    return self.sequences(left, right);
                }
                if left.len() != right.len() {
                    return Ok(false);
                }
                let (Some(first), Some(other)) = (left.first(), right.first()) else { return Ok(false) };
                for (a, b) in left.iter().zip(right).skip(1) {
                    let cross = Node::Product(vec![a.clone(), other.clone()]);
                    let other_cross = Node::Product(vec![first.clone(), b.clone()]);
                    if !equal(&cross, &other_cross, &mut self.budget)? {
                        return Ok(false);
                    }
                }
                Ok(!equal(first, &Node::integer(0), &mut self.budget)?)
            }
            (Node::Ratio(parts, false), other) | (other, Node::Ratio(parts, false)) if other.is_scalar() => {
                let [top, bottom] = parts.as_slice() else { return Ok(false) };
                let quotient = Node::Product(vec![top.clone(), bottom.clone().inverse()]);
                self.scalars(&quotient, other)
            }
            _ => Ok(false),
        }
    }

    /// Two scalars, with what they measure.
    fn scalars(&mut self, reference: &Node, candidate: &Node) -> Same {
        let (mut left, mut right) = (Measured::of(reference), Measured::of(candidate));
        if right.value.symbols().is_empty() {
            left = left.with_letters_as_unit(&right, self.letters_apart);
        }
        if left.value.symbols().is_empty() {
            right = right.with_letters_as_unit(&left, true);
        }
        if !left.allows(&right) || !right.allows(&left) {
            return Ok(false);
        }
        if let (Some(unit), Some(other)) = (&left.unit, &right.unit) {
            if !unit.agrees(other) {
                return Ok(false);
            }
            if unit.factor() != other.factor() && unit != other && !unit.is_pound_of(other) {
                let scaled = |value: &Node, factor: BigRational| {
                    Node::Product(vec![value.clone(), Node::Number(Literal { value: factor, ..Literal::integer(1) })])
                };
                return equal(
                    &scaled(&left.value, unit.factor()),
                    &scaled(&right.value, other.factor()),
                    &mut self.budget,
                );
            }
        }
        // 30 degrees are not 30 radians.
        let is_radians = |node: &Measured| node.unit.as_ref().is_some_and(Unit::is_radians);
        let turned = left.degrees && is_radians(&right) || right.degrees && is_radians(&left);
        if !turned && self.values(&left.value, &right.value)? {
            return Ok(true);
        }
        // 25% is said as 25 and as 0.25; 60 degrees as 60 and as pi/3.
        if left.percent != right.percent {
            let worked = |node: &Measured| if node.percent { hundredth(&node.value) } else { node.value.clone() };
            return self.values(&worked(&left), &worked(&right));
        }
        if left.degrees != right.degrees {
            let worked = |node: &Measured| {
                if node.degrees { Node::Degrees(Box::new(node.value.clone())) } else { node.value.clone() }
            };
            return self.values(&worked(&left), &worked(&right));
        }
        Ok(false)
    }

    /// Two values, with what rounding allows.
    fn values(&mut self, reference: &Node, candidate: &Node) -> Same {
        // The base is part of the question: digits alone may stand for a number in it.
        match (reference, candidate) {
            (Node::Based(digits, _), Node::Number(literal)) | (Node::Number(literal), Node::Based(digits, _)) => {
                return Ok(literal.value.is_integer() && literal.value.numer().to_string() == *digits);
            }
            _ => {}
        }
        Ok(equal(reference, candidate, &mut self.budget)?
            || self.stands_for(reference, candidate, 1)?
            || self.stands_for(candidate, reference, ENOUGH_DIGITS)?)
    }

    /// Whether `decimal` is a rounding of `exact`, a value without a finite decimal, to at least `digits` digits.
    fn stands_for(&mut self, decimal: &Node, exact: &Node, digits: u32) -> Same {
        let Node::Number(literal) = decimal else { return Ok(false) };
        if literal.places == 0 || literal.significant < digits || !exact.symbols().is_empty() {
            return Ok(false);
        }
        // |exact - decimal| <= 1/2 of the last place
        let half = BigRational::new(BigInt::one(), BigInt::from(10_u8).pow(literal.places) * 2_u8);
        match rational(exact, &mut vec![], &mut self.budget)? {
            Some(value) => {
                let off = add(&value, &-&literal.value, &mut self.budget)?.abs();
                Ok(compare(&off, &half, &mut self.budget)? != Ordering::Greater && !terminates(&value))
            }
            None => {
                let bits = 192;
                let Ok(value) = enclosure(exact, bits, &mut self.budget) else { return Ok(false) };
                let off = value.sub(&Ball::rational(&literal.value, bits)?, bits)?.abs();
                Ok(off.compare(&Ball::rational(&half, bits)?, bits) == Some(Ordering::Less))
            }
        }
    }
}

/// The equations that a chain of them makes of its neighbours.
fn neighbours(terms: &[Node]) -> Vec<Node> {
    terms.windows(2).map(|pair| Node::Relation(pair.to_vec(), vec![Relation::Equal])).collect()
}

fn is_equation(node: &Node) -> bool {
    matches!(node, Node::Relation(_, relations) if relations.as_slice() == [Relation::Equal])
}

/// A percentage worked out. A decimal stays one, with its point moved: 66.67% is 0.6667, a rounding of 2/3.
fn hundredth(value: &Node) -> Node {
    match value {
        Node::Number(literal) if literal.places > 0 => {
            let value = &literal.value / BigInt::from(100);
            Node::Number(Literal { value, places: literal.places + 2, ..literal.clone() })
        }
        _ => Node::Percent(Box::new(value.clone())),
    }
}

/// The element of a set or list that has only one.
fn sole(node: &Node) -> Option<Node> {
    match node {
        Node::Set(items) | Node::List(_, items) if items.len() == 1 => items.first().cloned(),
        _ => None,
    }
}

/// Whether a fraction has a finite decimal. One too large to say is taken for exact as it stands.
fn terminates(value: &BigRational) -> bool {
    let mut denominator = value.denom().clone();
    if denominator.bits() > 4096 {
        return true;
    }
    for prime in [2_u8, 5] {
        while !denominator.is_one() && (&denominator % prime).is_zero() {
            denominator /= prime;
        }
    }
    denominator.is_one()
}
