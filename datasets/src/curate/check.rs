//! What can be told of a job's files before it runs.

use std::fs;
use std::path::Path;

use super::job::{Job, Source, Step};
use crate::error::DatasetError;
use crate::source::hub::HubName;
use crate::source::{OnBadLine, TaskStream};

/// That all files are there which a step will want: said before any step has taken its time.
pub(super) fn files_are_there(job: &Job) -> Result<(), DatasetError> {
    for (index, named) in job.steps.iter().enumerate() {
        for (path, _) in named.step.files().into_iter().filter(|(_, optional)| !optional) {
            if let Err(source) = fs::metadata(path) {
                return Err(DatasetError::Read { path: path.to_owned(), source }.in_step(index + 1, &named.name));
            }
        }
    }
    Ok(())
}

/// Checks a job's files without running it: that they are there, and that the first rows of each can be read in its layout.
/// Data sets of the Hub are not asked for. Returns what a person should know.
///
/// # Errors
/// What the job would end with.
pub fn check(job: &Job) -> Result<Vec<String>, DatasetError> {
    let mut notes = Vec::new();
    for (index, named) in job.steps.iter().enumerate() {
        check_step(&named.step, &mut notes).map_err(|error| error.in_step(index + 1, &named.name))?;
    }
    Ok(notes)
}

fn check_step(step: &Step, notes: &mut Vec<String>) -> Result<(), DatasetError> {
    match step {
        Step::Load(load) => {
            let mut any = false;
            for source in &load.sources {
                any |= match source {
                    Source::Family(_) => true,
                    Source::File(file) => {
                        let there = is_there(&file.path, file.optional, notes);
                        if there == Some(true) {
                            file.open()?.next_batch()?;
                        }
                        there.unwrap_or(true)
                    }
                };
            }
            if any { Ok(()) } else { Err(load.no_source()) }
        }
        Step::Decontaminate(step) => {
            for set in &step.against {
                if is_there(&set.path, set.optional, notes) == Some(true) {
                    TaskStream::open(&set.path, set.layout.as_deref(), OnBadLine::Skip)?.next_questions()?;
                }
            }
            Ok(())
        }
        Step::Difficulty(step) => match &step.completions {
            Some(path) => match fs::metadata(path) {
                Ok(_) => Ok(()),
                Err(source) => Err(DatasetError::Read { path: path.clone(), source }),
            },
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether there is a file to read, or to be told that it is missing; none where that is not known before the Hub is asked.
fn is_there(path: &Path, optional: bool, notes: &mut Vec<String>) -> Option<bool> {
    if path.exists() {
        return Some(true);
    }
    if HubName::recognise(path).is_some() {
        notes.push(format!("{} is a data set of the Hub, which was not asked for it", path.display()));
        return None;
    }
    if optional {
        notes.push(format!("{} is not there, and would be left out", path.display()));
    }
    Some(!optional)
}
