//! Subsets of the real line: unions of intervals, from interval notation and from inequalities in one variable.

use std::cmp::Ordering;

use num_rational::BigRational;
use num_traits::{One, Zero};

use super::budget::{Budget, Stop};
use super::equal::{enclosure, infinity, order};
use super::exact::Normalizer;
use super::node::{Constant, Function, Joint, NamedSet, Node, Relation};
use super::roots::{number, roots};

/// The most intervals of one region.
const MAX_PIECES: usize = 64;

/// An interval; an end that is infinite is `Constant(Infinity)` or its negative, and open.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) low: Node,
    pub(crate) low_closed: bool,
    pub(crate) high: Node,
    pub(crate) high_closed: bool,
}

/// A union of intervals.
pub(crate) type Region = Vec<Piece>;

/// What an answer says of a number: where it lies and, if it names one, which number that is.
#[derive(Debug, Clone)]
pub(crate) struct Stated {
    /// `x`, `f(x)`; `None` for a set alone.
    pub(crate) unknown: Option<Node>,
    pub(crate) region: Region,
}

/// The one number that all of `parts` speak of, if any names one; `None` where they speak of several.
fn one_unknown(parts: &[Stated]) -> Option<Option<Node>> {
    let mut named = parts.iter().filter_map(|part| part.unknown.as_ref());
    let first = named.next();
    named.all(|other| Some(other) == first).then(|| first.cloned())
}

fn plus_infinity() -> Node {
    Node::Constant(Constant::Infinity)
}

fn minus_infinity() -> Node {
    plus_infinity().negated()
}

pub(crate) fn point(value: Node) -> Piece {
    Piece { low: value.clone(), low_closed: true, high: value, high_closed: true }
}

/// Whether `node` can only be meant as a region: not a tuple, which may be a point, nor a list of values.
pub(crate) fn is_region(node: &Node) -> bool {
    match node {
        Node::Union(_) | Node::Intersection(_) | Node::Difference(..) => true,
        Node::Named(set) => matches!(set, NamedSet::Reals | NamedSet::Empty),
        Node::Tuple(open, close, items) => {
            items.len() == 2 && ((*open == '[') != (*close == ']') || items.iter().any(|item| infinity(item).is_some()))
        }
        Node::Relation(_, relations) => relations.iter().all(|relation| {
            use Relation as R;
            matches!(relation, R::Less | R::LessEqual | R::Greater | R::GreaterEqual | R::NotEqual | R::In | R::NotIn)
        }),
        Node::List(_, items) => items.iter().any(is_region),
        _ => false,
    }
}

/// What `node` says, its region normalised; `None` where it says no region, or speaks of several numbers.
pub(crate) fn stated(node: &Node, budget: &mut Budget) -> Result<Option<Stated>, Stop> {
    let Some(Stated { unknown, region }) = pieces(node, budget)? else { return Ok(None) };
    Ok(Some(Stated { unknown, region: normalize(region, budget)? }))
}

fn pieces(node: &Node, budget: &mut Budget) -> Result<Option<Stated>, Stop> {
    budget.spend(50)?;
    let parts = match node {
        Node::Union(parts) | Node::Intersection(parts) | Node::List(_, parts) => parts.iter().collect(),
        Node::Difference(left, right) => vec![&**left, &**right],
        _ => vec![],
    };
    let mut inner = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(part) = pieces(part, budget)? else { return Ok(None) };
        inner.push(part);
    }
    let Some(unknown) = one_unknown(&inner) else { return Ok(None) };
    let inner: Vec<Region> = inner.into_iter().map(|part| part.region).collect();
    let region = match node {
        Node::Tuple(open @ ('(' | '['), close @ (')' | ']'), items) => {
            let [low, high] = items.as_slice() else { return Ok(None) };
            if !low.is_scalar() || !high.is_scalar() {
                return Ok(None);
            }
            let low_closed = *open == '[' && infinity(low).is_none();
            let high_closed = *close == ']' && infinity(high).is_none();
            // (5, 2) is a point, as (2, 2) is, and no way to write the empty set.
            if low.symbols().is_empty() && high.symbols().is_empty() {
                match order(low, high, budget)? {
                    Ordering::Less => {}
                    Ordering::Equal if low_closed && high_closed => {}
                    _ => return Ok(None),
                }
            }
            vec![Piece { low: low.clone(), low_closed, high: high.clone(), high_closed }]
        }
        Node::Named(NamedSet::Reals) => everything(),
        Node::Named(NamedSet::Empty) => vec![],
        Node::Set(items) => {
            if !items.iter().all(Node::is_scalar) {
                return Ok(None);
            }
            items.iter().cloned().map(point).collect()
        }
        Node::Union(_) => inner.into_iter().flatten().collect(),
        Node::Intersection(_) => intersection(&inner, budget)?,
        Node::Difference(..) => {
            let [left, right] = inner.as_slice() else { return Ok(None) };
            let outside = complement(right.clone(), budget)?;
            intersect(left, &outside, budget)?
        }
        Node::List(joint, items) => {
            // A comma between conditions means both, unless nothing is both: x < 1, x > 2.
            if items.iter().all(|item| matches!(item, Node::Relation(..))) {
                let both = if *joint == Joint::Or { vec![] } else { intersection(&inner, budget)? };
                let either = *joint == Joint::Or || *joint == Joint::Comma && both.is_empty();
                if either { inner.into_iter().flatten().collect() } else { both }
            } else {
                match apart(items, &inner, budget)? {
                    Some(union) => union,
                    None => return Ok(None),
                }
            }
        }
        Node::Relation(terms, relations) => return inequality(terms, relations, budget),
        other if other.is_scalar() => vec![point(other.clone())],
        _ => return Ok(None),
    };
    Ok(Some(Stated { unknown, region }))
}

