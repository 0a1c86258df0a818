//! An expression that reaches a Countdown target.
//!
//! What some of the numbers can give is worked out once for each choice of at most [`LISTED`] of them. A target for more numbers
//! is looked for from behind: one side of the last operation is of a choice that is listed, and says what the other must be.

use std::collections::BTreeMap;

/// More numbers than this take too long: with each there are some thirty times as many expressions.
pub(super) const MOST_NUMBERS: usize = 6;

/// Numbers of a choice whose values are listed. Four have some thousands.
const LISTED: u32 = 4;

/// A fraction in lowest terms, its denominator positive.
type Fraction = (i128, i128);

/// A choice of numbers: a bit for each.
type Choice = usize;

/// A last operation: both sides with the values that they have, and its sign.
type Last = (Choice, Fraction, char, Choice, Fraction);

struct Search<'a> {
    numbers: &'a [i64],
    /// For each choice that is listed, its values with an operation that gives them; none for a single number.
    values: Vec<BTreeMap<Fraction, Option<Last>>>,
}

/// An expression of the numbers, each used once, that has the target as its value.
pub(super) fn expression(numbers: &[i64], target: i64) -> Option<String> {
    if numbers.is_empty() || numbers.len() > MOST_NUMBERS {
        return None;
    }
    let all = (1 << numbers.len()) - 1;
    let mut search = Search { numbers, values: vec![BTreeMap::new(); all + 1] };
    // A part of a choice is a smaller number than the choice.
    (1..=all).filter(|choice| choice.count_ones() <= LISTED).for_each(|choice| search.list(choice));
    search.find(all, (i128::from(target), 1))
}

/// The ways to part a choice in two, each part once on the left.
fn parts(choice: Choice) -> impl Iterator<Item = (Choice, Choice)> {
    (1..choice).filter(move |part| part & choice == *part).map(move |part| (part, choice ^ part))
}

impl Search<'_> {
    fn list(&mut self, choice: Choice) {
        let mut found = BTreeMap::new();
        if choice.is_power_of_two() {
            found.insert((i128::from(self.numbers[choice.trailing_zeros() as usize]), 1), None);
        }
        for (left, right) in parts(choice) {
            for &a in self.values[left].keys() {
                for &b in self.values[right].keys() {
                    for sign in ['+', '-', '*', '/'] {
                        if let Some(value) = calculate(a, sign, b) {
                            found.entry(value).or_insert(Some((left, a, sign, right, b)));
                        }
                    }
                }
            }
        }
        self.values[choice] = found;
    }

    /// An expression of all numbers of a choice with this value.
    fn find(&self, choice: Choice, target: Fraction) -> Option<String> {
        if choice.count_ones() <= LISTED {
            return self.values[choice].contains_key(&target).then(|| self.written(choice, target));
        }
        let listed = |part: Choice| part.count_ones() <= LISTED && 2 * part.count_ones() <= choice.count_ones();
        for (part, other) in parts(choice).filter(|(part, _)| listed(*part)) {
            for &value in self.values[part].keys() {
                // What the other side must be, and on which side of which sign it stands then.
                for (needed, sign, first) in [
                    (calculate(target, '-', value), '+', false),
                    (calculate(value, '-', target), '-', true),
                    (calculate(target, '+', value), '-', false),
                    (calculate(target, '/', value), '*', false),
                    (calculate(value, '/', target), '/', true),
                    (calculate(target, '*', value), '/', false),
                ] {
                    // 0 times anything is 0, and the sum of the others can always be had.
                    let zero = sign == '*' && value.0 == 0 && target.0 == 0;
                    let Some(needed) = needed.or_else(|| zero.then(|| self.sum(other))) else { continue };
                    // Dividing by 0 is no way back.
                    let back = if first { calculate(value, sign, needed) } else { calculate(needed, sign, value) };
                    if back == Some(target)
                        && let Some(found) = self.find(other, needed)
                    {
                        let value = self.written(part, value);
                        let (left, right) = if first { (value, found) } else { (found, value) };
                        return Some(format!("( {left} {sign} {right} )"));
                    }
                }
            }
        }
        None
    }

    fn sum(&self, choice: Choice) -> Fraction {
        let numbers = self.numbers.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
        (numbers.map(|(_, &number)| i128::from(number)).sum(), 1)
    }

    /// The expression of a value that is listed.
    fn written(&self, choice: Choice, value: Fraction) -> String {
        match self.values[choice].get(&value).copied().flatten() {
            Some((left, a, sign, right, b)) => {
                format!("( {} {sign} {} )", self.written(left, a), self.written(right, b))
            }
            None => value.0.to_string(),
        }
    }
}

/// The value of an operation; none for a division by 0, and where a number gets too large.
fn calculate((a, b): Fraction, sign: char, (c, d): Fraction) -> Option<Fraction> {
    let (top, bottom) = match sign {
        '+' => (a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?),
        '-' => (a.checked_mul(d)?.checked_sub(c.checked_mul(b)?)?, b.checked_mul(d)?),
        '*' => (a.checked_mul(c)?, b.checked_mul(d)?),
        _ if c == 0 => return None,
        _ => (a.checked_mul(d)?, b.checked_mul(c)?),
    };
    let (mut common, mut rest) = (top.checked_abs()?, bottom.checked_abs()?);
    while rest != 0 {
        (common, rest) = (rest, common % rest);
    }
    let common = common * bottom.signum();
    Some((top / common, bottom / common))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of an expression in which every operation stands in parentheses.
    fn value<'a>(words: &mut impl Iterator<Item = &'a str>) -> Fraction {
        match words.next().unwrap() {
            "(" => {
                let left = value(words);
                let sign = words.next().unwrap().chars().next().unwrap();
                let right = value(words);
                assert_eq!(words.next(), Some(")"));
                calculate(left, sign, right).unwrap()
            }
            number => (number.parse().unwrap(), 1),
        }
    }

    #[test]
    fn reachable_targets_are_reached() {
        #[track_caller]
        fn check(numbers: &[i64], target: i64, reachable: bool) {
            let found = expression(numbers, target);
            assert_eq!(found.is_some(), reachable, "{numbers:?} {target}: {found:?}");
            let Some(found) = found else { return };
            assert_eq!(value(&mut found.split(' ')), (i128::from(target), 1), "{found}");
            let mut used: Vec<i64> = found.split(' ').filter_map(|word| word.parse().ok()).collect();
            let mut given = numbers.to_vec();
            used.sort_unstable();
            given.sort_unstable();
            assert_eq!(used, given, "{found}");
        }
        check(&[3, 4], 7, true);
        check(&[3, 4], 13, false);
        check(&[25, 4, 3], 87, true);
        check(&[8, 3, 8, 3], 24, true);
        check(&[], 0, false);
        check(&[7], 7, true);
        check(&[1, 1, 1, 1, 1], 7, false);
        check(&[1, 2, 3, 4, 5], 200, false);
        check(&[1, 2, 3, 4, 5], 95, true);
        check(&[25, 50, 75, 100, 3, 6], 952, true);
        check(&[1, 1, 1, 1, 1, 1], 13, false);
        check(&[3, 3, 0, 0, 0, 5], 0, true);
        check(&[0, 0, 0, 0, 0, 7], 7, true);
        check(&[i64::MAX, i64::MAX, i64::MAX, 3, 3, 3], 0, true);
    }
}
