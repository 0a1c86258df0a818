//! What a finished step leaves beside its parts: `finished.json`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::read_json;
use super::parts::Parts;
use super::work::Tally;
use crate::error::DatasetError;

const NAME: &str = "finished.json";

/// A finished step.
#[derive(Serialize, Deserialize)]
pub(super) struct Finished {
    /// The rows that go on: in the step's own folder, or picked from that of an earlier one, whose name this is.
    pub(super) rows_of: String,
    pub(super) kept: Parts,
    pub(super) dropped: Parts,
    pub(super) tally: Tally,
}

impl Finished {
    /// What lies in the folder of a step; `None` if it was never finished.
    ///
    /// # Errors
    /// If something there is not as it was written.
    pub(super) fn find(place: &Path) -> Result<Option<Self>, DatasetError> {
        let path = place.join(NAME);
        if !path.is_file() {
            return Ok(None);
        }
        let finished: Self = read_json(&path)?;
        // Rows of another step were checked with that one.
        if finished.rows_of.is_empty() {
            finished.kept.clone().moved_to(place.join("kept")).check()?;
        }
        finished.dropped.clone().moved_to(place.join("dropped")).check()?;
        Ok(Some(finished))
    }

    /// Leaves it in the folder of its step, as the last of its files.
    pub(super) fn write(&self, place: &Path) -> Result<(), DatasetError> {
        let path = place.join(NAME);
        let text = serde_json::to_vec(self).map_err(|error| DatasetError::Frame { what: error.to_string() })?;
        fs::write(&path, text).map_err(|source| DatasetError::Write { path, source })
    }
}
