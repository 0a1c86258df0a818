//! Arithmetic: chains, fractions, decimals, percentages, bases, common divisors, primes.

use super::same::unordered;
use super::{Drawn, slip};
use crate::random::Counter;

/// Sums and products with brackets, as text and value.
pub(super) fn chain(level: u8, counter: &mut Counter) -> Drawn {
    let length = 2 + usize::from(level) + counter.below(2);
    let largest = [12, 20, 50, 99][usize::from(level) - 1];
    let mut text = String::new();
    let mut summands = Vec::new();
    let mut value = 0;
    let mut used = 0;
    while used < length {
        let term = term(level, largest, length - used, counter);
        let minus = used > 0 && counter.percent(45);
        if used > 0 {
            text.push_str(if minus { " - " } else { " + " });
        }
        text.push_str(&term.text);
        summands.push(format!("{}{}", if minus { '-' } else { '+' }, term.same));
        value += if minus { -term.value } else { term.value };
        used += term.numbers;
    }
    Drawn::integer(format!("Compute {text}."), value, slip(counter)).same_as(unordered(summands))
}

/// A number, a product, or a number times a bracket.
struct Term {
    text: String,
    /// The text in one of the orders of what is multiplied and added.
    same: String,
    value: i64,
    numbers: usize,
}

fn term(level: u8, largest: i64, room: usize, counter: &mut Counter) -> Term {
    let mut number = || counter.between(1, largest);
    let (a, b, c) = (number(), number(), number());
    let factor = counter.between(2, 9 + i64::from(level));
    match counter.below(if level > 1 { 4 } else { 2 }) {
        1 if room >= 2 => Term {
            text: format!("{factor} * {a}"),
            same: format!("({} multiplied)", unordered([factor, a])),
            value: factor * a,
            numbers: 2,
        },
        2 if room >= 3 => Term {
            text: format!("{factor} * ({a} + {b})"),
            same: format!("{factor} * ({} added)", unordered([a, b])),
            value: factor * (a + b),
            numbers: 3,
        },
        3 if room >= 3 => Term {
            text: format!("({b} - {c}) * {factor}"),
            same: format!("{factor} * ({b} - {c})"),
            value: (b - c) * factor,
            numbers: 3,
        },
        _ => Term { text: a.to_string(), same: a.to_string(), value: a, numbers: 1 },
    }
}

pub(super) fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

/// A fraction in lowest terms with a positive denominator.
#[derive(Clone, Copy)]
struct Fraction {
    top: i64,
    bottom: i64,
}

impl Fraction {
    fn new(top: i64, bottom: i64) -> Self {
        let divisor = gcd(top, bottom).max(1) * bottom.signum();
        Self { top: top / divisor, bottom: bottom / divisor }
    }

    fn apply(self, operator: char, other: Self) -> Self {
        match operator {
            '+' => Self::new(self.top * other.bottom + other.top * self.bottom, self.bottom * other.bottom),
            '-' => Self::new(self.top * other.bottom - other.top * self.bottom, self.bottom * other.bottom),
            '*' => Self::new(self.top * other.top, self.bottom * other.bottom),
            _ => Self::new(self.top * other.bottom, self.bottom * other.top),
        }
    }
}

