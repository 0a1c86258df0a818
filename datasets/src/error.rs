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
    #[error("the task file {} holds no usable row: all {count} are malformed; the first, at {place} {line}: {what}", path.display())]
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
    /// No adapter recognises the columns.
    #[error("the task file {} has a layout that is not known: found the columns {found}; known layouts are {known}", path.display())]
    UnknownLayout {
        /// The file asked for.
        path: PathBuf,
        /// The columns found, joined by commas.
        found: String,
        /// The layouts and the columns each needs.
        known: String,
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
}
