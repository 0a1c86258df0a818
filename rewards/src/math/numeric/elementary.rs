//! Elementary functions of real balls: reduce the argument, sum a Taylor series in fixed point, widen by the bounds.
//!
//! Series run on integers scaled by `2^work`, with [`GUARD`] more bits than the result keeps. Each step of a series loses at
//! most two units, there are far fewer than 2^12 steps, and undoing a reduction by `k` halvings multiplies that by at most
//! 2^(2k+4); so 2^40 units bound the error of every kernel here with room to spare. An argument's own radius is carried
//! over by a bound on the derivative.

use num_bigint::{BigInt, BigUint};
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::{Budget, Stop};
use super::ball::Ball;

const GUARD: u64 = 64;
/// The error of a kernel, in units of its fixed point: `2^KERNEL_ERROR`.
const KERNEL_ERROR: u64 = 40;

/// How many bits results keep, and the constants at that precision, computed once.
#[derive(Debug)]
pub(crate) struct Precision {
    pub(crate) bits: u64,
    pi: Option<Ball>,
    ln2: Option<Ball>,
}

impl Precision {
    pub(crate) fn new(bits: u64) -> Self {
        Self { bits, pi: None, ln2: None }
    }

    fn work(&self) -> u64 {
        self.bits + GUARD
    }

    fn kernel_result(&self, value: BigInt, exp: i64) -> Result<Ball, Stop> {
        Ball::new(value, BigUint::one() << KERNEL_ERROR, exp, self.bits + GUARD)
    }

    /// What a series of full length costs.
    fn spend_series(&self, budget: &mut Budget) -> Result<(), Stop> {
        let words = self.work() / 64 + 1;
        budget.spend(self.work() / 2 * (20 + words * words / 4))
    }

    /// Machin's formula: pi = 16 atan(1/5) - 4 atan(1/239).
    pub(crate) fn pi(&mut self, budget: &mut Budget) -> Result<Ball, Stop> {
        if self.pi.is_none() {
            self.spend_series(budget)?;
            let work = self.work() + GUARD;
            let sum = inverse_series(5, work, true) * 16 - inverse_series(239, work, true) * 4;
            self.pi = Some(self.kernel_result(sum, -(work as i64))?);
        }
        self.pi.clone().ok_or(Stop::Unsupported)
    }

    /// ln 2 = 18 atanh(1/26) - 2 atanh(1/4801) + 8 atanh(1/8749).
    fn ln2(&mut self, budget: &mut Budget) -> Result<Ball, Stop> {
        if self.ln2.is_none() {
            self.spend_series(budget)?;
            let work = self.work() + GUARD;
            let sum = inverse_series(26, work, false) * 18 - inverse_series(4801, work, false) * 2
                + inverse_series(8749, work, false) * 8;
            self.ln2 = Some(self.kernel_result(sum, -(work as i64))?);
        }
        self.ln2.clone().ok_or(Stop::Unsupported)
    }

    pub(crate) fn exp(&mut self, x: &Ball, budget: &mut Budget) -> Result<Ball, Stop> {
        if x.is_exact_zero() {
            return Ok(Ball::integer(1));
        }
        if x.magnitude().is_some_and(|size| size > 40) {
            return Err(Stop::Budget);
        }
        if x.radius_magnitude().is_some_and(|size| size > -2) {
            return Err(Stop::Imprecise);
        }
        self.spend_series(budget)?;
        let work = self.work();
        let middle = x.midpoint();
        let ln2 = self.ln2(budget)?;
        let (ln2_fixed, _) = ln2.fixed(work + GUARD).ok_or(Stop::Budget)?;
        let (fixed, _) = middle.fixed(work + GUARD).ok_or(Stop::Budget)?;
        // x = n ln 2 + r: n has at most 41 bits, so n ln 2 is good to work + GUARD - 41 bits.
        let n = floor_div(&fixed, &ln2_fixed);
        let r = (fixed - &n * ln2_fixed) >> GUARD;
        let n = n.to_i64().ok_or(Stop::Budget)?;
        let value = self.kernel_result(exp_series(&r, work), -(work as i64))?.scaled(n);
        // |e^(x+d) - e^x| <= e^x * 2|d| for |d| <= 1/4... and e^x < 2^magnitude.
        let radius = x.radius_magnitude().and_then(|size| value.magnitude().map(|top| top + size + 1));
        value.widened(radius, self.bits)
    }

