//! What the stages are given, and what they hand back.

use std::path::PathBuf;

use policy::Place;

use crate::config::Recipe;
use crate::interrupt::Interrupt;
use crate::progress::Reporter;
use crate::run::{RunDir, StageRecord};

/// What the stages work with.
#[derive(Debug)]
pub struct RunContext<'a> {
    /// What to do.
    pub recipe: &'a Recipe,
    /// Where to keep it.
    pub run: RunDir,
    /// Where to say how it goes.
    pub reporter: Reporter,
    /// Whether to stop after the step at hand.
    pub interrupt: Interrupt,
    /// Where bases and the prepared Python are kept from run to run.
    pub cache_dir: PathBuf,
    /// Threads to work with.
    pub threads: usize,
    /// Where the policies live.
    pub place: Place,
    /// Whether the run goes on with what is in the folder.
    pub resumed: bool,
    /// Stops once this stage is done.
    pub until: Option<String>,
}

/// What the stages hand back.
#[derive(Clone, Debug, Default)]
pub struct StagesOutcome {
    /// The stage in which the run stopped, if it was asked to.
    pub interrupted: Option<StageRecord>,
    /// The stage after which it was to stop, if stages are left.
    pub stopped_after: Option<String>,
    /// Parameters of the policy.
    pub parameters: u64,
    /// Parameters that one token goes through.
    pub active_parameters: u64,
}
