//! Reinforcement learning: each step samples groups of completions, grades them while others are still being sampled,
//! and moves the policy towards those that did better than their group.
//!
//! `rollout` samples, `update` learns, `figures` counts what people look at. A step's random numbers and learning rate are
//! functions of the step's number, and a checkpoint holds all the rest (weights, optimizer, reference, how many tasks
//! were used), so that a resumed run is the same run.

mod figures;
mod rollout;
mod update;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use policy::checkpoint::{CheckpointWriter, prune, verify};
use policy::{Policy, SamplingParams};
use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::draws::Draws;
use super::eval::{Examination, Examined, examine};
use super::passes::Passes;
use super::trainer::{Divergence, Stepped, Trainer, Training};
use super::{Ended, RunContext, start};
use crate::alarms::Alarms;
use crate::config::{GrpoSettings, HandOn, ReferenceKind, Stage};
use crate::metrics::{MetricRow, StepMetrics, is_more};
use crate::model::read_policy;
use crate::run::{CompletionRecord, StageRecord, Unusable};
use crate::wording::counted;

const REFERENCE: &str = "reference";
const STATE: &str = "trainer.json";

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    step: u64,
    /// Tasks that dynamic sampling used beyond those of the steps themselves: they move on where the next step begins.
    #[serde(default)]
    refilled: u64,
    sampled_tokens: u64,
    trained_tokens: u64,
    #[serde(default)]
    passes: Passes,
    seconds: f64,
    /// The quick evaluation's best pass@1 so far, and the checkpoint that has it.
    best: Option<(f64, u64)>,
}

/// A grpo stage under way.
struct Learner<'a> {
    settings: &'a GrpoSettings,
    trainer: Trainer,
    /// None where there is no KL penalty.
    reference: Option<Policy>,
    draws: Draws,
    state: State,
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    bench: &Bench,
    draws: Draws,
    stage: &Stage,
    settings: &GrpoSettings,
    from: &Path,
) -> anyhow::Result<Ended> {
    let mut learner = Learner::resume_or_begin(context, draws, stage, settings, from)?;
    if learner.state.step == 0 && settings.reference_moves_too_late() {
        context.reporter.note(&format!(
            "{}: the reference stays as it is: it moves every {} steps, and there are only {} (reference_every)",
            stage.name, settings.reference_every, settings.steps
        ));
    }
    if learner.state.step >= settings.steps && context.run.is_done(&stage.name)? {
        return Ok(Ended::Done(learner.handed_on(context, stage)?));
    }
    context.run.rewind(&stage.name, learner.state.step)?;
    let started = Instant::now();
    let earlier = learner.state.seconds;
    let phase = context.reporter.phase(&stage.name, Some(settings.steps), "steps");
    phase.set_position(learner.state.step);
    let mut divergence = Divergence::new();
    let mut alarms = Alarms::default();
    for earlier in context.run.steps()?.iter().filter(|earlier| earlier.stage == stage.name) {
        // Said already.
        let _ = alarms.watch(earlier);
    }
    while learner.state.step < settings.steps {
        let step = learner.state.step + 1;
        let (mut metrics, stepped) = learner.step(context, bench, stage, step)?;
        metrics.alarms = alarms.watch(&metrics);
        context.reporter.step(&phase, &metrics, settings.steps);
        for alarm in &metrics.alarms {
            context.reporter.note(&format!("{} {step}: {alarm}", stage.name));
        }
        context.run.push_metrics(&MetricRow::Step(metrics))?;
        phase.inc(1);
        learner.state.step = step;
        learner.state.seconds = earlier + started.elapsed().as_secs_f64();
        let last = step == settings.steps;
        let examined = settings.eval_every > 0 && (step.is_multiple_of(settings.eval_every) || last);
        let is_best = examined && learner.quick_evaluation(context, bench, stage, step)?;
        for stepped in &stepped {
            if let Some(warning) = divergence.watch(step, stepped)? {
                context.reporter.note(&warning);
            }
        }
        let interrupted = context.interrupt.requested() && !last;
        let due = settings.checkpoint_every > 0 && step.is_multiple_of(settings.checkpoint_every);
        if due || last || interrupted || is_best {
            learner.checkpoint(context, stage)?;
        }
        if interrupted {
            return Ok(Ended::Interrupted(learner.record(stage)));
        }
    }
    if settings.steps == 0 {
        learner.checkpoint(context, stage)?;
    }
    phase.finish("");
    context.run.finish_stage(learner.record(stage))?;
    Ok(Ended::Done(learner.handed_on(context, stage)?))
}

