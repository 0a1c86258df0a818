//! `recipe experiment`: variants of a recipe, compared.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::run::say_stopping;
use super::show::columns;
use super::{FAILED, INTERRUPTED, print};
use crate::config::{Experiment, SHIPPED_EXPERIMENTS};
use crate::experiment::{self, ExperimentOptions, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::Verbosity;
use crate::wording::counted;

#[derive(Debug, Subcommand)]
pub(super) enum ExperimentCommand {
    /// List the experiments that come with this program
    List,
    /// Print an experiment: a good start for one of your own
    Show {
        /// A shipped experiment's name, or a file
        experiment: String,
    },
    /// Run an experiment: every variant under every seed, then a table and figures
    #[command(after_help = "Examples:
  recipe experiment run majority             three seeds, to experiments/
  recipe experiment run majority --seeds 5   two more: what is finished stays
  recipe experiment run mine.toml --out DIR  one of your own")]
    Run(ExperimentArguments),
}

#[derive(Args, Debug)]
pub(super) struct ExperimentArguments {
    /// A shipped experiment's name (see: recipe experiment list), or a file
    experiment: String,

    /// Seeds 0 to N-1
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,

    /// The folder for runs, table and figures [default: experiments/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Threads to work with [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = super::arguments::threads())]
    threads: Option<u16>,

    /// Compute on a card: cuda, or cuda:1 for the second [default: cpu]
    #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
    device: Option<String>,
}

pub(super) fn run(command: &ExperimentCommand) -> anyhow::Result<ExitCode> {
    match command {
        ExperimentCommand::List => print(&list()),
        ExperimentCommand::Show { experiment } => print(&Experiment::find(experiment)?.text),
        ExperimentCommand::Run(arguments) => run_one(arguments),
    }
}

fn list() -> String {
    // A test reads every shipped experiment; one that cannot be read would still be listed.
    let described = SHIPPED_EXPERIMENTS.iter().map(|shipped| (shipped.name, Experiment::find(shipped.name)));
    let rows: Vec<(&str, String)> =
        described.map(|(name, found)| (name, found.map(|one| one.description).unwrap_or_default())).collect();
    columns(&rows) + "\nrecipe experiment run NAME runs one; recipe experiment show NAME prints it\n"
}

fn run_one(arguments: &ExperimentArguments) -> anyhow::Result<ExitCode> {
    let found = Experiment::find(&arguments.experiment)?;
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("experiments").join(&found.name));
    let interrupt = Interrupt::new();
    interrupt.on_ctrl_c(say_stopping)?;
    let options = ExperimentOptions {
        seeds: arguments.seeds,
        out: out.clone(),
        threads: arguments.threads.map(usize::from),
        device: arguments.device.clone(),
        cache_dir: sandbox::default_cache_dir(),
        verbosity: Verbosity::Auto,
        interrupt,
        command: std::env::args().collect(),
        asked: arguments.experiment.clone(),
    };
    let Some(outcome) = experiment::run(&found, &options)? else {
        let _ = std::io::stderr().write_all(b"stopped; nothing is lost, and the same command goes on\n");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let table = out.join("table.md");
    let text = std::fs::read_to_string(&table)?;
    let done = print(&format!("{text}\n{}\n{}\n", table.display(), out.join("report.html").display()))?;
    if outcome.failed.is_empty() {
        return Ok(done);
    }
    let _ = std::io::stderr().write_all(failures(&outcome).as_bytes());
    Ok(ExitCode::from(FAILED))
}

/// Which runs failed and why, and how to go on.
fn failures(outcome: &Outcome) -> String {
    let all = outcome.variants.len() as u64 * outcome.seeds;
    let mut text = format!("error: {} of {} failed\n", outcome.failed.len(), counted(all as usize, "run", "runs"));
    for failure in &outcome.failed {
        let why = failure.why.replace('\n', "\n  ");
        text += &format!("  {}, seed {}: {why}\n", failure.variant, failure.seed);
    }
    text + "  hint: the same command tries what failed again, and keeps what is finished\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Failure;

    #[test]
    fn failed_runs_are_listed_with_a_hint_that_is_true() {
        let failure = |seed, why: &str| Failure { variant: "v".to_owned(), seed, why: why.to_owned() };
        let outcome = Outcome {
            experiment: "x".to_owned(),
            measures: Vec::new(),
            variants: vec![("v".to_owned(), Vec::new())],
            seeds: 3,
            failed: vec![failure(0, "it broke\n  hint: mend it"), failure(2, "too")],
            makers: Vec::new(),
            without_numbers: Vec::new(),
        };
        let expected = "error: 2 of 3 runs failed\n  v, seed 0: it broke\n    hint: mend it\n  v, seed 2: too\n  \
                        hint: the same command tries what failed again, and keeps what is finished\n";
        assert_eq!(failures(&outcome), expected);
    }

    #[test]
    fn every_shipped_experiment_is_fine_and_listed() {
        for shipped in SHIPPED_EXPERIMENTS {
            let experiment = Experiment::find(shipped.name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(experiment.name, shipped.name);
            assert!(list().contains(shipped.name));
        }
        let error = Experiment::find("majorty").unwrap_err().to_string();
        assert!(error.contains("did you mean `majority`?"), "{error}");
    }
}
