//! `recipe reward`: what rewards there are, and everything that one does to a reward of one's own before it trains.

mod bench;
mod cases;
mod chosen;
mod list;
mod new;
mod replay;
mod test;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;
use rewards::{Registry, RewardError};

use super::print;
pub(super) use chosen::{RewardOptions, build};

#[derive(Debug, Subcommand)]
pub(super) enum RewardCommand {
    /// List the rewards that a recipe can name
    List,
    /// Explain a reward, its parameters, and how a recipe names it
    Show {
        /// Its name
        name: String,
    },
    /// Begin a reward of your own: a Python file that works, and cases to try it on
    #[command(after_help = "Examples:
  recipe reward new brief              writes rewards/brief.py and brief.jsonl
  recipe reward test rewards/brief.py  tries the one on the other")]
    New(new::NewArguments),
    /// Try a reward on cases: completions with the score that each must get
    #[command(
        long_about = "Try a reward on cases: completions with the score that each must get.

The cases are JSON Lines beside the reward's file (rewards/brief.jsonl for rewards/brief.py): objects with `completion`, \
`expected` (a number; null for \"not scored\"), and perhaps `prompt`, `columns` (an object with the task's columns), \
`reference`, `tokens` (how many the completion has). `completions` and `expected` as lists are a group. Exit status 1 if \
a case fails.",
        after_help = "Examples:
  recipe reward test rewards/brief.py
  recipe reward test rewards/brief.py --set words=20
  recipe reward test format --cases cases.jsonl"
    )]
    Test(test::TestArguments),
    /// Check a reward on a task file: right answers must score full marks, others not; no model is needed
    #[command(
        long_about = "Check a reward on a task file: right answers must score full marks, others not; no model is needed.

Each task's own reference is given as the answer, as \\boxed{...}, <answer> ... </answer> and #### ...; for programs, the \
task's own solution. An empty and a wrong answer must score less. What does not hold is listed; exit status 1 if anything \
does not.",
        after_help = "Examples:
  recipe reward validate accuracy --tasks gsm8k_train.jsonl
  recipe reward validate rewards/brief.py --tasks gsm8k_train.jsonl --full 0.5"
    )]
    Validate(validate::ValidateArguments),
    /// Score the completions of a run again: what would this reward have said?
    #[command(after_help = "Examples:
  recipe reward replay accuracy --run runs/r1-zero
                                     does it still say the same?
  recipe reward replay rewards/brief.py --run runs/r1-zero
                                     before training with it")]
    Replay(replay::ReplayArguments),
    /// Measure how fast a reward is
    Bench(bench::BenchArguments),
}

/// Does what the arguments say.
pub(super) fn run(command: &RewardCommand, known: &Registry) -> anyhow::Result<ExitCode> {
    let done = match command {
        RewardCommand::List => print(&list::list(known)),
        RewardCommand::Show { name } => print(&list::show(name, known)?),
        RewardCommand::New(arguments) => print(&new::new(arguments, known)?),
        RewardCommand::Test(arguments) => test::test(arguments, known),
        RewardCommand::Validate(arguments) => validate::validate(arguments, known),
        RewardCommand::Replay(arguments) => replay::replay(arguments, known),
        RewardCommand::Bench(arguments) => bench::bench(arguments, known),
    };
    done.map_err(|error| {
        // One with a context around it is no fault of the reward.
        match error.chain().next().is_some_and(|cause| cause.is::<RewardError>()) {
            true => error.downcast().map_or_else(|error| error, |error| chosen::as_typed(error).into()),
            false => error,
        }
    })
}
