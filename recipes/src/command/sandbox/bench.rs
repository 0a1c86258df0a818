//! `recipe sandbox bench`: how fast the sandbox is here, beside a `python3 -I` process for each program.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ::sandbox::{Cause, Job, Limits, Outcome, Packages, Python};
use anyhow::{Context, ensure};
use clap::Args;
use rewards::Reference;

use super::prepare_python;
use crate::command::tasks::exercise::Exercises;
use crate::command::{Wrong, print};
use crate::progress::{Reporter, Verbosity};

#[derive(Args, Debug)]
pub(in crate::command) struct BenchArguments {
    /// Also run the solutions of this task file with their tests
    #[arg(long, value_name = "FILE")]
    tasks: Option<PathBuf>,
    /// The interpreter to compare with
    #[arg(long, value_name = "PATH", default_value = "/usr/bin/python3")]
    python: PathBuf,
    /// How many trivial programs to run
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    programs: u32,
}

const TRIVIAL: &str = "print(1 + 1)";
/// Work for the interpreter: calls, dictionaries, integers, sorting.
const BUSY: &str = "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def work():
    counts = {}
    for i in range(400_000): counts[i % 1000] = counts.get(i % 1000, 0) + len(str(i))
    return fib(27), sum(counts.values()), sorted((i * 7919) % 100003 for i in range(300_000))[5]
print(work())";

pub(super) fn bench(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    let reporter = Reporter::new(Verbosity::Auto);
    let started = Instant::now();
    let python = prepare_python(&reporter, &Packages::default())?;
    let mut text = format!("ready after                {:.2} s\n", started.elapsed().as_secs_f64());

    let trivial = vec![TRIVIAL.to_owned(); arguments.programs as usize];
    for program in trivial.iter().take(20) {
        python.run(program, "", &Limits::default())?;
    }
    let mut seconds = Vec::new();
    for program in &trivial {
        let started = Instant::now();
        python.run(program, "", &Limits::default())?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let _ = writeln!(
        text,
        "trivial program            median {:.2} ms, p99 {:.2} ms",
        1e3 * quantile(&seconds, 0.5),
        1e3 * quantile(&seconds, 0.99)
    );
    let before = resident_bytes();
    let (rate, _) = batch(&python, &trivial, &reporter)?;
    let _ = writeln!(text, "trivial programs, batch    {rate:.0} per second");
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let _ = writeln!(
            text,
            "memory grown by the batch  {:.1} MiB, its outcomes included",
            after.saturating_sub(before) as f64 / (1 << 20) as f64
        );
    }

    let here = python.run(BUSY, "", &Limits::default())?;
    let (native, finished) = native(arguments, BUSY)?;
    if !finished {
        let python = arguments.python.display();
        return Err(Wrong(format!("--python {python}: it cannot run a Python program: is it an interpreter?")).into());
    }
    let _ = writeln!(
        text,
        "interpreter-bound work     {:.2} s here ({:.2e} fuel), {native:.2} s in {}: {:.1} times",
        here.seconds,
        here.fuel as f64,
        arguments.python.display(),
        here.seconds / native
    );

    if let Some(file) = &arguments.tasks {
        let mut exercises = Exercises::open(file, None)?;
        let mut programs: Vec<String> = Vec::new();
        while let Some(batch) = exercises.next_batch()? {
            programs.extend(batch.into_iter().filter_map(|task| match task.reference {
                Reference::Tests { setup, assertions } => {
                    Some(format!("{}\n{setup}\n{}\n", task.solutions[0], assertions.join("\n")))
                }
                _ => None,
            }));
        }
        ensure!(!programs.is_empty(), "{} holds no tasks with assertions", file.display());
        let (rate, outcomes) = batch(&python, &programs, &reporter)?;
        let mut seconds: Vec<f64> = outcomes.iter().map(|outcome| outcome.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let failed = outcomes.iter().filter(|outcome| outcome.cause != Cause::Ok).count();
        let native = native_batch(arguments, &programs, &reporter)?;
        let _ = writeln!(
            text,
            "{} programs of tasks      {rate:.0} per second, p50 {:.1} ms, p99 {:.0} ms, {failed} failed\n\
             the same as processes      {native:.0} per second: the sandbox has {:.1} times the throughput",
            programs.len(),
            1e3 * quantile(&seconds, 0.5),
            1e3 * quantile(&seconds, 0.99),
            rate / native
        );
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Programs per second on all cores, and what came of them.
fn batch(python: &Python, programs: &[String], reporter: &Reporter) -> anyhow::Result<(f64, Vec<Outcome>)> {
    let phase = reporter.inner_phase("in the sandbox", Some(programs.len() as u64), "programs");
    let jobs: Vec<Job> = programs.iter().map(|program| Job { program, stdin: "", limits: Limits::default() }).collect();
    let started = Instant::now();
    let outcomes = python.run_batch(&jobs, &|_| phase.inc(1))?;
    Ok((programs.len() as f64 / started.elapsed().as_secs_f64(), outcomes))
}

/// Programs per second, a process for each, as many at once as there are cores.
fn native_batch(arguments: &BenchArguments, programs: &[String], reporter: &Reporter) -> anyhow::Result<f64> {
    let phase = reporter.inner_phase("as processes", Some(programs.len() as u64), "programs");
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                native(arguments, program)?;
                phase.inc(1);
            }
            Ok(())
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    Ok(programs.len() as f64 / started.elapsed().as_secs_f64())
}

/// The seconds that one process takes, and whether it ends well.
fn native(arguments: &BenchArguments, program: &str) -> anyhow::Result<(f64, bool)> {
    let started = Instant::now();
    let status = Command::new(&arguments.python)
        .args(["-I", "-c", program])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", arguments.python.display()))?;
    Ok((started.elapsed().as_secs_f64(), status.success()))
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// What this process has in memory, where the system says so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}
