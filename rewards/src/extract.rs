//! Where in a completion the answer stands.
//!
//! The order is the grading policy's: the last complete `\boxed{...}`; then the last `<answer>` block; then
//! `#### x`, "the answer is x", the last bold text, the last number. A stronger place that is begun and not
//! finished (an unterminated or empty last box or answer block) means that there is *no* answer: what stood
//! before it was on the way, not the end.
//!
//! Everything here is one pass over the text, borrowed slices of it, no recursion.

mod number;
mod term;

use number::last_number;
use term::last_term;

/// The kinds of place that an answer is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `\boxed{...}`, `\fbox{...}`.
    Box,
    /// `<answer>...</answer>`.
    Tag,
    /// `#### ...`.
    Hashes,
    /// "the answer is ...".
    Anchor,
    /// `**...**`.
    Bold,
    /// The last number of the text. (Where a term may be an answer, [`last_value`] has the rest of it.)
    LastNumber,
}

/// An answer as written, and where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) text: &'a str,
    pub(crate) place: Place,
}

/// The answer of a completion to a question of mathematics, if it gives one.
pub(crate) fn answer(completion: &str) -> Option<Found<'_>> {
    let found = |place| move |text| Found { text, place };
    match last_box(completion) {
        Mark::Complete(text) => return Some(Found { text, place: Place::Box }),
        Mark::Broken => return None,
        Mark::Absent => {}
    }
    marked(completion)?.or_else(|| last_number(completion).map(found(Place::LastNumber)))
}

/// The answer in the strongest place but a box: `Some(None)` where there is no such place, `None` where an answer block is
/// begun and not finished.
pub(crate) fn marked(completion: &str) -> Option<Option<Found<'_>>> {
    let found = |place| move |text| Found { text, place };
    match answer_block(completion) {
        Mark::Complete(text) => return Some(Some(Found { text, place: Place::Tag })),
        Mark::Broken => return None,
        Mark::Absent => {}
    }
    let place = hashes(completion)
        .map(found(Place::Hashes))
        .or_else(|| anchor(completion).or_else(|| picked(completion)).map(found(Place::Anchor)))
        .or_else(|| bold(completion).map(found(Place::Bold)));
    Some(place)
}

/// The boxes at the end of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Boxes<'a> {
    /// The last box, after those that only a comma, a word like "and" or a name joins to it.
    Complete(Vec<&'a str>),
    /// The last box is unfinished or empty.
    Broken,
    /// There is none.
    Absent,
}

/// The last box of `text`, with the boxes beside it: `\boxed{1}, \boxed{2}` and `\boxed{3}`.
pub(crate) fn boxes(text: &str) -> Boxes<'_> {
    let mut found = Vec::new();
    let mut before = text;
    loop {
        let Some((start, content)) = last_box_in(before) else {
            return if found.is_empty() { Boxes::Absent } else { Boxes::Complete(finish(found)) };
        };
        let Mark::Complete(inside) = content else {
            return if found.is_empty() { Boxes::Broken } else { Boxes::Complete(finish(found)) };
        };
        if !found.is_empty() {
            // From where this box ends to where the next begins.
            let end = inside.as_ptr() as usize - before.as_ptr() as usize + inside.len();
            if !joins(before[end..].trim_start_matches('}')) || found.len() >= MAX_BOXES {
                return Boxes::Complete(finish(found));
            }
        }
        found.push(inside);
        before = &before[..start];
    }
}

const MAX_BOXES: usize = 32;

fn finish(mut found: Vec<&str>) -> Vec<&str> {
    found.reverse();
    found
}

/// Whether `between` only joins two boxes: separators, "and", "or", a name and its equals sign.
fn joins(between: &str) -> bool {
    if between.len() > 80 || between.contains('.') {
        return false;
    }
    let mut plain = between.to_owned();
    for layout in [
        "\\(", "\\)", "\\[", "\\]", "\\quad", "\\qquad", "\\text", "\\mathrm", "\\,", "\\;", "$", "{", "}", ",", ";",
        "&",
    ] {
        plain = plain.replace(layout, " ");
    }
    plain = plain.replace('=', " = ");
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.iter().enumerate().all(|(at, word)| {
        let joint = matches!(*word, "and" | "or" | "And" | "Or" | "\\" | "=" | "for" | "part");
        let part = word.starts_with('(') && word.ends_with(')') && word.len() <= 4;
        let name =
            word.len() <= 3 && word.starts_with(|first: char| first.is_alphabetic()) && words.get(at + 1) == Some(&"=");
        joint || part || name
    })
}

