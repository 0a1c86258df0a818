//! Arguments as typed, with the help that a newcomer reads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::bench::BenchArguments;
use super::curate::CurateArguments;
use super::eval::EvalArguments;
use super::experiment::ExperimentCommand;
use super::grade::GradeArguments;
use super::import::ImportArguments;
use super::model::ModelCommand;
use super::reward::RewardCommand;
use super::sandbox::SandboxCommand;
use super::tasks::TasksCommand;
use crate::config::LARGEST_SEED;

/// How many threads may be asked for: more than any machine has cores, and few enough to start.
pub(super) fn threads() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=1024)
}

/// The longest answer that can be asked for.
pub(super) const MOST_TOKENS: u64 = 1 << 24;
/// The most answers to a question.
pub(super) const MOST_SAMPLES: i64 = 65_536;

/// A sampling temperature, as it is typed.
pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value == 0.0 || (policy::LEAST_TEMPERATURE..=10.0).contains(&value) => Ok(value),
        _ => Err(format!("expected 0, or a number from {} to 10", policy::LEAST_TEMPERATURE)),
    }
}

/// A share that is not nothing, as it is typed.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("expected a number above 0, at most 1".to_owned()),
    }
}

/// Where a model is asked something: what its answers are drawn by, and what computes them.
#[derive(Args, Debug)]
pub(super) struct EngineArguments {
    /// All randomness comes from this: the same seed, the same answers
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=LARGEST_SEED))]
    pub(super) seed: u64,

    /// Threads to work with [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = threads())]
    pub(super) threads: Option<u16>,

    /// Compute on a card: cuda, or cuda:1 for the second [default: cpu]
    #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
    pub(super) device: Option<String>,

    /// Answers that are sampled at once at most: fewer need less memory
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=MOST_SAMPLES))]
    pub(super) batch: u32,
}

/// Reinforcement learning for language models, on one machine.
#[derive(Debug, Parser)]
#[command(
    name = "recipe",
    version,
    about = "Reinforcement learning for language models, from a recipe, on one machine.",
    after_help = "Start here:
  recipe run smoke      see that everything works (a minute)
  recipe run r1-zero    make a small policy better by reinforcement learning
  recipe list           what else can be run"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a recipe
    #[command(
        long_about = "Run a recipe.

Everything about the run is kept in a folder: runs/NAME, or runs/NAME-2 and so on if there are runs \
of that name already. Ctrl-C stops a run after the step at hand, with a checkpoint; --resume goes \
on to exactly the run that would have been, also after a crash.",
        after_help = "Examples:
  recipe run r1-zero                          the shipped recipe, as it is
  recipe run r1-zero --resume                 go on with its unfinished run
  recipe run r1-zero --seed 1 --steps 50      another seed, fewer steps
  recipe run r1-zero --set grpo.learning_rate=1e-4
                                              change a setting: recipe keys
  recipe run r1-zero --set tasks.families.python=0
                                              leave a family of tasks out
  recipe run qwen2.5-1.5b-gsm8k --tasks gsm8k.jsonl --model DIR
                                              your tasks, your model
  recipe run r1-zero --tasks a.jsonl --held-out b.jsonl
                                              and your own to be examined on
  recipe run r1 --dry-run                     what it would do and take
  recipe run r1 --from reasoning              a new run, with what an earlier
                                              one did before that stage
  recipe run mine.toml --run-dir /data/run-7  your recipe, a folder you choose
  recipe run r1-zero --device cuda            on an NVIDIA card (docs/gpu.md)"
    )]
    Run(RunArguments),
    /// List the recipes that come with this program
    List,
    /// Print a recipe: a good start for one of your own
    #[command(after_help = "Examples:
  recipe show r1-zero                      as it was written, with its comments
  recipe show r1-zero > mine.toml          a copy to change, and to run
  recipe show r1-zero --set grpo.steps=50  as resolved: all settings")]
    Show {
        /// A recipe's name, or its file
        recipe: String,
        /// Change a setting, and print the recipe as resolved
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Explain every setting that a recipe can have
    Keys,
    /// Check recipe files without running them
    Validate {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        /// Change a setting before checking
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Curate data: turn raw problem sets into training data
    #[command(
        long_about = "Curate data: turn raw problem sets into training data.

A job is a file of steps: load, map, filter, dedup, decontaminate, verify, difficulty, balance, mix, split, \
sample, write. What it makes lies in curated/NAME, with a report. A job that was stopped goes on after its last \
finished step; a job that was changed repeats only what follows the change.",
        after_help = "Examples:
  recipe curate generated                needs nothing: all generated families
  recipe curate math --data DIR          GSM8K, MATH, SVAMP, if they lie in DIR
  recipe curate math --show > mine.toml  a copy to change
  recipe curate mine.toml --check        is it right?
  recipe curate mine.toml --data DIR"
    )]
    Curate(CurateArguments),
    /// Examine a model on benchmarks, or compare two
    #[command(
        long_about = "Examine a model on benchmarks, or compare two.

Answers are sampled, graded by the verifiers that training uses, and kept with their verdicts. Stopped or killed, the \
same command goes on, to the same figures. The benchmarks' files are looked for in --data; NAME=OWNER/DATASET fetches them \
from the Hugging Face Hub, and families of generated tasks need none.",
        after_help = "Examples:
  recipe eval --list                      the benchmarks, and how each is asked
  recipe eval runs/r1-zero --bench countdown,arithmetic
                                          a run's newest model, generated tasks
  recipe eval DIR --bench gsm8k,math500 --data tasks
                                          a model of your own on files
  recipe eval DIR --bench gsm8k=test.jsonl --limit 100
                                          a file of another name, 100 of it
  recipe eval runs/r1-zero --against runs/r1-zero/base --bench countdown
                                          two models, with a paired test"
    )]
    Eval(EvalArguments),
    /// Compare variants of a recipe under several seeds
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Make a recipe of a TRL or Open R1 configuration (YAML)
    #[command(
        long_about = "Make a recipe of a TRL or Open R1 configuration (YAML).