impl<'a> Learner<'a> {
    /// What has been done up to the step at hand.
    fn record(&self, stage: &Stage) -> StageRecord {
        let state = &self.state;
        StageRecord {
            steps: state.step,
            sampled_tokens: state.sampled_tokens,
            trained_tokens: state.trained_tokens,
            seconds: state.seconds,
            flops: state.passes.flops(self.trainer.model.policy.config().parameters().1),
            ..StageRecord::of(stage)
        }
    }

    /// From the newest checkpoint that is whole, or else from the model in `from`.
    fn resume_or_begin(
        context: &RunContext<'_>,
        draws: Draws,
        stage: &Stage,
        settings: &'a GrpoSettings,
        from: &Path,
    ) -> anyhow::Result<Learner<'a>> {
        let training = Training::of(stage, settings.adamw(), settings.moments_on_host, context.recipe.seed);
        if let Some(path) = start::newest_checkpoint(context, stage)? {
            let learner = Learner::load(context, &path, settings, &training, from, draws)
                .with_context(|| format!("cannot resume {}", path.display()))?;
            if learner.state.step < settings.steps {
                context.reporter.note(&format!("{}: going on after step {}", stage.name, learner.state.step));
            }
            let lost = context.run.lost_completions(&stage.name, learner.state.step);
            if lost > 0 {
                let steps = counted(lost, "step", "steps");
                context.reporter.note(&format!("{}: the completions of {steps} are gone, and stay so", stage.name));
            }
            return Ok(learner);
        }
        let trainer = Trainer::new(start::load(context, from)?, &training)?;
        let compared = settings.reference_kind() != ReferenceKind::None;
        let reference = if compared { Some(trainer.model.policy.duplicate()?) } else { None };
        Ok(Learner { settings, trainer, reference, draws, state: State::default() })
    }

    fn load(
        context: &RunContext<'_>,
        folder: &Path,
        settings: &'a GrpoSettings,
        training: &Training,
        from: &Path,
        draws: Draws,
    ) -> anyhow::Result<Learner<'a>> {
        let place = &context.place;
        let trainer = Trainer::load(folder, training, place, || start::load(context, from))?;
        let text = std::fs::read_to_string(folder.join(STATE))?;
        let state = serde_json::from_str(&text).with_context(|| format!("{STATE} is damaged"))?;
        let reference = folder.join(REFERENCE);
        let reference = if reference.exists() { Some(read_policy(&reference, place)?) } else { None };
        Ok(Learner { settings, trainer, reference, draws, state })
    }

    /// The checkpoint that the stage hands on once it is done.
    fn handed_on(&self, context: &RunContext<'_>, stage: &Stage) -> anyhow::Result<PathBuf> {
        let last = context.run.checkpoint(&stage.name, self.state.step);
        let (HandOn::Best, Some((_, best))) = (self.settings.hand_on, self.state.best) else { return Ok(last) };
        let folder = context.run.checkpoint(&stage.name, best);
        if let Err(error) = verify(&folder) {
            let what = format!(
                "the best checkpoint of stage `{}`, which later stages begin with, cannot be used: {error}",
                stage.name
            );
            return Err(Unusable::put_back(what, "put it back").into());
        }
        Ok(folder)
    }

    fn checkpoint(&self, context: &RunContext<'_>, stage: &Stage) -> anyhow::Result<()> {
        context.run.sync_metrics()?;
        let writer = CheckpointWriter::begin(context.run.checkpoint(&stage.name, self.state.step))?;
        self.trainer.save(writer.path())?;
        std::fs::write(writer.path().join(STATE), serde_json::to_string_pretty(&self.state)?)
            .with_context(|| format!("cannot write {STATE}"))?;
        if let Some(reference) = &self.reference {
            let folder = writer.path().join(REFERENCE);
            std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            reference.save(&folder)?;
        }
        writer.finish()?;
        // The best; and this one, which a damaged one of a later step must not push out.
        let best = self.state.best.map(|(_, step)| step);
        let protected: Vec<PathBuf> =
            best.into_iter().chain([self.state.step]).map(|step| context.run.checkpoint(&stage.name, step)).collect();
        prune(context.run.checkpoints(&stage.name), self.settings.keep_checkpoints, &protected)?;
        Ok(())
    }

    /// Samples, grades and updates once.
    fn step(
        &mut self,
        context: &RunContext<'_>,
        bench: &Bench,
        stage: &Stage,
        step: u64,
    ) -> anyhow::Result<(StepMetrics, Vec<Stepped>)> {
        let start = Instant::now();
        let prompts = self.settings.prompts_per_step as u64;
        let first = self.draws.first + (step - 1) * prompts + self.state.refilled;
        let rollout = self.sample(context, bench, step, first)?;
        let mut metrics = figures::describe(&rollout);
        (metrics.stage, metrics.step) = (stage.name.clone(), step);
        let update = Instant::now();
        let (stepped, advantages) = self.update(context.recipe.seed, &rollout, step, &mut metrics)?;
        let updated = update.elapsed().as_secs_f64();

        self.move_reference(step)?;
        self.state.refilled += rollout.tasks.len() as u64 - prompts;
        self.state.passes += Passes::forward(metrics.prompt_tokens + metrics.sampled_tokens);
        self.state.sampled_tokens += metrics.sampled_tokens;
        self.state.trained_tokens += metrics.trained_tokens;
        metrics.time.add("sampling", rollout.sampling.as_secs_f64(), metrics.sampled_tokens);
        metrics.time.add("waiting for grades", rollout.waiting.as_secs_f64(), 0);
        metrics.time.add("grading threads", rollout.grading.as_secs_f64(), 0);
        metrics.time.add("update", updated, metrics.trained_tokens);

        let records: Vec<CompletionRecord> = rollout
            .graded
            .iter()
            .zip(advantages)
            .map(|(graded, advantage)| graded.record(&rollout.tasks[graded.completion.task as usize], Some(advantage)))
            .collect();
        context.run.write_completions(&stage.name, step, &records)?;
        context.run.write_printed(&stage.name, step, &rollout.printed)?;
        metrics.time.seconds = start.elapsed().as_secs_f64();
        Ok((metrics, stepped))
    }

    /// Where this step is one at which the reference moves, moves it.
    fn move_reference(&mut self, step: u64) -> anyhow::Result<()> {
        let settings = self.settings;
        let due = settings.reference_every > 0 && step.is_multiple_of(settings.reference_every);
        let policy = &self.trainer.model.policy;
        match (settings.reference_kind(), &mut self.reference) {
            (ReferenceKind::Replaced, Some(reference)) if due => *reference = policy.duplicate()?,
            (ReferenceKind::MovingAverage, Some(reference)) if due => {
                reference.move_towards(policy, settings.reference_rate)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A look at held-out tasks during training; the best checkpoint so far is kept by it.
    fn quick_evaluation(
        &mut self,
        context: &mut RunContext<'_>,
        bench: &Bench,
        stage: &Stage,
        step: u64,
    ) -> anyhow::Result<bool> {
        let examination = Examination {
            tasks: self.settings.eval_tasks,
            // What chooses the best checkpoint is not what says how good it is.
            skipped: context.recipe.examined_tasks(),
            samples: 1,
            sampling: SamplingParams {
                max_tokens: context.recipe.eval_max_new_tokens(),
                ..context.recipe.eval_sampling()
            },
            greedy: false,
            // It belongs to the step.
            can_stop: false,
        };
        let examined = examine(context, bench, &self.trainer.model, &examination, &stage.name)?;
        let Some(Examined { mut metrics, passes, .. }) = examined else { return Ok(false) };
        self.state.passes += passes;
        (metrics.stage, metrics.step, metrics.quick) = (stage.name.clone(), step, true);
        let score = metrics.sampled().mean;
        context.run.push_metrics(&MetricRow::Eval(metrics))?;
        let is_best = self.state.best.is_none_or(|(best, _)| is_more(score, best));
        if is_best {
            self.state.best = Some((score, step));
        }
        Ok(is_best)
    }
}
