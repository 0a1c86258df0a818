//! `recipe tasks validate`: every task's own solution against the task's own tests.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use rewards::{CodeGrader, Graded};
use serde::Serialize;

use super::exercise::{self, Exercise, Layout, Tests};
use crate::command::sandbox::{LimitArguments, prepare_python};
use crate::command::{FAILED, print};
use crate::progress::{Reporter, Verbosity, duration_text};

#[derive(Args, Debug)]
pub(in crate::command) struct ValidateArguments {
    /// The task file (JSON Lines or JSON, also gzipped)
    file: PathBuf,
    /// How its rows are laid out
    #[arg(long = "as", value_name = "LAYOUT", value_enum, default_value_t = Layout::Auto)]
    layout: Layout,
    /// Write a row per task: id, passed, cause, detail, fuel, seconds
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArguments,
}

/// What is written about a task.
#[derive(Serialize)]
struct Verdict<'a> {
    id: &'a str,
    passed: bool,
    cause: &'a str,
    detail: &'a str,
    fuel: u64,
    seconds: f64,
}

impl<'a> Verdict<'a> {
    fn new(exercise: &'a Exercise, graded: &'a Graded) -> Verdict<'a> {
        let outcome = &graded.outcome;
        Verdict {
            id: &exercise.id,
            passed: graded.score.value == Some(1.0),
            cause: graded.score.cause.as_deref().unwrap_or("ok"),
            detail: &outcome.detail,
            fuel: outcome.fuel,
            seconds: outcome.seconds,
        }
    }
}

pub(super) fn validate(arguments: &ValidateArguments) -> anyhow::Result<ExitCode> {
    let limits = arguments.limits.limits()?;
    let exercises = exercise::read(&arguments.file, arguments.layout)?;
    // Opened before anything runs: who cannot write it shall know at once.
    let out = arguments.out.as_ref().map(|path| {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok((path, BufWriter::new(file)))
    });
    let out = out.transpose()?;
    let reporter = Reporter::new(Verbosity::Auto);
    let python = prepare_python(&reporter, &sandbox::Packages::default())?;
    let started = Instant::now();
    let graded = grade_all(&CodeGrader::new(Arc::new(python), limits), &exercises, &reporter)?;
    let verdicts: Vec<Verdict> =
        exercises.iter().zip(&graded).map(|(task, graded)| Verdict::new(task, graded)).collect();
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
fn grade_all(grader: &CodeGrader, exercises: &[Exercise], reporter: &Reporter) -> anyhow::Result<Vec<Graded>> {
    let phase = reporter.phase("solutions", Some(exercises.len() as u64), "tasks");
    let next = AtomicUsize::new(0);
    let graded: Mutex<Vec<Option<Graded>>> = Mutex::new(exercises.iter().map(|_| None).collect());
    let work = || -> anyhow::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(exercise) = exercises.get(index) else { return Ok(()) };
            let result = match &exercise.tests {
                Tests::Assertions { setup, assertions } => grader.grade(&exercise.solution, setup, assertions),
                Tests::Stdin(cases) => grader.grade_stdin(&exercise.solution, cases),
            };
            let mut result = result.with_context(|| format!("task {}", exercise.id))?;
            // Kept until the end; what thousands of programs printed need not be.
            result.outcome.stdout = String::new();
            result.outcome.stderr = String::new();
            graded.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
            phase.inc(1);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    phase.finish("");
    let graded = graded.into_inner().unwrap_or_else(PoisonError::into_inner);
    graded.into_iter().collect::<Option<_>>().context("a task was left out")
}
