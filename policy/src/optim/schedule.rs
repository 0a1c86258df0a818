//! The learning rate over a run: a linear warm-up, then constant or decaying.
//!
//! Deviations from transformers: there the first step of a warm-up has a rate of 0, and the others that of the step before them
//! here; and a cosine reaches its floor one step after the last.

use serde::{Deserialize, Serialize};

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// Half a cosine from the peak down to `min_ratio` times the peak.
    Cosine {
        /// The last step's share of the peak.
        min_ratio: f64,
    },
    /// A straight line down to 0, which the step after the last would have.
    Linear,
}

/// A learning rate for each step: a pure function, so that a resumed run goes on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The rate at the end of the warm-up.
    pub peak: f64,
    /// Steps over which the rate rises; the first already moves (by `peak / warmup_steps`).
    #[serde(default)]
    pub warmup_steps: u64,
    /// Steps of the whole run, the warm-up included.
    pub total_steps: u64,
    /// What follows the warm-up.
    #[serde(default)]
    pub decay: Decay,
}

impl Schedule {
    /// The rate of a step, counted from 0. Past the end it stays at the last value.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let length = self.total_steps.saturating_sub(self.warmup_steps);
        let position = (step - self.warmup_steps).min(length.saturating_sub(1)) as f64;
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine { min_ratio } => {
                // Reaches the floor at the last step; a run of one step stays at the peak.
                let progress = position / length.saturating_sub(1).max(1) as f64;
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                self.peak * (min_ratio + (1.0 - min_ratio) * cosine)
            }
            Decay::Linear => self.peak * (1.0 - position / length.max(1) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_by_step() {
        fn check(decay: Decay, expected: &[(u64, f64)]) {
            let schedule = Schedule { peak: 2.0, warmup_steps: 4, total_steps: 14, decay };
            for &(step, lr) in expected {
                let found = schedule.lr(step);
                assert!((found - lr).abs() < 1e-12, "{decay:?} {step}: {found} {lr}");
            }
        }
        check(Decay::Constant, &[(0, 0.5), (1, 1.0), (3, 2.0), (4, 2.0), (99, 2.0)]);
        check(
            Decay::Cosine { min_ratio: 0.1 },
            &[(0, 0.5), (3, 2.0), (4, 2.0), (7, 2.0 * (0.1 + 0.9 * 0.75)), (13, 0.2), (99, 0.2)],
        );
        check(Decay::Linear, &[(0, 0.5), (4, 2.0), (9, 1.0), (13, 0.2), (99, 0.2)]);
    }

    #[test]
    fn degenerate_lengths_stay_finite() {
        for decay in [Decay::Constant, Decay::Cosine { min_ratio: 0.0 }, Decay::Linear] {
            for (warmup_steps, total_steps) in [(0, 0), (0, 1), (5, 3), (5, 5)] {
                let schedule = Schedule { peak: 1.0, warmup_steps, total_steps, decay };
                for step in 0..8 {
                    let lr = schedule.lr(step);
                    assert!((0.0..=1.0).contains(&lr), "{schedule:?} {step}: {lr}");
                }
            }
        }
    }
}
