//! Jobs as a whole: planted cases, the same bytes, going on after a stop, and what is wrong with what is given.

#![allow(clippy::print_stdout, reason = "figures for whoever runs the tests with --nocapture")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rewards::{Reference, RewardSpec};
use serde_json::json;

use super::files::entries;
use super::*;
use crate::generate::Family;
use crate::random::Counter;
use crate::source::{OnBadLine, read};
use crate::task::{Domain, Split};

mod conflict;
mod contamination;
mod difficulty;
mod folder;
mod mistakes;
mod near;

/// The questions of the rows in a file.
fn prompts_in(path: &Path) -> BTreeSet<String> {
    read(path, OnBadLine::Stop).unwrap().tasks.into_iter().map(|task| task.prompt).collect()
}

/// Surroundings without Python unless it is asked for, and without a policy, that keep what is noted; stops before the step of
/// that number.
#[derive(Default)]
struct TestHost {
    stop_before: Option<usize>,
    started: AtomicUsize,
    python: bool,
    notes: Mutex<Vec<String>>,
}

/// No policy: what a host without one says.
const NO_POLICY: &str = "there is no policy";

impl Host for TestHost {
    fn rewards(&self, programs: bool) -> Result<Arc<RewardSet>, DatasetError> {
        let python = (programs && self.python)
            .then(|| Arc::new(sandbox::Python::prepare(&sandbox::default_cache_dir(), &mut |_| {}).unwrap()));
        let specs = if python.is_some() { vec!["accuracy", "binary_code"] } else { vec!["accuracy"] };
        let specs: Vec<RewardSpec> = specs.into_iter().map(RewardSpec::named).collect();
        Ok(Arc::new(RewardSet::build(&specs, python).unwrap()))
    }

    fn policy(&self, _: &Difficulty) -> Result<String, DatasetError> {
        Err(DatasetError::host(NO_POLICY))
    }

    fn check_attempts(&self, _: &Difficulty, _: &[Task]) -> Result<(), DatasetError> {
        Err(DatasetError::host(NO_POLICY))
    }

    fn attempts(
        &self,
        _: &Difficulty,
        _: &[Task],
        _: u64,
        _: &mut dyn FnMut(usize, usize, String),
    ) -> Result<(), DatasetError> {
        Err(DatasetError::host(NO_POLICY))
    }

    fn step_started(&self, place: usize, _: usize, _: &NamedStep, _: u64) {
        self.started.store(place, Ordering::SeqCst);
    }

    fn progress(&self, _: u64) {}

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn step_finished(&self, _: &StepOutcome) {}

    fn stop_requested(&self) -> bool {
        self.stop_before.is_some_and(|place| self.started.load(Ordering::SeqCst) >= place)
    }
}

fn job(steps: Vec<(&str, Step)>) -> Job {
    let steps = steps.into_iter().map(|(name, step)| NamedStep { name: name.to_owned(), step }).collect();
    Job { name: "test".to_owned(), seed: 5, keep_dropped: true, steps }
}

fn file(path: &Path) -> Source {
    Source::File(FileSource {
        path: path.to_owned(),
        name: None,
        layout: None,
        columns: None,
        licence: None,
        origin: None,
        optional: false,
        on_bad_line: OnBadLine::Stop,
    })
}

fn load(path: &Path) -> (&'static str, Step) {
    ("load", Step::Load(Load { sources: vec![file(path)] }))
}

fn write_to(path: &str) -> (&'static str, Step) {
    ("write", Step::Write(Write { path: path.into(), split: None }))
}

fn dedup(near: Option<f64>) -> Step {
    Step::Dedup(Dedup {
        exact: true,
        by: None,
        near,
        shingle: 3,
        permutations: 128,
        numbers_matter: true,
        on_conflict: OnConflict::First,
    })
}

