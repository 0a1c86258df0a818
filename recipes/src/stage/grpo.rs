//! Reinforcement learning: each step samples groups of completions, grades them while others are still being sampled,
//! and moves the policy towards those that did better than their group.
//!
//! A step's tasks, random numbers and learning rate are functions of the step's number, and a checkpoint holds all the
//! rest (weights, optimizer, reference), so that a resumed run is the same run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use datasets::Task;
use policy::checkpoint::{CheckpointWriter, latest_valid, prune, remove_partial};
use policy::grpo::{LossInput, LossOutput, MicroBatch, Sampled, advantages, loss, pack};
use policy::{Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};
use serde::{Deserialize, Serialize};

use super::bench::{Bench, Model, PromptEncoder};
use super::eval::{DECODE_BATCH, Examination, examine};
use super::grade::{Graded, GradedBatch, Grader};
use super::trainer::{Divergence, StepSettings, Stepped, Trainer};
use super::{Ended, flops};
use crate::RunContext;
use crate::config::{GrpoSettings, Stage};
use crate::metrics::{Extremes, Lengths, MetricRow, Spread, StepMetrics, mean};
use crate::run::{CompletionRecord, RewardPart, StageRecord};

const REFERENCE: &str = "reference";
const STATE: &str = "trainer.json";

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    step: u64,
    sampled_tokens: u64,
    trained_tokens: u64,
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
    state: State,
}

/// A group's prompt and what the update needs of its completions.
struct Example<'a> {
    prompt: &'a [u32],
    graded: &'a Graded,
    advantage: f64,
}

pub(super) fn run(
    context: &mut RunContext<'_>,
    bench: &mut Bench,
    stage: &Stage,
    settings: &GrpoSettings,
    from: &Path,
) -> anyhow::Result<Ended> {
    let mut learner = Learner::resume_or_begin(context, stage, settings, from)?;
    if learner.state.step >= settings.steps && context.run.is_done(&stage.name)? {
        return Ok(Ended::Done(context.run.checkpoint(&stage.name, learner.state.step)));
    }
    context.run.rewind(&stage.name, learner.state.step)?;
    let started = Instant::now();
    let earlier = learner.state.seconds;
    let phase = context.reporter.phase(&stage.name, Some(settings.steps), "steps");
    phase.set_position(learner.state.step);
    let mut divergence = Divergence::new();
    while learner.state.step < settings.steps {
        let step = learner.state.step + 1;
        let (metrics, stepped) = learner.step(context, bench, stage, step)?;
        context.reporter.step(&phase, &metrics, settings.steps);
        context.run.push_metrics(&MetricRow::Step(metrics))?;
        phase.inc(1);
        learner.state.step = step;
        learner.state.seconds = earlier + started.elapsed().as_secs_f64();
        let last = step == settings.steps;
        if settings.eval_every > 0 && step.is_multiple_of(settings.eval_every) && !last {
            learner.quick_evaluation(context, bench, stage, step)?;
        }
        for stepped in &stepped {
            if let Some(warning) = divergence.watch(step, stepped)? {
                context.reporter.note(&warning);
            }
        }
        let interrupted = context.interrupt.requested() && !last;
        let due = settings.checkpoint_every > 0 && step.is_multiple_of(settings.checkpoint_every);
        if due || last || interrupted {
            learner.checkpoint(context, stage)?;
        }
        if interrupted {
            return Ok(Ended::Interrupted(step));
        }
    }
    if settings.steps == 0 {
        learner.checkpoint(context, stage)?;
    }
    phase.finish("");
    let state = &learner.state;
    let active = learner.trainer.model.policy.config().parameters().1;
    context.run.finish_stage(StageRecord {
        name: stage.name.clone(),
        kind: stage.settings.kind().to_owned(),
        steps: settings.steps,
        sampled_tokens: state.sampled_tokens,
        trained_tokens: state.trained_tokens,
        seconds: state.seconds,
        flops: flops(active, state.sampled_tokens, state.trained_tokens),
        note: None,
    })?;
    Ok(Ended::Done(context.run.checkpoint(&stage.name, settings.steps)))
}

