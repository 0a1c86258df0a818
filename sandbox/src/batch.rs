//! Many programs over all cores, in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::error::SandboxError;
use crate::limits::Limits;
use crate::outcome::Outcome;
use crate::python::Python;

/// One program of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The program's text.
    pub program: &'a str,
    /// What it reads as standard input.
    pub stdin: &'a str,
    /// What it may use.
    pub limits: Limits,
}

impl Python {
    /// Runs every job in an instance of its own, as many at once as there are cores. The outcomes stand in the order of
    /// the jobs. `progress` is told the number of programs that have ended, from any thread, each number once.
    ///
    /// # Errors
    ///
    /// The host's own failures, which end the batch; limits that make no sense, before anything runs.
    pub fn run_batch(&self, jobs: &[Job<'_>], progress: &(dyn Fn(usize) + Sync)) -> Result<Vec<Outcome>, SandboxError> {
        jobs.iter().try_for_each(|job| job.limits.check())?;
        let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<Vec<(usize, Outcome)>, SandboxError> {
            let mut outcomes = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(index) else { break };
                let outcome = self
                    .run(job.program, job.stdin, &job.limits)
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                outcomes.push((index, outcome));
                progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            }
            Ok(outcomes)
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
        let mut outcomes = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut outcomes = Vec::with_capacity(jobs.len());
            for worker in workers {
                let panicked =
                    |_| SandboxError::Run { operation: "running a batch", reason: "a thread panicked".to_owned() };
                outcomes.extend(worker.join().map_err(panicked)??);
            }
            Ok::<_, SandboxError>(outcomes)
        })?;
        outcomes.sort_unstable_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }
}
