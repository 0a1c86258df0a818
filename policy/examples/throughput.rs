//! Tokens per second of the tiny policy: forward, forward and backward with AdamW, and decoding at batch 64.
//!
//! `cargo run --release -p policy --example throughput`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for the terminal")]

use std::time::Instant;

use candle_core::Tensor;
use policy::grpo::{Sampled, pack};
use policy::optim::{AdamW, AdamWConfig, Gradients};
use policy::{ModelConfig, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};

/// The median seconds of `runs` calls after one to warm up.
fn median(runs: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[runs / 2]
}

fn main() {
    let (batch, length) = (64usize, 96usize);
    let policy = Policy::new(ModelConfig::tiny(64), 1).unwrap();
    let (total, active) = policy.config().parameters();
    println!("{total} parameters, {active} activated per token, {} threads", rayon::current_num_threads());
    let rows: Vec<Vec<u32>> =
        (0..batch).map(|row| (0..=length).map(|i| ((row * 31 + i * 17) % 61 + 3) as u32).collect()).collect();
    let sampled: Vec<Sampled<'_>> =
        rows.iter().map(|row| Sampled { prompt: &row[..1], token_ids: &row[1..], choices: None }).collect();
    let batches = pack(&sampled, 4096).unwrap();
    let tokens = (batch * length) as f64;

    let seconds = median(5, || {
        for micro in &batches {
            policy.forward(&micro.batch, 1.0, Track::Nothing).unwrap();
        }
    });
    println!("forward              {:>8.0} tok/s", tokens / seconds);

    let mut optimizer = AdamW::new(policy.parameters(), AdamWConfig::default()).unwrap();
    let seconds = median(5, || {
        let mut gradients = Gradients::zeros(policy.parameters());
        for micro in &batches {
            let logprobs = policy.forward(&micro.batch, 1.0, Track::Gradients).unwrap().logprobs;
            let store = logprobs.neg().and_then(|l: Tensor| l.mean_all()).unwrap().backward().unwrap();
            gradients.accumulate(&store, policy.parameters(), 1.0).unwrap();
        }
        optimizer.step(&gradients, 1e-4, Some(1.0)).unwrap();
    });
    println!("forward + backward   {:>8.0} tok/s", tokens / seconds);

    let requests: Vec<Request> =
        (0..batch).map(|task| Request { task: task as u32, prompt: rows[task][..16].to_vec(), samples: 1 }).collect();
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 64 };
    // No token ends a completion, so that every one runs to the limit.
    let options = RolloutOptions { seed: 1, step: 0, end_of_text: Vec::new(), batch };
    let seconds =
        median(5, || RolloutEngine::new(&policy).unwrap().generate(&requests, &params, &options, |_| ()).unwrap());
    println!("decode at batch {batch}   {:>8.0} tok/s", (batch * 64) as f64 / seconds);
}