/// A folder with rows of `prompt` and `answer` in it.
fn rows(rows: &[(String, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let lines: Vec<String> =
        rows.iter().map(|(prompt, answer)| json!({ "prompt": prompt, "answer": answer }).to_string() + "\n").collect();
    fs::write(&path, lines.concat()).unwrap();
    (folder, path)
}

fn run_in(folder: &Path, job: &Job) -> JobOutcome {
    run(job, &folder.join("out"), &TestHost::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Words of a vocabulary of 500, so that no three of them meet by chance.
fn some_words(count: usize, counter: &mut Counter) -> Vec<String> {
    (0..count).map(|_| format!("w{}", counter.below(500))).collect()
}

#[test]
fn exact_repetitions_go_and_other_tasks_stay() {
    let prompts =
        ["What is 3 + 4?", "what is  3+4", "What is 3 - 4?", "What is 3.4?", "Is it twenty-one?", "Is it twenty one?"];
    let (folder, path) = rows(&prompts.map(|prompt| (prompt.to_owned(), "1")));
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("dedup", dedup(None))]));
    let tally = &outcome.steps[1].tally;
    assert_eq!((tally.rows_in, tally.rows_out, tally.dropped["exact repetition"]), (6, 4, 2));
    let examples = &outcome.dropped[0];
    assert_eq!((examples.step.as_str(), examples.rows[0].0.prompt.as_str()), ("dedup", "what is  3+4"));
    // What was dropped is kept aside with the reason and the row that it repeats.
    let aside = fs::read_to_string(folder.path().join("out/dropped/02-dedup.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(aside.lines().next().unwrap()).unwrap();
    let id = read(&path, OnBadLine::Stop).unwrap().tasks[0].id.clone();
    assert_eq!(first["dropped"], json!({ "reason": "exact repetition", "detail": format!("of {id}") }));
}

#[test]
fn planted_contamination_is_found() {
    let mut counter = Counter::new(&[42]);
    let exam: Vec<String> = (0..300).map(|_| some_words(30, &mut counter).join(" ")).collect();
    let mut prompts = Vec::new();
    for number in 0..3_000 {
        let mut words = some_words(40, &mut counter);
        // One row in three has a run of 5 to 12 words of an exam question somewhere.
        let planted = if number % 3 == 0 { 5 + number / 3 % 8 } else { 0 };
        let question: Vec<&str> = exam[number % exam.len()].split(' ').collect();
        let (from, to) = (counter.below(18), counter.below(28));
        for at in 0..planted {
            words[to + at] = question[from + at].to_uppercase();
        }
        prompts.push((words.join(", "), planted));
    }
    let exam_rows: Vec<(String, &str)> = exam.into_iter().map(|prompt| (prompt, "1")).collect();
    let (exam_folder, exam_path) = rows(&exam_rows);
    let written: Vec<(String, &str)> = prompts.iter().map(|(prompt, _)| (prompt.clone(), "1")).collect();
    let (folder, path) = rows(&written);
    let against = vec![EvaluationSet { path: exam_path, layout: None, optional: false }];
    let step = |label| Step::Decontaminate(Decontaminate { against: against.clone(), ngram: 8, label });
    run_in(folder.path(), &job(vec![load(&path), ("clean", step(false)), write_to("kept.jsonl")]));
    let kept = prompts_in(&folder.path().join("out/kept.jsonl"));
    let planted = prompts.iter().filter(|(_, planted)| *planted >= 8).count();
    let found = prompts.iter().filter(|(prompt, planted)| *planted >= 8 && !kept.contains(prompt)).count();
    let wrong = prompts.iter().filter(|(prompt, planted)| *planted < 8 && !kept.contains(prompt)).count();
    println!("contamination: {found} of {planted} found, {wrong} dropped without reason");
    assert_eq!((found, wrong), (planted, 0));

    // Labelled instead of dropped: as many, with what matched.
    let outcome = run(
        &job(vec![load(&path), ("label", step(true)), write_to("labelled.jsonl")]),
        &folder.path().join("labelled"),
        &TestHost::default(),
    )
    .unwrap();
    assert_eq!(outcome.steps[1].tally.marked["in rows"], planted as u64);
    let labelled = read(&folder.path().join("labelled/labelled.jsonl"), OnBadLine::Stop).unwrap().tasks;
    assert_eq!(labelled.len(), 3_000);
    assert!(
        labelled[9].extra["contaminated_with"].as_str().unwrap().split(", ").count() == 8,
        "{:?}",
        labelled[9].extra
    );
    drop(exam_folder);
}

#[test]
fn references_that_do_not_satisfy_their_verifier_go() {
    let cases = [
        ("1/2", None),
        ("\\frac{3}{4}", None),
        ("(1, 2]", None),
        ("x = 4", None),
        ("blue", None),
        ("\\frac{1}{", Some("reference cannot be used")),
        ("1/0", Some("reference cannot be used")),
        // Too large to be written out, but equal to itself.
        ("9^{9^{9}}", None),
    ];
    let written: Vec<(String, &str)> =
        cases.iter().enumerate().map(|(number, (answer, _))| (format!("Question number {number}"), *answer)).collect();
    let (folder, path) = rows(&written);
    let verify = Step::Verify(Verify { solutions: vec![], keep_without_solution: false });
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("verify", verify)]));
    let expected = cases.iter().filter(|(_, reason)| reason.is_some()).count() as u64;
    assert_eq!(outcome.steps[1].tally.dropped, [("reference cannot be used".to_owned(), expected)].into());
}

