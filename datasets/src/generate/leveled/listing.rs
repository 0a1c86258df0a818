//! Strings, lists and sets: steps in words, carried out one after the other.

use super::{Drawn, written};
use crate::random::Counter;

/// A word that can be said, so that it is read letter by letter and not looked up: never a unit or a constant.
fn made_up_word(letters: usize, counter: &mut Counter) -> String {
    const CONSONANTS: &[char] = &['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
    const VOWELS: &[char] = &['a', 'e', 'i', 'o', 'u'];
    let first = counter.below(2);
    (0..letters).map(|at| *counter.pick(if (at + first).is_multiple_of(2) { CONSONANTS } else { VOWELS })).collect()
}

/// Shifts a letter of a to z.
fn shift(letter: char, by: u8) -> char {
    if letter.is_ascii_lowercase() { char::from(b'a' + (letter as u8 - b'a' + by) % 26) } else { letter }
}

pub(super) fn strings(level: u8, counter: &mut Counter) -> Drawn {
    let letters = 5 + counter.below(3) + 2 * (usize::from(level) - 1);
    let word = made_up_word(letters, counter);
    let mut text = word.clone();
    let mut steps = Vec::new();
    let mut last = usize::MAX;
    while steps.len() < usize::from(level) {
        let kind = counter.below(7);
        if kind == last {
            continue;
        }
        let (step, next): (String, String) = match kind {
            0 => ("write it backwards".to_owned(), text.chars().rev().collect()),
            1 => {
                let by = 1 + counter.below(5);
                let next = text.chars().map(|letter| shift(letter, u8::try_from(by).unwrap_or(1))).collect();
                (format!("replace each letter by the one {by} later in the alphabet, with a after z"), next)
            }
            2 => {
                let by = 1 + counter.below(3);
                let mut next: Vec<char> = text.chars().collect();
                next.rotate_left(by);
                (format!("move the first {by} letters to the end"), next.into_iter().collect())
            }
            3 => ("double its last letter".to_owned(), text.chars().chain(text.chars().last()).collect()),
            4 => {
                let mut next: Vec<char> = text.chars().collect();
                let end = next.len() - 1;
                next.swap(0, end);
                ("swap its first and last letter".to_owned(), next.into_iter().collect())
            }
            5 => {
                let mut next: Vec<char> = text.chars().collect();
                next.sort_unstable();
                ("put its letters into alphabetical order".to_owned(), next.into_iter().collect())
            }
            _ => {
                let gone = *counter.pick(&['a', 'e', 'i', 'o', 'u']);
                (format!("leave out every {gone}"), text.chars().filter(|&letter| letter != gone).collect())
            }
        };
        // Fewer than four letters may be an abbreviation of something.
        if next == text || next.len() < 4 {
            continue;
        }
        last = kind;
        steps.push(step);
        text = next;
    }
    let prompt = format!("Take the word {word}. Then {}. What is the result?", steps.join("; then "));
    let mut wrong: Vec<char> = text.chars().collect();
    let place = counter.below(wrong.len());
    wrong[place] = if wrong[place] == 'x' { 'q' } else { 'x' };
    Drawn::compared(prompt, text, wrong.into_iter().collect())
}

pub(super) fn lists(level: u8, counter: &mut Counter) -> Drawn {
    let length = 5 + counter.below(3) + 2 * (usize::from(level) - 1);
    let first: Vec<i64> = (0..length).map(|_| counter.between(0, 99)).collect();
    let mut list = first.clone();
    let mut steps = Vec::new();
    let mut last = usize::MAX;
    while steps.len() < usize::from(level) {
        let kind = counter.below(9);
        if kind == last {
            continue;
        }
        let mut next = list.clone();
        let step = match kind {
            0 => {
                next.sort_unstable();
                "sort it from small to large".to_owned()
            }
            1 => {
                next.sort_unstable_by(|one, other| other.cmp(one));
                "sort it from large to small".to_owned()
            }
            2 => {
                next.reverse();
                "reverse it".to_owned()
            }
            3 => {
                let by = 1 + counter.below(3);
                // A list of two has no first three: nothing changes, and another step is drawn.
                if by < list.len() {
                    next.rotate_left(by);
                }
                format!("move its first {by} numbers to the end")
            }
            4 => {
                let divisor = counter.between(2, 4);
                next.retain(|number| number % divisor != 0);
                format!("leave out what {divisor} divides")
            }
            5 => {
                let bound = counter.between(20, 80);
                next.retain(|&number| number > bound);
                format!("keep only what is greater than {bound}")
            }
            6 => {
                let mut sum = 0;
                for number in &mut next {
                    sum += *number;
                    *number = sum;
                }
                "replace each number by the sum of all up to it".to_owned()
            }
            7 => {
                next = list.windows(2).map(|pair| pair[1] - pair[0]).collect();
                "replace it by the differences of neighbours, each minus the one before it".to_owned()
            }
            _ => {
                next = list.iter().copied().step_by(2).collect();
                "keep the first, third, fifth number and so on".to_owned()
            }
        };
        // Two numbers at least, so that the answer is a tuple.
        if next == list || next.len() < 2 {
            if list.len() <= 3 {
                break;
            }
            continue;
        }
        last = kind;
        steps.push(step);
        list = next;
    }
    if steps.is_empty() {
        list.reverse();
        steps.push("reverse it".to_owned());
    }
    let prompt = format!("Take the list {first:?}. Then {}. Give the result as a tuple.", steps.join("; then "));
    let mut wrong = list.clone();
    let place = counter.below(wrong.len());
    wrong[place] += 1;
    Drawn::compared(prompt, written(&list), written(&wrong))
}

/// Whether a number counts, by which of A, B and C it is in.
type Holds = fn((bool, bool, bool)) -> bool;

pub(super) fn sets(level: u8, counter: &mut Counter) -> Drawn {
    let size = 4 + 2 * usize::from(level);
    let mut draw = || {
        let mut numbers: Vec<i64> = (1..=30).collect();
        counter.shuffle(&mut numbers);
        let most = numbers.len().min(size + counter.below(4));
        numbers.truncate(most);
        numbers.sort_unstable();
        numbers
    };
    let (a, b, c) = (draw(), draw(), draw());
    let shown = |set: &[i64]| set.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let all = 1..=30_i64;
    let in_sets = |number: i64| (a.contains(&number), b.contains(&number), c.contains(&number));
    // With how many sets, from A on, may change places.
    let kinds: &[(&str, usize, Holds)] = &[
        ("in A or in B", 2, |(a, b, _)| a || b),
        ("in both A and B", 2, |(a, b, _)| a && b),
        ("in A but not in B", 1, |(a, b, _)| a && !b),
        ("in exactly one of A and B", 2, |(a, b, _)| a != b),
        ("in exactly one of A, B and C", 3, |(a, b, c)| u8::from(a) + u8::from(b) + u8::from(c) == 1),
        ("in at least two of A, B and C", 3, |(a, b, c)| u8::from(a) + u8::from(b) + u8::from(c) >= 2),
        ("in A or B but not in C", 2, |(a, b, c)| (a || b) && !c),
    ];
    let (words, alike, holds) = kinds[counter.below(if level == 1 { 4 } else { 7 })];
    let value = all.filter(|&number| holds(in_sets(number))).count();
    let third = if words.contains('C') { format!(", C = {{{}}}", shown(&c)) } else { String::new() };
    let prompt = format!("A = {{{}}}, B = {{{}}}{third}. How many numbers are {words}?", shown(&a), shown(&b));
    let mut named = if third.is_empty() { vec![&a, &b] } else { vec![&a, &b, &c] };
    named[..alike].sort_unstable();
    let content = format!("{words}: {named:?}");
    Drawn::integer(prompt, i64::try_from(value).unwrap_or(0), counter.between(1, 2)).same_as(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list after a step, as a reader of its words would carry it out.
    fn carried_out(list: &[i64], step: &str) -> Vec<i64> {
        let number = || step.split(' ').find_map(|word| word.parse::<i64>().ok()).unwrap();
        let mut next = list.to_vec();
        match step {
            "sort it from small to large" => next.sort_unstable(),
            "sort it from large to small" => next.sort_unstable_by(|one, other| other.cmp(one)),
            "reverse it" => next.reverse(),
            "replace each number by the sum of all up to it" => {
                (1..next.len()).for_each(|at| next[at] += next[at - 1]);
            }
            "replace it by the differences of neighbours, each minus the one before it" => {
                next = (1..list.len()).map(|at| list[at] - list[at - 1]).collect();
            }
            "keep the first, third, fifth number and so on" => next = list.iter().step_by(2).copied().collect(),
            _ if step.starts_with("move its first") => {
                let by = usize::try_from(number()).unwrap();
                assert!(by <= list.len(), "{list:?}: {step}");
                next = [&list[by..], &list[..by]].concat();
            }
            _ if step.starts_with("leave out what") => next.retain(|value| value % number() != 0),
            _ if step.starts_with("keep only what is greater than") => next.retain(|&value| value > number()),
            _ => panic!("{step}"),
        }
        next
    }

    #[test]
    fn every_step_on_a_list_can_be_carried_out_as_it_is_worded() {
        for (level, index) in (1..=3).flat_map(|level| (0..5_000).map(move |index| (level, index))) {
            let drawn = lists(level, &mut Counter::new(&[7, index]));
            let (list, steps) = drawn.prompt.strip_prefix("Take the list [").unwrap().split_once("]. Then ").unwrap();
            let steps = steps.strip_suffix(". Give the result as a tuple.").unwrap();
            let mut list: Vec<i64> = list.split(", ").map(|number| number.parse().unwrap()).collect();
            steps.split("; then ").for_each(|step| list = carried_out(&list, step));
            assert_eq!(written(&list), drawn.right, "{}", drawn.prompt);
        }
    }
}