/// The program of a completion: the last fenced block inside the last `<answer>` block, or that block whole
/// where it has no fence; in a completion without any `<answer>`, its last fenced block.
pub(crate) fn program(completion: &str) -> Option<&str> {
    let within = match answer_block(completion) {
        Mark::Complete(block) => match last_fence(block) {
            Mark::Absent => return Some(unfenced(block)),
            fence => fence,
        },
        Mark::Broken => return None,
        Mark::Absent => last_fence(completion),
    };
    match within {
        Mark::Complete(text) => Some(text),
        Mark::Broken | Mark::Absent => None,
    }
}

/// A block that is all program. White space between the tag and code on the same line is not indentation.
fn unfenced(block: &str) -> &str {
    let code = block.trim_start();
    let lead = &block[..block.len() - code.len()];
    let from = lead.rfind('\n').map_or(lead.len(), |at| at + 1);
    block[from..].trim_end()
}

/// A marked place: there with its content, begun but unterminated or empty, or not there.
#[derive(Debug, PartialEq, Eq)]
enum Mark<'a> {
    Complete(&'a str),
    Broken,
    Absent,
}

impl<'a> Mark<'a> {
    fn of(text: &'a str) -> Self {
        if text.trim().is_empty() { Self::Broken } else { Self::Complete(text) }
    }
}

fn answer_block(text: &str) -> Mark<'_> {
    const OPEN: &str = "<answer>";
    let Some(start) = text.rfind(OPEN) else { return Mark::Absent };
    let rest = &text[start + OPEN.len()..];
    rest.find("</answer>").map_or(Mark::Broken, |end| Mark::of(&rest[..end]))
}

fn last_box(text: &str) -> Mark<'_> {
    last_box_in(text).map_or(Mark::Absent, |(_, content)| content)
}

/// Where the last box begins, with its backslash, and what is in it.
fn last_box_in(text: &str) -> Option<(usize, Mark<'_>)> {
    let mut before = text;
    while let Some(start) = before.rfind("box") {
        before = &text[..start];
        let (opened, command) = if before.ends_with("\\f") {
            (start + "box".len(), start - 2)
        } else if before.ends_with('\\') && text[start..].starts_with("boxed") {
            (start + "boxed".len(), start - 1)
        } else {
            continue;
        };
        let after = &text[opened..];
        if after.starts_with(|next: char| next.is_ascii_alphabetic()) {
            continue;
        }
        let content = box_content(after);
        // "put it in \\boxed and the answer is \\boxed{9}": a command without content, within a sentence, is no box.
        return Some((command, content));
    }
    None
}

/// What stands in the box: `{...}` with its braces balanced, or the one token of `\boxed 4`.
fn box_content(after: &str) -> Mark<'_> {
    let after = after.trim_start();
    let Some(inside) = after.strip_prefix('{') else {
        let end = after.find(|next: char| next.is_whitespace() || next == '$').unwrap_or(after.len());
        return Mark::of(after[..end].trim_end_matches(['.', ',', ';']));
    };
    let mut depth = 1_usize;
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' if depth == 1 => return Mark::of(&inside[..at]),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    Mark::Broken
}

/// The text after the last `####`, where it looks like an answer and not like a heading: it begins like a formula, or
/// nothing comes after it.
fn hashes(text: &str) -> Option<&str> {
    let start = text.rfind("####")? + "####".len();
    let (line, rest) = text[start..].split_once('\n').unwrap_or((&text[start..], ""));
    let line = line.trim();
    let formula = line.starts_with(|first: char| first.is_ascii_digit() || "-+.$\\([{<|".contains(first))
        || line.starts_with(|first: char| first.is_ascii_alphabetic())
            && !line[1..].starts_with(|second: char| second.is_alphanumeric());
    ((formula || rest.trim().is_empty()) && !line.is_empty()).then_some(line)
}

/// The rest of the sentence after the last "answer is", "answer:".
fn anchor(text: &str) -> Option<&str> {
    // Lower case of ASCII alone keeps every byte where it was.
    let lower = text.to_ascii_lowercase();
    let mut before = lower.as_str();
    while let Some(start) = before.rfind("answer") {
        before = &lower[..start];
        let rest = text[start + "answer".len()..].trim_start_matches(['*', '_', ' ']);
        let Some(rest) =
            rest.strip_prefix(':').or_else(|| rest.strip_prefix("is ")).or_else(|| rest.strip_prefix("is:"))
        else {
            continue;
        };
        let rest = rest.trim_start_matches([':', '*', '_', ' ', '\n']);
        let sentence = sentence(rest);
        if !sentence.is_empty() {
            return Some(sentence);
        }
    }
    None
}