    pub(crate) fn ln(&mut self, x: &Ball, budget: &mut Budget) -> Result<Ball, Stop> {
        match x.sign() {
            Some(std::cmp::Ordering::Greater) => {}
            None => return Err(Stop::Imprecise),
            _ => return Err(Stop::Undefined),
        }
        self.spend_series(budget)?;
        let work = self.work();
        let middle = x.midpoint();
        let k = middle.magnitude().ok_or(Stop::Undefined)?;
        let (mantissa, _) = middle.scaled(-k).fixed(work).ok_or(Stop::Budget)?;
        let part = self.kernel_result(ln_series(mantissa, work), -(work as i64))?;
        let ln2 = self.ln2(budget)?;
        let whole = ln2.mul(&Ball::integer(k), self.bits + GUARD)?;
        let value = whole.add(&part, self.bits + GUARD)?;
        // |ln(x+d) - ln x| <= |d| / (x - |d|); the ball does not hold 0, so x - |d| >= 2^(its lowest bit).
        let radius = match x.radius_magnitude() {
            None => None,
            Some(size) => {
                if size >= k - 2 {
                    return Err(Stop::Imprecise);
                }
                Some(size - k + 2)
            }
        };
        value.widened(radius, self.bits)
    }

    /// Sine and cosine.
    pub(crate) fn sin_cos(&mut self, x: &Ball, budget: &mut Budget) -> Result<(Ball, Ball), Stop> {
        if x.is_exact_zero() {
            return Ok((Ball::zero(), Ball::integer(1)));
        }
        let size = x.magnitude().unwrap_or(0);
        if size > 4096 {
            return Err(Stop::Budget);
        }
        self.spend_series(budget)?;
        let work = self.work();
        let extra = size.max(0) as u64;
        let (half_pi, _) = if extra > GUARD / 2 {
            let mut finer = Self::new(self.bits + extra);
            finer.pi(budget)?.scaled(-1).fixed(work + extra + GUARD).ok_or(Stop::Budget)?
        } else {
            self.pi(budget)?.scaled(-1).fixed(work + extra + GUARD).ok_or(Stop::Budget)?
        };
        let (fixed, _) = x.midpoint().fixed(work + extra + GUARD).ok_or(Stop::Budget)?;
        let n = floor_div(&(&fixed * 2 + &half_pi), &(&half_pi * 2));
        let r = (fixed - &n * half_pi) >> (extra + GUARD);
        let (sin, cos) = sin_cos_series(&r, work);
        let quarter = (&n & BigInt::from(3)).to_u8().unwrap_or(0);
        let (sin, cos) = match quarter {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        };
        let exp = -(work as i64);
        let radius = x.radius_magnitude();
        let sin = self.kernel_result(sin, exp)?.widened(radius, self.bits)?;
        let cos = self.kernel_result(cos, exp)?.widened(radius, self.bits)?;
        Ok((sin, cos))
    }

    pub(crate) fn atan(&mut self, x: &Ball, budget: &mut Budget) -> Result<Ball, Stop> {
        if x.is_exact_zero() {
            return Ok(Ball::zero());
        }
        self.spend_series(budget)?;
        let work = self.work();
        let middle = x.midpoint();
        let value = if middle.magnitude().is_some_and(|size| size > 1) {
            let inverse = Ball::integer(1).div(&middle, self.bits + GUARD)?;
            let (fixed, _) = inverse.fixed(work).ok_or(Stop::Budget)?;
            let small = self.kernel_result(atan_series(fixed, work), -(work as i64))?;
            let quarter_turn = self.pi(budget)?.scaled(-1);
            let quarter_turn =
                if inverse.sign() == Some(std::cmp::Ordering::Less) { quarter_turn.neg() } else { quarter_turn };
            quarter_turn.sub(&small, self.bits + GUARD)?
        } else {
            let (fixed, _) = middle.fixed(work).ok_or(Stop::Budget)?;
            self.kernel_result(atan_series(fixed, work), -(work as i64))?
        };
        value.widened(x.radius_magnitude(), self.bits)
    }
}

