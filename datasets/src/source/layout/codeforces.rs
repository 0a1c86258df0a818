//! Codeforces as Open R1 lays it out: `description`, `input_format`, `output_format`, `note`, `examples` and `official_tests`
//! (lists of `input` and `output`), and for some problems `generated_checker`, a Python program that says what an output is worth.
//!
//! Its judges compare words, unless a problem has a checker. Problems that talk to the program, or read files, are left out.

use rewards::{Checker, Reference};
use serde_json::Value;

use super::program::{column_cases, draft, stdin};
use super::{Columns, Draft, Layout, has, optional_text, text};

pub(super) const LAYOUT: Layout = Layout {
    name: "codeforces",
    needs: "description, official_tests or examples, input_format",
    recognises: |columns| has(columns, &["official_tests"]) || has(columns, &["examples", "input_format"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    if !optional_text(columns, "interaction_format")?.trim().is_empty() {
        return Err("the program is to talk to its judge, which is not supported".to_owned());
    }
    if optional_text(columns, "input_mode")? == "file" {
        return Err("the program is to read a file, which is not supported".to_owned());
    }
    let mut question = text(columns, "description")?.trim().to_owned();
    for (title, name) in [("Input", "input_format"), ("Output", "output_format")] {
        let part = optional_text(columns, name)?;
        if !part.trim().is_empty() {
            question.push_str(&format!("\n\n{title}\n{}", part.trim()));
        }
    }
    let mut examples = Vec::new();
    column_cases(columns, "examples", &mut examples)?;
    for example in &examples {
        question.push_str(&format!(
            "\n\nExample input\n{}\n\nExample output\n{}",
            example.stdin.trim(),
            example.stdout.trim()
        ));
    }
    let note = optional_text(columns, "note")?;
    if !note.trim().is_empty() {
        question.push_str(&format!("\n\nNote\n{}", note.trim()));
    }
    let mut cases = Vec::new();
    column_cases(columns, "official_tests", &mut cases)?;
    // The official tests begin with the examples, where they are there.
    let new = examples.into_iter().filter(|example| !cases.contains(example)).collect::<Vec<_>>();
    cases.splice(0..0, new);
    let checker = match columns.get("generated_checker") {
        Some(Value::String(program)) if !program.trim().is_empty() => Checker::Program(program.replace("\r\n", "\n")),
        _ => Checker::Tokens,
    };
    let reference: Reference = stdin(&question, cases, checker)?;
    let used =
        &["description", "input_format", "output_format", "note", "examples", "official_tests", "generated_checker"];
    Ok(draft(&question, None, "", reference, used))
}
