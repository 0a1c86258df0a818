//! `recipe bench`: how fast a model runs here, beside what the processor's or the card's matrix products could do.
//!
//! Each phase is timed several times after one call to warm up; the median counts (of an even number of runs the slower of
//! the two in the middle, for it is a run and not a mean of two). The peak is measured in the same process,
//! by products of matrices that stay in the caches. Floating-point operations are those of the model's own products: 2 for
//! each parameter that a token goes through (the head's only where its logits are made) and 4 for each pair of query and key
//! numbers, forward; three times that to train.
//!
//! On a card the peak is that of large bf16 products. Decoding has to read all weights and the cache for each token, so it is
//! also held against the rate at which the card copies memory.
//!
//! A step's completions are graded by threads of their own while sampling goes on, as in a run: the time that it then still waits
//! for them is told.

mod graded;
mod memory;
mod shape;
mod work;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};
use policy::{ModelConfig, Place};
use serde::Serialize;

use super::arguments::threads;
use super::{Wrong, print};
use crate::place;
use work::{Sizes, Work};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Prompts, each through the rollout engine to its first token
    Prefill,
    /// Sampling, a prompt for each sequence
    Decode,
    /// Forward, backward and AdamW over packed sequences
    Train,
    /// A whole step of GRPO: sampling, rewards, advantages, loss, update
    Step,
}

#[derive(Args, Debug)]
pub(super) struct BenchArguments {
    /// What to measure [default: all]
    #[arg(value_enum)]
    phases: Vec<Phase>,
    /// tiny (a DeepSeek-V3 of 1.4 million parameters), qwen2.5-0.5b or qwen2.5-1.5b (their shapes, random weights), moe-2b (a
    /// DeepSeek-V3 of 2.1 billion), or a Hugging Face folder
    #[arg(long, value_name = "SHAPE|DIR", default_value = "tiny")]
    shape: String,
    /// Sequences at a time [default: as suits the shape]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// Tokens of a trained sequence [default: as suits the shape]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    length: Option<u32>,
    /// Tokens of a prompt [default: as suits the shape]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    prompt: Option<u32>,
    /// Tokens sampled after each prompt [default: as suits the shape]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    new_tokens: Option<u32>,
    /// How often each phase is timed, after once to warm up; of an even number the slower of the two in the middle counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// While training, keep the layers' inputs only and compute them again
    #[arg(long)]
    checkpoint_layers: bool,
    /// Threads to work with [default: as many as the machine has cores]
    #[arg(long, value_name = "N", value_parser = threads())]
    threads: Option<u16>,

    /// Compute on a card: cuda, or cuda:1 for the second [default: cpu]
    #[arg(long, value_name = "DEVICE", value_parser = crate::place::name)]
    device: Option<String>,
    /// Print lines of JSON: what is measured and beside what, then each phase as soon as it is done
    #[arg(long)]
    json: bool,
}

/// What is reported. As JSON, it comes first, and each phase on a line of its own once it is done: what goes wrong later takes
/// nothing with it.
#[derive(Serialize)]
struct Report {
    shape: String,
    /// The card, or `cpu`.
    device: String,
    threads: usize,
    parameters: usize,
    activated: usize,
    /// Floating-point operations per second of the matrix product, on all threads or on the card, in units of 10^9.
    peak_gflops: f64,
    /// Bytes per second that the card reads and writes when it copies, in units of 10^9.
    copy_gb_per_second: Option<f64>,
    #[serde(skip)]
    phases: Vec<Measured>,
}

/// A phase as measured.
#[derive(Serialize)]
struct Measured {
    phase: Phase,
    /// What was done, in words.
    work: String,
    /// Of each run, in order.
    seconds: Vec<f64>,
    /// Of the run with the median rate; of the two in the middle the slower.
    median_seconds: f64,
    /// Of each run, in order.
    tokens: Vec<u64>,
    /// Of the median run, as what follows.
    tokens_per_second: f64,
    gflops: f64,
    share_of_peak: f64,
    /// Of decoding on a card: bytes that had to be read per second, over those of a copy.
    share_of_bandwidth: Option<f64>,
    /// Of a step: seconds from the last completion to the last grade.
    waiting_seconds: Option<f64>,
    /// Of a step: the grading threads' seconds, added up.
    grading_seconds: Option<f64>,
    /// The process's largest resident memory during the phase, the weights included; none where the system does not say.
    peak_memory_bytes: Option<u64>,
    /// The card's memory that was in use after the phase.
    card_memory_bytes: Option<u64>,
}

