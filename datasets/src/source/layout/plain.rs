//! The plainest layout: `prompt` or `question`, and `answer`, a value.

use rewards::Reference;

use super::mmlu::{choices, hidden_choices};
use super::{Columns, Draft, Layout, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "plain",
    needs: "prompt or question, answer",
    // With choices the answer is the name of one of them, which a value is not compared with.
    recognises: |columns| {
        (has(columns, &["prompt"]) || has(columns, &["question"]))
            && has(columns, &["answer"])
            && choices(columns).is_none()
    },
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let reference = Reference::Math { answer: value_text(columns, "answer")? };
    // Where both are there, the prompt is often the question in somebody's template.
    let (name, used): (_, &[&str]) = if has(columns, &["question"]) {
        ("question", &["question", "answer"])
    } else {
        ("prompt", &["prompt", "answer"])
    };
    let question = text(columns, name)?;
    // This layout was named, or most rows of the file have none.
    if let Some(list) = hidden_choices(columns, &question) {
        return Err(format!(
            "it has choices in the column `{list}`, which its `{name}` does not show: the layout mmlu lists them"
        ));
    }
    Ok(Draft::new(question, reference, used))
}
