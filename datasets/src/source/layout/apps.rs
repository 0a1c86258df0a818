//! APPS and TACO: `question` (or `problem`), and `input_output`, JSON text with `inputs`, `outputs` and, for functions,
//! `fn_name`; `starter_code`, `solutions`.

use super::program::{draft, input_output, json_text, question};
use super::{Columns, Draft, Layout, has, optional_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "apps",
    needs: "question, input_output with inputs and outputs",
    recognises: |columns| has(columns, &["input_output"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let question = question(columns)?;
    let tests = json_text(columns, "input_output")?;
    if tests.trim().is_empty() {
        return Err("the column `input_output` is empty".to_owned());
    }
    let (reference, function) = input_output(&question, &tests)?;
    let starter = optional_text(columns, "starter_code")?;
    let used = &["question", "problem", "input_output", "starter_code"];
    Ok(draft(&question, function.as_deref(), &starter, reference, used))
}
