//! The one bound on a verdict: steps, counted, never timed.
//!
//! Every stage (reading, normal forms, evaluation) draws from the same count, weighted by what a step costs with numbers
//! of its size, so that a verdict is the same on every machine and its worst case is a few tens of milliseconds. Depth is
//! bounded where the expression is read, so nothing that recurses over it later can go deeper.

/// What one verdict may spend. A step is about five nanoseconds of work.
pub(crate) const VERDICT_STEPS: u64 = 2_500_000;

/// Why a computation ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The steps are spent, or a number grew beyond its bound.
    Budget,
    /// A division by exact zero.
    DivisionByZero,
    /// Not defined here: a logarithm of 0, a root outside of the reals.
    Undefined,
    /// The enclosure is too wide to go on; more precision may help.
    Imprecise,
    /// Nothing of this kind can be computed.
    Unsupported,
}

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    pub(crate) fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    /// Takes `steps`, or says that they are not there.
    pub(crate) fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Stop::Budget)
            }
        }
    }

    /// Takes what a product of two numbers of so many bits costs.
    pub(crate) fn spend_product(&mut self, left_bits: u64, right_bits: u64) -> Result<(), Stop> {
        self.spend(8 + (left_bits / 64 + 1).saturating_mul(right_bits / 64 + 1))
    }

    /// How many steps are left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }
}
