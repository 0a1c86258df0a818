//! Combinatorics: committees, arrangements of letters, seatings, ways to share, codes.

use super::same::unordered;
use super::{Drawn, slip};
use crate::random::Counter;

fn choose(n: i64, k: i64) -> i64 {
    (0..k).fold(1, |value, step| value * (n - step) / (step + 1))
}

fn factorial(n: i64) -> i64 {
    (1..=n).product()
}

/// A question, its answer, and what it is called whatever its wording.
type Question = (String, i64, String);

pub(super) fn combinatorics(level: u8, counter: &mut Counter) -> Drawn {
    let (low, high) = [(4, 10), (8, 14), (10, 20)][usize::from(level) - 1];
    let people = counter.between(low, high);
    let (prompt, value, content) = match counter.below(5) {
        0 => committee(level, people, high, counter),
        1 => arrangement(level, counter),
        2 => seating(level, counter),
        3 => sharing(level, people, counter),
        _ => codes(level, counter),
    };
    Drawn::integer(prompt, value, slip(counter)).same_as(content)
}

/// From two groups, at the last level also from three. Which group is called what says nothing.
fn committee(level: u8, people: i64, high: i64, counter: &mut Counter) -> Question {
    let others = counter.between(3, high);
    let (first, second) = (counter.between(1, people.min(6)), counter.between(1, others.min(6)));
    let mut groups = vec![(people, first), (others, second)];
    if level == 3 && counter.percent(50) {
        let more = counter.between(3, high);
        groups.push((more, counter.between(1, more.min(6))));
    }
    let listed = |numbers: Vec<i64>| {
        let named: Vec<String> = numbers
            .iter()
            .zip(["teachers", "students", "parents"])
            .map(|(number, group)| format!("{number} {group}"))
            .collect();
        // Two at least.
        let (last, before) = named.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        format!("{} and {last}", before.join(", "))
    };
    let prompt = format!(
        "From {} a committee of {} is chosen. In how many ways?",
        listed(groups.iter().map(|group| group.0).collect()),
        listed(groups.iter().map(|group| group.1).collect())
    );
    let value = groups.iter().map(|&(of, chosen)| choose(of, chosen)).product();
    let content = unordered(groups.iter().map(|(of, chosen)| format!("{chosen} of {of}")));
    (prompt, value, format!("committee {content}"))
}

/// Of the word only how often each of its letters is there counts.
fn arrangement(level: u8, counter: &mut Counter) -> Question {
    // A made-up word over few letters, so that letters repeat.
    let letters = 4 + counter.below(4 + usize::from(level));
    let kinds = 2 + counter.below(4);
    let word: String =
        (0..letters).map(|_| char::from(b'A' + u8::try_from(counter.below(kinds)).unwrap_or(0))).collect();
    let often: Vec<i64> =
        ('A'..='F').map(|letter| i64::try_from(word.matches(letter).count()).unwrap_or(0)).filter(|&n| n > 0).collect();
    let value = often.iter().fold(factorial(often.iter().sum()), |value, &count| value / factorial(count));
    let prompt = format!("In how many different ways can the letters of {word} be arranged?");
    (prompt, value, format!("arrangement {}", unordered(often)))
}

/// The names of the two say nothing.
fn seating(level: u8, counter: &mut Counter) -> Question {
    let seats = counter.between(4, 6 + i64::from(level));
    let names = [
        "Ann", "Bob", "Eve", "Max", "Zoe", "Leo", "Mia", "Tom", "Ida", "Kai", "Lea", "Jan", "Nora", "Paul", "Ruth",
        "Sara", "Tim", "Uwe", "Vera", "Wim",
    ];
    let (first, second) = (counter.below(10), 10 + counter.below(10));
    let together = 2 * factorial(seats - 1);
    let (word, value) = match counter.below(2) {
        0 => ("sit next to each other", together),
        _ => ("do not sit next to each other", factorial(seats) - together),
    };
    let prompt = format!(
        "{seats} people, {} and {} among them, sit down in a row of {seats} chairs so that these two {word}. In how many \
         ways?",
        names[first], names[second]
    );
    (prompt, value, format!("{seats} people, two {word}"))
}

/// Equal balls into different boxes. With fewer balls than none, which are those promised beforehand, there is no way.
fn ways_to_share(balls: i64, boxes: i64) -> i64 {
    if balls < 0 { 0 } else { choose(balls + boxes - 1, boxes - 1) }
}

fn sharing(level: u8, people: i64, counter: &mut Counter) -> Question {
    let (balls, boxes) = (people + counter.between(0, 12), counter.between(2, 3 + i64::from(level)));
    // The first box gets its least number beforehand.
    let least = counter.between(0, 6);
    let free = balls - least;
    let (word, value) = match counter.below(2) {
        0 => ("others may stay empty", ways_to_share(free, boxes)),
        // One more ball beforehand for each of the others.
        _ => ("no other stays empty", ways_to_share(free - (boxes - 1), boxes)),
    };
    let prompt = format!(
        "In how many ways can {balls} equal balls be put into {boxes} different boxes if the first box gets at least \
         {least} and {word}?"
    );
    (prompt.clone(), value, prompt)
}

fn codes(level: u8, counter: &mut Counter) -> Question {
    let (digits, length) = (counter.between(4, 9), counter.between(2, 3 + i64::from(level)));
    let first = counter.between(1, digits);
    let (word, rest) = match counter.below(2) {
        0 => ("digits may repeat", digits.pow(u32::try_from(length - 1).unwrap_or(0))),
        _ => ("all digits are different", (1..length).map(|used| (digits - used).max(0)).product()),
    };
    let value = first * rest;
    let prompt = format!(
        "How many codes of {length} digits can be made from the digits 1 to {digits} if {word} and the first digit is at \
         most {first}?"
    );
    (prompt.clone(), value, prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many ways there are to put so many balls into boxes that want at least so many each: one ball after the other.
    fn counted(balls: i64, least: &[i64]) -> i64 {
        match least {
            [] => i64::from(balls == 0),
            [first, others @ ..] => (*first..=balls).map(|taken| counted(balls - taken, others)).sum(),
        }
    }

    #[test]
    fn ways_to_share_are_as_many_as_can_be_counted() {
        let mut without_way = 0;
        for index in 0..4_000 {
            let level = 1 + (index % 3) as u8;
            let (prompt, value, _) = sharing(level, 4 + (index % 9) as i64, &mut Counter::new(&[7, index]));
            let numbers: Vec<i64> =
                prompt.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
            let [balls, boxes, least] = numbers[..] else { panic!("{prompt}") };
            let mut leasts = vec![i64::from(prompt.contains("no other")); usize::try_from(boxes).unwrap()];
            leasts[0] = least;
            assert_eq!(value, counted(balls, &leasts), "{prompt}");
            without_way += usize::from(value == 0);
        }
        assert!(without_way > 20, "{without_way}");
    }
}
