//! Text into HTML.

/// The text with every character that HTML would read as its own replaced. Model-written text goes
/// into the report, so nothing reaches the page without this.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            // A line that ends as on Windows.
            '\r' if rest.peek() == Some(&'\n') => {}
            // Control characters have no place in HTML, and some switch the direction of text.
            _ if character.is_control() || switches_direction(character) => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Whether text after the character, or around it, may be shown in another order than it is written in (Unicode's
/// `Bidi_Control`).
fn switches_direction(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, cut off after so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most).collect();
    short.push('…');
    short
}

const PAGE: &str = include_str!("page.html");
/// The style sheet of all pages.
const STYLE: &str = include_str!("style.css");

/// A whole page: the head that all pages have, around a body with its parts, of which the title is one. `style` are rules of
/// this page alone.
pub(super) fn page(title: &str, style: &str, body: &str, parts: &[(&str, &str)]) -> String {
    let title = escape(title);
    let body = fill(body, &[&[("title", title.as_str())], parts].concat());
    fill(PAGE, &[("title", &title), ("style", &format!("{STYLE}{style}")), ("body", &body)])
}

/// Puts the parts into the places of the template that are marked `<!--#name-->`. What is put in is
/// not looked at again, so no part can pretend to be a mark.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut pieces = template.split("<!--#");
    let mut page = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("-->").unwrap_or((piece, ""));
        if let Some((_, part)) = parts.iter().find(|(part, _)| *part == name) {
            page.push_str(part);
        }
        page.push_str(rest);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_html_is_left() {
        fn check(text: &str, expected: &str) {
            assert_eq!(escape(text), expected);
        }
        check("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        check("a & \"b\"\n", "a &amp; &quot;b&quot;\n");
        check("\u{0}\u{1b}[31m\u{202e}", "\u{fffd}\u{fffd}[31m\u{fffd}");
        check("\u{61c}\u{200e}\u{200f}\u{2066}\u{2069}", &"\u{fffd}".repeat(5));
        // What joins and parts letters and emoji stays.
        check("\u{200c}\u{200d}", "\u{200c}\u{200d}");
        check("a\r\nb\rc\r", "a\nb\u{fffd}c\u{fffd}");
    }

    #[test]
    fn parts_go_to_their_marks_and_are_not_read_again() {
        let page = fill("a<!--#x-->b<!--#y-->c<!--#none-->", &[("x", "<!--#y-->"), ("y", "Y")]);
        assert_eq!(page, "a<!--#y-->bYc");
    }
}
