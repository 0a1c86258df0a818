//! SVAMP (arkilpatel/SVAMP): `Body` tells the story, `Question` asks, `Answer` is a number.

use rewards::Reference;

use super::{Columns, Draft, Layout, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "svamp",
    needs: "Body, Question, Answer",
    recognises: |columns| has(columns, &["Body", "Question", "Answer"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let (body, question) = (text(columns, "Body")?, text(columns, "Question")?);
    let (body, question) = (body.trim(), question.trim());
    // Many bodies lack their full stop; without one the question would read as their end.
    let stop = if body.ends_with(['.', '!', '?', ',']) { "" } else { "." };
    let reference = Reference::Math { answer: value_text(columns, "Answer")? };
    Ok(Draft::new(format!("{body}{stop} {question}"), reference, &["Body", "Question", "Answer"]))
}
