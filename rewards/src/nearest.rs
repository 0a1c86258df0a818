//! The name that somebody meant.

/// The name nearest to what was typed, if it is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = typed.chars().count();
    let measured = names.into_iter().filter_map(|name| {
        // A third of the letters may be wrong: `lr` does not suggest `name`.
        let most = name.chars().count().max(3) / 3;
        // What is far longer, or far shorter, is far away and need not be measured.
        let near = name.chars().count().abs_diff(length) <= most;
        let distance = near.then(|| strsim::damerau_levenshtein(typed, name))?;
        (distance <= most).then_some((distance, name))
    });
    measured.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
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

    #[test]
    fn the_nearest_name_is_near() {
        fn check(typed: &str, expected: Option<&str>) {
            let names = ["learning_rate", "group_size", "steps", "seed", "top_p"];
            assert_eq!(nearest(typed, names), expected, "{typed}");
        }
        check("learning_rat", Some("learning_rate"));
        check("groupsize", Some("group_size"));
        check("setps", Some("steps"));
        check("sede", Some("seed"));
        check("temperature", None);
        check("x", None);
    }
}
