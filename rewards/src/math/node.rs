//! The expression tree: what an answer says, before anything is worked out.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::unit::Unit;

/// A number as written: its value, and how many digits were given for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) value: BigRational,
    /// Digits after the decimal point.
    pub(crate) places: u32,
    /// Digits from the first that is not 0.
    pub(crate) significant: u32,
    /// Written with digits alone: no point, exponent or separator.
    pub(crate) plain: bool,
}

impl Literal {
    pub(crate) fn integer(value: i64) -> Self {
        Self { value: BigRational::from_integer(BigInt::from(value)), places: 0, significant: 1, plain: true }
    }
}

/// Constants with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constant {
    Pi,
    E,
    I,
    Infinity,
}

/// Functions with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Abs,
    Floor,
    Ceil,
    Exp,
    /// `log(x, base)`.
    Log,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Acot,
    Asec,
    Acsc,
    Sinh,
    Cosh,
    Tanh,
    Coth,
    Sech,
    Csch,
    Asinh,
    Acosh,
    Atanh,
    Factorial,
    DoubleFactorial,
    Binomial,
    Gcd,
    Lcm,
    Max,
    Min,
    Mod,
    Re,
    Im,
    Conjugate,
    Determinant,
    Transpose,
    /// `(body, variable, from, to)`.
    Sum,
    /// `(body, variable, from, to)`.
    Product,
    /// `(body, variable[, from, to])`; compared by its parts alone, as the two below.
    Integral,
    /// `(body, variable, point)`.
    Limit,
    /// `(body, variable)`.
    Derivative,
}

/// Sets with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedSet {
    Empty,
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
}

/// What stands between the sides of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Approximately,
    In,
    NotIn,
    Congruent,
}

impl Relation {
    /// The relation of the right side to the left.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::Greater => Self::Less,
            Self::LessEqual => Self::GreaterEqual,
            Self::GreaterEqual => Self::LessEqual,
            other => other,
        }
    }
}

/// What joins the items of a bare list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    Comma,
    And,
    Or,
}

/// An answer, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Number(Literal),
    Symbol(String),
    Constant(Constant),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    Inverse(Box<Node>),
    Power(Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    /// A function without a known meaning: `f(x)`.
    Apply(String, Vec<Node>),
    Percent(Box<Node>),
    /// An angle in degrees.
    Degrees(Box<Node>),
    Quantity(Box<Node>, Unit),
    /// Digits in a base: `204_5`.
    Based(String, u32),
    Matrix(Vec<Vec<Node>>),
    /// `\{1, 2\}`.
    Set(Vec<Node>),
    /// `1, 2`; `1 or 2`; both values of a plus-minus.
    List(Joint, Vec<Node>),
    /// `(1, 2)`, `[1, 2)`, `<1, 2>`, with the delimiters as `(`, `[` or `<` and their counterparts.
    Tuple(char, char, Vec<Node>),
    Union(Vec<Node>),
    Intersection(Vec<Node>),
    Difference(Box<Node>, Box<Node>),
    Named(NamedSet),
    /// `a < b <= c`: one relation fewer than terms.
    Relation(Vec<Node>, Vec<Relation>),
    /// A residue and its modulus: `2 \pmod 5`.
    Modular(Box<Node>, Box<Node>),
    /// `11:21`; the flag says whether it is written like a time.
    Ratio(Vec<Node>, bool),
    Ellipsis,
    /// Words, normalised.
    Text(String),
}

