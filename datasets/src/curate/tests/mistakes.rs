//! What people get wrong: columns that are not there, files that do not fit; and repetitions by a column.

use polars::prelude::{Column, DataFrame, NamedFrom, ParquetWriter, Series};

use super::*;
use crate::source::ColumnNames;

fn numbered(folder: &Path, name: &str, rows: &[(&str, i64)]) -> PathBuf {
    let path = folder.join(name);
    let row = |(prompt, id): &(&str, i64)| json!({ "prompt": prompt, "answer": "1", "task_id": id }).to_string() + "\n";
    fs::write(&path, rows.iter().map(row).collect::<String>()).unwrap();
    path
}

#[test]
fn a_column_that_no_row_has_is_an_error_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = numbered(folder.path(), "rows.jsonl", &[("Say one", 1), ("Say two", 2)]);
    let by = |column: &str| {
        Step::Dedup(Dedup {
            exact: true,
            by: Some(column.to_owned()),
            near: None,
            shingle: 3,
            permutations: 128,
            numbers_matter: true,
            on_conflict: OnConflict::First,
        })
    };
    let filter =
        |text: &str| Step::Filter(Filter { condition: Some(Expression::parse(text).unwrap()), ..Filter::default() });
    for step in [filter("task_di == 2"), filter("not (words > 9 or task_di == 2)"), by("task_di")] {
        let job = job(vec![load(&path), ("pick", step)]);
        let error = run(&job, &folder.path().join("out"), &TestHost::default()).expect_err("is refused").to_string();
        assert_eq!(
            error,
            "step 2 (pick): no row has a column `task_di`; besides those of every task there are: task_id"
        );
    }
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("pick", filter("task_id == 2 and words == 2"))]));
    let reason = "`where` does not hold (task_id == 2 and words == 2)";
    assert_eq!(outcome.steps[1].tally.dropped, [(reason.to_owned(), 1)].into());
}

#[test]
fn a_misspelt_column_of_map_is_an_error_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = numbered(folder.path(), "rows.jsonl", &[("Say one", 1), ("Say two", 2)]);
    let map = |map: Map| {
        let job = job(vec![load(&path), ("tidy", Step::Map(Map { difficulty_scale: 1.0, ..map }))]);
        run(&job, &folder.path().join("out"), &TestHost::default()).map_err(|error| error.to_string())
    };
    let rename = |old: &str| Map { rename: [("number".to_owned(), old.to_owned())].into(), ..Map::default() };
    let expected = "step 2 (tidy): no row has a column `task_di`; besides those of every task there are: task_id";
    assert_eq!(map(rename("task_di")).unwrap_err(), expected);
    assert_eq!(map(Map { remove: vec!["task_di".to_owned()], ..Map::default() }).unwrap_err(), expected);
    assert_eq!(map(Map { difficulty_from: Some("task_di".to_owned()), ..Map::default() }).unwrap_err(), expected);
    // What has been renamed goes by its new name.
    let difficulty_from = Some("number".to_owned());
    let kept = map(Map { difficulty_from, remove: vec!["number".to_owned()], ..rename("task_id") }).unwrap().kept;
    let mut left: Vec<_> = kept.iter().map(|task| (task.difficulty.unwrap() as i64, task.extra.len())).collect();
    left.sort_unstable();
    assert_eq!(left, [(1, 0), (2, 0)]);
}

