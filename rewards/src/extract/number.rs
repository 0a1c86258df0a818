//! The last number of a text without marks.

/// The last number of the text: sign, thousands separators, decimals, a slash fraction, percent. Digits glued to a letter
/// before them are part of a name.
pub(super) fn last_number(text: &str) -> Option<&str> {
    let (start, end) = last_value_digits(text)?;
    Some(signed(text, start, end))
}

/// Where the digits of [`last_number`] begin and end.
pub(super) fn last_value_digits(text: &str) -> Option<(usize, usize)> {
    let mut before = text;
    loop {
        let (start, end) = last_digits(before)?;
        if !before[..start].ends_with(|next: char| next.is_alphabetic()) {
            return Some((start, end));
        }
        before = &before[..start];
    }
}

/// Where the last run of digits with its separators begins and ends.
fn last_digits(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut start = end;
    while start > 0 {
        let previous = start - 1;
        let joins = match bytes[previous] {
            b'0'..=b'9' => true,
            b'.' => true,
            b',' | b'/' => previous > 0 && digit(previous - 1),
            _ => false,
        };
        if !joins {
            break;
        }
        start = previous;
    }
    // A full stop that ends the sentence before is not part of the number: "... 5.3" is, "so.3" is not.
    if start > 0 && bytes[start] == b'.' && bytes[start - 1].is_ascii_alphabetic() {
        return Some((start + 1, end));
    }
    Some((start, end))
}

/// The number with its sign before, raised digits and percent sign behind.
pub(super) fn signed(text: &str, start: usize, end: usize) -> &str {
    let sign = text[..start].chars().next_back().filter(|next| is_minus(*next)).map_or(0, char::len_utf8);
    let before = &text[..start - sign];
    let joined = before.ends_with(|last: char| last.is_ascii_alphanumeric() || matches!(last, ')' | ']' | '}'));
    let start = if joined { start } else { start - sign };
    let power = text[end..].chars().take_while(|next| "⁻⁰¹²³⁴⁵⁶⁷⁸⁹".contains(*next));
    let end = end + power.map(char::len_utf8).sum::<usize>();
    let end = end + usize::from(text.as_bytes().get(end) == Some(&b'%'));
    &text[start..end]
}

pub(super) fn is_minus(next: char) -> bool {
    matches!(next, '-' | '−' | '–')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_before_a_number() {
        for (text, number) in [("is −4", "−4"), ("is –4", "–4"), ("7−3", "3"), ("x = -4", "-4"), ("a-4", "4")]
        {
            assert_eq!(last_number(text), Some(number), "{text:?}");
        }
    }
}
