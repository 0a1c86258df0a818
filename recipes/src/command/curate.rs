//! `recipe curate`: runs a curation job.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use datasets::source::hub::Hub;

use super::{INTERRUPTED, print};
use crate::config::{JobFile, SHIPPED_JOBS};
use crate::curation::{CurateOptions, check, curate, table};
use crate::interrupt::Interrupt;
use crate::progress::{Reporter, Verbosity};

#[derive(Args, Debug)]
pub(super) struct CurateArguments {
    /// A job that comes with this program (math, code, generated), or a job file
    job: String,

    /// The folder in which the job's files lie [default: the job file's own, or here for a shipped job]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The folder for what the job makes [default: curated/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print the job instead of running it: a good start for one of your own
    #[arg(long)]
    show: bool,

    /// Check the job instead of running it, and the first rows of the files that it names
    #[arg(long)]
    check: bool,

    /// Threads to work with [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = super::arguments::threads())]
    threads: Option<u16>,

    /// Compute on a card: cuda, or cuda:1 for the second [default: cpu]
    #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
    device: Option<String>,
}

pub(super) fn run(arguments: &CurateArguments) -> anyhow::Result<ExitCode> {
    if arguments.show
        && let Some(shipped) = SHIPPED_JOBS.iter().find(|job| job.name == arguments.job)
    {
        return print(shipped.text);
    }
    let job = JobFile::find(&arguments.job, arguments.data.as_deref())?;
    if arguments.show {
        return print(&job.text);
    }
    if arguments.check {
        let notes: String = check(&job)?.iter().map(|note| format!("  {note}\n")).collect();
        let steps: Vec<&str> = job.job.steps.iter().map(|step| step.name.as_str()).collect();
        return print(&format!("{}: fine ({})\n{notes}", arguments.job, steps.join(" -> ")));
    }
    let folder = arguments.out.clone().unwrap_or_else(|| PathBuf::from("curated").join(&job.job.name));
    let interrupt = Interrupt::new();
    interrupt.on_ctrl_c(|_| {
        let _ = std::io::stderr().write_all(b"\nstopping; finished steps are kept (Ctrl-C again stops at once)\n");
    })?;
    let options = CurateOptions {
        folder: folder.clone(),
        cache_dir: sandbox::default_cache_dir(),
        reporter: Reporter::new(Verbosity::Auto),
        interrupt: interrupt.clone(),
        hub: Hub::from_env(),
        threads: arguments.threads.map(usize::from),
        place: crate::place::open(arguments.device.as_deref())?,
    };
    match curate(&job, &options) {
        Ok(outcome) => print(&table(&outcome, &folder)),
        Err(error) if interrupt.requested() => {
            let text = format!("{error:#}\nthe same command goes on from there\n");
            let _ = std::io::stderr().write_all(text.as_bytes());
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}
