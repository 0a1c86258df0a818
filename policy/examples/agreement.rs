//! How far a card is from the host: the same weights, the same sampled completions, one GRPO step on each side.
//!
//! `cargo run --release -p policy --example agreement -- CONFIG.json cuda PROMPTS TOKENS` prints lines of JSON, each as soon as
//! what it says was compared; together they are one object. The weights are rounded to bf16 first, as those of a published model are; so what differs is the rounding of activations. `emulator` in place of
//! `cuda` runs the card's kernels on the host, slowly.
//!
//! | figure | what is compared |
//! |---|---|
//! | `logprobs` | of the completions' tokens, each token to the experts that it was sampled with |
//! | `router_choices` | share of the chosen experts that both sides choose, when each chooses for itself |
//! | `rounding` | what bf16 costs by itself: the host's pass once more with its activations rounded (`policy::rounding`) |
//! | `gradient` | of the GRPO loss: norm over norm, the cosine, and the worst parameter's distance relative to its length |
//! | `step` | log-probabilities after one step of AdamW, whose first step is all signs: it makes the most of a difference |
//! | `sampled_there` | completions sampled on the card: their log-probabilities then and in the card's training pass |
//! | `repeatable` | whether the card's pass gives the same bits when it is made again |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use policy::checkpoint::Numbers;
use policy::grpo::{
    AdvantageSettings, Counts, GrpoLoss, LossInput, LossKind, MicroBatch, Sampled, advantages, loss, pack,
};
use policy::optim::{AdamW, AdamWConfig, Gradients};
use policy::rounding::{self, PlainForward, Rounding};
use policy::{
    Completion, ModelConfig, Place, Policy, PolicyError, Request, Result, RolloutEngine, RolloutOptions,
    SamplingParams, Track,
};
use serde_json::json;

/// Completions of each prompt.
const GROUP: usize = 4;
const PROMPT: usize = 16;
const LEARNING_RATE: f64 = 1e-5;
const MICRO_BATCH_ROWS: usize = 8192;
/// A token is far from a tie if its router's scores are apart by this many times the error that rounding gives them.
const FAR: f64 = 4.0;

