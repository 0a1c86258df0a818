//! Makes the base: a BPE tokenizer and a policy that has read worked solutions of mixed quality.
//!
//! The base stands in for the language model that R1-Zero began with: it can write answers in the template, and is often
//! wrong, because what it read often was. It is cached under the hash of all that made it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use datasets::Family;
use policy::checkpoint::{CheckpointWriter, verify};
use policy::grpo::Sampled;
use policy::{ModelConfig, Policy, Tokenizer};
use sha2::{Digest, Sha256};

use super::passes::Passes;
use super::prompt::PromptEncoder;
use super::tasks::pick;
use super::trainer::{Divergence, StepSettings, Trainer, Training};
use super::{Ended, RunContext};
use crate::config::{PretrainSettings, Stage};
use crate::metrics::{MetricRow, PretrainMetrics, Times};
use crate::model::Model;
use crate::run::{StageRecord, Unusable};

/// Texts that the tokenizer learns from.
const TOKENIZER_TEXTS: u64 = 6000;
/// About how long that takes, for a plan.
pub(crate) const TOKENIZER_SECONDS: f64 = 6.0;
/// Rows that go through the model at once.
const MICRO_BATCH_ROWS: usize = 4096;
/// The file beside a base that holds the metrics of its training.
const ROWS: &str = "pretrain.jsonl";

pub(super) fn run(context: &mut RunContext<'_>, stage: &Stage, settings: &PretrainSettings) -> anyhow::Result<Ended> {
    let start = Instant::now();
    context.run.restart(&stage.name)?;
    let families = context.recipe.tasks.weighted_families();
    let cached = cached_base(context, stage, settings, &families);
    let mut record = StageRecord::of(stage);
    let base = context.run.base_of(stage);
    let usable = verify(&cached);
    if let (Err(error), true) = (&usable, std::fs::symlink_metadata(&cached).is_ok()) {
        context.reporter.note(&format!("the base in the cache is damaged and not used, it is made anew: {error}"));
    }
    if usable.is_ok() {
        context.reporter.note(&format!("base: from the cache, {}", cached.display()));
        record.note = Some("from the cache".to_owned());
        for row in read_rows(&cached)? {
            context.run.push_metrics(&MetricRow::Pretrain(PretrainMetrics { stage: stage.name.clone(), ..row }))?;
        }
        copy_base(&cached, &base)?;
    } else {
        let Some((trained_tokens, passes)) = train(context, stage, settings, &families, &base)? else {
            return Ok(Ended::Interrupted(record));
        };
        let active = ModelConfig::from_file(base.join("config.json"))?.parameters().1;
        record.steps = settings.steps();
        record.trained_tokens = trained_tokens;
        record.flops = passes.flops(active);
        // The run has its base; without a copy in the cache, only the next run is slower.
        if let Err(error) = keep_in_cache(&base, &cached) {
            context.reporter.note(&format!("the base is not kept for other runs: {error:#}"));
        }
    }
    record.seconds = start.elapsed().as_secs_f64();
    context.run.finish_stage(record)?;
    Ok(Ended::Done(base))
}

/// The base of a stage that is done: as it was made, or copied again from the cache.
pub(super) fn restored(
    context: &RunContext<'_>,
    stage: &Stage,
    settings: &PretrainSettings,
) -> anyhow::Result<PathBuf> {
    let base = context.run.base_of(stage);
    let Err(error) = verify(&base) else { return Ok(base) };
    let cached = cached_base(context, stage, settings, &context.recipe.tasks.weighted_families());
    if verify(&cached).is_ok() {
        context.reporter.note(&format!("the base is damaged and copied again from the cache: {error}"));
        copy_base(&cached, &base)?;
        return Ok(base);
    }
    let what = format!("the base in {} is damaged or gone ({error}), and the cache has no copy of it", base.display());
    Err(Unusable::put_back(what, "put it back").into())
}

/// Where the base lies, or will lie: named by the hash of what makes it. The texts stand for the code that writes them. A
/// card makes another base than the CPU, by rounding, and so has its own.
fn cached_base(
    context: &RunContext<'_>,
    stage: &Stage,
    settings: &PretrainSettings,
    families: &[(Family, f64)],
) -> PathBuf {
    let recipe = context.recipe;
    let mut hash = Sha256::new();
    hash.update(recipe.base_fingerprint(stage));
    hash.update(crate::place::mark(&context.place));
    for index in 0..500 {
        let text = pick(families, index).worked_in(settings.voice(), recipe.seed, index);
        hash.update(text.prompt);
        hash.update(text.response);
    }
    let name = crate::hash::hex(&hash.finalize());
    context.cache_dir.join("bases").join(&name[..16])
}

fn keep_in_cache(base: &Path, cached: &Path) -> anyhow::Result<()> {
    // A folder that is in the way gives way to the new one; a file would not.
    if cached.is_file() {
        std::fs::remove_file(cached).with_context(|| format!("cannot remove the file {}", cached.display()))?;
    }
    copy_base(base, cached)
}

fn copy_base(from: &Path, to: &Path) -> anyhow::Result<()> {
    let writer = CheckpointWriter::begin(to)?;
    for (name, _) in verify(from)?.files {
        let target = writer.path().join(&name);
        std::fs::copy(from.join(&name), &target)
            .with_context(|| format!("cannot copy {name} to {}", target.display()))?;
    }
    writer.finish()?;
    Ok(())
}

