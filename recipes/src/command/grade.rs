//! `recipe grade`: rows of references and answers through a reward, with what it says of each and how fast.
//!
//! A row is an object with `gold` and `pred`, or `reference` and `completion`. The reference is a text or a number, a list
//! of such of which any may be met, or an object as task files have it (`{"kind": "tests", ...}`). `expected` is the
//! verdict that somebody else gave: true, false, a score, or null.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use rayon::prelude::*;
use rewards::{Reference, Registry, RewardSet, Sample, Score};
use serde_json::{Map, Value, json};

use super::out::{check_out, write_results};
use super::reward::{RewardOptions, build};
use super::{FAILED, Wrong, print};
use crate::progress::{Reporter, Verbosity};
use crate::wording::counted;

/// How many disagreements, and how many malformed rows, are shown; all are in the output.
const SHOWN: usize = 20;

#[derive(Args, Debug)]
pub(super) struct GradeArguments {
    /// The rows, as JSON Lines
    pub(super) file: PathBuf,

    /// The reward that grades: its name, or the file of one of your own
    #[arg(long, value_name = "NAME", default_value = "accuracy")]
    pub(super) reward: String,

    #[command(flatten)]
    pub(super) options: RewardOptions,

    /// Write the verdicts here [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,

    /// Threads to grade with [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = super::arguments::threads())]
    pub(super) threads: Option<u16>,
}

/// A row that can be graded.
struct Row {
    id: Option<Value>,
    prompt: String,
    /// All of its columns: what they mean to a reward is the reward's affair.
    columns: Map<String, Value>,
    references: Vec<Reference>,
    completion: String,
    expected: Option<f64>,
}

/// A row's verdict, and how long it took.
struct Graded {
    score: Score,
    took: Duration,
}

pub(super) fn grade(arguments: &GradeArguments, known: &Registry) -> anyhow::Result<ExitCode> {
    let rows = read_rows(&arguments.file)?;
    if let Some(path) = &arguments.out {
        check_out(path, &arguments.file)?;
    }
    let spec = arguments.options.spec(&arguments.reward, known)?;
    let rewards = build(&spec, known, &Reporter::new(Verbosity::Auto))?;
    let threads =
        arguments.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the grading threads")?;
    let start = Instant::now();
    let graded: Vec<Option<anyhow::Result<Graded>>> = pool.install(|| {
        rows.par_iter().map(|(_, row)| row.as_ref().ok().map(|row| judge(&rewards, &spec.name, row))).collect()
    });
    let elapsed = start.elapsed();
    let mut lines = String::new();
    let mut summary = Summary::default();
    for ((line, row), graded) in rows.iter().zip(graded) {
        let entry = match (row, graded.transpose()?) {
            (Ok(row), Some(graded)) => summary.count(*line, row, &graded),
            (Err(problem), _) => summary.malformed(*line, problem),
            (Ok(_), None) => continue,
        };
        let _ = writeln!(lines, "{entry}");
    }
    match &arguments.out {
        Some(path) => write_results(path, &lines)?,
        None => {
            print(&lines)?;
        }
    }
    let mut text = String::new();
    for printed in rewards.take_printed() {
        let _ = writeln!(text, "{} prints:\n{}", spec.name, printed.text.trim_end());
    }
    text.push_str(&summary.render(&spec.name, elapsed, threads));
    let _ = std::io::stderr().write_all(text.as_bytes());
    Ok(if summary.malformed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The rows of a file with the numbers of their lines, each as it can be graded or what is wrong with it.
fn read_rows(path: &Path) -> anyhow::Result<Vec<(usize, Result<Row, String>)>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Wrong(format!("there is no file {} with rows to grade", path.display())).into());
        }
        bytes => bytes.with_context(|| format!("cannot read the rows in {}", path.display()))?,
    };
    // Some editors and spreadsheets begin a file with a byte order mark, which is no part of its first row.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let rows: Vec<(usize, Result<Row, String>)> = lines.map(|(index, line)| (index + 1, read_row(line))).collect();
    if rows.is_empty() {
        return Err(Wrong(format!("{} holds no rows", path.display())).into());
    }
    Ok(rows)
}

fn read_row(line: &[u8]) -> Result<Row, String> {
    let line =
        std::str::from_utf8(line).map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        format!("is not JSON: {} at column {}", text.split(" at line ").next().unwrap_or(&text), error.column())
    })?;
    let Value::Object(row) = value else { return Err("is not an object".to_owned()) };
    let reference =
        row.get("gold").or_else(|| row.get("reference")).ok_or("has no `gold` (or `reference`), the right answer")?;
    let references = match reference {
        Value::Array(any) if any.is_empty() => return Err("has an empty list of right answers".to_owned()),
        Value::Array(any) => any.iter().map(read_reference).collect::<Result<_, _>>()?,
        one => vec![read_reference(one)?],
    };
    let completion = match row.get("pred").or_else(|| row.get("completion")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        // A model that said nothing.
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err("has a `pred` (or `completion`) that is not a text".to_owned()),
    };
    let expected = match row.get("expected") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(right)) => Some(f64::from(u8::from(*right))),
        Some(Value::Number(score)) => score.as_f64(),
        Some(_) => return Err("has an `expected` that is neither true, false, a number nor null".to_owned()),
    };
    let prompt = ["prompt", "question", "problem"].iter().find_map(|name| row.get(*name)?.as_str());
    let (id, prompt) = (row.get("id").cloned(), prompt.unwrap_or_default().to_owned());
    Ok(Row { id, prompt, references, completion, expected, columns: row })
}

