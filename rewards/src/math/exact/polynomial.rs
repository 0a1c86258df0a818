//! Polynomials with rational coefficients over named generators, and quotients of two of them.
//!
//! A monomial is a product of generators to rational exponents. Two generators have relations, which every product
//! respects: a prime's exponent stays in [0, 1), its whole part moves to the coefficient; i^2 = -1. So a sum of radicals
//! has one form, and its monomials are linearly independent over the rationals (Besicovitch, "On the linear independence
//! of fractional powers of integers", 1940).

use std::collections::BTreeMap;

use num_bigint::{BigInt, BigUint};
use num_rational::{BigRational, Ratio};
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::{Budget, Stop};
use super::rational::{add, divide, multiply};

const MAX_TERMS: usize = 600;
const MAX_EXPONENT: i64 = 1_000_000;

/// What a generator stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    Imaginary,
    Prime(u64),
    Pi,
    /// Euler's number, to constant exponents.
    Euler,
    Symbol(String),
    /// Anything else, by its canonical text.
    Opaque(String),
}

pub(crate) type Exponent = Ratio<i64>;
/// Sorted by atom; no exponent is 0.
pub(crate) type Monomial = Vec<(Atom, Exponent)>;

/// A sum of monomials with coefficients, none of which is 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Polynomial {
    pub(crate) terms: BTreeMap<Monomial, BigRational>,
}

impl Polynomial {
    pub(crate) fn constant(value: BigRational) -> Self {
        let mut terms = BTreeMap::new();
        if !value.is_zero() {
            terms.insert(Monomial::new(), value);
        }
        Self { terms }
    }

    pub(crate) fn atom(atom: Atom, exponent: Exponent) -> Self {
        let mut terms = BTreeMap::new();
        terms.insert(vec![(atom, exponent)], BigRational::one());
        Self { terms }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value, where it is a rational number.
    pub(crate) fn as_constant(&self) -> Option<BigRational> {
        match self.terms.len() {
            0 => Some(BigRational::zero()),
            1 => self.terms.get(&Monomial::new()).cloned(),
            _ => None,
        }
    }

    pub(crate) fn is_one(&self) -> bool {
        self.terms.len() == 1 && self.terms.get(&Monomial::new()).is_some_and(One::is_one)
    }

    fn insert(&mut self, monomial: Monomial, coefficient: BigRational, budget: &mut Budget) -> Result<(), Stop> {
        budget.spend(40 + 16 * monomial.len() as u64)?;
        match self.terms.get_mut(&monomial) {
            Some(existing) => {
                let sum = add(existing, &coefficient, budget)?;
                if sum.is_zero() {
                    self.terms.remove(&monomial);
                } else {
                    *existing = sum;
                }
            }
            None if coefficient.is_zero() => {}
            None => {
                if self.terms.len() >= MAX_TERMS {
                    return Err(Stop::Budget);
                }
                self.terms.insert(monomial, coefficient);
            }
        }
        Ok(())
    }

    pub(crate) fn add(&self, other: &Self, budget: &mut Budget) -> Result<Self, Stop> {
        let mut sum = self.clone();
        for (monomial, coefficient) in &other.terms {
            sum.insert(monomial.clone(), coefficient.clone(), budget)?;
        }
        Ok(sum)
    }

    pub(crate) fn neg(&self) -> Self {
        Self { terms: self.terms.iter().map(|(monomial, value)| (monomial.clone(), -value)).collect() }
    }

    pub(crate) fn mul(&self, other: &Self, budget: &mut Budget) -> Result<Self, Stop> {
        if self.is_one() {
            return Ok(other.clone());
        }
        if other.is_one() {
            return Ok(self.clone());
        }
        let mut product = Self::default();
        for (left, a) in &self.terms {
            for (right, b) in &other.terms {
                let (monomial, factor) = multiply_monomials(left, right, budget)?;
                let mut coefficient = multiply(a, b, budget)?;
                if let Some(factor) = factor {
                    coefficient = multiply(&coefficient, &factor, budget)?;
                }
                product.insert(monomial, coefficient, budget)?;
            }
        }
        Ok(product)
    }

    pub(crate) fn pow(&self, exponent: u64, budget: &mut Budget) -> Result<Self, Stop> {
        if self.terms.len() > 1 && exponent > 64 {
            return Err(Stop::Budget);
        }
        let mut result = Self::constant(BigRational::one());
        let mut square = self.clone();
        let mut left = exponent;
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(&square, budget)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.mul(&square, budget)?;
            }
        }
        Ok(result)
    }

    /// All atoms, in order of the terms.
    pub(crate) fn atoms(&self) -> impl Iterator<Item = &(Atom, Exponent)> {
        self.terms.keys().flatten()
    }

    /// A text that is the same for the same polynomial.
    pub(crate) fn key(&self, budget: &mut Budget) -> Result<String, Stop> {
        let mut key = String::new();
        for (monomial, coefficient) in &self.terms {
            // Decimal digits cost as much as a product.
            let (top, bottom) = (coefficient.numer().bits(), coefficient.denom().bits());
            budget.spend_product(top, top)?;
            budget.spend_product(bottom, bottom)?;
            key.push('+');
            key.push_str(&coefficient.to_string());
            for (atom, exponent) in monomial {
                let name = match atom {
                    Atom::Imaginary => "i".to_owned(),
                    Atom::Prime(prime) => format!("#{prime}"),
                    Atom::Pi => "pi".to_owned(),
                    Atom::Euler => "e".to_owned(),
                    Atom::Symbol(name) => format!("'{name}'"),
                    Atom::Opaque(key) => format!("[{key}]"),
                };
                key.push_str(&format!("*{name}^{exponent}"));
            }
        }
        budget.spend(key.len() as u64)?;
        Ok(key)
    }

    /// The polynomial times a number.
    pub(crate) fn scaled(&self, by: &BigRational, budget: &mut Budget) -> Result<Self, Stop> {
        self.mul(&Self::constant(by.clone()), budget)
    }

    /// The coefficient of the first term.
    pub(crate) fn leading(&self) -> Option<&BigRational> {
        self.terms.values().next_back()
    }

    /// As a polynomial in `name`: the coefficient of each power, lowest first. `None` where `name` stands elsewhere than
    /// in whole, non-negative powers below `limit`.
    pub(crate) fn coefficients(&self, name: &str, limit: usize) -> Option<Vec<Self>> {
        let mut coefficients: Vec<Self> = vec![];
        for (monomial, value) in &self.terms {
            let mut degree = 0_usize;
            let mut rest = Monomial::new();
            for (atom, exponent) in monomial {
                match atom {
                    Atom::Symbol(own) if own == name => {
                        degree = exponent.is_integer().then(|| exponent.to_integer().to_usize())??;
                    }
                    Atom::Opaque(key) if key.contains(&format!("'{name}'")) => return None,
                    _ => rest.push((atom.clone(), *exponent)),
                }
            }
            if degree >= limit {
                return None;
            }
            if coefficients.len() <= degree {
                coefficients.resize_with(degree + 1, Self::default);
            }
            coefficients[degree].terms.insert(rest, value.clone());
        }
        Some(coefficients)
    }
}

