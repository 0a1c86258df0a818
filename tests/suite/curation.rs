//! The shipped curation jobs. The counts of `math` are recomputed here from the raw files, with other means: strings where
//! the job has hashes, all pairs where it has signatures.

#![allow(clippy::print_stdout, reason = "figures for whoever runs the tests with --nocapture")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datasets::curate::JobOutcome;
use datasets::source::hub::Hub;
use datasets::source::read;
use datasets::{Domain, OnBadLine, Split};
use recipes::config::{JobFile, SHIPPED_JOBS};
use recipes::curation::{CurateOptions, curate};
use recipes::{Interrupt, Reporter, Verbosity};
use rewards::{RewardSet, RewardSpec, Sample};
use serde_json::Value;

use crate::support::{cache, place, python};

fn run(job: &JobFile, folder: &Path) -> JobOutcome {
    run_with(job, folder, &no_hub()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// No network, and nothing on disk.
fn no_hub() -> Hub {
    Hub {
        endpoint: "http://127.0.0.1:9".to_owned(),
        cache: place("no-hub"),
        token: None,
        offline: true,
        patience: Duration::from_secs(5),
    }
}

fn run_with(job: &JobFile, folder: &Path, hub: &Hub) -> anyhow::Result<JobOutcome> {
    let options = CurateOptions {
        folder: folder.to_owned(),
        cache_dir: cache().to_owned(),
        reporter: Reporter::new(Verbosity::Silent),
        interrupt: Interrupt::new(),
        hub: hub.clone(),
        threads: None,
        place: policy::Place::Cpu,
    };
    curate(job, &options)
}

/// The public sets beside the checkout; none where they are not there.
fn public_sets() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/tasks");
    let found = path.join("gsm8k_train.jsonl").is_file();
    if !found {
        println!("skipped: there are no public sets beside the checkout");
    }
    found.then_some(path)
}

fn count(outcome: &JobOutcome, step: &str) -> (u64, u64, BTreeMap<String, u64>) {
    let step = outcome.steps.iter().find(|other| other.name == step).expect("the job has this step");
    (step.tally.rows_in, step.tally.rows_out, step.tally.dropped.clone())
}

fn json_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap().replace("\r\n", "\n")
}

/// Words in lower case, nothing else.
fn plain_words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The places of braces that group more than one word, or a word that another follows directly.
fn grouping_braces(letters: &[char]) -> HashSet<usize> {
    let (mut open, mut grouping) = (Vec::new(), HashSet::new());
    for (at, &letter) in letters.iter().enumerate() {
        match letter {
            '{' => open.push(at),
            '}' => match open.pop() {
                None => {
                    grouping.insert(at);
                }
                Some(start) => {
                    let inside = &letters[start + 1..at];
                    let one_word = !inside.is_empty() && inside.iter().all(|letter| letter.is_alphanumeric());
                    if !one_word || letters.get(at + 1).is_some_and(|letter| letter.is_alphanumeric()) {
                        grouping.extend([start, at]);
                    }
                }
            },
            _ => {}
        }
    }
    grouping.extend(open);
    grouping
}

