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

/// All of them.
pub(crate) const REQUESTS: [&str; 6] = [CHOICE, PROGRAM, FUNCTION, DOCUMENTED, BEGINNING, TEST];

/// What stands before the last code that an adapter may have shown, to the end, with its request; none where there is no such
/// request. A text may have these sentences of its own: only who made a prompt knows ([`super::Draft::asked`]).
pub(crate) fn before_shown_code(text: &str) -> Option<&str> {
    let starts = [BEGINNING, TEST].into_iter().filter_map(|request| text.rfind(request));
    starts.max().map(|start| &text[..start])
}
