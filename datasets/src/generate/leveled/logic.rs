//! Logic: formulas, knights and knaves, orders from clues. Each has exactly one answer, found by going through all.

use super::Drawn;
use super::same::{next_order, unordered, whatever_called};
use crate::random::Counter;

/// A formula over numbered variables.
enum Formula {
    Variable(usize),
    Not(Box<Formula>),
    Both(&'static str, Box<Formula>, Box<Formula>),
}

const VARIABLES: [&str; 5] = ["p", "q", "r", "s", "t"];

impl Formula {
    fn draw(connectives: usize, variables: usize, counter: &mut Counter) -> Self {
        if connectives == 0 {
            return Self::Variable(counter.below(variables));
        }
        if counter.percent(20) {
            return Self::Not(Box::new(Self::draw(connectives - 1, variables, counter)));
        }
        let sign = *counter.pick(&["and", "or", "implies", "xor"]);
        let left = counter.below(connectives);
        Self::Both(
            sign,
            Box::new(Self::draw(left, variables, counter)),
            Box::new(Self::draw(connectives - 1 - left, variables, counter)),
        )
    }

    fn holds(&self, truth: usize) -> bool {
        match self {
            Self::Variable(index) => truth >> index & 1 == 1,
            Self::Not(inner) => !inner.holds(truth),
            Self::Both(sign, left, right) => {
                let (left, right) = (left.holds(truth), right.holds(truth));
                match *sign {
                    "and" => left && right,
                    "or" => left || right,
                    "implies" => !left || right,
                    _ => left != right,
                }
            }
        }
    }

    /// The formula with other numbers for its variables, in one of the orders of what is joined by a symmetric connective.
    fn same(&self, numbers: &[usize]) -> String {
        match self {
            Self::Variable(index) => numbers[*index].to_string(),
            Self::Not(inner) => format!("not {}", inner.same(numbers)),
            Self::Both(sign, left, right) => {
                let (left, right) = (left.same(numbers), right.same(numbers));
                let (left, right) = if *sign != "implies" && right < left { (right, left) } else { (left, right) };
                format!("({left} {sign} {right})")
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Variable(index) => VARIABLES[*index].to_owned(),
            Self::Not(inner) => format!("not {}", inner.text()),
            Self::Both(sign, left, right) => format!("({} {sign} {})", left.text(), right.text()),
        }
    }
}

pub(super) fn propositional(level: u8, counter: &mut Counter) -> Drawn {
    let variables = 2 + usize::from(level);
    let connectives = 2 + 2 * usize::from(level) + counter.below(2);
    let formula = Formula::draw(connectives, variables, counter);
    let count = (0..1_usize << variables).filter(|&truth| formula.holds(truth)).count();
    let prompt = format!(
        "Of the {} ways to make each of {} true or false, how many make this formula true? {}",
        1_usize << variables,
        VARIABLES[..variables].join(", "),
        formula.text()
    );
    let count = i64::try_from(count).unwrap_or(0);
    let content = format!("{variables} variables, {}", whatever_called(variables, |numbers| formula.same(numbers)));
    Drawn::integer(prompt, count, if counter.percent(50) { 1 } else { 2 }).same_as(content)
}

const NAMES: &[&str] = &["Alice", "Bruno", "Clara", "Denis", "Edith", "Felix", "Greta", "Henry", "Irene", "Jacob"];

fn some_names(count: usize, counter: &mut Counter) -> Vec<&'static str> {
    let mut names = NAMES.to_vec();
    counter.shuffle(&mut names);
    names.truncate(count);
    names
}

/// What an islander says; `knights` has one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Is(usize, bool),
    Same(usize, usize),
    Different(usize, usize),
    Exactly(u32),
    Either(usize, usize),
}

impl Claim {
    fn holds(self, knights: usize) -> bool {
        let knight = |who: usize| knights >> who & 1 == 1;
        match self {
            Self::Is(who, is_knight) => knight(who) == is_knight,
            Self::Same(one, other) => knight(one) == knight(other),
            Self::Different(one, other) => knight(one) != knight(other),
            Self::Exactly(count) => knights.count_ones() == count,
            Self::Either(one, other) => knight(one) || knight(other),
        }
    }

    /// The claim with other numbers for the islanders, in one of the orders of two who are named alike.
    fn same(self, numbers: &[usize]) -> Self {
        let pair = |one: usize, other: usize| {
            let (one, other) = (numbers[one], numbers[other]);
            (one.min(other), one.max(other))
        };
        match self {
            Self::Is(who, is_knight) => Self::Is(numbers[who], is_knight),
            Self::Same(one, other) => {
                let (one, other) = pair(one, other);
                Self::Same(one, other)
            }
            Self::Different(one, other) => {
                let (one, other) = pair(one, other);
                Self::Different(one, other)
            }
            Self::Exactly(count) => Self::Exactly(count),
            Self::Either(one, other) => {
                let (one, other) = pair(one, other);
                Self::Either(one, other)
            }
        }
    }

    fn text(self, names: &[&str]) -> String {
        match self {
            Self::Is(who, true) => format!("{} is a knight", names[who]),
            Self::Is(who, false) => format!("{} is a knave", names[who]),
            Self::Same(one, other) => format!("{} and {} are of the same kind", names[one], names[other]),
            Self::Different(one, other) => format!("{} and {} are of different kinds", names[one], names[other]),
            Self::Exactly(1) => "Exactly one of us is a knight".to_owned(),
            Self::Exactly(count) => format!("Exactly {count} of us are knights"),
            Self::Either(one, other) => format!("At least one of {} and {} is a knight", names[one], names[other]),
        }
    }
}

