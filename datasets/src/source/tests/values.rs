//! What a value of a row is, and what is none.

use super::*;

/// A number that 64 bits cannot hold is the answer to its last digit.
#[test]
fn large_numbers_keep_all_their_digits() {
    const LARGE: &str = "123456789012345678901234567890";
    for (written, answer) in [
        (LARGE, LARGE),
        ("-0.12345678901234567890123", "-0.12345678901234567890123"),
        // These are held as they are.
        ("1234567890123456789", "1234567890123456789"),
        ("0.1", "0.1"),
        ("145.0", "145"),
        ("0.10000000000000001", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1.234567890123456e20", "1.234567890123456e+20"),
        // Of these 64 bits hold another number, and these could not be written as they are.
        ("1234567890123456.7", "1234567890123456.7"),
        ("9007199254740993.5", "9007199254740993.5"),
        ("0.12345678901234567", "0.12345678901234567"),
        ("9007199254740.993", "9007199254740.993"),
        ("1234567890123456.75", "1234567890123456.75"),
    ] {
        let row =
            format!("{{\"question\": \"q: \\\"a, {{[\", \"more\": {{\"answer\": [0.5]}}, \"answer\" : {written} }}");
        assert_eq!(tasks("a.jsonl", &row)[0].reference, math(answer), "{row}");
        assert_eq!(tasks("a.json", &format!("[{row},\n {row}]"))[1].reference, math(answer), "{row}");
    }
}

#[test]
fn of_a_name_that_stands_twice_the_last_counts() {
    const LARGE: &str = "12345678901234567890123";
    for (members, answer) in [
        (format!("\"answer\": {LARGE}, \"answer\": 2.5"), "2.5"),
        (format!("\"answer\": 2.5, \"answer\": {LARGE}"), LARGE),
        (format!("\"answer\": {LARGE}, \"\\u0061nswer\": 2.5"), "2.5"),
    ] {
        let row = format!("{{\"question\": \"q\", {members}}}");
        assert_eq!(tasks("a.jsonl", &row)[0].reference, math(answer), "{row}");
    }
}

#[test]
fn a_missing_answer_is_no_answer() {
    for (name, file, what) in [
        ("a.jsonl", "{\"question\": \"q\", \"answer\": null}", "the column `answer` is null: this row has none"),
        ("a.csv", "question,answer\nq,nan\n", "the column `answer` is `nan`, which is no value"),
        ("a.csv", "question,answer\nq,inf\n", "the column `answer` is `inf`, which is no value"),
        ("a.csv", "question,answer\nWhat is 1/0?,null\n", "the column `answer` is `null`, which is no value"),
        ("a.csv", "question,answer\nr, NULL \n", "the column `answer` is `NULL`, which is no value"),
        ("a.csv", "question,answer\nr,None\n", "the column `answer` is `None`, which is no value"),
        ("a.csv", "question,answer\nr,NaN\n", "the column `answer` is `NaN`, which is no value"),
        ("a.jsonl", "{\"question\": \"q\", \"answer\": \"-Infinity\"}", "`answer` is `-Infinity`, which is no value"),
        (
            "a.jsonl",
            "{\"problem\": \"p\", \"answer\": null, \"solution\": null}",
            "the column `answer` is null: this row has none",
        ),
    ] {
        let error = error(name, file.as_bytes());
        assert!(error.contains(what), "{error}");
    }
}

/// A column that is null is missing, in whatever kind of file.
#[test]
fn a_null_reads_the_same_from_every_kind_of_file() {
    fn check(table: &str, row: &str, answer: &str) {
        let csv = tasks("a.csv", table);
        for read in [&csv, &tasks("a.jsonl", row), &tasks("a.json", &format!("[{row}]"))] {
            assert_eq!((read.len(), &read[0].reference, &read[0].id), (1, &math(answer), &csv[0].id), "{row}");
            assert_eq!(read[0].extra, csv[0].extra, "{row}");
        }
    }
    check(
        "problem,answer,solution\np?,,so \\boxed{3}\n",
        r#"{"problem": "p?", "answer": null, "solution": "so \\boxed{3}"}"#,
        "3",
    );
    check(
        "question,answer,choices,hint\nq?,4,,\n",
        r#"{"question": "q?", "answer": "4", "choices": null, "hint": null}"#,
        "4",
    );
}

/// A quote is around a field only where it begins it, as Python's csv module has it: no row of these is lost.
#[test]
fn a_quote_within_a_field_of_csv_is_a_letter() {
    fn check(table: &str, expected: &[(&str, &str)]) {
        let read = tasks("a.csv", &format!("question,answer\n{table}"));
        let read: Vec<(&str, Reference)> =
            read.iter().map(|task| (task.prompt.as_str(), task.reference.clone())).collect();
        let expected: Vec<(&str, Reference)> =
            expected.iter().map(|(prompt, answer)| (*prompt, math(answer))).collect();
        assert_eq!(read, expected, "{table}");
    }
    let (one, two) = (("What is 1+1?", "2"), ("What is 2+2?", "4"));
    check("What is 1+1?,2\nA 5\" pipe?,5\nWhat is 2+2?,4\n", &[one, ("A 5\" pipe?", "5"), two]);
    check(
        "A 5\" pipe?,5\r\nWhat is 1+1?,2\r\nA 6\" or 7\" pipe?,6\r\nWhat is 2+2?,4",
        &[("A 5\" pipe?", "5"), one, ("A 6\" or 7\" pipe?", "6"), two],
    );
    check(
        "\"say \"\"a, b\"\"\",5\n\"say\" it, 6\nsay \"\",7\n",
        &[("say \"a, b\"", "5"), ("say it", "6"), ("say \"\"", "7")],
    );
    check("\"two\nlines\" of 5\",5\n\"What is 1+1?\",\"2\"\r\n", &[("two\nlines of 5\"", "5"), one]);

    // One that is never closed costs its line.
    let table = b"question,answer\n\"never closed,2\nWhat is 1+1?,2\n,,\n";
    let read = read_bytes("a.csv", table, OnBadLine::Skip).unwrap();
    let bad: Vec<(usize, &str)> = read.bad.iter().map(|bad| (bad.line, bad.what.as_str())).collect();
    assert_eq!(bad, [(2, "a quoted field is never closed"), (4, "3 fields where the header has 2")]);
    assert_eq!((read.tasks.len(), read.tasks[0].prompt.as_str()), (1, "What is 1+1?"));
}

#[test]
fn another_separator_than_a_comma_is_said() {
    let said = |content: &[u8]| error("rows.csv", content);
    let semicolon =
        "rows.csv: line 1: the header is one column with a semicolon in its name\n  hint: the separator must be a";
    // With commas in its rows, too, which are not even of one field then.
    for content in [&b"question;answer\nWhy?;1\n"[..], b"question;answer\nIf so, why?;1\n"] {
        assert!(said(content).starts_with(semicolon), "{}", said(content));
    }
    let tab = "rows.csv: line 1: the header is one column with a tab in its name";
    assert!(said(b"question\tanswer\nWhy?\t1\n").starts_with(tab));
}
