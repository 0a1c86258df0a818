//! What adapters write beside a question, so that a bare answer can be asked for: the same sentences in every row.
//!
//! A row that shares nothing but these with another shares nothing, which whoever compares questions has to know.

/// Behind choices with letters.
pub(super) const CHOICE: &str = "Answer with the letter of the right choice.";
/// What a program is asked for where the source leaves it open.
pub(super) const PROGRAM: &str = "Write a Python program that reads from standard input and prints to standard output.";
/// Before the name of a function.
pub(super) const FUNCTION: &str = "Write the Python function";
/// Before the head of a function with its documentation.
pub(super) const DOCUMENTED: &str = "Write this Python function, head and body:";
/// Before code with which the answer begins.
pub(super) const BEGINNING: &str = "Write it in Python and begin so:";
/// Before a test that is shown.
pub(super) const TEST: &str = "Your code should satisfy this test:";

/// A sentence that an adapter adds.
pub(crate) struct Request {
    pub(crate) sentence: &'static str,
    /// Whether what follows is code, to the end, and no part of the question either: signatures are alike in many rows.
    pub(crate) before_code: bool,
}

/// All of them.
pub(crate) const REQUESTS: [Request; 6] = [
    Request { sentence: CHOICE, before_code: false },
    Request { sentence: PROGRAM, before_code: false },
    Request { sentence: FUNCTION, before_code: false },
    Request { sentence: DOCUMENTED, before_code: false },
    Request { sentence: BEGINNING, before_code: true },
    Request { sentence: TEST, before_code: true },
];
