//! Complex numbers whose parts are balls; most values are real, and stay on that path.

use std::cmp::Ordering;

use super::super::budget::{Budget, Stop};
use super::ball::Ball;
use super::elementary::Precision;

/// `re + im * i`.
#[derive(Debug, Clone)]
pub(crate) struct Complex {
    pub(crate) re: Ball,
    pub(crate) im: Ball,
}

impl Complex {
    pub(crate) fn real(re: Ball) -> Self {
        Self { re, im: Ball::zero() }
    }

    pub(crate) fn integer(value: i64) -> Self {
        Self::real(Ball::integer(value))
    }

    pub(crate) fn is_real(&self) -> bool {
        self.im.is_exact_zero()
    }

    pub(crate) fn contains_zero(&self) -> bool {
        self.re.contains_zero() && self.im.contains_zero()
    }

    pub(crate) fn is_exact_zero(&self) -> bool {
        self.re.is_exact_zero() && self.im.is_exact_zero()
    }

    /// `|x| < 2^this`, up to a factor of 2; `None` for exact zero.
    pub(crate) fn magnitude(&self) -> Option<i64> {
        self.re.magnitude().max(self.im.magnitude())
    }

    pub(crate) fn neg(&self) -> Self {
        Self { re: self.re.neg(), im: self.im.neg() }
    }

    pub(crate) fn add(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        Ok(Self { re: self.re.add(&other.re, bits)?, im: self.im.add(&other.im, bits)? })
    }

    pub(crate) fn sub(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        self.add(&other.neg(), bits)
    }

    pub(crate) fn mul(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        if self.is_real() && other.is_real() {
            return Ok(Self::real(self.re.mul(&other.re, bits)?));
        }
        let re = self.re.mul(&other.re, bits)?.sub(&self.im.mul(&other.im, bits)?, bits)?;
        let im = self.re.mul(&other.im, bits)?.add(&self.im.mul(&other.re, bits)?, bits)?;
        Ok(Self { re, im })
    }

    pub(crate) fn div(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        if other.is_real() {
            let im = if self.is_real() { Ball::zero() } else { self.im.div(&other.re, bits)? };
            return Ok(Self { re: self.re.div(&other.re, bits)?, im });
        }
        let norm = other.re.mul(&other.re, bits)?.add(&other.im.mul(&other.im, bits)?, bits)?;
        let conjugate = Self { re: other.re.clone(), im: other.im.neg() };
        let product = self.mul(&conjugate, bits)?;
        Ok(Self { re: product.re.div(&norm, bits)?, im: product.im.div(&norm, bits)? })
    }

    pub(crate) fn abs(&self, bits: u64) -> Result<Self, Stop> {
        if self.is_real() {
            return Ok(Self::real(self.re.abs()));
        }
        let norm = self.re.mul(&self.re, bits)?.add(&self.im.mul(&self.im, bits)?, bits)?;
        Ok(Self::real(norm.sqrt(bits)?))
    }

    /// The integer power, by repeated squaring.
    pub(crate) fn powi(&self, exponent: i64, bits: u64, budget: &mut Budget) -> Result<Self, Stop> {
        let mut result = Self::integer(1);
        let mut square = self.clone();
        let mut left = exponent.unsigned_abs();
        while left > 0 {
            budget.spend_product(bits, 4 * bits)?;
            if left & 1 == 1 {
                result = result.mul(&square, bits)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.mul(&square, bits)?;
            }
        }
        if exponent < 0 { Self::integer(1).div(&result, bits) } else { Ok(result) }
    }

    pub(crate) fn exp(&self, precision: &mut Precision, budget: &mut Budget) -> Result<Self, Stop> {
        let size = precision.exp(&self.re, budget)?;
        if self.is_real() {
            return Ok(Self::real(size));
        }
        let (sin, cos) = precision.sin_cos(&self.im, budget)?;
        Ok(Self { re: size.mul(&cos, precision.bits)?, im: size.mul(&sin, precision.bits)? })
    }