/// What a GRPO step computes on one side.
struct Step {
    logprobs: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
    norm: f64,
    after: Vec<f32>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match arguments.as_slice() {
        [config, device, prompts, tokens] => {
            prompts.parse().ok().zip(tokens.parse().ok()).map(|sizes| (config.clone(), device.clone(), sizes))
        }
        _ => None,
    };
    let Some((config, device, sizes)) = parsed else {
        eprintln!("expected CONFIG.json, cuda or emulator, a number of prompts, and one of tokens");
        return ExitCode::from(2);
    };
    // What was said before an error stays said.
    match compare(Path::new(&config), &device, sizes, |figures| println!("{figures}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(
    config: &Path,
    device: &str,
    (prompts, tokens): (usize, usize),
    say: impl Fn(serde_json::Value),
) -> Result<()> {
    let place = open(device)?;
    let config = ModelConfig::from_file(config)?;
    let mut host = rounded(&config)?;
    let mut card = host.duplicate()?;
    card.to_place(&place)?;
    say(json!({ "device": place.to_string(), "parameters": config.parameters().0 }));
    let requests: Vec<Request> = (0..prompts as u32)
        .map(|task| {
            let token = |i: usize| ((task as usize * 31 + i * 17) % (config.vocab_size - 3) + 3) as u32;
            Request { task, prompt: (0..PROMPT).map(token).collect(), samples: GROUP as u32 }
        })
        .collect();
    let completions = sample(&host, &requests, tokens)?;

    let own: Vec<Sampled<'_>> = completions
        .iter()
        .map(|c| Sampled { prompt: &requests[c.task as usize].prompt, token_ids: &c.token_ids, choices: None })
        .collect();
    let own = pack(&own, MICRO_BATCH_ROWS)?;
    let sides = [chosen(&host, &own)?, chosen(&card, &own)?];
    // Before the steps move the weights.
    let floor = Floor::new(&host, &batches(&requests, &completions)?, &own)?;
    say(json!({ "router_choices": same(&sides, |_, _| true) }));

    let repeatable = {
        let again = |policy: &Policy| pass(policy, &completions, &batches(&requests, &completions)?);
        let ((first, one), (second, two)) = (again(&card)?, again(&card)?);
        bits(&first) == bits(&second)
            && named(&one)?.values().zip(named(&two)?.values()).all(|(a, b)| bits(a) == bits(b))
    };
    say(json!({ "repeatable": repeatable }));
    let (expected, found) = (step(&mut host, &requests, &completions)?, step(&mut card, &requests, &completions)?);
    say(json!({
        "tokens": expected.logprobs.len(),
        "logprobs": difference(&found.logprobs, &expected.logprobs),
        "rounding": floor.report(&expected.logprobs, &sides),
        "gradient": {
            "norm_ratio": found.norm / expected.norm,
            "cosine": cosine(&found.gradients, &expected.gradients),
            "worst_parameter": worst(&found.gradients, &expected.gradients),
        },
        "step": difference(&found.after, &expected.after),
    }));
    let there = sample(&card, &requests, tokens)?;
    let trained = all_logprobs(&card, &batches(&requests, &there)?)?;
    let sampled: Vec<f32> = there.iter().flat_map(|completion| completion.logprobs.iter().copied()).collect();
    say(json!({ "sampled_there": difference(&sampled, &trained) }));
    Ok(())
}

fn open(device: &str) -> Result<Place> {
    if device != "emulator" {
        return Place::parse(device);
    }
    let emulated = device::Device::emulated().map(Place::Card);
    emulated.map_err(|source| PolicyError::Device { operation: "open the emulator".into(), source })
}

/// Fresh weights, as they come back from a file in bf16.
fn rounded(config: &ModelConfig) -> Result<Policy> {
    let folder = std::env::temp_dir().join(format!("recipe-agreement-{}", std::process::id()));
    let io = |error| PolicyError::io("make", &folder)(error);
    std::fs::create_dir_all(&folder).map_err(io)?;
    let read = Policy::new(config.clone(), 3)?.save_as(&folder, Numbers::Bf16).and_then(|()| Policy::load(&folder));
    // What is left behind is in the system's temporary folder.
    let _ = std::fs::remove_dir_all(&folder);
    read
}

fn sample(policy: &Policy, requests: &[Request], max_tokens: usize) -> Result<Vec<Completion>> {
    let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens };
    let options = RolloutOptions { seed: 1, step: 1, end_of_text: Vec::new(), batch: 64 };
    let mut completions = Vec::new();
    RolloutEngine::new(policy)?.generate(requests, &params, &options, |completion| completions.push(completion))?;
    completions.sort_by_key(|completion| (completion.task, completion.sample));
    Ok(completions)
}

fn batches(requests: &[Request], completions: &[Completion]) -> Result<Vec<MicroBatch>> {
    let sampled: Vec<Sampled<'_>> =
        completions.iter().map(|c| Sampled::of(&requests[c.task as usize].prompt, c)).collect();
    pack(&sampled, MICRO_BATCH_ROWS)
}

/// The tokens' log-probabilities, in the completions' order, and the loss's gradient. A completion's reward is the share of its
/// tokens that are even, so that every group has variance.
fn pass(policy: &Policy, completions: &[Completion], batches: &[MicroBatch]) -> Result<(Vec<f32>, Gradients)> {
    let even =
        |c: &Completion| c.token_ids.iter().filter(|id| id.is_multiple_of(2)).count() as f64 / c.token_ids.len() as f64;
    let groups: Vec<Vec<Option<f64>>> = completions
        .chunk_by(|a, b| a.task == b.task)
        .map(|group| group.iter().map(|c| Some(even(c))).collect())
        .collect();
    let each = advantages(&groups, AdvantageSettings::default()).concat();
    let tokens: usize = completions.iter().map(|completion| completion.token_ids.len()).sum();
    let counts = Counts { completions: completions.len(), tokens, kept_tokens: tokens, tokens_per_part: tokens as f64 };
    let settings = GrpoLoss {
        kind: LossKind::Dapo,
        clip_low: 0.2,
        clip_high: 0.2,
        dual_clip: None,
        kl: None,
        entropy_coefficient: 0.0,
    };
    let mut gradients = policy.gradients()?;
    let mut logprobs = Vec::new();
    for micro in batches {
        let forward = policy.forward(&micro.batch, 1.0, Track::Gradients)?;
        let mut end = 0;
        let inputs: Vec<LossInput<'_>> = micro
            .completions
            .iter()
            .map(|index| {
                let old = &completions[*index].logprobs;
                let range = end..end + old.len();
                end = range.end;
                let (new, entropy) = (&forward.logprobs[range.clone()], &forward.entropy[range]);
                LossInput { new, old, reference: None, entropy, kept: None, advantage: each[*index] }
            })
            .collect();
        let slopes: Vec<f32> =
            loss(&inputs, &settings, &counts).gradient.into_iter().map(|slope| slope as f32).collect();
        logprobs.extend_from_slice(&forward.logprobs);
        policy.backward(forward, &slopes.into(), 0.0, &mut gradients)?;
    }
    Ok((logprobs, gradients))
}

fn step(policy: &mut Policy, requests: &[Request], completions: &[Completion]) -> Result<Step> {
    let batches = batches(requests, completions)?;
    let (logprobs, gradients) = pass(policy, completions, &batches)?;
    let mut optimizer = AdamW::for_policy(policy, AdamWConfig::default())?;
    let report = optimizer.step(&gradients, LEARNING_RATE, Some(1.0))?;
    let after = all_logprobs(policy, &batches)?;
    Ok(Step { logprobs, gradients: named(&gradients)?, norm: report.grad_norm, after })
}

fn all_logprobs(policy: &Policy, batches: &[MicroBatch]) -> Result<Vec<f32>> {
    let forward =
        |micro: &MicroBatch| policy.forward(&micro.batch, 1.0, Track::Nothing).map(|forward| forward.logprobs);
    Ok(batches.iter().map(forward).collect::<Result<Vec<_>>>()?.concat())
}

/// The host's pass in its plainest form, and rounded as the card's is.
struct Floor {
    /// Both with the experts that the completions were sampled with.
    plain: Vec<PlainForward>,
    rounded: Vec<PlainForward>,
    /// The experts that are chosen where all is rounded.
    chosen: Vec<Chosen>,
}

/// A layer's chosen experts, `top_k` for each row.
type Chosen = (Vec<u32>, usize);

impl Floor {
    /// `own` are the same batches, in which the routers choose for themselves.
    fn new(host: &Policy, batches: &[MicroBatch], own: &[MicroBatch]) -> Result<Self> {
        let pass = |batches: &[MicroBatch], rounding| -> Result<Vec<PlainForward>> {
            batches.iter().map(|micro| rounding::forward(host, &micro.batch, 1.0, rounding)).collect()
        };
        let (plain, rounded) = (pass(batches, Rounding::None)?, pass(batches, Rounding::Bf16)?);
        // A dense model has no choice.
        let own = if plain.iter().any(|pass| !pass.routers.is_empty()) { own } else { &[] };
        let chosen = pass(own, Rounding::Bf16)?.into_iter().flat_map(|pass| pass.routers);
        let chosen = chosen.map(|routed| (routed.routing.chosen, routed.routing.top_k)).collect();
        Ok(Floor { plain, rounded, chosen })
    }

