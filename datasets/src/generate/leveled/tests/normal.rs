//! A prompt in one of the forms in which its problem can be told: numbers, summands, factors, lines and clues in one order,
//! names as numbers. Read off the text alone.

use std::collections::BTreeMap;

/// Equal for prompts of a family that tell one problem.
pub(super) fn of(family: &str, prompt: &str) -> String {
    match family {
        "chains" | "decimals" | "fractions" => {
            let text = prompt.strip_prefix("Compute ").unwrap().trim_end_matches('.');
            let (expression, rest) = text.split_once(". ").unwrap_or((text, ""));
            format!("{} {rest}", Expression::read(expression).text())
        }
        "gcd_lcm" => format!("{} {:?}", &prompt[..26], sorted(numbers(prompt))),
        "bases" if prompt.starts_with("Add") => {
            let numbers = numbers(prompt);
            format!("add {:?} in {}", sorted(numbers[..2].to_vec()), numbers[2])
        }
        "modular" if prompt.contains(" * ") && prompt.contains(" + ") => {
            let numbers = numbers(prompt);
            format!("{:?} {:?}", sorted(numbers[..2].to_vec()), &numbers[2..])
        }
        "polynomials" if prompt.contains(" in (") => {
            let (question, product) = prompt.split_once(" in ").unwrap();
            format!("{question} {:?}", sorted(product.trim_end_matches('?').split(" * ").collect()))
        }
        "linear_systems" => system(prompt),
        "combinatorics" if prompt.starts_with("From") => {
            let numbers = numbers(prompt);
            let (groups, chosen) = numbers.split_at(numbers.len() / 2);
            format!("{:?}", sorted(groups.iter().zip(chosen).collect()))
        }
        "combinatorics" if prompt.contains("letters of") => {
            let mut often: BTreeMap<char, usize> = BTreeMap::new();
            let word = prompt.split(' ').find(|word| word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase()));
            word.unwrap().chars().for_each(|letter| *often.entry(letter).or_default() += 1);
            format!("{:?}", sorted(often.into_values().collect()))
        }
        "combinatorics" if prompt.contains("chairs") => {
            format!("{:?} {}", numbers(prompt), prompt.contains("do not"))
        }
        "word_problems" => story(prompt),
        "shopping" => bill(prompt),
        "ages" => renamed(prompt, &names(prompt)),
        "propositional" => {
            let (question, formula) = prompt.split_once("true? ").unwrap();
            let letters = ["p", "q", "r", "s", "t"];
            let used = letters.iter().filter(|letter| question.contains(&format!(" {letter}"))).count();
            let formula = formula.replace('(', "( ").replace(')', " )");
            let called = |order: &[usize]| {
                let word = |word: &str| {
                    letters.iter().position(|l| *l == word).map_or(word.to_owned(), |at| order[at].to_string())
                };
                formula_in_order(&mut formula.split(' ').map(word))
            };
            format!("{used} {}", orders(used).iter().map(|order| called(order)).min().unwrap())
        }
        "knights_knaves" | "ordering" => speakers(prompt),
        "sets" => sets(prompt),
        "graph_paths" | "reachability" => graph(prompt),
        _ => prompt.to_owned(),
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// Each order of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let with = |order: &Vec<usize>, at: usize| [&order[..at], &[last], &order[at..]].concat();
    orders(last).iter().flat_map(|order| (0..count).map(move |at| with(order, at))).collect()
}

/// Sums and products with brackets.
#[derive(Debug)]
enum Expression {
    Number(String),
    /// Whether it is a sum, and its parts with their operators.
    Joined(bool, Vec<(String, Expression)>),
}

impl Expression {
    fn read(text: &str) -> Self {
        let text = text.replace('(', "( ").replace(')', " )");
        Self::sum(&mut text.split(' ').peekable())
    }

