//! The value of an expression at a point, as a complex ball.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};

use super::budget::{Budget, Stop};
use super::exact::rational;
use super::node::{Constant, Function, Node};
use super::numeric::{Ball, Complex, Precision};
use super::points::{Point, unknown_value};

const MAX_TERMS: i64 = 400;

/// Evaluates at one point, with one precision.
pub(crate) struct Evaluator<'b> {
    pub(crate) precision: &'b mut Precision,
    pub(crate) budget: &'b mut Budget,
    pub(crate) point: Point,
    /// Whether the expression speaks of complex numbers itself. If not, a root or logarithm of a negative number that
    /// depends on a symbol is outside of its domain.
    pub(crate) complex: bool,
}

impl Evaluator<'_> {
    pub(crate) fn evaluate(&mut self, node: &Node) -> Result<Complex, Stop> {
        let bits = self.precision.bits;
        self.budget.spend(150 + 4 * (bits / 64) * (bits / 64))?;
        Ok(match node {
            Node::Number(literal) => Complex::real(Ball::rational(&literal.value, bits)?),
            Node::Symbol(name) => {
                let value = self.point.iter().rev().find(|(own, _)| own == name).ok_or(Stop::Unsupported)?;
                Complex::real(Ball::rational(&value.1, bits)?)
            }
            Node::Constant(Constant::Pi) => Complex::real(self.precision.pi(self.budget)?),
            Node::Constant(Constant::E) => Complex::real(self.precision.exp(&Ball::integer(1), self.budget)?),
            Node::Constant(Constant::I) => Complex { re: Ball::zero(), im: Ball::integer(1) },
            Node::Sum(items) => {
                let mut sum = Complex::integer(0);
                for item in items {
                    sum = sum.add(&self.evaluate(item)?, bits)?;
                }
                sum
            }
            Node::Product(items) => {
                let mut product = Complex::integer(1);
                for item in items {
                    product = product.mul(&self.evaluate(item)?, bits)?;
                }
                product
            }
            Node::Inverse(inner) => Complex::integer(1).div(&self.evaluate(inner)?, bits)?,
            Node::Percent(inner) => self.evaluate(inner)?.div(&Complex::integer(100), bits)?,
            Node::Degrees(inner) => {
                let turned = self.evaluate(inner)?.mul(&Complex::real(self.precision.pi(self.budget)?), bits)?;
                turned.div(&Complex::integer(180), bits)?
            }
            Node::Power(base, exponent) => self.power(base, exponent)?,
            Node::Based(..) => {
                let value = rational(node, &mut vec![], self.budget)?.ok_or(Stop::Unsupported)?;
                Complex::real(Ball::rational(&value, bits)?)
            }
            Node::Call(function, arguments) => self.call(*function, arguments, node)?,
            // A function without a meaning takes any value, the same for the same arguments.
            Node::Apply(name, arguments) => {
                let mut parts = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    parts.push(rational(argument, &mut self.point, self.budget)?.ok_or(Stop::Unsupported)?.to_string());
                }
                Complex::real(Ball::rational(&unknown_value(&format!("{name}({})", parts.join(","))), bits)?)
            }
            _ => return Err(Stop::Unsupported),
        })
    }

    fn exact(&mut self, node: &Node) -> Result<Option<BigRational>, Stop> {
        rational(node, &mut self.point, self.budget)
    }

    fn power(&mut self, base: &Node, exponent: &Node) -> Result<Complex, Stop> {
        let bits = self.precision.bits;
        let exact = match self.exact(exponent) {
            Err(Stop::Budget) => None,
            other => other?,
        };
        let value = self.evaluate(base)?;
        if let Some(exact) = exact {
            if let Some(whole) =
                exact.is_integer().then(|| exact.numer().to_i64()).flatten().filter(|n| n.abs() < 1 << 32)
            {
                return value.powi(whole, bits, self.budget);
            }
            let negative = value.is_real() && value.re.sign() == Some(Ordering::Less);
            let denominator = exact.denom().to_i64().unwrap_or(0);
            if negative && denominator % 2 == 1 && denominator < 1 << 20 {
                // The real root of a negative number.
                let odd = exact.numer().bit(0);
                let size = value.neg();
                let root = self.real_power(&size, &exact)?;
                return Ok(if odd { root.neg() } else { root });
            }
            if negative {
                self.outside(base)?;
            }
            if denominator == 2 && exact.numer().abs() < BigInt::from(1 << 20) {
                let root = value.sqrt(self.precision, self.budget)?;
                return root.powi(exact.numer().to_i64().unwrap_or(1), bits, self.budget);
            }
            return self.real_power(&value, &exact);
        }
        if value.is_real() && value.re.sign() == Some(Ordering::Less) {
            self.outside(base)?;
        }
        let exponent = self.evaluate(exponent)?;
        if *base == Node::Constant(Constant::E) {
            return exponent.exp(self.precision, self.budget);
        }
        value.pow(&exponent, self.precision, self.budget)
    }

    fn real_power(&mut self, value: &Complex, exponent: &BigRational) -> Result<Complex, Stop> {
        let exponent = Complex::real(Ball::rational(exponent, self.precision.bits)?);
        value.pow(&exponent, self.precision, self.budget)
    }

    /// Refuses a point where a real function of its symbols leaves the reals.
    fn outside(&self, node: &Node) -> Result<(), Stop> {
        if self.complex || node.symbols().is_empty() { Ok(()) } else { Err(Stop::Undefined) }
    }

    fn call(&mut self, function: Function, arguments: &[Node], node: &Node) -> Result<Complex, Stop> {
        use Function as F;
        let bits = self.precision.bits;
        let first = arguments.first().ok_or(Stop::Unsupported)?;
        match function {
            F::Factorial | F::DoubleFactorial | F::Binomial | F::Gcd | F::Lcm => {
                let value = self.exact(node)?.ok_or(Stop::Unsupported)?;
                return Ok(Complex::real(Ball::rational(&value, bits)?));
            }
            F::Sum | F::Product => return self.range(function, arguments),
            F::Derivative | F::Integral | F::Limit | F::Determinant | F::Transpose => return Err(Stop::Unsupported),
            F::Max | F::Min => {
                let mut best = self.evaluate(first)?.re;
                for argument in &arguments[1..] {
                    let other = self.evaluate(argument)?.re;
                    let larger = match other.compare(&best, bits) {
                        Some(order) => order == Ordering::Greater,
                        // As close as that, either will do.
                        None => false,
                    };
                    if larger == (function == F::Max) {
                        best = other;
                    }
                }
                return Ok(Complex::real(best));
            }
            F::Log => {
                let [x, base] = arguments else { return Err(Stop::Unsupported) };
                let value = self.ln(x)?;
                if *base == Node::Constant(Constant::E) {
                    return Ok(value);
                }
                return value.div(&self.ln(base)?, bits);
            }
            F::Mod => {
                let [_, modulus] = arguments else { return Err(Stop::Unsupported) };
                if let Some(value) = self.exact(node)? {
                    return Ok(Complex::real(Ball::rational(&value, bits)?));
                }
                let (x, modulus) = (self.evaluate(first)?, self.evaluate(modulus)?);
                let turns = x.div(&modulus, bits)?.re.floor().ok_or(Stop::Imprecise)?;
                let turns = Complex::real(Ball::rational(&BigRational::from_integer(turns), bits)?);
                return x.sub(&turns.mul(&modulus, bits)?, bits);
            }
            _ => {}
        }
        if matches!(function, F::Floor | F::Ceil)
            && let Some(value) = self.exact(node)?
        {
            return Ok(Complex::real(Ball::rational(&value, bits)?));
        }
        let x = self.evaluate(first)?;
        let one = Complex::integer(1);
        Ok(match function {
            F::Abs => x.abs(bits)?,
            F::Re => Complex::real(x.re),
            F::Im => Complex::real(x.im),
            F::Conjugate => Complex { re: x.re, im: x.im.neg() },
            F::Floor | F::Ceil => {
                let value = if function == F::Floor { x.re.floor() } else { x.re.neg().floor().map(|below| -below) };
                Complex::real(Ball::rational(&BigRational::from_integer(value.ok_or(Stop::Imprecise)?), bits)?)
            }
            F::Exp => x.exp(self.precision, self.budget)?,
            F::Sin => x.sin_cos(self.precision, self.budget)?.0,
            F::Cos => x.sin_cos(self.precision, self.budget)?.1,
            F::Tan => {
                let (sin, cos) = x.sin_cos(self.precision, self.budget)?;
                sin.div(&cos, bits)?
            }
            F::Cot => {
                let (sin, cos) = x.sin_cos(self.precision, self.budget)?;
                cos.div(&sin, bits)?
            }
            F::Sec => one.div(&x.sin_cos(self.precision, self.budget)?.1, bits)?,
            F::Csc => one.div(&x.sin_cos(self.precision, self.budget)?.0, bits)?,
            F::Sinh | F::Cosh | F::Tanh | F::Coth | F::Sech | F::Csch => {
                let grown = x.exp(self.precision, self.budget)?;
                let shrunk = one.div(&grown, bits)?;
                let two = Complex::integer(2);
                let sinh = grown.sub(&shrunk, bits)?.div(&two, bits)?;
                let cosh = grown.add(&shrunk, bits)?.div(&two, bits)?;
                match function {
                    F::Sinh => sinh,
                    F::Cosh => cosh,
                    F::Tanh => sinh.div(&cosh, bits)?,
                    F::Coth => cosh.div(&sinh, bits)?,
                    F::Sech => one.div(&cosh, bits)?,
                    _ => one.div(&sinh, bits)?,
                }
            }
            F::Atan => self.atan(&x)?,
            F::Acot => self.atan(&one.div(&x, bits)?)?,
            F::Asin => self.asin(&x, first)?,
            F::Acos => self.acos(&x, first)?,
            F::Asec => self.acos(&one.div(&x, bits)?, first)?,
            F::Acsc => self.asin(&one.div(&x, bits)?, first)?,
            // asinh x = ln(x + sqrt(x^2 + 1)), acosh x = ln(x + sqrt(x^2 - 1)), atanh x = ln((1 + x)/(1 - x)) / 2
            F::Asinh | F::Acosh => {
                let square = x.mul(&x, bits)?;
                let inside = if function == F::Asinh { square.add(&one, bits)? } else { square.sub(&one, bits)? };
                if function == F::Acosh && x.re.compare(&Ball::integer(1), bits) == Some(Ordering::Less) {
                    self.outside(first)?;
                }
                let sum = x.add(&inside.sqrt(self.precision, self.budget)?, bits)?;
                sum.ln(self.precision, self.budget)?
            }
            F::Atanh => {
                let quotient = one.add(&x, bits)?.div(&one.sub(&x, bits)?, bits)?;
                if quotient.is_real() && quotient.re.sign() == Some(Ordering::Less) {
                    self.outside(first)?;
                }
                quotient.ln(self.precision, self.budget)?.div(&Complex::integer(2), bits)?
            }
            _ => return Err(Stop::Unsupported),
        })
    }

    fn ln(&mut self, node: &Node) -> Result<Complex, Stop> {
        let value = self.evaluate(node)?;
        if value.is_real() && value.re.sign() == Some(Ordering::Less) {
            self.outside(node)?;
        }
        value.ln(self.precision, self.budget)
    }

    fn atan(&mut self, x: &Complex) -> Result<Complex, Stop> {
        if !x.is_real() {
            return Err(Stop::Unsupported);
        }
        Ok(Complex::real(self.precision.atan(&x.re, self.budget)?))
    }

    /// asin x = 2 atan(x / (1 + sqrt(1 - x^2))).
    fn asin(&mut self, x: &Complex, argument: &Node) -> Result<Complex, Stop> {
        let bits = self.precision.bits;
        if !x.is_real() {
            return Err(Stop::Unsupported);
        }
        let one = Ball::integer(1);
        let inside = one.sub(&x.re.mul(&x.re, bits)?, bits)?;
        match inside.sign() {
            Some(Ordering::Less) => {
                self.outside(argument)?;
                return Err(Stop::Unsupported);
            }
            None => return self.near_one(x),
            _ => {}
        }
        let half = x.re.div(&one.add(&inside.sqrt(bits)?, bits)?, bits)?;
        Ok(Complex::real(self.precision.atan(&half, self.budget)?.scaled(1)))
    }

    /// asin of what cannot be told from 1 or -1: nothing is known but to half the digits, which is not enough.
    fn near_one(&mut self, x: &Complex) -> Result<Complex, Stop> {
        if x.re.is_exact_zero() { Ok(x.clone()) } else { Err(Stop::Imprecise) }
    }

    fn acos(&mut self, x: &Complex, argument: &Node) -> Result<Complex, Stop> {
        let quarter = self.precision.pi(self.budget)?.scaled(-1);
        let asin = self.asin(x, argument)?;
        Ok(Complex::real(quarter.sub(&asin.re, self.precision.bits)?))
    }

    /// A sum or product over a range of whole numbers.
    fn range(&mut self, function: Function, parts: &[Node]) -> Result<Complex, Stop> {
        let [body, Node::Symbol(variable), from, to] = parts else { return Err(Stop::Unsupported) };
        let whole = |value: Option<BigRational>| value.filter(BigRational::is_integer).and_then(|v| v.numer().to_i64());
        let (Some(from), Some(to)) = (whole(self.exact(from)?), whole(self.exact(to)?)) else {
            return Err(Stop::Unsupported);
        };
        if to.saturating_sub(from) > MAX_TERMS {
            return Err(Stop::Budget);
        }
        let bits = self.precision.bits;
        let mut total = Complex::integer(i64::from(function == Function::Product));
        for index in from..=to {
            self.point.push((variable.clone(), BigRational::from_integer(index.into())));
            let term = self.evaluate(body);
            self.point.pop();
            total = if function == Function::Sum { total.add(&term?, bits)? } else { total.mul(&term?, bits)? };
        }
        Ok(total)
    }
}
