//! LaTeX commands that say how something is set, for the passes that work on text: [`clean`](super::clean) and
//! [`text`](super::text). (The lexer makes tokens of commands, by [`names`](super::names).)

/// What a command does to the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Nothing but space: `\left`, `\quad`.
    Space,
    /// Sets its argument as text: `\text{...}`.
    Text,
}

/// What the command `name` does, if it is one of layout.
pub(super) fn layout(name: &str) -> Option<Layout> {
    Some(match name {
        "left" | "right" | "mleft" | "mright" | "big" | "Big" | "bigl" | "bigr" | "Bigl" | "Bigr" | "displaystyle"
        | "textstyle" | "limits" | "boxed" | "fbox" | "quad" | "qquad" | "enspace" | "thinspace" => Layout::Space,
        "text" | "textbf" | "textit" | "textrm" | "textsf" | "textnormal" | "mathrm" | "mathbf" | "mathit" | "mbox"
        | "hbox" | "operatorname" | "emph" => Layout::Text,
        _ => return None,
    })
}

/// The one name of commands that mean the same.
pub(super) fn spelling(name: &str) -> &str {
    match name {
        "dfrac" | "tfrac" | "cfrac" => "frac",
        "leq" | "leqslant" => "le",
        "geq" | "geqslant" => "ge",
        "neq" => "ne",
        "cdots" | "dots" => "ldots",
        other => other,
    }
}

/// Whether `**` between these two texts raises to a power, as Python writes it; else it is Markdown's emphasis, which says
/// nothing. A power stands between two operands; a mark with space on one side alone needs another to make a pair.
pub(super) fn is_power(before: &str, behind: &str) -> bool {
    let ends = |last: char| last.is_alphanumeric() || matches!(last, ')' | ']' | '}' | '|' | '!' | '\'');
    let begins =
        |first: char| first.is_alphanumeric() || matches!(first, '(' | '[' | '{' | '|' | '\\' | '-' | '+' | '.');
    let space = [before.ends_with(char::is_whitespace), behind.starts_with(char::is_whitespace)];
    before.trim_end().ends_with(ends)
        && behind.trim_start().starts_with(begins)
        && match space {
            [true, false] => !behind.contains("**"),
            [false, true] => !before.contains("**"),
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_and_emphasis() {
        #[track_caller]
        fn check(text: &str, expected: &[bool]) {
            let found: Vec<bool> =
                text.match_indices("**").map(|(at, _)| is_power(&text[..at], &text[at + 2..])).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        check("2**3", &[true]);
        check("2 ** 3", &[true]);
        check("2 **3", &[true]);
        check("(x+1)**-2", &[true]);
        check("x**2 + y**2", &[true, true]);
        check("**42**", &[false, false]);
        check("it is **42** in all", &[false, false]);
        check("**2**3**", &[false, true, false]);
        check("**Answer:** 42", &[false, false]);
        check("**", &[false]);
    }
}
