//! Real balls: a midpoint `mid * 2^exp` and a radius `err * 2^exp`, with all rounding accounted for in `err`.
//!
//! The idea is Arb's (F. Johansson, "Arb: efficient arbitrary-precision midpoint-radius interval arithmetic", 2017). Here
//! the radius shares the midpoint's exponent, which keeps every operation plain integer arithmetic.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::Stop;

/// A radius has at most this many bits: more would be digits that say nothing.
const ERROR_BITS: u64 = 30;
/// Beyond 2^(2^40) nothing is computed.
const MAX_EXPONENT: i64 = 1 << 40;

/// A real number between `(mid - err) * 2^exp` and `(mid + err) * 2^exp`.
#[derive(Debug, Clone)]
pub(crate) struct Ball {
    mid: BigInt,
    err: u64,
    exp: i64,
}

impl Ball {
    pub(crate) fn zero() -> Self {
        Self { mid: BigInt::zero(), err: 0, exp: 0 }
    }

    pub(crate) fn integer(value: i64) -> Self {
        Self { mid: BigInt::from(value), err: 0, exp: 0 }
    }

    /// `mid * 2^exp`, give or take `err * 2^exp`, rounded to `bits` bits.
    pub(crate) fn new(mid: BigInt, err: BigUint, exp: i64, bits: u64) -> Result<Self, Stop> {
        let excess = mid.bits().saturating_sub(bits).max(err.bits().saturating_sub(ERROR_BITS));
        let (mid, err, exp) = if excess == 0 {
            (mid, err.to_u64().ok_or(Stop::Imprecise)?, exp)
        } else {
            let err = (err >> excess).to_u64().ok_or(Stop::Imprecise)? + 2;
            (mid >> excess, err, exp + excess as i64)
        };
        if exp.abs() > MAX_EXPONENT {
            return Err(Stop::Budget);
        }
        Ok(Self { mid, err, exp })
    }

    pub(crate) fn rational(value: &BigRational, bits: u64) -> Result<Self, Stop> {
        if value.denom().is_one() {
            return Self::new(value.numer().clone(), BigUint::zero(), 0, bits);
        }
        let shift = (bits + value.denom().bits()).saturating_sub(value.numer().bits()) + 2;
        let mid = (value.numer() << shift) / value.denom();
        Self::new(mid, BigUint::one(), -(shift as i64), bits)
    }

    pub(crate) fn is_exact_zero(&self) -> bool {
        self.mid.is_zero() && self.err == 0
    }

    pub(crate) fn contains_zero(&self) -> bool {
        self.mid.magnitude() <= &BigUint::from(self.err)
    }

    /// The sign, where the ball does not contain zero or is exactly zero.
    pub(crate) fn sign(&self) -> Option<Ordering> {
        if self.is_exact_zero() {
            Some(Ordering::Equal)
        } else if self.contains_zero() {
            None
        } else {
            Some(if self.mid.is_negative() { Ordering::Less } else { Ordering::Greater })
        }
    }

    /// The exponent of an upper bound: `|x| < 2^this`. `None` for exact zero.
    pub(crate) fn magnitude(&self) -> Option<i64> {
        if self.is_exact_zero() {
            return None;
        }
        let bits = (self.mid.magnitude() + self.err).bits();
        Some(self.exp + bits as i64)
    }

    /// The exponent of a bound on the radius; `None` where it is exact.
    pub(crate) fn radius_magnitude(&self) -> Option<i64> {
        (self.err > 0).then(|| self.exp + 64 - i64::from(self.err.leading_zeros()))
    }

    pub(crate) fn neg(&self) -> Self {
        Self { mid: -&self.mid, err: self.err, exp: self.exp }
    }

    pub(crate) fn abs(&self) -> Self {
        if self.contains_zero() && !self.is_exact_zero() {
            // From 0 to |mid| + err: the middle of it, rounded outwards.
            let top = self.mid.magnitude() + self.err;
            let half = (top + 1_u8) >> 1_u8;
            let err = half.to_u64().unwrap_or(u64::MAX);
            return Self { mid: BigInt::from(half), err, exp: self.exp };
        }
        Self { mid: self.mid.abs(), err: self.err, exp: self.exp }
    }