    fn sum<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        let mut parts = vec![("+".to_owned(), Self::product(words))];
        while let Some(operator) = words.next_if(|word| ["+", "-"].contains(word)) {
            parts.push((operator.to_owned(), Self::product(words)));
        }
        Self::join(true, parts)
    }

    fn product<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        let mut parts = vec![("*".to_owned(), Self::one(words))];
        while let Some(operator) = words.next_if(|word| ["*", "/"].contains(word)) {
            parts.push((operator.to_owned(), Self::one(words)));
        }
        Self::join(false, parts)
    }

    fn one<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        match words.next().unwrap() {
            "(" => {
                let inner = Self::sum(words);
                assert_eq!(words.next(), Some(")"));
                inner
            }
            number => Self::Number(number.to_owned()),
        }
    }

    /// A sum that begins a sum is a part of it, and so is a product that begins a product.
    fn join(is_sum: bool, mut parts: Vec<(String, Self)>) -> Self {
        let (operator, first) = parts.remove(0);
        match first {
            first if parts.is_empty() => first,
            Self::Joined(kind, before) if kind == is_sum => {
                Self::Joined(kind, before.into_iter().chain(parts).collect())
            }
            first => {
                parts.push((operator, first));
                Self::Joined(is_sum, parts)
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.clone(),
            Self::Joined(_, parts) => {
                format!("{:?}", sorted(parts.iter().map(|(operator, part)| operator.clone() + &part.text()).collect()))
            }
        }
    }
}

fn formula_in_order(words: &mut impl Iterator<Item = String>) -> String {
    let word = words.next().unwrap();
    match word.as_str() {
        "not" => format!("not {}", formula_in_order(words)),
        "(" => {
            let left = formula_in_order(words);
            let sign = words.next().unwrap();
            let right = formula_in_order(words);
            assert_eq!(words.next().as_deref(), Some(")"));
            let parts = if sign == "implies" { vec![left, right] } else { sorted(vec![left, right]) };
            format!("{sign}{parts:?}")
        }
        _ => word,
    }
}

fn system(prompt: &str) -> String {
    let (equations, wanted) = prompt.strip_prefix("Solve ").unwrap().split_once(". ").unwrap();
    let unknowns = wanted.matches(|c| "xyz".contains(c)).count();
    let called = |order: &Vec<usize>| {
        let equation = |equation: &str| {
            let (sum, value) = equation.split_once(" = ").unwrap();
            let terms = sum.replace(" - ", " -").replace(" + ", " ");
            let mut factors: Vec<(usize, String)> = terms
                .split(' ')
                .map(|term| {
                    let at = "xyz".find(|c| term.ends_with(c)).unwrap();
                    (order[at], term[..term.len() - 1].to_owned())
                })
                .collect();
            factors.sort();
            format!("{factors:?} {value}")
        };
        sorted(equations.split(" and ").map(equation).collect())
    };
    format!("{:?}", orders(unknowns).iter().map(called).min())
}

/// Words with a capital in the order in which they come, but for those that begin a sentence.
fn names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphabetic()) {
        let plain = ["In", "How", "All", "What", "On", "Who", "Give", "Exactly", "At", "For", ""].contains(&word);
        if !plain && word.starts_with(|c: char| c.is_ascii_uppercase()) && !names.contains(&word) {
            names.push(word);
        }
    }
    names
}

fn renamed(text: &str, names: &[&str]) -> String {
    let mut text = text.to_owned();
    for (at, name) in names.iter().enumerate() {
        text = text.replace(name, &format!("<{at}>"));
    }
    text
}

fn story(prompt: &str) -> String {
    let thing = prompt.split(' ').nth(3).unwrap().trim_end_matches('.');
    let mut text = prompt.replace(thing, "THINGS");
    for place in ["at a fair", "at the market", "on a walk", "at school", "in a drawer", "at a friend's house"] {
        text = text.replace(&format!(" {place}"), "");
    }
    let sentences: Vec<&str> = text.split(". ").collect();
    let [one, other] = [0, 1].map(|at: usize| sentences[at].split(' ').next().unwrap());
    let called = |one: &str, other: &str| {
        let mut told: Vec<String> = sentences.iter().map(|sentence| renamed(sentence, &[one, other])).collect();
        told[..2].iter_mut().for_each(|begun| *begun = begun.replace(" THINGS", ""));
        told[..2].sort();
        for event in &mut told {
            *event = event.replace("<1> and <0>", "<0> and <1>");
            let words: Vec<&str> = event.split(' ').collect();
            if words[1] == "hands" {
                *event = format!("{} gives {} to {}", words[0], words[3], words[2]);
            }
        }
        told.join(". ")
    };
    called(one, other).min(called(other, one))
}