pub(super) fn fractions(level: u8, counter: &mut Counter) -> Drawn {
    let largest = [9, 20, 30, 40][usize::from(level) - 1];
    let operators: &[char] = if level == 1 { &['+', '-'] } else { &['+', '-', '*', '/'] };
    let fraction = |counter: &mut Counter| {
        let bottom = counter.between(2, largest);
        Fraction::new(counter.between(1, 2 * bottom - 1), bottom)
    };
    let shown = |fraction: Fraction| match fraction.bottom {
        1 => fraction.top.to_string(),
        bottom => format!("{}/{bottom}", fraction.top),
    };
    let mut value = fraction(counter);
    let mut text = shown(value);
    // What is added up, or multiplied, one after the other.
    let mut parts = vec![text.clone()];
    let mut last = None;
    for step in 0..1 + usize::from(level >= 3) + usize::from(level >= 4) {
        let (operator, next) = (*counter.pick(operators), fraction(counter));
        let (sums, first) = if matches!(operator, '+' | '-') { (true, '+') } else { (false, '*') };
        // The first part is like one that is added or multiplied; so is what has been made by the other kind of operator.
        if last != Some(sums) {
            parts = vec![format!("{first}({})", unordered(parts))];
            last = Some(sums);
        }
        parts.push(format!("{operator}({})", shown(next)));
        // Brackets all the way, so that precedence is not what is asked.
        let left = if step == 0 { text } else { format!("({text})") };
        let right = if next.bottom == 1 { shown(next) } else { format!("({})", shown(next)) };
        text = format!(
            "{}{left}{} {operator} {right}",
            if step == 0 { "(" } else { "" },
            if step == 0 { ")" } else { "" }
        );
        value = value.apply(operator, next);
    }
    let prompt =
        format!("Compute {text}. Written in lowest terms as m/n with n positive, the result has what value of m + n?");
    Drawn::integer(prompt, value.top + value.bottom, slip(counter)).same_as(unordered(parts))
}