    pub(crate) fn add(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        if self.is_exact_zero() {
            return Ok(other.clone());
        }
        if other.is_exact_zero() {
            return Ok(self.clone());
        }
        let (fine, coarse) = if self.exp <= other.exp { (self, other) } else { (other, self) };
        let shift = (coarse.exp - fine.exp) as u64;
        if shift > 4 * bits + fine.mid.bits() + 64 {
            // The finer number lies far below the coarser one's last bit.
            let extra = 2 * bits + 8;
            let below = fine.exp + fine.mid.bits().max(64) as i64 + 1;
            if below < coarse.exp - extra as i64 {
                let err = (BigUint::from(coarse.err) << extra) + 1_u8;
                return Self::new(&coarse.mid << extra, err, coarse.exp - extra as i64, bits);
            }
        }
        if shift > 64 * bits + 4096 {
            return Err(Stop::Budget);
        }
        let mid = (&coarse.mid << shift) + &fine.mid;
        let err = (BigUint::from(coarse.err) << shift) + fine.err;
        Self::new(mid, err, fine.exp, bits)
    }

    pub(crate) fn sub(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        self.add(&other.neg(), bits)
    }

    pub(crate) fn mul(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        let err = self.mid.magnitude() * other.err
            + other.mid.magnitude() * self.err
            + BigUint::from(self.err) * BigUint::from(other.err);
        Self::new(&self.mid * &other.mid, err, self.exp + other.exp, bits)
    }

    pub(crate) fn div(&self, other: &Self, bits: u64) -> Result<Self, Stop> {
        if other.is_exact_zero() {
            return Err(Stop::DivisionByZero);
        }
        if other.contains_zero() {
            return Err(Stop::Imprecise);
        }
        let shift = (bits + other.mid.bits() + 2).saturating_sub(self.mid.bits());
        let scaled = &self.mid << shift;
        let mid = &scaled / &other.mid;
        // |a/b - a'/b'| <= (err_a + |a/b| err_b) / (|b| - err_b)
        let least = other.mid.magnitude() - other.err;
        let err =
            ((BigUint::from(self.err) << shift) + (mid.magnitude() + 1_u8) * other.err) / least + BigUint::from(2_u8);
        Self::new(mid, err, self.exp - other.exp - shift as i64, bits)
    }

    /// The square root of a ball that is not negative for certain.
    pub(crate) fn sqrt(&self, bits: u64) -> Result<Self, Stop> {
        match self.sign() {
            Some(Ordering::Equal) => return Ok(Self::zero()),
            Some(Ordering::Less) => return Err(Stop::Undefined),
            None => return Err(Stop::Imprecise),
            Some(Ordering::Greater) => {}
        }
        let mut shift = (2 * bits + 4).saturating_sub(self.mid.bits());
        if (self.exp - shift as i64) % 2 != 0 {
            shift += 1;
        }
        let scaled = self.mid.magnitude() << shift;
        let root = scaled.sqrt();
        // |sqrt(m +- e) - sqrt(m)| <= e / sqrt(m - e), and sqrt(m - e) >= floor of it.
        let err = if self.err == 0 {
            BigUint::one()
        } else {
            let error = BigUint::from(self.err) << shift;
            let least = (scaled - &error).sqrt();
            if least.is_zero() {
                return Err(Stop::Imprecise);
            }
            error / least + BigUint::from(2_u8)
        };
        Self::new(BigInt::from_biguint(Sign::Plus, root), err, (self.exp - shift as i64) / 2, bits)
    }

    /// The midpoint as an integer multiple of `2^-bits`, rounded down, and a bound on the radius in that unit.
    /// `None` where that integer would be too long.
    pub(crate) fn fixed(&self, bits: u64) -> Option<(BigInt, BigUint)> {
        let shift = self.exp + bits as i64;
        if shift > 1 << 20 {
            return None;
        }
        if shift >= 0 {
            Some((&self.mid << shift, BigUint::from(self.err) << shift))
        } else {
            let down = shift.unsigned_abs();
            Some((&self.mid >> down, (BigUint::from(self.err) >> down) + 2_u8))
        }
    }

