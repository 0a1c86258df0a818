//! `recipe sandbox run`: one program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::sandbox::{Cause, Limits, Outcome, SandboxError, WasiCommand};
use anyhow::Context;
use clap::Args;

use super::{LimitArguments, PackageArguments, prepare_python};
use crate::command::{FAILED, Wrong, print};
use crate::progress::{Reporter, Verbosity};

#[derive(Args, Debug)]
pub(in crate::command) struct RunArguments {
    /// The program
    file: PathBuf,
    /// What it reads as standard input [default: nothing]
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    packages: PackageArguments,
    /// Print the whole outcome as JSON
    #[arg(long)]
    json: bool,
    /// Arguments for a WebAssembly command
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

pub(super) fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let limits = arguments.limits.limits()?;
    let is_module = arguments.file.extension().is_some_and(|extension| extension == "wasm" || extension == "wat");
    let outcome = if is_module { run_module(arguments, &limits)? } else { run_python(arguments, &limits)? };
    if arguments.json {
        let text = serde_json::to_string(&outcome).context("cannot write the outcome as JSON")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&outcome.stdout)?;
        let _ = std::io::stderr().write_all(format!("{}{}\n", outcome.stderr, line(&outcome)).as_bytes());
    }
    Ok(if outcome.cause == Cause::Ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn run_python(arguments: &RunArguments, limits: &Limits) -> anyhow::Result<Outcome> {
    if !arguments.arguments.is_empty() {
        return Err(Wrong("arguments are for WebAssembly commands; a Python program gets none".to_owned()).into());
    }
    let program = text(&arguments.file)?;
    let stdin = arguments.stdin.as_deref().map(text).transpose()?.unwrap_or_default();
    let verbosity = if arguments.json { Verbosity::Silent } else { Verbosity::Auto };
    let python = prepare_python(&Reporter::new(verbosity), &arguments.packages.packages())?;
    // A limit that is too small for the interpreter is the typist's.
    python.run(&program, &stdin, limits).map_err(|error| match error {
        SandboxError::Limit { .. } => Wrong(error.to_string()).into(),
        error => error.into(),
    })
}

fn run_module(arguments: &RunArguments, limits: &Limits) -> anyhow::Result<Outcome> {
    let module = bytes(&arguments.file)?;
    let stdin = arguments.stdin.as_deref().map(bytes).transpose()?.unwrap_or_default();
    let command = WasiCommand::new(&module).map_err(|error| Wrong(format!("{}: {error}", arguments.file.display())))?;
    let given: Vec<&str> = arguments.arguments.iter().map(String::as_str).collect();
    Ok(command.run(&given, &stdin, limits)?)
}

/// How it ended, on one line.
fn line(outcome: &Outcome) -> String {
    let dash = if outcome.detail.is_empty() { "" } else { ": " };
    format!("{}{dash}{} ({:.3e} fuel, {:.3} s)", outcome.cause, outcome.detail, outcome.fuel as f64, outcome.seconds)
}

/// A file that is to be UTF-8.
fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Wrong(format!("{} is not UTF-8: the byte at position {place} begins no character", path.display())).into()
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, Wrong> {
    std::fs::read(path).map_err(|error| Wrong(format!("cannot read {}: {error}", path.display())))
}