fn floor_div(a: &BigInt, b: &BigInt) -> BigInt {
    let quotient = a / b;
    if (a % b).is_negative() != b.is_negative() && !(a % b).is_zero() { quotient - 1 } else { quotient }
}

/// atan(1/n) where `alternating`, else atanh(1/n), times 2^work.
fn inverse_series(n: u32, work: u64, alternating: bool) -> BigInt {
    let square = BigInt::from(u64::from(n) * u64::from(n));
    let mut power = (BigInt::one() << work) / n;
    let mut sum = power.clone();
    let mut k = 1_u32;
    loop {
        power /= &square;
        if power.is_zero() {
            return sum;
        }
        let term = &power / (2 * k + 1);
        if alternating && k % 2 == 1 {
            sum -= term;
        } else {
            sum += term;
        }
        k += 1;
    }
}

/// e^r for 0 <= r < 1: Taylor at r / 2^k, then k squarings.
fn exp_series(r: &BigInt, work: u64) -> BigInt {
    const HALVINGS: u64 = 8;
    let small = r >> HALVINGS;
    let one = BigInt::one() << work;
    let mut sum = &one + &small;
    let mut term = small.clone();
    let mut n = 2_u32;
    loop {
        term = ((term * &small) >> work) / n;
        if term.magnitude() <= &BigUint::one() {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..HALVINGS {
        sum = (&sum * &sum) >> work;
    }
    sum
}

/// ln m for 1/2 <= m < 1, both times 2^work: k square roots bring it near 1, where atanh converges fast.
fn ln_series(mantissa: BigInt, work: u64) -> BigInt {
    const ROOTS: u64 = 8;
    let one = BigInt::one() << work;
    let mut near = mantissa;
    for _ in 0..ROOTS {
        near = (near << work).sqrt();
    }
    let y = ((&near - &one) << work) / (&near + &one);
    let square = (&y * &y) >> work;
    let mut power = y.clone();
    let mut sum = y;
    let mut k = 1_u32;
    loop {
        power = (power * &square) >> work;
        if power.magnitude() <= &BigUint::one() {
            break;
        }
        sum += &power / (2 * k + 1);
        k += 1;
    }
    sum << (ROOTS + 1)
}

/// Sine and cosine of |r| < 1.
fn sin_cos_series(r: &BigInt, work: u64) -> (BigInt, BigInt) {
    let one = BigInt::one() << work;
    let (mut sin, mut cos) = (r.clone(), one);
    let mut term = r.clone();
    let mut n = 2_u32;
    loop {
        term = ((term * r) >> work) / n;
        if term.magnitude() <= &BigUint::one() {
            return (sin, cos);
        }
        match n % 4 {
            0 => cos += &term,
            1 => sin += &term,
            2 => cos -= &term,
            _ => sin -= &term,
        }
        n += 1;
    }
}

/// atan of |x| <= 2: three halvings of the angle, then Taylor.
fn atan_series(x: BigInt, work: u64) -> BigInt {
    const HALVINGS: u64 = 3;
    let one = BigInt::one() << work;
    let mut x = x;
    for _ in 0..HALVINGS {
        let root = ((&one << work) + &x * &x).sqrt();
        x = (x << work) / (&one + root);
    }
    let square = (&x * &x) >> work;
    let mut power = x.clone();
    let mut sum = x;
    let mut k = 1_u32;
    loop {
        power = (power * &square) >> work;
        if power.magnitude() <= &BigUint::one() {
            return sum << HALVINGS;
        }
        let term = &power / (2 * k + 1);
        if k % 2 == 1 {
            sum -= term;
        } else {
            sum += term;
        }
        k += 1;
    }
}

#[cfg(test)]
mod tests {
    use num_rational::BigRational;

    use super::*;

    /// Digits from mpmath 1.3.0: `mp.dps = 60; nstr(f(x), 48)`.
    #[track_caller]
    fn check(
        name: &str,
        function: impl Fn(&mut Precision, &Ball, &mut Budget) -> Result<Ball, Stop>,
        x: (i64, i64),
        digits: &str,
    ) {
        let mut budget = Budget::new(u64::MAX);
        let mut precision = Precision::new(160);
        let x = Ball::rational(&BigRational::new(x.0.into(), x.1.into()), 160).unwrap();
        let value = function(&mut precision, &x, &mut budget).unwrap();
        let places = digits.split_once('.').map_or(0, |(_, places)| places.len() as u32);
        let scaled: BigInt = digits.replace('.', "").parse().unwrap();
        let expected = Ball::rational(&BigRational::new(scaled, BigInt::from(10).pow(places)), 400).unwrap();
        let difference = value.sub(&expected, 400).unwrap();
        assert!(difference.magnitude().is_none_or(|size| size < -115), "{name} {x:?}: {value:?}");
        assert!(value.radius_magnitude().is_some_and(|size| size < -115), "{name} is wide");
    }

    #[test]
    fn values_of_mpmath() {
        check("pi", |p, _, b| p.pi(b), (0, 1), "3.1415926535897932384626433832795028841971693993751");
        check("exp", Precision::exp, (1, 1), "2.7182818284590452353602874713526624977572470937");
        check("exp", Precision::exp, (-7, 2), "0.0301973834223185007397862923636198450716605322477");
        check("exp", Precision::exp, (25, 1), "72004899337.3858725241613514661261579152235338134");
        check("ln", Precision::ln, (2, 1), "0.69314718055994530941723212145817656807550013436");
        check("ln", Precision::ln, (1, 1000), "-6.90775527898213705205397436405309262280330446589");
        check("ln", Precision::ln, (3, 2), "0.405465108108164381978013115464349136571990423462");
        check("atan", Precision::atan, (1, 1), "0.785398163397448309615660845819875721049292349844");
        check("atan", Precision::atan, (-10, 1), "-1.47112767430373459185287557176173085185530637718");
        check(
            "sin",
            |p, x, b| p.sin_cos(x, b).map(|(sin, _)| sin),
            (1, 1),
            "0.841470984807896506652502321630298999622563060798",
        );
        check(
            "cos",
            |p, x, b| p.sin_cos(x, b).map(|(_, cos)| cos),
            (1, 1),
            "0.540302305868139717400936607442976603732310420618",
        );
        check(
            "sin",
            |p, x, b| p.sin_cos(x, b).map(|(sin, _)| sin),
            (1000, 1),
            "0.826879540532002560255887429109218141212724967848",
        );
        check(
            "cos",
            |p, x, b| p.sin_cos(x, b).map(|(_, cos)| cos),
            (-22, 7),
            "-0.999999200533552903268335739656574951575828820661",
        );
    }

    #[test]
    fn identities_hold_within_the_balls() {
        let mut budget = Budget::new(u64::MAX);
        let mut p = Precision::new(256);
        for (n, d) in [(1, 7), (-3, 5), (19, 4), (-1001, 10)] {
            let x = Ball::rational(&BigRational::new(BigInt::from(n), BigInt::from(d)), 256).unwrap();
            let e = p.exp(&x, &mut budget).unwrap();
            let back = p.ln(&e, &mut budget).unwrap().sub(&x, 256).unwrap();
            assert!(back.contains_zero() && back.magnitude().is_none_or(|size| size < -200), "{back:?}");
            let (sin, cos) = p.sin_cos(&x, &mut budget).unwrap();
            let one = sin.mul(&sin, 256).unwrap().add(&cos.mul(&cos, 256).unwrap(), 256).unwrap();
            let rest = one.sub(&Ball::integer(1), 256).unwrap();
            assert!(rest.contains_zero() && rest.magnitude().is_none_or(|size| size < -200), "{rest:?}");
        }
    }
}