    fn report(&self, host: &[f32], sides: &[Vec<Chosen>; 2]) -> serde_json::Value {
        let logprobs = |passes: &[PlainForward]| -> Vec<f32> {
            passes.iter().flat_map(|pass| pass.logprobs.iter().copied()).collect()
        };
        let far = self.far_from_ties();
        let decided = |layer: usize, row: usize| far[layer][row];
        let [rows, all] = [far.iter().flatten().filter(|far| **far).count(), far.iter().map(Vec::len).sum()];
        json!({
            "plain": difference(&logprobs(&self.plain), host),
            "logprobs": difference(&logprobs(&self.rounded), host),
            "router_choices": same(&[sides[0].clone(), self.chosen.clone()], |_, _| true),
            "far_from_ties": (all > 0).then(|| json!({
                "rows": rows as f64 / all as f64,
                "router_choices": same(sides, decided),
            })),
        })
    }

    /// For each layer of experts of each batch, which rows' scores are so far apart, there and in all layers before, that rounding
    /// should not change what is chosen.
    fn far_from_ties(&self) -> Vec<Vec<bool>> {
        let mut layers: Vec<Vec<bool>> = Vec::new();
        for (plain, rounded) in self.plain.iter().zip(&self.rounded) {
            let mut far = Vec::new();
            for (plain, rounded) in plain.routers.iter().zip(&rounded.routers) {
                let apart = plain.scores.iter().zip(&rounded.scores).map(|(a, b)| f64::from(a - b).powi(2));
                let error = (apart.sum::<f64>() / plain.scores.len().max(1) as f64).sqrt();
                far.resize(plain.gaps.len(), true);
                far.iter_mut().zip(&plain.gaps).for_each(|(far, gap)| *far &= f64::from(*gap) > FAR * error);
                layers.push(far.clone());
            }
        }
        layers
    }
}

/// The experts that a policy chooses for itself, for each layer of experts of each batch.
fn chosen(policy: &Policy, batches: &[MicroBatch]) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    for micro in batches {
        let routing = policy.forward(&micro.batch, 1.0, Track::Nothing)?.routing;
        chosen.extend(routing.into_iter().map(|routing| (routing.chosen, routing.top_k)));
    }
    Ok(chosen)
}

