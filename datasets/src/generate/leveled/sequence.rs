//! Sequences: the next term of a rule that the terms shown determine among the kinds drawn here.

use super::{Drawn, slip};
use crate::random::Counter;

pub(super) fn sequences(level: u8, counter: &mut Counter) -> Drawn {
    let step = [12, 25, 60, 120][usize::from(level) - 1];
    let shown = 6 + 2 * usize::from(level > 2);
    let start = counter.between(-step, 3 * step);
    let signed = |counter: &mut Counter| {
        let size = counter.between(2, step);
        if counter.percent(70) { size } else { -size }
    };
    let terms: Vec<i64> = match counter.below(if level == 1 { 3 } else { 6 }) {
        0 => {
            let difference = signed(counter);
            (0..=shown).map(|at| start + difference * i64::try_from(at).unwrap_or(0)).collect()
        }
        1 => {
            let (first, ratio) = (counter.between(1, step), *counter.pick(&[2, 3, -2]));
            std::iter::successors(Some(first), |term| Some(term * ratio)).take(shown + 1).collect()
        }
        2 => {
            let (first, second) = (counter.between(1, step), counter.between(1, step));
            recurrence(first, second, shown, |one, two| one + two)
        }
        3 => {
            let (mut term, mut difference, change) = (start, signed(counter), signed(counter).clamp(-9, 9));
            let mut terms = vec![term];
            for _ in 0..shown {
                term += difference;
                difference += change;
                terms.push(term);
            }
            terms
        }
        4 => {
            // Two arithmetic sequences in turn.
            let (other, one, two) = (counter.between(-step, 3 * step), signed(counter), signed(counter));
            (0..=i64::try_from(shown).unwrap_or(0))
                .map(|at| if at % 2 == 0 { start + one * (at / 2) } else { other + two * (at / 2) })
                .collect()
        }
        _ => {
            let (first, second, plus) = (counter.between(1, 9), counter.between(1, step), counter.between(1, 9));
            recurrence(first, second, shown, move |one, two| 2 * two - one + plus)
        }
    };
    let list = terms[..shown].iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    Drawn::integer(format!("What is the next number? {list}, ..."), terms[shown], slip(counter))
}

fn recurrence(first: i64, second: i64, shown: usize, next: impl Fn(i64, i64) -> i64) -> Vec<i64> {
    let mut terms = vec![first, second];
    while terms.len() <= shown {
        terms.push(next(terms[terms.len() - 2], terms[terms.len() - 1]));
    }
    terms
}