/// An amount of thousandths as a decimal number.
fn decimal(thousandths: i64) -> String {
    let (sign, size) = if thousandths < 0 { ("-", -thousandths) } else { ("", thousandths) };
    let text = format!("{sign}{}.{:03}", size / 1000, size % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn decimals(level: u8, counter: &mut Counter) -> Drawn {
    let (largest, unit) = [(10, 100), (100, 10), (1000, 1)][usize::from(level) - 1];
    let number = |counter: &mut Counter| unit * counter.between(1, largest * 1000 / unit);
    let (a, b) = (number(counter), number(counter));
    let ask = "How many thousandths is the result?";
    let (text, value, content) = match counter.below(3) {
        0 => (format!("{} + {}", decimal(a), decimal(b)), a + b, format!("{} added", unordered([a, b]))),
        1 => {
            let text = format!("{} - {}", decimal(a.max(b)), decimal(a.min(b)));
            (text.clone(), a.max(b) - a.min(b), text)
        }
        _ => {
            // Tenths times hundredths: thousandths exactly.
            let (tenths, hundredths) = (counter.between(1, 99 * i64::from(level)), counter.between(1, 999));
            let (one, other) = (tenths * 100, hundredths * 10);
            let content = format!("{} multiplied", unordered([one, other]));
            (format!("{} * {}", decimal(one), decimal(other)), tenths * hundredths, content)
        }
    };
    Drawn::integer(format!("Compute {text}. {ask}"), value, slip(counter)).same_as(content)
}

pub(super) fn percentages(level: u8, counter: &mut Counter) -> Drawn {
    let scale = [1, 10, 100][usize::from(level) - 1];
    let percent = 5 * counter.between(1, 19);
    let base = 20 * counter.between(2, 100) * scale;
    let (prompt, value) = match counter.below(if level == 1 { 3 } else { 5 }) {
        0 => (format!("What is {percent}% of {base}?"), base * percent / 100),
        1 => (format!("A price of {base} rises by {percent}%. What is the new price?"), base + base * percent / 100),
        2 => (format!("A stock of {base} shrinks by {percent}%. How many are left?"), base - base * percent / 100),
        3 => {
            let after = base + base * percent / 100;
            (format!("After a rise of {percent}% a town has {after} people. How many had it before?"), base)
        }
        _ => {
            // A multiple of 400, so that both changes come out whole.
            let (first, second) = (5 * counter.between(1, 10), 5 * counter.between(1, 10));
            let base = 400 * counter.between(1, 50) * (scale / 10);
            let up = base * (100 + first) / 100;
            let value = up * (100 - second) / 100;
            (format!("A value of {base} first rises by {first}% and then falls by {second}%. What is it then?"), value)
        }
    };
    Drawn::integer(prompt, value, slip(counter))
}

/// The digits of a number in a base of 2 to 9, most significant first.
fn digits(mut value: i64, base: i64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from(b'0' + u8::try_from(value % base).unwrap_or(0)));
        value /= base;
        if value == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

pub(super) fn bases(level: u8, counter: &mut Counter) -> Drawn {
    let largest = [4_095, 65_535, 1_048_575][usize::from(level) - 1];
    let (from, to) = (counter.between(2, 9), counter.between(2, 9));
    let value = counter.between(10, largest);
    let (prompt, value, base, added) = match counter.below(3) {
        0 => (format!("Write the decimal number {value} in base {to}."), value, to, None),
        1 => (format!("The number {} is in base {from}. Write it in base 10.", digits(value, from)), value, 10, None),
        _ => {
            let other = counter.between(10, largest);
            let (left, right) = (digits(value, from), digits(other, from));
            let prompt = format!("Add {left} and {right}, both in base {from}. Give the sum in base {from}.");
            (prompt, value + other, from, Some(unordered([value, other])))
        }
    };
    let right = digits(value, base);
    let wrong = digits(value + 1, base);
    let content = added.map_or_else(|| prompt.clone(), |numbers| format!("{numbers} added in base {from}"));
    match right.parse() {
        Ok(number) => Drawn { prompt, content, reference: rewards::Reference::Integer { value: number }, right, wrong },
        // More than 18 digits of base 2: compared as text of digits all the same.
        Err(_) => Drawn::compared(prompt, right, wrong).same_as(content),
    }
}

pub(super) fn gcd_lcm(level: u8, counter: &mut Counter) -> Drawn {
    let (common, rest) = [(12, 10), (30, 20), (60, 40)][usize::from(level) - 1];
    let shared = counter.between(2, common);
    let count = counter.between(2, 1 + i64::from(level)).max(2);
    let numbers: Vec<i64> = (0..count).map(|_| shared * counter.between(1, rest)).collect();
    let divisor = numbers.iter().fold(0, |so_far, &number| gcd(so_far, number));
    // The multiple of four numbers may be long; of two it is not.
    let multiple = numbers[0] / gcd(numbers[0], numbers[1]) * numbers[1];
    let list = |numbers: &[i64]| numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    if counter.percent(50) {
        let prompt = format!("What is the greatest common divisor of {}?", list(&numbers));
        Drawn::integer(prompt, divisor, counter.between(1, 4)).same_as(format!("divisor of {}", unordered(numbers)))
    } else {
        let prompt = format!("What is the least common multiple of {} and {}?", numbers[0], numbers[1]);
        let content = format!("multiple of {}", unordered([numbers[0], numbers[1]]));
        Drawn::integer(prompt, multiple, shared).same_as(content)
    }
}

pub(super) fn is_prime(number: i64) -> bool {
    number > 1 && (2..).take_while(|factor| factor * factor <= number).all(|factor| number % factor != 0)
}

/// Prime factors with their multiplicity, ascending.
pub(super) fn prime_factors(mut number: i64) -> Vec<(i64, u32)> {
    let mut factors = Vec::new();
    let mut factor = 2;
    while factor * factor <= number {
        let mut power = 0;
        while number % factor == 0 {
            number /= factor;
            power += 1;
        }
        if power > 0 {
            factors.push((factor, power));
        }
        factor += 1;
    }
    if number > 1 {
        factors.push((number, 1));
    }
    factors
}

pub(super) fn primes(level: u8, counter: &mut Counter) -> Drawn {
    let largest = [1_500, 6_000, 30_000][usize::from(level) - 1];
    let number = counter.between(20, largest);
    let (prompt, value) = match counter.below(4) {
        0 => {
            let end = number + counter.between(10, 20 + 20 * i64::from(level));
            let count = (number..=end).filter(|&candidate| is_prime(candidate)).count();
            (format!("How many primes p satisfy {number} <= p <= {end}?"), i64::try_from(count).unwrap_or(0))
        }
        1 => {
            // Ends: between any number and its double lies a prime.
            let next = (number + 1..).find(|&candidate| is_prime(candidate)).unwrap_or(2);
            (format!("What is the smallest prime greater than {number}?"), next)
        }
        2 => {
            let largest = prime_factors(number).last().map_or(1, |factor| factor.0);
            (format!("What is the largest prime factor of {number}?"), largest)
        }
        _ => {
            let sum = prime_factors(number).iter().map(|factor| factor.0).sum();
            (format!("What is the sum of the distinct prime factors of {number}?"), sum)
        }
    };
    Drawn::integer(prompt, value, slip(counter))
}
