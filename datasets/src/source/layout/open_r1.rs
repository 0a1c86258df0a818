//! Open R1's parquet layouts: `OpenR1-Math-220k` (`problem`, `answer`, with `problem_type` and `generations`), and the
//! sets for GRPO with `prompt` (or `problem`) and `solution`, a bare answer or a text with `\\boxed`.

use rewards::Reference;

use super::math::{comparable_answer, last_boxed};
use super::{Columns, Draft, Layout, conversation, has, text, value_text};

pub(super) const LAYOUT: Layout = Layout {
    name: "open-r1",
    needs: "problem and answer with problem_type or generations; or prompt and solution",
    recognises: |columns| {
        let collected =
            has(columns, &["problem", "answer"]) && (has(columns, &["problem_type"]) || has(columns, &["generations"]));
        collected || (has(columns, &["prompt", "solution"]) && !has(columns, &["answer"]))
    },
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    if has(columns, &["problem", "answer"]) {
        let reference = Reference::Math { answer: comparable_answer(columns)? };
        return Ok(Draft::new(text(columns, "problem")?, reference, &["problem", "answer"]));
    }
    let (prompt, turns) = conversation(columns, "prompt")?;
    let solution = value_text(columns, "solution")?;
    let answer = last_boxed(&solution).map_or(solution.as_str(), str::trim).to_owned();
    let mut draft = Draft::new(prompt, Reference::Math { answer }, &["prompt"]);
    draft.turns = turns;
    Ok(draft)
}
