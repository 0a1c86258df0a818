//! Contamination: what is told as shared, and what is not though rows of a layout share it.

use serde_json::Value;

use super::*;

/// Runs `decontaminate` over rows against an evaluation set; how many stay, and what is noted.
#[track_caller]
fn decontaminate(training: &str, exam: &str, ngram: usize) -> (u64, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (path, exam_path) = (folder.path().join("rows.jsonl"), folder.path().join("exam.jsonl"));
    fs::write(&path, training).unwrap();
    fs::write(&exam_path, exam).unwrap();
    let against = vec![EvaluationSet { path: exam_path, layout: None, optional: false }];
    let step = Step::Decontaminate(Decontaminate { against, ngram, label: false });
    let job = job(vec![load(&path), ("clean", step)]);
    check(&job).unwrap_or_else(|error| panic!("{error}"));
    let tally = run_in(folder.path(), &job).steps.remove(1).tally;
    (tally.rows_out, tally.notes)
}

/// A row of each layout in which a question can be told: `QUESTION` is what it asks, `NAME` a function's name.
const LAYOUTS: [&str; 19] = [
    r#"{"prompt": [{"role": "user", "content": "QUESTION"}], "reference": {"kind": "math", "answer": "1"}, "domain": "math"}"#,
    r#"{"prompt": [{"role": "user", "content": "QUESTION\nAnswer with the letter of the right choice."}], "reference": {"kind": "math", "answer": "A"}, "domain": "choice"}"#,
    r#"{"question": "QUESTION", "answer": "so\n#### 1"}"#,
    r#"{"problem": "QUESTION", "solution": "so \\boxed{1}"}"#,
    r#"{"problem": "QUESTION", "expected_answer": "1"}"#,
    r#"{"Body": "QUESTION", "Question": "How?", "Answer": 1}"#,
    r#"{"question": "QUESTION", "choices": ["NAME one", "NAME two"], "answer": 1}"#,
    r#"{"question": "QUESTION", "options": ["NAME one", "NAME two"], "answer": "B", "answer_index": 1}"#,
    r#"{"text": "QUESTION", "test_list": ["assert NAME([1, 2, 3, 4, 5, 6, 7, 8, 9]) == 9"]}"#,
    r#"{"question": "QUESTION", "input_output": "{\"inputs\": [\"1\"], \"outputs\": [\"1\"]}"}"#,
    r#"{"question": "QUESTION", "starter_code": "class Solution:\n    def NAME(self, nums: List[int], target: int, k: int, more: List[int]) -> List[int]:", "input_output": "{\"fn_name\": \"NAME\", \"inputs\": [[1]], \"outputs\": [1]}"}"#,
    r#"{"question": "QUESTION modulo 10^9 + 7", "input_output": "{\"fn_name\": \"NAME\", \"inputs\": [[1]], \"outputs\": [1]}"}"#,
    r#"{"question_content": "QUESTION", "public_test_cases": "[{\"input\": \"1\", \"output\": \"1\", \"testtype\": \"stdin\"}]", "private_test_cases": "[]"}"#,
    r#"{"description": "QUESTION", "input_format": "NAME", "official_tests": [{"input": "1", "output": "1"}], "examples": [{"input": "1", "output": "1"}]}"#,
    r#"{"prompt": "QUESTION", "verification_info": {"test_cases": [{"input": "1", "output": "1"}]}}"#,
    r#"{"prompt": "QUESTION", "tests": [{"input": "1", "output": "1"}]}"#,
    r#"{"prompt": "from typing import List\n\ndef NAME(x):\n    \"\"\"QUESTION\"\"\"\n", "entry_point": "NAME", "test": "def check(candidate):\n    pass"}"#,
    r#"{"prompt": "QUESTION", "solution": "1"}"#,
    r#"{"prompt": "QUESTION", "answer": "1"}"#,
];

/// What an adapter writes beside a question stands in every row of its layout, whoever reads the rows.
#[test]
fn what_our_adapters_add_is_not_shared() {
    let filled = |row: &str, question: &str, name: &str| row.replace("QUESTION", question).replace("NAME", name) + "\n";
    let long = "Seven ships leave an old harbour before sunrise";
    for row in LAYOUTS {
        for (question, other) in
            [(long, "Green parrots may sing louder than any grey crow"), ("Two ships", "Green parrots")]
        {
            for ngram in [8, 13] {
                let training = filled(row, other, "parrots") + &filled(row, question, "ships");
                let left = decontaminate(&training, &filled(row, question, "ships"), ngram).0;
                assert_eq!(left, 1, "{question} ({ngram}): {row}");
            }
        }
    }
}

/// The same question in another layout is found behind what that layout adds.
#[test]
fn a_question_is_found_whatever_layout_it_lies_in() {
    let exam = r#"{"question": "Add two numbers", "answer": "1"}"#;
    let program = r#"{"question": "Add two numbers.", "input_output": "{\"inputs\": [\"1\"], \"outputs\": [\"1\"]}"}"#;
    assert_eq!(decontaminate(program, exam, 8).0, 0);
    let test = r#"{"text": "Add two numbers.", "test_list": ["assert add(1, 2) == 3"]}"#;
    assert_eq!(decontaminate(test, exam, 8).0, 0);
}

