//! When two prompts ask the same: what a problem is called, whatever its wording, its order and its names.

/// Parts whose order says nothing.
pub(super) fn unordered<T: Ord + ToString>(parts: impl IntoIterator<Item = T>) -> String {
    let mut parts: Vec<T> = parts.into_iter().collect();
    parts.sort_unstable();
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// A text with numbers in the place of names: `names[0]` becomes `#0`. No name may be a part of another.
pub(super) fn numbered(text: &str, names: &[&str]) -> String {
    names.iter().enumerate().fold(text.to_owned(), |text, (at, name)| text.replace(name, &format!("#{at}")))
}

/// The least of what `call` makes of `count` things under all their numberings: the same, however they are called. `call`
/// is given the number of each.
pub(super) fn whatever_called<T: Ord>(count: usize, call: impl Fn(&[usize]) -> T) -> T {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut least = call(&numbers);
    while next_order(&mut numbers) {
        least = least.min(call(&numbers));
    }
    least
}

/// Goes on to the next order in the lexicographic sense; false at the last one, which stays.
pub(super) fn next_order(order: &mut [usize]) -> bool {
    // The last rise goes up as little as it can, and what follows it becomes ascending.
    let Some(rise) = (1..order.len()).rev().find(|&at| order[at - 1] < order[at]) else { return false };
    let higher = (rise..order.len()).rev().find(|&at| order[at] > order[rise - 1]).unwrap_or(rise);
    order.swap(rise - 1, higher);
    order[rise..].reverse();
    true
}
