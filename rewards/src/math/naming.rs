//! When what two values are called says the same: `f(x) = e` and `y = e`, but not `x = 4` and `|x| = 4`.

use super::meaning::{is_name, named_value};
use super::node::{Function, Node};

/// Whether two names may stand for the same thing. Two different variables with constant values are two statements.
pub(crate) fn names_agree(name: &Node, other: &Node, value: &Node) -> bool {
    if [name, other].into_iter().any(is_set_formula) {
        return set_name(name) == set_name(other);
    }
    match (Made::of(name), Made::of(other)) {
        // The sine is not the cosine, nor the angle; but the length |AB| may be called AB.
        (Made::Value, made) | (made, Made::Value) => {
            return name == other || made == Made::Plain && ![name, other].into_iter().any(is_letter);
        }
        (left, right) if left != right && [left, right].contains(&Made::Derivative) => return false,
        // The inverse of f may be called y, but not f.
        (left, right) if left != right => return !matches!((name, other), (Node::Apply(..), Node::Apply(..))),
        _ => {}
    }
    match (name, other) {
        (Node::Symbol(name), Node::Symbol(other)) => {
            let formula = !value.symbols().is_empty() && !matches!(value, Node::Symbol(_));
            name == other || formula || !is_variable(name, other)
        }
        // f(2) is not f(3), nor f(x) for all x; and f(x) may be called y, but not x.
        (Node::Apply(_, arguments), Node::Apply(_, others)) => {
            let known = |arguments: &[Node]| arguments.iter().all(|argument| argument.symbols().is_empty());
            known(arguments) == known(others) && (!known(arguments) || arguments == others)
        }
        (Node::Apply(_, arguments), name @ Node::Symbol(_)) | (name @ Node::Symbol(_), Node::Apply(_, arguments)) => {
            !arguments.contains(name)
        }
        // (x, y) is not (y, x).
        (Node::Tuple(_, _, names), Node::Tuple(_, _, others)) => {
            names == others || !names.iter().all(|name| others.contains(name))
        }
        _ => is_name(name) && is_name(other),
    }
}

/// What was done to what a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Plain,
    /// A function's value at it: `\sin\theta`, `|x|`, `\overline{z}`.
    Value,
    /// `y'`, `f'(x)`, `\frac{dy}{dx}`.
    Derivative,
    /// `f^{-1}(x)`.
    Inverse,
}

impl Made {
    fn of(name: &Node) -> Self {
        match name {
            Node::Call(..) => Self::Value,
            Node::Symbol(name) if name.starts_with("bar{") => Self::Value,
            Node::Symbol(name) | Node::Apply(name, _) if name.contains('\'') => Self::Derivative,
            Node::Apply(name, _) if name.ends_with("^-1") => Self::Inverse,
            Node::Product(_) if is_derivative(name) => Self::Derivative,
            _ => Self::Plain,
        }
    }
}

/// `\frac{dy}{dx}`, as a product with the bottom's inverse: both parts begin with d.
fn is_derivative(name: &Node) -> bool {
    let begins = |node: &Node| match node {
        Node::Product(items) => matches!(items.first(), Some(Node::Symbol(d)) if d == "d" || d == "partial"),
        _ => false,
    };
    let Node::Product(items) = name else { return false };
    let top = items.first().is_some_and(begins) || begins(name);
    top && matches!(items.last(), Some(Node::Inverse(bottom)) if begins(bottom))
}

/// A letter or a function of one: what has a value before anything is done to it.
fn is_letter(name: &Node) -> bool {
    matches!(name, Node::Symbol(_) | Node::Apply(..))
}

/// What a set is called: a capital, or what is made of capitals by union, intersection, difference and complement. Two
/// names of one set are the same: `A \cap B` and `B \cap A`.
pub(crate) fn set_name(node: &Node) -> Option<String> {
    let joined = |sign: &str, mut parts: Vec<String>| {
        parts.sort();
        format!("({})", parts.join(sign))
    };
    let without = |left: String, right: String| format!("({left}\\{right})");
    let capital = |name: &str| name.trim_start_matches("bar{").starts_with(|letter: char| letter.is_uppercase());
    Some(match node {
        Node::Symbol(name) if capital(name) || name == "whole space" => name.clone(),
        Node::Named(set) => format!("{set:?}"),
        Node::Union(_) => joined("+", operands(node).into_iter().map(set_name).collect::<Option<_>>()?),
        Node::Intersection(_) => joined("*", operands(node).into_iter().map(set_name).collect::<Option<_>>()?),
        Node::Difference(left, right) => without(set_name(left)?, set_name(right)?),
        // A - B
        Node::Sum(items) => match items.as_slice() {
            [left, Node::Product(minus)] => match minus.as_slice() {
                [minus, right] if *minus == Node::integer(-1) => without(set_name(left)?, set_name(right)?),
                _ => return None,
            },
            _ => return None,
        },
        // A^c, \overline{A \cup B}, (A \cup B)'
        Node::Power(set, sign) if matches!(&**sign, Node::Symbol(c) if matches!(c.as_str(), "c" | "C" | "complement")) => {
            without("whole space".to_owned(), set_name(set)?)
        }
        Node::Call(Function::Conjugate | Function::Transpose, set) => match set.as_slice() {
            [set @ (Node::Union(_) | Node::Intersection(_) | Node::Difference(..))] => {
                without("whole space".to_owned(), set_name(set)?)
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// The sets that a union or an intersection of several is made of.
fn operands(node: &Node) -> Vec<&Node> {
    match node {
        Node::Union(parts) | Node::Intersection(parts) => {
            let same = |part: &Node| std::mem::discriminant(part) == std::mem::discriminant(node);
            parts.iter().flat_map(|part| if same(part) { operands(part) } else { vec![part] }).collect()
        }
        _ => vec![node],
    }
}

/// Whether it is the name of a set that is made of others.
fn is_set_formula(node: &Node) -> bool {
    !matches!(node, Node::Symbol(_) | Node::Named(_)) && set_name(node).is_some()
}

/// Puts `y = 2, x = 1` in the order of coordinates, in which `(1, 2)` says the same.
pub(crate) fn in_order(items: &mut [Node]) {
    let coordinate = |item: &Node| match named_value(item) {
        Some((Node::Symbol(name), _)) => ["x", "y", "z"].iter().position(|coordinate| coordinate == name),
        _ => None,
    };
    let places: Option<Vec<usize>> = items.iter().map(coordinate).collect();
    if places.is_some_and(|places| places.iter().enumerate().all(|(at, place)| !places[..at].contains(place))) {
        items.sort_by_key(coordinate);
    }
}

fn is_variable(name: &str, other: &str) -> bool {
    let plain = |name: &str| name.len() == 1 && name.starts_with(|letter: char| letter.is_ascii_lowercase());
    plain(name) && plain(other)
}

/// The names of values that are all named, each otherwise. `x_1` and `x_2` are two values of one name.
pub(crate) fn names(items: &[Node]) -> Option<Vec<&Node>> {
    let names = items.iter().map(|item| named_value(item).map(|(name, _)| name)).collect::<Option<Vec<_>>>()?;
    let base = |name: &Node| match name {
        Node::Symbol(name) => name.split('_').next().map(str::to_owned),
        _ => None,
    };
    let distinct = names.iter().enumerate().all(|(at, name)| {
        names[..at].iter().all(|other| other != name && (base(name).is_none() || base(name) != base(other)))
    });
    (distinct && names.len() > 1).then_some(names)
}
