//! Exact methods: rational values ([`mod@rational`]), and normal forms over named generators ([`normal`], [`polynomial`]).

mod normal;
mod polynomial;
mod rational;

pub(crate) use normal::Normalizer;
pub(crate) use polynomial::{Atom, Fraction, Monomial, Polynomial};
pub(crate) use rational::{add, compare, divide, multiply, rational};