/// A column that is empty in all rows is there all the same, in whatever kind of file; under its new name once it is renamed, and
/// not any more once it is removed.
#[test]
fn a_column_without_any_value_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, table, parquet) =
        (folder.path().join("a.jsonl"), folder.path().join("a.csv"), folder.path().join("a.parquet"));
    fs::write(&lines, "{\"question\": \"a b\", \"answer\": \"1\", \"hint\": null}\n").unwrap();
    fs::write(&table, "question,answer,hint\na b,1,\n").unwrap();
    let texts = |name: &str, text: Option<&str>| Column::from(Series::new(name.into(), [text]));
    let columns = vec![texts("question", Some("a b")), texts("answer", Some("1")), texts("hint", None)];
    ParquetWriter::new(fs::File::create(&parquet).unwrap()).finish(&mut DataFrame::new(1, columns).unwrap()).unwrap();
    let map = |old: Option<&str>, remove: &str| {
        let rename = old.map(|old| ("note".to_owned(), old.to_owned())).into_iter().collect();
        Step::Map(Map { rename, remove: vec![remove.to_owned()], difficulty_scale: 1.0, ..Map::default() })
    };
    for path in [&lines, &table, &parquet] {
        let done = |steps: Vec<(&str, Step)>| {
            let steps = [vec![load(path), ("dedup", dedup(None))], steps].concat();
            run(&job(steps), &folder.path().join("out"), &TestHost::default()).map_err(|error| error.to_string())
        };
        done(vec![("tidy", map(None, "hint"))]).unwrap();
        done(vec![("name", map(Some("hint"), "note"))]).unwrap();
        for again in [vec![("tidy", map(None, "hint"))], vec![("name", map(Some("hint"), "note"))]] {
            let error = done([again, vec![("again", map(None, "hint"))]].concat()).unwrap_err();
            assert!(error.starts_with("step 4 (again): no row has a column `hint`"), "{error}");
        }
        let error = done(vec![("tidy", map(None, "hnt"))]).unwrap_err();
        assert!(error.starts_with("step 3 (tidy): no row has a column `hnt`"), "{error}");
    }
}

#[test]
fn a_column_of_solutions_that_no_row_has_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("programs.jsonl");
    let row = |id: u8| json!({ "text": format!("Task {id}"), "test_list": ["assert f() == 1"], "solved": "def f(): return 1" });
    fs::write(&path, format!("{}\n{}\n", row(1), row(2))).unwrap();
    let notes = |solutions: &[&str]| {
        let solutions = solutions.iter().map(|name| (*name).to_owned()).collect();
        let verify = Step::Verify(Verify { solutions, keep_without_solution: true });
        let outcome = run_in(folder.path(), &job(vec![load(&path), ("verify", verify)]));
        outcome.steps[1].tally.notes.clone()
    };
    let missing =
        |name: &str| format!("solutions: no row has a column `{name}`; besides those of every task there are: solved");
    let unchecked = "2 tasks about programs have no solution, and were kept without being checked";
    assert_eq!(notes(&["slvd"]), [missing("slvd"), unchecked.to_owned()]);
    assert_eq!(notes(&["slvd", "solved"]), [missing("slvd")]);
    assert_eq!(notes(&["solved"]), [""; 0]);
    // Each is said that somebody named, and none of those that nobody did.
    assert_eq!(notes(&["solution", "code", "canonical_solution"]).len(), 4);
    let usual = Verify::usual_solutions();
    assert_eq!(notes(&usual.iter().map(String::as_str).collect::<Vec<_>>()), [unchecked]);
}

#[test]
fn a_value_of_a_column_stands_once() {
    let folder = tempfile::tempdir().unwrap();
    let written = [("Add two", 1), ("Sum two", 1), ("add two", 2), ("Halve it", 3), ("SUM  two", 4)];
    let path = numbered(folder.path(), "rows.jsonl", &written);
    let step = |exact| {
        Step::Dedup(Dedup {
            exact,
            by: Some("task_id".to_owned()),
            near: None,
            shingle: 3,
            permutations: 128,
            numbers_matter: true,
            on_conflict: OnConflict::First,
        })
    };
    // With exact ones too, the third repeats the first, and the last the second, which itself goes.
    for (exact, out, expected) in
        [(false, "by", vec!["Add two", "add two", "Halve it", "SUM  two"]), (true, "both", vec!["Add two", "Halve it"])]
    {
        let job = job(vec![load(&path), ("dedup", step(exact)), write_to("kept.jsonl")]);
        let outcome = run(&job, &folder.path().join(out), &TestHost::default()).unwrap();
        let kept = read(&folder.path().join(out).join("kept.jsonl"), OnBadLine::Stop).unwrap().tasks;
        assert_eq!(kept.iter().map(|task| task.prompt.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(outcome.steps[1].tally.dropped["same task_id"], 1);
    }
}

#[test]
fn a_split_that_no_row_is_of_is_said() {
    let (folder, path) = rows(&[("Say one".to_owned(), "1")]);
    let write = Step::Write(Write { path: "held.jsonl".into(), split: Some(Split::Held) });
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("write", write)]));
    assert_eq!(outcome.steps[1].tally.notes, ["held.jsonl is empty: no row is of the split \"held\""]);
}