pub(super) fn read_reference(value: &Value) -> Result<Reference, String> {
    match value {
        Value::String(answer) => Ok(Reference::Math { answer: answer.clone() }),
        Value::Number(answer) => Ok(Reference::Math { answer: answer.to_string() }),
        Value::Object(_) => serde_json::from_value(value.clone())
            .map_err(|error| format!("has a reference that cannot be used: {error}")),
        _ => {
            Err("has a `gold` (or `reference`) that is neither a text, a number, an object nor a list of such"
                .to_owned())
        }
    }
}

/// The best verdict over the row's references.
fn judge(rewards: &RewardSet, reward: &str, row: &Row) -> anyhow::Result<Graded> {
    let start = Instant::now();
    let mut best: Option<Score> = None;
    for reference in &row.references {
        let sample = Sample { columns: &row.columns, ..Sample::new(&row.prompt, &row.completion, reference) };
        let breakdown = rewards.score(&sample)?;
        let score = match breakdown.components.into_iter().next() {
            Some(component) => component.score,
            None => Score::unscorable(format!("{reward}_does_not_apply")),
        };
        if best.as_ref().is_none_or(|best| score.value > best.value) {
            best = Some(score);
        }
    }
    let score = best.unwrap_or_else(|| Score::unscorable("reference_empty"));
    Ok(Graded { score, took: start.elapsed() })
}

#[derive(Default)]
struct Summary {
    graded: usize,
    labelled: usize,
    agreed: usize,
    unscorable: usize,
    slowest: Option<(Duration, usize)>,
    disagreements: Vec<String>,
    malformed: Vec<String>,
}

impl Summary {
    /// Counts a row, and gives its line of output.
    fn count(&mut self, line: usize, row: &Row, graded: &Graded) -> Value {
        self.graded += 1;
        self.unscorable += usize::from(graded.score.value.is_none());
        if self.slowest.is_none_or(|(took, _)| graded.took > took) {
            self.slowest = Some((graded.took, line));
        }
        let mut entry = json!({"line": line});
        if let Some(id) = &row.id {
            entry["id"] = id.clone();
        }
        entry["score"] = json!(graded.score.value);
        entry["cause"] = json!(graded.score.cause);
        if let Some(expected) = row.expected {
            self.labelled += 1;
            let agrees = graded.score.value.is_some_and(|value| (value - expected).abs() < 1e-9);
            self.agreed += usize::from(agrees);
            entry["expected"] = json!(expected);
            entry["agrees"] = json!(agrees);
            if !agrees {
                let score = graded.score.value.map_or_else(|| "no score".to_owned(), |value| value.to_string());
                let cause = graded.score.cause.as_deref().map_or(String::new(), |cause| format!(" ({cause})"));
                self.disagreements.push(format!("line {line}: expected {expected}, got {score}{cause}"));
            }
        }
        entry
    }

    fn malformed(&mut self, line: usize, problem: &str) -> Value {
        self.malformed.push(format!("line {line} {problem}"));
        json!({"line": line, "score": null, "cause": "malformed_row"})
    }

