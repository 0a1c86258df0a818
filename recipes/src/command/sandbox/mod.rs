//! `recipe sandbox ...`: the sandbox by itself.

mod bench;
mod doctor;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::sandbox::{Limits, Packages, Python};
use clap::{Args, Subcommand};

use crate::command::Wrong;
use crate::progress::{Reporter, Verbosity};
use crate::stage::prepare_python_with;
use bench::BenchArguments;
use run::RunArguments;

#[derive(Debug, Subcommand)]
pub(super) enum SandboxCommand {
    /// Run a program in the sandbox
    #[command(
        long_about = "Run a program in the sandbox: a Python file, or a WebAssembly command (.wasm).

What it writes comes out here; how it ended is the last line on standard error. Exit status 0 if it ran to its end, \
else 1.",
        after_help = "Examples:
  recipe sandbox run program.py
  recipe sandbox run program.py --stdin input.txt --memory 256
  recipe sandbox run program.py --json | jq .cause"
    )]
    Run(RunArguments),
    /// Prepare Python, so that the first run need not
    Prepare(PackageArguments),
    /// Say what is prepared, and try what a sandbox must be able to do
    Doctor(PackageArguments),
    /// Measure the sandbox on this machine, beside a process for each program
    #[command(after_help = "Examples:
  recipe sandbox bench                     trivial programs
  recipe sandbox bench --tasks mbpp.jsonl  and the file's solutions")]
    Bench(BenchArguments),
}

/// What programs can import beside the standard library.
#[derive(Args, Debug, Default)]
pub(in crate::command) struct PackageArguments {
    /// A wheel or a folder with pure Python packages; may be repeated
    #[arg(long = "package", value_name = "PATH")]
    packages: Vec<PathBuf>,
    /// Import this module into the snapshot that programs start from; may be repeated
    #[arg(long, value_name = "MODULE")]
    preload: Vec<String>,
}

impl PackageArguments {
    fn packages(&self) -> Packages {
        Packages { paths: self.packages.clone(), preload: self.preload.clone() }
    }
}

/// What a program may use.
#[derive(Args, Debug)]
pub(super) struct LimitArguments {
    /// Units of work, about one for each machine instruction [default: 200000000000]
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Memory in MiB, the interpreter's own 46 included [default: 1024]
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Bytes of output [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    output: Option<usize>,
    /// Seconds of wall-clock time, the backstop [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wall: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected a number of seconds, 0 or more".to_owned())
}

impl LimitArguments {
    /// The limits meant, checked.
    pub(super) fn limits(&self) -> anyhow::Result<Limits> {
        let default = Limits::default();
        let memory_bytes = match self.memory {
            None => default.memory_bytes,
            Some(mebibytes) => usize::try_from(mebibytes.saturating_mul(1 << 20)).unwrap_or(usize::MAX),
        };
        let limits = Limits {
            fuel: self.fuel.unwrap_or(default.fuel),
            memory_bytes,
            output_bytes: self.output.unwrap_or(default.output_bytes),
            wall: self.wall.unwrap_or(default.wall),
        };
        limits.check().map_err(|error| Wrong(error.to_string()))?;
        Ok(limits)
    }
}

/// Does what the arguments say.
pub(super) fn run(command: &SandboxCommand) -> anyhow::Result<ExitCode> {
    match command {
        SandboxCommand::Run(arguments) => run::run(arguments),
        SandboxCommand::Prepare(arguments) => {
            prepare_python(&Reporter::new(Verbosity::Auto), &arguments.packages())?;
            Ok(ExitCode::SUCCESS)
        }
        SandboxCommand::Doctor(arguments) => doctor::doctor(&arguments.packages()),
        SandboxCommand::Bench(arguments) => bench::bench(arguments),
    }
}

/// Python from the cache of this machine, or made now, with a bar for those who wait.
pub(super) fn prepare_python(reporter: &Reporter, packages: &Packages) -> anyhow::Result<Python> {
    prepare_python_with(packages, reporter, &::sandbox::default_cache_dir())
}