#[test]
fn a_target_with_too_many_numbers_is_not_said_to_be_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countdown.jsonl");
    let row = |numbers: &[i64], target: i64| {
        let truth = json!({ "numbers": numbers, "target": target });
        json!({ "prompt": format!("Make {target}"), "reward_model": { "ground_truth": truth } }).to_string() + "\n"
    };
    let written = [row(&[25, 50, 75, 100, 3, 6], 952), row(&[1, 1, 1, 1, 1, 1], 13), row(&[1, 2, 3, 4, 5, 6, 7], 28)];
    fs::write(&path, written.concat()).unwrap();
    let verify = Step::Verify(Verify { solutions: vec![], keep_without_solution: false });
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("verify", verify)]));
    let expected = [("target cannot be reached".to_owned(), 1), ("too many numbers to check".to_owned(), 1)];
    assert_eq!(outcome.steps[1].tally.dropped, expected.into());
}

#[test]
fn program_tasks_must_pass_their_own_tests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("programs.jsonl");
    let row = |code: &str, number: usize| json!({ "text": format!("Task {number}"), "code": code, "test_list": ["assert f(2) == 4"], "task_id": number });
    let codes = ["def f(x):\r\n  return x + x", "def f(x):\n  return x", "def f(x:\n", "", "while True: pass"];
    let lines: Vec<String> =
        codes.iter().enumerate().map(|(number, code)| row(code, number).to_string() + "\n").collect();
    fs::write(&path, lines.concat()).unwrap();
    let verify = Step::Verify(Verify { solutions: vec!["code".to_owned()], keep_without_solution: false });
    let host = TestHost { python: true, ..TestHost::default() };
    let outcome = run(&job(vec![load(&path), ("verify", verify)]), &folder.path().join("out"), &host).unwrap();
    let expected = [("no solution to run".to_owned(), 1), ("solution fails its tests".to_owned(), 3)];
    assert_eq!(outcome.steps[1].tally.dropped, expected.into());
    assert_eq!(outcome.kept[0].extra["task_id"], 0);
}

/// Skywork-OR1's rows in verl's layout: what its judge has imported before a program is there here too.
#[test]
fn programs_find_what_their_own_judge_imports() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("skywork.jsonl");
    let row = |truth: serde_json::Value, solution: &str| {
        let prompt = json!([{ "role": "user", "content": format!("Write {solution}") }]);
        json!({ "prompt": prompt, "reward_model": { "ground_truth": truth.to_string() }, "solution": solution })
            .to_string()
            + "\n"
    };
    let asserted = json!({ "assert_case": ["assert total([1, 2]) == 3", "assert total([]) == 0"] });
    let method = json!({
        "import_prefix": "from typing import *\n",
        "test_code": "def check(candidate):\n    assert candidate(nums = [1, 2]) == 3\n    assert candidate(nums = []) == 0",
        "entry_point": "Solution().total",
    });
    let rows = [
        row(
            asserted.clone(),
            "def total(nums: List[int]) -> int:\n    return reduce(add, nums, 0) + int(pow(inf, 0)) - 1",
        ),
        row(method.clone(), "class Solution:\n    def total(self, nums: List[int]) -> int:\n        return sum(nums)"),
        row(asserted, "def total(nums: List[int]) -> int:\n    return 3"),
        row(method, "class Solution:\n    def total(self, nums: List[int]) -> int:\n        return 3"),
    ];
    fs::write(&path, rows.concat()).unwrap();
    let verify = Step::Verify(Verify { solutions: vec!["solution".to_owned()], keep_without_solution: false });
    let host = TestHost { python: true, ..TestHost::default() };
    let outcome = run(&job(vec![load(&path), ("verify", verify)]), &folder.path().join("out"), &host).unwrap();
    let kept: Vec<_> =
        outcome.kept.iter().map(|task| task.prompt.contains("sum(") || task.prompt.contains("reduce(")).collect();
    assert_eq!(kept, [true, true], "{:?}", outcome.steps[1].tally);
    assert_eq!(outcome.steps[1].tally.dropped, [("solution fails its tests".to_owned(), 2)].into());
}