/// Words, and all signs but the punctuation of prose.
fn words_and_signs(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.to_lowercase().chars().collect();
    let grouping = grouping_braces(&letters);
    let mut primes = HashSet::new();
    let mut spaced = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let near = |offset: isize| at.checked_add_signed(offset).and_then(|at| letters.get(at)).copied().unwrap_or(' ');
        let point = letter == '.' && near(1).is_ascii_digit();
        let sign = match letter {
            _ if letter.is_alphanumeric() || (point && near(-1).is_ascii_digit()) => {
                spaced.push(letter);
                continue;
            }
            // `.5` is 0.5.
            '.' if point && near(-1) != '.' && !near(-1).is_alphanumeric() => {
                spaced.push_str(" 0.");
                continue;
            }
            '-' | '‐' | '‑' | '‒' | '–' => !(near(-1).is_alphabetic() && near(1).is_alphabetic()),
            '{' | '}' => grouping.contains(&at),
            '\'' | '’' => {
                let one_letter = near(-1).is_alphabetic() && !near(-2).is_alphanumeric();
                let behind = one_letter || near(-1) == ')' || at > 0 && primes.contains(&(at - 1));
                let prime = behind && !near(1).is_alphanumeric() || near(-1).is_alphabetic() && near(1) == '(';
                prime && primes.insert(at)
            }
            _ => !letter.is_whitespace() && !".,;:?¿¡…\"`“”„‟‘‚‛«»‹›—$\\".contains(letter),
        };
        spaced.push(' ');
        if sign {
            spaced.push(letter);
            spaced.push(' ');
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

fn three_word_runs(words: &[String]) -> HashSet<Vec<String>> {
    words.windows(3.min(words.len()).max(1)).map(<[String]>::to_vec).collect()
}

/// The prompts of the three sets, in the job's order, without the rows that have no answer.
fn raw_prompts(data: &Path) -> Vec<String> {
    let mut prompts: Vec<String> =
        json_lines(&data.join("gsm8k_train.jsonl")).iter().map(|row| text(row, "question")).collect();
    let math: Vec<Value> = serde_json::from_str(&fs::read_to_string(data.join("math_train.json")).unwrap()).unwrap();
    prompts.extend(
        math.iter()
            .filter(|row| row["answer"].as_str().is_some_and(|answer| !answer.trim().is_empty()))
            .map(|row| text(row, "problem")),
    );
    for row in json_lines(&data.join("svamp_qwen.jsonl")) {
        let (body, question) = (text(&row, "Body"), text(&row, "Question"));
        let (body, question) = (body.trim(), question.trim());
        let stop = if body.ends_with(['.', '!', '?', ',']) { "" } else { "." };
        prompts.push(format!("{body}{stop} {question}"));
    }
    prompts
}

/// Which prompts repeat an earlier one that stays, to a Jaccard similarity of three-word runs of 0.8: over all pairs that
/// share a run at all.
fn near_repetitions(prompts: &[String]) -> HashSet<usize> {
    let mut rows_with: HashMap<Vec<String>, Vec<usize>> = HashMap::new();
    let mut sizes = Vec::new();
    let mut gone = HashSet::new();
    for (row, prompt) in prompts.iter().enumerate() {
        let words = words_and_signs(prompt);
        let runs = three_word_runs(&words);
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for run in &runs {
            for &earlier in rows_with.get(run).into_iter().flatten() {
                *shared.entry(earlier).or_default() += 1;
            }
        }
        sizes.push(runs.len());
        if shared.iter().any(|(&earlier, &both)| both as f64 / (runs.len() + sizes[earlier] - both) as f64 >= 0.8) {
            gone.insert(row);
        } else {
            // Only rows that stay make others repetitions.
            runs.into_iter().for_each(|run| rows_with.entry(run).or_default().push(row));
        }
    }
    gone
}

#[test]
fn every_count_of_the_math_job_is_right() {
    let Some(data) = public_sets() else { return };
    let job = JobFile::find("math", Some(&data)).unwrap();
    let folder = place("curated-math");
    let outcome = run(&job, &folder);

    let mut prompts = raw_prompts(&data);
    assert_eq!(count(&outcome, "load").1, prompts.len() as u64);
    let long = prompts.iter().filter(|prompt| prompt.split_whitespace().count() > 400).count() as u64;
    let (_, _, dropped) = count(&outcome, "filter");
    assert_eq!(dropped.get("too many words").copied().unwrap_or(0), long);
    prompts.retain(|prompt| prompt.split_whitespace().count() <= 400 && !prompt.contains("[asy]"));
    // Two words are a task: "Factor $t^2-49$."
    assert!(prompts.iter().filter(|prompt| prompt.split_whitespace().count() < 3).count() > 100);
    assert_eq!(count(&outcome, "filter").1, prompts.len() as u64);

    let mut seen = HashSet::new();
    let before = prompts.len();
    prompts.retain(|prompt| seen.insert(words_and_signs(prompt)));
    let exact = (before - prompts.len()) as u64;
    let near = near_repetitions(&prompts);
    let (_, _, mut dropped) = count(&outcome, "dedup");
    // Whether the answers are the same is a matter of the verifier.
    let conflicts = dropped.remove("same question, other answer").unwrap_or(0);
    *dropped.entry("exact repetition".to_owned()).or_default() += conflicts;
    assert_eq!(
        dropped,
        [("exact repetition".to_owned(), exact), ("near repetition".to_owned(), near.len() as u64)].into()
    );
    let prompts: Vec<String> =
        prompts.into_iter().enumerate().filter(|(row, _)| !near.contains(row)).map(|(_, prompt)| prompt).collect();

    // The exams, in the job's order: a run counts for the first that has it.
    let mut exams: HashMap<Vec<String>, &str> = HashMap::new();
    let mut math_500 = Vec::new();
    for (file, key) in [("math500.jsonl", "problem"), ("aime24.jsonl", "problem"), ("gsm8k_test.jsonl", "question")] {
        for row in json_lines(&data.join(file)) {
            let words = plain_words(&text(&row, key));
            if key == "problem" && file == "math500.jsonl" {
                math_500.push(three_word_runs(&words));
            }
            for run in words.windows(8.min(words.len()).max(1)) {
                exams.entry(run.to_vec()).or_insert(file.split('.').next().unwrap());
            }
        }
    }
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut clean = 0;
    for prompt in &prompts {
        let words = plain_words(prompt);
        match words.windows(8.min(words.len()).max(1)).find_map(|run| exams.get(run)) {
            Some(exam) => *expected.entry(format!("in {exam}")).or_default() += 1,
            None => clean += 1,
        }
    }
    let (_, left, dropped) = count(&outcome, "decontaminate");
    assert_eq!((dropped, left), (expected, clean));

    // The overlap of MATH train with its test set. There are no copies word for word in these files; there are problems
    // that ask another question of the same figure or numbers, and of those none is left.
    let written: Vec<_> = ["train.parquet", "validation.parquet"]
        .iter()
        .flat_map(|name| read(&folder.join(name), OnBadLine::Stop).unwrap().tasks)
        .collect();
    let near_copies = |prompts: &mut dyn Iterator<Item = &str>| {
        let similar = |prompt: &&str| {
            let runs = three_word_runs(&plain_words(prompt));
            math_500.iter().any(|exam| {
                let both = exam.intersection(&runs).count();
                both as f64 / (exam.len() + runs.len() - both) as f64 >= 0.6
            })
        };
        prompts.filter(similar).count()
    };
    let before = near_copies(&mut prompts.iter().map(String::as_str));
    let after = near_copies(&mut written.iter().map(|task| task.prompt.as_str()));
    println!("rows nearly the same as a problem of MATH-500: {before} before decontamination, {after} after");
    assert!(before > 5, "there is an overlap to be found");
    assert_eq!(after, 0);

    // Every reference that is left grades itself right, and none that does not was left out in silence.
    let rewards = RewardSet::build(&[RewardSpec::named("accuracy")], None).unwrap();
    let (verified_in, verified_out, _) = count(&outcome, "verify");
    assert_eq!((verified_in, verified_out), (clean, written.len() as u64));
    for task in &written {
        let rewards::Reference::Math { answer } = &task.reference else { panic!("{task:?}") };
        let completion = format!("<answer> {answer} </answer>");
        let sample = Sample::new("", &completion, &task.reference);
        assert_eq!(rewards.score(&sample).unwrap().total, Some(1.0), "{answer}");
    }
    // No prompt but for its numbers on both sides.
    let template = |prompt: &str| {
        let words = words_and_signs(prompt);
        words
            .into_iter()
            .map(|word| if word.starts_with(|c: char| c.is_ascii_digit()) { "#".into() } else { word })
            .collect::<Vec<String>>()
    };
    let side = |split| written.iter().filter(move |task| task.split == split).map(|task| template(&task.prompt));
    let train: HashSet<_> = side(Split::Train).collect();
    assert!(side(Split::Validation).all(|prompt| !train.contains(&prompt)));
}

#[test]
fn the_code_job_runs_every_solution() {
    let Some(data) = public_sets() else { return };
    let job = JobFile::find("code", Some(&data)).unwrap();
    let folder = place("curated-code");
    let outcome = run(&job, &folder);
    let rows = json_lines(&data.join("mbpp.jsonl"));
    let sanitized: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(data.join("sanitized-mbpp.json")).unwrap()).unwrap();
    assert_eq!(count(&outcome, "load").1 as usize, rows.len() + sanitized.len());
    let trains = |row: &&Value| !(11..511).contains(&row["task_id"].as_u64().unwrap());
    let train = rows.iter().filter(trains).count() + sanitized.iter().filter(trains).count();
    assert_eq!(count(&outcome, "filter").1 as usize, train);
    // Each task once, in whichever edition.
    let ids: HashSet<u64> =
        rows.iter().chain(&sanitized).filter(trains).map(|row| row["task_id"].as_u64().unwrap()).collect();
    let left = count(&outcome, "dedup").1 as usize;
    assert!(left <= ids.len() && left + 10 >= ids.len(), "{left} of {}", ids.len());
    let written = read(&folder.join("train.parquet"), OnBadLine::Stop).unwrap().tasks;
    let written_ids: HashSet<String> = written.iter().map(|task| task.extra["task_id"].to_string()).collect();
    assert_eq!(written_ids.len(), written.len());
    let reworded = written.iter().filter(|task| task.source == "sanitized-mbpp").count();
    println!("{} tasks of {}, {reworded} of them reworded", written.len(), ids.len());
    assert!(reworded > 100);
    let (verified_in, verified_out, _) = count(&outcome, "verify");
    assert!(verified_in > 400 && verified_out >= verified_in - 3, "{verified_out} of {verified_in}");
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("## Compared with") && card.contains("| `HumanEval.jsonl.gz` | `"), "{card}");
    let _ = python();
}

