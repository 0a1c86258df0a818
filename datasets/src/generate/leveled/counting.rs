//! Number theory, and what is counted step by step: modular arithmetic, divisors, coins, lattice paths.

use super::Drawn;
use super::number::{gcd, prime_factors};
use super::same::unordered;
use crate::random::Counter;

fn power_modulo(mut base: i64, mut exponent: i64, modulus: i64) -> i64 {
    let mut value = 1 % modulus;
    base %= modulus;
    while exponent > 0 {
        if exponent % 2 == 1 {
            value = value * base % modulus;
        }
        base = base * base % modulus;
        exponent /= 2;
    }
    value
}

pub(super) fn modular(level: u8, counter: &mut Counter) -> Drawn {
    let (largest, exponents) = [(50, 60), (300, 2_000), (2_000, 100_000)][usize::from(level) - 1];
    let modulus = counter.between(5, largest);
    let base = counter.between(2, 3 * largest);
    let (prompt, value, multiplied) = match counter.below(3) {
        0 => {
            let exponent = counter.between(2, exponents);
            let prompt = format!("What is the remainder of {base}^{exponent} divided by {modulus}?");
            (prompt, power_modulo(base, exponent, modulus), None)
        }
        1 => {
            let (a, b) = (counter.between(10, 10 * largest), counter.between(10, 10 * largest));
            let prompt = format!("What is the remainder of {a} * {b} + {base} divided by {modulus}?");
            (prompt, (a * b + base) % modulus, Some(unordered([a, b])))
        }
        _ => {
            // Ends: 1 has no common factor with anything.
            let mut unit = counter.between(2, modulus - 1);
            while gcd(unit, modulus) != 1 {
                unit -= 1;
            }
            let inverse = (1..modulus).find(|candidate| candidate * unit % modulus == 1).unwrap_or(1);
            (
                format!("Which x with 0 < x < {modulus} leaves {unit} * x with remainder 1 when divided by {modulus}?"),
                inverse,
                None,
            )
        }
    };
    let drawn = Drawn::integer(prompt, value, counter.between(1, 3));
    match multiplied {
        Some(factors) => drawn.same_as(format!("{factors} multiplied, plus {base}, modulo {modulus}")),
        None => drawn,
    }
}

pub(super) fn divisors(level: u8, counter: &mut Counter) -> Drawn {
    let largest = [3_000, 8_000, 40_000][usize::from(level) - 1];
    let number = counter.between(12, largest);
    let factors = prime_factors(number);
    let (prompt, value) = match counter.below(4) {
        0 => {
            let count = factors.iter().map(|&(_, power)| i64::from(power) + 1).product();
            (format!("How many positive divisors has {number}?"), count)
        }
        1 => {
            let sum = factors.iter().map(|&(prime, power)| (0..=power).map(|p| prime.pow(p)).sum::<i64>()).product();
            (format!("What is the sum of the positive divisors of {number}?"), sum)
        }
        2 => {
            let totient = factors.iter().map(|&(prime, power)| prime.pow(power - 1) * (prime - 1)).product();
            (format!("How many of the numbers 1 to {number} have no common factor with {number} but 1?"), totient)
        }
        _ => {
            let divisor = counter.between(3, 60);
            let value = number / divisor;
            (format!("How many of the numbers 1 to {number} are divisible by {divisor}?"), value)
        }
    };
    Drawn::integer(prompt, value, counter.between(1, 4))
}

pub(super) fn coins(level: u8, counter: &mut Counter) -> Drawn {
    let (most, kinds) = [(40, 3), (90, 4), (200, 5)][usize::from(level) - 1];
    let mut values = vec![1];
    while values.len() < kinds {
        let value = counter.between(2, 5 * i64::from(level) + 10);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values.sort_unstable();
    let amount = counter.between(12, most);
    let list = values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let size = usize::try_from(amount).unwrap_or(0);
    if counter.percent(50) {
        let mut ways = vec![0_i64; size + 1];
        ways[0] = 1;
        for &value in &values {
            let value = usize::try_from(value).unwrap_or(1);
            for at in value..=size {
                ways[at] += ways[at - value];
            }
        }
        let prompt = format!("In how many ways can {amount} be paid with coins of {list}, each as often as one likes?");
        Drawn::integer(prompt, ways[size], counter.between(1, 3))
    } else {
        let mut fewest = vec![0_i64; size + 1];
        for at in 1..=size {
            let before =
                |&value: &i64| at.checked_sub(usize::try_from(value).unwrap_or(1)).map(|rest| fewest[rest] + 1);
            // The coin of 1 always fits.
            fewest[at] = values.iter().filter_map(before).min().unwrap_or(0);
        }
        let prompt = format!("What is the least number of coins that pay {amount} exactly, with coins of {list}?");
        Drawn::integer(prompt, fewest[size], counter.between(1, 3))
    }
}

pub(super) fn lattice_paths(level: u8, counter: &mut Counter) -> Drawn {
    let largest = 4 + 2 * i64::from(level);
    let (width, height) = (counter.between(3, largest), counter.between(3, largest));
    let count = 2 + counter.below(1 + 2 * usize::from(level));
    let mut blocked = Vec::new();
    // Ends: at most 8 of the 16 crossings or more are wanted, and all but two may be blocked.
    while blocked.len() < count {
        let place = (counter.between(0, width), counter.between(0, height));
        if place != (0, 0) && place != (width, height) && !blocked.contains(&place) {
            blocked.push(place);
        }
    }
    blocked.sort_unstable();
    let mut ways = std::collections::HashMap::new();
    for x in 0..=width {
        for y in 0..=height {
            let value = match (x, y) {
                _ if blocked.contains(&(x, y)) => 0,
                (0, 0) => 1,
                _ => ways.get(&(x - 1, y)).unwrap_or(&0) + ways.get(&(x, y - 1)).unwrap_or(&0),
            };
            ways.insert((x, y), value);
        }
    }
    let list = blocked.iter().map(|(x, y)| format!("({x}, {y})")).collect::<Vec<_>>().join(", ");
    let prompt = format!(
        "Each step goes one to the right or one up. How many ways lead from (0, 0) to ({width}, {height}) without \
         touching any of {list}?"
    );
    Drawn::integer(prompt, ways[&(width, height)], counter.between(1, 3))
}
