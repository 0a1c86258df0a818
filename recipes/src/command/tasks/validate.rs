//! `recipe tasks validate`: every task's own solution against the task's own tests.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use rayon::prelude::*;
use rewards::{CodeGrader, Graded, Marking};
use serde::Serialize;

use super::exercise::{Exercise, Exercises};
use crate::command::sandbox::{LimitArguments, prepare_python};
use crate::command::{FAILED, print};
use crate::progress::{Reporter, Verbosity, duration_text};

#[derive(Args, Debug)]
pub(in crate::command) struct ValidateArguments {
    /// The task file (JSON Lines, JSON, CSV or Parquet, also gzipped)
    file: PathBuf,
    /// How its rows are laid out: humaneval, mbpp, apps, livecodebench, codeforces, open-r1-code, stdin [default: by their
    /// columns]
    #[arg(long = "as", value_name = "LAYOUT")]
    layout: Option<String>,
    /// Write a row per task: id, passed, cause, detail, fuel, seconds
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArguments,
}

/// Solutions that are tried where a source lists many: some are for another Python.
const TRIED: usize = 5;

/// What is written about a task.
#[derive(Serialize)]
struct Verdict {
    id: String,
    passed: bool,
    cause: String,
    detail: String,
    fuel: u64,
    seconds: f64,
}

impl Verdict {
    fn new(exercise: Exercise, graded: Graded) -> Self {
        Self {
            id: exercise.id,
            passed: graded.score.value == Some(1.0),
            cause: graded.score.cause.unwrap_or_else(|| "ok".to_owned()),
            detail: graded.detail,
            fuel: graded.fuel,
            seconds: graded.seconds,
        }
    }
}

pub(super) fn validate(arguments: &ValidateArguments) -> anyhow::Result<ExitCode> {
    let limits = arguments.limits.limits()?;
    let mut exercises = Exercises::open(&arguments.file, arguments.layout.as_deref())?;
    let first = exercises.next_batch()?.unwrap_or_default();
    // Opened before anything runs: who cannot write it shall know at once.
    let out = arguments.out.as_ref().map(|path| {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok((path, BufWriter::new(file)))
    });
    let out = out.transpose()?;
    let reporter = Reporter::new(Verbosity::Auto);
    let python = prepare_python(&reporter, &sandbox::Packages::default())?;
    let started = Instant::now();
    let grader = CodeGrader::new(Arc::new(python), limits);
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut next = Some(first);
    while let Some(batch) = next {
        verdicts.extend(grade_all(&grader, batch, &reporter)?);
        next = exercises.next_batch()?;
    }
    if let Some((path, mut file)) = out {
        let mut write = || -> std::io::Result<()> {
            for verdict in &verdicts {
                serde_json::to_writer(&mut file, verdict)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
    let mut text = String::new();
    for verdict in &failed {
        text.push_str(format!("{}: {}  {}", verdict.id, verdict.cause, verdict.detail).trim_end());
        text.push('\n');
    }
    if exercises.left_out > 0 {
        text.push_str(&format!("{} tasks without a solution, or without tests, were left out\n", exercises.left_out));
    }
    let most_fuel = verdicts.iter().map(|verdict| verdict.fuel).max().unwrap_or(0);
    text.push_str(&format!(
        "{} of {} solutions pass ({}; the longest took {:.2e} fuel)\n",
        verdicts.len() - failed.len(),
        verdicts.len(),
        duration_text(started.elapsed().as_secs_f64()),
        most_fuel as f64,
    ));
    print(&text)?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Every exercise, on all cores, in order.
fn grade_all(grader: &CodeGrader, exercises: Vec<Exercise>, reporter: &Reporter) -> anyhow::Result<Vec<Verdict>> {
    let phase = reporter.phase("solutions", Some(exercises.len() as u64), "tasks");
    let graded = exercises.into_par_iter().map(|exercise| {
        let graded = grade(grader, &exercise).with_context(|| format!("task {}", exercise.id))?;
        phase.inc(1);
        Ok(Verdict::new(exercise, graded))
    });
    let verdicts = graded.collect::<anyhow::Result<Vec<_>>>()?;
    phase.finish("");
    Ok(verdicts)
}

/// The first solution that passes, else the verdict on the first of all.
fn grade(grader: &CodeGrader, exercise: &Exercise) -> anyhow::Result<Graded> {
    let mut first = None;
    for solution in exercise.solutions.iter().take(TRIED) {
        let graded = grader.grade_asked(&exercise.question, solution, &exercise.reference, Marking::All)?;
        if graded.score.value == Some(1.0) {
            return Ok(graded);
        }
        first.get_or_insert(graded);
    }
    first.context("it has no solution")
}