Every key of the file is accounted for on standard error: carried over, ignored with the reason, or in need of attention. \
What the file leaves to TRL's defaults is written down where ours differ: those of TRL 1.16, or of 0.18 in Open R1's files.",
        after_help = "Examples:
  recipe import config_demo.yaml      the recipe to standard output
  recipe import config_demo.yaml --gpus 7 --out mine.toml
                                      to a file: recipe validate mine.toml
  recipe import grpo.yaml --trl 0.18  with an older TRL's defaults"
    )]
    Import(ImportArguments),
    /// Say what this machine has, what is prepared, and what is missing
    Doctor,
    /// Generate tasks, look at task files, check their solutions
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// List rewards, and write, test, check and measure your own
    #[command(subcommand)]
    Reward(RewardCommand),
    /// Grade answers that are already there, and compare with labels
    #[command(
        long_about = "Grade answers that are already there, and compare with labels.

The file is JSON Lines: `gold` and `pred` (or `reference` and `completion`) in each row, and perhaps \
`expected`, the verdict it should get. `gold` may be a list, of which any may be met; all other columns of \
a row are handed to the reward. For each row a \
line with `score` and `cause` is written; agreement and speed are printed at the end. The exit status \
is 1 if a row could not be read.",
        after_help = "Examples:
  recipe grade cases.jsonl      to standard output
  recipe grade cases.jsonl --out verdicts.jsonl --threads 1
                                to a file, on one thread
  recipe grade cases.jsonl --reward rewards/mine.py
                                by a reward of your own"
    )]
    Grade(GradeArguments),
    /// Run programs in the sandbox, and look after it
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Measure how fast a model samples and trains here
    #[command(
        long_about = "Measure how fast a model samples and trains here.

Four phases are timed: prefill (prompts to their first token), decode (sampling), train (forward, backward, AdamW) and \
step (all of a GRPO step). Each row gives tokens and floating-point operations per second, what share these are of the \
matrix-multiply peak measured in the same process, and the largest memory. On a card the peak is that of its bf16 products, \
and decoding is also held against the rate at which it copies memory.",
        after_help = "Examples:
  recipe bench                                     a tiny DeepSeek-V3, all of it
  recipe bench decode --shape qwen2.5-0.5b         its shape, random weights
  recipe bench train --shape DIR --batch 8 --json  a model of your own
  recipe bench --shape qwen2.5-1.5b --device cuda  on an NVIDIA card"
    )]
    Bench(BenchArguments),
    /// Ask a model something, count its parameters, score texts with it, or export it
    #[command(subcommand)]
    Model(ModelCommand),
}

#[derive(Args, Debug)]
pub(super) struct RunArguments {
    /// A recipe's name (see: recipe list), or its file; with --resume and --run-dir it may be left out, and is the run's own
    #[arg(required_unless_present_all = ["resume", "run_dir"])]
    pub(super) recipe: Option<String>,

    /// Change a setting, as STAGE.KEY=VALUE or TABLE.KEY=VALUE; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) settings: Vec<String>,

    /// All randomness comes from this: the same seed, the same run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=LARGEST_SEED))]
    pub(super) seed: Option<u64>,

    /// Steps of reinforcement learning
    #[arg(long, value_name = "N")]
    pub(super) steps: Option<u64>,

    /// Keep the run in this folder, instead of one below runs/
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// Keep runs below this folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(super) runs: PathBuf,

    /// Go on with the newest unfinished run of this name and recipe (or the one in --run-dir)
    #[arg(long)]
    pub(super) resume: bool,

    /// A new run that takes over what an earlier one did before this stage, and goes on from there
    #[arg(long, value_name = "STAGE", conflicts_with = "resume", group = "earlier_run")]
    pub(super) from: Option<String>,

    /// As --from, but stop once this stage is done
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["resume", "from"], group = "earlier_run")]
    pub(super) only: Option<String>,

    /// The folder of the earlier run for --from and --only [default: the newest of this name]
    #[arg(long, value_name = "DIR", conflicts_with = "resume", requires = "earlier_run")]
    pub(super) of: Option<PathBuf>,

    /// Say what would be done, how many tokens, how much memory and time it takes; start nothing
    #[arg(long, conflicts_with = "resume")]
    pub(super) dry_run: bool,

    /// Begin with this model (a Hugging Face folder) instead of making a base
    #[arg(long, value_name = "DIR")]
    pub(super) model: Option<PathBuf>,

    /// Practise the tasks of this file (JSON Lines, parquet or csv), or of a data set of the Hugging Face Hub
    /// (openai/gsm8k); may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) tasks: Vec<PathBuf>,

    /// Examine on the tasks of this file, or data set of the Hub, instead of on a share of those that --tasks names; may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    pub(super) held_out: Vec<PathBuf>,

    /// Leave out lines of task files that cannot be read, instead of stopping; they are counted
    #[arg(long)]
    pub(super) skip_bad_lines: bool,

    /// Threads to work with [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = threads())]
    pub(super) threads: Option<u16>,

    /// Compute on a card: cuda, or cuda:1 for the second [default: cpu; with --resume, where the run did before]
    #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
    pub(super) device: Option<String>,
}
