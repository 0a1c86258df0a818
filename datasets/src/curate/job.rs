//! What a job says: its steps with their parameters, as validated. Who reads the job file has checked them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::expression::Expression;
use crate::error::DatasetError;
use crate::generate::Family;
use crate::source::{ColumnNames, OnBadLine, TaskStream};
use crate::task::{Domain, Split};

/// A curation job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// All that is drawn at random follows from this.
    pub seed: u64,
    /// Whether rows that a step dropped are written out, with the reason, below `dropped/`.
    pub keep_dropped: bool,
    /// What is done, in order.
    pub steps: Vec<NamedStep>,
}

/// A step and what it is called in reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedStep {
    /// Its name.
    pub name: String,
    /// What it does.
    pub step: Step,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Step {
    /// Reads files and draws from families.
    Load(Load),
    /// Changes columns and prompts.
    Map(Map),
    /// Keeps rows by length, expression and language.
    Filter(Filter),
    /// Drops repetitions.
    Dedup(Dedup),
    /// Drops or labels what evaluation sets contain.
    Decontaminate(Decontaminate),
    /// Keeps rows whose reference satisfies its own verifier.
    Verify(Verify),
    /// Keeps rows that a policy solves neither too often nor too seldom.
    Difficulty(Difficulty),
    /// Takes rows in proportion.
    Mix(Mix),
    /// Assigns rows to splits.
    Split(Shares),
    /// Takes some rows at random.
    Sample(Sample),
    /// Writes rows to a file.
    Write(Write),
}

impl Step {
    /// Every kind, as job files write it. `balance` is a `mix` of equal weights.
    pub const KINDS: [&'static str; 12] = [
        "load",
        "map",
        "filter",
        "dedup",
        "decontaminate",
        "verify",
        "difficulty",
        "balance",
        "mix",
        "split",
        "sample",
        "write",
    ];

    /// The kind of this step.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Map(_) => "map",
            Self::Filter(_) => "filter",
            Self::Dedup(_) => "dedup",
            Self::Decontaminate(_) => "decontaminate",
            Self::Verify(_) => "verify",
            Self::Difficulty(_) => "difficulty",
            Self::Mix(_) => "mix",
            Self::Split(_) => "split",
            Self::Sample(_) => "sample",
            Self::Write(_) => "write",
        }
    }
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// The sources, in the order of the rows.
    pub sources: Vec<Source>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Source {
    /// A task file.
    File(FileSource),
    /// A generated family.
    Family(FamilySource),
}

/// A task file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileSource {
    /// Where it lies.
    pub path: PathBuf,
    /// What its rows' `source` says; the file's stem unless given.
    pub name: Option<String>,
    /// The adapter; recognised by the columns unless given.
    pub layout: Option<String>,
    /// Which columns are question and answer, where their names do not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnNames>,
    /// For the data card.
    pub licence: Option<String>,
    /// For the data card: where the file came from.
    pub origin: Option<String>,
    /// Whether the job goes on where the file is missing.
    pub optional: bool,
    /// Whether a malformed row ends the job or is left out and counted.
    #[serde(serialize_with = "as_word")]
    pub on_bad_line: OnBadLine,
}

impl FileSource {
    /// Opens the file.
    pub(super) fn open(&self) -> Result<TaskStream, DatasetError> {
        let stream = TaskStream::open(&self.path, self.layout.as_deref(), self.on_bad_line)?;
        Ok(match &self.columns {
            Some(columns) => stream.with_columns(columns.clone()),
            None => stream,
        })
    }
}

fn as_word<S: serde::Serializer>(value: &OnBadLine, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *value == OnBadLine::Skip { "skip" } else { "stop" })
}

/// A generated family.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilySource {
    /// The family.
    pub family: Family,
    /// The level; all of them unless given.
    pub level: Option<u8>,
    /// How many different problems.
    pub count: u64,
    /// Which side of the fence.
    pub split: Split,
}

/// Changes to rows. What is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Map {
    /// Further columns under other names: new name by old name.
    pub rename: BTreeMap<String, String>,
    /// Further columns that are removed.
    pub remove: Vec<String>,
    /// The prompt: text with `{prompt}` and `{column}` in it.
    pub template: Option<String>,
    /// A system message before the prompt.
    pub system: Option<String>,
    /// What `source` says: text with `{source}` and `{column}` in it.
    pub source: Option<String>,
    /// What `domain` says.
    pub domain: Option<Domain>,
    /// A further column with a number, which becomes the difficulty.
    pub difficulty_from: Option<String>,
    /// What that number is divided by.
    pub difficulty_scale: f64,
}

