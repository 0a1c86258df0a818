//! Numbers, and what tasks ask for, as people read them.

use datasets::Task;
use rewards::Reference;

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 thing` or `2,000 things`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count as u64), if count == 1 { one } else { many })
}

/// The text on one line, cut off where it is long.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= most { line } else { line.chars().take(most).chain(['…']).collect() }
}

/// What a task's answer is compared with, on one line.
pub(crate) fn answer_line(task: &Task) -> String {
    match &task.reference {
        Reference::Math { answer } => format!("answer: {}", one_line(answer, 100)),
        Reference::Integer { value } => format!("answer: {value}"),
        Reference::Countdown { numbers, target } => format!("make {target} of {numbers:?}"),
        Reference::Tests { assertions, .. } => {
            format!(
                "{} tests, the first: {}",
                assertions.len(),
                one_line(assertions.first().map_or("", String::as_str), 100)
            )
        }
        Reference::Stdin { cases, .. } => {
            let first = cases.first().map_or(("", ""), |case| (&case.stdin, &case.stdout));
            format!(
                "{} inputs with their outputs, the first: {} -> {}",
                cases.len(),
                one_line(first.0, 50),
                one_line(first.1, 50)
            )
        }
        Reference::Calls { function, cases, .. } => {
            let first = cases.first().map_or(("", ""), |case| (&case.arguments, &case.expected));
            format!(
                "{} calls, the first: {function} of {} is {}",
                cases.len(),
                one_line(first.0, 50),
                one_line(first.1, 50)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "stage", "stages"), "1 stage");
        assert_eq!(counted(0, "stage", "stages"), "0 stages");
        assert_eq!(counted(1_234_567, "row", "rows"), "1,234,567 rows");
    }
}