#[test]
fn the_generated_job_needs_nothing_and_repeats_itself() {
    let job = JobFile::find("generated", None).unwrap();
    let (first, second) = (place("curated-generated"), place("curated-generated-again"));
    let outcome = run(&job, &first);
    let reused = run(&job, &first);
    assert!(reused.steps.iter().all(|step| step.reused));
    run(&job, &second);
    for name in ["train.parquet", "validation.parquet", "summary.json", "README.md", "report.html", "job.toml"] {
        assert_eq!(fs::read(first.join(name)).unwrap(), fs::read(second.join(name)).unwrap(), "{name}");
    }
    let (verified_in, verified_out, _) = count(&outcome, "verify");
    assert_eq!((verified_in, verified_out), (32_000, 32_000));
    let tasks = read(&first.join("train.parquet"), OnBadLine::Stop).unwrap().tasks;
    let share = |domain| tasks.iter().filter(|task| task.domain == domain).count() as f64 / tasks.len() as f64;
    assert!((share(Domain::Math) - 0.8).abs() < 0.01 && (share(Domain::Code) - 0.04).abs() < 0.01);
    let page = fs::read_to_string(first.join("report.html")).unwrap();
    assert!(page.contains("class=\"flow\"") && page.contains("word_problems") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("http"), "the page needs nothing but itself");
    let card = fs::read_to_string(first.join("README.md")).unwrap();
    assert!(card.contains("| `train.parquet` |") && card.contains("generated, no rights of others"), "{card}");
    // What the Hub's loader takes: these files and no others of the folder.
    let head = card.split("---\n").nth(1).unwrap();
    let expected = "language:\n  - en\ntask_categories:\n  - text-generation\nsize_categories:\n  - 10K<n<100K\nconfigs:\n  \
                    - config_name: default\n    data_files:\n      - split: \"train\"\n        path: \"train.parquet\"\n      \
                    - split: \"validation\"\n        path: \"validation.parquet\"\n";
    assert_eq!(head, expected);
}

