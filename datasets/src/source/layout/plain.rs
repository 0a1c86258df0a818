//! The plainest layout: `prompt` or `question`, and `answer`, a value.

use rewards::Reference;

use super::{Columns, Draft, Layout, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "plain",
    needs: "prompt or question, answer",
    // With `choices` the answer is the number of one of them, which a value is not compared with.
    recognises: |columns| {
        (has(columns, &["prompt"]) || has(columns, &["question"]))
            && has(columns, &["answer"])
            && !has(columns, &["choices"])
    },
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let reference = Reference::Math { answer: value_text(columns, "answer")? };
    // Where both are there, the prompt is often the question in somebody's template.
    if has(columns, &["question"]) {
        return Ok(Draft::new(text(columns, "question")?, reference, &["question", "answer"]));
    }
    Ok(Draft::new(text(columns, "prompt")?, reference, &["prompt", "answer"]))
}
