//! Measures the sandbox on this machine: `cargo run --release -p sandbox --example bench`.
//!
//! Prints how long preparing takes (from nothing, and from the cache), the time of a trivial program (median and 99th
//! percentile), programs per second on all cores, and the fuel and time of a busy loop.
#![allow(clippy::print_stdout, reason = "a command for people")]

use std::time::Instant;

use sandbox::{Limits, Python, SandboxError};

const PROGRAMS: usize = 300;
const LOOP: &str = "total = 0\nfor number in range(3_000_000):\n    total += number * number % 7\nprint(total)\n";

fn main() -> Result<(), SandboxError> {
    let folder = std::env::temp_dir().join(format!("sandbox-bench-{}", std::process::id()));
    let mut last: Option<(Instant, String)> = None;
    for attempt in ["prepared from nothing", "loaded from the cache"] {
        let started = Instant::now();
        Python::prepare(&folder, &mut |step| {
            if let Some((since, label)) = last.replace((Instant::now(), step.to_string())) {
                println!("  {label}: {:.2} s", since.elapsed().as_secs_f64());
            }
        })?;
        last = None;
        println!("{attempt}: {:.2} s", started.elapsed().as_secs_f64());
    }
    let python = Python::prepare(&folder, &mut |_| ())?;
    let limits = Limits::default();

    let mut seconds = Vec::new();
    for _ in 0..PROGRAMS {
        let started = Instant::now();
        python.run("print(1 + 1)", "", &limits)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "trivial program: median {:.2} ms, p99 {:.2} ms",
        1e3 * seconds[PROGRAMS / 2],
        1e3 * seconds[PROGRAMS * 99 / 100]
    );

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| (0..PROGRAMS).try_for_each(|_| python.run("print(1 + 1)", "", &limits).map(|_| ())));
        }
    });
    let rate = (cores * PROGRAMS) as f64 / started.elapsed().as_secs_f64();
    println!("on {cores} threads: {rate:.0} programs per second");

    let outcome = python.run(LOOP, "", &limits)?;
    println!(
        "busy loop: {:.2} s, {:.2e} fuel, {:.2e} fuel per second",
        outcome.seconds,
        outcome.fuel as f64,
        outcome.fuel as f64 / outcome.seconds
    );
    // The folder was made above for this measurement alone.
    std::fs::remove_dir_all(&folder).map_err(|source| SandboxError::Cache {
        operation: "removing",
        path: folder.clone(),
        source,
    })
}
