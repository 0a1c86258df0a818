//! MBPP (google-research): `text` (in the sanitized edition `prompt`), `test_list`, and what goes
//! with the tests: `test_setup_code`, `test_imports`, `challenge_test_list`.
//!
//! The text names no function, so the first assertion is shown with it. The others are not: a
//! policy that is shown all of them is rewarded for spelling out their answers.
//!
//! The setup of two tasks builds objects of classes that the submission defines; a verifier that
//! runs it first must run it again after the submission.

use rewards::Reference;

use super::request::TEST;
use super::{Columns, Draft, Layout, has, optional_text, optional_texts, text, texts};

const COLUMNS: &[&str] = &["text", "test_list", "test_imports", "test_setup_code", "challenge_test_list"];
const SANITIZED_COLUMNS: &[&str] = &["prompt", "test_list", "test_imports", "test_setup_code", "challenge_test_list"];

pub(super) const LAYOUT: Layout = Layout {
    name: "mbpp",
    needs: "text or prompt, test_list",
    recognises: |columns| has(columns, &["test_list"]) && (has(columns, &["text"]) || has(columns, &["prompt"])),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let sanitized = has(columns, &["prompt"]);
    let question = text(columns, if sanitized { "prompt" } else { "text" })?;
    let tests = texts(columns, "test_list")?;
    let shown = shown(&tests[0]);
    let prompt = format!("{}{shown}", question.trim());
    let mut assertions = tests;
    assertions.extend(optional_texts(columns, "challenge_test_list")?);
    let mut setup = optional_texts(columns, "test_imports")?;
    setup.push(optional_text(columns, "test_setup_code")?);
    setup.retain(|part| !part.trim().is_empty());
    let reference = Reference::Tests { setup: setup.join("\n"), assertions };
    let draft = Draft::new(prompt, reference, if sanitized { SANITIZED_COLUMNS } else { COLUMNS });
    Ok(Draft { shown: shown.len(), ..draft })
}

/// What is shown behind a question.
pub(super) fn shown(test: &str) -> String {
    format!("\n{TEST}\n{}", test.trim())
}
