//! Multiple choice, columns in another case, and answers that are none.

use super::*;

#[test]
fn choices_are_listed_wherever_they_lie() {
    #[track_caller]
    fn check(row: &str, answer: &str) {
        let task = tasks("set.jsonl", row).remove(0);
        assert_eq!(task.prompt, "Which?\nA. this\nB. that\nAnswer with the letter of the right choice.", "{row}");
        assert_eq!((&task.reference, task.domain), (&math(answer), Domain::Choice), "{row}");
    }
    check(r#"{"question": "Which?", "choices": ["this", "that"], "answer": "A"}"#, "A");
    // MMLU-Pro and MedQA.
    check(r#"{"question": "Which?", "options": ["this", "that"], "answer": "B", "answer_index": 1}"#, "B");
    check(r#"{"question": "Which?", "options": {"A": "this", "B": "that"}, "answer": "that", "answer_idx": "B"}"#, "B");
    check(r#"{"question": "Which?", "options": {"A": "this", "B": "that", "C": null}, "answer": "that"}"#, "B");
    check(r#"{"question": "Which?", "options": "{\"A\": \"this\", \"B\": \"that\"}", "answer_idx": "A"}"#, "A");
    // As Parquet has maps.
    check(
        r#"{"question": "Which?", "options": [{"key": "A", "value": "this"}, {"key": "B", "value": "that"}], "answer_idx": "B"}"#,
        "B",
    );
    check(r#"{"Question": "Which?", "Options": ["this", "that"], "Answer": "B"}"#, "B");
    // As pandas writes whole numbers where one is missing.
    check(r#"{"question": "Which?", "choices": ["this", "that"], "answer": 1.0}"#, "B");
    check(r#"{"question": "Which?", "choices": ["this", "that"], "answer": "1.0"}"#, "B");

    for (row, expected) in [
        (
            r#"{"question": "Which?", "options": ["this", "that"], "answer": "C", "answer_index": 2}"#,
            "the column `answer_index` or `answer` names none of the 2 choices",
        ),
        (
            r#"{"question": "Which?", "options": [["this"], "that"], "answer": "A"}"#,
            "`options` should be a list of texts",
        ),
    ] {
        let what = error("set.jsonl", row.as_bytes());
        assert!(what.contains(expected), "{what}");
    }
}

/// Text in `answer` that is one of the choices is no letter and no number.
#[test]
fn an_answer_that_is_a_choice_is_that_choice() {
    #[track_caller]
    fn check(choices: &str, answer: &str, expected: &str) {
        let row = format!(r#"{{"question": "Which?", "choices": {choices}, {answer}}}"#);
        assert_eq!(tasks("set.jsonl", &row)[0].reference, math(expected), "{row}");
    }
    check("[3, 4, 5, 6]", r#""answer": "3""#, "A");
    check(r#"["1", "2", "3", "4"]"#, r#""answer": "2""#, "B");
    check(r#"["B", "A", "AB", "O"]"#, r#""answer": "A""#, "B");
    check(r#"{"A": "B", "B": "A", "C": "O"}"#, r#""answer": "A""#, "B");
    // These say a place, and so does a number.
    check("[3, 4, 5, 6]", r#""answer": 3"#, "D");
    check("[3, 4, 5, 6]", r#""answer_index": "3""#, "D");
    check(r#"["B", "A", "AB", "O"]"#, r#""answer": "B", "answer_idx": "A""#, "A");
    // What two of them say does not tell which.
    check(r#"["A", "B", "B", "O"]"#, r#""answer": "B""#, "B");
    check(r#"["this", "that"]"#, r#""answer": "A""#, "A");
}

/// Without its choices such a question cannot be answered.
#[test]
fn no_plain_row_loses_its_choices() {
    let open = r#"{"question": "Why?", "options": [], "answer": "so"}"#;
    let hidden = r#"{"question": "Which?", "options": ["this", "that"], "answer": "B"}"#;
    let shown = r#"{"question": "Which? A) this B) that", "options": ["this", "that"], "answer": "B"}"#;
    let read =
        read_bytes("set.jsonl", [open, open, open, hidden, shown].join("\n").as_bytes(), OnBadLine::Skip).unwrap();
    assert_eq!(
        read.tasks.iter().map(|task| task.prompt.as_str()).collect::<Vec<_>>(),
        ["Why?", "Why?", "Why?", "Which? A) this B) that"]
    );
    assert!(read.bad[0].what.starts_with("it has choices in the column `options`"), "{:?}", read.bad);
}

#[test]
fn columns_are_recognised_in_any_case() {
    #[track_caller]
    fn check(row: &str, prompt: &str, extra: &[&str]) {
        let task = tasks("set.jsonl", row).remove(0);
        assert_eq!((task.prompt.as_str(), &task.reference), (prompt, &math("4")), "{row}");
        assert_eq!(task.extra.keys().collect::<Vec<_>>(), extra, "{row}");
    }
    check(r#"{"ID": "I-1", "Problem": "p", "Solution": "s", "Answer": 4}"#, "p", &["id", "solution"]);
    check(
        r#"{"ID": 7, "Year": 1983, "Problem Number": 1, "Question": "q", "Answer": "4"}"#,
        "q",
        &["id", "year", "problem number"],
    );
    // What is recognised as it is written keeps its names.
    check(r#"{"ID": 7, "question": "q", "answer": "4"}"#, "q", &["ID"]);
    check(r#"{"Body": "b.", "Question": "q?", "Answer": 4, "ID": 7}"#, "b. q?", &["ID"]);

    let (_folder, path) = file("set.jsonl", br#"{"Question": "q", "Answer": "4", "answer": "5"}"#);
    let named = |layout| TaskStream::open(&path, Some(layout), OnBadLine::Stop).unwrap().next_batch().unwrap().unwrap();
    assert_eq!(named("plain").tasks[0].reference, math("5"));
}

/// `NuminaMath` has these words where nothing can be compared with what is asked for.
#[test]
fn a_proof_is_no_answer() {
    for row in [
        r#"{"problem": "p", "answer": "proof", "problem_type": "Algebra", "question_type": "proof"}"#,
        r#"{"problem": "p", "answer": "notfound", "problem_type": "Algebra", "question_type": "math-word-problem"}"#,
        r#"{"problem": "p", "answer": "4", "problem_type": "Algebra", "question_type": "proof"}"#,
        r#"{"problem": "p", "answer": "Proof"}"#,
    ] {
        let what = error("set.jsonl", row.as_bytes());
        assert!(what.contains("it has no answer that can be compared"), "{row}\n{what}");
    }
    let row = r#"{"problem": "p", "answer": "4", "problem_type": "Algebra", "question_type": "math-word-problem"}"#;
    assert_eq!(tasks("set.jsonl", row)[0].reference, math("4"));
}

/// No layout is near to names of one's own: then the plain one comes first, and what to do is said.
#[test]
fn columns_of_ones_own_are_to_be_renamed() {
    let message = error("other.jsonl", br#"{"query": "q", "value": 1}"#);
    let expected = "found the columns query, value; known layouts:\n  plain (prompt or question, answer)\n  task (";
    assert!(message.contains(expected), "{message}");
    let hint =
        "call the columns with the question and the answer `prompt` and `answer`; or say in a job of `recipe curate`";
    assert!(message.lines().last().unwrap().contains(hint), "{message}");
}