/// "The correct option is (D)": a letter, and nothing but a letter.
fn picked(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let start =
        ["option is ", "choice is "].iter().filter_map(|words| Some(lower.rfind(words)? + words.len())).max()?;
    let sentence = sentence(&text[start..]);
    let letter = sentence.trim_matches(['(', ')', '*', '$', ' ']);
    (letter.len() == 1 && letter.starts_with(|letter: char| letter.is_ascii_uppercase())).then_some(sentence)
}

/// Up to the end of the sentence or line; a formula that begins it is taken whole.
fn sentence(text: &str) -> &str {
    if let Some(formula) = text.strip_prefix('$')
        && let Some(end) = find_unescaped(formula, "$")
        && !formula[..end].contains('\n')
        && end > 0
    {
        return &formula[..end];
    }
    for (open, close) in [("\\[", "\\]"), ("\\(", "\\)")] {
        if let Some(formula) = text.strip_prefix(open)
            && let Some(end) = formula.find(close)
        {
            return formula[..end].trim();
        }
    }
    let line = text.lines().next().unwrap_or("");
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim().trim_end_matches(['.', '*'])
}

/// The value of a text without marks: its last formula, or its last number with the rest of its term, whichever comes later.
pub(crate) fn last_value(text: &str) -> Option<&str> {
    let formula = last_formula(text);
    let rest = formula.map_or(text, |(end, _)| &text[end..]);
    last_term(rest).or(formula.map(|(_, inside)| inside))
}

/// The one value of a sentence, or the one that "is" leads to at its end; `None` where it names several.
pub(crate) fn value_of_sentence(sentence: &str) -> Option<&str> {
    let sentence = sentence.trim().trim_end_matches(['.', '*', '!', ' ']);
    if let Some((end, inside)) = last_formula(sentence) {
        // A formula that ends the sentence, or is alone in it.
        let start = inside.as_ptr() as usize - sentence.as_ptr() as usize;
        let alone = !sentence[..start].contains(|next: char| next.is_ascii_digit());
        let last = sentence[end..].split_whitespace().count() <= 3 && last_number(&sentence[end..]).is_none();
        if last || alone && last_number(&sentence[end..]).is_none() {
            return Some(inside);
        }
    }
    let plain = sentence.chars().all(|next| !"\\^_={}+<>|".contains(next));
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let is_number = |word: &&&str| word.contains(|next: char| next.is_ascii_digit());
    let mut numbers = words.iter().filter(is_number);
    let (first, second) = (numbers.next()?, numbers.next());
    let leads = words.len() >= 2
        && matches!(words[words.len() - 2], "is" | "are" | "=" | "be" | "was" | "equals" | "approximately");
    // 120 students / 2 in a couple = 60 couples
    let result = words.iter().rposition(|word| *word == "=").and_then(|at| words.get(at + 1..));
    let result = result.filter(|rest| second.is_some() && rest.iter().filter(is_number).count() == 1);
    let word = if second.is_none() && plain {
        // 4 π
        last_term(sentence).filter(|term| term.len() > first.len()).unwrap_or(first)
    } else if leads {
        *words.last()?
    } else {
        *result?.first().filter(is_number)?
    };
    Some(word.trim_matches(['.', ',', '*', '(', ')', ':', ';']))
}

/// The last formula between delimiters, and where it ends. A letter alone is mentioned, not answered.
fn last_formula(text: &str) -> Option<(usize, &str)> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut at = 0;
    // Closing delimiters that do not come any more: looked for once, so that the scan stays linear.
    let mut missing: Vec<&str> = Vec::new();
    while at < bytes.len() {
        let (open, close) = match bytes[at] {
            b'\\' => match bytes.get(at + 1) {
                Some(b'(') => (2, "\\)"),
                Some(b'[') => (2, "\\]"),
                _ => {
                    at += 2;
                    continue;
                }
            },
            b'$' if bytes.get(at + 1) == Some(&b'$') => (2, "$$"),
            b'$' => (1, "$"),
            _ => {
                at += 1;
                continue;
            }
        };
        let inside_from = at + open;
        let length = match text.get(inside_from..) {
            Some(rest) if !missing.contains(&close) => find_unescaped(rest, close),
            _ => None,
        };
        let Some(length) = length else {
            if !missing.contains(&close) {
                missing.push(close);
            }
            at = inside_from;
            continue;
        };
        let inside = &text[inside_from..inside_from + length];
        // "$5 and then $" is money twice, not a formula.
        if open == 1 && is_prose(inside) {
            at = inside_from;
            continue;
        }
        let end = inside_from + length + close.len();
        if inside.trim().len() > 1
            || inside.trim().bytes().all(|byte| byte.is_ascii_digit()) && !inside.trim().is_empty()
        {
            found = Some((end, inside));
        }
        at = end;
    }
    found
}

