//! Supervised fine-tuning: the policy learns to answer as demonstrations do.
//!
//! ```text
//! loss = - 1 / |tokens of the batch's answers| * sum over them of log p(token | question, answer so far)
//! ```
//!
//! The question and its template are context and bear no loss. Demonstrations are packed without padding. Which of them a
//! step takes follows from its number, and a checkpoint holds weights and moments, so that a resumed run is the same run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use datasets::Order;
use policy::checkpoint::{CheckpointWriter, latest_valid, prune, remove_partial};
use policy::grpo::{Sampled, pack};
use policy::{ModelConfig, Policy, Tokenizer, Track};
use serde::{Deserialize, Serialize};

use super::bench::Model;
use super::demonstrations::{Example, Examples};
use super::trainer::{Divergence, StepSettings, Trainer, Training};
use super::{Ended, flops};
use crate::RunContext;
use crate::config::{ModelSettings, SftSettings, Stage};
use crate::metrics::{MetricRow, SftMetrics, Times};
use crate::run::StageRecord;
use crate::wording::counted;

const STATE: &str = "trainer.json";

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    step: u64,
    trained_tokens: u64,
    seconds: f64,
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    stage: &Stage,
    settings: &SftSettings,
    from: &Path,
    files: &[PathBuf],
) -> anyhow::Result<Ended> {
    let root = context.run.checkpoints(&stage.name);
    remove_partial(&root)?;
    let found = latest_valid(&root)?;
    for (path, reason) in &found.rejected {
        context.reporter.note(&format!("{} is damaged and not used: {reason}", path.display()));
    }
    let done = context.run.is_done(&stage.name)?;
    let training = Training::of(stage, settings.adamw(), settings.moments_on_host, context.recipe.seed);
    let (mut trainer, mut state) = match &found.path {
        Some(path) => {
            let read = || {
                let trainer = Trainer::load(path, &training, &context.place, || begin(context, stage, from))?;
                let text = std::fs::read_to_string(path.join(STATE))?;
                anyhow::Ok((trainer, serde_json::from_str(&text).with_context(|| format!("{STATE} is damaged"))?))
            };
            let (trainer, state): (Trainer, State) =
                read().with_context(|| format!("cannot resume {}", path.display()))?;
            if done && context.run.stages_done()?.iter().any(|r| r.name == stage.name && r.steps == state.step) {
                return Ok(Ended::Done(path.clone()));
            }
            context.reporter.note(&format!("{}: going on after step {}", stage.name, state.step));
            (trainer, state)
        }
        None => (Trainer::new(begin(context, stage, from)?, &training)?, State::default()),
    };
    let positions = trainer.model.policy.config().max_position_embeddings;
    let examples = Examples::read(context, settings, &trainer.model.tokenizer, positions, files)?;
    context.run.rewind(&stage.name, state.step)?;
    if examples.train.len() < settings.batch_size {
        let found = counted(examples.train.len(), "demonstration", "demonstrations");
        context
            .reporter
            .note(&format!("{}: only {found}, fewer than batch_size = {}", stage.name, settings.batch_size));
    }
    let steps = settings.steps(examples.train.len());
    let schedule = settings.lr_schedule(steps);
    let order = Order::new(examples.train.len(), context.recipe.seed);
    let started = Instant::now();
    let earlier = state.seconds;
    let phase = context.reporter.phase(&stage.name, Some(steps), "steps");
    phase.set_position(state.step);
    let mut divergence = Divergence::new();
    let mut last_loss = f64::NAN;
    while state.step < steps {
        let start = Instant::now();
        let step = state.step + 1;
        let batch = batch(&examples.train, &order, settings.batch_size, step);
        let learning_rate = schedule.lr(step - 1);
        let (loss, tokens, stepped) = learn(&mut trainer, settings, &batch, learning_rate)?;
        let per_pass = examples.train.len().div_ceil(settings.batch_size) as u64;
        let measured = step.is_multiple_of(per_pass) || step == steps;
        let validation_loss = (measured && !examples.validation.is_empty())
            .then(|| validate(&trainer.model.policy, settings, &examples.validation))
            .transpose()?;
        last_loss = validation_loss.unwrap_or(loss);
        let mut time = Times { seconds: start.elapsed().as_secs_f64(), ..Times::default() };
        let seconds = time.seconds;
        time.add("update", seconds, stepped.rows);
        context.run.push_metrics(&MetricRow::Sft(SftMetrics {
            stage: stage.name.clone(),
            step,
            epoch: step as f64 / per_pass as f64,
            loss,
            validation_loss,
            learning_rate,
            gradient_norm: stepped.gradient_norm,
            max_vio: stepped.max_vio,
            tokens,
            trained_tokens: stepped.rows,
            time,
        }))?;
        phase.inc(1);
        phase.set_message(&format!("loss {loss:.3} · {:.0} tokens/s", stepped.rows as f64 / seconds));
        if let Some(warning) = divergence.watch(step, &stepped)? {
            context.reporter.note(&warning);
        }
        state.step = step;
        state.trained_tokens += stepped.rows;
        state.seconds = earlier + started.elapsed().as_secs_f64();
        let last = step == steps;
        let interrupted = context.interrupt.requested() && !last;
        let due = settings.checkpoint_every > 0 && step.is_multiple_of(settings.checkpoint_every);
        if due || last || interrupted {
            checkpoint(context, stage, settings, &trainer, &state)?;
        }
        if interrupted {
            return Ok(Ended::Interrupted(step));
        }
    }
    let aside = examples.validation.len();
    phase.finish(&format!(
        "loss {last_loss:.3}{}; {} demonstrations, {aside} more for validation",
        if aside > 0 { " in validation" } else { "" },
        examples.train.len()
    ));
    let active = trainer.model.policy.config().parameters().1;
    context.run.finish_stage(StageRecord {
        name: stage.name.clone(),
        kind: stage.settings.kind().to_owned(),
        steps,
        trained_tokens: state.trained_tokens,
        seconds: state.seconds,
        flops: flops(active, 0, state.trained_tokens),
        ..StageRecord::default()
    })?;
    Ok(Ended::Done(context.run.checkpoint(&stage.name, steps)))
}

