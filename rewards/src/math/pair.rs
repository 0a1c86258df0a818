//! Two answers brought to one form before they are compared. What only counts or stands for an argument gets the letters that
//! the reference has; and where one says a bare value, interval or sequence, the other need not have more to say than that:
//! `m + n = 25` is 25, `a \le x \le b` is `[a, b]`, `a_n = 2n - 1, n \ge 1` is `a_n = 2n - 1`.

use num_rational::BigRational;
use num_traits::{One, Signed};

use super::domain;
use super::meaning::{counted, is_condition, is_value, meaning, named_value};
use super::naming::set_name;
use super::node::{Constant, Function, Node, Relation};

/// What the two say ([`meaning`]), in one form; `None` where letters count over different sets: that may be left out, but not
/// be something else.
pub(crate) fn aligned(reference: &Node, candidate: &Node) -> Option<(Node, Node)> {
    let renamed = with_counters_of(reference, candidate);
    let candidate = renamed.as_ref().unwrap_or(candidate);
    let others = counted(candidate);
    let differs = |set: &Node, other: &Node| match (domain::of(set), domain::of(other)) {
        (None, None) => set != other,
        (set, other) => set != other,
    };
    let contradicts =
        |(name, set): (&String, &Node)| others.iter().any(|(other, over)| *other == name && differs(set, over));
    if counted(reference).into_iter().any(contradicts) {
        return None;
    }
    let (mut reference, mut candidate) = (meaning(reference.clone()), meaning(candidate.clone()));
    if let Some(renamed) = with_arguments_of(&reference, &candidate) {
        candidate = renamed;
    }
    if let Some(rest) = without_start(&reference, &candidate) {
        reference = rest;
    } else if let Some(rest) = without_start(&candidate, &reference) {
        candidate = rest;
    }
    if let Some(values) = of_one_thing(&reference, &candidate) {
        return Some(values);
    }
    if let Some(value) = stated_value(&reference, true).filter(|_| is_value(&candidate)) {
        reference = value.clone();
    } else if let Some(value) = stated_value(&candidate, false).filter(|_| is_value(&reference)) {
        candidate = value.clone();
    } else if let Some(set) = named_set(&reference).filter(|_| is_condition(&candidate)) {
        reference = set.clone();
    } else if let Some(set) = named_set(&candidate).filter(|_| is_condition(&reference)) {
        candidate = set.clone();
    } else if let Some(interval) = as_interval(&reference, &candidate) {
        reference = interval;
    } else if let Some(interval) = as_interval(&candidate, &reference) {
        candidate = interval;
    }
    Some((reference, candidate))
}

/// `2n\pi, n \in \mathbb{Z}` as `2k\pi, k \in \mathbb{Z}`, if k counts in the reference.
fn with_counters_of(reference: &Node, candidate: &Node) -> Option<Node> {
    let (new, old) = (counted(reference), counted(candidate));
    let only = |these: &[(&String, &Node)], those: &[(&String, &Node)]| -> Vec<String> {
        let both = |name: &String| those.iter().any(|(other, _)| *other == name);
        these.iter().map(|(name, _)| *name).filter(|name| !both(name)).cloned().collect()
    };
    rename(candidate, &only(&old, &new), &only(&new, &old))
}

/// `f(t) = t + 1` as `f(x) = x + 1`, `a_k = 2k - 1` as `a_n = 2n - 1`.
fn with_arguments_of(reference: &Node, candidate: &Node) -> Option<Node> {
    match (named(reference)?, named(candidate)?) {
        (Node::Apply(_, new), Node::Apply(_, old)) => rename(candidate, &letters(old)?, &letters(new)?),
        (Node::Symbol(name), Node::Symbol(other)) => {
            let ((_, new), (stem, old)) = (index(name)?, index(other)?);
            let aside = candidate.substitute(other, &Node::Symbol("#".to_owned()));
            let renamed = rename(&aside, &[old.to_owned()], &[new.to_owned()])?;
            Some(renamed.substitute("#", &Node::Symbol(format!("{stem}_{new}"))))
        }
        _ => None,
    }
}

