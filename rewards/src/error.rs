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
    /// A parameter that the reward does not have, or a value that it does not allow.
    #[error("the reward `{reward}` {problem}{}", after("; ", .hint))]
    Parameter {
        /// The reward.
        reward: String,
        /// The parameter as given.
        parameter: String,
        /// Whether its name is what is wrong, and not its value.
        named: bool,
        /// What is wrong, as it goes on after the reward's name.
        problem: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// Parameters that do not go together.
    #[error("the reward `{reward}`: {problem}")]
    Parameters {
        /// The reward.
        reward: String,
        /// What does not hold between them.
        problem: String,
    },
    /// A reward that a recipe brings along does not do what a reward must.
    #[error("{place}: the reward `{reward}` {problem}{}{}", after("\n  ", .shown), after("\n  hint: ", .hint))]
    Custom {
        /// The file, and the line where there is one.
        place: String,
        /// The reward.
        reward: String,
        /// What is wrong, as it goes on after the reward's name.
        problem: String,
        /// The line of the file.
        shown: Option<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The same, found out by completions: its file was read, and is a reward's.
    #[error("{0}")]
    Failed(Box<RewardError>),
    /// A recipe names its own reward like one that is there.
    #[error("the reward `{name}` is one of this program's own, and cannot have a path; give yours another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A reward gave more or fewer scores than there are completions.
    #[error("reward `{reward}` gave {found} scores for {expected} completion{}", plural(.expected))]
    WrongCount {
        /// The reward.
        reward: String,
        /// Completions.
        expected: usize,
        /// Scores.
        found: usize,
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

/// A further part of a message, where there is one.
fn after(before: &str, text: &Option<String>) -> String {
    text.as_ref().map_or(String::new(), |text| format!("{before}{text}"))
}

fn plural(count: &usize) -> &'static str {
    if *count == 1 { "" } else { "s" }
}