/// What rows must be like to be kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Filter {
    /// Characters of the prompt, at least.
    pub min_chars: Option<usize>,
    /// Characters of the prompt, at most.
    pub max_chars: Option<usize>,
    /// Words of the prompt, at least.
    pub min_words: Option<usize>,
    /// Words of the prompt, at most.
    pub max_words: Option<usize>,
    /// An expression that must hold.
    pub condition: Option<Expression>,
    /// Codes of languages (ISO 639-3, such as `eng`), one of which the prompt must be in.
    pub languages: Vec<String>,
}

/// How repetitions are found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dedup {
    /// Whether prompts that are equal but for case, punctuation and spaces are repetitions.
    pub exact: bool,
    /// A further column in which no value may stand twice: rows with the same id of a problem are repetitions, however it
    /// is worded.
    pub by: Option<String>,
    /// The Jaccard similarity of shingles from which prompts are repetitions; none looks for no near ones.
    pub near: Option<f64>,
    /// Words of a shingle.
    pub shingle: usize,
    /// Hash functions of a signature.
    pub permutations: usize,
    /// Whether prompts with other numbers in them are different: the same story with other numbers is another task.
    pub numbers_matter: bool,
    /// Which rows stay of those that repeat each other exactly and have different answers.
    pub on_conflict: OnConflict,
}

/// What becomes of a question that several rows answer in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The first of the rows stays.
    First,
    /// None of them stays.
    Drop,
}

/// What must not be trained on, and how it is found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decontaminate {
    /// Files of evaluation sets.
    pub against: Vec<EvaluationSet>,
    /// Words of an n-gram.
    pub ngram: usize,
    /// Whether rows that match are labelled and kept, instead of dropped.
    pub label: bool,
}

/// An evaluation set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationSet {
    /// Where it lies.
    pub path: PathBuf,
    /// Its layout, recognised unless given.
    pub layout: Option<String>,
    /// Whether the job goes on where the file is missing.
    pub optional: bool,
}

/// How references are checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verify {
    /// Further columns that may hold a solution of a program task, the first that is there counts.
    pub solutions: Vec<String>,
    /// Whether program tasks without a solution are kept unverified, instead of dropped.
    pub keep_without_solution: bool,
}

impl Verify {
    /// The columns in which public sets have their solutions.
    #[must_use]
    pub fn usual_solutions() -> Vec<String> {
        crate::solution::COLUMNS.map(str::to_owned).to_vec()
    }
}

/// How difficulty is measured and what is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difficulty {
    /// Saved completions (JSON Lines with `task` and `completion`, `right` or `score`).
    pub completions: Option<PathBuf>,
    /// The model folder of a policy that attempts the tasks which have fewer than `samples` there.
    pub model: Option<PathBuf>,
    /// How a question is put to the policy.
    pub template: PromptTemplate,
    /// In the chat template: the system message of tasks that have none of their own; empty for none.
    pub system_prompt: String,
    /// Attempts for each task.
    pub samples: usize,
    /// Longest attempt, in tokens.
    pub max_new_tokens: usize,
    /// Sampling temperature.
    pub temperature: f64,
    /// The pass rates that are kept, both ends included.
    pub keep: (f64, f64),
    /// Whether rows without a measurement are kept.
    pub keep_unmeasured: bool,
}

/// What stands around a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptTemplate {
    /// R1-Zero's.
    R1Zero,
    /// The model's own chat template.
    Chat,
}

/// In what proportion rows are taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mix {
    /// What is weighed.
    pub by: MixBy,
    /// Weights by name; none weighs all that there are equally. What is not named is dropped.
    pub weights: Option<BTreeMap<String, f64>>,
    /// How many rows; none takes as many as the proportions allow.
    pub total: Option<u64>,
}

/// What a mix weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MixBy {
    /// The rows' sources.
    Source,
    /// The rows' domains.
    Domain,
}

/// Shares of splits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shares {
    /// Shares by split; they add up to 1.
    pub shares: Vec<(Split, f64)>,
    /// What must not be torn apart.
    pub group: Group,
}

/// What rows of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The prompt, but for case, punctuation and spaces.
    Prompt,
    /// The prompt, but for its numbers as well.
    Template,
    /// A further column.
    Column(String),
}

/// How many rows are taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// So many.
    pub count: Option<u64>,
    /// So large a share.
    pub share: Option<f64>,
}

/// Where rows are written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Write {
    /// The file; relative paths are below the job's folder.
    pub path: PathBuf,
    /// Which split; all unless given.
    pub split: Option<Split>,
}