fn bill(prompt: &str) -> String {
    let (name, bought) = prompt.split_once(" buys ").unwrap();
    let (lines, rest) = bought.split_once(". ").unwrap();
    format!("{:?} {}", sorted(lines.split(", ").map(numbers).collect()), rest.replace(name, "BUYER"))
}

/// Islanders and runners: however they are called, in whatever order they speak or clues come. Of more than four only the
/// order in which they are named counts.
fn speakers(prompt: &str) -> String {
    let (first, wanted) = prompt.rsplit_once(if prompt.contains("knaves") { " Who" } else { " Give" }).unwrap();
    let (_, told) = first.split_once(if prompt.contains("knaves") { "do. " } else { "ties. " }).unwrap();
    let names = names(prompt);
    let called = |order: &Vec<usize>| {
        let order: Vec<&str> = order.iter().map(|&at| names[at]).collect();
        let told = renamed(told, &order);
        let mut said: Vec<String> = told.split_terminator('.').map(|part| part.trim().to_owned()).collect();
        for (less, more) in (0..names.len()).flat_map(|more| (0..more).map(move |less| (less, more))) {
            let (turned, straight) = (format!("<{more}> and <{less}>"), format!("<{less}> and <{more}>"));
            said.iter_mut().for_each(|sentence| *sentence = sentence.replace(&turned, &straight));
        }
        sorted(said)
    };
    assert!(wanted.len() > 10);
    let orders = if names.len() <= 4 { orders(names.len()) } else { vec![(0..names.len()).collect()] };
    format!("{} {:?}", names.len(), orders.iter().map(called).min())
}

fn sets(prompt: &str) -> String {
    let (given, question) = prompt.rsplit_once(". ").unwrap();
    let mut sets: Vec<Vec<u64>> = given.split('{').skip(1).map(numbers).collect();
    let alike = match question {
        _ if question.contains("but not in B") => 1,
        _ if question.contains("A, B and C") => 3,
        _ => 2,
    };
    sets[..alike].sort();
    format!("{question} {sets:?}")
}

/// The letters of places in any order, where there are at most six.
fn graph(prompt: &str) -> String {
    let (roads, question) = prompt.split_once(": ").unwrap().1.split_once(". ").unwrap();
    let place = |letter: u8| usize::from(letter - b'A');
    let ends: Vec<(usize, usize, u64)> = roads
        .split(", ")
        .map(|road| (place(road.as_bytes()[0]), place(road.as_bytes()[2]), numbers(road).first().copied().unwrap_or(0)))
        .collect();
    let (about, marks) = question.rsplit_once(" from ").unwrap();
    let marks: Vec<usize> = marks.bytes().filter(u8::is_ascii_uppercase).map(place).collect();
    let used = ends.iter().flat_map(|road| [road.0, road.1]).chain(marks.iter().copied()).max().unwrap() + 1;
    if used > 6 {
        return prompt.to_owned();
    }
    let both_ways = roads.contains('-');
    let turn = |one: usize, other: usize| if both_ways && other < one { (other, one) } else { (one, other) };
    let called = |order: &Vec<usize>| {
        let roads: Vec<_> = ends.iter().map(|road| (turn(order[road.0], order[road.1]), road.2)).collect();
        let mut marks: Vec<usize> = marks.iter().map(|&mark| order[mark]).collect();
        if both_ways {
            marks.sort_unstable();
        }
        (sorted(roads), marks)
    };
    format!("{about} {:?}", orders(used).iter().map(called).min())
}
