//! `metrics.jsonl`: a file that only grows, and is cut back when a run resumes at a checkpoint.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A file of JSON values, one on each line.
#[derive(Debug)]
pub(crate) struct JsonLines {
    file: File,
    path: PathBuf,
    length: u64,
}

/// What every row of the metrics begins with.
#[derive(Debug, Deserialize)]
pub(crate) struct RowHead {
    pub(crate) stage: String,
    pub(crate) step: u64,
}

impl JsonLines {
    /// Opens the file at its end, and makes it if it is not there. A last line that was only half
    /// written (the process was killed) is taken off.
    pub(crate) fn open(path: &Path) -> anyhow::Result<JsonLines> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut lines = JsonLines { file, path: path.to_owned(), length: 0 };
        lines.cut(whole as u64)?;
        Ok(lines)
    }

    /// Adds a row. If it cannot be written whole (the disk is full), it is taken off again, so
    /// that the file stays readable.
    pub(crate) fn push(&mut self, row: &impl Serialize) -> anyhow::Result<()> {
        let mut line =
            serde_json::to_vec(row).with_context(|| format!("cannot write a row of {}", self.path.display()))?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // What went wrong first is what the person should read.
            let _ = self.cut(self.length);
            return Err(error).with_context(|| format!("cannot write to {}", self.path.display()));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Returns when the rows are on the disk itself.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Keeps the rows up to the first that the predicate names, and drops the rest. Returns how
    /// many were dropped.
    pub(crate) fn drop_from(&mut self, first: impl Fn(&RowHead) -> bool) -> anyhow::Result<usize> {
        let text =
            std::fs::read_to_string(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let mut kept = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let head: RowHead = serde_json::from_str(line)
                .with_context(|| format!("{}, line {}: not a row of metrics", self.path.display(), number + 1))?;
            if first(&head) {
                let dropped = text[kept..].lines().count();
                self.cut(kept as u64)?;
                return Ok(dropped);
            }
            kept += line.len();
        }
        Ok(0)
    }

    fn cut(&mut self, length: u64) -> anyhow::Result<()> {
        self.file
            .set_len(length)
            .and_then(|()| self.file.seek(SeekFrom::Start(length)))
            .with_context(|| format!("cannot cut {} to its whole rows", self.path.display()))?;
        self.length = length;
        Ok(())
    }
}

/// The rows of a metrics file, as JSON. A half-written last line is left out.
pub(crate) fn read_rows(path: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    text.split_inclusive('\n')
        .enumerate()
        .filter(|(_, line)| line.ends_with('\n'))
        .map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}, line {}: not a row of metrics", path.display(), number + 1))
        })
        .collect()
}