/// The product of two monomials, and the number that its relations give off.
fn multiply_monomials(
    left: &Monomial,
    right: &Monomial,
    budget: &mut Budget,
) -> Result<(Monomial, Option<BigRational>), Stop> {
    budget.spend(20 + 10 * (left.len() + right.len()) as u64)?;
    if left.is_empty() {
        return Ok((right.clone(), None));
    }
    if right.is_empty() {
        return Ok((left.clone(), None));
    }
    let mut product = Monomial::with_capacity(left.len() + right.len());
    let mut factor: Option<BigRational> = None;
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        let order = match (left.get(i), right.get(j)) {
            (Some(a), Some(b)) => a.0.cmp(&b.0),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        match order {
            std::cmp::Ordering::Less => {
                product.push(left[i].clone());
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                product.push(right[j].clone());
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                let sum = left[i].1 + right[j].1;
                let (exponent, given) = reduce(&left[i].0, sum, budget)?;
                if let Some(given) = given {
                    factor = Some(match factor {
                        None => given,
                        Some(so_far) => multiply(&so_far, &given, budget)?,
                    });
                }
                if !exponent.is_zero() {
                    product.push((left[i].0.clone(), exponent));
                }
                i += 1;
                j += 1;
            }
        }
    }
    Ok((product, factor))
}