/// The share of chosen experts that are the same on both sides, of the layers and rows that count; none if there are none.
fn same([mine, theirs]: &[Vec<Chosen>; 2], counts: impl Fn(usize, usize) -> bool) -> Option<f64> {
    let (mut same, mut all) = (0, 0);
    for (layer, ((mine, top_k), (theirs, _))) in mine.iter().zip(theirs).enumerate() {
        let rows = mine.chunks(*top_k).zip(theirs.chunks(*top_k)).enumerate();
        for (_, (mine, theirs)) in rows.filter(|(row, _)| counts(layer, *row)) {
            same += mine.iter().filter(|expert| theirs.contains(expert)).count();
            all += mine.len();
        }
    }
    (all > 0).then(|| same as f64 / all as f64)
}

fn named(gradients: &Gradients) -> Result<BTreeMap<String, Vec<f32>>> {
    let values = gradients.values()?.into_iter();
    Ok(values.filter_map(|(name, values)| Some((name.to_owned(), values?.into_owned()))).collect())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn difference(found: &[f32], expected: &[f32]) -> serde_json::Value {
    let each = || found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    let comparable = found.len() == expected.len() && each().all(f64::is_finite);
    let mean = each().sum::<f64>() / found.len().max(1) as f64;
    json!({ "comparable": comparable, "max": each().fold(0.0, f64::max), "mean": mean })
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn cosine(found: &BTreeMap<String, Vec<f32>>, expected: &BTreeMap<String, Vec<f32>>) -> f64 {
    let sum = |a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>| -> f64 {
        a.values().zip(b.values()).map(|(a, b)| product(a, b)).sum()
    };
    sum(found, expected) / (sum(found, found) * sum(expected, expected)).sqrt()
}

fn worst(found: &BTreeMap<String, Vec<f32>>, expected: &BTreeMap<String, Vec<f32>>) -> serde_json::Value {
    let distance = |(name, expected): (&String, &Vec<f32>)| {
        let found = found.get(name).map_or(&[][..], Vec::as_slice);
        let gap: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
        let whole = found.len() == expected.len();
        let distance = (product(&gap, &gap) / product(expected, expected).max(f64::MIN_POSITIVE)).sqrt();
        (if whole { distance } else { f64::INFINITY }, name.clone())
    };
    let worst = expected.iter().map(distance).max_by(|a, b| a.0.total_cmp(&b.0));
    json!(worst.map(|(distance, name)| json!({ "name": name, "distance": distance })))
}
