//! The name that somebody meant.

/// The name nearest to `typed`, if it is near enough to have been meant.
pub(crate) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (edit_distance(typed, name), name))
        // More than a third of the letters wrong is another word, not a slip.
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance: insertions, deletions and replacements from `a` to `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    // A name is short; a longer text is simply far away, and need not be measured.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let names = ["accuracy", "code", "format"];
        for (typed, expected) in [
            ("acuracy", Some("accuracy")),
            ("cod", Some("code")),
            ("banana", None),
            ("", None),
            ("formats", Some("format")),
        ] {
            assert_eq!(nearest(typed, names), expected, "{typed}");
        }
    }
}
