//! `recipe tasks list` and `recipe tasks generate`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use datasets::{Family, Split};

use super::super::{Wrong, print};
use crate::config::nearest;
use crate::wording::counted;

/// Tasks at most: all are held in memory. A job (`recipe curate`) draws more.
const MOST: u64 = 1_000_000;

#[derive(Args, Debug)]
pub(in crate::command) struct GenerateArguments {
    /// The family (see: recipe tasks list)
    family: String,

    /// The level of difficulty, 1 the easiest [default: all levels]
    #[arg(long, value_name = "N")]
    level: Option<u8>,

    /// How many different tasks
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    count: u64,

    /// The same seed, the same tasks
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Which side of the fence between training and evaluation: train or held
    #[arg(long, default_value = "train", value_parser = ["train", "held"])]
    split: String,

    /// Write a file (.jsonl, .csv, each also with .gz, or .parquet) instead of JSON Lines to the screen
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Every family: its levels, what it draws from, its range and its verifier.
pub(super) fn list() -> String {
    let mut text = String::new();
    for family in Family::ALL {
        let description = family.description();
        let levels = if family.levels() == 1 { "1 level".to_owned() } else { format!("{} levels", family.levels()) };
        let _ = writeln!(text, "{:16} {:6} {levels:9} {}", family.name(), family.domain().name(), description.draws);
        let _ = writeln!(text, "{:33} range: {}", "", description.range);
        let _ = writeln!(text, "{:33} answer: {}", "", description.verifier);
    }
    text.push_str(
        "\nrecipe tasks generate FAMILY makes tasks; a recipe practises them: --set tasks.families.FAMILY=1\n",
    );
    text
}

pub(super) fn run(arguments: &GenerateArguments) -> anyhow::Result<ExitCode> {
    let family = Family::from_str(&arguments.family).map_err(|error| {
        let names = Family::ALL.iter().map(|family| family.name());
        Wrong(match nearest(&arguments.family, names) {
            Some(near) => format!("there is no task family `{}`\n  hint: did you mean `{near}`?", arguments.family),
            None => error.to_string(),
        })
    })?;
    if let Some(level) = arguments.level {
        let levels = family.levels();
        if !(1..=levels).contains(&level) {
            return Err(Wrong(format!("the family `{family}` has the levels 1 to {levels}, not {level}")).into());
        }
    }
    if let Some(path) = &arguments.out {
        datasets::curate::check_name(path)?;
        datasets::curate::check_place(path)?;
    }
    let split = if arguments.split == "held" { Split::Held } else { Split::Train };
    let tasks = family.distinct_at(arguments.level, split, arguments.seed, usize::try_from(arguments.count)?)?;
    if let Some(path) = &arguments.out {
        datasets::curate::write_tasks(path, &tasks)?;
        return print(&format!("{}: {}\n", path.display(), counted(tasks.len(), "task", "tasks")));
    }
    let mut text = String::new();
    for task in &tasks {
        let _ = writeln!(text, "{}", datasets::curate::row(task));
    }
    print(&text)
}
