//! `recipe import`: TRL's and Open R1's YAML as a recipe.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{Wrong, print};
use crate::import::{account, import};

#[derive(Args, Debug)]
pub(super) struct ImportArguments {
    /// The YAML file
    file: PathBuf,

    /// Write the recipe into this file instead of standard output
    #[arg(long, value_name = "FILE.toml")]
    out: Option<PathBuf>,

    /// GPUs that train in it: batches are counted for each, and no file says how many there are
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    gpus: u64,
}

pub(super) fn run(arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    let shown = arguments.file.display().to_string();
    let text =
        std::fs::read_to_string(&arguments.file).map_err(|error| Wrong(format!("cannot read {shown}: {error}")))?;
    let stem = arguments.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("imported");
    let name: String = stem.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let imported = import(&shown, name.trim_start_matches('.'), &text, arguments.gpus)?;
    // The account goes to standard error, so that the recipe alone can be put into a file.
    let _ = std::io::stderr().write_all(account(&imported).as_bytes());
    let Some(path) = &arguments.out else { return print(&imported.toml) };
    if path.exists() {
        return Err(Wrong(format!("{} exists already: name another file, or remove it", path.display())).into());
    }
    std::fs::write(path, &imported.toml).with_context(|| format!("cannot write {}", path.display()))?;
    let shown = path.display();
    print(&format!("{shown}\nNext: recipe validate {shown}, then recipe run {shown}\n"))
}
