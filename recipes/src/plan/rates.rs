//! How fast a model samples and trains here: measured for a small one, else assumed.

use std::time::{Duration, Instant};

use anyhow::Context;
use policy::grpo::{Sampled, pack};
use policy::{ModelConfig, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};

use crate::config::{ModelSettings, Recipe};

/// Models up to this size are timed.
const MEASURED: usize = 30_000_000;
/// Floating-point operations per second of a thread, for models that are not timed.
const ASSUMED: f64 = 1e10;
/// How long each rate is measured.
const MOMENT: Duration = Duration::from_millis(400);
/// Parameters of a model that is not here, where no name says how many.
pub(super) const USUAL_SIZE: f64 = 1.5e9;

/// Tokens per second.
pub(super) struct Rates {
    pub(super) sampled: f64,
    pub(super) trained: f64,
    pub(super) measured: bool,
}

/// The configuration of a model; none where its folder is not here.
pub(super) fn configuration(recipe: &Recipe, model: &ModelSettings) -> anyhow::Result<Option<ModelConfig>> {
    if let ModelSettings::Folder { path } = model {
        let file = path.join("config.json");
        return if file.is_file() { Ok(Some(ModelConfig::from_file(file)?)) } else { Ok(None) };
    }
    let vocabulary = recipe.pretrain().map_or(512, |settings| settings.vocab_size);
    let json = model.hf_config(vocabulary).context("a new model has a configuration")?;
    Ok(Some(ModelConfig::from_json(&json.to_string())?))
}

/// The parameters of a model that is not here, as its folder's name says, or else the recipe's.
pub(super) fn missing_size(recipe: &Recipe, model: &ModelSettings) -> Option<f64> {
    let ModelSettings::Folder { path } = model else { return None };
    let folder = path.file_name().unwrap_or_default().to_string_lossy();
    size_in(&folder).or_else(|| size_in(&recipe.name))
}

/// The size in a name such as `Qwen2.5-0.5B-Instruct`.
fn size_in(name: &str) -> Option<f64> {
    name.split(['-', '_', ' ']).find_map(|word| {
        let digits = word.strip_suffix(['B', 'b'])?;
        let is_number =
            digits.starts_with(|c: char| c.is_ascii_digit()) && digits.ends_with(|c: char| c.is_ascii_digit());
        let billions: f64 = digits.parse().ok().filter(|_| is_number)?;
        // Nothing larger has ever been trained: it is a number of something else.
        (billions > 0.0 && billions < 1e5).then_some(billions * 1e9)
    })
}

pub(super) fn rates(
    model: &ModelSettings,
    config: Option<&ModelConfig>,
    missing_size: Option<f64>,
    threads: usize,
) -> anyhow::Result<Rates> {
    let active = config.map_or(missing_size.unwrap_or(USUAL_SIZE), |config| config.parameters().1 as f64);
    let is_new = !matches!(model, ModelSettings::Folder { .. });
    match config {
        Some(config) if is_new && config.parameters().0 <= MEASURED => measure(config, threads),
        _ => {
            let speed = ASSUMED * threads as f64;
            Ok(Rates { sampled: speed / (2.0 * active), trained: speed / (6.0 * active), measured: false })
        }
    }
}

/// Times a fresh model for a moment.
fn measure(config: &ModelConfig, threads: usize) -> anyhow::Result<Rates> {
    const BATCH: u32 = 64;
    const LENGTH: usize = 48;
    let policy = Policy::new(config.clone(), 0)?;
    let token = |row: u32, place: usize| (row * 31 + place as u32 * 17) % (config.vocab_size as u32 - 3) + 3;
    let rows: Vec<Vec<u32>> = (0..BATCH).map(|row| (0..LENGTH).map(|place| token(row, place)).collect()).collect();
    let shown: Vec<Sampled<'_>> =
        rows.iter().map(|row| Sampled { prompt: &row[..1], token_ids: &row[1..], choices: None }).collect();
    let batches = pack(&shown, 4096)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    pool.install(|| {
        let mut trained = 0;
        let mut gradients = policy.gradients()?;
        let start = Instant::now();
        while start.elapsed() < MOMENT {
            for micro in &batches {
                let forward = policy.forward(&micro.batch, 1.0, Track::Gradients)?;
                let slopes = vec![1.0; forward.logprobs.len()].into();
                policy.backward(forward, &slopes, 0.0, &mut gradients)?;
                trained += micro.batch.token_ids.len();
            }
        }
        let trained = trained as f64 / start.elapsed().as_secs_f64();
        let engine = RolloutEngine::new(&policy)?;
        let requests: Vec<Request> =
            (0..).zip(&rows).map(|(task, row)| Request { task, prompt: row[..8].to_vec(), samples: 1 }).collect();
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: LENGTH };
        let options = RolloutOptions { seed: 0, step: 0, end_of_text: Vec::new(), batch: BATCH as usize };
        let mut sampled = 0;
        let start = Instant::now();
        while start.elapsed() < MOMENT {
            engine.generate(&requests, &params, &options, |completion| sampled += completion.token_ids.len())?;
        }
        Ok(Rates { sampled: sampled as f64 / start.elapsed().as_secs_f64(), trained, measured: true })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_from_a_name() {
        for (name, expected) in [
            ("Qwen2.5-0.5B", Some(0.5e9)),
            ("Qwen3-30B-A3B", Some(30e9)),
            ("llama_7b_chat", Some(7e9)),
            ("Qwen2.5", None),
            ("gpt-4bit", None),
            ("infB", None),
        ] {
            assert_eq!(size_in(name), expected, "{name}");
        }
    }
}