#[test]
fn every_shipped_job_is_read() {
    for shipped in SHIPPED_JOBS {
        let job = JobFile::find(shipped.name, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(job.job.name, shipped.name);
        assert!(!job.description.is_empty());
    }
}

/// What a person reads when a job is wrong.
#[test]
fn a_wrong_job_is_refused_with_the_line_and_what_would_be_right() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = JobFile::parse("job.toml", text, Path::new("")).expect_err("should be refused").to_string();
        assert!(error.contains(expected), "{error}\n\nshould contain\n\n{expected}");
    }
    const LOAD: &str = "[[step]]\nkind = \"load\"\nsources = [{ path = \"a.jsonl\" }]\n";
    check("name = \"x\"", "the job has no steps\n  hint: begin with [[step]] and kind = \"load\"");
    check(&format!("{LOAD}[[step]]\nkind = \"dedupe\""), "job.toml, line 5: no kind of step is called \"dedupe\"");
    check(&format!("{LOAD}[[step]]\nkind = \"dedupe\""), "hint: did you mean `dedup`?");
    check(
        &format!("{LOAD}[[step]]\nkind = \"dedup\"\nnear = 1.5"),
        "line 6: `near` is 1.5, expected a number above 0, at most 1",
    );
    check(&format!("{LOAD}[[step]]\nkind = \"dedup\"\nnaer = 0.5"), "did you mean `near`?");
    check(
        &format!("{LOAD}[[step]]\nkind = \"dedup\"\non_conflict = \"last\""),
        "line 6: no way to settle a conflict is called \"last\", expected first, drop",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"dedup\"\nnumbers_matter = false\non_conflict = \"drop\""),
        "line 7: `on_conflict` has a meaning only with `exact` and `numbers_matter`",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"balance\"\nweights = {{ a = 2 }}"),
        "`weights` has no meaning where all get",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"filter\"\nwhere = \"level >\""),
        "line 6: `where` cannot be read: at character 8",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"split\"\nshares = {{ train = 0.5 }}"),
        "the shares add up to 0.5, expected 1",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"split\"\nshares = {{ train = 0.7, held = 0.5 }}"),
        "job.toml, line 6: the shares add up to 1.2, expected 1",
    );
    check(&format!("{LOAD}[[step]]\nkind = \"split\"\nshares = {{ trian = 1.0 }}"), "did you mean `train`?");
    check(
        &format!("{LOAD}[[step]]\nkind = \"write\"\npath = \"a.txt\""),
        "expected a name that ends in one of .parquet",
    );
    check(&format!("{LOAD}[[step]]\nkind = \"write\"\npath = \"../a.jsonl\""), "a job writes into its own folder");
    check(
        &format!("{LOAD}[[step]]\nkind = \"difficulty\"\nmodel = \"m\"\nkeep = [0.9, 0.1]"),
        "line 7: `keep` is [0.9, 0.1]",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"difficulty\"\nmodel = \"m\"\ntemplate = \"chta\""),
        "line 7: `template` is \"chta\", expected \"r1-zero\" or \"chat\"",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"difficulty\"\nmodel = \"m\"\nsystem_prompt = \"Be brief.\""),
        "line 7: `system_prompt` has a meaning only with `template = \"chat\"`",
    );
    check(&format!("{LOAD}[[step]]\nkind = \"sample\""), "a sample step needs `count` or `share`");
    check("[[step]]\nkind = \"dedup\"", "the first step must be of kind \"load\"");
    check("[[step]]\nkind = \"load\"\nsources = [{ family = \"fractoins\" }]", "did you mean `fractions`?");
    check(
        "[[step]]\nkind = \"load\"\nsources = [{ family = \"fractions\", level = 9 }]",
        "`level` is 9, expected a whole number from 1 to 4",
    );
    check(
        "[[step]]\nkind = \"load\"\nsources = [{ path = \"hub:gsm8k\" }]",
        "line 3: `hub:gsm8k` names no data set: expected hub:OWNER/NAME",
    );
    check("[[step]]\nkind = \"load\"\nsources = [{ path = \"a.jsonl\", layout = \"gsm9k\" }]", "did you mean `gsm8k`?");
    let family =
        |count: &str| format!("[[step]]\nkind = \"load\"\nsources = [{{ family = \"chains\", count = {count} }}]");
    check(&family("1000000000000"), "`count` is 1000000000000, expected a whole number from 1 to 100000000");
    check(
        &family("100000000000000000000"),
        "`count` is integer 100000000000000000000, expected a whole number, 0 or more",
    );
    let filter = |keys: &str| format!("{LOAD}[[step]]\nkind = \"filter\"\n{keys}");
    check(
        &filter("min_words = 9\nmax_words = 3"),
        "line 7: `max_words` is 3, below `min_words`, which is 9: no row could stay",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"map\"\ntemplate = \"{{prompt\""),
        "line 6: `template` cannot be filled in: a brace stands alone",
    );
    check(
        &format!("{LOAD}[[step]]\nkind = \"dedup\"\nby = \"prompt\""),
        "`by` is \"prompt\", expected a further column",
    );
    let write = |path: &str| format!("[[step]]\nkind = \"write\"\npath = \"{path}\"\n");
    for taken in ["steps/x.jsonl", "dropped/02-filter.jsonl", "./Steps/x.jsonl", "completions/x.jsonl"] {
        check(&format!("{LOAD}{}", write(taken)), "in a job's folder is the job's own; write under another name");
    }
    check(&format!("{LOAD}{}{}", write("a.jsonl"), write("./a.jsonl")), "line 8: another step writes to this path");
    check(&format!("{LOAD}{}{}", write("a.jsonl"), write("a.jsonl/b.jsonl")), "are a file and a folder of one name");
    check(&format!("{LOAD}{}", write("o.xlsx")), "cannot write o.xlsx: expected a name that ends in one of .parquet");
    let missing = JobFile::find("mth", None).expect_err("there is none").to_string();
    assert!(missing.contains("did you mean `math`?"), "{missing}");
}

