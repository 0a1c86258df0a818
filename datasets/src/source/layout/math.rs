//! MATH and MATH-500 (hendrycks/math): `problem`, and `answer`, or else `solution` whose last
//! `\boxed{...}` is the answer.

use rewards::Reference;

use super::{Columns, Draft, Layout, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "math",
    needs: "problem, and answer or solution with \\boxed",
    recognises: |columns| has(columns, &["problem"]) && (has(columns, &["answer"]) || has(columns, &["solution"])),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let prompt = text(columns, "problem")?;
    if has(columns, &["answer"]) {
        let answer = comparable_answer(columns)?;
        return Ok(Draft::new(prompt, Reference::Math { answer }, &["problem", "answer"]));
    }
    if !has(columns, &["solution"]) {
        return Err("both columns `answer` and `solution` are missing".to_owned());
    }
    let solution = text(columns, "solution")?;
    match last_boxed(&solution) {
        Some(answer) if !answer.trim().is_empty() => {
            let answer = answer.trim().to_owned();
            Ok(Draft::new(prompt, Reference::Math { answer }, &["problem"]))
        }
        _ => Err("the column `solution` has no complete \\boxed{...}".to_owned()),
    }
}

/// The column `answer`, but for the words that NuminaMath has there where nothing can be compared with what is asked for.
pub(super) fn comparable_answer(columns: &Columns) -> Result<String, String> {
    let answer = value_text(columns, "answer")?;
    let proof = columns.get("question_type").is_some_and(|kind| kind == "proof");
    if proof || matches!(answer.to_lowercase().as_str(), "proof" | "notfound") {
        return Err(format!("it has no answer that can be compared: the column `answer` is `{answer}`"));
    }
    Ok(answer)
}

/// The content of the last `\boxed{...}`, its braces balanced; `None` if there is none or it is
/// not closed.
pub(super) fn last_boxed(solution: &str) -> Option<&str> {
    let start = solution.rfind("\\boxed{")? + "\\boxed{".len();
    let mut depth = 1_usize;
    let mut escaped = false;
    for (offset, character) in solution[start..].char_indices() {
        match character {
            // `\{` is a brace that is shown, not one that groups.
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&solution[start..start + offset]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_box_is_taken_whole() {
        for (solution, expected) in [
            (r"so \boxed{4}.", Some("4")),
            (r"\boxed{1} then \boxed{\frac{1}{2}}", Some(r"\frac{1}{2}")),
            (r"\boxed{\{1, 2\}}", Some(r"\{1, 2\}")),
            (r"\boxed{\left( 3, \frac{\pi}{2} \right)}.", Some(r"\left( 3, \frac{\pi}{2} \right)")),
            (r"\boxed{4", None),
            ("4", None),
        ] {
            assert_eq!(last_boxed(solution), expected, "{solution}");
        }
    }
}
