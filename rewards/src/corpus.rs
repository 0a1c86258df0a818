//! Public data that may lie beside the checkout, for tests that measure. Without it they say so and pass.

// That a test was skipped is for people to read.
#![allow(clippy::print_stderr)]

use std::path::Path;

/// The text of a file of the shared data; `None`, with a word about it, where it is absent.
pub(crate) fn read(folder: &str, file: &str) -> Option<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let text = std::fs::read_to_string(beside.join("shared/data").join(folder).join(file)).ok();
    if text.is_none() {
        eprintln!("skipped: no {folder}/{file} beside the checkout");
    }
    text
}
