//! AIME as NVIDIA's `NeMo-Skills` lays it out: `problem`, `expected_answer`.

use rewards::Reference;

use super::{Columns, Draft, Layout, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "aime",
    needs: "problem, expected_answer",
    recognises: |columns| has(columns, &["problem", "expected_answer"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let reference = Reference::Math { answer: value_text(columns, "expected_answer")? };
    Ok(Draft::new(text(columns, "problem")?, reference, &["problem", "expected_answer"]))
}
