//! What can go wrong that is neither the completion's fault nor the reference's.

/// An error of building a set of rewards, or of the host while scoring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// A recipe names a reward that does not exist.
    #[error("unknown reward `{name}`{hint} (known: {known})")]
    Unknown {
        /// The name as the recipe has it.
        name: String,
        /// `; did you mean ...?`, or nothing where no known name is near.
        hint: String,
        /// All known names.
        known: String,
    },
    /// A recipe names a reward twice.
    #[error("reward `{name}` is listed twice; give it once, with the sum of the weights")]
    Duplicate {
        /// The repeated name.
        name: String,
    },
    /// A weight that no sum can use.
    #[error("reward `{name}` has the weight {weight}; a weight is a finite number")]
    BadWeight {
        /// The reward.
        name: String,
        /// Its weight as given.
        weight: f64,
    },
    /// An empty list of rewards.
    #[error("no reward is named; name at least one of: {known}")]
    Empty {
        /// All known names.
        known: String,
    },
    /// A reward that runs programs was asked for without an interpreter.
    #[error("reward `{name}` runs programs and needs a prepared Python interpreter, and none was given")]
    NeedsPython {
        /// The reward.
        name: String,
    },
    /// A reward was handed a kind of reference that it says it does not score.
    #[error("reward `{reward}` cannot score a reference of kind `{kind}`")]
    NotApplicable {
        /// The reward.
        reward: String,
        /// The reference's kind.
        kind: &'static str,
    },
    /// The sandbox failed twice: the host's failure, never a score.
    #[error("reward `{reward}`: the sandbox failed twice on the same program")]
    Sandbox {
        /// The reward.
        reward: String,
        /// What the sandbox said.
        #[source]
        source: sandbox::SandboxError,
    },
}