#[test]
fn earlier_turns_are_looked_at_too_and_system_messages_are_not() {
    let said = "How many of the first ten primes are odd numbers?";
    let row = |system: &str, first: &str| {
        let messages = json!([
            { "role": "system", "content": system },
            { "role": "user", "content": first },
            { "role": "assistant", "content": "hm" },
            { "role": "user", "content": "Are you sure?" },
        ]);
        json!({ "prompt": messages, "reward_model": { "ground_truth": "9" } }).to_string() + "\n"
    };
    let exam = json!({ "question": said, "answer": "9" }).to_string();
    let training = row("Be brief.", said) + &row(said, "What is 2 + 2?") + &row("Be brief.", "What is 2 + 2?");
    assert_eq!(decontaminate(&training, &exam, 8).0, 2);
    // And of the evaluation set the same.
    assert_eq!(decontaminate(&exam, &row("Be brief.", said), 8).0, 0);
}

/// Whatever script a question is written in, and however its letters are encoded, it is found within a longer text.
#[test]
fn a_question_in_any_script_is_found_within_a_text() {
    for (said, training) in [
        (
            "小明有三个苹果，又买了两个，一共有几个？",
            "请回答下面的问题：小明有三个苹果，又买了两个，一共有几个？请写出步骤。",
        ),
        ("りんごは全部で何個ありますか。", "次の問題。りんごは全部で何個ありますか。答えよ。"),
        (
            "Où se trouve la première bibliothèque créée près du théâtre ?",
            "Dis-moi\u{a0}: ou\u{300} se trouve la premie\u{300}re bibliothe\u{300}que cre\u{301}e\u{301}e pre\u{300}s du the\u{301}a\u{302}tre\u{a0}?",
        ),
    ] {
        let row = |question: &str| json!({ "question": question, "answer": "5" }).to_string();
        assert_eq!(decontaminate(&row(training), &row(said), 8).0, 0, "{said}");
        assert_eq!(decontaminate(&row("小红有五本书，借出去一本。"), &row(said), 8).0, 1, "{said}");
    }
}

/// Of an evaluation set only the questions count: it may have columns of its own, in any case, and rows without an answer.
#[test]
fn an_evaluation_set_needs_questions_and_nothing_else() {
    let said = "How many of the first ten primes are odd numbers?";
    let training = json!({ "question": said, "answer": "9" }).to_string();
    for exam in [
        json!({ "Question": said, "Correct Answer": "9", "Incorrect Answer 1": "10", "Subdomain": "x" }),
        json!({ "ID": 1, "Problem": said, "Answer": 9 }),
        json!({ "question": said, "answer": null }),
        json!({ "problem": said, "answer": "proof", "problem_type": "Algebra" }),
        json!({ "question": said, "choices": ["9", "10"], "answer": -1 }),
    ] {
        assert_eq!(decontaminate(&training, &exam.to_string(), 8), (0, vec![]), "{exam}");
    }
    let exam = json!({ "question": said, "answer": 9 }).to_string() + "\n{\"answer\": 3}\noops\n";
    let (left, notes) = decontaminate(&training, &exam, 8);
    assert_eq!((left, notes.len()), (0, 1));
    let expected = "exam.jsonl: 2 rows have no question to compare with, the first at line 2: the question is missing";
    assert!(notes[0].contains(expected), "{notes:?}");
}

/// Whoever writes such a sentence into a prompt of their own may write a question behind it.
#[test]
fn a_question_behind_a_sentence_of_our_adapters_is_found() {
    let said = "How many of the first ten primes are odd numbers?";
    let shown = "Name a prime.\nYour code should satisfy this test:\nassert prime() == 2";
    let user = |content: &str| json!({ "role": "user", "content": content });
    let verl =
        |messages: &[Value], truth: &str| json!({ "prompt": messages, "reward_model": { "ground_truth": truth } });
    let rows = [
        verl(&[user(shown), json!({ "role": "assistant", "content": "def prime(): ..." }), user(said)], "9"),
        verl(&[user(&format!("{shown}\n\n{said}"))], r#"{"assert_case": ["assert prime() == 2"]}"#),
        json!({ "prompt": format!("Write it in Python and begin so: print the answer. {said}"), "answer": "9" }),
        json!({ "question": format!("{shown}\n{said}"), "input_output": r#"{"inputs": ["1"], "outputs": ["9"]}"# }),
    ];
    let exam = json!({ "question": said, "answer": "9" });
    for row in &rows {
        assert_eq!(decontaminate(&row.to_string(), &exam.to_string(), 8).0, 0, "{row}");
        // And where such a row is of the evaluation set.
        assert_eq!(decontaminate(&exam.to_string(), &row.to_string(), 8).0, 0, "{row}");
    }
}

/// A job's own rows do not say what an adapter showed in them, and it is told all the same.
#[test]
fn code_that_was_shown_in_rows_of_a_job_is_not_shared() {
    let stored = |prompt: &str, reference: Value| {
        json!({ "prompt": [{ "role": "user", "content": prompt }], "reference": reference, "domain": "code" })
            .to_string()
            + "\n"
    };
    let test = "assert zip([1, 2, 3, 4, 5, 6, 7, 8, 9]) == 9";
    let tests = |question: &str| {
        let reference = json!({ "kind": "tests", "setup": "", "assertions": [test] });
        stored(&format!("{question}\nYour code should satisfy this test:\n{test}"), reference)
    };
    let calls = |question: &str| {
        let code = "class Solution:\n    def zip(self, nums: List[int], target: int, k: int) -> List[int]:";
        let cases = json!([{ "arguments": "[1]", "expected": "1" }]);
        let reference = json!({ "kind": "calls", "setup": "", "function": "zip", "cases": cases });
        stored(&format!("{question}\n\nWrite it in Python and begin so:\n\n{code}"), reference)
    };
    for row in [&tests as &dyn Fn(&str) -> String, &calls] {
        assert_eq!(decontaminate(&(row("Two ships.") + &row("Green parrots.")), &row("Two ships."), 8).0, 1);
    }
}
