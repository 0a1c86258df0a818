//! HumanEval (openai/human-eval): `prompt` is a Python file that ends in the head of a function,
//! `test` defines `check(candidate)`, `entry_point` is the function's name.
//!
//! What stands before that head (imports, helpers that the tests call too) goes into the setup, so
//! that a solution is complete without repeating it.

use rewards::Reference;
use serde_json::Value;

use super::request::DOCUMENTED;
use super::{Columns, Draft, Layout, has, text};

pub(super) const LAYOUT: Layout = Layout {
    name: "humaneval",
    needs: "prompt, test, entry_point",
    recognises: |columns| has(columns, &["prompt", "test", "entry_point"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let head = text(columns, "prompt")?;
    let entry_point = text(columns, "entry_point")?;
    let definition = format!("def {entry_point}(");
    let Some(start) = head.find(&definition) else {
        return Err(format!("the column `prompt` does not define `{entry_point}`"));
    };
    let test = text(columns, "test")?;
    if !test.contains("def check(") {
        return Err("the column `test` does not define `check`".to_owned());
    }
    let preamble = head[..start].trim();
    let setup = if preamble.is_empty() { test } else { format!("{preamble}\n\n{test}") };
    let prompt = format!("{DOCUMENTED}\n\n{}", head.trim());
    let reference = Reference::Tests { setup, assertions: vec![format!("check({entry_point})")] };
    let mut draft = Draft::new(prompt, reference, &["prompt", "test", "entry_point"]);
    // The published solution is a body alone; with its head it is a program.
    if let Some(Value::String(body)) = columns.get("canonical_solution") {
        // In some editions it is whole.
        let whole = body.contains(&definition);
        draft.added.push(("solution", Value::from(if whole { body.clone() } else { format!("{head}{body}") })));
    }
    Ok(draft)
}
