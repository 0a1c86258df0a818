//! `recipe tasks ...`: what can be done with task files.

pub(super) mod exercise;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

use validate::ValidateArguments;

#[derive(Debug, Subcommand)]
pub(super) enum TasksCommand {
    /// Run every task's own solution against the task's own tests
    #[command(
        long_about = "Run every task's own solution against the task's own tests, in the sandbox.

Prints the tasks whose solution fails, with the cause. Exit status 1 if any failed.",
        after_help = "Examples:
  recipe tasks validate HumanEval.jsonl.gz
  recipe tasks validate mbpp.jsonl --out validated.jsonl    a row per task: id, passed, cause, fuel, seconds
  recipe tasks validate contest.jsonl --memory 2048         solutions that read standard input are recognised too"
    )]
    Validate(ValidateArguments),
}

/// Does what the arguments say.
pub(super) fn main(command: &TasksCommand) -> anyhow::Result<ExitCode> {
    match command {
        TasksCommand::Validate(arguments) => validate::validate(arguments),
    }
}
