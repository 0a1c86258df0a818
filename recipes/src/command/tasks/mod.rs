//! `recipe tasks`: generated families, looking at task files, and checking what they bring with them.

pub(super) mod exercise;
mod generate;
mod look;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

use super::print;

#[derive(Debug, Subcommand)]
pub(super) enum TasksCommand {
    /// List the families of generated tasks
    List,
    /// Generate tasks of a family
    #[command(after_help = "Examples:
  recipe tasks generate word_problems --count 5  to the screen, as JSON Lines
  recipe tasks generate programs --level 3 --out tasks.parquet
  recipe tasks generate lists --count 1000 --split held --out lists.jsonl.gz")]
    Generate(generate::GenerateArguments),
    /// Show the first tasks of a file
    Head(look::HeadArguments),
    /// Show one task of a file
    Show(look::ShowArguments),
    /// Count what is in a file: sources, domains, lengths
    Stats(look::StatsArguments),
    /// Run every task's own solution against the task's own tests
    #[command(
        long_about = "Run every task's own solution against the task's own tests, in the sandbox.

Prints the tasks whose solution fails, with the cause. Exit status 1 if any failed.",
        after_help = "Examples:
  recipe tasks validate HumanEval.jsonl.gz
  recipe tasks validate mbpp.jsonl --out validated.jsonl
                a row per task: id, passed, cause, fuel, seconds
  recipe tasks validate contest.jsonl --memory 2048
                solutions that read standard input are recognised too"
    )]
    Validate(validate::ValidateArguments),
}

/// Does what the arguments say.
pub(super) fn run(command: &TasksCommand) -> anyhow::Result<ExitCode> {
    match command {
        TasksCommand::List => print(&generate::list()),
        TasksCommand::Generate(arguments) => generate::run(arguments),
        TasksCommand::Head(arguments) => print(&look::head(arguments)?),
        TasksCommand::Show(arguments) => print(&look::show(arguments)?),
        TasksCommand::Stats(arguments) => print(&look::stats(arguments)?),
        TasksCommand::Validate(arguments) => validate::validate(arguments),
    }
}
