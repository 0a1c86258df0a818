use std::io::Write as _;
use std::path::PathBuf;

use rewards::Reference;

use super::*;
use crate::task::Domain;

mod choices;
mod values;

/// A folder with one file in it.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_bytes(name: &str, bytes: &[u8], on_bad_line: OnBadLine) -> Result<ReadTasks, DatasetError> {
    let (_folder, path) = file(name, bytes);
    read(&path, on_bad_line)
}

/// The tasks, which must all be good.
fn tasks(name: &str, text: &str) -> Vec<Task> {
    read_bytes(name, text.as_bytes(), OnBadLine::Stop).unwrap().tasks
}

/// The error's text, without the temporary folder.
fn error(name: &str, bytes: &[u8]) -> String {
    let (folder, path) = file(name, bytes);
    let error = read(&path, OnBadLine::Stop).expect_err("should be refused").to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

fn math(answer: &str) -> Reference {
    Reference::Math { answer: answer.to_owned() }
}

const GSM8K: &str = r#"{"question": "How many?", "answer": "It is 1000 + 80.\n#### 1,080"}"#;

#[test]
fn each_math_layout_is_recognised_by_its_columns() {
    for (row, prompt, answer) in [
        (GSM8K, "How many?", "1080"),
        (r#"{"problem": "p", "answer": "\\frac{1}{2}", "solution": "s"}"#, "p", "\\frac{1}{2}"),
        (r#"{"problem": "p", "answer": 4, "type": "Algebra"}"#, "p", "4"),
        (r#"{"problem": "p", "solution": "so \\boxed{\\frac{1}{2}}."}"#, "p", "\\frac{1}{2}"),
        (r#"{"id": "a", "problem": "p", "reference_solution": "s", "expected_answer": "73"}"#, "p", "73"),
        (r#"{"Body": "He has 2 groups", "Question": "How big?", "Answer": 145.0}"#, "He has 2 groups. How big?", "145"),
        (r#"{"Body": "He has 2 groups.", "Question": "How big?", "Answer": 0.5}"#, "He has 2 groups. How big?", "0.5"),
        (r#"{"prompt": "p", "answer": "yes"}"#, "p", "yes"),
        (r#"{"question": "q", "answer": 12}"#, "q", "12"),
        // DeepMath-103K and SYNTHETIC-1.
        (r#"{"question": "q", "final_answer": "12", "difficulty": 4.5}"#, "q", "12"),
        (r#"{"prompt": "p", "ground_truth": "12"}"#, "p", "12"),
        (r#"{"prompt": "p", "verification_info": "{\"ground_truth\": \"12\"}"}"#, "p", "12"),
    ] {
        let tasks = tasks("some.jsonl", row);
        assert_eq!((tasks[0].prompt.as_str(), &tasks[0].reference), (prompt, &math(answer)), "{row}");
        assert_eq!((tasks[0].source.as_str(), tasks[0].split), ("some", Split::Train));
    }
}

#[test]
fn mbpp_shows_one_test_and_keeps_its_setup() {
    let row = r#"{"text": "Add.", "code": "def add(a, b):\r\n  return a + b", "task_id": 1, "test_setup_code": "root = Node(1)",
        "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"], "challenge_test_list": ["assert add(0, 0) == 0"]}"#;
    let task = &tasks("mbpp.jsonl", &row.replace('\n', " "))[0];
    assert_eq!(task.prompt, "Add.\nYour code should satisfy this test:\nassert add(1, 2) == 3");
    let assertions = ["assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 0) == 0"];
    let assertions = assertions.map(str::to_owned).to_vec();
    assert_eq!(task.reference, Reference::Tests { setup: "root = Node(1)".to_owned(), assertions });
    assert_eq!(task.extra.keys().collect::<Vec<_>>(), ["code", "task_id"]);

    let row = r#"[{"prompt": "Add.", "test_imports": ["import math"], "test_list": ["assert add(1, 2) == 3"]}]"#;
    let task = &tasks("sanitized.json", row)[0];
    let assertions = vec!["assert add(1, 2) == 3".to_owned()];
    assert_eq!(task.reference, Reference::Tests { setup: "import math".to_owned(), assertions });
}

#[test]
fn humaneval_puts_what_stands_before_the_head_into_the_setup() {
    let row = r#"{"task_id": "H/0", "prompt": "import math\n\ndef f(x):\n    \"\"\" Root. \"\"\"\n", "entry_point": "f", "canonical_solution": "    return math.sqrt(x)\n", "test": "def check(candidate):\n    assert candidate(4) == 2\n"}"#;
    let task = &tasks("h.jsonl", row)[0];
    let Reference::Tests { setup, assertions } = &task.reference else { panic!("not tests") };
    assert_eq!(task.extra["solution"].as_str().unwrap().lines().count(), 5);
    assert_eq!(setup, "import math\n\ndef check(candidate):\n    assert candidate(4) == 2\n");
    assert_eq!(assertions, &["check(f)"]);
    assert!(task.prompt.ends_with("def f(x):\n    \"\"\" Root. \"\"\""), "{}", task.prompt);
}

#[test]
fn other_peoples_layouts_say_more_than_a_question() {
    let read = |row: &str| tasks("set.jsonl", row).remove(0);
    let mmlu = read(r#"{"question": "Which?", "type": "biology", "choices": ["this", "that"], "answer": 1}"#);
    assert_eq!(mmlu.prompt, "Which?\nA. this\nB. that\nAnswer with the letter of the right choice.");
    assert_eq!((&mmlu.reference, mmlu.domain), (&math("B"), Domain::Choice));
    assert_eq!(mmlu.extra.keys().collect::<Vec<_>>(), ["type", "choices"]);

    let verl = read(
        r#"{"data_source": "gsm8k", "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "2+2?"}],
        "ability": "math", "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"index": 0}}"#
            .replace('\n', " ")
            .as_str(),
    );
    assert_eq!((verl.prompt.as_str(), &verl.reference, verl.source.as_str()), ("2+2?", &math("4"), "gsm8k"));
    assert_eq!((verl.turns[0].role.as_str(), verl.turns[0].content.as_str()), ("system", "Think."));
    let countdown = read(
        r#"{"prompt": [{"role": "user", "content": "Make 7"}], "reward_model": {"ground_truth": {"target": 7, "numbers": [3, 4]}}}"#,
    );
    assert_eq!(countdown.reference, Reference::Countdown { numbers: vec![3, 4], target: 7 });

    // Skywork-OR1: a list of the answer.
    let truth = |truth: &str| {
        format!(r#"{{"prompt": [{{"role": "user", "content": "q"}}], "reward_model": {{"ground_truth": {truth}}}}}"#)
    };
    for (written, answer) in [
        (r#""[\"\\\\frac{3}{2}\"]""#, "\\frac{3}{2}"),
        (r#""[\"1, 2\"]""#, "1, 2"),
        (r#"["7"]"#, "7"),
        // Intervals.
        (r#""[1, 2]""#, "[1, 2]"),
        (r#""[0, 1)""#, "[0, 1)"),
    ] {
        assert_eq!(read(&truth(written)).reference, math(answer), "{written}");
    }
    for (written, what) in [
        (r#""[\"1/2\", \"0.5\"]""#, "`ground_truth` lists 2 answers, and a task is compared with one"),
        (
            r#""{\"test_code\": \"def check(f): pass\", \"entry_point\": \"f\", \"import_prefix\": [\"re\"]}""#,
            "`import_prefix` should be text, but is a list",
        ),
        (r#""{\"test_code\": \"assert f() == 1\"}""#, "`ground_truth` has no texts `test_code` and `entry_point`"),
    ] {
        let error = error("set.jsonl", truth(written).as_bytes());
        assert!(error.contains(what), "{error}");
    }

    for row in [
        r#"{"problem": "2+2?", "answer": "4", "problem_type": "Algebra", "solution": "s", "uuid": "u"}"#,
        r#"{"prompt": "2+2?", "solution": "so \\boxed{4}"}"#,
        r#"{"prompt": [{"role": "user", "content": "2+2?"}], "solution": "4"}"#,
    ] {
        let task = read(row);
        assert_eq!((task.prompt.as_str(), &task.reference), ("2+2?", &math("4")), "{row}");
    }
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(format!("{GSM8K}\n").as_bytes()).unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..300).for_each(|_| zipped.write_all(&piece).unwrap());
    let error = error("long.jsonl.gz", &zipped.finish().unwrap());
    assert_eq!(
        error,
        "long.jsonl.gz, line 2: the line is longer than 256 MiB: is this JSON Lines, a row on each line?"
    );
}

#[test]
fn a_layout_can_be_named() {
    let (_folder, path) = file("rows.jsonl", br#"{"question": "q", "answer": "so\n#### 4"}"#);
    let read =
        |layout| TaskStream::open(&path, Some(layout), OnBadLine::Stop).and_then(|mut stream| stream.next_batch());
    assert_eq!(read("gsm8k").unwrap().unwrap().tasks[0].reference, math("4"));
    assert_eq!(read("plain").unwrap().unwrap().tasks[0].reference, math("so\n#### 4"));
    let error = read("gsm9k").expect_err("no such layout").to_string();
    assert!(error.starts_with("there is no layout `gsm9k`: the layouts are task, verl, humaneval"), "{error}");
}

#[test]
fn the_same_rows_read_the_same_from_every_kind_of_file() {
    let expected = tasks(
        "same.jsonl",
        "{\"prompt\":\"1, 2\",\"answer\":\"3\",\"level\":5}\n\n{\"prompt\":\"b\",\"answer\":\"4\",\"level\":6}\n",
    );
    assert_eq!(expected.len(), 2);
    assert_eq!(expected[0].extra["level"], 5);
    let array = "[\n {\"prompt\":\"1, 2\",\"answer\":\"3\",\"level\":5},\n {\"prompt\":\"b\",\"answer\":\"4\",\"level\":6}\n]\n";
    assert_eq!(tasks("same.json", array), expected);
    let lines =
        "\u{FEFF}{\"prompt\":\"1, 2\",\"answer\":\"3\",\"level\":5}\r\n{\"prompt\":\"b\",\"answer\":\"4\",\"level\":6}";
    assert_eq!(tasks("same.json", lines), expected);

    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(lines.as_bytes()).unwrap();
    let zipped = zipped.finish().unwrap();
    assert_eq!(read_bytes("same.jsonl.gz", &zipped, OnBadLine::Stop).unwrap().tasks, expected);

    let (_folder, path) = file("same.parquet", &parquet());
    assert_eq!(read(&path, OnBadLine::Stop).unwrap().tasks, expected);

    // CSV has no types: the level is text there.
    let table = tasks("same.csv", "prompt,answer,level\n\"1, 2\",3,5\n\nb,4,6\n");
    assert_eq!(table[0].extra["level"], "5");
    let ids = |tasks: &[Task]| tasks.iter().map(|task| task.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&table), ids(&expected));
}

/// The two rows of the test above as Parquet.
fn parquet() -> Vec<u8> {
    use polars::prelude::{Column, DataFrame, ParquetWriter};
    let columns = vec![
        Column::new("prompt".into(), ["1, 2", "b"]),
        Column::new("answer".into(), ["3", "4"]),
        Column::new("level".into(), [5_i64, 6]),
    ];
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut DataFrame::new(2, columns).unwrap()).unwrap();
    bytes
}

#[test]
fn a_malformed_line_is_named_with_its_place_and_its_fault() {
    for (bad, what) in [
        (&br#"{"question": "q", "#[..], "malformed JSON: EOF while parsing a value at column 17"),
        (
            br#"{"question": "q"}"#,
            "the column `answer` is missing: the layout gsm8k needs question, answer ending in `#### value`; found question",
        ),
        (
            br#"{"answer": "\n#### 1"}"#,
            "the column `question` is missing: the layout gsm8k needs question, answer ending in `#### value`; found answer",
        ),
        (
            br#"{"question": 7, "answer": "1\n#### 1"}"#,
            "the column `question` should be text, but is a number (layout gsm8k)",
        ),
        (br#"{"question": " ", "answer": "1\n#### 1"}"#, "the column `question` is empty (layout gsm8k)"),
        (br#"{"question": "q", "answer": "1"}"#, "the column `answer` has no `#### ` before its value (layout gsm8k)"),
        (b"{\"question\": \"\xFF\"}", "invalid UTF-8 at byte 15"),
        (b"[1, 2]", "expected an object with named columns, found a list"),
        (b"null", "expected an object with named columns, found null"),
    ] {
        let file = [GSM8K.as_bytes(), b"\n\n", bad, b"\n", GSM8K.as_bytes(), b"\n"].concat();
        assert_eq!(error("rows.jsonl", &file), format!("rows.jsonl, line 3: {what}"));
        let read = read_bytes("rows.jsonl", &file, OnBadLine::Skip).unwrap();
        assert_eq!((read.tasks.len(), read.bad), (2, vec![BadLine { line: 3, what: what.to_owned() }]));
    }
}

#[test]
fn a_malformed_first_line_does_not_decide_the_layout() {
    let file = format!("{{\"question\": \"q\", \"answer\": \"1\"}}\n{GSM8K}\n{GSM8K}\n");
    let read = read_bytes("rows.jsonl", file.as_bytes(), OnBadLine::Skip).unwrap();
    assert_eq!((read.tasks.len(), read.bad[0].line), (2, 1));
}

#[test]
fn rows_of_arrays_and_tables_are_named_with_their_line_too() {
    let array = b"[\n  {\"prompt\": \"p\", \"answer\": 1},\n  {\n    \"prompt\": \"p\"\n  },\n  7\n]";
    let read = read_bytes("a.json", array, OnBadLine::Skip).unwrap();
    let places: Vec<usize> = read.bad.iter().map(|bad| bad.line).collect();
    assert_eq!((read.tasks.len(), places), (1, vec![3, 6]));

    // An object around them, and one that is a row.
    let object = b"{\n  \"version\": [1],\n  \"data\": [\n    {\"prompt\": \"p\", \"answer\": 1},\n    7\n  ]\n}\n";
    let read = read_bytes("a.json", object, OnBadLine::Skip).unwrap();
    assert_eq!((read.tasks.len(), read.bad[0].line), (1, 5));
    assert_eq!(tasks("a.json", "{\n  \"prompt\": \"p\",\n  \"answer\": 1\n}").len(), 1);
    assert_eq!(
        error("a.json", b"{\n  \"train\": [{\"prompt\": \"p\"}],\n  \"test\": [{\"prompt\": \"q\"}]\n}"),
        "a.json: it is one object, with train, test: expected an array of rows, a row on each line, or an object in which one list \
         holds the rows"
    );

    let table = b"prompt,answer\n\"two\nlines\",1\nshort\n\xFF,2\nq,3\n,4\n";
    let read = read_bytes("t.csv", table, OnBadLine::Skip).unwrap();
    let bad: Vec<(usize, &str)> = read.bad.iter().map(|bad| (bad.line, bad.what.as_str())).collect();
    assert_eq!(
        bad,
        [
            (4, "1 fields where the header has 2"),
            (5, "invalid UTF-8 at byte 1"),
            (7, "the column `prompt` is missing: the layout plain needs prompt or question, answer; found answer"),
        ]
    );
    assert_eq!(read.tasks[0].prompt, "two\nlines");
    assert_eq!(
        error("t.csv", b"prompt,answer\np,1\n\"never closed,2\n"),
        "t.csv, line 3: a quoted field is never closed"
    );
}

#[test]
fn files_that_cannot_be_read_are_refused_with_a_reason() {
    for (name, bytes, message) in [
        ("empty.jsonl", &b""[..], "the task file empty.jsonl holds no rows"),
        ("blank.jsonl", b"\n \n", "the task file blank.jsonl holds no rows"),
        ("none.json", b"[ ]", "the task file none.json holds no rows"),
        ("head.csv", b"prompt,answer\n", "the task file head.csv holds no rows"),
        (
            "cut.json",
            b"[\n{\"prompt\": \"p\", \"answer\": 1},\n",
            "cut.json: line 3: the array is not closed: the file is cut off",
        ),
        ("bad.json", b"[\n{\"prompt\": \"p\",\n oops}]", "bad.json: line 3: malformed JSON: key must be a string"),
        ("cut.parquet", &parquet()[..200], "cut.parquet: the Parquet file is cut off: it does not end with `PAR1`"),
        ("not.parquet", b"hello", "not.parquet: not a Parquet file: it does not begin with `PAR1`"),
        (
            "rows.txt",
            b"hello",
            "the task file rows.txt is of no known kind: expected a name that ends in one of .jsonl, .ndjson, .json, .csv, .parquet (each also with .gz)",
        ),
        ("worst.jsonl", b"oops\n", "worst.jsonl, line 1: malformed JSON: expected value at column 1"),
    ] {
        assert_eq!(error(name, bytes), message);
    }
    let missing = read(std::path::Path::new("no/such/file.jsonl"), OnBadLine::Skip).expect_err("not there");
    assert!(missing.to_string().starts_with("cannot read the task file no/such/file.jsonl: No such file"), "{missing}");
    let hopeless = read_bytes("worst.jsonl", b"oops\n{\n", OnBadLine::Skip).expect_err("nothing usable").to_string();
    assert!(hopeless.contains("all 2 malformed; the first, at line 1: malformed JSON"), "{hopeless}");
}

#[test]
fn an_unknown_layout_lists_the_columns_found_and_the_layouts_known() {
    let message = error("other.jsonl", br#"{"text": "q", "label": 1}"#);
    assert!(
        message.contains(
            "found the columns text, label; known layouts, the nearest first:\n  mbpp (text or prompt, test_list)\n  task (prompt, reference, domain)\n  verl"
        ),
        "{message}"
    );
    assert!(message.contains("gsm8k (question, answer ending in `#### value`)"), "{message}");
}

#[test]
fn a_damaged_gzip_file_or_parquet_footer_is_an_error() {
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(GSM8K.repeat(50).as_bytes()).unwrap();
    let zipped = zipped.finish().unwrap();
    let cut = error("cut.jsonl.gz", &zipped[..zipped.len() - 9]);
    assert_eq!(cut, "cannot read the task file cut.jsonl.gz: the gzip file is cut off");
    // The last four bytes are the length of the content.
    let mut lying = zipped.clone();
    *lying.last_mut().unwrap() ^= 1;
    let lies = error("lies.jsonl.gz", &lying);
    assert_eq!(
        lies,
        "cannot read the task file lies.jsonl.gz: the gzip file is damaged: its content has not the length and the checksum that its end states"
    );
    // What a file is that is not what its name says.
    for (name, bytes, what) in [
        ("a.jsonl", &zipped[..], "a.jsonl: it looks like gzip\n  hint: give it a name that ends in .gz"),
        ("a.csv", b"\xFF\xFEp\0", "a.csv: it looks like UTF-16\n  hint: save it as UTF-8"),
        (
            "a.jsonl.gz",
            GSM8K.as_bytes(),
            "cannot read the task file a.jsonl.gz: it is no gzip file, though its name ends in .gz",
        ),
    ] {
        assert_eq!(error(name, bytes), what);
    }
    let mut footer = parquet();
    let at = footer.len() - 30;
    footer[at..at + 15].fill(0xFF);
    assert!(error("f.parquet", &footer).starts_with("f.parquet: malformed Parquet"));
}

#[test]
fn programming_sets_are_recognised_by_their_columns() {
    let check = |row: &str, prompt: &str, reference: &str, extra: &[&str]| {
        let tasks = tasks("some.jsonl", row);
        assert!(tasks[0].prompt.starts_with(prompt), "{row}\n{}", tasks[0].prompt);
        assert_eq!(serde_json::to_string(&tasks[0].reference).unwrap(), reference, "{row}");
        assert_eq!(tasks[0].domain, Domain::Code);
        assert_eq!(tasks[0].extra.keys().collect::<Vec<_>>(), extra, "{row}");
    };
    // APPS.
    check(
        r#"{"question": "Add.\r\nNow.", "solutions": "[\"s\"]", "input_output": "{\"inputs\": [\"1 2\\n\", [\"3\", \"4\"]], \"outputs\": [\"3\\n\", [\"7\"]]}", "difficulty": "easy"}"#,
        "Add.\nNow.\n\nWrite a Python program",
        r#"{"kind":"stdin","cases":[{"stdin":"1 2\n","stdout":"3\n"},{"stdin":"3\n4","stdout":"7"}],"checker":"tokens"}"#,
        &["solutions", "difficulty"],
    );
    // LiveCodeBench.
    check(
        r#"{"question_content": "Add. The error must be at most 10^{-6}.", "question_id": "a", "public_test_cases": "[{\"input\": \"1\", \"output\": \"2\", \"testtype\": \"stdin\"}]", "private_test_cases": "[]", "starter_code": "", "metadata": "{}"}"#,
        "Add.",
        r#"{"kind":"stdin","cases":[{"stdin":"1","stdout":"2"}],"tolerance":1e-6}"#,
        &["question_id", "metadata"],
    );
    // Codeforces as Open R1 has it.
    check(
        r#"{"id": "1/A", "description": "Add.", "input_format": "Two numbers.", "output_format": "One.", "note": null, "examples": [{"input": "1 2", "output": "3"}], "official_tests": [{"input": "1 2", "output": "3"}, {"input": "4 5", "output": "9"}], "interaction_format": null, "input_mode": "stdio", "generated_checker": null}"#,
        "Add.\n\nInput\nTwo numbers.\n\nOutput\nOne.\n\nExample input\n1 2\n\nExample output\n3\n\nWrite",
        r#"{"kind":"stdin","cases":[{"stdin":"1 2","stdout":"3"},{"stdin":"4 5","stdout":"9"}],"checker":"tokens"}"#,
        &["id", "input_mode"],
    );
    // Open R1's verifiable problems.
    check(
        r#"{"problem_statement": "Add.", "verification_info": {"language": "python", "test_cases": [{"fn_name": null, "input": "1", "output": "2", "type": "stdin_stdout"}]}}"#,
        "Add.",
        r#"{"kind":"stdin","cases":[{"stdin":"1","stdout":"2"}]}"#,
        &[],
    );
    // Code Contests, and plain rows.
    check(
        r#"{"description": "Add.", "public_tests": {"input": ["1"], "output": ["2"]}, "private_tests": {"input": [], "output": []}}"#,
        "Add.",
        r#"{"kind":"stdin","cases":[{"stdin":"1","stdout":"2"}],"checker":"tokens"}"#,
        &[],
    );
    check(
        r#"{"prompt": "Add.", "solution": "s", "tests": [{"input": "1", "output": "2"}]}"#,
        "Add.",
        r#"{"kind":"stdin","cases":[{"stdin":"1","stdout":"2"}]}"#,
        &["solution"],
    );
}

#[test]
fn functions_of_programming_sets_are_called() {
    for (row, arguments, expected, wrapped) in [
        (
            r#"{"question": "Add.", "starter_code": "class Solution:\n    def add(self, a, b):", "input_output": "{\"fn_name\": \"add\", \"inputs\": [[1, [2]]], \"outputs\": [[3]]}"}"#,
            "[1, [2]]",
            "[3]",
            true,
        ),
        (
            r#"{"question_content": "Add.", "starter_code": "def add(a, b):", "public_test_cases": "[{\"input\": \"1\\n[2]\", \"output\": \"3\", \"testtype\": \"functional\"}]", "private_test_cases": "[]", "metadata": "{\"func_name\": \"add\"}"}"#,
            "[1, [2]]",
            "3",
            false,
        ),
        (
            r#"{"prompt": "Add.", "verification_info": "{\"language\": \"python\", \"test_cases\": [{\"fn_name\": \"add\", \"input\": [1, [2]], \"output\": [3], \"type\": \"function_call\"}]}"}"#,
            "[1,[2]]",
            "[3]",
            true,
        ),
    ] {
        let tasks = tasks("some.jsonl", row);
        let Reference::Calls { function, cases, tolerance, .. } = &tasks[0].reference else { panic!("{:?}", tasks[0]) };
        assert_eq!((function.as_str(), *tolerance, cases.len()), ("add", None, 1), "{row}");
        let case = &cases[0];
        assert_eq!((case.arguments.as_str(), case.expected.as_str(), case.wrapped), (arguments, expected, wrapped));
        assert!(tasks[0].prompt.contains("add"), "{}", tasks[0].prompt);
    }
}

#[test]
fn programs_that_cannot_be_judged_are_refused() {
    for (row, expected) in [
        (
            r#"{"description": "d", "official_tests": [{"input": "1", "output": "2"}], "interaction_format": "talk"}"#,
            "talk to its judge",
        ),
        (
            r#"{"description": "d", "official_tests": [{"input": "1", "output": "2"}], "input_mode": "file"}"#,
            "read a file",
        ),
        (r#"{"description": "d", "official_tests": []}"#, "no pairs of input and output"),
        (r#"{"question": "q", "input_output": "{\"inputs\": [\"1\"], \"outputs\": []}"}"#, "1 inputs and 0 outputs"),
        (r#"{"question": "q", "input_output": ""}"#, "`input_output` is empty"),
        (r#"{"input_output": "{\"inputs\": [\"1\"], \"outputs\": [\"1\"]}"}"#, "the question is missing"),
        (r#"{"problem": "p", "verification_info": {"language": "cpp", "test_cases": []}}"#, "its language is cpp"),
    ] {
        let what = error("some.jsonl", row.as_bytes());
        assert!(what.contains(expected), "{row}\n{what}");
    }
}

/// A test that was left out in silence would make the task easier than its source.
#[test]
fn a_row_with_a_broken_test_is_named_and_not_shortened() {
    let good = r#"{"input": "1", "output": "2"}"#;
    for (row, expected) in [
        (
            r#"{"description": "d", "official_tests": [GOOD, {"input": "1"}]}"#,
            "`official_tests`: a test has an `input` and no output",
        ),
        (r#"{"description": "d", "official_tests": [GOOD, {"output": "1"}]}"#, "a test has an `output` and no input"),
        (r#"{"description": "d", "official_tests": [GOOD, "1 2"]}"#, "should have input and output, but is text"),
        (
            r#"{"description": "d", "official_tests": [GOOD, {"input": "1", "output": {"a": 1}}]}"#,
            "the output of a test should be text, but is an object",
        ),
        (
            r#"{"description": "d", "official_tests": [GOOD, {"input": ["1", null], "output": "1"}]}"#,
            "a line of the input of a test should be text, but is null",
        ),
        (
            r#"{"description": "d", "official_tests": "[{", "examples": [GOOD]}"#,
            "the column `official_tests` is no JSON: EOF",
        ),
        (
            r#"{"description": "d", "official_tests": "none", "examples": [GOOD]}"#,
            "the column `official_tests` is no JSON: expected",
        ),
        (
            r#"{"description": "d", "official_tests": [GOOD], "examples": "[{'input'"}"#,
            "the column `examples` is no JSON: key must be a string",
        ),
        (r#"{"question": "q", "tests": [GOOD, {"stdin": "1"}]}"#, "`tests`: a test has an `stdin` and no output"),
        (r#"{"question": "q", "tests": "[{'input': '1', 'output': '2'}]"}"#, "the column `tests` is no JSON"),
        (r#"{"question": "q", "tests": {"inputs": ["1", "2"], "outputs": ["1"]}}"#, "2 inputs and 1 outputs"),
        (r#"{"problem": "p", "verification_info": "{"}"#, "the column `verification_info` is no JSON"),
        (
            r#"{"problem": "p", "verification_info": {"test_cases": "["}}"#,
            "`test_cases` of the column `verification_info` are no JSON",
        ),
        (r#"{"problem": "p", "verification_info": {"test_cases": [GOOD, {"input": "1"}]}}"#, "no output"),
        (
            r#"{"question": "q", "input_output": {"inputs": ["1", {}], "outputs": ["1", "2"]}}"#,
            "the input of a test should be text",
        ),
        (
            r#"{"question": "q", "input_output": {"fn_name": 7, "inputs": [[1]], "outputs": [1]}}"#,
            "`fn_name` of the tests should be text, but is a number",
        ),
        (
            r#"{"question": "q", "input_output": "{\"fn_name\": \"f\", \"inputs\": [[0], [1]], \"inputs\": [[1]], \"outputs\": [1]}"}"#,
            "more than one `inputs`",
        ),
        (
            r#"{"question_content": "q", "metadata": "{", "public_test_cases": [{"input": "1", "output": "2", "testtype": "functional"}]}"#,
            "the column `metadata` is no JSON",
        ),
        (
            r#"{"prompt": "p", "reward_model": {"ground_truth": {"numbers": [1, 2.5], "target": 3}}}"#,
            "without whole `numbers`",
        ),
        (
            r#"{"prompt": "p", "reward_model": {"ground_truth": "{\"assert_case\": [\"assert f() == 1\", 2]}"}}"#,
            "an `assert_case` of `ground_truth` is no text",
        ),
        (r#"{"text": "t", "test_list": "[\"assert f() == 1\""}"#, "the column `test_list` is no JSON"),
    ] {
        let row = row.replace("GOOD", good);
        let what = error("some.jsonl", row.as_bytes());
        assert!(what.starts_with("some.jsonl, line 1: ") && what.contains(expected), "{row}\n{what}");
    }
    // Prose is no broken test.
    let row = r#"{"question": "q", "examples": "[Example] in: 1", "tests": [GOOD]}"#.replace("GOOD", good);
    assert_eq!(tasks("some.jsonl", &row).len(), 1);
}

#[test]
fn a_stored_row_says_what_it_does_not_mean() {
    let row = r#"{"prompt": "p", "reference": {"kind": "math", "answer": "1"}, "domain": "math"}"#;
    assert_eq!(tasks("some.jsonl", row)[0].reference, math("1"));
    for (change, expected) in [
        (r#""domain": "maths""#, "the column `domain` should be math, code, choice, logic or text, but is `maths`"),
        (r#""domain": "math", "split": "training""#, "`split` should be train, validation or held, but is `training`"),
        (r#""domain": "math", "difficulty": "hard""#, "`difficulty` should be a number, but is `hard`"),
        (r#""domain": "math", "difficulty": [1]"#, "`difficulty` should be text, but is a list"),
        (r#""domain": "math", "extra": 7"#, "`extra` should be an object, but is a number"),
        (r#""domain": "math", "reference": """#, "the column `reference` is empty"),
    ] {
        let what = error("some.jsonl", row.replace(r#""domain": "math""#, change).as_bytes());
        assert!(what.starts_with("some.jsonl, line 1: ") && what.contains(expected), "{change}\n{what}");
    }
}