/// The model that the stage begins with: that of another stage, a folder's, or a new one with the tokenizer in `from`.
fn begin(context: &RunContext<'_>, stage: &Stage, from: &Path) -> anyhow::Result<Model> {
    match &stage.model {
        None => Model::load(from, &context.place),
        Some(ModelSettings::Folder { path }) => Model::load(path, &context.place),
        Some(shape) => {
            let tokenizer = Tokenizer::from_dir(from)?;
            let config = shape.hf_config(tokenizer.vocab_size()).unwrap_or_default();
            let policy = Policy::new(ModelConfig::from_json(&config.to_string())?, context.recipe.seed)?;
            Model::new(policy, tokenizer, &context.place)
        }
    }
}

/// The demonstrations of a step: each pass takes all of them once, in an order of its own.
fn batch<'e>(train: &'e [Example], order: &Order, batch_size: usize, step: u64) -> Vec<&'e Example> {
    let per_pass = train.len().div_ceil(batch_size) as u64;
    let (pass, part) = ((step - 1) / per_pass, (step - 1) % per_pass);
    let first = part as usize * batch_size;
    let last = (first + batch_size).min(train.len());
    (first..last).map(|place| &train[order.index(pass * train.len() as u64 + place as u64)]).collect()
}

fn sampled(example: &Example) -> Sampled<'_> {
    Sampled { prompt: &example.prompt, token_ids: &example.answer, choices: None }
}

/// One optimizer step; the mean loss of a token, the tokens that bear loss, and what the step did.
fn learn(
    trainer: &mut Trainer,
    settings: &SftSettings,
    batch: &[&Example],
    learning_rate: f64,
) -> anyhow::Result<(f64, u64, super::trainer::Stepped)> {
    let shown: Vec<Sampled<'_>> = batch.iter().map(|example| sampled(example)).collect();
    let batches = pack(&shown, settings.micro_batch_tokens)?;
    let tokens: usize = batch.iter().map(|example| example.answer.len()).sum();
    let step_settings = StepSettings {
        temperature: 1.0,
        learning_rate,
        max_grad_norm: settings.max_grad_norm,
        balancing: settings.balancing(),
        track: settings.track(),
    };
    let mut loss = 0.0;
    let stepped = trainer.step(&batches, &step_settings, |_, forward| {
        loss -= forward.logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>() / tokens as f64;
        Ok(vec![-1.0 / tokens as f32; forward.logprobs.len()])
    })?;
    Ok((loss, tokens as u64, stepped))
}

/// The mean loss of a token of what was set aside.
fn validate(policy: &Policy, settings: &SftSettings, examples: &[Example]) -> anyhow::Result<f64> {
    let shown: Vec<Sampled<'_>> = examples.iter().map(sampled).collect();
    let (mut sum, mut tokens) = (0.0, 0usize);
    for micro in pack(&shown, settings.micro_batch_tokens)? {
        let logprobs = policy.forward(&micro.batch, 1.0, Track::Nothing)?.logprobs;
        sum -= logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>();
        tokens += logprobs.len();
    }
    Ok(sum / tokens.max(1) as f64)
}

fn checkpoint(
    context: &RunContext<'_>,
    stage: &Stage,
    settings: &SftSettings,
    trainer: &Trainer,
    state: &State,
) -> anyhow::Result<()> {
    let writer = CheckpointWriter::begin(context.run.checkpoint(&stage.name, state.step))?;
    trainer.save(writer.path())?;
    std::fs::write(writer.path().join(STATE), serde_json::to_string_pretty(state)?)
        .with_context(|| format!("cannot write {STATE}"))?;
    writer.finish()?;
    let this = [context.run.checkpoint(&stage.name, state.step)];
    prune(context.run.checkpoints(&stage.name), settings.keep_checkpoints, &this)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_takes_every_demonstration_once_and_in_another_order() {
        let train: Vec<Example> = (0..7).map(|n| Example { prompt: vec![n], answer: vec![n] }).collect();
        let order = Order::new(train.len(), 3);
        let pass = |steps: std::ops::RangeInclusive<u64>| -> Vec<u32> {
            steps.flat_map(|step| batch(&train, &order, 3, step)).map(|example| example.prompt[0]).collect()
        };
        let (first, second) = (pass(1..=3), pass(4..=6));
        assert_eq!(batch(&train, &order, 3, 3).len(), 1);
        for order in [&first, &second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(first, second);
    }
}
