//! Word problems: stories put together from events, bills, and ages.
//!
//! A story is not a template with numbers: its length, its people, its thing and each of its events are drawn by
//! themselves, and later events speak of what earlier ones left. So the number of different texts grows with the power of
//! the length.

use super::same::{numbered, unordered};
use super::{Drawn, slip};
use crate::random::Counter;

const NAMES: &[&str] = &[
    "Anna", "Ben", "Carla", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Liam", "Mina",
    "Noah", "Olga", "Pablo", "Rosa", "Samir", "Tara", "Yusuf",
];
const THINGS: &[&str] = &[
    "apples", "marbles", "stickers", "pencils", "cards", "shells", "coins", "books", "beads", "stamps", "buttons",
    "cookies",
];
const PLACES: &[&str] = &["at a fair", "at the market", "on a walk", "at school", "in a drawer", "at a friend's house"];

/// `count` different ones of `all`.
fn some<'a>(all: &[&'a str], count: usize, counter: &mut Counter) -> Vec<&'a str> {
    let mut all = all.to_vec();
    counter.shuffle(&mut all);
    all.truncate(count);
    all
}

pub(super) fn word_problem(level: u8, counter: &mut Counter) -> Drawn {
    let largest = [60, 100, 200, 400][usize::from(level) - 1];
    let events = [2, 3, 5, 7][usize::from(level) - 1] - counter.below(2).min(usize::from(level) - 1);
    let (names, thing) = (some(NAMES, 2, counter), *counter.pick(THINGS));
    let mut has = [counter.between(largest / 4, largest), counter.between(largest / 4, largest)];
    let begun = has;
    let mut text = format!("{} has {} {thing}. {} has {}.", names[0], has[0], names[1], has[1]);
    // The same without place and thing.
    let mut told = Vec::new();
    for _ in 0..events {
        let who = counter.below(2);
        let (name, other, mine, theirs) = (names[who], names[1 - who], has[who], has[1 - who]);
        let amount = counter.between(2, (largest / 5).max(3));
        let place = *counter.pick(PLACES);
        let (sentence, mine, theirs) = match counter.below(12) {
            0 => (format!("{name} finds {amount} more {place}."), mine + amount, theirs),
            1 if mine > amount => (format!("{name} loses {amount} {place}."), mine - amount, theirs),
            2 if mine > amount => (format!("{name} gives {amount} to {other}."), mine - amount, theirs + amount),
            3 if mine < 500 => (format!("{name} doubles the number by a lucky swap."), 2 * mine, theirs),
            4 if mine % 2 == 0 => (format!("{name} gives half of them to {other}."), mine / 2, theirs + mine / 2),
            5 if mine % 3 == 0 => (format!("{name} sells a third of them {place}."), mine - mine / 3, theirs),
            6 if mine < 300 => {
                let (packs, size) = (counter.between(2, 6), counter.between(2, 12));
                (format!("{name} buys {packs} packs of {size} {thing} each."), mine + packs * size, theirs)
            }
            7 if theirs > amount => (format!("{other} hands {name} {amount}."), mine + amount, theirs - amount),
            8 if mine > theirs && (mine - theirs) % 2 == 0 => {
                let half = (mine + theirs) / 2;
                (format!("{name} gives {other} just enough that both have the same number."), half, half)
            }
            9 => {
                let (days, each) = (counter.between(2, 7), counter.between(1, 9));
                (format!("For {days} days {name} gets {each} a day."), mine + days * each, theirs)
            }
            10 if mine < 300 => {
                let more = counter.between(1, 20);
                (format!("{other} loses all, and then gets {more} more than {name} has."), mine, mine + more)
            }
            _ => (format!("{name} and {other} each receive {amount} as a present."), mine + amount, theirs + amount),
        };
        text.push(' ');
        text.push_str(&sentence);
        told.push(plainly(&sentence, name, other, amount).replace(&format!(" {place}"), "").replace(thing, "things"));
        has[who] = mine;
        has[1 - who] = theirs;
    }
    let (question, value) = match counter.below(4) {
        0 => (format!("How many {thing} does {} have now?", names[0]), has[0]),
        1 => (format!("How many {thing} does {} have now?", names[1]), has[1]),
        2 => (format!("How many {thing} do they have together now?"), has[0] + has[1]),
        _ => {
            let first = if has[0] >= has[1] { 0 } else { 1 };
            let question = format!("How many more {thing} does {} have than {} now?", names[first], names[1 - first]);
            (question, has[first] - has[1 - first])
        }
    };
    told.push(question.replace(thing, "things"));
    // Either of the two may be the first.
    let from = |first: usize| {
        let people = [names[first], names[1 - first]];
        let story = numbered(&told.join(" "), &people).replace("#1 and #0", "#0 and #1");
        format!("{} and {}: {story}", begun[first], begun[1 - first])
    };
    let content = from(0).min(from(1));
    Drawn::integer(format!("{text} {question}"), value, slip(counter)).same_as(content)
}

