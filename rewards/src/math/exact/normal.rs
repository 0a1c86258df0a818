//! From an expression to its normal form, a quotient of polynomials over atoms.
//!
//! What has a rule becomes generators that obey it: radicals of whole numbers become prime powers, logarithms of rationals
//! sums of logarithms of primes, exponentials products of powers, factorials one factorial and a product. What has no rule
//! becomes an opaque generator, named by the normal form of its arguments. A difference that normalises to 0 is 0; one that
//! does not differs for certain only where its generators are independent ([`Normalizer::decides`]).

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::{Budget, Stop};
use super::super::node::{Constant, Function, Node};
use super::polynomial::{Atom, Exponent, Fraction, Monomial, Polynomial, reduce};
use super::rational::{call as divisor_or_multiple, divide, integer, power, rational};

/// Primes are looked for up to this.
const TRIAL_LIMIT: u64 = 4096;

/// Makes normal forms, within a budget.
pub(crate) struct Normalizer<'b> {
    pub(crate) budget: &'b mut Budget,
}

impl Normalizer<'_> {
    /// Whether a normal form that is not 0 proves that the value, or the function, is not 0: all its generators are
    /// algebraically independent of each other, or obey the relations that are built in.
    pub(crate) fn decides(&self, fraction: &Fraction) -> bool {
        let mut transcendental = [false; 2];
        let independent = fraction.numerator.atoms().all(|(atom, exponent)| match atom {
            Atom::Imaginary => exponent.is_integer(),
            Atom::Prime(_) | Atom::Symbol(_) => true,
            Atom::Pi => {
                transcendental[0] = true;
                true
            }
            Atom::Euler => {
                transcendental[1] = true;
                true
            }
            Atom::Opaque(_) => false,
        });
        // Whether pi and e are independent of each other is an open question.
        independent && transcendental != [true, true]
    }

    pub(crate) fn normalize(&mut self, node: &Node) -> Result<Fraction, Stop> {
        self.budget.spend(80)?;
        Ok(match node {
            Node::Number(literal) => Fraction::constant(literal.value.clone()),
            Node::Symbol(name) => Fraction::atom(Atom::Symbol(name.clone())),
            Node::Constant(Constant::Pi) => Fraction::atom(Atom::Pi),
            Node::Constant(Constant::E) => Fraction::atom(Atom::Euler),
            Node::Constant(Constant::I) => Fraction::atom(Atom::Imaginary),
            Node::Sum(items) => {
                let mut sum = Fraction::constant(BigRational::zero());
                for item in items {
                    let item = self.normalize(item)?;
                    sum = sum.add(&item, self.budget)?;
                }
                sum
            }
            Node::Product(items) => {
                let mut product = Fraction::constant(BigRational::one());
                for item in items {
                    let item = self.normalize(item)?;
                    product = product.mul(&item, self.budget)?;
                }
                product
            }
            Node::Inverse(inner) => self.normalize(inner)?.inverse(self.budget)?,
            Node::Percent(inner) => {
                let hundredth = Fraction::constant(BigRational::new(BigInt::one(), BigInt::from(100)));
                self.normalize(inner)?.mul(&hundredth, self.budget)?
            }
            Node::Degrees(inner) => {
                let degree = BigRational::new(BigInt::one(), BigInt::from(180));
                let degree = Fraction::constant(degree).mul(&Fraction::atom(Atom::Pi), self.budget)?;
                self.normalize(inner)?.mul(&degree, self.budget)?
            }
            Node::Power(base, exponent) => self.power(base, exponent)?,
            Node::Call(function, arguments) => self.call(*function, arguments, node)?,
            Node::Apply(name, arguments) => self.opaque(&format!("apply {name}"), arguments)?,
            Node::Based(..) => self.rational(node)?.map(Fraction::constant).ok_or(Stop::Unsupported)?,
            _ => return Err(Stop::Unsupported),
        })
    }

    fn rational(&mut self, node: &Node) -> Result<Option<BigRational>, Stop> {
        rational(node, &mut Vec::new(), self.budget)
    }

    /// A generator named by what it stands for.
    fn opaque(&mut self, name: &str, arguments: &[Node]) -> Result<Fraction, Stop> {
        let mut key = name.to_owned();
        for argument in arguments {
            let normal = self.normalize(argument)?;
            key.push(';');
            key.push_str(&normal.key(self.budget)?);
        }
        Ok(Fraction::atom(Atom::Opaque(key)))
    }

    fn power(&mut self, base: &Node, exponent: &Node) -> Result<Fraction, Stop> {
        if let Some(exponent) = self.rational(exponent)? {
            if let Some(whole) = integer(&exponent) {
                let base = self.normalize(base)?;
                return base.pow(whole, self.budget);
            }
            if exponent.is_integer() {
                return Err(Stop::Budget);
            }
            let (Some(top), Some(bottom)) = (exponent.numer().to_i64(), exponent.denom().to_i64()) else {
                return Err(Stop::Budget);
            };
            if top.abs() > 10_000 || bottom > 1000 {
                return Err(Stop::Budget);
            }
            let base = self.normalize(base)?;
            return self.root(&base, Exponent::new(top, bottom));
        }
        self.exponential(base, exponent)
    }

    /// A power with a constant exponent that is no whole number.
    fn root(&mut self, base: &Fraction, exponent: Exponent) -> Result<Fraction, Stop> {
        if let Some(value) = base.as_constant(self.budget)? {
            if value.is_zero() {
                return if exponent.is_positive() { Ok(base.clone()) } else { Err(Stop::DivisionByZero) };
            }
            let magnitude = self.radical(&value.abs(), exponent)?;
            if value.is_positive() {
                return Ok(magnitude);
            }
            return match exponent.denom() {
                2 => {
                    let turned = reduce(&Atom::Imaginary, Exponent::from_integer(*exponent.numer()), self.budget)?;
                    let unit = Polynomial::atom(Atom::Imaginary, Exponent::one());
                    let unit = unit.scaled(&turned.1.unwrap_or_else(BigRational::one), self.budget)?;
                    magnitude.mul(&Fraction::polynomial(unit), self.budget)
                }
                // The real root of a negative number.
                odd if odd % 2 == 1 => Ok(if exponent.numer() % 2 == 0 { magnitude } else { magnitude.neg() }),
                _ => Ok(self.opaque_power(base, exponent)?),
            };
        }
        // A product of positive constants, and at most one symbol to the first power.
        if let (Some(top), Some(bottom)) = (single(&base.numerator), single(&base.denominator)) {
            let symbols =
                top.0.iter().chain(bottom.0).filter(|(atom, _)| !is_positive_constant(atom)).collect::<Vec<_>>();
            let simple = match symbols.as_slice() {
                [] => true,
                [(Atom::Symbol(_), power)] => power.is_one() || power.recip() == exponent && !power.is_integer(),
                _ => false,
            };
            if simple && top.1.is_positive() && bottom.1.is_positive() {
                let quotient = divide(top.1, bottom.1, self.budget)?;
                let coefficient = self.radical(&quotient, exponent)?;
                let top = self.monomial_power(top.0, exponent)?;
                let bottom = self.monomial_power(bottom.0, exponent)?;
                return coefficient.mul(&top, self.budget)?.mul(&bottom.inverse(self.budget)?, self.budget);
            }
        }
        self.opaque_power(base, exponent)
    }

    fn opaque_power(&mut self, base: &Fraction, exponent: Exponent) -> Result<Fraction, Stop> {
        let key = base.key(self.budget)?;
        Ok(Fraction::atom(Atom::Opaque(format!("power {exponent};{key}"))))
    }

    fn monomial_power(&mut self, monomial: &Monomial, exponent: Exponent) -> Result<Fraction, Stop> {
        let mut product = Fraction::constant(BigRational::one());
        for (atom, own) in monomial {
            let (left, given) = reduce(atom, own * exponent, self.budget)?;
            let mut factor = if left.is_zero() {
                Polynomial::constant(BigRational::one())
            } else {
                Polynomial::atom(atom.clone(), left)
            };
            if let Some(given) = given {
                factor = factor.scaled(&given, self.budget)?;
            }
            product = product.mul(&Fraction::polynomial(factor), self.budget)?;
        }
        Ok(product)
    }

    /// A root of a positive rational number, over primes.
    fn radical(&mut self, value: &BigRational, exponent: Exponent) -> Result<Fraction, Stop> {
        if value.is_one() {
            return Ok(Fraction::constant(BigRational::one()));
        }
        let ratio = BigRational::new(BigInt::from(*exponent.numer()), BigInt::from(*exponent.denom()));
        if let Some(exact) = power(value, &ratio, self.budget)? {
            return Ok(Fraction::constant(exact));
        }
        let mut product = Polynomial::constant(BigRational::one());
        for (number, sign) in [(value.numer(), 1), (value.denom(), -1)] {
            let Some(primes) = self.factor(number)? else {
                return self.opaque_power(&Fraction::constant(value.clone()), exponent);
            };
            for (prime, count) in primes {
                let (left, given) =
                    reduce(&Atom::Prime(prime), exponent * Exponent::from_integer(sign * count), self.budget)?;
                if !left.is_zero() {
                    product = product.mul(&Polynomial::atom(Atom::Prime(prime), left), self.budget)?;
                }
                if let Some(given) = given {
                    product = product.scaled(&given, self.budget)?;
                }
            }
        }
        Ok(Fraction::polynomial(product))
    }

    /// The prime factors of a positive number; `None` where they are too large to be found.
    fn factor(&mut self, number: &BigInt) -> Result<Option<Vec<(u64, i64)>>, Stop> {
        let Some(mut left) = number.to_u64().filter(|value| *value < 1 << 48) else { return Ok(None) };
        let mut factors = Vec::new();
        let mut prime = 2_u64;
        while prime * prime <= left {
            if prime > TRIAL_LIMIT {
                return Ok(None);
            }
            self.budget.spend(1)?;
            let mut count = 0;
            while left % prime == 0 {
                left /= prime;
                count += 1;
            }
            if count > 0 {
                factors.push((prime, count));
            }
            prime += if prime == 2 { 1 } else { 2 };
        }
        if left > 1 {
            factors.push((left, 1));
        }
        Ok(Some(factors))
    }

    /// `base^exponent` with an exponent that is no constant: `a^(x + 1)` is `a a^x`, `a^(2x)` the square of `a^x`.
    fn exponential(&mut self, base: &Node, exponent: &Node) -> Result<Fraction, Stop> {
        let exponent = self.normalize(exponent)?;
        let Some(scale) = exponent.denominator.as_constant() else {
            let (base, exponent) = (self.normalize(base)?.key(self.budget)?, exponent.key(self.budget)?);
            return Ok(Fraction::atom(Atom::Opaque(format!("exp {base};{exponent}"))));
        };
        let generators: Vec<(String, Option<Atom>, i64)> = if *base == Node::Constant(Constant::E) {
            vec![("e".to_owned(), Some(Atom::Euler), 1)]
        } else {
            let normal = self.normalize(base)?;
            match normal.as_constant(self.budget)?.filter(Signed::is_positive) {
                Some(value) => {
                    let mut generators = Vec::new();
                    for (number, sign) in [(value.numer(), 1), (value.denom(), -1)] {
                        match self.factor(number)? {
                            Some(primes) => generators.extend(
                                primes
                                    .into_iter()
                                    .map(|(p, count)| (format!("#{p}"), Some(Atom::Prime(p)), sign * count)),
                            ),
                            None => generators.push((number.to_string(), None, sign)),
                        }
                    }
                    generators
                }
                None => {
                    let whole = normal.numerator.atoms().count() == 1 && normal.denominator.is_one();
                    let atom = normal.numerator.atoms().next().map(|(atom, _)| atom.clone()).filter(|_| whole);
                    let atom = atom.filter(|atom| normal == Fraction::atom(atom.clone()));
                    vec![(normal.key(self.budget)?, atom, 1)]
                }
            }
        };
        let mut product = Fraction::constant(BigRational::one());
        for (monomial, coefficient) in &exponent.numerator.terms {
            let coefficient = divide(coefficient, &scale, self.budget)?;
            let (Some(top), Some(bottom)) = (coefficient.numer().to_i64(), coefficient.denom().to_i64()) else {
                return Err(Stop::Budget);
            };
            if top.abs() > 10_000 || bottom > 1000 {
                return Err(Stop::Budget);
            }
            for (name, atom, count) in &generators {
                let power = Exponent::new(top, bottom) * Exponent::from_integer(*count);
                let factor = match (monomial.is_empty(), atom) {
                    (true, Some(atom)) => self.monomial_power(&vec![(atom.clone(), Exponent::one())], power)?,
                    _ => {
                        let mut one = Polynomial::default();
                        one.terms.insert(monomial.clone(), BigRational::one());
                        let key = format!("exp {name};{}", one.key(self.budget)?);
                        let whole = power;
                        let positive = Polynomial::atom(Atom::Opaque(key), whole.abs());
                        let factor = Fraction::polynomial(positive);
                        if whole.is_negative() { factor.inverse(self.budget)? } else { factor }
                    }
                };
                product = product.mul(&factor, self.budget)?;
            }
        }
        Ok(product)
    }

    fn call(&mut self, function: Function, arguments: &[Node], node: &Node) -> Result<Fraction, Stop> {
        use Function as F;
        if let Some(value) = self.rational(node)? {
            return Ok(Fraction::constant(value));
        }
        match (function, arguments) {
            (F::Exp, [x]) => self.exponential(&Node::Constant(Constant::E), x).or_else(|stop| match stop {
                Stop::Unsupported => Err(stop),
                _ => self.opaque("exp", arguments),
            }),
            (F::Log, [x, base]) => {
                let (top, bottom) = (self.ln(x)?, self.ln(base)?);
                top.mul(&bottom.inverse(self.budget)?, self.budget)
            }
            (F::Abs, [x]) => {
                // |-x| is |x|.
                let normal = self.normalize(x)?;
                if let Some(value) = normal.as_constant(self.budget)? {
                    return Ok(Fraction::constant(value.abs()));
                }
                let (one, other) = (normal.key(self.budget)?, normal.neg().key(self.budget)?);
                Ok(Fraction::atom(Atom::Opaque(format!("abs;{}", one.max(other)))))
            }
            (F::Factorial, [n]) => {
                let normal = self.normalize(n)?;
                self.factorial(&normal)
            }
            (F::Binomial, [n, k]) => self.binomial(n, k),
            (F::Gcd | F::Lcm, _) if let Some(measure) = self.common_measure(function, arguments)? => Ok(measure),
            (F::Gcd | F::Lcm | F::Max | F::Min, _) => {
                let mut keys = Vec::new();
                for argument in arguments {
                    let normal = self.normalize(argument)?;
                    keys.push(normal.key(self.budget)?);
                }
                keys.sort();
                keys.dedup();
                if let ([_], Some(first)) = (keys.as_slice(), arguments.first()) {
                    return self.normalize(first);
                }
                Ok(Fraction::atom(Atom::Opaque(format!("{function:?};{}", keys.join(";")))))
            }
            (
                F::Integral | F::Limit | F::Sum | F::Product | F::Derivative,
                [body, Node::Symbol(variable), rest @ ..],
            ) => {
                // The name of a bound variable says nothing, but for an integral without bounds.
                let bound = if function == F::Derivative || function == F::Integral && rest.is_empty() {
                    Node::Symbol(variable.clone())
                } else {
                    Node::Symbol("\u{1}bound".to_owned())
                };
                let mut parts = vec![body.substitute(variable, &bound), bound];
                for part in rest {
                    // An infinite bound has no normal form, but a name.
                    parts.push(name_infinity(part));
                }
                self.opaque(&format!("{function:?}"), &parts)
            }
            (F::Determinant | F::Transpose, _) => Err(Stop::Unsupported),
            _ => self.opaque(&format!("{function:?}"), arguments),
        }
    }

    /// The greatest common measure, or the least common multiple, of multiples of one quantity: `gcd(4x, 6x)` is `2x`.
    /// Constants without a common measure count as in SymPy: their coefficients have a greatest, and their least common
    /// multiple is a product, so `gcd(pi, 3)` is 1 and `lcm(2 pi, 6)` is `6 pi`.
    fn common_measure(&mut self, function: Function, arguments: &[Node]) -> Result<Option<Fraction>, Stop> {
        let mut coefficients = Vec::with_capacity(arguments.len());
        let mut quantities: Vec<Monomial> = Vec::new();
        for argument in arguments {
            let normal = self.normalize(argument)?;
            let Some(divisor) = normal.denominator.as_constant().filter(|value| !value.is_zero()) else {
                return Ok(None);
            };
            let Some((monomial, coefficient)) = single(&normal.numerator) else { return Ok(None) };
            coefficients.push(divide(coefficient, &divisor, self.budget)?);
            if !quantities.contains(monomial) {
                quantities.push(monomial.clone());
            }
        }
        if quantities.len() > 1 && !quantities.iter().flatten().all(|(atom, _)| is_positive_constant(atom)) {
            return Ok(None);
        }
        let Some(coefficient) = divisor_or_multiple(function, &coefficients, self.budget)? else { return Ok(None) };
        let mut product = Fraction::constant(coefficient);
        if function == Function::Lcm || quantities.len() == 1 {
            for monomial in quantities {
                let mut factor = Polynomial::default();
                factor.terms.insert(monomial, BigRational::one());
                product = product.mul(&Fraction::polynomial(factor), self.budget)?;
            }
        }
        Ok(Some(product))
    }

    /// The natural logarithm: of a rational, a sum over primes; of e^x, x; else opaque.
    fn ln(&mut self, node: &Node) -> Result<Fraction, Stop> {
        if *node == Node::Constant(Constant::E) {
            return Ok(Fraction::constant(BigRational::one()));
        }
        let normal = self.normalize(node)?;
        let Some(value) = normal.as_constant(self.budget)? else {
            let key = normal.key(self.budget)?;
            return Ok(Fraction::atom(Atom::Opaque(format!("ln;{key}"))));
        };
        if value.is_zero() {
            return Err(Stop::Undefined);
        }
        if value.is_negative() {
            return self.opaque("ln", std::slice::from_ref(node));
        }
        let mut sum = Polynomial::default();
        for (number, sign) in [(value.numer(), 1), (value.denom(), -1)] {
            let Some(primes) = self.factor(number)? else { return self.opaque("ln", std::slice::from_ref(node)) };
            for (prime, count) in primes {
                let term = Polynomial::atom(Atom::Opaque(format!("ln;{prime}")), Exponent::one())
                    .scaled(&BigRational::from_integer((sign * count).into()), self.budget)?;
                sum = sum.add(&term, self.budget)?;
            }
        }
        Ok(Fraction::polynomial(sum))
    }

    /// `(m + k)!` is `m! (m + 1) ... (m + k)`, for the part `m` without a constant.
    fn factorial(&mut self, normal: &Fraction) -> Result<Fraction, Stop> {
        let shift = normal.numerator.terms.get(&Monomial::new()).cloned().unwrap_or_default();
        let whole = normal.denominator.as_constant().ok_or(Stop::Unsupported)?;
        let shift = divide(&shift, &whole, self.budget)?;
        let Some(shift) = integer(&shift).filter(|shift| shift.abs() <= 20) else { return Err(Stop::Unsupported) };
        let base = normal.add(&Fraction::constant(BigRational::from_integer((-shift).into())), self.budget)?;
        let key = base.key(self.budget)?;
        let mut product = Fraction::atom(Atom::Opaque(format!("factorial;{key}")));
        for step in 0..shift.abs() {
            let offset = if shift > 0 { step + 1 } else { -step };
            let factor = base.add(&Fraction::constant(BigRational::from_integer(offset.into())), self.budget)?;
            let factor = if shift > 0 { factor } else { factor.inverse(self.budget)? };
            product = product.mul(&factor, self.budget)?;
        }
        Ok(product)
    }

    fn binomial(&mut self, n: &Node, k: &Node) -> Result<Fraction, Stop> {
        let top = self.normalize(n)?;
        if let Some(count) = self.rational(k)?.as_ref().and_then(integer).filter(|count| (0..=20).contains(count)) {
            let mut product = Fraction::constant(BigRational::one());
            for step in 0..count {
                let factor = top.add(&Fraction::constant(BigRational::from_integer((-step).into())), self.budget)?;
                let divisor = BigRational::new(BigInt::one(), BigInt::from(step + 1));
                product = product.mul(&factor, self.budget)?.mul(&Fraction::constant(divisor), self.budget)?;
            }
            return Ok(product);
        }
        let bottom = self.normalize(k)?;
        let rest = top.add(&bottom.neg(), self.budget)?;
        let below = self.factorial(&bottom)?.mul(&self.factorial(&rest)?, self.budget)?;
        self.factorial(&top)?.mul(&below.inverse(self.budget)?, self.budget)
    }
}

/// Infinity as a symbol that nobody writes.
fn name_infinity(node: &Node) -> Node {
    match node {
        Node::Constant(Constant::Infinity) => Node::Symbol("\u{1}infinity".to_owned()),
        Node::Product(items) => Node::Product(items.iter().map(name_infinity).collect()),
        other => other.clone(),
    }
}

fn is_positive_constant(atom: &Atom) -> bool {
    matches!(atom, Atom::Prime(_) | Atom::Pi | Atom::Euler)
}

/// The one term of a polynomial.
fn single(polynomial: &Polynomial) -> Option<(&Monomial, &BigRational)> {
    if polynomial.terms.len() == 1 { polynomial.terms.first_key_value() } else { None }
}