/// The Hub is not asked here: its cache holds what the hf command would have put there.
#[test]
fn a_job_takes_data_sets_of_the_hub_and_keeps_their_commits() {
    let [first, second] = ["1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"];
    let cache = place("hub-cache");
    let set = cache.join("datasets--some--stories");
    for (commit, answer) in [(first, 4), (second, 5)] {
        let part = set.join("snapshots").join(commit).join("main");
        fs::create_dir_all(&part).unwrap();
        let row = |question: &str, answer| format!("{{\"question\": \"{question}\", \"answer\": \"#### {answer}\"}}\n");
        fs::write(part.join("train.jsonl"), row("How many are there?", answer) + &row("What is seen twice?", 1))
            .unwrap();
        fs::write(part.join("test.jsonl"), row("What is seen twice?", 1)).unwrap();
        fs::write(set.join("snapshots").join(commit).join("README.md"), "---\nlicense: cc-by-4.0\n---\n").unwrap();
    }
    fs::create_dir_all(set.join("refs")).unwrap();
    fs::write(set.join("refs/main"), first).unwrap();
    let text = "[[step]]\nkind = \"load\"\nsources = [{ path = \"some/stories\" }]\n\
                [[step]]\nkind = \"decontaminate\"\nagainst = [\"some/stories\"]\n\
                [[step]]\nkind = \"write\"\npath = \"all.jsonl\"\n";
    let job = JobFile::parse("stories.toml", text, Path::new("")).unwrap();
    let hub = Hub { cache, ..no_hub() };
    let folder = place("curated-hub");
    let rows = |folder: &Path| {
        let outcome = run_with(&job, folder, &hub).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(count(&outcome, "decontaminate").2, [("in some/stories".to_owned(), 1)].into());
        let task = read(&folder.join("all.jsonl"), OnBadLine::Stop).unwrap().tasks.remove(0);
        assert_eq!(task.source, "some/stories");
        (task.extra["hub_revision"].as_str().unwrap().to_owned(), task.reference)
    };
    let math = |answer: &str| rewards::Reference::Math { answer: answer.to_owned() };
    assert_eq!(rows(&folder), (first.to_owned(), math("4")));
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    let page = format!("http://127.0.0.1:9/datasets/some/stories/tree/{first}");
    assert!(card.contains("cc-by-4.0") && card.contains(&page), "{card}");

    // The data set moves on; the job does not, until it is begun anew.
    fs::write(set.join("refs/main"), second).unwrap();
    assert_eq!(rows(&folder), (first.to_owned(), math("4")));
    assert_eq!(rows(&place("curated-hub-anew")), (second.to_owned(), math("5")));

    let missing = JobFile::parse("m.toml", &text.replace("some/stories", "some/tales"), Path::new("")).unwrap();
    let error = run_with(&missing, &place("curated-hub-missing"), &hub).unwrap_err().to_string();
    assert!(error.starts_with("cannot get the data set some/tales from the Hugging Face Hub"), "{error}");
}