/// Trains and writes a base; returns the tokens trained on and the rows that it took, or nothing if it was asked to stop.
fn train(
    context: &mut RunContext<'_>,
    stage: &Stage,
    settings: &PretrainSettings,
    families: &[(Family, f64)],
    target: &Path,
) -> anyhow::Result<Option<(u64, Passes)>> {
    let recipe = context.recipe;
    let text = |index: u64| pick(families, index).worked_in(settings.voice(), recipe.seed, index);

    let phase = context.reporter.phase("tokenizer", None, "texts");
    let texts = (0..TOKENIZER_TEXTS).map(|index| {
        let worked = text(index);
        datasets::template::r1_zero(&worked.prompt) + &worked.response
    });
    let tokenizer = Tokenizer::train(texts, settings.vocab_size)?;
    phase.finish(&format!("{} entries", tokenizer.vocab_size()));

    let shape = stage.model.as_ref().unwrap_or(&recipe.model);
    let config = shape.hf_config(tokenizer.vocab_size()).context("the pretrain stage needs the [model] table")?;
    let config = ModelConfig::from_json(&config.to_string())?;
    let (parameters, active) = config.parameters();
    let policy = Policy::new(config, recipe.seed)?;
    let model = Model::new(policy, tokenizer, &context.place)?;
    let mut trainer = Trainer::new(
        model,
        &Training { adamw: settings.adamw(), moments_on_host: settings.moments_on_host, lora: None },
    )?;
    let _awaiting = context.interrupt.awaiting("this step is done; a base has no checkpoints and is begun anew");
    let phase = context.reporter.phase("base", Some(settings.steps()), "steps");
    let schedule = settings.lr_schedule();
    let mut divergence = Divergence::new();
    let (mut next_text, mut trained) = (0, 0);
    let mut passes = Passes::default();
    let mut last_loss = f64::NAN;
    let mut rows = Vec::new();
    for step in 1..=settings.steps() {
        if context.interrupt.requested() {
            return Ok(None);
        }
        let start = Instant::now();
        let documents = documents(&trainer.model.tokenizer, settings.batch_tokens, &mut next_text, &text);
        let sampled: Vec<Sampled<'_>> =
            documents.iter().map(|(prompt, ids)| Sampled { prompt, token_ids: ids, choices: None }).collect();
        let tokens: usize = documents.iter().map(|(_, ids)| ids.len()).sum();
        let learning_rate = schedule.lr(step - 1);
        let step_settings = StepSettings {
            temperature: 1.0,
            learning_rate,
            max_grad_norm: settings.max_grad_norm,
            balancing: settings.balancing(),
            track: settings.track(),
        };
        let (loss, stepped) = trainer.imitate(&sampled, MICRO_BATCH_ROWS, &step_settings)?;
        if let Some(warning) = divergence.watch(step, &stepped)? {
            context.reporter.note(&warning);
        }
        trained += tokens as u64;
        passes += stepped.passes;
        last_loss = loss;
        let mut time = Times { seconds: start.elapsed().as_secs_f64(), ..Times::default() };
        let seconds = time.seconds;
        time.add("update", seconds, tokens as u64);
        phase.inc(1);
        phase.set_message(&format!("loss {loss:.3} · {:.0} tokens/s", tokens as f64 / seconds));
        let row = PretrainMetrics {
            stage: stage.name.clone(),
            step,
            loss,
            learning_rate,
            gradient_norm: stepped.gradient_norm,
            max_vio: stepped.max_vio,
            tokens: tokens as u64,
            time,
        };
        // Without the times, so that the same settings make the same base to the byte.
        rows.push(serde_json::to_string(&PretrainMetrics { time: Times::default(), ..row.clone() })?);
        context.run.push_metrics(&MetricRow::Pretrain(row))?;
    }
    phase.finish(&format!("loss {last_loss:.3}, {parameters} parameters, {active} for each token"));
    let writer = CheckpointWriter::begin(target)?;
    trainer.model.save(writer.path())?;
    let path = writer.path().join(ROWS);
    std::fs::write(&path, rows.join("\n")).with_context(|| format!("cannot write {}", path.display()))?;
    writer.finish()?;
    Ok(Some((trained, passes)))
}

/// The metrics of the training that made a cached base: a run that takes the base shows them as its own.
fn read_rows(base: &Path) -> anyhow::Result<Vec<PretrainMetrics>> {
    let path = base.join(ROWS);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{} is damaged", path.display())))
        .collect()
}

/// The next texts, encoded: as many as make up a batch.
fn documents(
    tokenizer: &Tokenizer,
    batch_tokens: usize,
    next_text: &mut u64,
    text: &impl Fn(u64) -> datasets::WorkedText,
) -> Vec<(Vec<u32>, Vec<u32>)> {
    let encoder = PromptEncoder::new(tokenizer);
    let mut documents = Vec::new();
    let mut tokens = 0;
    while tokens < batch_tokens {
        let worked = text(*next_text);
        *next_text += 1;
        let mut response = tokenizer.encode(&worked.response);
        response.push(tokenizer.eos_id());
        tokens += response.len();
        documents.push((encoder.encode(&worked.prompt), response));
    }
    documents
}