/// What rates are held against.
struct Peaks {
    /// Floating-point operations per second.
    products: f64,
    /// Bytes per second, of a card.
    copies: Option<f64>,
}

pub(super) fn bench(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads.map_or_else(rayon::current_num_threads, usize::from))
        .build()
        .context("cannot start the threads")?;
    let mut said = |line: String| if arguments.json { print(&(line + "\n")).map(drop) } else { Ok(()) };
    let report = pool.install(|| measure(arguments, &mut said))?;
    if arguments.json { Ok(ExitCode::SUCCESS) } else { print(&table(&report)) }
}

/// Measures all; `said` gets the lines of JSON as they come.
fn measure(
    arguments: &BenchArguments,
    said: &mut (dyn FnMut(String) -> anyhow::Result<()> + Send),
) -> anyhow::Result<Report> {
    let place = place::open(arguments.device.as_deref())?;
    let (policy, tokenizer, defaults) = shape::find(&arguments.shape, &place)?;
    let sizes = Sizes {
        batch: arguments.batch.map_or(defaults.batch, |n| n as usize),
        train_batch: arguments.batch.map_or(defaults.train_batch, |n| n as usize),
        length: arguments.length.map_or(defaults.length, |n| n as usize),
        prompt: arguments.prompt.map_or(defaults.prompt, |n| n as usize),
        new_tokens: arguments.new_tokens.map_or(defaults.new_tokens, |n| n as usize),
        step_batch: arguments.batch.map_or(defaults.step_batch, |n| n as usize),
        group: defaults.group,
    };
    let (parameters, activated) = policy.config().parameters();
    let all = [Phase::Prefill, Phase::Decode, Phase::Train, Phase::Step];
    let phases = if arguments.phases.is_empty() { &all[..] } else { &arguments.phases };
    let limit = policy.config().max_position_embeddings;
    if let Some(longest) = phases.iter().map(|phase| sizes.longest(*phase)).max().filter(|longest| *longest > limit) {
        return Err(Wrong(format!("sequences of {longest} tokens; {} has {limit} positions", arguments.shape)).into());
    }
    if policy.config().vocab_size <= 3 {
        return Err(Wrong(format!("{} has a vocabulary of {}", arguments.shape, policy.config().vocab_size)).into());
    }
    let peaks = peaks(&place)?;
    let mut work = Work::new((policy, tokenizer), sizes, arguments.checkpoint_layers)?;
    let mut report = Report {
        shape: arguments.shape.clone(),
        device: place::card_name(&place).unwrap_or_else(|| place::CPU.to_owned()),
        threads: rayon::current_num_threads(),
        parameters,
        activated,
        peak_gflops: peaks.products / 1e9,
        copy_gb_per_second: peaks.copies.map(|rate| rate / 1e9),
        phases: Vec::new(),
    };
    said(serde_json::to_string(&report)?)?;
    for phase in phases {
        let measured = time(*phase, &mut work, arguments.runs, &peaks)?;
        said(serde_json::to_string(&measured)?)?;
        report.phases.push(measured);
    }
    Ok(report)
}

fn peaks(place: &Place) -> anyhow::Result<Peaks> {
    let Some(card) = place::card(place) else {
        return Ok(Peaks { products: policy::ops::peak_flops(), copies: None });
    };
    let limits = device::Limits::measure(card).context("cannot measure what the card can do")?;
    Ok(Peaks { products: limits.product_rate, copies: Some(limits.copy_bandwidth) })
}

