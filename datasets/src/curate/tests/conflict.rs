//! Rows that ask the same and have another answer.

use super::*;

/// The prompts that stay, what was dropped by reason, and the rows that were dropped, as they lie aside.
fn deduped(written: &[(&str, &str)], step: Dedup) -> (BTreeSet<String>, BTreeMap<String, u64>, Vec<serde_json::Value>) {
    let written: Vec<(String, &str)> = written.iter().map(|&(prompt, answer)| (prompt.to_owned(), answer)).collect();
    let (folder, path) = rows(&written);
    let steps = vec![load(&path), ("dedup", Step::Dedup(step)), write_to("kept.jsonl")];
    let outcome = run_in(folder.path(), &job(steps));
    let kept = read(&folder.path().join("out/kept.jsonl"), OnBadLine::Stop).unwrap().tasks;
    let kept =
        kept.into_iter().map(|task| format!("{} {}", task.prompt, super::write::answer_of(&task.reference).unwrap()));
    let aside = fs::read_to_string(folder.path().join("out/dropped/02-dedup.jsonl")).unwrap();
    let aside = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (kept.collect(), outcome.steps[1].tally.dropped.clone(), aside)
}

fn settings(on_conflict: OnConflict, near: Option<f64>) -> Dedup {
    let Step::Dedup(dedup) = dedup(near) else { unreachable!() };
    Dedup { on_conflict, ..dedup }
}

const ROWS: [(&str, &str); 8] = [
    ("What is 3 + 4?", "7"),
    ("what is 3+4", "8"),
    ("What is 3 + 4", "7"),
    // Written otherwise, it is the same answer.
    ("Halve one.", "0.5"),
    ("halve one", "1/2"),
    ("Name a prime.", "2"),
    ("name a prime", "3"),
    ("Say one.", "1"),
];

#[test]
fn another_answer_is_no_plain_repetition() {
    let (kept, dropped, aside) = deduped(&ROWS, settings(OnConflict::First, None));
    let expected = ["Halve one. 0.5", "Name a prime. 2", "Say one. 1", "What is 3 + 4? 7"];
    assert_eq!(kept.iter().collect::<Vec<_>>(), expected);
    assert_eq!(dropped, [("exact repetition".to_owned(), 2), ("same question, other answer".to_owned(), 2)].into());
    let (row, said) = (&aside[0], aside[0]["dropped"]["detail"].as_str().unwrap());
    assert_eq!(
        (row["answer"].as_str(), row["dropped"]["reason"].as_str()),
        (Some("8"), Some("same question, other answer"))
    );
    assert!(said.starts_with("`8`, and `7` in "), "{said}");
}

/// Nor does a near repetition go because of a row that goes.
#[test]
fn a_question_with_two_answers_can_be_dropped_altogether() {
    let near = "Name a prime and say why it is one, in a few words of your own, if you please";
    let nearly = format!("{near} now");
    let rows = [&ROWS[..], &[(near, "2"), (near, "5"), (&nearly, "2")]].concat();
    let (kept, dropped, aside) = deduped(&rows, settings(OnConflict::Drop, Some(0.8)));
    let expected = ["Halve one. 0.5", &format!("{nearly} 2"), "Say one. 1"];
    assert_eq!(kept.iter().collect::<Vec<_>>(), expected);
    assert_eq!(dropped, [("exact repetition".to_owned(), 2), ("same question, other answer".to_owned(), 6)].into());
    assert!(aside[0]["dropped"]["detail"].as_str().unwrap().starts_with("`7`, and `8` in "), "{}", aside[0]);
}

/// With other numbers in the question, another answer is right.
#[test]
fn answers_are_not_compared_where_numbers_do_not_matter() {
    let step = Dedup { numbers_matter: false, ..settings(OnConflict::First, None) };
    let (_, dropped, _) = deduped(&[("What is 3 + 4?", "7"), ("What is 3 + 5?", "8")], step);
    assert_eq!(dropped, [("exact repetition".to_owned(), 1)].into());
}

/// Two lists of tests of one problem may both be right.
#[test]
fn other_tests_are_no_other_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("programs.jsonl");
    // The first one is shown in the question.
    let row = |test: &str| json!({ "text": "Write f.", "test_list": ["assert f() == 1", test] }).to_string() + "\n";
    fs::write(&path, row("assert f() < 2") + &row("assert f() > 0")).unwrap();
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("dedup", dedup(None))]));
    assert_eq!(outcome.steps[1].tally.dropped, [("exact repetition".to_owned(), 1)].into());
}
