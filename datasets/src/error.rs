//! What can go wrong with task files and names of families, each error naming its subject.

use std::path::PathBuf;

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file could not be opened or read to its end (missing, no permission, broken gzip).
    #[error("cannot read the task file {}: {source}", path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system, or the decompressor, said.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no row at all.
    #[error("the task file {} holds no rows", path.display())]
    Empty {
        /// The file asked for.
        path: PathBuf,
    },
    /// Every row was malformed and skipped, so no task is left.
    #[error("the task file {} holds no usable row, all {count} malformed; the first, at {place} {line}: {what}", path.display())]
    NothingUsable {
        /// The file asked for.
        path: PathBuf,
        /// How many rows were skipped.
        count: usize,
        /// `line` or, for Parquet, `row`.
        place: &'static str,
        /// Where the first of them is, counted from 1.
        line: usize,
        /// What was wrong with it.
        what: String,
    },
    /// The end of the file's name is not one of those that are read.
    #[error("the task file {} is of no known kind: expected a name that ends in one of {known}", path.display())]
    UnknownKind {
        /// The file asked for.
        path: PathBuf,
        /// The endings that are read.
        known: &'static str,
    },
    /// The end of the name of a file to be written is not one of those that are written.
    #[error("cannot write {}: expected a name that ends in one of {known}", path.display())]
    CannotWriteKind {
        /// The file to be written.
        path: PathBuf,
        /// The endings that are written.
        known: &'static str,
    },
    /// No adapter recognises the columns.
    #[error("the task file {} has a layout that is not known: found the columns {found}; {known}", path.display())]
    UnknownLayout {
        /// The file asked for.
        path: PathBuf,
        /// The columns found, joined by commas.
        found: String,
        /// What is said of the layouts and the columns each needs, each on a line of its own, and what to do.
        known: String,
    },
    /// No adapter has this name.
    #[error("there is no layout `{name}`: the layouts are {known}")]
    NoSuchLayout {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A text that should name a data set of the Hub does not.
    #[error(
        "`{name}` names no data set: expected hub:OWNER/NAME, perhaps with @REVISION and then :PART, such as hub:openai/gsm8k:main/test"
    )]
    HubName {
        /// The text.
        name: String,
    },
    /// A data set of the Hub cannot be had.
    #[error("cannot get the data set {name} from the Hugging Face Hub ({endpoint}): {what}")]
    Hub {
        /// The data set.
        name: String,
        /// Where the Hub was looked for.
        endpoint: String,
        /// What went wrong.
        what: String,
    },
    /// A malformed row, and the caller asked to stop at the first.
    #[error("{}, {place} {line}: {what}", path.display())]
    BadLine {
        /// The file asked for.
        path: PathBuf,
        /// `line` or, for Parquet, `row`.
        place: &'static str,
        /// Where it is, counted from 1.
        line: usize,
        /// What was wrong.
        what: String,
    },
    /// The file as a whole is damaged, so that no row of it can be told from the next.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file asked for.
        path: PathBuf,
        /// What was wrong.
        what: String,
    },
    /// A gzip file that is taken into memory as a whole unpacks to more than that.
    #[error(
        "{}: it unpacks to more than {} MiB, and its kind is read as a whole\n  hint: unpack it (gunzip), or save its rows as .jsonl.gz, which is read in pieces",
        path.display(), most >> 20
    )]
    TooLarge {
        /// The file asked for.
        path: PathBuf,
        /// Bytes that it may have at most.
        most: u64,
    },
    /// No generated family has this name.
    #[error("there is no task family `{name}`: the families are {known}")]
    UnknownFamily {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Fewer distinct tasks were found than asked for.
    #[error("the family `{family}` gave only {found} distinct {split} tasks in {tried} draws; {wanted} were asked for")]
    TooFewDistinct {
        /// The family.
        family: &'static str,
        /// `training` or `held-out`.
        split: &'static str,
        /// How many were found.
        found: usize,
        /// How many draws were made.
        tried: u64,
        /// How many were asked for.
        wanted: usize,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that is to be written lies there already, and is not what this job wrote.
    #[error("{} exists already\n  hint: remove it, or write under another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file that a job wrote has been changed since.
    #[error("{} was changed since this job wrote it\n  hint: move it away, and the job writes it anew; or write under another name", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The folder of a file that is to be written is not there.
    #[error("there is no folder {}\n  hint: make it first (mkdir -p), or write elsewhere", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// None of the sources of a job is there.
    #[error("none of the sources is there: {paths}\n  hint: name the folder in which they lie with --data DIR")]
    NoSource {
        /// Where they were looked for.
        paths: String,
    },
    /// A template cannot be filled in.
    #[error("the template `{template}` cannot be filled in: {what}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong.
        what: String,
    },
    /// A column that a step asks for is not there.
    #[error("there is no column `{column}` in the row {row}; its columns are {found}")]
    NoColumn {
        /// The column asked for.
        column: String,
        /// The id of the row.
        row: String,
        /// The columns found, joined by commas.
        found: String,
    },
    /// A column that a step asks for is in no row.
    #[error("no row has a column `{column}`; besides those of every task there are: {found}")]
    NoRowHasColumn {
        /// The column asked for.
        column: String,
        /// The columns there are, joined by commas.
        found: String,
    },
    /// Rows of a step could not be put into, or taken from, a data frame.
    #[error("the rows of a step are damaged: {what}")]
    Frame {
        /// What was wrong.
        what: String,
    },
    /// What a job's surroundings could not give.
    #[error("{}", said(&**cause))]
    Host {
        /// What went wrong. It is part of the message with all that caused it, and so not a cause of its own.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The job was asked to stop.
    #[error("the job was stopped; what was finished is kept")]
    Stopped,
    /// An error within a step of a job.
    #[error("step {place} ({name}): {error}")]
    InStep {
        /// The step's place in the job, counted from 1.
        place: usize,
        /// Its name.
        name: String,
        /// What went wrong. It is part of the message, and so not a cause of its own.
        error: Box<DatasetError>,
    },
}

/// What an error says and what caused it, each once: many say their cause themselves.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        next = cause.source();
    }
    text
}

impl DatasetError {
    /// An error of a job's surroundings, of whatever kind: for `map_err`.
    pub fn host(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Host { cause: cause.into() }
    }

    /// The same error with the step in which it happened. Being stopped is nobody's fault.
    pub(crate) fn in_step(self, place: usize, name: &str) -> Self {
        match self {
            Self::Stopped => Self::Stopped,
            other => Self::InStep { place, name: name.to_owned(), error: Box::new(other) },
        }
    }
}

#[cfg(test)]
mod tests {
    use rewards::RewardError;
    use sandbox::SandboxError;

    use super::*;

    #[test]
    fn what_the_surroundings_say_is_said_whole_and_once() {
        fn check(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>, expected: &str) {
            let error = DatasetError::host(cause).in_step(2, "verify");
            assert_eq!(error.to_string(), format!("step 2 (verify): {expected}"));
            assert!(std::error::Error::source(&error).is_none());
        }
        check("there is no policy", "there is no policy");
        let gone = DatasetError::Read { path: "a.jsonl".into(), source: std::io::Error::other("gone") };
        check(gone, "cannot read the task file a.jsonl: gone");
        let source = SandboxError::Run { operation: "starting", reason: "no memory".to_owned() };
        check(
            RewardError::Sandbox { reward: "code".to_owned(), source },
            "reward `code`: the sandbox failed twice on the same program: running a program: starting: no memory",
        );
    }
}
