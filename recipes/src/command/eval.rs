//! `recipe eval`: models on benchmarks.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use datasets::Split;
use datasets::source::hub::Hub;

use super::arguments::{EngineArguments, MOST_SAMPLES, MOST_TOKENS, share, temperature};
use super::{INTERRUPTED, Wrong, print};
use crate::evaluation::{self, Benchmark, EvalOptions, Source, Template, evaluate};
use crate::hub::{Fetcher, hub_name};
use crate::interrupt::Interrupt;
use crate::progress::{Reporter, Verbosity};

#[derive(Args, Debug)]
pub(super) struct EvalArguments {
    /// A Hugging Face folder, a checkpoint, or the folder of a run or stage (its newest model)
    #[arg(required_unless_present = "list")]
    model: Option<PathBuf>,

    /// Examine this model too, and compare the two on the same problems
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,

    /// Benchmarks, families of generated tasks, NAME=FILE or NAME=OWNER/DATASET; joined by commas, or repeated
    #[arg(long = "bench", value_name = "NAME[=FILE]", value_delimiter = ',', required_unless_present = "list")]
    benches: Vec<String>,

    /// List the benchmarks with their settings, and do nothing else
    #[arg(long)]
    list: bool,

    /// The folder in which the benchmarks' files lie, named as published
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,

    /// Problems of each benchmark at most: a fixed choice, the same for every model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=(1 << 31)))]
    limit: Option<u64>,

    /// Answers to each problem
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_SAMPLES))]
    samples: Option<u32>,

    /// Sampling temperature; 0 takes the likeliest token
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f64>,

    /// Sample among the likeliest tokens that hold this share of the probability
    #[arg(long, value_name = "SHARE", value_parser = share)]
    top_p: Option<f64>,

    /// Cut an answer off after so many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_TOKENS))]
    max_tokens: Option<u64>,

    /// For which k pass@k and the majority of k are stated [default: powers of two]
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    k: Vec<u32>,

    /// What stands around a question; but for R1-Zero's the benchmark's instruction is put after it [default: the template of
    /// the run that the model is of; else its own chat template, or R1-Zero's]
    #[arg(long, value_enum)]
    template: Option<Template>,

    /// The system message before a question, in the chat template [default: that of the run that the model is of]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    #[command(flatten)]
    engine: EngineArguments,

    /// The folder for answers, summary.json and report.html [default: evals/MODEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A data set of the Hub that is named as a benchmark's file becomes that file.
fn from_hub(benchmark: &mut Benchmark, fetcher: &Fetcher<'_>) -> anyhow::Result<()> {
    let Source::Given(path) = &benchmark.source else { return Ok(()) };
    let Some(name) = hub_name(path)? else { return Ok(()) };
    let mut files = fetcher.fetch(&name, Split::Held)?.files;
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => benchmark.source = Source::Given(file),
        (_, none) => {
            let found = if none { "no file".to_owned() } else { format!("{} files", files.len() + 1) };
            let message = format!("--bench {}: {name} has {found}, expected one", benchmark.name);
            return Err(Wrong(format!("{message}\n  hint: name it, as in {name}:PATH")).into());
        }
    }
    Ok(())
}

pub(super) fn run(arguments: &EvalArguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        return print(&evaluation::list());
    }
    let mut benchmarks = arguments.benches.iter().map(|name| evaluation::find(name)).collect::<Result<Vec<_>, _>>()?;
    for (place, benchmark) in benchmarks.iter().enumerate() {
        if benchmarks[..place].iter().any(|other| other.name == benchmark.name) {
            return Err(Wrong(format!("--bench names {} twice", benchmark.name)).into());
        }
    }
    let interrupt = Interrupt::new();
    let reporter = Reporter::new(Verbosity::Auto);
    let hub = Hub::from_env();
    let fetcher = Fetcher { hub: &hub, reporter: &reporter, interrupt: &interrupt };
    benchmarks.iter_mut().try_for_each(|benchmark| from_hub(benchmark, &fetcher))?;
    let options = EvalOptions {
        models: arguments.model.iter().chain(&arguments.against).cloned().collect(),
        benchmarks,
        data: arguments.data.clone(),
        limit: arguments.limit.map(|limit| limit as usize),
        samples: arguments.samples,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        max_tokens: arguments.max_tokens.map(|tokens| tokens as usize),
        template: arguments.template,
        system: arguments.system.clone(),
        k: arguments.k.iter().map(|k| *k as usize).collect(),
        seed: arguments.engine.seed,
        threads: arguments.engine.threads.map(usize::from),
        place: crate::place::open(arguments.engine.device.as_deref())?,
        batch: arguments.engine.batch as usize,
        out: arguments.out.clone(),
        cache_dir: sandbox::default_cache_dir(),
        reporter: reporter.clone(),
        interrupt: interrupt.clone(),
    };
    // Every problem that has ended is on disk, so there is nothing to wait for.
    interrupt.on_ctrl_c(|_| {
        let text = b"\nstopped; what is answered is kept, and the same command goes on from there\n";
        let _ = std::io::stderr().write_all(text);
        std::process::exit(i32::from(INTERRUPTED));
    })?;
    let (evaluation, out) = evaluate(&options)?;
    let report = out.join("report.html");
    print(&format!("{}\n{}\n", evaluation::render(&evaluation), report.display()))
}
