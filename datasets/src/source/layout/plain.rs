//! The plainest layout: `prompt` or `question`, and `answer`, a value; also where a job says that these have other names.

use rewards::Reference;
use serde::Serialize;

use super::mmlu::{choices, hidden_choices};
use super::{Columns, Draft, Layout, conversation, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "plain",
    needs: "prompt or question, answer",
    // With choices the answer is the name of one of them, which a value is not compared with.
    recognises: |columns| {
        (has(columns, &["prompt"]) || has(columns, &["question"]))
            && ANSWERS.iter().any(|name| has(columns, &[name]))
            && choices(columns).is_none()
    },
    convert: |columns| convert(&ColumnNames::default(), columns),
};

/// Columns that may hold the answer, the surest first.
const ANSWERS: [&str; 4] = ["answer", "final_answer", "ground_truth", "target"];

/// Which columns hold the question (text, or messages of which it is the last) and the answer, where it is not their names that say
/// so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ColumnNames {
    /// The question's.
    pub prompt: Option<String>,
    /// The answer's.
    pub answer: Option<String>,
}

/// The task in a row whose columns have these names.
pub(crate) fn convert(names: &ColumnNames, columns: &Columns) -> Result<Draft, String> {
    let usual = || ANSWERS.into_iter().find(|name| has(columns, &[name])).unwrap_or(ANSWERS[0]);
    let answer = names.answer.as_deref().unwrap_or_else(usual);
    let reference = Reference::Math { answer: value_text(columns, answer)? };
    let (question, turns) = match &names.prompt {
        Some(name) => conversation(columns, name)?,
        None => (text(columns, usual_prompt(columns))?, Vec::new()),
    };
    let name = names.prompt.as_deref().unwrap_or_else(|| usual_prompt(columns));
    // This layout was named, or most rows of the file have none.
    if let Some(list) = hidden_choices(columns, &question) {
        return Err(format!(
            "it has choices in the column `{list}`, which its `{name}` does not show: the layout mmlu lists them"
        ));
    }
    let draft = Draft::new(question, reference, &[]);
    Ok(Draft { turns, named: vec![name.to_owned(), answer.to_owned()], ..draft })
}

/// Where both are there, the prompt is often the question in somebody's template.
fn usual_prompt(columns: &Columns) -> &'static str {
    if has(columns, &["question"]) { "question" } else { "prompt" }
}