pub(super) fn knights_and_knaves(level: u8, counter: &mut Counter) -> Drawn {
    let people = 2 + usize::from(level) + counter.below(2);
    let names = some_names(people, counter);
    // Ends: about every tenth draw of claims has exactly one solution.
    let (claims, knights) = loop {
        let claims: Vec<Claim> = (0..people).map(|speaker| draw_claim(speaker, people, counter)).collect();
        let mut fitting = (0..1_usize << people).filter(|&knights| {
            claims.iter().enumerate().all(|(who, claim)| claim.holds(knights) == (knights >> who & 1 == 1))
        });
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            break (claims, only);
        }
    };
    let said: Vec<String> =
        claims.iter().enumerate().map(|(who, claim)| format!("{} says: {}.", names[who], claim.text(&names))).collect();
    let prompt = format!(
        "On an island knights always tell the truth and knaves never do. {} Who is what? Give a tuple of `knight` or \
         `knave` for ({}).",
        said.join(" "),
        names.join(", ")
    );
    let kinds = |knights: usize| {
        let words: Vec<&str> =
            (0..people).map(|who| if knights >> who & 1 == 1 { "knight" } else { "knave" }).collect();
        format!("({})", words.join(", "))
    };
    let content = whatever_called(people, |numbers| {
        let mut said: Vec<(usize, Claim)> =
            claims.iter().enumerate().map(|(who, claim)| (numbers[who], claim.same(numbers))).collect();
        said.sort_unstable();
        said
    });
    let wrong = kinds(knights ^ 1 << counter.below(people));
    Drawn::compared(prompt, kinds(knights), wrong).same_as(format!("{content:?}"))
}

fn draw_claim(speaker: usize, people: usize, counter: &mut Counter) -> Claim {
    let mut others: Vec<usize> = (0..people).filter(|&other| other != speaker).collect();
    counter.shuffle(&mut others);
    match counter.below(5) {
        0 => Claim::Is(others[0], counter.percent(50)),
        1 => Claim::Same(others[0], others[1]),
        2 => Claim::Different(others[0], others[1]),
        3 => Claim::Exactly(1 + u32::try_from(counter.below(people - 1)).unwrap_or(0)),
        _ => Claim::Either(others[0], others[1]),
    }
}

/// The most runners of a race.
const MOST_RUNNERS: usize = 6;

/// Each order of `0..count`, the lexicographically first one first, as the place of each runner in it.
fn all_places(count: usize) -> Vec<[usize; MOST_RUNNERS]> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut all = Vec::new();
    loop {
        let mut places = [0; MOST_RUNNERS];
        order.iter().enumerate().for_each(|(place, &who)| places[who] = place);
        all.push(places);
        if !next_order(&mut order) {
            return all;
        }
    }
}

pub(super) fn ordering(level: u8, counter: &mut Counter) -> Drawn {
    let people = 3 + usize::from(level);
    let names = some_names(people, counter);
    let mut left = all_places(people);
    // The order that is to be found.
    let places = left[counter.below(left.len())];
    let mut truth = vec![0; people];
    (0..people).for_each(|who| truth[places[who]] = who);
    let mut clues = Vec::new();
    // The clues with a runner's place for a name: it follows from the clues, however runners are called.
    let mut same = Vec::new();
    while left.len() > 1 {
        let (one, other) = (counter.below(people), counter.below(people));
        let (at_one, at_other) = (places[one], places[other]);
        if one == other || at_one > at_other {
            continue;
        }
        let (kind, gap) = (counter.below(4), at_other - at_one);
        let fits = |places: &[usize; MOST_RUNNERS]| {
            let (here, there) = (places[one], places[other]);
            match kind {
                0 => here < there,
                1 => there == here + gap,
                2 => here != at_other,
                _ => there != at_one && here < there,
            }
        };
        let before = left.len();
        let kept: Vec<_> = left.iter().filter(|places| fits(places)).copied().collect();
        // A clue that says nothing new is no clue.
        if kept.len() == before {
            continue;
        }
        same.push(match kind {
            2 => format!("{at_one} is not {at_other}"),
            _ => format!("{at_one} before {at_other} by clue {kind}"),
        });
        clues.push(match kind {
            0 => format!("{} finishes before {}.", names[one], names[other]),
            1 if gap == 1 => format!("{} finishes right after {}.", names[other], names[one]),
            1 => format!("{} finishes {gap} places after {}.", names[other], names[one]),
            2 => format!("{} is not number {}.", names[one], at_other + 1),
            _ => format!("{} is not number {} and finishes after {}.", names[other], at_one + 1, names[one]),
        });
        left = kept;
    }
    let named = |order: &[usize]| {
        let words: Vec<&str> = order.iter().map(|&who| names[who]).collect();
        format!("({})", words.join(", "))
    };
    let mut wrong = truth.clone();
    wrong.swap(0, 1 + counter.below(people - 1));
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let prompt = format!(
        "{} run a race without ties. {} Give the tuple of their names from first to last.",
        sorted.join(", "),
        clues.join(" ")
    );
    let content = format!("{people} runners: {}", unordered(same));
    Drawn::compared(prompt, named(&truth), named(&wrong)).same_as(content)
}