impl Node {
    pub(crate) fn integer(value: i64) -> Self {
        Self::Number(Literal::integer(value))
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Number(mut literal) => {
                literal.value = -literal.value;
                Self::Number(literal)
            }
            Self::Quantity(inner, unit) => Self::Quantity(Box::new(inner.negated()), unit),
            Self::Percent(inner) => Self::Percent(Box::new(inner.negated())),
            Self::Degrees(inner) => Self::Degrees(Box::new(inner.negated())),
            other => Self::Product(vec![Self::integer(-1), other]),
        }
    }

    pub(crate) fn call(function: Function, argument: Self) -> Self {
        Self::Call(function, vec![argument])
    }

    pub(crate) fn power(base: Self, exponent: Self) -> Self {
        Self::Power(Box::new(base), Box::new(exponent))
    }

    pub(crate) fn inverse(self) -> Self {
        Self::Inverse(Box::new(self))
    }

    pub(crate) fn difference(left: Self, right: Self) -> Self {
        Self::Sum(vec![left, right.negated()])
    }

    /// The parts of this node, in order.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_)
            | Self::Symbol(_)
            | Self::Constant(_)
            | Self::Based(..)
            | Self::Named(_)
            | Self::Ellipsis
            | Self::Text(_) => vec![],
            Self::Inverse(inner) | Self::Percent(inner) | Self::Degrees(inner) | Self::Quantity(inner, _) => {
                vec![inner]
            }
            Self::Power(left, right) | Self::Difference(left, right) | Self::Modular(left, right) => {
                vec![left, right]
            }
            Self::Sum(items)
            | Self::Product(items)
            | Self::Call(_, items)
            | Self::Apply(_, items)
            | Self::Set(items)
            | Self::List(_, items)
            | Self::Tuple(_, _, items)
            | Self::Union(items)
            | Self::Intersection(items)
            | Self::Relation(items, _)
            | Self::Ratio(items, _) => items.iter().collect(),
            Self::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// Whether this or any part of it satisfies `test`.
    pub(crate) fn any(&self, test: &mut impl FnMut(&Self) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|child| child.any(test))
    }

    /// Whether it is one value: a number, or a formula for one.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Number(_) | Self::Symbol(_) | Self::Constant(_) | Self::Based(..) => true,
            Self::Sum(items) | Self::Product(items) => items.iter().all(Self::is_scalar),
            Self::Call(function, items) => {
                matches!(function, Function::Determinant) || items.iter().all(Self::is_scalar)
            }
            Self::Apply(..) => true,
            Self::Inverse(inner) | Self::Percent(inner) | Self::Degrees(inner) | Self::Quantity(inner, _) => {
                inner.is_scalar()
            }
            Self::Power(left, right) => left.is_scalar() && right.is_scalar(),
            _ => false,
        }
    }

    /// The names of the free symbols, sorted, each once. The variables of sums and integrals are bound.
    pub(crate) fn symbols(&self) -> Vec<String> {
        fn collect(node: &Node, found: &mut Vec<String>) {
            match node {
                Node::Symbol(name) => found.push(name.clone()),
                Node::Call(Function::Sum | Function::Product | Function::Integral | Function::Limit, items) => {
                    let mut inner = Vec::new();
                    items.iter().for_each(|item| collect(item, &mut inner));
                    if let Some(Node::Symbol(bound)) = items.get(1) {
                        inner.retain(|name| name != bound);
                    }
                    found.append(&mut inner);
                }
                _ => node.children().into_iter().for_each(|child| collect(child, found)),
            }
        }
        let mut found = Vec::new();
        collect(self, &mut found);
        found.sort();
        found.dedup();
        found
    }

    /// The same tree with `name` replaced.
    pub(crate) fn substitute(&self, name: &str, value: &Self) -> Self {
        let one = |inner: &Self| Box::new(inner.substitute(name, value));
        let each = |items: &[Self]| items.iter().map(|item| item.substitute(name, value)).collect::<Vec<_>>();
        match self {
            Self::Symbol(own) if own == name => value.clone(),
            Self::Number(_)
            | Self::Symbol(_)
            | Self::Constant(_)
            | Self::Based(..)
            | Self::Named(_)
            | Self::Ellipsis
            | Self::Text(_) => self.clone(),
            Self::Sum(items) => Self::Sum(each(items)),
            Self::Product(items) => Self::Product(each(items)),
            Self::Inverse(inner) => Self::Inverse(one(inner)),
            Self::Power(base, exponent) => Self::Power(one(base), one(exponent)),
            Self::Call(function, items) => Self::Call(*function, each(items)),
            Self::Apply(own, items) => Self::Apply(own.clone(), each(items)),
            Self::Percent(inner) => Self::Percent(one(inner)),
            Self::Degrees(inner) => Self::Degrees(one(inner)),
            Self::Quantity(inner, unit) => Self::Quantity(one(inner), unit.clone()),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|row| each(row)).collect()),
            Self::Set(items) => Self::Set(each(items)),
            Self::List(joint, items) => Self::List(*joint, each(items)),
            Self::Tuple(open, close, items) => Self::Tuple(*open, *close, each(items)),
            Self::Union(items) => Self::Union(each(items)),
            Self::Intersection(items) => Self::Intersection(each(items)),
            Self::Difference(left, right) => Self::Difference(one(left), one(right)),
            Self::Relation(items, relations) => Self::Relation(each(items), relations.clone()),
            Self::Modular(value, modulus) => Self::Modular(one(value), one(modulus)),
            Self::Ratio(items, clock) => Self::Ratio(each(items), *clock),
        }
    }

    /// The same tree with the letters `old` called `new`, at once: x and y may change places.
    pub(crate) fn renamed(&self, old: &[String], new: &[String]) -> Self {
        // By way of names that nothing has.
        let aside = |at: usize| format!("#{at}");
        let each = |node: Self, (at, name): (usize, &String)| node.substitute(name, &Self::Symbol(aside(at)));
        let set_aside = old.iter().enumerate().fold(self.clone(), each);
        new.iter()
            .enumerate()
            .fold(set_aside, |node, (at, name)| node.substitute(&aside(at), &Self::Symbol(name.clone())))
    }
}