    fn render(&self, reward: &str, elapsed: Duration, threads: usize) -> String {
        let mut text = String::new();
        for problem in self.malformed.iter().take(SHOWN) {
            let _ = writeln!(text, "malformed: {problem}");
        }
        if self.malformed.len() > SHOWN {
            let _ = writeln!(text, "malformed: {} more, marked in the output", self.malformed.len() - SHOWN);
        }
        for disagreement in self.disagreements.iter().take(SHOWN) {
            let _ = writeln!(text, "disagrees: {disagreement}");
        }
        if self.disagreements.len() > SHOWN {
            let _ = writeln!(text, "disagrees: {} more, marked in the output", self.disagreements.len() - SHOWN);
        }
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let _ = writeln!(
            text,
            "{reward}: {} rows in {seconds:.6} s, {:.0} a second on {threads} thread{}",
            self.graded,
            self.graded as f64 / seconds,
            if threads == 1 { "" } else { "s" },
        );
        if let Some((took, line)) = self.slowest {
            let _ = writeln!(text, "slowest verdict: {:.3} ms (line {line})", took.as_secs_f64() * 1e3);
        }
        if self.unscorable > 0 {
            let _ = writeln!(text, "unscorable: {} (the reference cannot be used)", self.unscorable);
        }
        if self.labelled > 0 {
            let percent = 100.0 * self.agreed as f64 / self.labelled as f64;
            let _ = writeln!(text, "agreement: {} of {} labelled rows ({percent:.2}%)", self.agreed, self.labelled);
        }
        if !self.malformed.is_empty() {
            let _ = writeln!(text, "left out: {}", counted(self.malformed.len(), "malformed row", "malformed rows"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(file: PathBuf, out: PathBuf) -> GradeArguments {
        let (reward, options) = ("accuracy".to_owned(), RewardOptions::default());
        GradeArguments { file, reward, options, out: Some(out), threads: None }
    }

    fn run(text: &str) -> (Vec<Value>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("rows.jsonl"), folder.path().join("out.jsonl"));
        std::fs::write(&file, text).unwrap();
        let code = grade(&arguments(file, out.clone()), &Registry::builtin()).unwrap();
        let lines = std::fs::read_to_string(out).unwrap();
        let fine = format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS);
        (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), fine)
    }

    #[test]
    fn every_row_gets_its_line() {
        let (lines, fine) = run(concat!(
            "{\"id\": \"a\", \"gold\": \"1/2\", \"pred\": \"0.5\", \"expected\": true}\n",
            "{\"reference\": 7, \"completion\": \"\\\\boxed{8}\", \"expected\": true}\n",
            "\n",
            "{\"gold\": [\"3\", \"x = 4\"], \"pred\": \"4\"}\n",
            "{\"gold\": \"\", \"pred\": \"4\"}\n",
            "{\"gold\": {\"kind\": \"countdown\", \"numbers\": [3, 4], \"target\": 12}, \"pred\": \"\\\\boxed{3*4}\"}\n",
        ));
        assert!(fine);
        assert_eq!(
            lines[0],
            json!({"line": 1, "id": "a", "score": 1.0, "cause": null, "expected": 1.0, "agrees": true})
        );
        assert_eq!(
            lines[1],
            json!({"line": 2, "score": 0.0, "cause": "wrong_value", "expected": 1.0, "agrees": false})
        );
        assert_eq!(lines[2], json!({"line": 4, "score": 1.0, "cause": null}));
        assert_eq!(lines[3], json!({"line": 5, "score": null, "cause": "reference_unparsable"}));
        assert_eq!(lines[4], json!({"line": 6, "score": 1.0, "cause": null}));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_row() {
        let (lines, fine) = run("\u{feff}{\"gold\": \"1\", \"pred\": \"1\"}\r\n{\"gold\": \"1\", \"pred\": \"2\"}\r\n");
        assert!(fine);
        assert_eq!(lines.iter().map(|line| line["score"].clone()).collect::<Vec<_>>(), [json!(1.0), json!(0.0)]);
    }

    #[test]
    fn a_file_without_rows_is_wrong_input() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("rows.jsonl"), folder.path().join("out.jsonl"));
        #[track_caller]
        fn check(file: &Path, out: &Path, expected: &str) {
            let error = grade(&arguments(file.to_owned(), out.to_owned()), &Registry::builtin()).unwrap_err();
            assert_eq!(super::super::status(&error), super::super::WRONG);
            assert_eq!(error.to_string(), expected.replace("FILE", &file.display().to_string()));
        }
        check(&file, &out, "there is no file FILE with rows to grade");
        for empty in ["", "\n \n", "\u{feff}"] {
            std::fs::write(&file, empty).unwrap();
            check(&file, &out, "FILE holds no rows");
        }
        assert!(!out.exists());
    }

    #[test]
    fn malformed_rows_are_named_and_the_rest_goes_on() {
        let (lines, fine) = run(
            "{\"gold\": \"1\"\n[1]\n{\"pred\": \"1\"}\n{\"gold\": \"1\", \"pred\": {}}\n{\"gold\": \"1\", \"pred\": \"1\"}\n",
        );
        assert!(!fine);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0], json!({"line": 1, "score": null, "cause": "malformed_row"}));
        assert_eq!(lines[4]["score"], json!(1.0));
        let problem = |line: &str| read_row(line.as_bytes()).err().unwrap();
        assert_eq!(problem("{\"gold\": \"1\""), "is not JSON: EOF while parsing an object at column 12");
        assert_eq!(read_row(b"{\"gold\": \"\xFF\"}").err().unwrap(), "is not UTF-8 at byte 11");
        assert_eq!(problem("[1]"), "is not an object");
        assert_eq!(problem("{\"pred\": \"1\"}"), "has no `gold` (or `reference`), the right answer");
        assert_eq!(problem("{\"gold\": [], \"pred\": \"1\"}"), "has an empty list of right answers");
        assert!(
            problem("{\"gold\": {\"kind\": \"song\"}, \"pred\": \"1\"}")
                .starts_with("has a reference that cannot be used: ")
        );
    }
}
