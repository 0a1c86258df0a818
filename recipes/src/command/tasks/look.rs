//! `recipe tasks head|show|stats`: what is in a task file, whatever its layout.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use datasets::curate::{Histogram, Stats};
use datasets::source::TaskStream;
use datasets::{BadLine, DatasetError, OnBadLine, ReadTasks, Split};

use super::super::Wrong;
use crate::wording::{answer_line, counted, one_line, thousands};

#[derive(Args, Debug)]
pub(in crate::command) struct HeadArguments {
    /// The file
    file: PathBuf,

    /// How many tasks
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5)]
    count: usize,

    /// The layout, where the columns alone do not tell it
    #[arg(long)]
    layout: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::command) struct ShowArguments {
    /// The file
    file: PathBuf,

    /// The task: its id (or the beginning of it), or its place in the file, counted from 1
    #[arg(default_value = "1")]
    task: String,

    /// The layout, where the columns alone do not tell it
    #[arg(long)]
    layout: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::command) struct StatsArguments {
    /// The file
    file: PathBuf,

    /// The layout, where the columns alone do not tell it
    #[arg(long)]
    layout: Option<String>,
}

/// The rows of a file, or of all files of a data set of the Hub, one file after the other.
struct Looked {
    files: std::vec::IntoIter<PathBuf>,
    layout: Option<String>,
    open: Option<TaskStream>,
}

impl Looked {
    /// What the place of a row is called in the file that is being read.
    fn place(&self) -> &'static str {
        self.open.as_ref().map_or("line", TaskStream::place)
    }

    fn next_batch(&mut self) -> anyhow::Result<Option<ReadTasks>> {
        loop {
            if let Some(stream) = &mut self.open
                && let Some(batch) = stream.next_batch()?
            {
                return Ok(Some(batch));
            }
            let Some(file) = self.files.next() else { return Ok(None) };
            // Looking is what one does with a file that is not in order: what cannot be read is counted.
            self.open = Some(TaskStream::open(&file, self.layout.as_deref(), OnBadLine::Skip)?);
        }
    }
}

fn open(file: &Path, layout: Option<&str>) -> anyhow::Result<Looked> {
    let files = super::super::fetched(&[file.to_owned()], Split::Train)?;
    for path in &files {
        if let Err(source) = std::fs::metadata(path) {
            return Err(Wrong(DatasetError::Read { path: path.clone(), source }.to_string()).into());
        }
    }
    Ok(Looked { files: files.into_iter(), layout: layout.map(str::to_owned), open: None })
}

pub(super) fn head(arguments: &HeadArguments) -> anyhow::Result<String> {
    let mut stream = open(&arguments.file, arguments.layout.as_deref())?;
    let mut text = String::new();
    let mut shown = 0;
    let mut unread = Unread::default();
    while shown < arguments.count
        && let Some(batch) = stream.next_batch()?
    {
        unread.add(&batch.bad, stream.place());
        for task in batch.tasks.iter().take(arguments.count - shown) {
            shown += 1;
            let _ = writeln!(
                text,
                "{shown}. {}\n   {}  [{} {}]\n",
                one_line(&task.prompt, 300),
                answer_line(task),
                task.source,
                task.id
            );
        }
    }
    text.push_str(&unread.line(if shown == arguments.count { " of those read so far" } else { "" }));
    Ok(text)
}

/// Rows that cannot be read: how many, and the first of them.
#[derive(Default)]
struct Unread {
    count: usize,
    first: Option<BadLine>,
    /// What its place is called.
    place: &'static str,
}

impl Unread {
    fn add(&mut self, bad: &[BadLine], place: &'static str) {
        self.count += bad.len();
        if self.first.is_none() {
            self.first = bad.first().cloned();
            self.place = place;
        }
    }

    /// A line about them; nothing if there are none. `which` says among which rows.
    fn line(&self, which: &str) -> String {
        self.first.as_ref().map_or_else(String::new, |first| {
            let rows = counted(self.count, "row", "rows");
            format!("{rows}{which} cannot be read; the first, at {} {}: {}\n", self.place, first.line, first.what)
        })
    }
}

pub(super) fn show(arguments: &ShowArguments) -> anyhow::Result<String> {
    let mut stream = open(&arguments.file, arguments.layout.as_deref())?;
    let place = arguments.task.parse::<usize>().ok().filter(|_| arguments.task.len() < 12);
    let mut passed = 0;
    while let Some(batch) = stream.next_batch()? {
        let found = batch.tasks.iter().enumerate().find(|(index, task)| {
            place.map_or_else(|| task.id.starts_with(&arguments.task), |place| passed + index + 1 == place)
        });
        if let Some((_, task)) = found {
            let row = datasets::curate::row(task);
            return Ok(format!("{}\n\n{}\n", task.prompt, serde_json::to_string_pretty(&row)?));
        }
        passed += batch.tasks.len();
    }
    Err(Wrong(format!(
        "{} has {}, and none that `{}` names",
        arguments.file.display(),
        counted(passed, "task", "tasks"),
        arguments.task
    ))
    .into())
}

pub(super) fn stats(arguments: &StatsArguments) -> anyhow::Result<String> {
    let mut stream = open(&arguments.file, arguments.layout.as_deref())?;
    let mut stats = Stats::default();
    let mut unread = Unread::default();
    while let Some(batch) = stream.next_batch()? {
        batch.tasks.iter().for_each(|task| stats.add(task));
        unread.add(&batch.bad, stream.place());
    }
    let mut text = format!(
        "{}: {}, {:.1} words a prompt\n",
        arguments.file.display(),
        counted(stats.rows as usize, "task", "tasks"),
        stats.mean_words()
    );
    text.push_str(&unread.line(""));
    let fixed = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(name, &count)| ((*name).to_owned(), count)).collect::<BTreeMap<_, _>>()
    };
    for (title, counts) in [
        ("source", stats.sources.clone()),
        ("domain", fixed(&stats.domains)),
        ("split", fixed(&stats.splits)),
        ("reference", fixed(&stats.references)),
        ("further columns", stats.columns.clone()),
    ] {
        if counts.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for (name, count) in counts {
            let _ = writeln!(
                text,
                "  {:24} {:>9}  {:5.1}%",
                name,
                thousands(count),
                count as f64 / stats.rows as f64 * 100.0
            );
        }
    }
    histogram(&mut text, "words of a prompt", &stats.words);
    histogram(&mut text, "difficulty", &stats.difficulty);
    Ok(text)
}

fn histogram(text: &mut String, title: &str, histogram: &Histogram) {
    const BAR: f64 = 40.0;
    let Some(most) = histogram.bins.values().max() else { return };
    let _ = writeln!(text, "\n{title}");
    for (&bin, &count) in &histogram.bins {
        let from = bin as f64 * histogram.width;
        let shown = if histogram.width < 1.0 { format!("{from:.1}") } else { format!("{from:.0}") };
        // At least one mark for what is there.
        let marks = (count as f64 / *most as f64 * BAR).ceil() as usize;
        let _ = writeln!(text, "  {shown:>6}  {:>9}  {}", thousands(count), "▇".repeat(marks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_says_which_rows_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.jsonl");
        std::fs::write(&file, "{\"prompt\": \"p\", \"answer\": 1}\noops\n").unwrap();
        let text = head(&HeadArguments { file, count: 5, layout: None }).unwrap();
        assert!(text.starts_with("1. p\n   answer: 1  [rows "), "{text}");
        assert!(
            text.ends_with("1 row cannot be read; the first, at line 2: malformed JSON: expected value at column 1\n")
        );
    }
}
