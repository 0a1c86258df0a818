//! `recipe import`: TRL's and Open R1's YAML as a recipe.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::out::{check_out, write_results};
use super::{Wrong, print};
use crate::import::{Release, account, import};

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

    /// The release of TRL whose defaults hold where the file is silent: 1.16, or 0.18, which Open R1 pins and which is taken by
    /// itself where the file has a key of Open R1's own
    #[arg(long, value_name = "RELEASE", value_parser = release)]
    trl: Option<Release>,
}

fn release(text: &str) -> Result<Release, String> {
    let named = Release::ALL.into_iter().find(|release| release.to_string() == text);
    named.ok_or_else(|| format!("expected {}", Release::ALL.map(|release| release.to_string()).join(" or ")))
}

pub(super) fn run(arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    let shown = arguments.file.display().to_string();
    let text =
        std::fs::read_to_string(&arguments.file).map_err(|error| Wrong(format!("cannot read {shown}: {error}")))?;
    let stem = arguments.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("imported");
    let name: String = stem.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let imported = import(&shown, name.trim_start_matches('.'), &text, arguments.gpus, arguments.trl)?;
    if let Some(path) = &arguments.out {
        if path.exists() {
            return Err(Wrong(format!("{} exists already: name another file, or remove it", path.display())).into());
        }
        check_out(path, &arguments.file)?;
    }
    // The account goes to standard error, so that the recipe alone can be put into a file.
    let _ = std::io::stderr().write_all(account(&imported).as_bytes());
    let Some(path) = &arguments.out else { return print(&imported.toml) };
    write_results(path, &imported.toml)?;
    let shown = path.display();
    // TRL sees paths from where it is started.
    let elsewhere = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
    let paths = if elsewhere { "Paths in it are seen from its folder.\n" } else { "" };
    print(&format!("{shown}\n{paths}Next: recipe validate {shown}, then recipe run {shown}\n"))
}
