//! The `recipe` command with one more reward, in Rust.
//!
//! A program of one's own looks like this: a package that depends on `recipes` and `rewards`, and this file as its `main`.
//! It is the whole command, so that
//!
//! ```sh
//! cargo run --release --example custom_reward -- reward show brevity
//! cargo run --release --example custom_reward -- run smoke --set 'rewards=[{ name = "accuracy" }, { name = "brevity" }]'
//! ```
//!
//! explain the reward and train with it. (`recipes/src/bin/recipe.rs` sets an allocator besides, which makes training
//! faster.)

use std::process::ExitCode;

use rewards::parameter::at_least;
use rewards::{PythonUse, Reference, Registry, Reward, RewardError, Sample, Score};

rewards::parameters! {
    /// What `brevity` can be told. From a line come the field, its check when a recipe is read, and the help.
    Brevity {
        /// Words that cost nothing.
        free: u64 = 20, at_least(0.0);
        /// Words at which nothing is left.
        most: u64 = 60, at_least(1.0);
    }
    check |told: &Brevity| {
        if told.free < told.most { Ok(()) } else { Err("`free` must be below `most`".to_owned()) }
    };
}

/// 1 up to `free` words, 0 from `most` on, and a straight line in between.
impl Reward for Brevity {
    fn name(&self) -> &str {
        "brevity"
    }

    fn applies(&self, _: &Reference) -> bool {
        true
    }

    fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
        let words = sample.completion.split_whitespace().count() as f64;
        let (free, most) = (self.free as f64, self.most as f64);
        let value = ((most - words) / (most - free)).clamp(0.0, 1.0);
        Ok(Score { value: Some(value), cause: (value < 1.0).then(|| "wordy".to_owned()) })
    }
}

fn main() -> ExitCode {
    let known = Registry::builtin().with::<Brevity>(
        "brevity",
        "1 for a completion of few words, less for more, 0 for many.",
        PythonUse::Never,
        |_, told| Ok(Box::new(told)),
    );
    recipes::main_with(&known)
}
