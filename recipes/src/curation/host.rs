//! What a job asks of its surroundings: rewards with their Python, a policy that attempts tasks, progress, Ctrl-C.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use datasets::Task;
use datasets::curate::{Difficulty, Host, NamedStep, StepOutcome};
use policy::{Place, Request, RolloutEngine, RolloutOptions, SamplingParams, Tokenizer};
use rewards::{RewardSet, RewardSpec};

use super::CurateOptions;
use crate::interrupt::Interrupt;
use crate::progress::{Phase, Reporter};
use crate::stage::load_policy;
use crate::wording::thousands;

/// Sequences decoded at once.
const DECODE_BATCH: usize = 256;

/// The surroundings of a job on this machine.
pub(super) struct JobHost {
    reporter: Reporter,
    interrupt: Interrupt,
    cache_dir: PathBuf,
    place: Place,
    phase: Mutex<Option<Phase>>,
    /// The policy that was loaded last, with the folder it lies in.
    policy: Mutex<Option<(PathBuf, Arc<Solver>)>>,
}

/// A policy ready to answer.
struct Solver {
    engine: RolloutEngine,
    tokenizer: Tokenizer,
}

impl JobHost {
    pub(super) fn new(options: &CurateOptions) -> JobHost {
        JobHost {
            reporter: options.reporter.clone(),
            interrupt: options.interrupt.clone(),
            cache_dir: options.cache_dir.clone(),
            place: options.place.clone(),
            phase: Mutex::new(None),
            policy: Mutex::new(None),
        }
    }

    fn set_phase(&self, phase: Option<Phase>) -> Option<Phase> {
        std::mem::replace(&mut *self.phase.lock().unwrap_or_else(PoisonError::into_inner), phase)
    }

    fn try_rewards(&self, programs: bool) -> anyhow::Result<RewardSet> {
        if !programs {
            return Ok(RewardSet::build(&[RewardSpec::named("accuracy")], None)?);
        }
        let steps = sandbox::PrepareStep::ALL.len() as u64;
        let phase = self.reporter.phase("Python sandbox", Some(steps), "steps");
        let python = sandbox::Python::prepare(&self.cache_dir, &mut |step| {
            phase.set_position(step.index() as u64);
            phase.set_message(&step.to_string());
        })
        .context("cannot prepare the Python sandbox")?;
        phase.finish("");
        Ok(RewardSet::build(&["accuracy", "binary_code"].map(RewardSpec::named), Some(Arc::new(python)))?)
    }

    fn solver(&self, step: &Difficulty) -> anyhow::Result<Arc<Solver>> {
        let folder = step.model.clone().context("the difficulty step names no model")?;
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, solver)) = &*policy
            && *known == folder
        {
            return Ok(Arc::clone(solver));
        }
        let context = || format!("cannot use the model in {}", folder.display());
        let engine = RolloutEngine::new(&load_policy(&folder, &self.place)?)?;
        let solver = Arc::new(Solver { engine, tokenizer: Tokenizer::from_dir(&folder).with_context(context)? });
        *policy = Some((folder, Arc::clone(&solver)));
        Ok(solver)
    }

    fn try_attempts(&self, step: &Difficulty, tasks: &[Task], seed: u64) -> anyhow::Result<Vec<Vec<String>>> {
        let solver = self.solver(step)?;
        let samples = u32::try_from(step.samples)?;
        // Each task is addressed by its id, so its attempts do not depend on which others are attempted with it.
        let mut texts = Vec::with_capacity(tasks.len());
        for task in tasks {
            let id = u64::from_str_radix(&task.id, 16).unwrap_or(0);
            let request = Request {
                task: (id & u64::from(u32::MAX)) as u32,
                prompt: solver.tokenizer.encode(&datasets::template::r1_zero(&task.prompt)),
                samples,
            };
            let params =
                SamplingParams { temperature: step.temperature, top_p: 1.0, top_k: 0, max_tokens: step.max_new_tokens };
            let options = RolloutOptions {
                seed,
                step: (id >> 32) as u32,
                end_of_text: solver.tokenizer.end_ids().to_vec(),
                batch: DECODE_BATCH,
            };
            let mut completions = Vec::with_capacity(step.samples);
            solver.engine.generate(&[request], &params, &options, |completion| {
                completions.push((completion.sample, solver.tokenizer.decode(&completion.token_ids)));
            })?;
            completions.sort_unstable();
            texts.push(completions.into_iter().map(|(_, text)| text).collect());
        }
        Ok(texts)
    }
}

impl Host for JobHost {
    fn rewards(&self, programs: bool) -> Result<Arc<RewardSet>, String> {
        self.try_rewards(programs).map(Arc::new).map_err(|error| format!("{error:#}"))
    }

    fn attempts(&self, step: &Difficulty, tasks: &[Task], seed: u64) -> Result<Vec<Vec<String>>, String> {
        self.try_attempts(step, tasks, seed).map_err(|error| format!("{error:#}"))
    }

    fn step_started(&self, place: usize, of: usize, step: &NamedStep, rows: u64) {
        let total = (rows > 0).then_some(rows);
        self.set_phase(Some(self.reporter.inner_phase(&format!("{place}/{of} {}", step.name), total, "rows")));
    }

    fn progress(&self, rows: u64) {
        if let Some(phase) = &*self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            phase.set_position(rows);
        }
    }

    fn note(&self, text: &str) {
        self.reporter.note(text);
    }

    fn step_finished(&self, outcome: &StepOutcome) {
        self.set_phase(None);
        let reused = if outcome.reused { " (done before)" } else { "" };
        self.reporter.note(&format!(
            "{}: {} -> {} rows in {:.2} s{reused}",
            outcome.name,
            thousands(outcome.tally.rows_in),
            thousands(outcome.tally.rows_out),
            outcome.seconds
        ));
    }

    fn stop_requested(&self) -> bool {
        self.interrupt.requested()
    }
}
