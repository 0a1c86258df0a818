//! GSM8K (openai/grade-school-math): `question`, and `answer` with the solution and, after it,
//! `#### ` and the number. The solution stays among the other columns.

use rewards::Reference;
use serde_json::Value;

use super::{Columns, Draft, Layout, text};

const MARK: &str = "####";

pub(super) const LAYOUT: Layout = Layout {
    name: "gsm8k",
    needs: "question, answer ending in `#### value`",
    recognises: |columns| {
        columns.contains_key("question")
            && matches!(columns.get("answer"), Some(Value::String(answer)) if answer.contains(MARK))
    },
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let prompt = text(columns, "question")?;
    let solution = text(columns, "answer")?;
    let Some((_, value)) = solution.rsplit_once(MARK) else {
        return Err("the column `answer` has no `#### ` before its value".to_owned());
    };
    // Thousands are written with commas there: 1,080.
    let answer = value.trim().replace(',', "");
    if answer.is_empty() {
        return Err("the column `answer` has nothing after `####`".to_owned());
    }
    Ok(Draft::new(prompt, Reference::Math { answer }, &["question"]))
}