fn time(phase: Phase, work: &mut Work, runs: u32, peaks: &Peaks) -> anyhow::Result<Measured> {
    memory::forget_peak();
    work.run(phase)?;
    let mut seconds = Vec::new();
    let mut done = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        done.push(work.run(phase)?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    // Runs may differ in their tokens (completions end where they end): the median is of the rates.
    let mut order: Vec<usize> = (0..seconds.len()).collect();
    let rate = |run: usize| done[run].tokens as f64 / seconds[run];
    order.sort_by(|a, b| rate(*a).total_cmp(&rate(*b)));
    let middle = order[median_place(order.len())];
    let gflops = done[middle].flops / seconds[middle] / 1e9;
    Ok(Measured {
        phase,
        work: work.describe(phase),
        median_seconds: seconds[middle],
        tokens: done.iter().map(|done| done.tokens).collect(),
        tokens_per_second: rate(middle),
        gflops,
        share_of_peak: gflops * 1e9 / peaks.products,
        share_of_bandwidth: peaks.copies.and_then(|rate| Some(work.decoding_bytes(phase)? / seconds[middle] / rate)),
        waiting_seconds: done[middle].spent.as_ref().map(|spent| spent.waiting.as_secs_f64()),
        grading_seconds: done[middle].spent.as_ref().map(|spent| spent.grading.as_secs_f64()),
        peak_memory_bytes: memory::peak(),
        card_memory_bytes: work.card_memory()?,
        seconds,
    })
}

/// Where the median stands among so many runs, the slowest first.
fn median_place(runs: usize) -> usize {
    runs.saturating_sub(1) / 2
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "{}: {:.1} million parameters, {:.1} activated; {}{} threads; matrix products reach {:.0} GFLOP/s{}\n\n\
         {:8} {:>10} {:>10} {:>9} {:>8} {:>10}  work\n",
        report.shape,
        report.parameters as f64 / 1e6,
        report.activated as f64 / 1e6,
        if report.device == place::CPU { String::new() } else { format!("{}, ", report.device) },
        report.threads,
        report.peak_gflops,
        report.copy_gb_per_second.map_or_else(String::new, |rate| format!(", copies {rate:.0} GB/s")),
        "phase",
        "tokens/s",
        "seconds",
        "GFLOP/s",
        "of peak",
        "peak MiB"
    );
    for row in &report.phases {
        let name = row.phase.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let memory = row.card_memory_bytes.or(row.peak_memory_bytes);
        let memory = memory.map_or_else(|| "-".to_owned(), |bytes| (bytes >> 20).to_string());
        let bandwidth = row.share_of_bandwidth;
        let bandwidth = bandwidth.map_or_else(String::new, |share| format!("; {:.0}% of a copy's rate", 100.0 * share));
        let waiting = row.waiting_seconds.map(|seconds| 100.0 * seconds / row.median_seconds);
        let waiting = waiting.map_or_else(String::new, |share| format!("; {share:.1}% waiting for grades"));
        let _ = writeln!(
            text,
            "{name:8} {:>10.0} {:>10.4} {:>9.1} {:>7.0}% {memory:>10}  {}{bandwidth}{waiting}",
            row.tokens_per_second,
            row.median_seconds,
            row.gflops,
            100.0 * row.share_of_peak,
            row.work
        );
    }
    text
}

/// Floating-point operations of a forward pass over `tokens`, each of which attends to `context` on average; logits are made
/// for so many of them.
fn forward_flops(config: &ModelConfig, tokens: f64, logits: f64, context: f64) -> f64 {
    let (_, activated) = config.parameters();
    let head = config.vocab_size * config.hidden_size;
    // Looking a row of the embedding up is no product.
    let table = if config.tie_word_embeddings { 0 } else { head };
    let heads = config.num_attention_heads * config.attention.score_and_value_width();
    tokens * (2.0 * (activated - table - head) as f64 + 2.0 * context * (config.num_hidden_layers * heads) as f64)
        + 2.0 * logits * head as f64
}

/// Bytes that decoding must read for one token of each of `sequences` sequences of which each has `context` tokens behind it:
/// the weights in bf16, of the experts those that some token is expected to go to, and the cache.
fn decoding_bytes(config: &ModelConfig, sequences: f64, context: f64) -> f64 {
    const NUMBER: f64 = 2.0;
    let (all, activated) = config.parameters();
    let table = if config.tie_word_embeddings { 0 } else { config.vocab_size * config.hidden_size };
    let unread = config.mixture.as_ref().map_or(0.0, |mixture| {
        let (experts, chosen) = (mixture.n_routed_experts as f64, mixture.num_experts_per_tok as f64);
        let routed = (all - activated) as f64 * experts / (experts - chosen).max(1.0);
        routed * (1.0 - chosen / experts).powf(sequences)
    });
    let cached = sequences * context * (config.cache_width() * config.num_hidden_layers) as f64;
    NUMBER * ((all - table) as f64 - unread + cached)
}

#[cfg(test)]
mod tests;