/// `DeepMath` and others: columns of names that no layout knows.
#[test]
fn a_job_says_which_columns_are_question_and_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let messages = json!([{ "role": "system", "content": "s" }, { "role": "user", "content": "Why?" }]);
    let row = json!({ "query": "Why?", "talk": messages, "result": 4, "question": "other", "answer": "long" });
    fs::write(&path, row.to_string()).unwrap();
    let names = |prompt: Option<&str>, answer: Option<&str>| ColumnNames {
        prompt: prompt.map(str::to_owned),
        answer: answer.map(str::to_owned),
    };
    let loaded = |columns: ColumnNames| {
        let Source::File(source) = file(&path) else { unreachable!() };
        let source = Source::File(FileSource { columns: Some(columns), ..source });
        let job = job(vec![("load", Step::Load(Load { sources: vec![source] }))]);
        let done = check(&job).and_then(|_| run(&job, &folder.path().join("out"), &TestHost::default()));
        done.map(|mut outcome| outcome.kept.remove(0)).map_err(|error| error.to_string())
    };
    let answer = |answer: &str| Reference::Math { answer: answer.to_owned() };
    let task = loaded(names(Some("query"), Some("result"))).unwrap();
    assert_eq!((task.prompt.as_str(), &task.reference), ("Why?", &answer("4")));
    assert_eq!(task.extra.keys().collect::<Vec<_>>(), ["talk", "question", "answer"]);
    let task = loaded(names(Some("talk"), None)).unwrap();
    assert_eq!((task.prompt.as_str(), task.turns.len(), &task.reference), ("Why?", 1, &answer("long")));
    let error = loaded(names(Some("qury"), None)).unwrap_err();
    assert!(error.contains("rows.jsonl, line 1: the column `qury` is missing"), "{error}");
}

#[test]
fn files_are_checked_without_running_the_job() {
    let (folder, path) = rows(&[("Say one".to_owned(), "1")]);
    let source = |name: &str, layout: Option<&str>, optional| match file(&folder.path().join(name)) {
        Source::File(file) => Source::File(FileSource { layout: layout.map(str::to_owned), optional, ..file }),
        Source::Family(_) => unreachable!(),
    };
    let check = |sources: Vec<Source>| {
        let found = check(&job(vec![("load", Step::Load(Load { sources }))]));
        found.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    };
    let missing = check(vec![source("none.jsonl", None, false)]).unwrap_err();
    assert!(missing.starts_with("step 1 (load): cannot read the task file none.jsonl: No such file"), "{missing}");
    let layout = check(vec![source("rows.jsonl", Some("gsm8k"), false)]).unwrap_err();
    assert!(layout.starts_with("step 1 (load): rows.jsonl, line 1: the column `question` is missing"), "{layout}");
    let nothing = check(vec![source("none.jsonl", None, true)]).unwrap_err();
    assert!(nothing.starts_with("step 1 (load): none of the sources is there"), "{nothing}");
    let notes = check(vec![file(&path), source("none.jsonl", None, true)]).unwrap();
    assert!(notes.len() == 1 && notes[0].ends_with("none.jsonl is not there, and would be left out"), "{notes:?}");
}