#[test]
fn no_group_is_torn_apart() {
    let mut counter = Counter::new(&[43]);
    // 400 stories, each with ten sets of numbers.
    let stories: Vec<String> = (0..400).map(|_| some_words(12, &mut counter).join(" ")).collect();
    let mut written = Vec::new();
    for _ in 0..10 {
        for story in &stories {
            written.push((format!("{story} has {} and {}", counter.below(900), counter.below(900)), "1"));
        }
    }
    let (folder, path) = rows(&written);
    let shares = vec![(Split::Train, 0.7), (Split::Validation, 0.15), (Split::Held, 0.15)];
    let split = |group| Step::Split(Shares { shares: shares.clone(), group });
    let splits_of_story = |group: Group, out: &str| {
        let steps = job(vec![load(&path), ("split", split(group)), write_to("all.jsonl")]);
        run(&steps, &folder.path().join(out), &TestHost::default()).unwrap();
        let mut splits: HashMap<String, BTreeSet<Split>> = HashMap::new();
        for task in read(&folder.path().join(out).join("all.jsonl"), OnBadLine::Stop).unwrap().tasks {
            let story = task.prompt.split(" has ").next().unwrap().to_owned();
            splits.entry(story).or_default().insert(task.split);
        }
        let leaking = splits.values().filter(|splits| splits.len() > 1).count();
        let train = splits.values().filter(|splits| splits.contains(&Split::Train)).count();
        (leaking, train)
    };
    // By prompts, nearly every story leaks; by templates, none does.
    let (leaking, _) = splits_of_story(Group::Prompt, "by-prompt");
    assert!(leaking > 350, "{leaking}");
    let (leaking, train) = splits_of_story(Group::Template, "by-template");
    println!("leaking stories: {leaking} of 400; {train} train");
    assert!(leaking == 0 && (240..320).contains(&train), "{leaking} {train}");
}

fn a_long_job(data: &Path) -> Job {
    let family =
        |family: Family, count| Source::Family(FamilySource { family, level: None, count, split: Split::Train });
    let sources = vec![
        file(data),
        family("word_problems".parse().unwrap(), 20_000),
        family("fractions".parse().unwrap(), 6_000),
        family(Family::Arithmetic, 500),
    ];
    let condition = Some(Expression::parse("level >= 2 or source == 'rows' or source = 'arithmetic'").unwrap());
    let weights = Some([("word_problems".to_owned(), 2.0), ("fractions".to_owned(), 1.0)].into());
    job(vec![
        ("load", Step::Load(Load { sources })),
        ("map", Step::Map(Map { template: Some("Q: {prompt}".into()), difficulty_scale: 1.0, ..Map::default() })),
        ("filter", Step::Filter(Filter { condition, min_words: Some(3), ..Filter::default() })),
        ("dedup", dedup(Some(0.9))),
        ("verify", Step::Verify(Verify { solutions: vec![], keep_without_solution: false })),
        ("mix", Step::Mix(Mix { by: MixBy::Source, weights, total: Some(9_000) })),
        ("sample", Step::Sample(Sample { count: None, share: Some(0.5) })),
        ("split", Step::Split(Shares { shares: vec![(Split::Train, 0.9), (Split::Held, 0.1)], group: Group::Prompt })),
        ("write", Step::Write(Write { path: "train.parquet".into(), split: Some(Split::Train) })),
        ("write", Step::Write(Write { path: "all.jsonl.gz".into(), split: None })),
        ("write", Step::Write(Write { path: "all.csv".into(), split: None })),
    ])
}