    /// The value times `2^by`.
    pub(crate) fn scaled(&self, by: i64) -> Self {
        Self { mid: self.mid.clone(), err: self.err, exp: self.exp + by }
    }

    /// The largest integer that is not above the value; `None` where the ball does not decide it.
    pub(crate) fn floor(&self) -> Option<BigInt> {
        if self.exp > 1 << 20 {
            return None;
        }
        let (low, high) = (&self.mid - self.err, &self.mid + self.err);
        let whole = |value: BigInt| if self.exp >= 0 { value << self.exp } else { value >> self.exp.unsigned_abs() };
        let (low, high) = (whole(low), whole(high));
        (low == high).then_some(low)
    }

    /// Whether the value is less than, equal to or greater than the other; `None` where the balls meet.
    pub(crate) fn compare(&self, other: &Self, bits: u64) -> Option<Ordering> {
        self.sub(other, bits).ok()?.sign()
    }

    /// The midpoint alone, as if it were exact.
    pub(crate) fn midpoint(&self) -> Self {
        Self { mid: self.mid.clone(), err: 0, exp: self.exp }
    }

    /// The same midpoint with a radius that also covers `2^magnitude`.
    pub(crate) fn widened(&self, magnitude: Option<i64>, bits: u64) -> Result<Self, Stop> {
        let Some(magnitude) = magnitude else { return Ok(self.clone()) };
        let radius = Self { mid: BigInt::zero(), err: 1, exp: magnitude };
        self.add(&radius, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: u64 = 128;

    fn ratio(numerator: i64, denominator: i64) -> BigRational {
        BigRational::new(BigInt::from(numerator), BigInt::from(denominator))
    }

    fn ball(numerator: i64, denominator: i64) -> Ball {
        Ball::rational(&ratio(numerator, denominator), BITS).unwrap()
    }

    /// The ball holds the value, and is narrow.
    #[track_caller]
    fn check(result: &Ball, expected: &BigRational) {
        let exact = Ball::rational(expected, 4 * BITS).unwrap();
        let difference = result.sub(&exact, 4 * BITS).unwrap();
        assert!(difference.contains_zero(), "{result:?} does not hold {expected}");
        assert!(difference.magnitude().is_none_or(|size| size < -100), "{result:?} is wide");
    }

    #[test]
    fn the_four_operations_hold_the_exact_result() {
        for (a, b, c, d) in [(1, 3, 2, 7), (-5, 9, 1, 3), (22, 7, -355, 113), (1, 1_000_003, 999_983, 2)] {
            let (left, right) = (ratio(a, b), ratio(c, d));
            check(&ball(a, b).add(&ball(c, d), BITS).unwrap(), &(&left + &right));
            check(&ball(a, b).sub(&ball(c, d), BITS).unwrap(), &(&left - &right));
            check(&ball(a, b).mul(&ball(c, d), BITS).unwrap(), &(&left * &right));
            check(&ball(a, b).div(&ball(c, d), BITS).unwrap(), &(&left / &right));
        }
    }

    #[test]
    fn roots_and_order() {
        let root = ball(2, 1).sqrt(BITS).unwrap();
        check(&root.mul(&root, BITS).unwrap(), &ratio(2, 1));
        assert_eq!(ball(1, 3).compare(&ball(1, 2), BITS), Some(Ordering::Less));
        assert_eq!(ball(1, 3).compare(&ball(1, 3), BITS), None);
        assert_eq!(ball(7, 2).floor(), Some(BigInt::from(3)));
        assert_eq!(ball(-7, 2).floor(), Some(BigInt::from(-4)));
        assert_eq!(ball(-2, 1).sqrt(BITS).unwrap_err(), Stop::Undefined);
    }

    #[test]
    fn a_tiny_number_does_not_vanish() {
        let tiny = ball(1, 3).scaled(-100_000);
        let sum = ball(1, 3).add(&tiny, BITS).unwrap();
        assert!(sum.sub(&ball(1, 3), BITS).unwrap().contains_zero());
        assert_eq!(tiny.sign(), Some(Ordering::Greater));
        assert_eq!(tiny.compare(&tiny.scaled(-1), BITS), Some(Ordering::Greater));
    }
}
