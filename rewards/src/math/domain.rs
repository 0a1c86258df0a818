//! Regions over whole or rational numbers: `x > 3, x \in Z`, `\{x \in Z : 0 < x < 5\}`.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::One;

use super::budget::{Budget, Stop};
use super::equal::{enclosure, infinity};
use super::exact::rational;
use super::node::{Constant, NamedSet, Node};
use super::region::{Piece, Region, Stated, point, stated};
use super::roots::number;

/// The most whole numbers that are written out one by one.
const MAX_NUMBERS: usize = 64;

/// The set of numbers that `node` names.
pub(crate) fn of(node: &Node) -> Option<NamedSet> {
    let name = match node {
        Node::Named(set) => return Some(*set),
        Node::Symbol(name) | Node::Text(name) => name,
        _ => return None,
    };
    Some(match name.trim_start_matches("the ") {
        "N" | "natural numbers" => NamedSet::Naturals,
        "Z" | "integers" | "whole numbers" => NamedSet::Integers,
        "Q" | "rational numbers" | "rationals" => NamedSet::Rationals,
        "R" | "real numbers" | "reals" => NamedSet::Reals,
        _ => return None,
    })
}

/// A region, and what its numbers are taken from if not from all reals: then it goes on without end.
pub(crate) fn stated_over(node: &Node, budget: &mut Budget) -> Result<Option<(Option<NamedSet>, Stated)>, Stop> {
    let restricted = match node {
        Node::Intersection(parts) => match parts.as_slice() {
            [conditions, set] => of(set).filter(|set| *set != NamedSet::Empty).map(|set| (conditions, set)),
            _ => None,
        },
        _ => None,
    };
    let Some((conditions, set)) = restricted else { return Ok(stated(node, budget)?.map(|stated| (None, stated))) };
    let Some(Stated { unknown, region }) = stated(conditions, budget)? else { return Ok(None) };
    let (domain, region) = among(set, region, budget)?;
    Ok(Some((domain, Stated { unknown, region })))
}

/// The numbers of `set` in `region`, as [`stated_over`] gives them.
fn among(set: NamedSet, region: Region, budget: &mut Budget) -> Result<(Option<NamedSet>, Region), Stop> {
    match set {
        NamedSet::Reals => return Ok((None, region)),
        NamedSet::Integers | NamedSet::Naturals => {}
        _ => return Ok((Some(set), region)),
    }
    let mut runs: Vec<Run> = vec![];
    for piece in &region {
        let run = whole_numbers(piece, budget)?;
        match runs.last_mut() {
            _ if run.is_empty() => {}
            // 1 to 3 and 4 to 5 are 1 to 5.
            Some(last) if run.0.as_ref().zip(last.1.as_ref()).is_some_and(|(low, high)| *low == high + 1) => {
                last.1 = run.1;
            }
            _ => runs.push(run),
        }
    }
    // Whether 0 is a natural number is a matter of taste: with it, only the same words are the same.
    if set == NamedSet::Naturals && !runs.iter().all(|run| run.0.as_ref().is_some_and(|low| *low >= BigInt::one())) {
        return Ok((Some(set), region));
    }
    Ok(match written_out(&runs) {
        Some(numbers) => (None, numbers),
        None => (Some(NamedSet::Integers), runs.into_iter().map(Run::piece).collect()),
    })
}

/// Whole numbers from the first to the last; `None` where there is no end.
struct Run(Option<BigInt>, Option<BigInt>);

impl Run {
    fn is_empty(&self) -> bool {
        self.0.as_ref().zip(self.1.as_ref()).is_some_and(|(low, high)| low > high)
    }

    fn piece(self) -> Piece {
        let end = |end: Option<BigInt>, sign: i64| match end {
            Some(end) => (number(BigRational::from_integer(end)), true),
            None if sign > 0 => (Node::Constant(Constant::Infinity), false),
            None => (Node::Constant(Constant::Infinity).negated(), false),
        };
        let ((low, low_closed), (high, high_closed)) = (end(self.0, -1), end(self.1, 1));
        Piece { low, low_closed, high, high_closed }
    }
}

fn whole_numbers(piece: &Piece, budget: &mut Budget) -> Result<Run, Stop> {
    let low = match infinity(&piece.low) {
        Some(_) => None,
        None => Some(at_least(&piece.low, piece.low_closed, budget)?),
    };
    let high = match infinity(&piece.high) {
        Some(_) => None,
        None => Some(-at_least(&piece.high.clone().negated(), piece.high_closed, budget)?),
    };
    Ok(Run(low, high))
}

/// The first whole number that is not below `end`; above it, where the end is open.
fn at_least(end: &Node, closed: bool, budget: &mut Budget) -> Result<BigInt, Stop> {
    let below = match rational(end, &mut vec![], budget)? {
        Some(value) if value.is_integer() => return Ok(value.to_integer() + if closed { 0 } else { 1 }),
        Some(value) => value.floor().to_integer(),
        None => enclosure(end, 192, budget)?.floor().ok_or(Stop::Imprecise)?,
    };
    Ok(below + 1)
}

/// Each number as a point, where they are few.
fn written_out(runs: &[Run]) -> Option<Region> {
    let mut numbers = vec![];
    for Run(low, high) in runs {
        let (mut next, high) = (low.clone()?, high.as_ref()?);
        while next <= *high {
            if numbers.len() == MAX_NUMBERS {
                return None;
            }
            numbers.push(point(number(BigRational::from_integer(next.clone()))));
            next += 1;
        }
    }
    Some(numbers)
}