#[test]
fn files_and_models_are_looked_for_before_the_first_step_and_the_folder_can_be_used_again() {
    let data = place("looked-for");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("rows.jsonl"), "{\"prompt\": \"Say one\", \"answer\": \"1\"}\n").unwrap();
    let job = |more: &str| {
        let text = format!("[[step]]\nkind = \"load\"\nsources = [{{ path = \"rows.jsonl\" }}]\n[[step]]\n{more}\n");
        JobFile::parse("job.toml", &text, &data).unwrap()
    };
    let folder = place("looked-for-out");
    let error = |more: &str| {
        let error = format!("{:#}", run_with(&job(more), &folder, &no_hub()).unwrap_err());
        assert!(!folder.join("steps").exists(), "{error}");
        error.replace(&format!("{}/", data.display()), "")
    };
    let missing = error("kind = \"decontaminate\"\nagainst = [\"exam.jsonl\"]");
    assert!(
        missing.starts_with("step 2 (decontaminate): cannot read the task file exam.jsonl: No such file"),
        "{missing}"
    );
    let no_model = error("kind = \"difficulty\"\nmodel = \"policy\"");
    assert_eq!(no_model, "step 2 (difficulty): policy: there is no such model folder");
    let outcome = run(&job("kind = \"dedup\""), &folder);
    assert_eq!(outcome.left.rows, 1);

    let other = place("others-folder");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("letter.txt"), "mine").unwrap();
    let error = run_with(&job("kind = \"dedup\""), &other, &no_hub()).unwrap_err().to_string();
    assert!(error.contains("holds other things"), "{error}");
}