/// Every file below a folder with its bytes, without the steps between.
fn left(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in entries(folder).unwrap() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "steps" {
            files.extend(left(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if path.is_file() {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn the_same_job_gives_the_same_bytes_also_after_being_stopped_anywhere_and_with_any_threads() {
    let (folder, path) = rows(&[("Say one two three".to_owned(), "1"), ("say ONE two, three!".to_owned(), "2")]);
    let job = a_long_job(&path);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let whole = folder.path().join("whole");
    let outcome = pool(1).install(|| run(&job, &whole, &TestHost::default())).unwrap();
    assert!(outcome.steps.iter().all(|step| !step.reused));
    assert_eq!(outcome.left.rows, 4_500);
    let expected = left(&whole);
    assert_eq!(expected.keys().filter(|name| !name.starts_with("dropped")).count(), 4, "{:?}", expected.keys());

    let stopped = folder.path().join("stopped");
    for place in 1..=8 {
        let host = TestHost { stop_before: Some(place), ..TestHost::default() };
        let error = pool(3).install(|| run(&job, &stopped, &host)).expect_err("was told to stop");
        assert!(matches!(error, DatasetError::Stopped), "{error}");
        let partial = entries(&stopped.join("steps")).unwrap().into_iter().any(|path| path.extension().is_some());
        assert!(!partial, "a step is left half written");
    }
    // What a kill would leave: half of a step and half of a file.
    create(&stopped.join("steps/0123.partial/kept")).unwrap();
    fs::write(stopped.join("steps/0123.partial/kept/part-00000.parquet"), "half").unwrap();
    let outcome = pool(3).install(|| run(&job, &stopped, &TestHost::default())).unwrap();
    assert!(outcome.steps[..7].iter().all(|step| step.reused));
    assert_eq!(left(&stopped), expected);

    // Run again, nothing is done again; changed at its end, only what follows is.
    let outcome = run(&job, &stopped, &TestHost::default()).unwrap();
    assert!(outcome.steps.iter().all(|step| step.reused));
    let mut changed = job.clone();
    changed.steps[6].step = Step::Sample(Sample { count: Some(10), share: None });
    let outcome = run(&changed, &stopped, &TestHost::default()).unwrap();
    assert_eq!(
        outcome.steps.iter().take(8).map(|step| step.reused).collect::<Vec<_>>(),
        [true, true, true, true, true, true, false, false]
    );
    assert_eq!(outcome.left.rows, 10);
}

#[test]
fn what_is_written_reads_the_same_from_every_format() {
    let (folder, path) = rows(&[("Say one, \"two\"\nthree".to_owned(), "1")]);
    let map = Map { system: Some("Be brief, {source}.".into()), difficulty_scale: 1.0, ..Map::default() };
    let programs = FamilySource { family: "programs".parse().unwrap(), level: Some(1), count: 5, split: Split::Held };
    let sources = vec![file(&path), Source::Family(programs)];
    for mapped in [false, true] {
        let mut steps = vec![("load", Step::Load(Load { sources: sources.clone() }))];
        if mapped {
            steps.push(("map", Step::Map(map.clone())));
        }
        let names = ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz"];
        steps.extend(names.map(write_to));
        let out = folder.path().join(format!("out-{mapped}"));
        run(&job(steps), &out, &TestHost::default()).unwrap();
        let expected = read(&out.join("a.jsonl"), OnBadLine::Stop).unwrap().tasks;
        assert_eq!((expected.len(), expected[5].domain, expected[5].split), (6, Domain::Code, Split::Held));
        assert_eq!(expected[0].turns.len(), usize::from(mapped));
        assert_eq!(
            (expected[0].prompt.as_str(), expected[1].extra["level"].as_u64()),
            ("Say one, \"two\"\nthree", Some(1))
        );
        for name in names {
            assert_eq!(read(&out.join(name), OnBadLine::Stop).unwrap().tasks, expected, "{name}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_file_and_step_and_nothing_is_left_half_written() {
    let (folder, path) = rows(&[("Say one".to_owned(), "1")]);
    let out = folder.path().join("out");
    let error = |job: &Job| {
        let error = run(job, &out, &TestHost::default()).expect_err("should be refused").to_string();
        let partial = entries(&out).unwrap().into_iter().chain(entries(&out.join("steps")).unwrap());
        assert!(!partial.into_iter().any(|path| path.extension().is_some_and(|end| end == "partial")), "{error}");
        error.replace(&format!("{}/", folder.path().display()), "")
    };
    let bad = folder.path().join("bad.jsonl");
    for (content, message) in [
        (
            &b"{\"prompt\": \"p\", \"answer\": 1}\n{\"prompt\":"[..],
            "bad.jsonl, line 2: malformed JSON: EOF while parsing a value at column 10",
        ),
        (
            b"{\"prompt\": \"p\", \"answer\": 1}\n{\"prompt\": 7, \"answer\": 1}",
            "bad.jsonl, line 2: the column `prompt` should be text, but is a number (layout plain)",
        ),
        (b"{\"prompt\": \"\xFF\", \"answer\": 1}", "bad.jsonl, line 1: invalid UTF-8 at byte 13"),
        (b"", "the task file bad.jsonl holds no rows"),
    ] {
        fs::write(&bad, content).unwrap();
        assert_eq!(error(&job(vec![load(&bad), write_to("x.jsonl")])), format!("step 1 (load): {message}"));
    }
    fs::write(&bad, "{\"text\": \"p\", \"label\": 1}").unwrap();
    let unknown = error(&job(vec![load(&bad)]));
    assert!(
        unknown.contains(
            "found the columns text, label; known layouts, the nearest first:\n  mbpp (text or prompt, test_list)\n"
        ),
        "{unknown}"
    );
    let named = Source::File(FileSource {
        layout: Some("gsm8k".into()),
        ..match file(&bad) {
            Source::File(file) => file,
            Source::Family(_) => unreachable!(),
        }
    });
    let wrong = error(&job(vec![("load", Step::Load(Load { sources: vec![named] }))]));
    assert_eq!(
        wrong,
        "step 1 (load): bad.jsonl, line 1: the column `question` is missing: the layout gsm8k needs question, answer ending in `#### value`; found text, label"
    );

    let missing = error(&job(vec![load(&folder.path().join("none.jsonl"))]));
    assert!(missing.starts_with("step 1 (load): cannot read the task file none.jsonl: No such file"), "{missing}");
    let template = Map { template: Some("{nothing}".into()), difficulty_scale: 1.0, ..Map::default() };
    let no_column = error(&job(vec![load(&path), ("reword", Step::Map(template))]));
    assert!(
        no_column
            .starts_with("step 2 (reword): the template `{nothing}` cannot be filled in: there is no column `nothing`"),
        "{no_column}"
    );

    // A file that somebody else put there is not overwritten, and one that was changed since neither.
    fs::write(out.join("taken.jsonl"), "mine").unwrap();
    let taken = job(vec![load(&path), write_to("taken.jsonl")]);
    assert_eq!(
        error(&taken),
        "step 2 (write): out/taken.jsonl exists already\n  hint: remove it, or write under another name"
    );
    assert_eq!(fs::read_to_string(out.join("taken.jsonl")).unwrap(), "mine");
    fs::remove_file(out.join("taken.jsonl")).unwrap();
    run(&taken, &out, &TestHost::default()).unwrap();
    run(&taken, &out, &TestHost::default()).unwrap();
    fs::write(out.join("taken.jsonl"), "mine").unwrap();
    assert_eq!(
        error(&taken),
        "step 2 (write): out/taken.jsonl was changed since this job wrote it\n  hint: move it away, and the job writes it anew; or write under another name"
    );
    let there = write_tasks(&out.join("taken.jsonl"), &[]).expect_err("is there").to_string();
    assert!(there.contains("exists already"), "{there}");
}
