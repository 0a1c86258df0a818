//! `recipe tasks`: generated families, and looking at task files.

mod generate;
mod look;

use std::process::ExitCode;

use clap::Subcommand;

use super::print;

#[derive(Debug, Subcommand)]
pub(super) enum TasksCommand {
    /// List the families of generated tasks
    List,
    /// Generate tasks of a family
    #[command(after_help = "Examples:
  recipe tasks generate word_problems --count 5               to the screen, as JSON Lines
  recipe tasks generate programs --level 3 --out tasks.parquet
  recipe tasks generate gcd_lcm --count 1000 --seed 7 --split held --out exam.jsonl.gz")]
    Generate(generate::GenerateArguments),
    /// Show the first tasks of a file
    Head(look::HeadArguments),
    /// Show one task of a file
    Show(look::ShowArguments),
    /// Count what is in a file: sources, domains, lengths
    Stats(look::StatsArguments),
}

pub(super) fn run(command: &TasksCommand) -> anyhow::Result<ExitCode> {
    match command {
        TasksCommand::List => print(&generate::list()),
        TasksCommand::Generate(arguments) => generate::run(arguments),
        TasksCommand::Head(arguments) => print(&look::head(arguments)?),
        TasksCommand::Show(arguments) => print(&look::show(arguments)?),
        TasksCommand::Stats(arguments) => print(&look::stats(arguments)?),
    }
}