/// What stands in a job's folder for people: how to run it again, what was compared with, what is left.
#[test]
fn what_people_read_of_a_job_adds_up() {
    let data = place("adds-up");
    fs::create_dir_all(&data).unwrap();
    let row = |prompt: &str| format!("{{\"prompt\": \"{prompt}\", \"answer\": \"72\"}}\n");
    fs::write(data.join("rows.jsonl"), row("Say one") + "oops\n" + &row("say ONE") + &row("What stands in the exam?"))
        .unwrap();
    fs::write(data.join("exam.jsonl"), row("What stands in the exam?")).unwrap();
    let text = "[[step]]\nkind = \"load\"\nsources = [{ path = \"rows.jsonl\", on_bad_line = \"skip\" }]\n\
                [[step]]\nkind = \"dedup\"\n[[step]]\nkind = \"decontaminate\"\nagainst = [\"exam.jsonl\"]\n\
                [[step]]\nkind = \"write\"\npath = \"all-rows.jsonl\"\n[[step]]\nkind = \"write\"\npath = \"all.csv.gz\"\n";
    let job = JobFile::parse("job.toml", text, &data).unwrap();
    let folder = place("adds-up-out");
    run(&job, &folder);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let card = read("README.md");
    for part in [
        // One kind of file, since one loader reads them.
        "configs:\n  - config_name: default\n    data_files:\n      - split: \"all_rows\"\n        path: \"all-rows.jsonl\"\n---\n",
        "## Compared with\n\n| file | SHA-256 |\n|---|---|\n| `exam.jsonl` | `",
    ] {
        assert!(card.contains(part), "{card}\n\nshould contain\n\n{part}");
    }
    // 4 read, 3 dropped, 1 left; the answer in plain words.
    let page = read("report.html");
    assert!(page.contains("<b>1 <small>of 4</small></b>") && page.contains("<b>3 <small></small></b>"), "{page}");
    assert!(page.contains("<pre>answer: 72</pre>"), "{page}");
    // The job of the folder runs from there, and is what it was.
    assert!(read("job.toml").starts_with("# To run this again: recipe curate job.toml --data DIR"));
    let again = JobFile::find(folder.join("job.toml").to_str().unwrap(), Some(&data)).unwrap();
    let outcome = run(&again, &folder);
    assert!(outcome.steps.iter().all(|step| step.reused));
    assert_eq!(read("job.toml").matches("To run this again").count(), 1);

    let none =
        JobFile::parse("job.toml", &text.replace("\"dedup\"", "\"filter\"\nwhere = \"words > 9\""), &data).unwrap();
    let folder = place("none-left");
    let outcome = run(&none, &folder);
    assert!(recipes::curation::table(&outcome, &folder).contains("no row is left"));
    assert!(fs::read_to_string(folder.join("report.html")).unwrap().contains("No row is left."));
}
