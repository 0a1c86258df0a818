//! Graphs: shortest ways and what can be reached.

use std::collections::VecDeque;

use super::Drawn;
use super::same::unordered;
use crate::random::{Counter, hash_text};

const PLACES: &str = "ABCDEFGHIJKLMNOP";

fn name(place: usize) -> char {
    PLACES.as_bytes().get(place).map_or('?', |&letter| char::from(letter))
}

/// What a graph is called, whatever its places are: how it looks from each place that has a road, where each round sees one
/// road further. A link leads from a place to another and says how; `marks` are the places that the question names.
fn without_names(places: usize, links: &[(usize, i64, usize)], marks: &[usize]) -> String {
    let mut looks: Vec<u64> = (0..places)
        .map(|place| marks.iter().position(|&marked| marked == place).map_or(0, |at| 1 + at as u64))
        .collect();
    for _ in 0..places {
        let from = |place: usize| {
            let around =
                links.iter().filter(|link| link.0 == place).map(|link| format!("{} {}", link.1, looks[link.2]));
            hash_text(&format!("{}: {}", looks[place], unordered(around)))
        };
        looks = (0..places).map(from).collect();
    }
    unordered((0..places).filter(|&place| links.iter().any(|link| link.0 == place)).map(|place| looks[place]))
}

pub(super) fn graph_paths(level: u8, counter: &mut Counter) -> Drawn {
    let places = 3 + 2 * usize::from(level) + counter.below(2);
    let mut length = vec![vec![None; places]; places];
    let mut roads = Vec::new();
    let mut add = |one: usize, other: usize, counter: &mut Counter| {
        if one != other && length[one][other].is_none() {
            let miles = counter.between(1, 20);
            length[one][other] = Some(miles);
            length[other][one] = Some(miles);
            roads.push((one.min(other), one.max(other), miles));
        }
    };
    // A tree first, so that every place can be reached.
    for place in 1..places {
        let before = counter.below(place);
        add(before, place, counter);
    }
    for _ in 0..places {
        let (one, other) = (counter.below(places), counter.below(places));
        add(one, other, counter);
    }
    roads.sort_unstable();
    let from = counter.below(places);
    let to = (from + 1 + counter.below(places - 1)) % places;
    // Bellman and Ford: as many rounds as there are places are enough.
    let mut way = vec![None; places];
    way[from] = Some(0);
    for _ in 0..places {
        for &(one, other, miles) in &roads {
            for (start, end) in [(one, other), (other, one)] {
                if let Some(so_far) = way[start]
                    && way[end].is_none_or(|known| so_far + miles < known)
                {
                    way[end] = Some(so_far + miles);
                }
            }
        }
    }
    let list: Vec<String> =
        roads.iter().map(|&(one, other, miles)| format!("{}-{} {miles}", name(one), name(other))).collect();
    let prompt = format!(
        "Roads and their lengths: {}. How long is the shortest way from {} to {}?",
        list.join(", "),
        name(from),
        name(to)
    );
    let links: Vec<_> =
        roads.iter().flat_map(|&(one, other, miles)| [(one, miles, other), (other, miles, one)]).collect();
    // A way may be gone in either direction.
    let content = [[from, to], [to, from]].map(|ends| without_names(places, &links, &ends));
    Drawn::integer(prompt, way[to].unwrap_or(0), counter.between(1, 3)).same_as(unordered(content))
}

pub(super) fn reachability(level: u8, counter: &mut Counter) -> Drawn {
    let places = 4 + 2 * usize::from(level) + counter.below(3);
    let count = places + counter.below(places);
    let mut roads = Vec::new();
    while roads.len() < count {
        let road = (counter.below(places), counter.below(places));
        if road.0 != road.1 && !roads.contains(&road) {
            roads.push(road);
        }
    }
    roads.sort_unstable();
    let from = counter.below(places);
    let mut steps = vec![None; places];
    steps[from] = Some(0_i64);
    let mut queue = VecDeque::from([from]);
    while let Some(here) = queue.pop_front() {
        for &(_, end) in roads.iter().filter(|road| road.0 == here) {
            if steps[end].is_none() {
                steps[end] = steps[here].map(|so_far| so_far + 1);
                queue.push_back(end);
            }
        }
    }
    let list: Vec<String> = roads.iter().map(|&(start, end)| format!("{}>{}", name(start), name(end))).collect();
    let given = format!("One-way roads: {}.", list.join(", "));
    // Forwards and back.
    let links: Vec<_> = roads.iter().flat_map(|&(start, end)| [(start, 1, end), (end, -1, start)]).collect();
    let reached: Vec<usize> = (0..places).filter(|&place| place != from && steps[place].is_some()).collect();
    if reached.is_empty() || counter.percent(50) {
        let prompt = format!(
            "{given} There are {places} places, A to {}. How many other places can be reached from {}?",
            name(places - 1),
            name(from)
        );
        let content = format!("{places} places: {}", without_names(places, &links, &[from]));
        return Drawn::integer(prompt, i64::try_from(reached.len()).unwrap_or(0), counter.between(1, 2))
            .same_as(content);
    }
    let to = *counter.pick(&reached);
    let prompt = format!("{given} What is the least number of roads to take from {} to {}?", name(from), name(to));
    let content = without_names(places, &links, &[from, to]);
    Drawn::integer(prompt, steps[to].unwrap_or(0), counter.between(1, 2)).same_as(content)
}
