//! Answers that are not numbers: words, choices and formulas as normalised text.

/// The form in which two texts are compared. Words lose letter case and punctuation; formulas lose white
/// space, and the braces that TeX does not need.
pub(crate) fn normal_form(cleaned: &str) -> String {
    let formula = cleaned.chars().any(|next| "\\^_{}=+*/<>()[]|0123456789".contains(next));
    if formula { formula_form(cleaned) } else { words_form(cleaned) }
}

fn words_form(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for next in text.chars() {
        if next.is_alphanumeric() {
            words.extend(next.to_lowercase());
        } else if !words.ends_with(' ') && !words.is_empty() {
            words.push(' ');
        }
    }
    words.truncate(words.trim_end().len());
    if words.is_empty() { text.to_owned() } else { words }
}

fn formula_form(text: &str) -> String {
    let tight: Vec<char> = text.chars().filter(|next| !next.is_whitespace()).collect();
    let mut form = String::with_capacity(tight.len() + 8);
    let mut at = 0;
    while at < tight.len() {
        // x^{2} is x^2.
        if matches!(tight[at], '^' | '_') && tight.get(at + 1) == Some(&'{') && tight.get(at + 3) == Some(&'}') {
            form.extend([tight[at], tight[at + 2]]);
            at += 4;
            continue;
        }
        // \frac12 is \frac{1}{2}, \sqrt3 is \sqrt{3}.
        let arguments = [("\\frac", 2), ("\\sqrt", 1)]
            .into_iter()
            .find(|(name, _)| tight[at..].iter().copied().take(name.len()).eq(name.chars()));
        if let Some((name, count)) = arguments {
            form.push_str(name);
            at += name.len();
            let mut taken = 0;
            while taken < count && tight.get(at).is_some_and(|next| next.is_ascii_digit()) {
                form.extend(['{', tight[at], '}']);
                at += 1;
                taken += 1;
            }
            continue;
        }
        form.push(tight[at]);
        at += 1;
    }
    form
}

/// The letter of a choice: all of `A`, `(A)`, `A.`, or what begins `A. some text`, `(A) some text`.
/// The flag says whether the letter stands alone.
pub(crate) fn choice(text: &str) -> Option<(char, bool)> {
    let text = text.trim();
    let (letter, rest) = match text.strip_prefix('(') {
        Some(inside) => {
            let mut characters = inside.chars();
            let letter = characters.next()?;
            (letter, characters.as_str().strip_prefix(')')?)
        }
        None => {
            let mut characters = text.chars();
            let letter = characters.next()?;
            let rest = characters.as_str();
            if rest.is_empty() { (letter, rest) } else { (letter, rest.strip_prefix(['.', ')', ':'])?) }
        }
    };
    letter.is_ascii_alphabetic().then(|| (letter.to_ascii_lowercase(), rest.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_same(left: &str, right: &str) {
        assert_eq!(normal_form(left), normal_form(right), "{left:?} and {right:?}");
    }

    #[test]
    fn spellings_that_agree() {
        check_same("North-West", "north west");
        check_same(r"\frac12 x^{2}", r"\frac{1}{2}x^2");
        check_same(r"\sqrt3", r"\sqrt{3}");
        check_same("(x - 2)(x + 2)", "(x-2)(x+2)");
    }

    #[test]
    fn choices() {
        assert_eq!(choice("A"), Some(('a', true)));
        assert_eq!(choice("(B)"), Some(('b', true)));
        assert_eq!(choice("c. the cat"), Some(('c', false)));
        assert_eq!(choice("(D) dogs"), Some(('d', false)));
        assert_eq!(choice("a cat"), None);
        assert_eq!(choice("Apple"), None);
    }
}