/// `node` with the letters `old` called `new`. `None` where nothing changes, and where one of them means something else too.
fn rename(node: &Node, old: &[String], new: &[String]) -> Option<Node> {
    let indexes = |own: &str, name: &str| own.split_once('_').is_some_and(|(_, index)| index.contains(name));
    let taken = |name: &String| {
        !old.contains(name)
            && node.any(&mut |part| matches!(part, Node::Symbol(own) if own == name || indexes(own, name)))
    };
    let inside = |name: &String| node.any(&mut |part| matches!(part, Node::Symbol(own) if indexes(own, name)));
    if old.len() != new.len() || old == new || new.iter().any(taken) || old.iter().any(inside) {
        return None;
    }
    Some(node.renamed(old, new))
}

/// What the only equation of an answer names.
fn named(node: &Node) -> Option<&Node> {
    let Node::List(_, items) = node else { return named_value(node).map(|(name, _)| name) };
    let mut names = items.iter().filter_map(named_value).map(|(name, _)| name);
    names.next().filter(|_| names.next().is_none())
}

/// Arguments that are letters, each another.
fn letters(arguments: &[Node]) -> Option<Vec<String>> {
    let name = |argument: &Node| match argument {
        Node::Symbol(name) => Some(name.clone()),
        _ => None,
    };
    let letters: Vec<String> = arguments.iter().map(name).collect::<Option<_>>()?;
    letters.iter().enumerate().all(|(at, letter)| !letters[..at].contains(letter)).then_some(letters)
}

/// a and n of `a_n`.
fn index(name: &str) -> Option<(&str, &str)> {
    name.split_once('_')
        .filter(|(_, index)| index.len() == 1 && index.starts_with(|next: char| next.is_ascii_lowercase()))
}

/// A sequence without what its index begins with: `n \ge 1`, or 0. `None` where it says nothing of the kind, or where `other`
/// says something of that index.
fn without_start(node: &Node, other: &Node) -> Option<Node> {
    let Node::List(joint, items) = node else { return None };
    let Some(Node::Symbol(name)) = named(node) else { return None };
    let letter = Node::Symbol(index(name)?.1.to_owned());
    let is_first = |node: &Node, first: i64| matches!(node, Node::Number(literal) if literal.value == BigRational::from_integer(first.into()));
    let is_start = |item: &Node| {
        let Node::Relation(terms, relations) = item else { return false };
        match (terms.as_slice(), relations.as_slice()) {
            ([left, right], [Relation::GreaterEqual]) if *left == letter => is_first(right, 0) || is_first(right, 1),
            ([left, right], [Relation::LessEqual]) if *right == letter => is_first(left, 0) || is_first(left, 1),
            ([left, right], [Relation::Greater]) if *left == letter => is_first(right, 0),
            ([left, right], [Relation::Less]) if *right == letter => is_first(left, 0),
            _ => false,
        }
    };
    let speaks = |part: &Node| is_condition(part) && part.children().contains(&&letter);
    if other.any(&mut |part| speaks(part)) {
        return None;
    }
    let mut rest: Vec<Node> = items.iter().filter(|item| !is_start(item)).cloned().collect();
    match rest.len() {
        1 => rest.pop(),
        left => (left < items.len()).then_some(Node::List(*joint, rest)),
    }
}

/// The values that both give to what they call the same and is no scalar: `P(X \ge 2) = 3/4` and `P(X \ge 2) = 0.75`.
fn of_one_thing(reference: &Node, candidate: &Node) -> Option<(Node, Node)> {
    let (Some((name, value)), Some((other_name, other))) = (sides(reference), sides(candidate)) else { return None };
    (name == other_name && !name.is_scalar()).then(|| (value.clone(), other.clone()))
}

/// The set that is said under a set's name, for the condition that says it too: `A \cap B = [-2, 3)` is `-2 \le x < 3`.
fn named_set(node: &Node) -> Option<&Node> {
    named_value(node).filter(|(name, value)| set_name(name).is_some() && !value.is_scalar()).map(|(_, value)| value)
}

