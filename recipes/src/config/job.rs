//! Curation jobs: a TOML file of steps, read and checked, and the jobs inside the binary.
//!
//! The form is that of recipes: as typed, every key carries its place; as validated, a job is what [`datasets::curate`] takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use datasets::curate::{Job, NamedStep, Step};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::document::Document;
use super::error::{RecipeError, nearest};
use super::job_steps::read_step;
use super::keys::{Any, Problem, Seeds, checked};
use super::read::{take_text, value};
use super::settings::suggested;

/// A job and what people read about it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFile {
    /// The job.
    pub job: Job,
    /// One line about what it makes.
    pub description: String,
    /// Its text, for the report.
    pub text: String,
}

/// A job inside the binary.
#[derive(Clone, Copy, Debug)]
pub struct ShippedJob {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Its text, with the comments that explain it.
    pub text: &'static str,
}

/// Every job inside the binary.
pub const SHIPPED_JOBS: &[ShippedJob] = &[
    ShippedJob { name: "generated", text: include_str!("../../shipped/jobs/generated.toml") },
    ShippedJob { name: "math", text: include_str!("../../shipped/jobs/math.toml") },
    ShippedJob { name: "code", text: include_str!("../../shipped/jobs/code.toml") },
];

const TOP_LEVEL: [&str; 5] = ["name", "description", "seed", "keep_dropped", "step"];

/// The part of a job outside of its steps, as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobTable {
    name: Option<Spanned<String>>,
    description: Option<String>,
    seed: Option<Spanned<u64>>,
    keep_dropped: Option<bool>,
}

impl JobFile {
    /// The job of this name inside the binary, or in this file. Relative paths in it are below `data`.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or it is wrong: the error says where and what would be right.
    pub fn find(name: &str, data: Option<&Path>) -> Result<JobFile, RecipeError> {
        let path = Path::new(name);
        if let Some(shipped) = SHIPPED_JOBS.iter().find(|job| job.name == name).filter(|_| !path.is_file()) {
            return JobFile::parse(&format!("{name}.toml"), shipped.text, data.unwrap_or(Path::new("")));
        }
        if path.extension().is_none() && path.components().count() == 1 && !path.exists() {
            let names: Vec<&str> = SHIPPED_JOBS.iter().map(|job| job.name).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the shipped jobs are {}", names.join(", ")),
            };
            return Err(RecipeError::new(name, "there is no shipped job and no file of this name").hint(hint));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| RecipeError::new(name, format!("cannot read it: {error}")))?;
        // A file's paths are meant from where it lies.
        let folder = path.parent().unwrap_or(Path::new(""));
        JobFile::parse(name, &text, data.unwrap_or(folder))
    }

    /// Reads a job from its text. `name` is what errors call it.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn parse(name: &str, text: &str, data: &Path) -> Result<JobFile, RecipeError> {
        let document = Document::new(name, text, &[])?;
        let mut tree = document.tree(&TOP_LEVEL)?;
        let steps = tree.get_mut().remove("step");
        let span = tree.span();
        let typed = JobTable::deserialize(value(Spanned::new(span, DeValue::Table(tree.into_inner()))))
            .map_err(|error| document.read_error(&error, &["step"]))?;
        let located = |problem| document.error(problem);
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("job").to_owned();
        let job_name = checked("name", typed.name, stem, &Any).map_err(located)?;
        if job_name.is_empty() || !job_name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)) {
            return Err(located(Problem::anywhere(format!(
                "`name` is {job_name:?}, expected letters, digits, and - or _: a folder is called after it"
            ))));
        }
        let seed = checked("seed", typed.seed, 0, &Seeds).map_err(located)?;
        let steps = read_steps(&document, steps, data)?;
        let keep_dropped = typed.keep_dropped.unwrap_or(false);
        let job = Job { name: job_name, seed, keep_dropped, steps };
        Ok(JobFile { job, description: typed.description.unwrap_or_default(), text: text.to_owned() })
    }
}

fn one_in_the_other(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn read_steps(
    document: &Document,
    steps: Option<Spanned<DeValue<'_>>>,
    data: &Path,
) -> Result<Vec<NamedStep>, RecipeError> {
    let Some(DeValue::Array(elements)) = steps.map(Spanned::into_inner) else {
        let problem = Problem::anywhere("the job has no steps").hint("begin with [[step]] and kind = \"load\"");
        return Err(document.error(problem));
    };
    let mut names = BTreeSet::new();
    let mut outputs: BTreeSet<PathBuf> = BTreeSet::new();
    let mut read = Vec::new();
    for (place, element) in elements.into_iter().enumerate() {
        let span = element.span();
        let DeValue::Table(mut table) = element.into_inner() else {
            return Err(document.error(Problem::at(span, "a step must be a table")));
        };
        let Some((kind, kind_span)) = take_text(document, &mut table, "kind")? else {
            let hint = format!("one of \"{}\"", Step::KINDS.join("\", \""));
            return Err(document.error(Problem::at(span, "this step has no `kind`").hint(hint)));
        };
        let (name, name_span) =
            take_text(document, &mut table, "name")?.unwrap_or_else(|| (kind.clone(), kind_span.clone()));
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)) {
            let message = format!("`name` is {name:?}, expected letters, digits, and - or _");
            return Err(document.error(Problem::at(name_span, message)));
        }
        if !Step::KINDS.contains(&kind.as_str()) {
            let message =
                format!("no kind of step is called \"{kind}\", expected one of \"{}\"", Step::KINDS.join("\", \""));
            return Err(document.error(suggested(Problem::at(kind_span, message), &kind, &Step::KINDS)));
        }
        let step = read_step(document, &kind, table, span.clone(), data)?;
        let problem = match &step {
            Step::Load(_) if place > 0 => Some("a load step stands only at the beginning: it takes no rows"),
            Step::Write(write) if outputs.contains(&write.path) => Some("another step writes to this path"),
            Step::Write(write) if outputs.iter().any(|other| one_in_the_other(other, &write.path)) => {
                Some("this path and that of another step are a file and a folder of one name")
            }
            step if place == 0 && !matches!(step, Step::Load(_)) => {
                Some("the first step must be of kind \"load\": there are no rows yet")
            }
            // Steps that write may share a name: their paths tell them apart.
            Step::Write(_) => None,
            _ if !names.insert(name.clone()) => Some("another step has this name; give each a `name` of its own"),
            _ => None,
        };
        if let Some(message) = problem {
            return Err(document.error(Problem::at(kind_span, message)));
        }
        if let Step::Write(write) = &step {
            outputs.insert(write.path.clone());
        }
        read.push(NamedStep { name, step });
    }
    Ok(read)
}