impl<'a> Learner<'a> {
    /// From the newest checkpoint that is whole, or else from the model in `from`.
    fn resume_or_begin(
        context: &RunContext<'_>,
        stage: &Stage,
        settings: &'a GrpoSettings,
        from: &Path,
    ) -> anyhow::Result<Learner<'a>> {
        let root = context.run.checkpoints(&stage.name);
        remove_partial(&root)?;
        let found = latest_valid(&root)?;
        for (path, reason) in &found.rejected {
            context.reporter.note(&format!("{} is damaged and not used: {reason}", path.display()));
        }
        if let Some(path) = found.path {
            let learner =
                Learner::load(&path, settings).with_context(|| format!("cannot resume {}", path.display()))?;
            context.reporter.note(&format!("{}: going on after step {}", stage.name, learner.state.step));
            return Ok(learner);
        }
        let trainer = Trainer::new(Model::load(from)?, settings.adamw())?;
        let reference = if settings.kl_coefficient > 0.0 { Some(trainer.model.policy.duplicate()?) } else { None };
        Ok(Learner { settings, trainer, reference, state: State::default() })
    }

    fn load(folder: &Path, settings: &'a GrpoSettings) -> anyhow::Result<Learner<'a>> {
        let trainer = Trainer::load(folder, settings.adamw())?;
        let text = std::fs::read_to_string(folder.join(STATE))?;
        let state = serde_json::from_str(&text).with_context(|| format!("{STATE} is damaged"))?;
        let reference = folder.join(REFERENCE);
        let reference = if reference.exists() { Some(Policy::load(&reference)?) } else { None };
        Ok(Learner { settings, trainer, reference, state })
    }

    fn checkpoint(&self, context: &RunContext<'_>, stage: &Stage) -> anyhow::Result<()> {
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
        let settings = self.settings;
        let prompts = settings.prompts_per_step as u64;
        let tasks: Vec<Task> = ((step - 1) * prompts..step * prompts).map(|p| bench.tasks.training(p)).collect();
        let (requests, batch) = self.sample(context, bench, &tasks, step)?;
        let groups: Vec<&[Graded]> = batch.graded.chunk_by(|a, b| a.completion.task == b.completion.task).collect();
        let mut examples: Vec<Example<'_>> = Vec::with_capacity(batch.graded.len());
        for (group, request) in groups.iter().zip(&requests) {
            let rewards: Vec<Option<f64>> = group.iter().map(|graded| graded.breakdown.total).collect();
            let advantages = advantages(&rewards, settings.scale());
            let each = group.iter().zip(advantages);
            examples.extend(each.map(|(graded, advantage)| Example { prompt: &request.prompt, graded, advantage }));
        }

        let mut metrics = describe(&tasks, &groups);
        (metrics.stage, metrics.step) = (stage.name.clone(), step);
        metrics.prompt_tokens = requests.iter().map(|request| request.prompt.len() as u64).sum();
        let update = Instant::now();
        let stepped = self.update(&examples, step, &mut metrics)?;
        let updated = update.elapsed().as_secs_f64();

        if settings.kl_coefficient > 0.0
            && settings.reference_every > 0
            && step.is_multiple_of(settings.reference_every)
        {
            self.reference = Some(self.trainer.model.policy.duplicate()?);
        }
        self.state.sampled_tokens += metrics.sampled_tokens;
        self.state.trained_tokens += metrics.trained_tokens;
        metrics.time.add("sampling", batch.sampling.as_secs_f64(), metrics.sampled_tokens);
        metrics.time.add("waiting for grades", batch.waiting.as_secs_f64(), 0);
        metrics.time.add("grading threads", batch.grading.as_secs_f64(), 0);
        metrics.time.add("update", updated, metrics.trained_tokens);

        let records: Vec<CompletionRecord> = examples
            .iter()
            .map(|example| {
                completion_record(
                    example.graded,
                    &tasks[example.graded.completion.task as usize],
                    Some(example.advantage),
                )
            })
            .collect();
        context.run.write_completions(&stage.name, step, &records)?;
        metrics.time.seconds = start.elapsed().as_secs_f64();
        Ok((metrics, stepped))
    }

    fn sample(
        &self,
        context: &RunContext<'_>,
        bench: &Bench,
        tasks: &[Task],
        step: u64,
    ) -> anyhow::Result<(Vec<Request>, GradedBatch)> {
        let model = &self.trainer.model;
        let encoder = PromptEncoder::new(&model.tokenizer);
        let samples = self.settings.group_size as u32;
        let requests: Vec<Request> = tasks
            .iter()
            .enumerate()
            .map(|(index, task)| Request { task: index as u32, prompt: encoder.encode(&task.prompt), samples })
            .collect();
        let phase = context.reporter.inner_phase("sampling", Some((tasks.len() * samples as usize) as u64), "answers");
        let engine = RolloutEngine::new(&model.policy)?;
        let options = RolloutOptions {
            seed: context.recipe.seed,
            step: step as u32,
            end_of_text: model.tokenizer.end_ids().to_vec(),
            batch: DECODE_BATCH,
        };
        let grader = Grader {
            rewards: &bench.rewards,
            tokenizer: &model.tokenizer,
            tasks,
            votes: false,
            threads: context.threads,
        };
        let batch = grader.while_sampling(|finish| {
            engine.generate(&requests, &self.settings.sampling(), &options, |completion| {
                phase.inc(1);
                finish(completion);
            })
        })?;
        Ok((requests, batch))
    }

    /// The optimizer steps of one step: `epochs` passes in `mini_batches` parts.
    fn update(
        &mut self,
        examples: &[Example<'_>],
        step: u64,
        metrics: &mut StepMetrics,
    ) -> anyhow::Result<Vec<Stepped>> {
        let settings = self.settings;
        let mut stepped = Vec::new();
        let mut total = LossOutput::default();
        let mut entropy = (0.0, 0usize);
        let part = examples.len().div_ceil(settings.mini_batches);
        for pass in 0..settings.epochs {
            for (index, part) in examples.chunks(part).enumerate() {
                // Without a penalty, a completion that did as well as its group teaches nothing: it need not be computed.
                let useful: Vec<&Example<'_>> =
                    part.iter().filter(|example| example.advantage != 0.0 || self.reference.is_some()).collect();
                if useful.is_empty() {
                    continue;
                }
                let first = pass == 0 && index == 0;
                let completions = part.len();
                let tokens: usize = part.iter().map(|example| example.graded.completion.token_ids.len()).sum();
                let sampled: Vec<Sampled<'_>> =
                    useful.iter().map(|example| Sampled::of(example.prompt, &example.graded.completion)).collect();
                let batches = pack(&sampled, settings.micro_batch_tokens)?;
                let reference = &self.reference;
                let loss_settings = settings.loss_settings();
                let temperature = settings.sampling().logprob_temperature();
                let step_settings = StepSettings {
                    temperature,
                    learning_rate: settings.lr_schedule().lr(step - 1),
                    max_grad_norm: settings.max_grad_norm,
                    balancing: settings.balancing(),
                    track: settings.track(),
                };
                let one = self.trainer.step(&batches, &step_settings, |micro, forward| {
                    let new = &forward.logprobs;
                    let reference =
                        reference.as_ref().map(|r| reference_logprobs(r, micro, temperature)).transpose()?;
                    let mut at = 0;
                    let mut inputs = Vec::with_capacity(micro.completions.len());
                    for index in &micro.completions {
                        let example = useful[*index];
                        let range = at..at + example.graded.completion.token_ids.len();
                        at = range.end;
                        inputs.push(LossInput {
                            new: &new[range.clone()],
                            old: &example.graded.completion.logprobs,
                            reference: reference.as_ref().map(|logprobs| &logprobs[range]),
                            advantage: example.advantage,
                        });
                    }
                    if first {
                        let differences = inputs.iter().flat_map(|input| input.new.iter().zip(input.old));
                        let largest = differences.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                        metrics.logprob_difference_max = metrics.logprob_difference_max.max(largest);
                        entropy.0 += forward.entropy.iter().map(|e| f64::from(*e)).sum::<f64>();
                        entropy.1 += forward.entropy.len();
                    }
                    let out = loss(&inputs, &loss_settings, completions, tokens);
                    let gradient = out.gradient.clone();
                    total.merge(LossOutput { gradient: Vec::new(), ..out });
                    Ok(gradient)
                })?;
                metrics.trained_tokens += one.rows;
                stepped.push(one);
            }
        }
        let steps = stepped.len().max(1) as f64;
        metrics.loss = total.loss / steps;
        metrics.kl = self.reference.as_ref().map(|_| total.kl / total.tokens.max(1) as f64);
        metrics.clip_fraction = total.clipped as f64 / total.tokens.max(1) as f64;
        metrics.ratio = Extremes { min: total.ratio_min, max: total.ratio_max };
        metrics.entropy = entropy.0 / entropy.1.max(1) as f64;
        metrics.gradient_norm = stepped.iter().map(|one| one.gradient_norm).sum::<f64>() / steps;
        metrics.max_vio = stepped.iter().map(|one| one.max_vio).fold(0.0, f64::max);
        metrics.learning_rate = settings.lr_schedule().lr(step - 1);
        Ok(stepped)
    }

    /// A look at held-out tasks during training; the best checkpoint so far is kept by it.
    fn quick_evaluation(
        &mut self,
        context: &mut RunContext<'_>,
        bench: &Bench,
        stage: &Stage,
        step: u64,
    ) -> anyhow::Result<()> {
        let examination = Examination {
            tasks: self.settings.eval_tasks,
            samples: 1,
            sampling: SamplingParams {
                max_tokens: context.recipe.eval_max_new_tokens(),
                ..context.recipe.eval_sampling()
            },
            greedy: false,
        };
        let mut metrics = examine(context, bench, &self.trainer.model, &examination, &stage.name)?.metrics;
        (metrics.stage, metrics.step, metrics.quick) = (stage.name.clone(), step, true);
        let score = metrics.sampled().mean;
        context.run.push_metrics(&MetricRow::Eval(metrics))?;
        if self.state.best.is_none_or(|(best, _)| score > best) {
            self.state.best = Some((score, step));
            self.checkpoint(context, stage)?;
        }
        Ok(())
    }
}

fn reference_logprobs(reference: &Policy, micro: &MicroBatch, temperature: f64) -> anyhow::Result<Vec<f32>> {
    Ok(reference.forward(&micro.batch.without_choices(), temperature, Track::Nothing)?.logprobs)
}

/// The figures that follow from completions and scores alone.
fn describe(tasks: &[Task], groups: &[&[Graded]]) -> StepMetrics {
    let mut metrics = StepMetrics::default();
    let mut totals = Vec::new();
    let mut parts = BTreeMap::<String, Vec<f64>>::new();
    let mut right_by_family = BTreeMap::<String, Vec<f64>>::new();
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    let mut lengths = Vec::new();
    let (mut flat, mut truncated) = (0, 0);
    for group in groups {
        let scored: Vec<f64> = group.iter().filter_map(|graded| graded.breakdown.total).collect();
        flat += usize::from(scored.windows(2).all(|pair| pair[0] == pair[1]));
        for graded in *group {
            let length = graded.completion.token_ids.len();
            lengths.push(length as f64);
            metrics.length.max = metrics.length.max.max(length as u64);
            metrics.sampled_tokens += length as u64;
            truncated += usize::from(graded.truncated());
            metrics.unscorable += u64::from(graded.breakdown.total.is_none());
            for component in &graded.breakdown.components {
                if let Some(value) = component.score.value {
                    parts.entry(component.name.clone()).or_default().push(value);
                }
            }
            if let Some(is_right) = graded.right() {
                if is_right {
                    right.push(length as f64)
                } else {
                    wrong.push(length as f64)
                }
                let family = &tasks[graded.completion.task as usize].source;
                right_by_family.entry(family.clone()).or_default().push(f64::from(u8::from(is_right)));
            }
        }
        totals.extend(scored);
    }
    let means = |values: BTreeMap<String, Vec<f64>>| values.into_iter().map(|(name, v)| (name, mean(&v))).collect();
    let mean_of_some = |values: &[f64]| (!values.is_empty()).then(|| mean(values));
    metrics.reward = Spread::of(&totals);
    metrics.reward_parts = means(parts);
    metrics.accuracy = means(right_by_family);
    metrics.length = Lengths {
        mean: mean(&lengths),
        max: metrics.length.max,
        right_mean: mean_of_some(&right),
        wrong_mean: mean_of_some(&wrong),
    };
    metrics.truncated_share = truncated as f64 / lengths.len().max(1) as f64;
    metrics.flat_groups_share = flat as f64 / groups.len().max(1) as f64;
    metrics
}

/// A completion as people read it.
pub(super) fn completion_record(graded: &Graded, task: &Task, advantage: Option<f64>) -> CompletionRecord {
    let part = |component: &rewards::Component| RewardPart {
        name: component.name.clone(),
        score: component.score.value,
        cause: component.score.cause.clone(),
    };
    CompletionRecord {
        task: task.id.clone(),
        source: task.source.clone(),
        prompt: task.prompt.clone(),
        completion: graded.text.clone(),
        reward: graded.breakdown.total,
        parts: graded.breakdown.components.iter().map(part).collect(),
        advantage,
        tokens: graded.completion.token_ids.len() as u64,
        truncated: graded.truncated(),
    }
}