    /// The principal logarithm: the imaginary part in (-pi, pi].
    pub(crate) fn ln(&self, precision: &mut Precision, budget: &mut Budget) -> Result<Self, Stop> {
        if self.is_exact_zero() {
            return Err(Stop::Undefined);
        }
        if self.is_real() {
            return match self.re.sign() {
                Some(Ordering::Less) => {
                    Ok(Self { re: precision.ln(&self.re.neg(), budget)?, im: precision.pi(budget)? })
                }
                _ => Ok(Self::real(precision.ln(&self.re, budget)?)),
            };
        }
        let bits = precision.bits;
        let norm = self.re.mul(&self.re, bits)?.add(&self.im.mul(&self.im, bits)?, bits)?;
        let re = precision.ln(&norm, budget)?.scaled(-1);
        Ok(Self { re, im: self.argument(precision, budget)? })
    }

    /// The angle of a number that is not real.
    fn argument(&self, precision: &mut Precision, budget: &mut Budget) -> Result<Ball, Stop> {
        let bits = precision.bits;
        match self.im.sign() {
            Some(upper) => {
                // Off the real axis: pi/2 - atan(re/im), or its mirror image.
                let half_pi = precision.pi(budget)?.scaled(-1);
                let turned = precision.atan(&self.re.div(&self.im, bits)?, budget)?;
                let half_pi = if upper == Ordering::Less { half_pi.neg() } else { half_pi };
                half_pi.sub(&turned, bits)
            }
            // On it, as far as one can tell: only to the right of 0 is that no matter.
            None if self.re.sign() == Some(Ordering::Greater) => precision.atan(&self.im.div(&self.re, bits)?, budget),
            None => Err(Stop::Imprecise),
        }
    }

    pub(crate) fn sqrt(&self, precision: &mut Precision, budget: &mut Budget) -> Result<Self, Stop> {
        if self.is_exact_zero() {
            return Ok(self.clone());
        }
        if self.is_real() {
            return match self.re.sign() {
                Some(Ordering::Less) => Ok(Self { re: Ball::zero(), im: self.re.neg().sqrt(precision.bits)? }),
                _ => Ok(Self::real(self.re.sqrt(precision.bits)?)),
            };
        }
        let half = self.ln(precision, budget)?;
        Self { re: half.re.scaled(-1), im: half.im.scaled(-1) }.exp(precision, budget)
    }

    /// `self^exponent`, the principal value.
    pub(crate) fn pow(&self, exponent: &Self, precision: &mut Precision, budget: &mut Budget) -> Result<Self, Stop> {
        if self.is_exact_zero() {
            return match exponent.re.sign() {
                Some(Ordering::Greater) => Ok(self.clone()),
                _ => Err(Stop::Undefined),
            };
        }
        self.ln(precision, budget)?.mul(exponent, precision.bits)?.exp(precision, budget)
    }

    /// Sine and cosine, through exponentials off the real axis.
    pub(crate) fn sin_cos(&self, precision: &mut Precision, budget: &mut Budget) -> Result<(Self, Self), Stop> {
        let bits = precision.bits;
        let (sin, cos) = precision.sin_cos(&self.re, budget)?;
        if self.is_real() {
            return Ok((Self::real(sin), Self::real(cos)));
        }
        let grown = precision.exp(&self.im, budget)?;
        let shrunk = Ball::integer(1).div(&grown, bits)?;
        let cosh = grown.add(&shrunk, bits)?.scaled(-1);
        let sinh = grown.sub(&shrunk, bits)?.scaled(-1);
        let sine = Self { re: sin.mul(&cosh, bits)?, im: cos.mul(&sinh, bits)? };
        let cosine = Self { re: cos.mul(&cosh, bits)?, im: sin.mul(&sinh, bits)?.neg() };
        Ok((sine, cosine))
    }
}