fn intersection(regions: &[Region], budget: &mut Budget) -> Result<Region, Stop> {
    let mut all = everything();
    for other in regions {
        all = intersect(&all, other, budget)?;
    }
    Ok(all)
}

/// The union of listed sets and values; `None` where they meet: `(0, 3), 1` lists more than the interval does.
fn apart(items: &[Node], regions: &[Region], budget: &mut Budget) -> Result<Option<Region>, Stop> {
    let mut union = vec![];
    let mut count = 0;
    for (at, region) in regions.iter().enumerate() {
        if items[..at].contains(&items[at]) {
            continue;
        }
        let region = normalize(region.clone(), budget)?;
        count += region.len();
        union.extend(region);
    }
    let union = normalize(union, budget)?;
    Ok((union.len() == count).then_some(union))
}

fn everything() -> Region {
    vec![Piece { low: minus_infinity(), low_closed: false, high: plus_infinity(), high_closed: false }]
}

/// Whether two normalised regions are the same, end by end, by `same`.
pub(crate) fn matches(
    left: &Region,
    right: &Region,
    same: &mut impl FnMut(&Node, &Node) -> Result<bool, Stop>,
) -> Result<bool, Stop> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (a, b) in left.iter().zip(right) {
        let open = a.low_closed == b.low_closed && a.high_closed == b.high_closed;
        if !open || !same(&a.low, &b.low)? || !same(&a.high, &b.high)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sorted, without empty pieces, touching pieces joined. One piece with symbols as ends stays as it is.
fn normalize(mut region: Region, budget: &mut Budget) -> Result<Region, Stop> {
    if region.len() > MAX_PIECES {
        return Err(Stop::Budget);
    }
    if region.len() == 1
        && region.iter().any(|piece| !piece.low.symbols().is_empty() || !piece.high.symbols().is_empty())
    {
        return Ok(region);
    }
    let mut sorted: Region = vec![];
    for piece in region.drain(..) {
        let empty = match order(&piece.low, &piece.high, budget)? {
            Ordering::Less => false,
            Ordering::Equal => !(piece.low_closed && piece.high_closed),
            Ordering::Greater => true,
        };
        if empty {
            continue;
        }
        let mut at = sorted.len();
        while at > 0 {
            let before = &sorted[at - 1];
            let later = match order(&piece.low, &before.low, budget)? {
                Ordering::Less => true,
                Ordering::Equal => piece.low_closed && !before.low_closed,
                Ordering::Greater => false,
            };
            if !later {
                break;
            }
            at -= 1;
        }
        sorted.insert(at, piece);
    }
    let mut joined: Region = vec![];
    for piece in sorted {
        let Some(last) = joined.last_mut() else {
            joined.push(piece);
            continue;
        };
        let touches = match order(&piece.low, &last.high, budget)? {
            Ordering::Less => true,
            Ordering::Equal => piece.low_closed || last.high_closed,
            Ordering::Greater => false,
        };
        if !touches {
            joined.push(piece);
            continue;
        }
        match order(&piece.high, &last.high, budget)? {
            Ordering::Greater => {
                last.high = piece.high;
                last.high_closed = piece.high_closed;
            }
            Ordering::Equal => last.high_closed |= piece.high_closed,
            Ordering::Less => {}
        }
    }
    Ok(joined)
}

fn intersect(left: &Region, right: &Region, budget: &mut Budget) -> Result<Region, Stop> {
    if left.len() * right.len() > MAX_PIECES * 4 {
        return Err(Stop::Budget);
    }
    let mut both = vec![];
    for a in left {
        for b in right {
            let (low, low_closed) = match order(&a.low, &b.low, budget)? {
                Ordering::Less => (&b.low, b.low_closed),
                Ordering::Greater => (&a.low, a.low_closed),
                Ordering::Equal => (&a.low, a.low_closed && b.low_closed),
            };
            let (high, high_closed) = match order(&a.high, &b.high, budget)? {
                Ordering::Less => (&a.high, a.high_closed),
                Ordering::Greater => (&b.high, b.high_closed),
                Ordering::Equal => (&a.high, a.high_closed && b.high_closed),
            };
            let fits = match order(low, high, budget)? {
                Ordering::Less => true,
                Ordering::Equal => low_closed && high_closed,
                Ordering::Greater => false,
            };
            if fits {
                both.push(Piece { low: low.clone(), low_closed, high: high.clone(), high_closed });
            }
        }
    }
    Ok(both)
}

fn complement(region: Region, budget: &mut Budget) -> Result<Region, Stop> {
    let region = normalize(region, budget)?;
    let mut outside = vec![];
    let (mut low, mut low_closed) = (minus_infinity(), false);
    for piece in region {
        outside.push(Piece { low, low_closed, high: piece.low, high_closed: !piece.low_closed });
        low = piece.high;
        low_closed = !piece.high_closed;
    }
    outside.push(Piece { low, low_closed, high: plus_infinity(), high_closed: false });
    // An end at infinity is open, and (inf, inf) is empty: normalising drops it.
    for piece in &mut outside {
        piece.low_closed &= infinity(&piece.low).is_none();
        piece.high_closed &= infinity(&piece.high).is_none();
    }
    normalize(outside, budget)
}

/// A chain of inequalities for one number.
fn inequality(terms: &[Node], relations: &[Relation], budget: &mut Budget) -> Result<Option<Stated>, Stop> {
    let mut links = vec![];
    for (pair, relation) in terms.windows(2).zip(relations) {
        let [left, right] = pair else { return Ok(None) };
        let next = match relation {
            Relation::In | Relation::NotIn => {
                let (Node::Symbol(_), Some(inside)) = (left, pieces(right, budget)?) else { return Ok(None) };
                let region = if *relation == Relation::In { inside.region } else { complement(inside.region, budget)? };
                Some(Stated { unknown: Some(left.clone()), region })
            }
            _ => solve(left, right, *relation, budget)?,
        };
        let Some(next) = next else { return Ok(None) };
        links.push(next);
    }
    let Some(unknown) = one_unknown(&links) else { return Ok(None) };
    let mut links = links.into_iter().map(|link| link.region);
    let mut region = links.next().unwrap_or_else(everything);
    for next in links {
        region = intersect(&region, &next, budget)?;
    }
    Ok(Some(Stated { unknown, region }))
}

/// What `left relation right` says of the unknown in it.
fn solve(left: &Node, right: &Node, relation: Relation, budget: &mut Budget) -> Result<Option<Stated>, Stop> {
    budget.spend(100)?;
    let unknown = |node: &Node| !node.symbols().is_empty() || matches!(node, Node::Apply(..));
    // What is asked about stands alone on one side: a variable, f(x), with anything known on the other.
    if is_unknown(left) && !unknown(right) {
        return Ok(Some(Stated { unknown: Some(left.clone()), region: ray(right.clone(), relation) }));
    }
    if is_unknown(right) && !unknown(left) {
        return Ok(Some(Stated { unknown: Some(right.clone()), region: ray(left.clone(), relation.flipped()) }));
    }
    // |u| < c is -c < u < c; |u| > c is u > c or u < -c.
    if let Node::Call(Function::Abs, inner) = right
        && !unknown(left)
        && unknown(right)
    {
        return solve(&Node::Call(Function::Abs, inner.clone()), left, relation.flipped(), budget);
    }
    if let Node::Call(Function::Abs, inner) = left
        && unknown(left)
        && !unknown(right)
    {
        let [inner] = inner.as_slice() else { return Ok(None) };
        let minus = right.clone().negated();
        let (Some(upper), Some(lower)) =
            (solve(inner, right, relation, budget)?, solve(inner, &minus, relation.flipped(), budget)?)
        else {
            return Ok(None);
        };
        let region = match relation {
            Relation::Less | Relation::LessEqual | Relation::NotEqual => {
                intersect(&upper.region, &lower.region, budget)?
            }
            Relation::Greater | Relation::GreaterEqual | Relation::Equal => {
                upper.region.into_iter().chain(lower.region).collect()
            }
            _ => return Ok(None),
        };
        return Ok(Some(Stated { unknown: upper.unknown, region }));
    }
    let difference = Node::difference(left.clone(), right.clone());
    let symbols = difference.symbols();
    let [variable] = symbols.as_slice() else { return Ok(None) };
    let region = by_roots(&difference, variable, relation, budget)?;
    Ok(region.map(|region| Stated { unknown: Some(Node::Symbol(variable.clone())), region }))
}

fn is_unknown(node: &Node) -> bool {
    matches!(node, Node::Symbol(_) | Node::Apply(..))
}

fn ray(end: Node, relation: Relation) -> Region {
    let below = |closed| Piece { low: minus_infinity(), low_closed: false, high: end.clone(), high_closed: closed };
    let above = |closed| Piece { low: end.clone(), low_closed: closed, high: plus_infinity(), high_closed: false };
    match relation {
        Relation::Less => vec![below(false)],
        Relation::LessEqual => vec![below(infinity(&end).is_none())],
        Relation::Greater => vec![above(false)],
        Relation::GreaterEqual => vec![above(infinity(&end).is_none())],
        Relation::NotEqual => vec![below(false), above(false)],
        _ => vec![point(end)],
    }
}

/// Where a rational function of one variable is positive, zero or negative: its sign changes only at the real roots of
/// numerator and denominator.
fn by_roots(function: &Node, variable: &str, relation: Relation, budget: &mut Budget) -> Result<Option<Region>, Stop> {
    let normal = match (Normalizer { budget }).normalize(function) {
        Ok(normal) => normal,
        Err(Stop::Budget) => return Err(Stop::Budget),
        Err(_) => return Ok(None),
    };
    let (Some(zeros), Some(poles)) =
        (roots(&normal.numerator, variable, budget)?, roots(&normal.denominator, variable, budget)?)
    else {
        return Ok(None);
    };
    let mut ends: Vec<(Node, bool)> = vec![];
    for (root, pole) in zeros.into_iter().map(|root| (root, false)).chain(poles.into_iter().map(|root| (root, true))) {
        let mut at = ends.len();
        let mut same = false;
        while at > 0 {
            match order(&root, &ends[at - 1].0, budget)? {
                Ordering::Less => at -= 1,
                Ordering::Equal => {
                    same = true;
                    ends[at - 1].1 |= pole;
                    break;
                }
                Ordering::Greater => break,
            }
        }
        if !same {
            ends.insert(at, (root, pole));
        }
    }
    let mut region = vec![];
    let holds = |sign: Ordering| match relation {
        Relation::Less => sign == Ordering::Less,
        Relation::LessEqual => sign != Ordering::Greater,
        Relation::Greater => sign == Ordering::Greater,
        Relation::GreaterEqual => sign != Ordering::Less,
        Relation::NotEqual => sign != Ordering::Equal,
        _ => sign == Ordering::Equal,
    };
    for gap in 0..=ends.len() {
        let low = gap.checked_sub(1).map(|at| &ends[at].0);
        let high = ends.get(gap).map(|(end, _)| end);
        let inside = between(low, high, budget)?;
        let value = enclosure(&function.substitute(variable, &inside), 192, budget)?;
        let Some(sign) = value.sign() else { return Ok(None) };
        if holds(sign) {
            region.push(Piece {
                low: low.cloned().unwrap_or_else(minus_infinity),
                low_closed: false,
                high: high.cloned().unwrap_or_else(plus_infinity),
                high_closed: false,
            });
        }
    }
    if holds(Ordering::Equal) {
        region.extend(ends.into_iter().filter(|(_, pole)| !pole).map(|(root, _)| point(root)));
    }
    Ok(Some(region))
}

/// A value between two ends.
fn between(low: Option<&Node>, high: Option<&Node>, budget: &mut Budget) -> Result<Node, Stop> {
    let below = |node: &Node, budget: &mut Budget| -> Result<BigRational, Stop> {
        let floor = enclosure(node, 192, budget)?.scaled(64).midpoint().floor().ok_or(Stop::Imprecise)?;
        Ok(BigRational::new(floor, num_bigint::BigInt::one() << 64))
    };
    let one = BigRational::one();
    Ok(number(match (low, high) {
        (None, None) => BigRational::zero(),
        (Some(low), None) => below(low, budget)? + one,
        (None, Some(high)) => below(high, budget)? - one,
        (Some(low), Some(high)) => (below(low, budget)? + below(high, budget)?) / BigRational::from_integer(2.into()),
    }))
}