/// Where `close` stands without a backslash before it.
fn find_unescaped(text: &str, close: &str) -> Option<usize> {
    text.match_indices(close).map(|(at, _)| at).find(|&at| !text[..at].ends_with('\\'))
}

fn is_prose(inside: &str) -> bool {
    let words =
        inside.split_whitespace().filter(|word| word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    inside.len() > 400 || !inside.contains('\\') && words.count() >= 2 && inside.contains('\n') | inside.contains(' ')
}

/// The last `**...**` on one line that holds a digit or is one letter; other bold text is emphasis.
fn bold(text: &str) -> Option<&str> {
    let end = text.rfind("**")?;
    let before = &text[..text[..end].rfind("**")?];
    let inside = text[before.len() + "**".len()..end].trim();
    let answers = inside.contains(|next: char| next.is_ascii_digit()) || inside.len() == 1;
    // a**2 + b**2 are powers.
    let power = before.ends_with(|next: char| next.is_alphanumeric() || matches!(next, ')' | ']' | '}'));
    (answers && !power && !inside.contains('\n')).then_some(inside)
}

/// The content of the last fenced block: between a line that begins with ``` and the next such line.
fn last_fence(text: &str) -> Mark<'_> {
    let mut open: Option<usize> = None;
    let mut last = Mark::Absent;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        if line.trim_start().starts_with("```") {
            match open.take() {
                Some(start) => last = Mark::of(&text[start..at]),
                None => open = Some(next),
            }
        }
        at = next;
    }
    if open.is_some() { Mark::Broken } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, expected: Option<(&str, Place)>) {
        let found = answer(completion).map(|found| (found.text.trim(), found.place));
        assert_eq!(found, expected, "{completion:?}");
    }

    #[test]
    fn the_last_complete_box_counts() {
        check(r"first \boxed{3}, then \boxed{4}.", Some(("4", Place::Box)));
        check(r"\boxed{\frac{1}{2}} <answer> 7 </answer>", Some((r"\frac{1}{2}", Place::Box)));
        check(r"\fbox{4}", Some(("4", Place::Box)));
        check(r"so $\boxed 4$.", Some(("4", Place::Box)));
        check(r"\boxed {4}", Some(("4", Place::Box)));
        check(r"\boxed{\{1, 2\}}", Some((r"\{1, 2\}", Place::Box)));
        check(r"\boxed{\left\{1\right\}}", Some((r"\left\{1\right\}", Place::Box)));
    }

    #[test]
    fn an_unfinished_or_empty_last_mark_is_no_answer() {
        check(r"\boxed{3} and \boxed{4", None);
        check(r"\boxed{3} and \boxed{ }", None);
        check(r"<answer> 3 </answer> <answer> 4", None);
        check(r"<answer></answer> 7", None);
        check(r"\boxed", None);
    }

    #[test]
    fn weaker_places_in_their_order() {
        check("<think> 5 </think> <answer> 17 </answer>", Some(("17", Place::Tag)));
        check("She makes 18.\n#### 1,018\n", Some(("1,018", Place::Hashes)));
        check("#### Step 3\nThe answer is 12.5. I hope so.", Some(("12.5", Place::Anchor)));
        check("**Final Answer**: $\\frac{1}{2}$. I hope", Some((r"\frac{1}{2}", Place::Anchor)));
        check("thus **42** it is", Some(("42", Place::Bold)));
        check("from 12 to -3.5% .", Some(("-3.5%", Place::LastNumber)));
        check("7-3 and 1,250", Some(("1,250", Place::LastNumber)));
        check("it was 7-3", Some(("3", Place::LastNumber)));
        check("about 3/4.", Some(("3/4", Place::LastNumber)));
        check("some 10¹² of them", Some(("10¹²", Place::LastNumber)));
        check("I do not know", None);
        check("", None);
    }

    #[track_caller]
    fn check_program(completion: &str, expected: Option<&str>) {
        assert_eq!(program(completion), expected, "{completion:?}");
    }

    #[test]
    fn programs_come_from_the_answer() {
        check_program("<answer>\ndef f():\n    return 1\n</answer>", Some("def f():\n    return 1"));
        check_program("<answer> ok:\n```python\nx = 1\n```\nor\n```\nx = 2\n```\n</answer>", Some("x = 2\n"));
        check_program("```python\nx = 1\n```\n", Some("x = 1\n"));
        check_program("```python\nx = 1\n```\n<answer> y = 2 </answer>", Some("y = 2"));
        check_program("<answer> def f():\n    return 1 </answer>", Some("def f():\n    return 1"));
        check_program("<answer> ```python\nx = 1\n</answer>", None);
        check_program("<answer> def f(): return 1", None);
        check_program("def f(): return 1", None);
    }
}
