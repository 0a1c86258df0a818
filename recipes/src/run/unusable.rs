//! Why a run cannot be made or gone on with, and what to try.

/// A run that cannot be made or gone on with. The hint names options of `recipe run`; who has none of them (an experiment,
/// whose command is always the same) takes the error apart instead of printing it.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  hint: {hint}")]
pub(crate) struct Unusable {
    /// What is wrong.
    pub(crate) what: String,
    /// What a person at `recipe run` may try.
    pub(crate) hint: String,
    /// What may be tried without its options.
    pub(crate) without_options: String,
}

impl Unusable {
    /// A run that is not what it was: whoever cannot put it back has to begin a new one.
    pub(crate) fn put_back(what: String, how: &str) -> Unusable {
        Unusable {
            what,
            hint: format!("{how}, or start a new run without --resume"),
            without_options: format!("{how}, or remove the run's folder"),
        }
    }

    /// What is said where `recipe run` is not what was typed.
    pub(crate) fn said_without_options(&self) -> String {
        format!("{}\n  hint: {}", self.what, self.without_options)
    }
}

/// A run that broke off.
#[derive(Debug, thiserror::Error)]
#[error("the run in {folder} failed{}", if *.resumable { "; what it did is kept, and --resume goes on from there" } else { "" })]
pub(crate) struct RunFailed {
    /// The run's folder.
    pub(crate) folder: String,
    /// Whether there is something to go on from.
    pub(crate) resumable: bool,
}

impl RunFailed {
    /// What is said where `recipe run` is not what was typed.
    pub(crate) fn said_without_options(&self) -> String {
        RunFailed { folder: self.folder.clone(), resumable: false }.to_string()
    }
}
