//! `recipe sandbox run`: one program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use sandbox::{Cause, Outcome};

use super::{LimitArguments, prepare_python};
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
    /// Print the whole outcome as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let limits = arguments.limits.limits()?;
    let program = text(&arguments.file)?;
    let stdin = arguments.stdin.as_deref().map(text).transpose()?.unwrap_or_default();
    let verbosity = if arguments.json { Verbosity::Silent } else { Verbosity::Auto };
    let python = prepare_python(&Reporter::new(verbosity))?;
    let outcome = python.run(&program, &stdin, &limits)?;
    if arguments.json {
        let text = serde_json::to_string(&outcome).context("cannot write the outcome as JSON")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&outcome.stdout)?;
        let _ = std::io::stderr().write_all(format!("{}{}\n", outcome.stderr, line(&outcome)).as_bytes());
    }
    Ok(if outcome.cause == Cause::Ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// How it ended, on one line.
fn line(outcome: &Outcome) -> String {
    let dash = if outcome.detail.is_empty() { "" } else { ": " };
    format!("{}{dash}{} ({:.3e} fuel, {:.3} s)", outcome.cause, outcome.detail, outcome.fuel as f64, outcome.seconds)
}

/// A file that is to be UTF-8.
fn text(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Wrong(format!("cannot read {}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Wrong(format!("{} is not UTF-8: the byte at position {place} begins no character", path.display())).into()
    })
}