/// An exponent within its atom's relations, and the number given off.
pub(super) fn reduce(
    atom: &Atom,
    exponent: Exponent,
    budget: &mut Budget,
) -> Result<(Exponent, Option<BigRational>), Stop> {
    if exponent.numer().abs() > MAX_EXPONENT || *exponent.denom() > 10_000 {
        return Err(Stop::Budget);
    }
    Ok(match atom {
        Atom::Imaginary if exponent.is_integer() => {
            let turned = exponent.to_integer().rem_euclid(4);
            let sign = (turned >= 2).then(|| -BigRational::one());
            (Exponent::from_integer(turned % 2), sign)
        }
        Atom::Prime(prime) => {
            let whole = exponent.floor().to_integer();
            let given = match whole {
                0 => None,
                _ => {
                    let size =
                        u32::try_from(whole.unsigned_abs()).ok().filter(|size| *size < 4096).ok_or(Stop::Budget)?;
                    let bits = u64::from(64 - prime.leading_zeros()) * u64::from(size);
                    budget.spend_product(bits, bits)?;
                    let power = BigInt::from(BigUint::from(*prime).pow(size));
                    let value = BigRational::from_integer(power);
                    Some(if whole > 0 { value } else { value.recip() })
                }
            };
            (exponent - exponent.floor(), given)
        }
        _ => (exponent, None),
    })
}

/// A quotient of polynomials, not reduced: equality is tested by cross-multiplication.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fraction {
    pub(crate) numerator: Polynomial,
    pub(crate) denominator: Polynomial,
}

impl Fraction {
    pub(crate) fn polynomial(numerator: Polynomial) -> Self {
        Self { numerator, denominator: Polynomial::constant(BigRational::one()) }
    }

    pub(crate) fn constant(value: BigRational) -> Self {
        Self::polynomial(Polynomial::constant(value))
    }

    pub(crate) fn atom(atom: Atom) -> Self {
        Self::polynomial(Polynomial::atom(atom, Exponent::one()))
    }

    /// The value, where it is a rational number.
    pub(crate) fn as_constant(&self, budget: &mut Budget) -> Result<Option<BigRational>, Stop> {
        match (self.numerator.as_constant(), self.denominator.as_constant()) {
            (Some(top), Some(bottom)) if !bottom.is_zero() => divide(&top, &bottom, budget).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn add(&self, other: &Self, budget: &mut Budget) -> Result<Self, Stop> {
        if self.denominator == other.denominator {
            return Ok(Self {
                numerator: self.numerator.add(&other.numerator, budget)?,
                denominator: self.denominator.clone(),
            });
        }
        let left = self.numerator.mul(&other.denominator, budget)?;
        let right = other.numerator.mul(&self.denominator, budget)?;
        Ok(Self {
            numerator: left.add(&right, budget)?,
            denominator: self.denominator.mul(&other.denominator, budget)?,
        })
    }

    pub(crate) fn neg(&self) -> Self {
        Self { numerator: self.numerator.neg(), denominator: self.denominator.clone() }
    }

    pub(crate) fn mul(&self, other: &Self, budget: &mut Budget) -> Result<Self, Stop> {
        Ok(Self {
            numerator: self.numerator.mul(&other.numerator, budget)?,
            denominator: self.denominator.mul(&other.denominator, budget)?,
        })
    }

    pub(crate) fn inverse(&self, budget: &mut Budget) -> Result<Self, Stop> {
        if self.numerator.is_zero() {
            return Err(Stop::DivisionByZero);
        }
        if let Some(constant) = self.numerator.as_constant() {
            // Dividing by a number is multiplying by its inverse.
            return Ok(Self::polynomial(self.denominator.scaled(&constant.recip(), budget)?));
        }
        Ok(Self { numerator: self.denominator.clone(), denominator: self.numerator.clone() })
    }

    pub(crate) fn pow(&self, exponent: i64, budget: &mut Budget) -> Result<Self, Stop> {
        let base = if exponent < 0 { self.inverse(budget)? } else { self.clone() };
        let count = exponent.unsigned_abs();
        Ok(Self { numerator: base.numerator.pow(count, budget)?, denominator: base.denominator.pow(count, budget)? })
    }

    /// A text that is the same for quotients with the same numerator and denominator, up to a number.
    pub(crate) fn key(&self, budget: &mut Budget) -> Result<String, Stop> {
        let Some(leading) = self.denominator.leading() else { return Err(Stop::DivisionByZero) };
        let inverse = leading.recip();
        let top = self.numerator.scaled(&inverse, budget)?.key(budget)?;
        let bottom = self.denominator.scaled(&inverse, budget)?.key(budget)?;
        Ok(if bottom == "+1" { top } else { format!("({top})/({bottom})") })
    }
}