/// An event in one wording: who is handed something is given it.
fn plainly(sentence: &str, name: &str, other: &str, amount: i64) -> String {
    if sentence == format!("{other} hands {name} {amount}.") {
        format!("{other} gives {amount} to {name}.")
    } else {
        sentence.to_owned()
    }
}

const GOODS: &[&str] = &[
    "a lamp",
    "a chair",
    "a bottle of oil",
    "a pound of cheese",
    "a ticket",
    "a box of tea",
    "a scarf",
    "a notebook",
    "a plant",
    "a ball",
    "a bag of rice",
    "a mug",
];

pub(super) fn shopping(level: u8, counter: &mut Counter) -> Drawn {
    let largest = [20, 60, 150][usize::from(level) - 1];
    let lines = 2 + counter.below(1 + usize::from(level));
    let name = *counter.pick(NAMES);
    let goods = some(GOODS, lines, counter);
    let mut total = 0;
    let (mut parts, mut bought) = (Vec::new(), Vec::new());
    for good in goods {
        let (price, quantity) = (counter.between(2, largest), counter.between(1, 12));
        total += price * quantity;
        parts.push(format!("{quantity} times {good} at {price} dollars"));
        bought.push(format!("{quantity} at {price}"));
    }
    let mut text = format!("{name} buys {}.", parts.join(", "));
    let mut content = unordered(bought);
    if level >= 2 && counter.percent(60) {
        // A discount that leaves whole dollars: the bill is brought up to a multiple of 20 by a delivery.
        let delivery = (20 - total % 20) % 20;
        if delivery > 0 {
            text.push_str(&format!(" Delivery costs {delivery} dollars."));
        }
        let percent = 5 * counter.between(1, 10);
        total += delivery;
        total -= total * percent / 100;
        // What the delivery costs follows from the rest.
        content.push_str(&format!(", less {percent}%"));
        text.push_str(&format!(" On the whole bill there is a discount of {percent}%."));
    }
    if counter.percent(50) {
        let paid = (total / 50 + counter.between(1, 3)) * 50;
        let prompt = format!("{text} {name} pays with {paid} dollars. How many dollars of change are there?");
        Drawn::integer(prompt, paid - total, slip(counter)).same_as(format!("{content}, change of {paid}"))
    } else {
        Drawn::integer(format!("{text} How many dollars does {name} pay?"), total, slip(counter)).same_as(content)
    }
}

/// Nobody is older.
const OLDEST: i64 = 90;

/// The age of each, and how each but the first stands to the one before.
fn some_ages(names: &[&str], counter: &mut Counter) -> (Vec<i64>, Vec<String>) {
    let mut ages = vec![counter.between(4, 20)];
    let mut clues = Vec::new();
    for at in 1..names.len() {
        let before = ages[at - 1];
        let years = counter.between(2, 15);
        let (clue, age) = match counter.below(4) {
            0 => (format!("{} is {years} years older than {}.", names[at], names[at - 1]), before + years),
            1 => (format!("{} is twice as old as {}.", names[at], names[at - 1]), 2 * before),
            2 => {
                let clue =
                    format!("In {years} years, {} will be twice as old as {} will be then.", names[at], names[at - 1]);
                (clue, 2 * (before + years) - years)
            }
            _ => {
                let years = years.min(before - 1);
                let clue = format!("{years} years ago, {} was three times as old as {}.", names[at], names[at - 1]);
                (clue, 3 * (before - years) + years)
            }
        };
        clues.push(clue);
        ages.push(age);
    }
    (ages, clues)
}

pub(super) fn ages(level: u8, counter: &mut Counter) -> Drawn {
    let people = 1 + usize::from(level);
    let names = some(NAMES, people, counter);
    // Ends: where everybody is some years older than the one before, nobody is older than 65.
    let (ages, clues) = loop {
        let (ages, clues) = some_ages(&names, counter);
        if ages.iter().all(|&age| age <= OLDEST) {
            break (ages, clues);
        }
    };
    let (first, last) = (names[0], names[people - 1]);
    let sum: i64 = ages.iter().sum();
    let (given, question, value) = match counter.below(3) {
        0 => (format!("{first} is {} years old.", ages[0]), format!("How old is {last}?"), ages[people - 1]),
        1 => {
            let years = counter.between(1, 20);
            let together = sum + years * i64::try_from(people).unwrap_or(0);
            let question = format!("What will be the sum of all their ages in {years} years?");
            (format!("{first} is {} years old.", ages[0]), question, together)
        }
        _ => (format!("All of them are {sum} years old together."), format!("How old is {first}?"), ages[0]),
    };
    let prompt = format!("{} {given} {question}", clues.join(" "));
    let content = numbered(&prompt, &names);
    Drawn::integer(prompt, value, counter.between(1, 3)).same_as(content)
}
