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
use policy::checkpoint::{CheckpointWriter, prune};
use policy::grpo::{Sampled, pack};
use policy::{ModelConfig, Policy, Tokenizer, Track};
use serde::{Deserialize, Serialize};

use super::RunContext;
use super::demonstrations::{Example, Examples};
use super::passes::Passes;
use super::trainer::{Divergence, StepSettings, Trainer, Training};
use super::{Ended, start};
use crate::config::{DataSource, ModelSettings, Recipe, SftSettings, Stage};
use crate::metrics::{MetricRow, SftMetrics, Times};
use crate::model::Model;
use crate::run::StageRecord;
use crate::wording::counted;

const STATE: &str = "trainer.json";

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    step: u64,
    trained_tokens: u64,
    #[serde(default)]
    passes: Passes,
    seconds: f64,
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    stage: &Stage,
    settings: &SftSettings,
    from: &Path,
    files: &[PathBuf],
) -> anyhow::Result<Ended> {
    let (mut trainer, mut state) = resume_or_begin(context, stage, settings, from)?;
    if state.step > 0 {
        if context.run.stages_done()?.iter().any(|done| done.name == stage.name && done.steps == state.step) {
            return Ok(Ended::Done(context.run.checkpoint(&stage.name, state.step)));
        }
        context.reporter.note(&format!("{}: going on after step {}", stage.name, state.step));
    }
    let positions = trainer.model.policy.config().max_position_embeddings;
    let examples = Examples::read(context, settings, &trainer.model.tokenizer, positions, files)?;
    context.run.rewind(&stage.name, state.step)?;
    if let Some(warning) = few(context.recipe, stage, settings, examples.train.len()) {
        context.reporter.note(&warning);
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
    let record = |state: &State, active: usize| StageRecord {
        steps: state.step,
        trained_tokens: state.trained_tokens,
        seconds: state.seconds,
        flops: state.passes.flops(active),
        ..StageRecord::of(stage)
    };
    let active = trainer.model.policy.config().parameters().1;
    while state.step < steps {
        let start = Instant::now();
        let step = state.step + 1;
        let batch = batch(&examples.train, &order, settings.batch_size, step);
        let learning_rate = schedule.lr(step - 1);
        let (loss, tokens, stepped) = learn(&mut trainer, settings, &batch, learning_rate)?;
        let per_pass = examples.train.len().div_ceil(settings.batch_size) as u64;
        let measured = step.is_multiple_of(per_pass) || step == steps;
        let validated = (measured && !examples.validation.is_empty())
            .then(|| validate(&trainer.model.policy, settings, &examples.validation))
            .transpose()?;
        let validation_loss = validated.map(|(loss, _)| loss);
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
        state.passes += stepped.passes;
        state.passes += Passes::forward(validated.map_or(0, |(_, rows)| rows));
        state.seconds = earlier + started.elapsed().as_secs_f64();
        let last = step == steps;
        let interrupted = context.interrupt.requested() && !last;
        let due = settings.checkpoint_every > 0 && step.is_multiple_of(settings.checkpoint_every);
        if due || last || interrupted {
            checkpoint(context, stage, settings, &trainer, &state)?;
        }
        if interrupted {
            return Ok(Ended::Interrupted(record(&state, active)));
        }
    }
    let aside = examples.validation.len();
    phase.finish(&format!(
        "loss {last_loss:.3}{}; {} demonstrations, {aside} more for validation",
        if aside > 0 { " in validation" } else { "" },
        examples.train.len()
    ));
    context.run.finish_stage(record(&state, active))?;
    Ok(Ended::Done(context.run.checkpoint(&stage.name, steps)))
}

/// From the newest checkpoint that is whole, or else from the model that the stage begins with.
fn resume_or_begin(
    context: &RunContext<'_>,
    stage: &Stage,
    settings: &SftSettings,
    from: &Path,
) -> anyhow::Result<(Trainer, State)> {
    let training = Training::of(stage, settings.adamw(), settings.moments_on_host, context.recipe.seed);
    let Some(path) = start::newest_checkpoint(context, stage)? else {
        return Ok((Trainer::new(begin(context, stage, from)?, &training)?, State::default()));
    };
    let read = || {
        let trainer = Trainer::load(&path, &training, &context.place, || begin(context, stage, from))?;
        let text = std::fs::read_to_string(path.join(STATE))?;
        anyhow::Ok((trainer, serde_json::from_str(&text).with_context(|| format!("{STATE} is damaged"))?))
    };
    read().with_context(|| format!("cannot resume {}", path.display()))
}

/// The model that the stage begins with: that of another stage, a folder's, or a new one with the tokenizer in `from`.
fn begin(context: &RunContext<'_>, stage: &Stage, from: &Path) -> anyhow::Result<Model> {
    match &stage.model {
        None => start::load(context, from),
        Some(ModelSettings::Folder { path }) => start::load(context, path),
        Some(shape) => {
            context.run.check_model(from)?;
            let tokenizer = Tokenizer::from_dir(from)?;
            let config = shape.hf_config(tokenizer.vocab_size()).unwrap_or_default();
            let policy = Policy::new(ModelConfig::from_json(&config.to_string())?, context.recipe.seed)?;
            Model::new(policy, tokenizer, &context.place)
        }
    }
}

/// Of so many tasks that an earlier stage was to answer, fewer than one is learnt from: it kept next to nothing.
const TASKS_FOR_EACH: usize = 20;

/// What is to be said where there are so few demonstrations that they may be learnt by heart.
fn few(recipe: &Recipe, stage: &Stage, settings: &SftSettings, found: usize) -> Option<String> {
    let of_stage = |source: &DataSource| match source {
        DataSource::Stage(name) => {
            let maker = recipe.stages.iter().find(|stage| stage.name == *name)?;
            Some(maker.settings.sampling()?.settings.tasks)
        }
        DataSource::File(_) => None,
    };
    let asked: usize = stage.data.iter().filter_map(of_stage).sum();
    let scarce = found.saturating_mul(TASKS_FOR_EACH) < asked;
    let why = match (found < settings.batch_size, scarce) {
        (_, true) => format!("of {}", counted(asked, "task that was answered", "tasks that were answered")),
        (true, false) => format!("fewer than batch_size = {}", settings.batch_size),
        (false, false) => return None,
    };
    Some(format!(
        "{}: only {}, {why}: shown {}, they are learnt by heart rather than learnt from",
        stage.name,
        counted(found, "demonstration", "demonstrations"),
        counted(settings.epochs as usize, "time", "times")
    ))
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
    let tokens: usize = batch.iter().map(|example| example.answer.len()).sum();
    let step_settings = StepSettings {
        temperature: 1.0,
        learning_rate,
        max_grad_norm: settings.max_grad_norm,
        balancing: settings.balancing(),
        track: settings.track(),
    };
    let (loss, stepped) = trainer.imitate(&shown, settings.micro_batch_tokens, &step_settings)?;
    Ok((loss, tokens as u64, stepped))
}

/// The mean loss of a token of what was set aside, and the rows that it took.
fn validate(policy: &Policy, settings: &SftSettings, examples: &[Example]) -> anyhow::Result<(f64, u64)> {
    let shown: Vec<Sampled<'_>> = examples.iter().map(sampled).collect();
    let (mut sum, mut tokens, mut rows) = (0.0, 0usize, 0);
    for micro in pack(&shown, settings.micro_batch_tokens)? {
        let logprobs = policy.forward(&micro.batch, 1.0, Track::Nothing)?.logprobs;
        sum -= logprobs.iter().map(|logprob| f64::from(*logprob)).sum::<f64>();
        tokens += logprobs.len();
        rows += micro.batch.token_ids.len() as u64;
    }
    Ok((sum / tokens.max(1) as f64, rows))
}

fn checkpoint(
    context: &RunContext<'_>,
    stage: &Stage,
    settings: &SftSettings,
    trainer: &Trainer,
    state: &State,
) -> anyhow::Result<()> {
    context.run.sync_metrics()?;
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
    use crate::config::find_shipped;

    #[test]
    fn few_demonstrations_are_said_and_why() {
        #[track_caller]
        fn check(setting: &str, found: usize, expected: Option<&str>) {
            let recipe = find_shipped("r1").unwrap().recipe(&[setting.to_owned()]).unwrap();
            let stage = recipe.stages.iter().find(|stage| stage.name == "cold-start").unwrap();
            let said = few(&recipe, stage, stage.settings.training().unwrap(), found);
            assert_eq!(said.as_deref(), expected);
        }
        // 2000 tasks, batches of 32, two passes.
        check("seed=0", 100, None);
        let of_tasks = "cold-start: only 99 demonstrations, of 2,000 tasks that were answered: shown 2 times, they are learnt \
                        by heart rather than learnt from";
        check("seed=0", 99, Some(of_tasks));
        let of_batch = "cold-start: only 1 demonstration, fewer than batch_size = 32: shown 2 times, they are learnt by heart \
                        rather than learnt from";
        check("cold-data.tasks=20", 1, Some(of_batch));
    }

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
