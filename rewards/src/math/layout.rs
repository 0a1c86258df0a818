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
