//! What a job asks of its surroundings: rewards with their Python, a policy that attempts tasks, progress, Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use datasets::curate::{Difficulty, Host, NamedStep, StepOutcome};
use datasets::{DatasetError, Task};
use policy::Place;
use rewards::RewardSet;
use sandbox::Limits;

use super::CurateOptions;
use super::solver::Solver;
use crate::evaluation::Subject;
use crate::interrupt::Interrupt;
use crate::progress::{Phase, Reporter};
use crate::stage::{DECODE_BATCH, prepare_python, verdict};
use crate::wording::thousands;

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

    /// What says whether an attempt is right. Python is prepared only where there is a program to run.
    fn try_rewards(&self, programs: bool) -> anyhow::Result<RewardSet> {
        let prepare = || prepare_python(&self.reporter, &self.interrupt, &self.cache_dir).map(Arc::new);
        verdict(programs.then(prepare).transpose()?, Limits::default())
    }

    fn solver(&self, step: &Difficulty) -> anyhow::Result<Arc<Solver>> {
        let folder = model_of(step)?;
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, solver)) = &*policy
            && known == folder
        {
            return Ok(Arc::clone(solver));
        }
        // One policy at a time: two may be more than there is memory for.
        *policy = None;
        let solver = Arc::new(Solver::load(folder, &self.place)?);
        *policy = Some((folder.to_owned(), Arc::clone(&solver)));
        Ok(solver)
    }
}

/// The model folder that a step names.
fn model_of(step: &Difficulty) -> anyhow::Result<&Path> {
    step.model.as_deref().context("the difficulty step names no model")
}

impl Host for JobHost {
    fn rewards(&self, programs: bool) -> Result<Arc<RewardSet>, DatasetError> {
        self.try_rewards(programs).map(Arc::new).map_err(DatasetError::host)
    }

    fn policy(&self, step: &Difficulty) -> Result<String, DatasetError> {
        model_of(step).and_then(Subject::find).map(|subject| subject.fingerprint).map_err(DatasetError::host)
    }

    fn check_attempts(&self, step: &Difficulty, tasks: &[Task]) -> Result<(), DatasetError> {
        self.solver(step).and_then(|solver| solver.prompts(step, tasks)).map(|_| ()).map_err(DatasetError::host)
    }

    fn attempts(
        &self,
        step: &Difficulty,
        tasks: &[Task],
        seed: u64,
        take: &mut dyn FnMut(usize, usize, String),
    ) -> Result<(), DatasetError> {
        let attempted = self.solver(step).and_then(|solver| solver.attempt(step, tasks, seed, DECODE_BATCH, take));
        attempted.map_err(DatasetError::host)
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