/// The two sides of an equation.
fn sides(node: &Node) -> Option<(&Node, &Node)> {
    match node {
        Node::Relation(terms, relations) if relations.as_slice() == [Relation::Equal] => match terms.as_slice() {
            [left, right] => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// What an equation says of the formula on one of its sides, for what is a bare value: 25 for `m + n = 25`. An equation in one
/// letter is to be solved, and so may be one in x, y and z, a line or curve: of these an answer may only say what their sum,
/// product or the like is, without coefficients (`x^2 + y^2 = 12`); and a *reference* is never meant so.
pub(crate) fn stated_value(equation: &Node, is_reference: bool) -> Option<&Node> {
    let (left, right) = sides(equation).filter(|_| named_value(equation).is_none())?;
    let (formula, value) = if is_value(right) { (left, right) } else { (right, left) };
    if !is_value(value) {
        return None;
    }
    let symbols = formula.symbols();
    let coordinates = symbols.iter().filter(|symbol| matches!(symbol.as_str(), "x" | "y" | "z")).count();
    let asked_for = formula.is_scalar()
        && symbols.len() > 1
        && match coordinates {
            0 => !is_reference || is_plain(formula),
            _ => !is_reference && coordinates == symbols.len() && is_plain(formula),
        };
    (asked_for || is_measure(formula)).then_some(value)
}

/// Whether no coefficient but 1 and -1 stands in it.
fn is_plain(formula: &Node) -> bool {
    match formula {
        Node::Number(literal) => literal.value.abs().is_one(),
        Node::Sum(terms) => terms.iter().all(|term| !matches!(term, Node::Number(_)) && is_plain(term)),
        Node::Product(factors) => factors.iter().all(is_plain),
        Node::Inverse(inner) => is_plain(inner),
        Node::Power(base, _) => is_plain(base),
        _ => true,
    }
}

/// A function's value, which is known whatever its argument is: a limit, a sine, a probability, the size of a set.
fn is_measure(formula: &Node) -> bool {
    use Function as F;
    match formula {
        Node::Call(F::Limit | F::Gcd | F::Lcm | F::Re | F::Im, _) => true,
        Node::Call(F::Sin | F::Cos | F::Tan | F::Cot | F::Sec | F::Csc, _) => true,
        // \max f(x)
        Node::Call(F::Max | F::Min, inner) => matches!(inner.as_slice(), [Node::Apply(..)]),
        Node::Call(F::Abs, inner) => !inner.iter().all(Node::is_scalar),
        // P(X \ge 2), n(A \cup B)
        Node::Product(items) => matches!(items.as_slice(), [Node::Symbol(_), inner] if !inner.is_scalar()),
        _ => false,
    }
}

/// `a \le x \le b` or `x > a` as the interval that `other` is written as, whose ends have letters of their own.
fn as_interval(node: &Node, other: &Node) -> Option<Node> {
    let Node::Tuple('(' | '[', ')' | ']', ends) = other else { return None };
    let Node::Relation(terms, relations) = node else { return None };
    let known: Vec<String> = ends.iter().flat_map(Node::symbols).collect();
    if ends.len() != 2 || known.is_empty() {
        return None;
    }
    let is_known = |node: &Node| node.is_scalar() && node.symbols().iter().all(|symbol| known.contains(symbol));
    let is_unknown = |node: &Node| matches!(node, Node::Symbol(name) if !known.contains(name));
    let infinity = Node::Constant(Constant::Infinity);
    let all: Vec<(&Node, Relation, &Node)> =
        terms.windows(2).zip(relations).map(|(pair, relation)| (&pair[0], *relation, &pair[1])).collect();
    // Each link with the smaller side before.
    let mut links = vec![];
    for (left, relation, right) in all {
        links.push(match relation {
            Relation::Less => (left, false, right),
            Relation::LessEqual => (left, true, right),
            Relation::Greater => (right, false, left),
            Relation::GreaterEqual => (right, true, left),
            _ => return None,
        });
    }
    let (mut low, mut high) = (None, None);
    for (left, closed, right) in links {
        match (is_unknown(left), is_unknown(right)) {
            (true, false) if is_known(right) && high.is_none() => high = Some((right.clone(), closed)),
            (false, true) if is_known(left) && low.is_none() => low = Some((left.clone(), closed)),
            _ => return None,
        }
    }
    let (low, low_closed) = low.unwrap_or_else(|| (infinity.clone().negated(), false));
    let (high, high_closed) = high.unwrap_or((infinity, false));
    let (open, close) = (if low_closed { '[' } else { '(' }, if high_closed { ']' } else { ')' });
    Some(Node::Tuple(open, close, vec![low, high]))
}
